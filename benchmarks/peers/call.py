"""A call between a scripted user and a bot, the same for every framework.

Engines take a fixed time and no computing: the recogniser hears `SAID` in whatever it is
given, the voice says 0.05 s of sound a character. What is left is the framework's own: how
long it waits, what it does in the meantime, and what that costs. Everything here needs
NumPy alone, because each framework runs in an environment of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from time import monotonic  # the clock of asyncio

import numpy as np

__all__ = [
    "CHUNK",
    "FRAME",
    "INTERRUPT",
    "OUT_RATE",
    "RATE",
    "SAID",
    "SILENCE",
    "Call",
    "Feeder",
    "Phone",
    "Push",
    "Side",
    "voiced",
]

RATE, OUT_RATE = 16_000, 24_000  # Hz, of the user's sound and of the bot's; 16-bit mono
FRAME = 0.02  # s
SILENCE = 0.5  # s that end a turn
INTERRUPT = 0.3  # s of voice that stop an answer
STT, TTS = 0.1, 0.1  # s until the text is there, and until the voice begins with its first chunk
_SPEED = 0.1  # s of computing for a second of sound
_PER_CHARACTER = 0.05  # s
_CHUNK = 0.1  # s
SAID = "could you tell me when the last train to the coast leaves"

_N = round(RATE * FRAME)
_chance = np.random.default_rng(1)
_VOICE = [_chance.integers(-6_000, 6_000, _N, np.int16).tobytes() for _ in range(50)]
_QUIET = bytes(2 * _N)
CHUNK = (
    (8_000 * np.sin(2 * np.pi * 220 / OUT_RATE * np.arange(round(OUT_RATE * _CHUNK))))
    .astype(np.int16)
    .tobytes()
)
"""A tenth of a second of the bot's voice."""

Push = Callable[[bytes], Awaitable[None]]
"""Takes the next 20 ms of the user."""


def voiced(sound: bytes) -> bool:
    """Whether somebody speaks in 16-bit samples: the rule of every framework's detector."""
    return bool(np.abs(np.frombuffer(sound, np.int16)).mean() > 300)


class Phone:
    """What the user hears: sound that is handed over plays at once, or after what is there."""

    def __init__(self) -> None:
        self.first: float | None = None  # when the first sound since `expect` began
        self.until = 0.0  # when what was handed over has been played
        self.played = 0.0  # s since `expect`, of which some may still be to come

    def expect(self) -> None:
        """The next sound is the first of an answer."""
        self.first, self.played = None, 0.0

    def play(self, seconds: float) -> None:
        now = monotonic()
        if self.first is None:
            self.first = max(now, self.until)
        self.until = max(self.until, now) + seconds
        self.played += seconds

    def hush(self) -> None:
        """What has not been played yet is thrown away."""
        self.until = min(self.until, monotonic())


class Call:
    """One conversation: what its engines do, and what came of it.

    Args:
        answer: Seconds of sound of each answer.
        eager: Whether the framework is to overlap what it can, for the earliest answer.
    """

    def __init__(self, answer: float, *, eager: bool = False) -> None:
        n = round(answer / _PER_CHARACTER)
        # One sentence: a voice that speaks sentence by sentence is asked once.
        self.reply = ("It leaves at ten past nine from the second platform and " * 9)[: n - 1]
        self.reply = self.reply.replace(" ", "o") + "."
        self.eager = eager
        self.phone = Phone()
        self.said: list[str] = []  # what each answer was an answer to

    async def recognise(self) -> str:
        await asyncio.sleep(STT)
        return SAID

    def respond(self, text: str) -> str:
        self.said.append(text)
        return self.reply

    async def speak(self, text: str) -> AsyncGenerator[bytes]:
        """16-bit samples at `OUT_RATE`."""
        await asyncio.sleep(TTS)
        for _ in range(round(len(text.strip()) * _PER_CHARACTER / _CHUNK)):
            await asyncio.sleep(_SPEED * _CHUNK)
            yield CHUNK


Side = Callable[[Call], AbstractAsyncContextManager[Push]]
"""A framework that holds the call."""


class Feeder:
    """The user's microphone: a frame every 20 ms, whose moment is the end of its sound."""

    def __init__(self, push: Push, begin: float | None = None) -> None:
        self._push = push
        self._begin = monotonic() if begin is None else begin
        self._n = 0

    @property
    def now(self) -> float:
        """The moment of the last frame."""
        return self._begin + self._n * FRAME

    async def speech(self, seconds: float) -> None:
        for i in range(round(seconds / FRAME)):
            await self._next(_VOICE[i % len(_VOICE)])

    async def sound(self, samples: np.ndarray) -> None:
        """float32 at `RATE`, shape (n,); what is less than a frame at its end is left out."""
        pcm = (samples * 32_767).astype(np.int16)
        for start in range(0, pcm.size - _N + 1, _N):
            await self._next(pcm[start : start + _N].tobytes())

    async def silence(self, seconds: float) -> None:
        for _ in range(round(seconds / FRAME)):
            await self._next(_QUIET)

    async def silence_until(self, over: Callable[[], bool], limit: float) -> bool:
        """Whether it was over before the limit, in seconds."""
        for _ in range(round(limit / FRAME)):
            if over():
                return True
            await self._next(_QUIET)
        return over()

    async def _next(self, frame: bytes) -> None:
        self._n += 1
        await asyncio.sleep(max(0.0, self.now - monotonic()))
        await self._push(frame)
