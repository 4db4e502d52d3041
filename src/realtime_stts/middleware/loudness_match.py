"""Loudness: every engine and every voice as loud as the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from math import isfinite, log10
from threading import Lock
from typing import Any, Final

from ..audio import AudioData
from ._audio_results import processed
from ._context import RequestContext
from ._loudness import RunningGain, WholeGain, amplitude
from ._middleware import CallNext

__all__ = ["LoudnessMatchMiddleware", "LoudnessStatistics"]

# Blocks of 100 ms that what is known of a voice weighs at most: five seconds, so that a
# voice whose settings changed is known anew after a few sentences.
_MEMORY: Final = 50


@dataclass(frozen=True, slots=True)
class LoudnessStatistics:
    """Counts since the start."""

    calls: int  # those that made sound
    limited: int  # of them, those that ``max_gain`` kept below the target
    voices: int  # whose loudness is known


class LoudnessMatchMiddleware:
    """Brings what TTS engines say to one loudness, measured as ITU-R BS.1770-4 does.

    A one-shot result has one gain for all of it. A stream is measured while it goes: its
    gain moves by 6 dB/s at most, from what this instance knows of the engine's voice (0 dB
    where it knows nothing), and the sound comes out 10 ms later at most. Neither ever goes
    beyond the ceiling, or clips. Silence stays silence.

    Args:
        name: What logs and statistics call it.
        target: LUFS of one channel, -40 to -5. -19 for mono is as loud as -16 for stereo, which
            AES TD1008 (2021) recommends for speech on the internet.
        max_gain: dB, 0 to 60, above which nothing is raised: what is quieter is noise.
        ceiling: dBFS, -20 to 0, of the highest sample; -1 leaves room for what conversion
            to another rate or format adds.
        max_voices: Voices that are remembered, at least 1; the one unused for longest goes.
    """

    def __init__(
        self,
        *,
        name: str = "loudness_match",
        target: float = -19.0,
        max_gain: float = 20.0,
        ceiling: float = -1.0,
        max_voices: int = 256,
    ) -> None:
        for what, value, least, most in (
            ("target", target, -40, -5),
            ("max_gain", max_gain, 0, 60),
            ("ceiling", ceiling, -20, 0),
        ):
            if not (isfinite(value) and least <= value <= most):
                raise ValueError(f"{what} is {least} to {most} dB, not {value!r}")
        if max_voices < 1:
            raise ValueError(f"max_voices is at least 1, not {max_voices!r}")
        self.name = name
        self.target, self.max_gain, self.ceiling = target, max_gain, ceiling
        self.max_voices = max_voices
        self._known: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._calls = self._limited = 0
        self._lock = Lock()

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        if context.request_type != "tts":
            return call_next(context)
        return self._matched(context, call_next)

    def statistics(self) -> LoudnessStatistics:
        """The counts up to now."""
        with self._lock:
            return LoudnessStatistics(self._calls, self._limited, len(self._known))

    async def _matched(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        process: WholeGain | RunningGain | None = None

        def begin(audio: AudioData) -> WholeGain | RunningGain:
            nonlocal process
            # Channels add up: the loudness of one is the same however many say the same.
            target = self.target + 10 * log10(audio.channels)
            rate, channels = audio.sample_rate, audio.channels
            gain, ceiling = self.max_gain, amplitude(self.ceiling)
            if context.streaming:
                known = self._recall(_voice(context))
                process = RunningGain(
                    rate, channels, target=target, max_gain=gain, ceiling=ceiling, known=known
                )
            else:
                process = WholeGain(rate, channels, target=target, max_gain=gain, ceiling=ceiling)
            return process

        try:
            async with aclosing(processed(context, call_next, begin)) as results:
                async for result in results:
                    yield result
        finally:
            if process is not None:
                self._learn(_voice(context), process)

    def _recall(self, voice: tuple[str, str]) -> tuple[float, int] | None:
        with self._lock:
            known = self._known.get(voice)
            if known is not None:
                self._known.move_to_end(voice)
            return known

    def _learn(self, voice: tuple[str, str], process: WholeGain | RunningGain) -> None:
        measured = process.measured()
        with self._lock:
            self._calls += 1
            self._limited += process.limited
            if measured is None:
                return
            loudness, n_blocks = measured
            self._known[voice] = loudness, min(n_blocks, _MEMORY)
            self._known.move_to_end(voice)
            if len(self._known) > self.max_voices:
                self._known.popitem(last=False)


def _voice(context: RequestContext) -> tuple[str, str]:
    return context.engine, str(context.config.get("voice_id") or "")
