from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.conversation._overlap import BACKCHANNELS, Heard, agreed, judge, words_of

SAID = "The weather in Paris is fine today."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", Heard("silent", 0), id="nothing"),
        pytest.param(" … ! ", Heard("silent", 0), id="marks are no words"),
        pytest.param("mm-hm", Heard("backchannel", 0), id="a backchannel"),
        pytest.param("Yeah, right. Okay!", Heard("backchannel", 0), id="several"),
        pytest.param("I see", Heard("backchannel", 0), id="one of two words"),
        pytest.param("yeah but why", Heard("words", 3), id="a backchannel before words"),
        pytest.param("no", Heard("words", 1), id="no is meant"),
        pytest.param("Stop.", Heard("words", 1), id="and so is stop"),
        pytest.param("weather in paris", Heard("echo", 0), id="the bot, in another spelling"),
        pytest.param("whether in paris is fine", Heard("echo", 0), id="or heard a little wrong"),
        pytest.param("paris", Heard("echo", 0), id="one word of it"),
        pytest.param("in paris or in london", Heard("words", 5), id="other words with it"),
        pytest.param(
            "fine is paris in weather", Heard("words", 5), id="the words in another order"
        ),
    ],
)
def test_what_is_said_over_an_answer(text: str, expected: Heard) -> None:
    assert judge(text, SAID, None, 0.8) == expected


def test_an_echo_is_found_in_an_answer_of_any_length() -> None:
    assert judge("weather in paris", " ".join([SAID] * 40), None, 0.8) == Heard("echo", 0)


def test_echoes_need_not_be_looked_for() -> None:
    assert judge("in paris", SAID, None, None) == Heard("words", 2)
    assert judge("in paris", "", None, 0.8) == Heard("words", 2)


def test_backchannels_can_be_others_or_none() -> None:
    assert judge("genau", "", frozenset({"genau"}), 0.8).kind == "backchannel"
    assert judge("yeah", "", frozenset(), 0.8) == Heard("words", 1)


def test_every_backchannel_is_spelled_as_words_are() -> None:
    assert {*BACKCHANNELS} == {word for text in BACKCHANNELS for word in words_of(text)}


@given(st.lists(st.sampled_from(SAID.split()), min_size=1), st.floats(0.01, 1.0))
def test_words_count_or_they_do_not(words: list[str], share: float) -> None:
    heard = judge(" ".join(words), SAID, None, share)
    assert (heard.kind == "words") == (heard.n_words > 0)
    assert heard.n_words in (0, len(words))


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ("", "hello", ""),
        ("hello", "good", ""),
        ("hello", "Hello, there", "hello"),
        ("tell me a", "tell me the joke", "tell me"),
        ("stop it", "stop", "stop"),
    ],
)
def test_what_changes_from_one_partial_transcript_to_the_next_is_a_guess(
    before: str, now: str, same: str
) -> None:
    assert agreed(before, now) == same
