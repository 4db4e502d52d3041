"""What layers that hear to the left have heard before, so that only what is new is computed.

S3Gen's convolutions are causal. Where its attention is held to chunks (a position hears
those up to the end of its own chunk, as in CosyVoice 2, arXiv:2412.10117, section 2.5),
nothing that comes later changes what was computed: the last columns that went into each
convolution, and the keys and values of each attention, are all that has to be kept.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["NOTHING", "Nothing", "Past"]


class Nothing:
    """No past: all there is comes at once, and all of it hears all of it."""

    def length(self, layer: str) -> int:
        return 0

    def before(self, layer: str, x: Tensor, n: int) -> Tensor:
        return F.pad(x, (0, 0, n, 0))

    def attend(
        self, layer: str, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return heard.transpose(1, 2).flatten(2)


NOTHING: Final = Nothing()


class Past:
    """A past that grows chunk by chunk: what is new hears all of itself, and what was."""

    def __init__(self) -> None:
        self._tails: dict[str, Tensor] = {}
        self._keys: dict[str, tuple[Tensor, ...]] = {}  # pieces of (rows * heads, n, d)
        self._values: dict[str, tuple[Tensor, ...]] = {}

    def fork(self) -> Past:
        """A past that goes on from here; this one stays as it is, and nothing is copied."""
        other = Past()
        other._tails = {**self._tails}
        other._keys, other._values = {**self._keys}, {**self._values}
        return other

    @property
    def n_bytes(self) -> int:
        pieces = [
            piece for kept in (self._keys, self._values) for p in kept.values() for piece in p
        ]
        return sum(kept.nbytes for kept in [*self._tails.values(), *pieces])

    def length(self, layer: str) -> int:
        """How many positions an attention has heard."""
        return sum(piece.shape[1] for piece in self._keys.get(layer, ()))

    def before(self, layer: str, x: Tensor, n: int) -> Tensor:
        """The new columns with the n before them; zeros where nothing was.

        Args:
            x: Of shape (rows, n_new, channels).
        """
        tail = self._tails.get(layer)
        x = F.pad(x, (0, 0, n, 0)) if tail is None else torch.cat([tail, x], dim=1)
        self._tails[layer] = x[:, -n:].clone()  # a view would keep all of it
        return x

    def attend(
        self, layer: str, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """What new positions hear in the past and in themselves.

        The pieces of the past are multiplied one by one: to put them together for
        `torch.nn.functional.scaled_dot_product_attention` is to copy the whole past.

        Args:
            q, k, v: Of shape (rows, n_heads, n_new, d).
            bias: Added to the scores, (rows, n_heads, n_new, n_past + n_new).

        Returns:
            Of shape (rows, n_new, n_heads * d).
        """
        rows, n_heads, n, d = q.shape
        keys = self._keys[layer] = (*self._keys.get(layer, ()), k.reshape(-1, n, d).contiguous())
        values = (*self._values.get(layer, ()), v.reshape(-1, n, d).contiguous())
        self._values[layer] = values
        q = (q / sqrt(d)).reshape(-1, n, d)
        scores = [q @ piece.mT for piece in keys]
        sizes = [piece.shape[1] for piece in keys]
        together = torch.cat(scores, dim=-1)
        if bias is not None:
            together += bias.reshape(together.shape)
        weights = together.softmax(dim=-1).split(sizes, dim=-1)
        heard = weights[0] @ values[0]
        for weight, value in zip(weights[1:], values[1:], strict=True):
            heard = torch.baddbmm(heard, weight, value)
        return heard.view(rows, n_heads, n, d).transpose(1, 2).flatten(2)
