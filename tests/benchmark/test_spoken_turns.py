"""Turns with pauses in them, of which it is known where they are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_stts import AudioData
from realtime_stts.benchmark._figures import Utterance
from realtime_stts.benchmark._onsets import spans_of_sound
from realtime_stts.benchmark._spoken_turns import (
    LEAD_IN,
    RATE,
    TAIL,
    SpokenTurn,
    spoken_turn,
    spoken_turns,
)
from realtime_stts.testing import speech

from .conversations import utterances

SPOKEN = speech(0.8, RATE)


def pieces(*texts: str) -> list[tuple[str, AudioData]]:
    return [(text, SPOKEN) for text in texts]


@settings(max_examples=40)
@given(st.lists(st.floats(0.1, 2.0), max_size=3))
def test_each_pause_is_where_it_is_said_to_be(pauses: list[float]) -> None:
    turn = spoken_turn(pieces(*["some words"] * (len(pauses) + 1)), pauses)
    spans = spans_of_sound(turn.line, 0.05)
    assert len(spans) == len(pauses) + 1
    silences = [(before[1], after[0]) for before, after in pairwise(spans)]
    assert np.allclose(silences, list(turn.pauses), atol=0.011)
    assert spans[0][0] == pytest.approx(LEAD_IN, abs=0.011)
    assert spans[-1][1] == pytest.approx(turn.end, abs=0.011)
    assert turn.line.duration_seconds == pytest.approx(turn.end + TAIL)


def test_silence_around_a_piece_makes_no_pause_longer() -> None:
    quiet = AudioData.silence(0.3, RATE)
    padded = AudioData.concat([quiet, speech(0.8, RATE), quiet])
    turn = spoken_turn([("one", padded), ("two", padded)], [0.5])
    [(start, end)] = turn.pauses
    assert end - start == pytest.approx(0.5)
    assert turn.end == pytest.approx(LEAD_IN + 0.8 + 0.5 + 0.8, abs=0.05)


def test_pieces_may_have_any_rate_and_end_in_the_words_that_were_said() -> None:
    turn = spoken_turn([("one two", speech(1.0, 24_000)), ("three", speech(1.0, RATE))], [0.4])
    assert turn.line.sample_rate == RATE
    assert [word.text for word in turn.words] == ["one", "two", "three"]
    ends = [word.end for word in turn.words]
    assert ends == sorted(ends)
    assert ends[1] == pytest.approx(turn.pauses[0][0], abs=1e-6)
    assert ends[2] == pytest.approx(turn.end, abs=1e-6)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_turns_are_made_of_whole_utterances_in_any_case(seed: int, n: int) -> None:
    said = utterances()
    turns = spoken_turns(said, n, seed)
    assert len(turns) == n
    texts = {each.text for each in said}
    for turn in turns:
        text = " ".join(word.text for word in turn.words)
        assert text in texts | {f"{one} {other}" for one in texts for other in texts}
        assert len(turn.pauses) == (1 if text in texts else 3)
        assert all(0.099 <= end - start <= 2.001 for start, end in turn.pauses)


def test_the_same_seed_makes_the_same_samples_and_another_one_others() -> None:
    def lines(seed: int) -> list[bytes]:
        return [turn.line.data for turn in spoken_turns(utterances(), 3, seed)]

    assert lines(1) == lines(1)
    assert lines(1) != lines(2)


def test_every_utterance_is_used_about_as_often_as_the_others() -> None:
    said = utterances(["one", "two", "three"])
    turns: list[SpokenTurn] = spoken_turns(said, 12, 5)
    words = [word.text for turn in turns for word in turn.words]
    counts = [words.count(each.text) for each in said]
    assert max(counts) - min(counts) <= 1


def test_one_word_is_not_cut() -> None:
    turns = spoken_turns(utterances(["hello"]), 20, 1)
    assert {len(turn.pauses) for turn in turns} == {0, 1}  # that between two of them


def test_a_cut_is_where_it_is_quiet() -> None:
    """Two hums with a short lull in between, which is near the end of the only word."""
    lull = AudioData.silence(0.06, RATE)
    audio = AudioData.concat([speech(0.75, RATE), lull, speech(0.75, RATE)])
    said = Utterance("a lull", "hello hello", audio)
    turn = next(turn for turn in spoken_turns([said], 20, 1) if len(turn.pauses) == 1)
    assert len(spans_of_sound(turn.line, 0.09)) == 2


def test_turns_of_nothing_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="there are none"):
        spoken_turns([], 3, 1)
