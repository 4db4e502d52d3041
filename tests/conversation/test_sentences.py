from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.conversation._sentences import SentenceSplitter


def split(*pieces: str) -> list[str]:
    splitter = SentenceSplitter()
    sentences = [sentence for piece in pieces for sentence in splitter.feed(piece)]
    rest = splitter.flush()
    return [*sentences, rest] if rest else sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It costs 3.50 dollars. Yes.", ["It costs 3.50 dollars.", "Yes."]),
        ("Dr. Who met Mr. Smith. They talked.", ["Dr. Who met Mr. Smith.", "They talked."]),
        ("J. R. Tolkien wrote it.", ["J. R. Tolkien wrote it."]),
        ("You and I. We know.", ["You and I.", "We know."]),
        ('"Really?" he said.', ['"Really?"', "he said."]),
        ("Well... maybe. Wait…  what?!", ["Well...", "maybe.", "Wait…", "what?!"]),
        ("a list\nof lines\n\nend", ["a list", "of lines", "end"]),
        ("你好。「再见！」好", ["你好。", "「再见！」", "好"]),
        ("see e.g. this one", ["see e.g. this one"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_where_sentences_end(text: str, sentences: list[str]) -> None:
    assert split(text) == sentences


def test_a_sentence_is_ready_as_soon_as_the_next_one_begins() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("Hello there.") == []
    assert splitter.feed(" How") == ["Hello there."]
    assert splitter.flush() == "How"
    assert splitter.flush() == ""


TEXT = st.text(st.sampled_from("ab .!?…\n\"')。！」MrJ3"), max_size=60)


@given(TEXT, st.lists(st.integers(0, 60)))
def test_any_slicing_gives_the_same_sentences(text: str, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(bounds)]
    assert split(*pieces) == split(text)


@given(TEXT)
def test_nothing_but_white_space_is_lost(text: str) -> None:
    assert "".join("".join(split(text)).split()) == "".join(text.split())
