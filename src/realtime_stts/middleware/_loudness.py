"""PURE: how loud speech is, after ITU-R BS.1770-4, and gain that brings it to a loudness.

The K-weighting filters are those of the recommendation, whose table is for 48 kHz, designed
anew for each rate from the analogue prototype that the table was derived from (as
libebur128 and De Man's "Evaluation of implementations of the EBU R128 loudness
measurement", 2018, do). They are applied as one impulse response of 100 ms, by FFT; what
is cut off of it is below -120 dB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from math import inf, log10, pi, tan
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Loudness", "RunningGain", "WholeGain", "amplitude", "decibels"]

_Samples = NDArray[np.float32]

_HOP: Final = 0.1  # s; blocks of 400 ms overlap by 75 %
_HOPS: Final = 4  # of a block
_QUIETEST: Final = -70  # LUFS; the absolute gate: what is below it counts nowhere
_RELATIVE: Final = -10  # LU; the relative gate, below the loudness of what passes the other
_FINENESS: Final = 10  # classes of loudness in 1 LU: the relative gate is right to 0.1 LU
_CLASSES: Final = (10 - _QUIETEST) * _FINENESS  # up to 10 LUFS: square waves on 8 channels

_STEP: Final = 0.005  # s; gain is decided for so long a stretch, and known one ahead
_STEPS_A_HOP: Final = round(_HOP / _STEP)
_SLEW: Final = 6.0  # dB/s; a voice that changes faster sounds as if it moved about
_RELEASE: Final = 40.0  # dB/s; from a peak back to the gain that speech has
# Blocks of 100 ms that are to be heard before the measure of a running stream is trusted:
# the first are of its first syllable.
_ENOUGH: Final = 4


def decibels(ratio: float) -> float:
    """An amplitude, in dB of full scale."""
    return 20 * log10(ratio) if ratio > 0 else -inf


def amplitude(level: float) -> float:
    """A level in dB, as an amplitude."""
    return float(10 ** (level / 20))


def _loudness(power: float) -> float:
    return -0.691 + 10 * log10(power) if power > 0 else -inf


class Loudness:
    """Gated loudness of what was pushed so far, in LUFS.

    Memory is bounded however long the sound is: blocks are kept as a table of how many
    there were of each loudness, and their power.

    Args:
        sample_rate: Hz.
        channels: Their powers are added, as the recommendation does for left and right.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._hop = round(_HOP * sample_rate)
        self._response = _k_weighting(sample_rate)
        self._pending: NDArray[np.floating] = np.zeros((0, channels), np.float32)
        self._before = np.zeros((self._hop, channels), np.float32)
        self._powers: deque[float] = deque(maxlen=_HOPS)
        self._counts = np.zeros(_CLASSES, np.int64)
        self._energies = np.zeros(_CLASSES)
        self._heard = False
        self.newest = -inf  # LUFS of the last block

    @property
    def blocks(self) -> int:
        """How many blocks passed the gates; there are ten a second."""
        gate = self._gate()
        return 0 if gate is None else int(self._counts[gate:].sum())

    def push(self, samples: NDArray[np.floating]) -> None:
        """Listen to the next samples, of any number."""
        joined = np.concatenate([self._pending, samples]) if len(self._pending) else samples
        n_whole = len(joined) // self._hop * self._hop
        for first in range(0, n_whole, self._hop):
            self._listen(joined[first : first + self._hop])
        self._pending = joined[n_whole:].copy()

    def value(self) -> float:
        """LUFS; minus infinity if nothing was heard above -70 LUFS.

        Of less than 400 ms it is the loudness of all there is.
        """
        if len(self._powers) < _HOPS and not self._heard:
            return self._short()
        gate = self._gate()
        if gate is None:
            return -inf
        return _loudness(self._energies[gate:].sum() / self._counts[gate:].sum())

    def passes(self, loudness: float) -> bool:
        """Whether a block of that loudness is speech to the gates, and no pause."""
        gate = self._gate()
        return gate is not None and _class_of(loudness) >= gate

    def _gate(self) -> int | None:
        """The lowest class that counts."""
        n = self._counts.sum()
        if not n:
            return None
        gate = _class_of(_loudness(self._energies.sum() / n) + _RELATIVE)
        return min(max(gate, 0), _CLASSES - 1)

    def _listen(self, hop: NDArray[np.floating]) -> None:
        """Take a hop of 100 ms, and with it the block that ends there."""
        power = float(np.square(self._filtered(hop)).sum()) / self._hop
        self._before = hop
        self._powers.append(power)
        if len(self._powers) < _HOPS:
            return
        self._heard = True
        mean = sum(self._powers) / _HOPS
        self.newest = _loudness(mean)
        if self.newest > _QUIETEST:
            kind = min(_class_of(self.newest), _CLASSES - 1)
            self._counts[kind] += 1
            self._energies[kind] += mean

    def _filtered(self, hop: NDArray[np.floating]) -> NDArray[np.floating]:
        both = np.concatenate([self._before, hop])
        spectrum = np.fft.rfft(both, axis=0)
        filtered: NDArray[np.floating] = np.fft.irfft(spectrum * self._response, len(both), axis=0)
        return filtered[self._hop :]

    def _short(self) -> float:
        n = len(self._powers) * self._hop + len(self._pending)
        if not n:
            return -inf
        energy = sum(self._powers) * self._hop
        if len(self._pending):
            rest = np.zeros_like(self._before)
            rest[: len(self._pending)] = self._pending
            energy += float(np.square(self._filtered(rest)[: len(self._pending)]).sum())
        loudness = _loudness(energy / n)
        return loudness if loudness > _QUIETEST else -inf


def _class_of(loudness: float) -> int:
    return int((loudness - _QUIETEST) * _FINENESS) if loudness > _QUIETEST else -1


@lru_cache(maxsize=16)  # rates that engines have
def _k_weighting(sample_rate: int) -> NDArray[np.complex128]:
    """The spectrum of the filter's first 100 ms, for two hops of samples. Shape (bins, 1)."""
    hop = round(_HOP * sample_rate)
    # Sampled finely enough that the response has died away before it would wrap around.
    z = np.exp(-2j * pi * np.arange(4 * hop + 1) / (8 * hop))
    response = np.fft.irfft(_shelf(sample_rate, z) * _high_pass(sample_rate, z), 8 * hop)
    spectrum: NDArray[np.complex128] = np.fft.rfft(response[:hop], 2 * hop)[:, np.newaxis]
    return spectrum


def _shelf(sample_rate: int, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Stage 1: the head's effect, a high shelf. ``z`` is the delay of one sample."""
    k = tan(pi * 1681.974450955533 / sample_rate)
    q = 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416
    start, end = high + middle * k / q + k * k, high - middle * k / q + k * k
    above = start + 2 * (k * k - high) * z + end * z**2
    below = (1 + k / q + k * k) + 2 * (k * k - 1) * z + (1 - k / q + k * k) * z**2
    shelf: NDArray[np.complex128] = above / below
    return shelf


def _high_pass(sample_rate: int, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Stage 2: the revised low-frequency B curve, a high pass."""
    k = tan(pi * 38.13547087602444 / sample_rate)
    q = 0.5003270373238773
    a = 1 + k / q + k * k
    passed: NDArray[np.complex128] = (1 - z) ** 2 / (
        1 + 2 * (k * k - 1) / a * z + (1 - k / q + k * k) / a * z**2
    )
    return passed


class WholeGain:
    """One gain for a whole clip, which is held back until it has ended.

    Where a peak would go beyond the ceiling, the gain dips for some milliseconds.

    Args:
        sample_rate: Hz.
        channels: Channels of the clip.
        target: LUFS of it.
        max_gain: dB, above which nothing is raised.
        ceiling: Amplitude that no sample goes beyond.
    """

    def __init__(
        self, sample_rate: int, channels: int, *, target: float, max_gain: float, ceiling: float
    ) -> None:
        self._loudness = Loudness(sample_rate, channels)
        self._target, self._max_gain = target, max_gain
        self._gain = 0.0  # dB
        self._ramp = _Ramp(sample_rate, channels, ceiling, lambda step: self._gain)
        self._held: list[_Samples] = [np.zeros((0, channels), np.float32)]
        self.limited = False

    def measured(self) -> tuple[float, int] | None:
        """LUFS of this voice, and in how many blocks; None if too little of it was heard."""
        n = self._loudness.blocks
        return (self._loudness.value(), n) if n >= _ENOUGH else None

    def push(self, samples: _Samples) -> _Samples:
        """Measure them; nothing comes out yet."""
        self._loudness.push(samples)
        self._held.append(samples)
        return samples[:0]

    def flush(self) -> _Samples:
        """The whole clip, with its gain. Silence comes back as it is."""
        samples = np.concatenate(self._held)
        measured = self._loudness.value()
        if measured == -inf:
            return samples
        wanted = self._target - measured
        self._gain = min(wanted, self._max_gain)
        self.limited = wanted > self._max_gain
        return np.concatenate([self._ramp.push(samples), self._ramp.flush()])


class RunningGain:
    """Gain that follows the loudness measured so far; the sound comes out 5 to 10 ms late.

    It goes where the measure wants it by 6 dB/s at most, stands still in pauses, and dips, a
    step ahead, where a sample would go beyond the ceiling.

    Args:
        sample_rate: Hz.
        channels: Channels of the sound.
        target: LUFS.
        max_gain: dB, above which nothing is raised.
        ceiling: Amplitude that no sample goes beyond.
        known: What earlier sound of this voice measured, in LUFS, and in how many blocks.
    """

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        *,
        target: float,
        max_gain: float,
        ceiling: float,
        known: tuple[float, int] | None = None,
    ) -> None:
        self._loudness = Loudness(sample_rate, channels)
        self._target, self._max_gain = target, max_gain
        self._known = known
        self._ramp = _Ramp(sample_rate, channels, ceiling, self._follow)
        self._unmeasured: list[_Samples] = []  # steps of the 100 ms that go on
        self.limited = False
        self._goal = self._wanted(known[0]) if known else 0.0  # dB
        self._aim = self._goal  # how far it is on the way there

    def measured(self) -> tuple[float, int] | None:
        """LUFS of this voice as known now, and in how many blocks; None if it is not known."""
        n, value = self._loudness.blocks, self._loudness.value()
        if n < _ENOUGH:
            return self._known
        if self._known is None:
            return value, n
        before, n_before = self._known
        return (before * n_before + value * n) / (n_before + n), n_before + n

    def push(self, samples: _Samples) -> _Samples:
        """Take the next samples; return those whose gain is decided."""
        return self._ramp.push(samples)

    def flush(self) -> _Samples:
        """What was held back."""
        return self._ramp.flush()

    def _wanted(self, measured: float) -> float:
        wanted = self._target - measured
        self.limited = wanted > self._max_gain
        return min(wanted, self._max_gain)

    def _follow(self, step: _Samples) -> float:
        """Let the aim move on; every 100 ms, when a block has ended, set the goal anew."""
        self._aim += min(max(self._goal - self._aim, -_SLEW * _STEP), _SLEW * _STEP)
        self._unmeasured.append(step)
        if len(self._unmeasured) == _STEPS_A_HOP:
            self._loudness.push(np.concatenate(self._unmeasured))
            self._unmeasured.clear()
            now = self.measured()
            if now is not None and self._loudness.passes(self._loudness.newest):
                self._goal = self._wanted(now[0])
        return self._aim


class _Ramp:
    """Applies a gain that is decided anew every 5 ms, and moves evenly between: no clicks.

    It is the one aimed at, but nowhere so high that a sample goes beyond the ceiling: it
    dips for the step of a peak, over the step before, and comes back by 40 dB/s. A step is held
    back until the next is known.
    """

    def __init__(
        self, sample_rate: int, channels: int, ceiling: float, aim: Callable[[_Samples], float]
    ) -> None:
        self._ceiling, self._aim = ceiling, aim  # amplitude; dB for the step it is given
        self._step = round(_STEP * sample_rate)
        self._pending = np.zeros((0, channels), np.float32)  # of a step to come
        self._held = np.zeros((0, self._step, channels), np.float32)  # the last step, or none
        self._cap = inf  # dB, for what is held
        self._gain = inf  # dB, at its beginning

    def push(self, samples: _Samples) -> _Samples:
        joined = np.concatenate([self._pending, samples])
        n = len(joined) // self._step
        self._pending = joined[n * self._step :]
        if not n:
            return samples[:0]
        return self._taken(joined[: n * self._step].reshape(n, self._step, -1))

    def flush(self) -> _Samples:
        rest = len(self._pending)
        padding = np.zeros((-rest % self._step, self._pending.shape[1]), np.float32)
        made = [self.push(padding)] if rest else []
        if len(self._held):
            held = self._held[0] * np.float32(amplitude(self._gain))
            made.append(held[: rest or None])
        return np.concatenate([self._pending, *made])

    def _taken(self, steps: _Samples) -> _Samples:
        n_held = len(self._held)
        gains = [self._gain] * n_held
        for step, peak in zip(steps, np.abs(steps).max(axis=(1, 2)).tolist(), strict=True):
            cap = decibels(self._ceiling / peak) if peak > 0 else inf
            back = self._gain + _RELEASE * _STEP
            self._gain = min(self._aim(step), back, cap, self._cap)
            self._cap = cap
            gains.append(self._gain)
        sound = np.concatenate([self._held, steps])
        self._held = sound[-1:]
        amplitudes = 10 ** (np.array(gains)[:, np.newaxis, np.newaxis] / 20)
        moves = np.diff(amplitudes, axis=0) * (np.arange(self._step) / self._step)[:, np.newaxis]
        raised = (sound[:-1] * (amplitudes[:-1] + moves)).astype(np.float32)
        return raised.reshape(-1, steps.shape[2])
