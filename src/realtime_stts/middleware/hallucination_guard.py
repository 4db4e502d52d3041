"""Hallucinations: text that an STT engine wrote of what was not said."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from anyio.lowlevel import checkpoint

from ..audio import AudioData
from ..protocols import TranscriptionResult
from ._audio_results import decoded, slices
from ._context import RequestContext
from ._hallucination import (
    KNOWN_PHRASES,
    Limits,
    Loudest,
    cut_back,
    folded,
    judge,
    without_bad_segments,
)
from ._middleware import CallNext

__all__ = ["KNOWN_PHRASES", "HallucinationGuardMiddleware", "HallucinationStatistics"]


@dataclass(frozen=True, slots=True)
class HallucinationStatistics:
    """Counts since the start."""

    calls: int
    rejected: int  # calls whose text, or a part of it, was taken out
    reasons: Mapping[str, int]  # of them, by why


class HallucinationGuardMiddleware:
    """Takes out of transcriptions what cannot have been said; what is left may be "".

    Silence is answered without asking the engine. Results are then judged in this order, and
    the first reason is left in ``context.metadata["hallucination"]``: ``"silence"``,
    ``"no speech"``, ``"log probability"``, ``"compression ratio"``, ``"repetition"``,
    ``"rate"``, ``"known phrase"``. A one-shot result of several segments loses those that are
    bad; any other is emptied. Nothing of this is an error.

    Of a stream, partial results that are rejected, or come before anything was loud enough, are
    left out. Only what is new to the caller is judged: what was delivered as ``committed``
    stays, also in a final result that is rejected.

    Each check is switched off by None.

    Args:
        name: What logs and statistics call it.
        min_level: dBFS, -120 to 0, that frames of 30 ms must be above to be speech.
        min_speech: Seconds of such frames that speech has at least, 0 to 10.
        max_no_speech: Engine's probability that there was no speech, 0 to 1; above it, and
            below ``min_log_probability``, there was none.
        min_log_probability: The logarithm of the result's confidence, at most 0.
        max_compression: Characters of the text over bytes of it once compressed by zlib, at
            least 1; of texts of 50 characters or more.
        max_repeats: How often in a row a phrase of up to 20 words may come, at least 1.
        max_rate: Words a second of audio, above 0. Two words are free; where words have no
            spaces, two characters are one, of Thai and its like four.
        phrases: Texts such as `KNOWN_PHRASES` that are rejected if they are all there is,
            and the speech was shorter than 1 s or the engine not sure. Case and
            punctuation do not matter.
    """

    def __init__(
        self,
        *,
        name: str = "hallucination_guard",
        min_level: float | None = -60.0,
        min_speech: float | None = 0.1,
        max_no_speech: float | None = 0.6,
        min_log_probability: float | None = -1.0,
        max_compression: float | None = 2.4,
        max_repeats: int | None = 6,
        max_rate: float | None = 8.0,
        phrases: Iterable[str] | None = None,
    ) -> None:
        for what, value, least, most in (
            ("min_level (dBFS)", min_level, -120, 0),
            ("min_speech (s)", min_speech, 0, 10),
            ("max_no_speech", max_no_speech, 0, 1),
            ("min_log_probability", min_log_probability, -inf, 0),
            ("max_compression", max_compression, 1, inf),
            ("max_repeats", max_repeats, 1, inf),
            ("max_rate (words/s)", max_rate, 1e-3, inf),
        ):
            if value is not None and not least <= value <= most:
                raise ValueError(f"{what} is {least:g} to {most:g}, not {value!r}")
        if isinstance(phrases, str):
            raise TypeError("phrases are several texts, not one")
        self.name = name
        self._limits = Limits(
            min_level,
            min_speech,
            max_no_speech,
            min_log_probability,
            max_compression,
            max_repeats,
            max_rate,
            frozenset(map(folded, phrases or ())) - {()},
        )
        self._calls = 0
        self._reasons: Counter[str] = Counter()

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        if context.request_type != "stt":
            return call_next(context)
        self._calls += 1
        if context.streaming:
            return self._stream(context, call_next)
        return self._once(context, call_next)

    def statistics(self) -> HallucinationStatistics:
        """The counts up to now."""
        reasons = dict(self._reasons)
        return HallucinationStatistics(self._calls, sum(reasons.values()), reasons)

    async def _once(
        self, context: RequestContext, call_next: CallNext
    ) -> AsyncGenerator[TranscriptionResult]:
        audio: AudioData = await decoded(context.input_data["audio"])
        context.input_data["audio"] = audio  # the engine need not decode it again
        limits = self._limits
        ear = _Ear(limits)
        await ear.hear(audio)
        if not limits.heard(ear.loud):
            self._reject(context, "silence")
            yield TranscriptionResult("", context.config.get("language") or "", [])
            return
        async with aclosing(call_next(context)) as results:
            async for result in results:
                kept, partly = without_bad_segments(result, limits, ear.loud)
                reason = _judged(kept, limits, ear)
                if reason is not None:
                    kept = cut_back(kept, "")
                if (why := partly or reason) is not None:
                    self._reject(context, why)
                yield kept

    async def _stream(
        self, context: RequestContext, call_next: CallNext
    ) -> AsyncGenerator[TranscriptionResult]:
        limits = self._limits
        ear = _Ear(limits)
        context.input_data["audio"] = ear.heard_of(context.input_data["audio"])
        committed = ""
        async with aclosing(call_next(context)) as results:
            async for result in results:
                reason: str | None = "silence"
                if limits.heard(ear.loud):
                    new = result.text[len(committed) :]
                    reason = _judged(replace(result, text=new), limits, ear)
                if reason is None:
                    committed = result.committed
                    yield result
                elif not result.partial:
                    if result.text != committed:
                        self._reject(context, reason)
                    yield cut_back(result, committed)

    def _reject(self, context: RequestContext, reason: str) -> None:
        self._reasons[reason] += 1
        context.metadata["hallucination"] = reason


def _judged(result: TranscriptionResult, limits: Limits, ear: _Ear) -> str | None:
    if not result.text.strip():
        return None
    return judge(
        result.text,
        limits,
        seconds=ear.seconds,
        loud=ear.loud,
        confidence=result.confidence,
        no_speech=result.no_speech_probability,
    )


class _Ear:
    """Hears what the engine is given."""

    def __init__(self, limits: Limits) -> None:
        self.seconds = 0.0
        level = limits.min_level
        self._loudest = None if level is None else Loudest(level, limits.enough)

    @property
    def loud(self) -> float:
        """Seconds that were loud enough; all, if no level was asked for."""
        return self.seconds if self._loudest is None else self._loudest.loud

    async def hear(self, audio: AudioData) -> None:
        self.seconds += audio.duration_seconds
        if self._loudest is None:
            return
        for n, piece in enumerate(slices(audio)):
            if self._loudest.satisfied:
                return
            if n:
                await checkpoint()
            self._loudest.push(piece, audio.sample_rate)

    def heard_of(self, chunks: AsyncIterable[AudioData]) -> AsyncIterable[AudioData]:
        return _Heard(chunks, self)


class _Heard:
    """The chunks of a stream, listened to as the engine takes them."""

    __slots__ = ("_chunks", "_ear")

    def __init__(self, chunks: AsyncIterable[AudioData], ear: _Ear) -> None:
        self._chunks = aiter(chunks)
        self._ear = ear

    def __aiter__(self) -> _Heard:
        return self

    async def __anext__(self) -> AudioData:
        chunk = await decoded(await anext(self._chunks))
        await self._ear.hear(chunk)
        return chunk
