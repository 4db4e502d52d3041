"""PURE: what an edge and a replica tell each other about a call.

Engines' values travel as JSON and bytes, as to an engine in a process of its own: a replica
may have other versions of every package, so nothing of theirs is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...audio import AudioData
from ...engines._isolated_frames import Message
from ...engines._isolated_values import packed_audio, unpacked_audio

__all__ = [
    "PROTOCOL",
    "WINDOW",
    "Request",
    "joined_sound",
    "packed",
    "split_sound",
    "unpacked",
]

PROTOCOL: Final = 1  # to be raised with any change of what is said here
# Results that a replica may be ahead of its reader, and parcels of sound that may be under way
# to it: enough to hide a hop, few enough that a reader who stops stops the engine.
WINDOW: Final = 8


@dataclass(frozen=True, slots=True)
class Request:
    """A call, as it may be asked of one replica after the other."""

    method: str
    arguments: Mapping[str, Any]  # JSON
    payload: bytes = b""
    voice: str = ""  # a replica that has it is asked first


def packed(message: Message) -> tuple[str, bytes]:
    return json.dumps(message.header, separators=(",", ":")), message.payload


def unpacked(header: str, payload: bytes) -> Message:
    return Message(json.loads(header), payload)


def joined_sound(chunks: Iterable[AudioData]) -> Message:
    """Chunks that travel together."""
    parts = [packed_audio(chunk) for chunk in chunks]
    layouts = [[*layout, len(data)] for layout, data in parts]
    return Message({"sound": layouts}, b"".join(data for _, data in parts))


def split_sound(message: Message) -> list[AudioData]:
    """The chunks that were joined, cut as they were."""
    chunks, start = [], 0
    for *layout, n_bytes in message.header["sound"]:
        chunks.append(unpacked_audio(layout, message.payload[start : start + n_bytes]))
        start += n_bytes
    return chunks
