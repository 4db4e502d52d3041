"""PURE: sound in so few numbers that a recording can tell whether it hears the same again.

A hash would do, if every machine resampled to the very same bits. A sketch forgives the
last ones: each tenth of a second is projected on four random directions. Projections keep
distances (W. Johnson and J. Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert
space", 1984): what sounds the same has nearly the same numbers, and nothing else has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ..audio import AudioData, StreamResampler

__all__ = ["SECONDS", "Sketch", "Sketcher", "alike"]

Sketch = tuple[int, ...]  # of one block of sound

_RATE: Final = 16_000  # Hz; what is above 8 kHz says little
SECONDS: Final = 0.1  # of a block
_SIZE: Final = round(SECONDS * _RATE)  # samples
_N_DIRECTIONS: Final = 4
_EXACT: Final = 8  # steps of 16 bits; rounding moves a projection by about one
_CLOSE: Final = 0.02  # of the sketch's largest number


class Sketcher:
    """Sketches a stream block by block. However it is cut, the sketches are the same."""

    def __init__(self) -> None:
        self._resampler = StreamResampler(_RATE)
        self._rest = np.empty(0, np.float32)
        # This generator, unlike the newer ones, is promised to give the same for ever.
        signs = np.random.RandomState(0).randint(0, 2, (_SIZE, _N_DIRECTIONS))
        self._directions = (2 * signs - 1) * ((1 << 15) / np.sqrt(_SIZE))

    def hear(self, audio: AudioData) -> list[Sketch]:
        """The sketches of the blocks that the next chunk completes.

        Raises:
            AudioFormatError: It cannot be decoded, or its rate or channel count is not
                that of the chunks before.
        """
        return self._take(self._resampler.push(audio))

    def finish(self) -> list[Sketch]:
        """Those of what is left, as if silence followed."""
        sketches = self._take(self._resampler.flush())
        if len(self._rest):
            padding = np.zeros(_SIZE - len(self._rest), np.float32)
            sketches.append(self._sketch(np.append(self._rest, padding)))
            self._rest = self._rest[:0]
        return sketches

    def _take(self, audio: AudioData) -> list[Sketch]:
        samples = np.append(self._rest, audio.samples[:, 0])
        n_blocks = len(samples) // _SIZE
        self._rest = samples[n_blocks * _SIZE :]
        return [self._sketch(samples[i * _SIZE : (i + 1) * _SIZE]) for i in range(n_blocks)]

    def _sketch(self, block: np.ndarray) -> Sketch:
        return tuple(int(number) for number in np.rint(block @ self._directions))


def alike(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two sketches are of the same sound."""
    largest = max(map(abs, (*one, *other)), default=0)
    allowed = max(_EXACT, _CLOSE * largest)
    return len(one) == len(other) and all(
        abs(a - b) <= allowed for a, b in zip(one, other, strict=True)
    )
