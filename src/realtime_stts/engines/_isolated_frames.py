"""PURE: what an engine's process is told and tells, as frames on a pipe.

A message is a header, a JSON object, and a payload, any bytes. Its payload is cut into
fragments of a bounded size, one frame each, so that a long clip keeps nothing else waiting:
frames of other calls may come between. A frame is a prefix of 18 bytes, the header, and the
fragment; the prefix holds a mark, the lengths of both, and how much of the payload is still
to come. Frames after a message's first have the header ``{"more": id}``.

Before its first frame a process says hello: a line that names its versions. It can be read
whatever the frames of that version look like, and found behind what a start-up file printed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "FRAGMENT",
    "MAX_HEADER",
    "MAX_PAYLOAD",
    "PROTOCOL",
    "FrameError",
    "Hello",
    "Message",
    "Unframer",
    "frames",
    "hello_line",
    "packed_header",
    "read_hello",
]

PROTOCOL: Final = 1  # to be raised with any change of what is said here

FRAGMENT: Final = 1 << 18  # bytes of a payload in one frame
MAX_HEADER: Final = 1 << 24  # bytes; an hour of timed words takes a tenth of that
MAX_PAYLOAD: Final = 1 << 30  # bytes; as much as `AudioData.from_file` takes
_MAX_GREETING: Final = 1 << 16  # bytes that may come before and in the hello

_PREFIX: Final = struct.Struct("<2sIIQ")
_MARK: Final = b"\xf5\x5f"  # no text in UTF-8 has these bytes
_HELLO: Final = b"\nrealtime-stts engine process "


class FrameError(Exception):
    """These bytes are no frames: somebody else wrote into the pipe."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one process says to the other."""

    header: Mapping[str, Any]
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Hello:
    """The versions of a process."""

    protocol: int
    project: str
    python: str


# -- frames --------------------------------------------------------------------------------


def packed_header(header: Mapping[str, Any]) -> bytes:
    """A header's bytes.

    Raises:
        ValueError: It is too long to be sent.
    """
    data = json.dumps(header, separators=(",", ":")).encode("ascii")
    if len(data) > MAX_HEADER:
        raise ValueError(f"{len(data)} bytes of text are more than {MAX_HEADER}, the limit")
    return data


def frames(header: bytes, payload: bytes = b"", id: int | None = None) -> Iterator[bytes]:
    """The frames of a message, one after the other; at least one.

    Args:
        header: From `packed_header`.
        payload: Up to `MAX_PAYLOAD` bytes.
        id: The header's id, which a message of several frames needs.
    """
    view, at = memoryview(payload), 0
    while True:
        fragment = view[at : at + FRAGMENT]
        at += len(fragment)
        prefix = _PREFIX.pack(_MARK, len(header), len(fragment), len(view) - at)
        yield b"".join((prefix, header, fragment))
        if at == len(view):
            return
        header = packed_header({"more": id})


class Unframer:
    """Bytes in, however they are cut; messages out.

    A message that is not complete when the next one with its id begins was given up by its
    sender, and is dropped.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begun: dict[object, tuple[Mapping[str, Any], bytearray, int]] = {}

    def feed(self, data: bytes) -> list[Message]:
        """Take the next bytes, return the messages they complete.

        Raises:
            FrameError: They are no frames.
        """
        self._buffer += data
        complete: list[Message] = []
        while (frame := self._frame()) is not None:
            message = self._joined(*frame)
            if message is not None:
                complete.append(message)
        return complete

    def _frame(self) -> tuple[Mapping[str, Any], bytes, int] | None:
        """The next frame, if it is here: header, fragment, and how much is still to come."""
        buffer = self._buffer
        if not _MARK.startswith(buffer[: len(_MARK)]):
            raise FrameError(f"no frame begins with {bytes(buffer[:40])!r}")
        if len(buffer) < _PREFIX.size:
            return None
        _, n_header, n_fragment, n_rest = _PREFIX.unpack_from(buffer)
        if n_header > MAX_HEADER or n_fragment > FRAGMENT or n_rest > MAX_PAYLOAD:
            raise FrameError(f"no frame has these lengths: {n_header}, {n_fragment}, {n_rest}")
        start = _PREFIX.size + n_header
        end = start + n_fragment
        if len(buffer) < end:
            return None
        try:
            header = json.loads(bytes(buffer[_PREFIX.size : start]))
        except (ValueError, RecursionError) as exc:
            raise FrameError(f"a header is no JSON: {exc}") from exc
        if not isinstance(header, dict):
            raise FrameError("a header is no JSON object")
        fragment = bytes(buffer[start:end])
        del buffer[:end]
        return header, fragment, n_rest

    def _joined(self, header: Mapping[str, Any], fragment: bytes, n_rest: int) -> Message | None:
        """The message that this frame completes, if it does."""
        if "more" not in header:
            id = header.get("id")
            self._begun.pop(id, None)
            if n_rest == 0:
                return Message(header, fragment)
            self._begun[id] = (header, bytearray(fragment), n_rest)
            return None
        id = header["more"]
        if id not in self._begun:
            raise FrameError("a frame goes on with a message that did not begin")
        begun, payload, n_expected = self._begun[id]
        payload += fragment
        if n_expected - len(fragment) != n_rest:
            raise FrameError("a frame of a message is missing")
        if n_rest:
            self._begun[id] = (begun, payload, n_rest)
            return None
        del self._begun[id]
        return Message(begun, bytes(payload))


# -- hello ---------------------------------------------------------------------------------


def hello_line(hello: Hello) -> bytes:
    """What a process says before its first frame."""
    versions = json.dumps([hello.protocol, hello.project, hello.python])
    return b"%b%b\n" % (_HELLO, versions.encode("ascii"))


def read_hello(data: bytes) -> tuple[Hello, bytes, bytes] | None:
    """The hello in these bytes, what came before it, and what after; None if more must come.

    Raises:
        FrameError: There will be none.
    """
    before, _, after = data.partition(_HELLO)
    line, ended, rest = after.partition(b"\n")
    if not ended:
        if len(data) > _MAX_GREETING:
            raise FrameError(f"no hello in {len(data)} bytes, but {data[:40]!r}")
        return None
    try:
        protocol, project, python = json.loads(line)
    except (TypeError, ValueError) as exc:
        raise FrameError(f"a hello that says {line[:80]!r}") from exc
    return Hello(protocol, project, python), before, rest
