"""Noise that depends on a seed and on a place, not on the order in which it is asked for.

So what is rendered in pieces begins with the same noise as what is rendered at once, on any
device, and nothing that was drawn has to be kept.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
import torch
from torch import Tensor

__all__ = ["Use", "noise", "phases"]

_BLOCK: Final = 50  # frames that are drawn together


class Use(IntEnum):
    """What noise is for; two uses of one seed have nothing in common."""

    PROMPT = 0
    MEL = 1
    SOURCE = 2
    PHASE = 3


def noise(seed: int, use: Use, start: int, stop: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of the frames ``start`` to ``stop``.

    Args:
        seed: Not negative.
        shape: That of one frame's noise.

    Returns:
        float32 on the CPU, of shape (stop - start, *shape).
    """
    blocks = range(start // _BLOCK, -(-stop // _BLOCK))
    if start >= stop:
        return torch.empty(0, *shape)
    drawn = [torch.randn(_BLOCK, *shape, generator=_dice(seed, use, block)) for block in blocks]
    first = blocks[0] * _BLOCK
    return torch.cat(drawn)[start - first : stop - first]


def phases(seed: int, n: int) -> Tensor:
    """The phases that n harmonics begin with, in [-pi, pi); the fundamental's is 0."""
    drawn = torch.rand(n, generator=_dice(seed, Use.PHASE, 0)) * (2 * torch.pi) - torch.pi
    drawn[0] = 0.0
    return drawn


def _dice(seed: int, use: Use, block: int) -> torch.Generator:
    mixed = np.random.SeedSequence([seed, use, block]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))
