"""The two ends of a pipe: threads that write what waits, and read what comes.

Both processes have one of each. Who sends never blocks: what waits is bounded by the calls
there are and by what their readers have said they will take.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from threading import Condition
from typing import Any, Final

from ._isolated_frames import Message, Unframer, frames, packed_header

__all__ = ["WINDOW", "Outbox", "read_messages", "write_all", "write_frames"]

WINDOW: Final = 8  # chunks or results of one call that may be under way to its reader
_READ: Final = 1 << 16  # bytes; a pipe holds no more on most systems


class Outbox:
    """Messages that wait to be written; from and to any thread.

    What steers a call goes before what it is made of, so that a cancelled call stops at once
    whatever waits before it.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._urgent: deque[bytes] = deque()
        self._bulk: deque[tuple[object, Iterator[bytes]]] = deque()
        self._closed = False
        self._abandoned = False

    def put(self, header: Mapping[str, Any], payload: bytes = b"") -> None:
        """Send a message, after those before it.

        Raises:
            ValueError: Its header is too long.
        """
        id = header.get("id")
        waiting = frames(packed_header(header), payload, id)
        with self._changed:
            if not self._abandoned:
                self._bulk.append((id, waiting))
                self._changed.notify_all()

    def put_now(self, header: Mapping[str, Any]) -> None:
        """Send a message before all others."""
        (frame,) = frames(packed_header(header))
        with self._changed:
            if not self._abandoned:
                self._urgent.append(frame)
                self._changed.notify_all()

    def forget(self, id: int) -> None:
        """Do not send what is left of a call."""
        with self._changed:
            self._bulk = deque(each for each in self._bulk if each[0] != id)

    def close(self) -> None:
        """Nothing more comes: `take` ends when all is taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Nobody reads any more: let go of all that waits, and of what will come."""
        with self._changed:
            self._closed = self._abandoned = True
            self._urgent.clear()
            self._bulk.clear()
            self._changed.notify_all()

    def take(self) -> bytes | None:
        """The next frame; blocks until there is one. None after the last."""
        with self._changed:
            while True:
                if self._urgent:
                    return self._urgent.popleft()
                while self._bulk:
                    frame = next(self._bulk[0][1], None)
                    if frame is not None:
                        return frame
                    self._bulk.popleft()
                if self._closed:
                    return None
                self._changed.wait()


def write_frames(outbox: Outbox, descriptor: int) -> None:
    """Write what waits until the outbox is closed, or nobody reads any more; blocks."""
    try:
        while (frame := outbox.take()) is not None:
            write_all(descriptor, frame)
    except OSError:  # the other process is gone, which its reader finds out
        pass
    finally:
        outbox.abandon()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``: a pipe may take a part at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_messages(descriptor: int, first: bytes = b"") -> Iterator[Message]:
    """The messages that come, until the other end closes; blocks.

    Args:
        first: What was read before.

    Raises:
        FrameError: What comes is no message.
    """
    unframer = Unframer()
    yield from unframer.feed(first)
    while data := os.read(descriptor, _READ):
        yield from unframer.feed(data)
