"""One session's answers among all that is to be heard."""

from __future__ import annotations

from contextlib import suppress

import anyio

from ...conversation import (
    Event,
    Interrupted,
    ReplyAudio,
    ReplyPaused,
    StateChanged,
    TurnEnded,
    TurnFailed,
)
from ...protocols import ConversationState
from ._source import SpeechSource

__all__ = ["Speaking"]


class Speaking:
    """Has the floor while an answer of its session is heard; belongs to one task.

    It waits for the floor where the session says that it begins to speak, and so before it
    takes any sound: what a session does not get rid of counts as not heard, and is taken
    back if the person goes on speaking.
    """

    def __init__(self, floor: anyio.Lock, source: SpeechSource) -> None:
        self._floor, self._source = floor, source
        self._has_floor = False
        self._turn: int | None = None

    async def play(self, sound: ReplyAudio) -> None:
        """Play it."""
        await self._take()
        self._turn = sound.turn
        with suppress(anyio.ClosedResourceError):  # the call is about to notice
            await self._source.write(sound.audio)

    async def follow(self, event: Event) -> None:
        """Do what this event asks for."""
        match event:
            case StateChanged(ConversationState.SPEAKING):
                await self._take()
            case Interrupted() | ReplyPaused():
                self.stop()
            case TurnEnded(turn=turn) | TurnFailed(turn=turn) if turn == self._turn:
                self._give()
            case StateChanged(ConversationState.LISTENING):
                self._give()
            case _:
                pass

    def stop(self) -> None:
        """Be silent at once."""
        if self._has_floor:
            self._source.flush()
            self._give()

    async def _take(self) -> None:
        if not self._has_floor:
            await self._floor.acquire()
            self._has_floor = True

    def _give(self) -> None:
        if self._has_floor:
            self._has_floor = False
            self._floor.release()
