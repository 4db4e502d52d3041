"""A text is said in pieces that the model can say, with the pauses that belong between them."""

# ruff: noqa: RUF001 - marks of other scripts are meant
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("chatterbox")

from realtime_stts.engines.chatterbox._text import (
    CLAUSE,
    ITEM,
    LINE,
    PARAGRAPH,
    SENTENCE,
    Piece,
    letters,
    pieces,
)


def texts(text: str, target: int = 1) -> list[str]:
    return [piece.text for piece in pieces(text, target)]


class TestSentences:
    def test_are_pieces(self) -> None:
        assert pieces("One is here. Two is there! Is three?", 1) == [
            Piece("One is here.", SENTENCE),
            Piece("Two is there!", SENTENCE),
            Piece("Is three?", 0.0),
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "Dr. Smith of St. Paul met Mrs. Jones vs. Mr. Miller.",
            "It costs 3.50 dollars in version 2.0.1, e.g. at example.com.",
            "He came at 5 p.m. on Jan. 5.",
        ],
    )
    def test_do_not_end_at_any_dot(self, text: str) -> None:
        assert texts(text) == [text]

    def test_go_together_while_they_are_short(self) -> None:
        text = "One. Two. Three. Four."
        assert texts(text, 10) == ["One. Two.", "Three.", "Four."]
        assert texts(text, 120) == [text]

    def test_are_not_cut_for_being_the_first(self) -> None:
        text = "At the beginning of a long answer, sound starts early, but here it streams."
        assert texts(text) == [text]

    @pytest.mark.parametrize(
        "text",
        [
            "你好。|再见！|好吗？",
            "すごい！|はい。",
            "مرحبا.|كيف حالك؟|بخير",
            "यह अच्छा है।|वह नहीं है।",
        ],
    )
    def test_are_of_any_script(self, text: str) -> None:
        separator = " " if text[0] in "مय" else ""
        assert texts(text.replace("|", separator)) == text.split("|")


class TestALongSentence:
    def test_is_cut_at_a_clause(self) -> None:
        clause = "and this is one of many parts of it, "
        text = ("So it begins, " + 12 * clause).strip().rstrip(",") + "."
        cut = pieces(text)
        assert len(cut) > 1
        assert all(piece.text.endswith(",") for piece in cut[:-1])
        assert [piece.pause for piece in cut] == [CLAUSE] * (len(cut) - 1) + [0.0]
        assert all(letters(piece.text) <= 250 for piece in cut)

    def test_is_cut_between_words_where_there_is_no_clause(self) -> None:
        cut = pieces(("word " * 100).strip())
        assert {word for piece in cut for word in piece.text.split()} == {"word"}
        assert [piece.pause for piece in cut] == [0.0] * len(cut)

    def test_is_cut_anywhere_where_there_is_no_space(self) -> None:
        assert [*map(len, texts("a" * 600))] == [250, 250, 100]

    def test_is_not_cut_within_a_letter(self) -> None:
        for letter in ("e\u0301", "क\u200dष"):
            cut = texts("a" + letter * 200)
            assert "".join(cut) == "a" + letter * 200
            assert all(piece[0] in "aeक" for piece in cut)

    def test_is_cut_within_what_is_no_letter_of_any_language(self) -> None:
        assert [*map(len, texts("a" + "\u0301" * 300 + "a"))] == [250, 52]

    def test_is_not_cut_within_a_date(self) -> None:
        words = "word " * 40
        cut = texts(f"{words}, and it was on the day of May 3, 2020 {words}.")
        assert cut[0].endswith("word ,")

    def test_is_shorter_where_a_character_is_a_syllable(self) -> None:
        cut = texts("我" * 100)
        assert [*map(len, cut)] == [83, 17]

    def test_of_han_is_cut_at_a_clause(self) -> None:
        cut = texts("我们今天去公园，" * 20 + "好。")
        assert all(piece.endswith(("，", "。")) for piece in cut)


class TestLines:
    def test_end_pieces(self) -> None:
        assert pieces("A title\nA sentence. Another.\n\nA new thought.") == [
            Piece("A title", LINE),
            Piece("A sentence. Another.", PARAGRAPH),
            Piece("A new thought.", 0.0),
        ]

    def test_of_a_list_are_a_piece_each(self) -> None:
        assert pieces("Buy:\n- milk. Cold.\n- eggs\n2) bread\nDone.", 1) == [
            Piece("Buy:", ITEM),
            Piece("- milk. Cold.", ITEM),
            Piece("- eggs", ITEM),
            Piece("2) bread", ITEM),
            Piece("Done.", 0.0),
        ]

    def test_of_a_numbered_list_keep_their_numbers(self) -> None:
        assert texts("1. The first thing.\n2. The second thing.") == [
            "1. The first thing.",
            "2. The second thing.",
        ]

    def test_that_were_wrapped_go_on(self) -> None:
        text = "This is a sentence that was wrapped\nby whoever wrote it, in an\neditor of old."
        assert texts(text)[0] == "This is a sentence that was wrapped"  # it is short
        text = "This is a sentence that was wrapped long ago,\nand it goes on\nand on."
        assert texts(text) == [text.replace("\n", " ")]

    def test_end_in_any_way(self) -> None:
        for end in ("\n", "\r\n", "\r", "\u2028", "\x0b"):
            assert texts(f"one{end}two") == ["one", "two"]


class TestCues:
    @pytest.mark.parametrize(
        "cue", ["(laughs)", "(sighs deeply)", "(she chuckles)", "(clears his throat)", "(pause)"]
    )
    def test_are_pieces(self, cue: str) -> None:
        assert pieces(f"I see. {cue} Well then.") == [
            Piece("I see.", SENTENCE),
            Piece(cue, CLAUSE),
            Piece("Well then.", 0.0),
        ]

    def test_keep_their_marks(self) -> None:
        assert pieces("Oh (laughs), no (sighs). Well.") == [
            Piece("Oh", 0.0),
            Piece("(laughs),", CLAUSE),
            Piece("no", 0.0),
            Piece("(sighs).", SENTENCE),
            Piece("Well.", 0.0),
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "It rose (in 2020) a bit.",
            "The (sighted) man.",
            "The yellow (human) sight.",
            "She (a nurse) came.",
        ],
    )
    def test_are_not_any_brackets(self, text: str) -> None:
        assert texts(text) == [text]


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_a_blank_text_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="nothing to say"):
        pieces(text)


@pytest.mark.parametrize("text", ["...", "!?", "🎉", "— - –"])
def test_a_text_of_marks_has_no_pieces(text: str) -> None:
    assert pieces(text) == []


@pytest.mark.parametrize("target", [0, 251])
def test_a_target_has_a_range(target: int) -> None:
    with pytest.raises(ValueError, match="target is 1 to 250 letters"):
        pieces("Hello.", target)


def test_letters_are_how_long_it_takes() -> None:
    assert letters("word") == 4
    assert letters("漢字") == 6
    assert letters("かな") == 4
    assert letters("1995") == 16


SOME = st.text(st.sampled_from("aB1é我か🎉 .,!?;:…—-()\n。，") | st.characters(), max_size=400)
WORDS = st.lists(
    st.sampled_from(
        [
            "yes",
            "No",
            "Dr.",
            "(laughs)",
            "3.5",
            "- ",
            "\n",
            "\n\n",
            "wait,",
            "我们。",
            "end.",
            "x" * 80,
        ]
    ),
    max_size=80,
).map(" ".join)


@given(SOME | WORDS, st.integers(1, 250))
def test_nothing_that_can_be_said_is_lost(text: str, target: int) -> None:
    if not any(map(str.isalnum, text)):
        return
    said = pieces(text, target)
    spoken = "".join(piece.text for piece in said)
    assert [*filter(str.isalnum, spoken)] == [*filter(str.isalnum, text)]


@given(SOME | WORDS, st.integers(1, 250))
def test_every_piece_says_something_and_is_not_too_long(text: str, target: int) -> None:
    if not any(map(str.isalnum, text)):
        return
    said = pieces(text, target)
    for piece in said:
        assert any(map(str.isalnum, piece.text))
        assert piece.text == piece.text.strip()
        assert letters(piece.text) <= 250
        assert 0.0 <= piece.pause <= PARAGRAPH
    assert said[-1].pause == 0.0
