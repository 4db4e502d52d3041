"""How loaded an engine is, and whose sessions it has taken on.

The measure is the real-time factor: the seconds that calls waited for results, for each
second of audio in them. A call waits just as long whether the engine works on it alone, on
a batch of several, or on others first; so nothing needs to be known of how the engine
divides its time: past 1, sessions wait longer for their audio than it lasts. Work that an
engine does ahead while its reader is slow is not seen, and nobody waits for it either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Load", "Sessions", "Waiting"]

# Parts of a window that leave it together: it is exact to a thirtieth, and each question
# adds up no more than that many numbers.
_PARTS: Final = 30
_FORGET: Final = (
    2  # idle sessions that are forgotten for each call: few, so that none pays for many
)


class Load:
    """Seconds waited and seconds of audio in the last ``window`` seconds.

    It is too high once it is above ``max_rtf``, and then until it is below ``resume_rtf``.
    With less than ``min_audio`` seconds of audio there is nothing to judge by.
    """

    def __init__(self, window: float, max_rtf: float, resume_rtf: float, min_audio: float) -> None:
        self._part: Final = window / _PARTS
        self._max_rtf: Final = max_rtf
        self._resume_rtf: Final = resume_rtf
        self._min_audio: Final = min_audio
        self._parts: deque[list[float]] = deque()  # [number of the part, waited, audio]
        self._too_high = False
        self._asked_at = 0.0

    @property
    def latest(self) -> float | None:
        """`rtf` as of the last time that something was added or asked."""
        return self.rtf(self._asked_at)

    def add(self, waited: float, audio: float, now: float) -> None:
        self._asked_at = now
        number = now // self._part
        if not self._parts or self._parts[-1][0] != number:
            self._drop_old(number)
            self._parts.append([number, 0.0, 0.0])
        self._parts[-1][1] += waited
        self._parts[-1][2] += audio

    def rtf(self, now: float) -> float | None:
        """Seconds waited for a second of audio; None while there is too little audio."""
        self._asked_at = now
        self._drop_old(now // self._part)
        audio = sum(part[2] for part in self._parts)
        if audio < self._min_audio:
            return None
        return sum(part[1] for part in self._parts) / audio

    def too_high(self, now: float) -> bool:
        rtf = self.rtf(now)
        limit = self._resume_rtf if self._too_high else self._max_rtf
        self._too_high = rtf is not None and rtf > limit
        return self._too_high

    def _drop_old(self, number: float) -> None:
        while self._parts and self._parts[0][0] <= number - _PARTS:
            self._parts.popleft()


class Waiting:
    """How long a call's reader waits for the engine while the engine has something to do.

    An engine that has heard all that was said so far waits for the speaker: that is nobody's
    load, so a stream of speech that takes a minute is not a minute of work.
    """

    __slots__ = ("_asked", "_clock", "_listening", "_since", "_total")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._total = 0.0
        self._asked = False
        self._listening = False

    def ask(self, asked: bool) -> float:
        """A result is waited for from now on, or no longer; when that is."""
        self._count()
        self._asked = asked
        return self._since

    def listen(self, listening: bool) -> None:
        """The engine waits for input from now on, or no longer."""
        self._count()
        self._listening = listening

    def taken(self) -> float:
        """Seconds since the last time this was asked."""
        total, self._total = self._total, 0.0
        return total

    def _count(self) -> None:
        now = self._clock()
        if self._asked and not self._listening:
            self._total += now - self._since
        self._since = now


class Sessions:
    """The sessions that were admitted and are not idle, as far as there is room.

    A session is idle once it has had no call for ``idle`` seconds. Those with a call under
    way are always known; of the others, the ``max_sessions`` that were last heard of.
    """

    def __init__(self, idle: float, max_sessions: int) -> None:
        self._idle: Final = idle
        self._max: Final = max_sessions
        self._calls: dict[str, int] = {}  # under way
        self._ended: dict[str, float] = {}  # when the last call ended, in that order

    def __len__(self) -> int:
        return len(self._calls) + len(self._ended)

    def known(self, session: str, now: float) -> bool:
        if session in self._calls:
            return True
        ended = self._ended.get(session)
        return ended is not None and now - ended < self._idle

    def begin(self, session: str) -> None:
        """A call of an admitted session begins."""
        self._ended.pop(session, None)
        self._calls[session] = self._calls.get(session, 0) + 1

    def end(self, session: str, now: float) -> None:
        """A call ends."""
        calls = self._calls.pop(session) - 1
        if calls:
            self._calls[session] = calls
            return
        self._ended[session] = now
        self.forget_idle(now)
        if len(self._ended) > self._max:
            del self._ended[next(iter(self._ended))]

    def forget_idle(self, now: float) -> None:
        for _ in range(min(_FORGET, len(self._ended))):
            session = next(iter(self._ended))
            if now - self._ended[session] < self._idle:
                return
            del self._ended[session]
