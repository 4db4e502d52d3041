"""PURE: pieces of speech joined into one stream, with the pauses that belong between them.

A piece begins and ends with as much silence as the model happened to make. What is before its
first sound is cut to 40 ms, a silence that lasts is cut to 0.7 s, and what is after its last
sound counts as part of the pause. Every piece is faded in and out over 5 ms, so nothing clicks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ._text import letters

__all__ = ["Joiner", "is_plausible", "longest"]

_QUIET: Final = 10 ** (-50 / 20)  # of full scale: what a model's silence does not reach
_LEAD: Final = 0.04  # s before the first sound; an f or an h begins lower than that
_LONGEST: Final = 0.7  # s of silence within a piece: no pause is longer
_FADE: Final = 0.005  # s

# Seconds a letter. Fast readers say some 25 letters a second, slow ones 8; the bounds are for
# what is no reading: words left out or said again and again, or a noise that goes on.
_FASTEST: Final = 1 / 35
_SLOWEST: Final = 1 / 5
_AROUND: Final = 2.0  # s; a model may breathe, laugh or wait before it speaks, however short


def is_plausible(text: str, seconds: float) -> bool:
    """Whether ``text`` can have been said in so many seconds, in whatever script it is."""
    return letters(text) * _FASTEST <= seconds <= longest(text)


def longest(text: str) -> float:
    """Seconds that saying ``text`` can take at most."""
    return letters(text) * _SLOWEST + _AROUND


class Joiner:
    """Chunks of pieces in, float32 of shape (n,); one stream out, however they are cut.

    It holds back 45 ms at most.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int = 24_000) -> None:
        self._sample_rate = sample_rate
        self._n_lead = round(_LEAD * sample_rate)
        self._n_longest = round(_LONGEST * sample_rate)
        self._n_fade = round(_FADE * sample_rate)
        self._begin()

    def _begin(self) -> None:
        empty = np.zeros(0, np.float32)
        self._lead = empty  # of a piece that has made no sound yet
        self._held = empty  # its last samples, to be faded if nothing follows
        self._n_given: int | None = None  # samples after the lead was cut; None before
        self._n_quiet = 0  # samples since the last sound

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """More of the present piece; returns what is ready."""
        samples = np.asarray(samples, np.float32)
        if self._n_given is None:
            samples = np.concatenate([self._lead, samples])
            sounds = np.flatnonzero(np.abs(samples) >= _QUIET)
            if not sounds.size:
                self._lead = samples[max(samples.size - self._n_lead, 0) :]
                return samples[:0]
            samples = samples[max(int(sounds[0]) - self._n_lead, 0) :]
            self._n_given = 0
        at = np.arange(samples.size)
        gain = np.minimum((self._n_given + at + 0.5) / self._n_fade, 1.0)
        self._n_given += samples.size

        last_sound = np.where(np.abs(samples) >= _QUIET, at, -1 - self._n_quiet)
        n_quiet = at - np.maximum.accumulate(last_sound)
        self._n_quiet = int(n_quiet[-1]) if n_quiet.size else self._n_quiet
        # A silence that lasts dies away before it is cut.
        gain *= np.clip((self._n_longest + 0.5 - n_quiet) / self._n_fade, 0.0, 1.0)
        kept = (samples * gain).astype(np.float32)[n_quiet <= self._n_longest]

        kept = np.concatenate([self._held, kept])
        ready, self._held = np.split(kept, [max(kept.size - self._n_fade, 0)])
        return ready

    def end_piece(self, pause: float = 0.0) -> NDArray[np.float32]:
        """The present piece has ended, and the next begins after ``pause`` seconds.

        Returns the piece's rest, and as much silence as the pause is longer than its own.
        """
        held = self._held
        fade = (np.arange(held.size)[::-1] + 0.5) / self._n_fade
        n_own = min(self._n_quiet, self._n_longest)
        silence = np.zeros(max(round(pause * self._sample_rate) - n_own, 0), np.float32)
        self._begin()
        return np.concatenate([(held * np.minimum(fade, 1.0)).astype(np.float32), silence])
