"""Pause detection by loudness alone: no model, and good where speech stands out of the room.

A frame's level is held against a threshold over the room's noise, which is learnt in two
ways. While nobody speaks, it follows the level. And it is lifted to the lowest level of a
long window, speech or not: a talker leaves gaps, so what never went lower is the room.
The second is R. Martin's minimum statistics ("Noise power spectral density estimation
based on optimal smoothing and minimum statistics", IEEE Transactions on Speech and Audio
Processing 9(5), 2001), of the whole band and over a window longer than any breath. So
talking does not raise the floor, and a fan that is switched on does, once.
"""

from __future__ import annotations

from collections import deque
from math import exp, inf, log, log10, sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._endpoint import EndpointPolicy, Quiet
from ._framing import FramedPauseDetector

__all__ = ["EnergyPauseDetector"]

_FULL_SCALE: Final = 1 << 15
_OVER_NOISE: Final = 20 * log10(3)  # dB; the contract: three times the background
_LEAST: Final = 20 * log10(1 / 2)  # dB; the contract: 0.005 where energy_threshold is 0.01
_HYSTERESIS: Final = 3.0  # dB under the threshold; speech goes on down to there
_SMOOTHING: Final = 0.1  # s; a lull within noise is shorter, a gap between words is not
_BLOCKS: Final = 10  # of a window; its minimum is that of its blocks'
_RECENT: Final = 50  # frames that `get_stats` speaks of; the contract's number

# The probability is a logistic function of dB over the threshold: one half at it, and the
# policy's lower threshold where the hysteresis ends.
_POLICY: Final = EndpointPolicy()
_SLOPE: Final = log(1 / _POLICY.stop_below - 1) / _HYSTERESIS  # per dB


class EnergyPauseDetector(FramedPauseDetector):
    """Finds speech where the level exceeds a threshold.

    ``speech_confidence`` is 0.5 at the threshold and grows with the level. A level that
    comes up and stays up without a gap is speech at first, and background after 1.1 times
    ``noise_window``; the same goes for a room that is noisy when the stream begins. Where
    that is too long, WebRTC's detector or Silero's knows noise by its sound.

    Args:
        energy_threshold: RMS over which a frame is speech, full scale being 1.0. An
            adaptive threshold starts from it and never falls under half of it.
        frame_duration_ms: 10 to 100.
        min_speech_frames: Frames of speech in a row that start speech.
        min_pause_frames: Frames of silence in a row that end it.
        sample_rate: Hz at which it listens. Audio of any rate is taken.
        adaptive_threshold: Keep the threshold at three times the background noise.
        adaptation_rate: Share of the background kept from frame to frame while it
            follows the level, between 0 and 1.
        noise_window: Seconds without any gap that make a level background; at least 1.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(
        self,
        energy_threshold: float = 0.01,
        frame_duration_ms: int = 30,
        min_speech_frames: int = 3,
        min_pause_frames: int = 10,
        sample_rate: int = 16_000,
        adaptive_threshold: bool = True,
        adaptation_rate: float = 0.95,
        noise_window: float = 30.0,
    ) -> None:
        if not 10 <= frame_duration_ms <= 100:
            raise ValueError(f"frame_duration_ms is 10 to 100, not {frame_duration_ms}")
        if not 0.0 < adaptation_rate < 1.0:
            raise ValueError(f"adaptation_rate is between 0 and 1, not {adaptation_rate}")
        if not noise_window >= 1.0:
            raise ValueError(f"noise_window is at least 1 s, not {noise_window}")
        super().__init__(
            sample_rate=sample_rate,
            frame_size=round(sample_rate * frame_duration_ms / 1000),
            start_above=_POLICY.start_above,
            stop_below=_POLICY.stop_below,
            min_speech_frames=min_speech_frames,
            min_pause_frames=min_pause_frames,
        )
        self._energy_threshold = _checked(energy_threshold)
        self._frame_duration_ms = frame_duration_ms
        self._adaptive_threshold = adaptive_threshold
        self._adaptation_rate = adaptation_rate
        self._noise_window = noise_window
        self.reset()

    def set_energy_threshold(self, energy_threshold: float) -> None:
        """Change it from the next frame on; an adaptive threshold starts again from it.

        Raises:
            ValueError: It is not in (0, 1].
        """
        self._energy_threshold = _checked(energy_threshold)
        self._floor = self._new_floor()

    def enable_adaptive_threshold(self, enabled: bool = True) -> None:
        """Let the threshold follow the background, which is learnt either way, or fix it."""
        self._adaptive_threshold = enabled

    def get_config(self) -> dict[str, Any]:
        return {
            "energy_threshold": self._energy_threshold,
            "frame_duration_ms": self._frame_duration_ms,
            "min_speech_frames": self._min_speech_frames,
            "min_pause_frames": self._min_pause_frames,
            "sample_rate": self._sample_rate,
            "adaptive_threshold": self._adaptive_threshold,
            "adaptation_rate": self._adaptation_rate,
            "noise_window": self._noise_window,
        }

    def get_stats(self) -> dict[str, float]:
        """The RMS of the last frames, and what they are held against.

        Returns:
            ``current_energy``, and ``mean_energy``, ``std_energy``, ``min_energy`` and
            ``max_energy`` of the last 50 frames, all 0.0 before the first;
            ``background_energy`` and ``threshold`` in force, RMS as well; and
            ``snr_estimate``, dB of the last frame over the background.
        """
        energies = np.array(self._recent or [0.0])
        return {
            "current_energy": float(energies[-1]),
            "mean_energy": float(energies.mean()),
            "std_energy": float(energies.std()),
            "min_energy": float(energies.min()),
            "max_energy": float(energies.max()),
            "background_energy": _rms(self._floor.level),
            "threshold": _rms(self._threshold),
            "snr_estimate": _decibels(float(energies[-1])) - self._floor.level,
        }

    @property
    def _threshold(self) -> float:
        """dB of full scale."""
        given = _decibels(self._energy_threshold)
        if not self._adaptive_threshold:
            return given
        return max(self._floor.level + _OVER_NOISE, given + _LEAST)

    def _probability(self, frame: NDArray[np.int16]) -> float:
        samples = frame.astype(np.float64)  # exact: sums of squares of 16 bits fit in 53
        rms = sqrt(samples @ samples / len(samples)) / _FULL_SCALE
        level, threshold = _decibels(rms), self._threshold
        self._recent.append(rms)
        if rms > 0:
            quiet = level < threshold and isinstance(self._heard.state, Quiet)
            self._floor.learn(level, quiet=quiet)
        else:
            self._floor.mute()
        return 1 / (1 + exp(_SLOPE * (threshold - level)))

    def _forget(self) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._floor = self._new_floor()

    def _new_floor(self) -> _NoiseFloor:
        frame = self._frame_size / self._sample_rate
        return _NoiseFloor(
            level=_decibels(self._energy_threshold) - _OVER_NOISE,
            keep=self._adaptation_rate,
            smooth=exp(-frame / _SMOOTHING),
            block_size=max(1, round(self._noise_window / _BLOCKS / frame)),
        )


class _NoiseFloor:
    """The level of the background, in dB of full scale.

    Args:
        level: Where to begin.
        keep: Share of it kept in each frame that it follows.
        smooth: Share of the smoothed level kept in each frame.
        block_size: Frames in each of the window's blocks.
    """

    def __init__(self, *, level: float, keep: float, smooth: float, block_size: int) -> None:
        self.level = level
        self._keep, self._smooth = keep, smooth
        self._block_size = block_size
        self._smoothed: float | None = None
        self._lowest = inf  # of the block so far
        self._left = block_size  # frames to its end
        self._minima: deque[float] = deque(maxlen=_BLOCKS)  # of the blocks before it

    def learn(self, level: float, *, quiet: bool) -> None:
        """Hear a frame of that level; ``quiet`` if nobody speaks in it."""
        if quiet or level < self.level:
            self.level += (1 - self._keep) * (level - self.level)
        self._pass(level)

    def mute(self) -> None:
        """Hear exact zeros: of a muted microphone or a gap in the line, and not of the room.

        They say nothing of the background; but they are gaps, so what is between them is
        talk and no fan.
        """
        self._pass(_decibels(0.0))

    def _pass(self, level: float) -> None:
        previous = level if self._smoothed is None else self._smoothed
        self._smoothed = level + self._smooth * (previous - level)
        self._lowest = min(self._lowest, self._smoothed)
        self._left -= 1
        if self._left:
            return
        self._minima.append(self._lowest)
        self._lowest, self._left = inf, self._block_size
        if len(self._minima) == _BLOCKS:
            self.level = max(self.level, min(self._minima))


def _checked(energy_threshold: float) -> float:
    if not 0.0 < energy_threshold <= 1.0:
        raise ValueError(f"energy_threshold is in (0, 1], not {energy_threshold}")
    return energy_threshold


def _decibels(rms: float) -> float:
    """dB of full scale, from the smallest step of 16 bits up."""
    return 20 * log10(max(rms, 1 / _FULL_SCALE))


def _rms(level: float) -> float:
    return float(10 ** (level / 20))
