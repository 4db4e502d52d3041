"""PURE: silence at the ends and between words cut to a length.

Sound is looked at in frames of 10 ms: a frame is silent if its level, the root mean square
of its loudest channel, is below the threshold. A stretch of silence is held back until it is
known whether sound follows; of a long one only what can still be needed is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["FRAME", "LONGEST", "SilenceTrimmer", "Silences"]

_Samples = NDArray[np.float32]

FRAME: Final = 0.01  # s; a period of the lowest voices, so that no frame falls between two pulses
LONGEST: Final = 10.0  # s of silence that are held back at most, whatever is to be kept


@dataclass(frozen=True, slots=True)
class Silences:
    """What may be silent: seconds, rounded to 10 ms."""

    threshold: float  # amplitude
    leading: float
    trailing: float
    internal: float  # at most `LONGEST`
    fade: float  # at each side of a cut


class SilenceTrimmer:
    """Cuts the silences of one stretch of sound."""

    def __init__(self, sample_rate: int, channels: int, silences: Silences) -> None:
        self._frame = round(FRAME * sample_rate)
        self._threshold = silences.threshold
        self._leading = self._samples_of(silences.leading)
        self._trailing = self._samples_of(silences.trailing)
        internal = self._samples_of(silences.internal)
        # A long silence between words keeps its two ends: the decay of one word and the
        # breath before the next.
        self._tail = internal // self._frame // 2 * self._frame
        self._head = internal - self._tail
        self._fade = round(silences.fade * sample_rate)
        self._pending = np.zeros((0, channels), np.float32)  # less than a frame
        # The silence that goes on: its beginning, and as much of its end as may be needed.
        self._first = self._last = self._pending
        self._n_silent = 0
        self._sounded = False  # there was sound before

    def push(self, samples: _Samples) -> _Samples:
        """Take the next samples; return those that are sure to stay."""
        joined = np.concatenate([self._pending, samples])
        n = len(joined) // self._frame
        self._pending = joined[n * self._frame :]
        return self._taken(joined[: n * self._frame], n)

    def flush(self) -> _Samples:
        """The sound has ended: what remains of it. All silence becomes what may be silent."""
        rest = self._taken(self._pending, 1) if len(self._pending) else self._pending
        if not self._sounded:
            return np.concatenate([rest, self._last])
        kept = self._first[: self._trailing]
        if self._n_silent > len(kept):
            kept = kept * self._rising(len(kept))[::-1]
        return np.concatenate([rest, kept])

    def _samples_of(self, seconds: float) -> int:
        return round(seconds / FRAME) * self._frame

    def _taken(self, sound: _Samples, n: int) -> _Samples:
        if not n:
            return sound
        frames = sound.reshape(n, -1, sound.shape[1])
        loud = np.square(frames).mean(axis=1).max(axis=1) >= self._threshold**2
        edges = (np.flatnonzero(np.diff(loud)) + 1) * frames.shape[1]
        kept: list[_Samples] = [sound[:0]]
        is_loud = bool(loud[0])
        for piece in np.split(sound, edges):
            if is_loud:
                kept += self._silence(), piece
                self._sounded = True
            else:
                self._hold(piece)
            is_loud = not is_loud
        return np.concatenate(kept)

    def _hold(self, silence: _Samples) -> None:
        """Remember of a silence its beginning and its end, as far as either may be needed."""
        self._n_silent += len(silence)
        if self._sounded:
            longest_first = max(self._head, self._trailing)
            longest_last = self._tail
        else:
            longest_first, longest_last = 0, max(self._leading, self._trailing, self._frame)
        room = longest_first - len(self._first)
        self._first = np.concatenate([self._first, silence[:room]])
        last = np.concatenate([self._last, silence[room:]])
        self._last = last[max(len(last) - longest_last, 0) :]

    def _silence(self) -> _Samples:
        """The silence before a sound that begins, as it is to be; nothing is held any more."""
        first, last, n = self._first, self._last, self._n_silent
        self._first = self._last = first[:0]
        self._n_silent = 0
        if not self._sounded:
            kept = last[max(len(last) - self._leading, 0) :]
            return kept if n == len(kept) else kept * self._rising(len(kept))
        if n <= self._head + self._tail:
            return np.concatenate([first, last])
        before, after = first[: self._head], np.concatenate([first, last])[-self._tail or n :]
        return np.concatenate(
            [before * self._rising(len(before))[::-1], after * self._rising(len(after))]
        )

    def _rising(self, n: int) -> _Samples:
        """A gain that rises over the first samples of ``n``."""
        fade = min(self._fade, n)
        gain = np.ones((n, 1), np.float32)
        gain[:fade, 0] = (np.arange(fade) + 1) / (fade + 1)
        return gain
