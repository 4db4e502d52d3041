"""Long speech is cut at its quietest moments, and nothing of it is lost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("whisper")

from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.engines.whisper._pauses import pieces_of


@given(
    n=st.integers(1, 3_000),
    seed=st.integers(0, 1_000),
    shortest=st.integers(1, 200),
    more=st.integers(1, 300),
)
def test_pieces_follow_one_another_and_have_a_length(
    n: int, seed: int, shortest: int, more: int
) -> None:
    longest = shortest + more
    energies = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    pieces = pieces_of(energies, longest, shortest)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == n
    assert all(one[1] == other[0] for one, other in pairwise(pieces))
    assert all(shortest <= end - start <= longest for start, end in pieces[:-1])
    assert 0 < pieces[-1][1] - pieces[-1][0] <= longest


@given(
    pauses=st.lists(st.integers(1_600, 2_900), min_size=1, max_size=4),
    level=st.floats(-5, 5),
    scale=st.floats(0.1, 10),
)
def test_cuts_are_in_the_pauses_on_any_scale(pauses: list[int], level: float, scale: float) -> None:
    middles = np.cumsum(pauses)
    energies = np.ones(int(middles[-1]) + 1_600, np.float32)
    for middle in middles:
        energies[middle - 15 : middle + 16] = 0.0
    pieces = pieces_of(energies * np.float32(scale) + np.float32(level))
    cuts = [end for _, end in pieces[:-1]]
    wanted, start = [], 0
    for middle in middles:
        if len(energies) - start > 3_000:
            wanted.append(int(middle))
            start = int(middle)
    assert len(cuts) == len(wanted)
    assert all(abs(cut - middle) <= 6 for cut, middle in zip(cuts, wanted, strict=True))


def test_a_stop_within_a_word_is_no_pause() -> None:
    energies = np.ones(4_000, np.float32)
    energies[2_000:2_004] = 0.0  # 0.04 s
    energies[2_600:2_640] = 0.3  # 0.4 s
    ((_, cut), _) = pieces_of(energies)
    assert 2_600 <= cut < 2_640


@pytest.mark.parametrize("n", [1, 1_500, 3_000])
def test_a_clip_that_fits_into_a_window_is_one_piece(n: int) -> None:
    assert pieces_of(np.zeros(n, np.float32)) == [(0, n)]


def test_silence_is_cut_as_early_as_may_be() -> None:
    assert pieces_of(np.zeros(4_000, np.float32)) == [(0, 1_500), (1_500, 4_000)]
