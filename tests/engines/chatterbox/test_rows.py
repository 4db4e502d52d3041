"""Rows that come, grow and go, in buffers that hold only theirs."""

from __future__ import annotations

import pytest

pytest.importorskip("chatterbox")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from realtime_stts.engines.chatterbox._rows import Prefix, Rows

N_LAYERS, N_HEAD, D = 2, 2, 4


def some(n_rows: int, n: int, seed: int) -> Tensor:
    return torch.randn(n_rows, N_HEAD, n, D, generator=torch.Generator().manual_seed(seed))


def prefix(n: int, seed: int) -> Prefix:
    return [(some(1, n, seed + i), some(1, n, seed + 50 + i)) for i in range(N_LAYERS)]


class Plain:
    """The same, kept as lists."""

    def __init__(self) -> None:
        self.rows: list[list[tuple[Tensor, Tensor]]] = []

    def add(self, n: int, first: Prefix) -> None:
        self.rows += [[*first] for _ in range(n)]

    def append(self, layer: int, row: int, keys: Tensor, values: Tensor) -> None:
        old_keys, old_values = self.rows[row][layer]
        self.rows[row][layer] = (
            torch.cat([old_keys, keys], dim=2),
            torch.cat([old_values, values], dim=2),
        )

    def remove(self, first: int, n: int) -> None:
        last = self.rows[-n:]
        self.rows[first : first + n] = last
        del self.rows[-n:]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_each_has_what_was_written_to_it(data: st.DataObject) -> None:
    rows, plain = Rows(N_LAYERS, N_HEAD, D, torch.zeros(1)), Plain()
    for step in range(data.draw(st.integers(1, 12))):
        groups = len(plain.rows) // 2
        what = data.draw(st.sampled_from(["add", "write", "remove"] if groups else ["add"]))
        if what == "add":
            first = prefix(data.draw(st.integers(0, 300)), step)
            rows.add(2, first)
            plain.add(2, first)
        elif what == "remove":
            group = data.draw(st.integers(0, groups - 1))
            rows.remove(2 * group, 2)
            plain.remove(2 * group, 2)
        else:
            start = data.draw(st.integers(0, len(plain.rows) - 1))
            lengths = rows.lengths[start:]
            n = data.draw(st.integers(1, 3)) if len({*lengths}) == 1 else 1
            rows.reserve(max(lengths) + n)
            columns = torch.tensor(lengths)[:, None] + torch.arange(n)
            if len({*lengths}) == 1:
                columns = columns[0]
            for layer in range(N_LAYERS):
                keys, values = some(len(lengths), n, 100 + step), some(len(lengths), n, 200 + step)
                heard_keys, heard_values = rows.write(layer, start, keys, values, columns)
                for i, length in enumerate(lengths):
                    plain.append(layer, start + i, keys[i : i + 1], values[i : i + 1])
                    own_keys, own_values = plain.rows[start + i][layer]
                    assert torch.equal(heard_keys[i : i + 1, :, : length + n], own_keys)
                    assert torch.equal(heard_values[i : i + 1, :, : length + n], own_values)
                assert bool(torch.isfinite(heard_keys).all())
            for row in range(start, len(plain.rows)):
                rows.lengths[row] += n
    assert rows.lengths == [int(row[0][0].shape[2]) for row in plain.rows]


def test_the_last_one_that_goes_gives_the_memory_back() -> None:
    rows = Rows(N_LAYERS, N_HEAD, D, torch.zeros(1))
    least = rows.n_bytes
    rows.add(2, prefix(1000, 0))
    assert rows.n_bytes > 2 * N_LAYERS * 2 * N_HEAD * 1000 * D * 4 - 1
    rows.remove(0, 2)
    assert (rows.lengths, rows.n_bytes) == ([], least)
