"""A window's tokens become segments where two times meet."""

from __future__ import annotations

import pytest

pytest.importorskip("whisper")

import itertools

from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.engines.whisper._segments import Piece, Slices, slice_tokens

T = 50_364  # 0.00 s


def at(seconds: float) -> int:
    return T + round(seconds / 0.02)


class TestTokens:
    def test_without_times_are_one_segment_as_long_as_the_sound(self) -> None:
        tokens = [1, 2, 3]
        assert slice_tokens(tokens, T, 250) == Slices((Piece(0.0, 2.5, (1, 2, 3)),), 250, False)

    def test_that_say_nothing_are_one_segment_too(self) -> None:
        assert slice_tokens([], T, 250) == Slices((Piece(0.0, 2.5, ()),), 250, False)

    def test_between_two_times_are_a_segment_after_which_nothing_was_said(self) -> None:
        tokens = [at(0.5), 1, 2, at(1.5)]
        assert slice_tokens(tokens, T, 250) == Slices((Piece(0.0, 1.5, (*tokens,)),), 250, True)

    def test_after_a_time_alone_are_one_segment(self) -> None:
        tokens = [at(0.5), 1, 2]
        assert slice_tokens(tokens, T, 250) == Slices((Piece(0.0, 0.5, (*tokens,)),), 250, False)

    def test_after_zero_alone_last_as_long_as_the_sound(self) -> None:
        tokens = [at(0.0), 1, 2]
        assert slice_tokens(tokens, T, 250) == Slices((Piece(0.0, 2.5, (*tokens,)),), 250, False)

    def test_are_cut_where_two_times_meet(self) -> None:
        first, second = [at(0.0), 1, at(1.0)], [at(1.2), 2, 3, at(2.0)]
        assert slice_tokens([*first, *second], T, 2500) == Slices(
            (Piece(0.0, 1.0, (*first,)), Piece(1.2, 2.0, (*second,))), 2500, True
        )

    def test_that_are_cut_off_are_left_to_the_next_window(self) -> None:
        first, second = [at(0.0), 1, at(1.0)], [at(1.2), 2, 3]
        assert slice_tokens([*first, *second], T, 2500) == Slices(
            (Piece(0.0, 1.0, (*first,)),), 100, False
        )

    def test_that_begin_again_at_the_end_are_read_from_there(self) -> None:
        first, second = [at(0.0), 1, at(1.0)], [at(1.0), 2, at(2.0), at(2.0)]
        sliced = slice_tokens([*first, *second], T, 2500)
        assert [piece.end for piece in sliced.pieces] == [1.0, 2.0]
        assert sliced.n_read == 200
        assert not sliced.ends


@given(
    tokens=st.lists(
        st.one_of(st.integers(0, 100), st.integers(T, T + 1500)), min_size=1, max_size=20
    ),
    n_frames=st.integers(1, 3000),
)
def test_segments_are_pieces_of_the_tokens_in_their_order(tokens: list[int], n_frames: int) -> None:
    sliced = slice_tokens(tokens, T, n_frames)
    together = [token for piece in sliced.pieces for token in piece.tokens]
    assert together == tokens[: len(together)]
    assert all(piece.tokens for piece in sliced.pieces)
    left = tokens[len(together) :]
    times = [token >= T for token in left]
    assert not any(one and other for one, other in itertools.pairwise(times))
    if left:
        assert sliced.n_read == (together[-1] - T) * 2
