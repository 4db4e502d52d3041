"""Noise belongs to a seed and a place."""

from __future__ import annotations

from itertools import pairwise

import pytest

pytest.importorskip("chatterbox")

import torch
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.engines.chatterbox._noise import Use, noise, phases

cuts = st.lists(st.integers(0, 240), max_size=5).map(sorted)


@given(cuts, st.integers(0, 2**63))
def test_in_pieces_it_is_what_it_is_at_once(at: list[int], seed: int) -> None:
    whole = noise(seed, Use.MEL, 0, 240, (3,))
    edges = [0, *at, 240]
    pieces = [noise(seed, Use.MEL, a, b, (3,)) for a, b in pairwise(edges)]
    assert torch.equal(whole, torch.cat(pieces))


def test_it_is_standard_normal() -> None:
    drawn = noise(0, Use.MEL, 0, 1000, (80,))
    assert drawn.shape == (1000, 80)
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02


def test_seeds_uses_and_blocks_have_nothing_in_common() -> None:
    drawn = [
        noise(0, Use.MEL, 0, 50, (80,)),
        noise(0, Use.MEL, 50, 100, (80,)),
        noise(1, Use.MEL, 0, 50, (80,)),
        noise(0, Use.SOURCE, 0, 50, (80,)),
        noise(2**64, Use.MEL, 0, 50, (80,)),
    ]
    correlations = torch.corrcoef(torch.stack([each.flatten() for each in drawn]))
    assert (correlations - torch.eye(5)).abs().max() < 0.08


def test_the_dice_of_torch_stay_as_they_are() -> None:
    before = torch.get_rng_state()
    noise(0, Use.MEL, 0, 10, (80,))
    phases(0, 9)
    assert torch.equal(before, torch.get_rng_state())


def test_the_fundamental_begins_at_zero_and_the_rest_anywhere() -> None:
    begin = phases(3, 9)
    assert begin[0] == 0.0
    assert (begin.abs() <= torch.pi).all()
    assert len(set(begin.tolist())) == 9
    assert not torch.equal(begin, phases(4, 9))
