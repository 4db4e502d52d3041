"""Keys and values of many rows, each with a length of its own, in buffers with room ahead.

Rows begin at the first column, and join and leave at any time; what a row's columns hold
after its length is never heard, but must be numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Prefix", "Rows"]

_ROOM: Final = 256  # columns of a new buffer; it doubles as it fills

Prefix = Sequence[tuple[Tensor, Tensor]]
"""A layer's keys and values of one row, each of shape (1, n_head, n, d)."""


class Rows:
    """The rows that are being spoken.

    Args:
        like: Has the device and the type of what is kept.
    """

    def __init__(self, n_layers: int, n_head: int, d: int, like: Tensor) -> None:
        self._layers = [
            (like.new_zeros(0, n_head, _ROOM, d), like.new_zeros(0, n_head, _ROOM, d))
            for _ in range(n_layers)
        ]
        self.lengths: list[int] = []

    @property
    def n_bytes(self) -> int:
        return sum(x.element_size() * x.nelement() for pair in self._layers for x in pair)

    def add(self, n: int, prefix: Prefix) -> None:
        """Let ``n`` rows, all of which begin with ``prefix``, follow the last one."""
        first = len(self.lengths)
        length = int(prefix[0][0].shape[2])
        capacity = self._layers[0][0].shape[0]
        if first + n > capacity:
            self._pad(rows=max(n, min(capacity, 16)), columns=0)
        self.reserve(length)
        for (keys, values), (first_keys, first_values) in zip(self._layers, prefix, strict=True):
            keys[first : first + n, :, :length] = first_keys
            values[first : first + n, :, :length] = first_values
        self.lengths += [length] * n

    def remove(self, first: int, n: int) -> None:
        """Drop ``n`` rows; the last ``n`` of all take their place."""
        last = len(self.lengths) - n
        if first < last:
            used = max(self.lengths[last:])
            for keys, values in self._layers:
                keys[first : first + n, :, :used] = keys[last : last + n, :, :used]
                values[first : first + n, :, :used] = values[last : last + n, :, :used]
            self.lengths[first : first + n] = self.lengths[last:]
        del self.lengths[last:]
        if not self.lengths:
            # What is kept for the next one is small; for the longest one it may be gigabytes.
            self._layers = [
                (keys[:0, :, :_ROOM].clone(), values[:0, :, :_ROOM].clone())
                for keys, values in self._layers
            ]

    def reserve(self, n_columns: int) -> None:
        """Have room for rows of that length."""
        room = self._layers[0][0].shape[2]
        if n_columns > room:
            self._pad(rows=0, columns=max(room, n_columns - room))

    def write(
        self, layer: int, first: int, keys: Tensor, values: Tensor, columns: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Put new keys and values, of shape (n_rows, n_head, n, d), after what rows have.

        Args:
            columns: Of shape (n_rows, n), or of shape (n,) where they are the same for all.

        Returns:
            Of those rows, all keys and values there are.
        """
        all_keys, all_values = self._layers[layer]
        n_rows, _, n, _ = keys.shape
        own_keys, own_values = all_keys[first : first + n_rows], all_values[first : first + n_rows]
        lengths = self.lengths[first : first + n_rows]
        end = max(lengths) + n
        if columns.ndim == 1:
            own_keys[:, :, end - n : end] = keys
            own_values[:, :, end - n : end] = values
        else:
            rows = torch.arange(n_rows, device=keys.device)[:, None]
            own_keys[rows, :, columns] = keys.transpose(1, 2)
            own_values[rows, :, columns] = values.transpose(1, 2)
        return own_keys[:, :, :end], own_values[:, :, :end]

    def _pad(self, *, rows: int, columns: int) -> None:
        self._layers = [
            (
                F.pad(keys, (0, 0, 0, columns, 0, 0, 0, rows)),
                F.pad(values, (0, 0, 0, columns, 0, 0, 0, rows)),
            )
            for keys, values in self._layers
        ]
