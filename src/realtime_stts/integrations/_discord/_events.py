"""What a call tells the program that holds it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import anyio
from anyio.lowlevel import checkpoint

from ...conversation import Event

__all__ = ["CallEndReason", "CallEnded", "CallEvent", "EventQueue"]

CallEndReason = Literal["closed", "disconnected"]


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The last event. ``disconnected``: the bot was removed from the channel, somebody stopped
    its playing, or the connection was lost and did not come back in time."""

    reason: CallEndReason


@dataclass(frozen=True, slots=True)
class CallEvent:
    """Something that happened in the conversation with one person.

    ``user_id`` is None where it is with the whole room, or of the call itself.
    """

    user_id: int | None
    event: Event | CallEnded


class EventQueue:
    """Events on their way to one reader: where they are too many, the oldest go."""

    def __init__(self, max_events: int) -> None:
        self._events: deque[CallEvent] = deque()
        self._max_events = max_events
        self._arrived = anyio.Event()
        self._ended = False
        self.n_dropped = 0
        self._reading = anyio.ResourceGuard("reading events from")

    def post(self, event: CallEvent) -> None:
        """Tell this, and never wait."""
        if len(self._events) == self._max_events:
            self._events.popleft()
            self.n_dropped += 1
        self._events.append(event)
        self._arrived.set()

    def end(self) -> None:
        """No more will come."""
        self._ended = True
        self._arrived.set()

    async def next(self) -> CallEvent:
        """The next event.

        Raises:
            StopAsyncIteration: There will be none.
        """
        with self._reading:
            await checkpoint()
            while not self._events:
                if self._ended:
                    raise StopAsyncIteration
                self._arrived = anyio.Event()
                await self._arrived.wait()
            return self._events.popleft()
