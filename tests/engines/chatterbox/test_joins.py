"""Pieces become one stream: no click between them, and the pause that was wanted."""

# ruff: noqa: RUF001 - marks of other scripts are meant
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("chatterbox")

from realtime_stts.engines.chatterbox._joins import Joiner, is_plausible

RATE = 24_000
LEAD, FADE, LONGEST = round(0.04 * RATE), round(0.005 * RATE), round(0.7 * RATE)


def tone(seconds: float, frequency: float = 200.0) -> np.ndarray:
    n = round(seconds * RATE)
    # Never quiet for long, and loud from its first sample to its last.
    return (0.3 * np.cos(2 * np.pi * frequency * np.arange(n) / RATE)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def joined(*pieces: np.ndarray, pause: float = 0.0, cuts: Sequence[int] = ()) -> np.ndarray:
    joiner = Joiner(RATE)
    out = []
    for piece in pieces:
        out += map(joiner.feed, np.split(piece, sorted(cut % (piece.size + 1) for cut in cuts)))
        out.append(joiner.end_piece(pause if piece is not pieces[-1] else 0.0))
    return np.concatenate(out)


class TestAPiece:
    def test_passes_as_it_is_but_for_its_ends(self) -> None:
        sound = tone(0.5)
        out = joined(sound)
        assert out.size == sound.size
        assert out.dtype == np.float32
        assert (out[FADE:-FADE] == sound[FADE:-FADE]).all()
        assert abs(out[0]) < 0.003
        assert abs(out[-1]) < 0.003

    def test_begins_soon(self) -> None:
        out = joined(np.concatenate([silence(0.5), tone(0.1)]))
        assert out.size == LEAD + round(0.1 * RATE)

    def test_does_not_wait_for_long(self) -> None:
        out = joined(np.concatenate([tone(0.1), silence(2.0), tone(0.1)]))
        assert out.size == pytest.approx(2 * round(0.1 * RATE) + LONGEST, abs=100)

    def test_keeps_its_pauses(self) -> None:
        sound = np.concatenate([tone(0.1), silence(0.6), tone(0.1)])
        assert joined(sound).size == sound.size

    def test_of_silence_is_none(self) -> None:
        assert joined(silence(3.0)).size == 0
        assert Joiner().end_piece().size == 0


class TestTheNext:
    @pytest.mark.parametrize("tail", [0.0, 0.1, 0.3])
    def test_begins_after_the_pause_whatever_silence_there_was(self, tail: float) -> None:
        out = joined(np.concatenate([tone(0.2), silence(tail)]), tone(0.2), pause=0.35)
        assert out.size == pytest.approx(round(0.75 * RATE), abs=100)

    def test_may_begin_later_than_that_if_the_model_was_silent_for_longer(self) -> None:
        out = joined(np.concatenate([tone(0.2), silence(0.6)]), tone(0.2), pause=0.35)
        assert out.size == pytest.approx(round(1.0 * RATE), abs=100)

    def test_does_not_click(self) -> None:
        out = joined(tone(0.2), tone(0.2, 230.0), tone(0.2, 260.0), pause=0.1)
        steepest = np.abs(np.diff(tone(0.2, 260.0))).max()
        assert np.abs(np.diff(out)).max() < 1.5 * steepest

    def test_does_not_click_where_there_is_no_pause(self) -> None:
        out = joined(tone(0.2), -tone(0.2))
        assert np.abs(np.diff(out)).max() < 1.5 * np.abs(np.diff(tone(0.2))).max()
        assert out.size == 2 * round(0.2 * RATE)


PIECE = st.lists(
    st.tuples(st.sampled_from([0.0, 0.001, 0.004, 0.3]), st.integers(1, 20_000)),
    min_size=1,
    max_size=5,
)


def noise(parts: list[tuple[float, int]]) -> np.ndarray:
    chance = np.random.default_rng(0)
    parts_ = [level * chance.uniform(-1, 1, n) for level, n in parts]
    return np.concatenate(parts_).astype(np.float32)


@given(st.lists(PIECE, min_size=1, max_size=3), st.lists(st.integers(0, 100_000), max_size=6))
def test_the_stream_is_the_same_however_it_is_cut(
    parts: list[list[tuple[float, int]]], cuts: list[int]
) -> None:
    pieces = [noise(part) for part in parts]
    whole = joined(*pieces, pause=0.2)
    assert np.array_equal(joined(*pieces, pause=0.2, cuts=cuts), whole)


@given(PIECE, st.integers(50, 3000))
def test_little_is_held_back(part: list[tuple[float, int]], n_chunk: int) -> None:
    """Of what is no silence to be cut, at most 45 ms."""
    sound = np.concatenate([tone(0.05), np.clip(noise(part), -0.3, 0.3)])
    joiner = Joiner(RATE)
    n_out = 0
    for start in range(0, sound.size, n_chunk):
        n_out += joiner.feed(sound[start : start + n_chunk]).size
    whole = joined(sound)
    assert whole.size - n_out <= FADE + LEAD


class TestADuration:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("Hello there, how are you?", 1.6),
            ("Yes.", 0.4),
            ("Yes.", 1.5),
            ("我们今天去公园。", 1.8),
            ("こんにちは、元気ですか。", 1.7),
            ("안녕하세요, 만나서 반갑습니다.", 2.4),
            ("It was 1995.", 1.9),
        ],
    )
    def test_may_be_that_of_its_text(self, text: str, seconds: float) -> None:
        assert is_plausible(text, seconds)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("This is a sentence of some fifty letters, or of more.", 0.8),
            ("This is a sentence of some fifty letters, or of more.", 16.0),
            ("Yes.", 5.0),
            ("我们今天去公园，然后我们回家吃饭。", 0.7),
        ],
    )
    def test_may_not(self, text: str, seconds: float) -> None:
        assert not is_plausible(text, seconds)
