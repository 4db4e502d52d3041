"""So many conversations at a time on one event loop, paced in real time.

Each session has a feeder of its own that sends a frame every 20 ms, no two of them at the
same moment, and holds a conversation: once a period its user speaks and is answered. The
users begin at different moments of the period, so that at any time about as many of them
speak as at any other.

A frame is late by the time from its moment until the session has heard it, which is what
every reaction to it is late by at least. CPU time is that of the whole process.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time
from typing import Final

import anyio

from ..audio import AudioData
from ..conversation import ConversationEngine, Session, TurnEnded, TurnFailed
from ._check import CheckError

__all__ = ["FRAME", "RATE", "Line", "Trial", "hold"]

RATE: Final = 16_000  # Hz
FRAME: Final = 0.02  # s
_OPENING: Final = 0.5  # s in which the sessions are opened


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One user: the conversation they are in, and the frames they send, over and over."""

    engine: ConversationEngine
    frames: tuple[bytes, ...]  # 20 ms of 16-bit mono at 16 kHz each


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What so many conversations took, in seconds, after they had settled."""

    n: int
    lateness: tuple[float, ...]  # of each frame
    waits: tuple[float, ...]  # of each turn that was answered: from its end to the first audio
    cpu: float  # of the process, for each second
    n_ended: int  # turns, answered or not, those before they had settled too


async def hold(line: Callable[[int], Line], n: int, settle: float, window: float) -> Trial:
    """Hold ``n`` conversations for ``settle`` seconds, then measure for ``window`` more.

    Args:
        line: Makes the line of each user, by number.

    Raises:
        CheckError: A turn failed.
    """
    gc.collect()
    users = [_User(line(number), number / n) for number in range(n)]
    begin = anyio.current_time() + _OPENING
    n_frames = round((settle + window) / FRAME)
    cpu = 0.0
    async with anyio.create_task_group() as tasks:
        for user in users:
            tasks.start_soon(user.call, begin, n_frames)
        await anyio.sleep_until(begin + settle)
        before, start = process_time(), anyio.current_time()
        await anyio.sleep_until(begin + settle + window)
        cpu = (process_time() - before) / (anyio.current_time() - start)
    for user in users:
        if user.failure is not None:
            raise CheckError(f"a turn failed: {user.failure}") from user.failure
    first = round(settle / FRAME)
    return Trial(
        n,
        tuple(late for user in users for late in user.lateness[first:]),
        tuple(wait for user in users for moment, wait in user.waits if moment >= begin + settle),
        cpu,
        sum(user.n_ended for user in users),
    )


class _User:
    """One session and who feeds it, ``phase`` of a frame after the first of them."""

    def __init__(self, line: Line, phase: float) -> None:
        self.lateness: list[float] = []  # s, of each frame
        self.waits: list[tuple[float, float]] = []  # when a turn was over, and what it waited
        self.n_ended = 0
        self.failure: Exception | None = None
        self._line = line
        self._phase = phase

    async def call(self, begin: float, n_frames: int) -> None:
        async with self._line.engine.session() as session, anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, session)
            frames = self._line.frames
            for i in range(n_frames):
                due = begin + (self._phase + i) * FRAME
                await anyio.sleep_until(due)
                await session.push(AudioData(frames[i % len(frames)], RATE))
                self.lateness.append(anyio.current_time() - due)
            tasks.cancel_scope.cancel()  # what is still being said is of no interest

    async def _listen(self, session: Session) -> None:
        async for event in session:
            match event:
                case TurnEnded(metrics=metrics):
                    self.n_ended += 1
                    if (wait := metrics.time_to_first_audio) is not None:
                        wait -= metrics.end_of_turn_delay  # which the words decide, and no load
                        self.waits.append((anyio.current_time(), wait))
                case TurnFailed(error=error):
                    self.failure = error
