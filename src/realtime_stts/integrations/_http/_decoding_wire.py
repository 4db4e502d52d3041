"""What a decoding process and its parent say to each other.

The parent sends one line of JSON, the limits, then the file, and closes the pipe. The child
sends frames: a tag of one byte, a length, and as many bytes. First "ready"; then the layout,
samples (16-bit PCM) and "done", or an error at any time. A child that stops without either
was killed. It has read a file that anybody may have made: the parent believes no length and no
number of it.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Final

from ...errors import AudioContainerError, AudioError, AudioFormatError, AudioLimitError

__all__ = [
    "DONE",
    "ERROR",
    "ERRORS",
    "HEADER",
    "LAYOUT",
    "LAYOUT_FIELDS",
    "MAX_PAYLOAD",
    "READY",
    "SAMPLES",
    "Limits",
]

HEADER: Final = struct.Struct("<cI")
LAYOUT_FIELDS: Final = struct.Struct("<II")  # Hz, channels
MAX_PAYLOAD: Final = 1 << 20

READY: Final = b"R"
LAYOUT: Final = b"L"
SAMPLES: Final = b"S"
DONE: Final = b"D"
ERROR: Final = b"E"  # one character of ERRORS, then words for the caller

# What is derived stands before what it derives from.
ERRORS: Final[dict[str, type[AudioError]]] = {
    "c": AudioContainerError,
    "f": AudioFormatError,
    "l": AudioLimitError,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one decoding may take."""

    seconds: float  # of audio
    n_bytes: int  # decoded, as 16-bit PCM
    memory: int  # bytes beyond what the process has before it reads the file
    cpu_seconds: float

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> Limits:
        return cls(**json.loads(line))
