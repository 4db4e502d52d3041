"""Silence: no more of it before, after and between the words than was asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..audio import AudioData
from ._audio_results import AudioProcess, Samples, processed
from ._context import RequestContext
from ._middleware import CallNext
from ._silences import LONGEST, Silences, SilenceTrimmer

__all__ = ["SilenceStatistics", "SilenceTrimMiddleware"]


@dataclass(frozen=True, slots=True)
class SilenceStatistics:
    """Counts since the start."""

    calls: int  # those that made sound
    audio: float  # s that engines made
    removed: float  # s of it that were silence too much


class SilenceTrimMiddleware:
    """Trims the silence of what TTS engines say, one-shot and streaming alike.

    A stream holds a silence back until sound follows or it ends, so it may be short of
    sound for as long as the engine is silent. Cuts are in silence, and faded. Of speech that
    is all silence, the longer of ``leading`` and ``trailing`` stays, but at least 10 ms.

    Args:
        name: What logs and statistics call it.
        threshold: dBFS, -90 to -20: a frame of 10 ms whose level is below is silent.
        leading: Seconds of silence that may stand before the first sound, 0 to 10.
        trailing: The same after the last sound.
        internal: Seconds that a silence between sounds is shortened to, 0 to 10, half of it
            from each side. None keeps silences as they are, up to 10 s.
        fade: Seconds over which the silence left at a cut fades, 0 to 0.1.
    """

    def __init__(
        self,
        *,
        name: str = "silence_trim",
        threshold: float = -45.0,  # dBFS; above the noise of engines, below their fricatives
        leading: float = 0.05,
        trailing: float = 0.1,
        internal: float | None = 0.5,
        fade: float = 0.005,
    ) -> None:
        if not (isfinite(threshold) and -90 <= threshold <= -20):
            raise ValueError(f"threshold is -90 to -20 dBFS, not {threshold!r}")
        between = LONGEST if internal is None else internal
        for what, value, most in (
            ("leading", leading, LONGEST),
            ("trailing", trailing, LONGEST),
            ("internal", between, LONGEST),
            ("fade", fade, 0.1),
        ):
            if not (isfinite(value) and 0 <= value <= most):
                raise ValueError(f"{what} is 0 to {most:g} s, not {value!r}")
        self.name = name
        self._silences = Silences(10 ** (threshold / 20), leading, trailing, between, fade)
        self._calls = 0
        self._audio = self._kept = 0.0

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        if context.request_type != "tts":
            return call_next(context)
        return processed(context, call_next, self._begin)

    def statistics(self) -> SilenceStatistics:
        """The counts up to now; what is still going on counts as far as it has come."""
        return SilenceStatistics(self._calls, self._audio, max(self._audio - self._kept, 0.0))

    def _begin(self, audio: AudioData) -> AudioProcess:
        self._calls += 1
        trimmer = SilenceTrimmer(audio.sample_rate, audio.channels, self._silences)
        return _Counted(trimmer, self, audio.sample_rate)


class _Counted:
    """A trimmer that says what it took and gave."""

    __slots__ = ("_rate", "_trim", "_trimmer")

    def __init__(self, trimmer: SilenceTrimmer, trim: SilenceTrimMiddleware, rate: int) -> None:
        self._trimmer, self._trim, self._rate = trimmer, trim, rate

    def push(self, samples: Samples) -> Samples:
        kept = self._trimmer.push(samples)
        self._trim._audio += len(samples) / self._rate
        self._trim._kept += len(kept) / self._rate
        return kept

    def flush(self) -> Samples:
        kept = self._trimmer.flush()
        self._trim._kept += len(kept) / self._rate
        return kept
