"""A process that decodes one file, with nothing that it does not need, and ends."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Final

from ...errors import AudioError, AudioFormatError, AudioLimitError
from ._decoding_wire import (
    DONE,
    ERROR,
    ERRORS,
    HEADER,
    LAYOUT,
    LAYOUT_FIELDS,
    MAX_PAYLOAD,
    READY,
    SAMPLES,
    Limits,
)

if TYPE_CHECKING:
    from ._decoding_formats import Piece

__all__ = ["confine", "main", "serve"]

_DESCRIPTORS: Final = 3  # stdin, stdout, stderr: with these open, nothing else can be opened

_Send = Callable[..., None]  # a tag, and its payload


def main() -> None:
    serve(sys.stdin.buffer, _to_stdout, confine)


def serve(stdin: BinaryIO, send: _Send, restrict: Callable[[Limits], None]) -> None:
    """Read the limits and a file from ``stdin``, send its sound."""
    from ._decoding_formats import pieces, rehearse  # the libraries, before the file is seen

    rehearse()
    send(READY)
    line = stdin.readline()
    if not line:
        return  # it was a spare one, and is not needed
    limits = Limits.of_line(line)
    restrict(limits)
    try:
        _answer(limits, pieces(BytesIO(stdin.read())), send)
    except MemoryError:
        _fail(AudioLimitError("the file takes too much memory to decode"), send)
    except AudioError as exc:
        _fail(exc, send)
    except Exception:  # noqa: BLE001  # whatever else a library raises, it is about the file
        _fail(AudioFormatError("the file is damaged"), send)


def confine(limits: Limits) -> None:
    """Take from this process, for good, what decoding does not need.

    It can open no file and no connection, write no file, start no process (unless it is
    root's), and dies of using more processor time or memory. What Windows and macOS do not
    have of it, they do without.
    """
    _silence()
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = math.ceil(used.ru_utime + used.ru_stime + limits.cpu_seconds)
    wanted = [
        ("RLIMIT_CORE", 0),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CPU", cpu),
        ("RLIMIT_NPROC", 0),
    ]
    if (size := _size()) is not None:
        wanted.append(("RLIMIT_AS", size + limits.memory))
    wanted.append(("RLIMIT_NOFILE", _DESCRIPTORS))
    for name, value in wanted:
        if (which := getattr(resource, name, None)) is not None:
            with suppress(ValueError, OSError):  # lower already, or unknown to this system
                resource.setrlimit(which, (value, value))


def _size() -> int | None:
    """Bytes of this process's address space; None where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _silence() -> None:
    """From here on the libraries' words are about somebody's file, not for the log."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)


def _answer(limits: Limits, pieces: Iterator[Piece], send: _Send) -> None:
    limit: int | None = None
    n_bytes = 0
    for rate, channels, pcm in pieces:
        if limit is None:
            limit = min(int(limits.seconds * rate) * 2 * channels, limits.n_bytes)
            send(LAYOUT, LAYOUT_FIELDS.pack(rate, channels))
        n_bytes += len(pcm)
        if n_bytes > limit:
            raise AudioLimitError(f"the audio is longer than {limit / (2 * channels * rate):g} s")
        for start in range(0, len(pcm), MAX_PAYLOAD):
            send(SAMPLES, pcm[start : start + MAX_PAYLOAD])
    send(DONE)


def _fail(error: AudioError, send: _Send) -> None:
    kind = next(kind for kind, known in ERRORS.items() if isinstance(error, known))
    send(ERROR, (kind + str(error)).encode())


def _to_stdout(tag: bytes, payload: bytes = b"") -> None:
    rest = memoryview(HEADER.pack(tag, len(payload)) + payload)
    while rest:
        rest = rest[os.write(1, rest) :]
