"""PURE: speech made faster or slower without a change of its pitch, as it streams.

WSOLA (Verhelst and Roelands, "An overlap-add technique based on waveform similarity for high
quality time-scale modification of speech", 1993): the output goes on in hops of 15 ms, the
input in hops longer or shorter by the factor; of the places around each, the one is taken
that goes on most alike from what came before, and is faded over into.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["Speed"]

_HOP: Final = 0.015  # s
_REACH: Final = 0.0075  # s to each side: together a period of a voice of 67 Hz


class Speed:
    """float32 of shape (n,) in, 1 / factor as many out, the same however they are cut.

    It holds back 45 ms at most. A factor of 1 changes and holds back nothing.

    Args:
        factor: 0.5 to 2; 2 is twice as fast.
        sample_rate: Hz.

    Raises:
        ValueError: The factor is out of range.
    """

    def __init__(self, factor: float, sample_rate: int = 24_000) -> None:
        if not 0.5 <= factor <= 2.0:
            raise ValueError(f"the factor is 0.5 to 2, not {factor}")
        self._factor = factor
        self._hop = round(_HOP * sample_rate)
        self._reach = round(_REACH * sample_rate)
        # The fade is half of a Hann window: its two sides add up to 1.
        self._rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(self._hop) + 0.5) / self._hop)
        self._heard = np.zeros(0)  # from sample `_at` on
        self._at = 0
        self._n_heard = 0  # samples of the whole stream
        self._n_hops = 0  # given out
        self._natural = 0  # where the input would go on from what was given out last

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next samples; returns what is ready."""
        if self._factor == 1.0:
            return np.asarray(samples, np.float32)
        self._n_heard += samples.size
        self._heard = np.concatenate([self._heard, samples])
        hops = [np.zeros(0)]
        while self._needed() <= self._at + self._heard.size:
            hops.append(self._next())
        return np.concatenate(hops).astype(np.float32)

    def finish(self) -> NDArray[np.float32]:
        """The rest of the stream, which has ended."""
        if self._factor == 1.0:
            return np.zeros(0, np.float32)
        n_rest = round(self._n_heard / self._factor) - self._n_hops * self._hop
        hops = [np.zeros(0)]
        for _ in range(0, n_rest, self._hop):
            n_missing = max(self._needed() - self._at - self._heard.size, 0)
            self._heard = np.concatenate([self._heard, np.zeros(n_missing)])
            hops.append(self._next())
        return np.concatenate(hops)[: max(n_rest, 0)].astype(np.float32)

    def _target(self) -> int:
        return round(self._n_hops * self._hop * self._factor)

    def _needed(self) -> int:
        """The end of the input that the next hop takes."""
        return max(self._target() + self._reach, self._natural) + 2 * self._hop

    def _next(self) -> NDArray[np.float64]:
        hop, target = self._hop, self._target()
        first = max(target - self._reach, 0)
        span = self._heard[first - self._at : target + self._reach + 2 * hop - self._at]
        goes_on = self._heard[self._natural - self._at : self._natural - self._at + 2 * hop]
        chosen = first + _most_alike(span, goes_on, target - first)
        begins = self._heard[chosen - self._at : chosen - self._at + hop]
        out = goes_on[:hop] + (begins - goes_on[:hop]) * self._rise
        self._natural = chosen + hop
        self._n_hops += 1
        done = min(self._natural, max(self._target() - self._reach, 0)) - self._at
        self._heard, self._at = self._heard[done:], self._at + done
        return out


def _most_alike(span: NDArray[np.float64], template: NDArray[np.float64], default: int) -> int:
    """Where ``span`` is most like ``template``, by the cosine of the two.

    ``default`` if nothing is louder than rounding.
    """
    power = (sliding_window_view(span, template.size) ** 2).sum(axis=1)
    likeness = np.correlate(span, template, "valid") / np.sqrt(power + 1e-12)
    best = int(likeness.argmax())
    return best if likeness[best] > likeness[default] + 1e-9 else default
