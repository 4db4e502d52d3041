"""Implausible speech: what a TTS engine made is checked against what it was to say."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from anyio.lowlevel import checkpoint

from ..audio import AudioData
from ..errors import AudioFormatError, ImplausibleSpeechError
from ..protocols import SynthesisResult
from ._audio_results import decoded, slices
from ._context import RequestContext
from ._middleware import CallNext
from ._plausible import Bounds, SpeechCheck, fewest_letters

__all__ = ["SpeechGuardMiddleware", "SpeechGuardStatistics"]

_UNUSABLE: Final = "unusable samples"
_LAST_SEED: Final = 2**63 - 1  # of a generator of random numbers


@dataclass(frozen=True, slots=True)
class SpeechGuardStatistics:
    """Counts since the start."""

    calls: int
    rerolls: int  # the engine was asked again
    rejected: int  # calls that failed with `ImplausibleSpeechError`


class SpeechGuardMiddleware:
    """Refuses speech that cannot be its text: too long, too short, silent, or ending in noise.

    Speech that is refused before any of it was delivered is made once more, with another
    ``seed`` where the configuration has one, unless the deadline has passed; if that is
    refused too, or some of it was delivered already, the call ends with
    `ImplausibleSpeechError`. A stream ends as soon as it is longer than its text can be.

    Audio that cannot be decoded or whose samples are not finite, which `AudioData` refuses
    with `AudioFormatError`, is refused speech too.

    Args:
        name: What logs and statistics call it.
        slowest: Latin letters a second, above 0, below which nobody speaks. Letters of other
            scripts, digits and signs count as many.
        fastest: Letters a second above which nobody can follow, above ``slowest``.
        slack: Seconds that speech may be longer than that, for the silence around short texts.
        max_noise: Seconds of steady noise that may be at the end, above 0; None for any.
    """

    def __init__(
        self,
        *,
        name: str = "speech_guard",
        slowest: float = 5.0,
        fastest: float = 35.0,
        slack: float = 2.0,
        max_noise: float | None = 0.5,
    ) -> None:
        if not 0 < slowest < fastest < inf:
            raise ValueError(
                f"slowest is above 0 and below fastest, not {slowest!r} of {fastest!r}"
            )
        if not 0 <= slack < inf:
            raise ValueError(f"slack is 0 s or more, not {slack!r}")
        if max_noise is not None and not 0 < max_noise <= 60:
            raise ValueError(f"max_noise is above 0 and up to 60 s, not {max_noise!r}")
        self.name = name
        self._bounds = Bounds(slowest, fastest, slack, max_noise)
        self._calls = self._rerolls = self._rejected = 0

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        if context.request_type != "tts":
            return call_next(context)
        self._calls += 1
        return self._guarded(context, call_next)

    def statistics(self) -> SpeechGuardStatistics:
        """The counts up to now."""
        return SpeechGuardStatistics(self._calls, self._rerolls, self._rejected)

    async def _guarded(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        take = _Take(context, self._bounds)
        async with aclosing(take.results(call_next)) as results:
            async for result in results:
                yield result
        if take.refused is not None and not take.delivered and context.remaining() > 0:
            self._rerolls += 1
            _reseed(context.config)
            take = _Take(context, self._bounds)
            async with aclosing(take.results(call_next)) as results:
                async for result in results:
                    yield result
        if take.refused is not None:
            self._rejected += 1
            raise ImplausibleSpeechError(
                context.engine,
                f"its speech is implausible: {take.refused}",
                request_id=context.request_id,
            ) from take.error


class _Take:
    """Speech, as it was made once."""

    def __init__(self, context: RequestContext, bounds: Bounds) -> None:
        self._context, self._bounds = context, bounds
        self._check: SpeechCheck | None = None
        self._held: list[AudioData] = []  # chunks in which nothing was heard yet
        self.refused: str | None = None  # why
        self.error: AudioFormatError | None = None
        self.delivered = False

    async def results(self, call_next: CallNext) -> AsyncGenerator[Any]:
        """The results, as far as they are plausible; the silence at a beginning waits."""
        async with aclosing(call_next(self._context)) as results:
            while self.refused is None:
                try:
                    result = await anext(results, None)
                    ready = await self._checked(result)
                except AudioFormatError as error:
                    self.refused, self.error = _UNUSABLE, error
                    return
                for each in ready:
                    self.delivered = True
                    yield each
                if result is None:
                    return

    async def _checked(self, result: SynthesisResult | AudioData | None) -> list[Any]:
        """What can be delivered now that ``result`` is there, or, if it is None, the end."""
        if isinstance(result, SynthesisResult):
            await self._hear(result.audio_data)
            self._ends()
            return [] if self.refused else [result]
        if result is None:
            self._ends()
            held, self._held = self._held, []
            return [] if self.refused else held
        await self._hear(result)
        self._held.append(result)
        if self.refused or self._check is None or not self._check.audible:
            return []
        held, self._held = self._held, []
        return held

    async def _hear(self, audio: AudioData) -> None:
        audio = await decoded(audio)
        if self._check is None:
            context = self._context
            self._check = SpeechCheck(
                context.input_data["text"], audio.sample_rate, self._bounds, _speed(context)
            )
        for n, piece in enumerate(slices(audio)):
            if n:
                await checkpoint()
            self.refused = self._check.push(piece)
            if self.refused:
                return

    def _ends(self) -> None:
        if self.refused is not None:
            return
        if self._check is not None:
            self.refused = self._check.end()
        elif fewest_letters(self._context.input_data["text"]):
            self.refused = "no audio at all"


def _speed(context: RequestContext) -> float:
    speed = context.config.get("speed_factor")
    return speed if isinstance(speed, int | float) and 0 < speed < inf else 1.0


def _reseed(config: dict[str, Any]) -> None:
    """Have the engine draw something else; without a seed, or with 0, it does so anyway."""
    if type(seed := config.get("seed")) is int and seed:
        config["seed"] = seed % _LAST_SEED + 1
