"""PURE: where long speech may be cut into windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pieces_of"]

_SMOOTHING = 21  # frames of 0.01 s: a stop consonant is no pause


def pieces_of(
    energies: NDArray[np.float32], longest: int = 3000, shortest: int = 1500
) -> list[tuple[int, int]]:
    """Cut a clip into pieces at its quietest moments.

    Each cut is the quietest one, over a fifth of a second, between the shortest and the
    longest that the piece may be (cut and merge as in Bain, Huh, Han and Zisserman 2023,
    https://arxiv.org/abs/2303.00747, without a detector of its own).

    Args:
        energies: How loud each frame is, on any scale, of shape (n_frames,).
        longest: Frames in a piece at most.
        shortest: At least, but for the last one.

    Returns:
        Start and end of each, in frames; together they are the clip.
    """
    n = len(energies)
    around = np.ones(_SMOOTHING, np.float32) / _SMOOTHING
    smooth = np.convolve(np.pad(energies, _SMOOTHING // 2, mode="edge"), around, mode="valid")
    pieces, start = [], 0
    while n - start > longest:
        cut = start + shortest + int(smooth[start + shortest : start + longest].argmin())
        pieces.append((start, cut))
        start = cut
    return [*pieces, (start, n)]
