"""A past that grows by chunks is heard as a mask of chunks lets it be heard at once."""

from __future__ import annotations

import pytest

pytest.importorskip("chatterbox")

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from realtime_stts.engines.chatterbox._past import NOTHING, Past

CHUNK = 5
ROWS, HEADS, WIDTH = 2, 3, 4

# How many whole chunks, and how many positions at the end.
growth = st.tuples(st.integers(1, 4), st.integers(0, CHUNK))


def heads(n: int, seed: int) -> Tensor:
    return torch.randn(ROWS, HEADS, n, WIDTH, generator=torch.Generator().manual_seed(seed))


def sizes(grown: tuple[int, int]) -> list[int]:
    chunks, rest = grown
    return [CHUNK] * chunks + [rest] * (rest > 0)


@given(growth, st.booleans())
def test_attention_in_pieces_is_attention_with_a_mask(grown: tuple[int, int], biased: bool) -> None:
    pieces = sizes(grown)
    n = sum(pieces)
    q, k, v = (heads(n, seed) for seed in range(3))
    bias = torch.randn(ROWS, HEADS, n, n, generator=torch.Generator().manual_seed(3))
    bias = bias if biased else torch.zeros_like(bias)
    chunk = torch.arange(n) // CHUNK
    hidden = torch.zeros(n, n).masked_fill(chunk[:, None] < chunk, float("-inf"))
    whole = F.scaled_dot_product_attention(q, k, v, attn_mask=bias + hidden)

    past, heard, start = Past(), [], 0
    for size in pieces:
        new = slice(start, start + size)
        own = bias[:, :, new, : new.stop] if biased else None
        assert past.length("a") == start
        heard.append(past.attend("a", q[:, :, new], k[:, :, new], v[:, :, new], own))
        start += size
    torch.testing.assert_close(
        torch.cat(heard, 1), whole.transpose(1, 2).flatten(2), rtol=0, atol=1e-5
    )


@given(growth)
def test_a_causal_convolution_in_pieces_is_one(grown: tuple[int, int]) -> None:
    pieces = sizes(grown)
    dice = torch.Generator().manual_seed(0)
    x = torch.randn(1, sum(pieces), 4, generator=dice)
    kernel = torch.randn(4, 4, 3, generator=dice)

    def convolve(padded: Tensor) -> Tensor:
        return F.conv1d(padded.transpose(1, 2), kernel).transpose(1, 2)

    past = Past()
    made = [convolve(past.before("c", piece, 2)) for piece in x.split(pieces, 1)]
    torch.testing.assert_close(torch.cat(made, 1), convolve(NOTHING.before("c", x, 2)))


def test_without_a_past_all_hears_all() -> None:
    q, k, v = (heads(7, seed) for seed in range(3))
    weights = (q @ k.mT / WIDTH**0.5).softmax(-1)
    heard = (weights @ v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(NOTHING.attend("a", q, k, v), heard)
    assert NOTHING.length("a") == 0


def test_a_fork_goes_on_alone() -> None:
    past = Past()
    q = heads(CHUNK, 0)
    past.attend("a", q, q, q)
    past.before("c", torch.ones(1, CHUNK, 2), 2)
    n_bytes = past.n_bytes
    fork = past.fork()
    fork.attend("a", q, q, q)
    fork.before("c", torch.zeros(1, CHUNK, 2), 2)
    assert (past.length("a"), fork.length("a")) == (CHUNK, 2 * CHUNK)
    assert past.n_bytes == n_bytes
    assert past.before("c", torch.zeros(1, 1, 2), 2)[0, :2].eq(1).all()


def test_it_keeps_what_it_says_and_no_more() -> None:
    past = Past()
    q = heads(CHUNK, 0)
    past.attend("a", q, q, q)
    past.before("c", torch.ones(1, 1000, 2), 2)
    assert past.n_bytes == 4 * (2 * q.numel() + 2 * 2)
    assert past._tails["c"].untyped_storage().nbytes() == 4 * 2 * 2
