"""A call that a replica works on: what is heard from the edge, and what is to be said to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from math import inf
from time import monotonic
from traceback import format_exception
from typing import Any, Final

import anyio

from ...audio import AudioData
from ...engines._isolated_frames import Message
from ...engines._isolated_values import packed_error
from ._messages import WINDOW, split_sound

__all__ = ["SILENCE", "ReplicaCall"]

# s; an edge says every few seconds that it is there. One that is not heard of for so long is
# gone: nobody tells a replica that the program which called it has ended.
SILENCE: Final = 60.0


class ReplicaCall:
    """In the replica's event loop, except for `hear`.

    Args:
        remaining: Seconds in which its first result has to be there, or None.
    """

    def __init__(self, remaining: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        limit = inf if remaining is None else anyio.current_time() + remaining
        self.scope = anyio.CancelScope(deadline=limit)
        self._changed = asyncio.Event()
        self._credit = WINDOW
        self._outbox: deque[Message] = deque()
        self._n_taken = 0  # parcels of sound that the edge does not know of
        self._inbox: deque[list[AudioData]] = deque()
        self._sound_ended = False
        self._heard_at = monotonic()

    # -- what the edge says

    def hear(self, message: Message) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(self._hear, message)

    def _hear(self, message: Message) -> None:
        self._heard_at = monotonic()
        header: Mapping[str, Any] = message.header
        self._credit += header.get("taken", 0)
        if "sound" in header:
            self._inbox.append(split_sound(message))
        self._sound_ended = self._sound_ended or header.get("end", False)
        self._changed.set()

    async def audio(self) -> AsyncGenerator[AudioData]:
        """The chunks, as they come."""
        while True:
            while self._inbox:
                parcel = self._inbox.popleft()
                self._n_taken += 1
                self._changed.set()
                for chunk in parcel:
                    yield chunk
            if self._sound_ended:
                return
            await self._change()

    # -- what is said to the edge

    async def put(self, message: Message) -> None:
        """Say it as soon as the reader will have it."""
        # The caller's limit was for what is waited for now; for the rest, its scope may be
        # another one by then.
        self.scope.deadline = inf
        while self._credit <= 0:
            await self._change()
        self._credit -= 1
        self._outbox.append(message)
        self._changed.set()

    def end(self, error: Exception | None, *, expired: bool) -> None:
        """Say that it is over, after what was said before."""
        packed = None
        if error is not None:
            packed = packed_error(error, "".join(format_exception(error)))
        self._outbox.append(Message({"do": "end", "error": packed, "expired": expired}))
        self._changed.set()

    async def next(self) -> Message | None:
        """What to say next; None if the edge is gone."""
        while not self._outbox and not self._n_taken:
            await self._change(SILENCE / 4)
            if monotonic() - self._heard_at > SILENCE:
                return None
        if self._n_taken:
            n, self._n_taken = self._n_taken, 0
            return Message({"do": "taken", "n": n})
        return self._outbox.popleft()

    async def _change(self, timeout: float = inf) -> None:
        """Wait until something may have changed."""
        # One event for three who wait: each looks again at what it waits for.
        event = self._changed
        if event.is_set():
            event = self._changed = asyncio.Event()
        with anyio.move_on_after(timeout):
            await event.wait()
