"""An answer is spoken piece by piece while it is still being written."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realtime_stts._sentences import SentenceSplitter


def split(*parts: str) -> list[str]:
    splitter = SentenceSplitter()
    return [*(piece for part in parts for piece in splitter.feed(part)), *splitter.flush()]


LEAD = "An opening of some length.\n"  # what follows is no opening


@pytest.mark.parametrize(
    "text",
    [
        "One.|Two!|Three?|Four",
        "It costs 3.50 dollars.|Yes.",
        "Version 2.0.1 is out.|It is at example.com.|Look.",
        "Stop!!!|What?!|Well...|Maybe.",
        'He asked, "Why?"|(She did not know.)|[She would.]',
        "**Bold.**|*Slanted.*|`Code.`|Plain.",
        "He left.|“Why?”|Nobody knew.",
        "It was in 2020.|15 people came.|🎉 They sang.",
        "Yes.|We can.|No.|I won't.|Oh.|You and I.|We know.",
        "hey there.|how are you?|*i am fine.*|in 2024.|it was.",
        "Hola.|¿Cómo estás?|¡Bien!",
        "Bonjour !|Ça va ?|Oui.",
        "Привет.|Как дела?",
        "مرحبا.|كيف حالك؟|بخير",
        "यह अच्छा है।|वह नहीं है।|क्यों?",
    ],
)
def test_a_sentence_ends_at_its_mark_once_the_next_one_begins(text: str) -> None:
    assert split(text.replace("|", " ")) == text.split("|")


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Who met Mr. Smith and Prof. Miller of St. Paul vs. Rome.",
        "J. R. R. Tolkien knew George W. Bush.",
        "See e.g. Berlin, i.e. Germany, or U.S. Army.",
        "See fig. 3 and no. 7 of Jan. 5, p. 12.",
        "It was he (Dr. Who) who said so.",
        "12:30. then lunch.",
        "Apple Inc. makes 5 ft. tall Ph.D. students, etc. and so on.",
        "we met at 5 p.m. on the day.",
        "see e.g. this one.",
        "Guten Tag, Hr. Müller, z. B. am 3. Mai, d. h. morgen.",
        "El Sr. López y la Sra. Pérez.",
        "Er kam im 19. Jahrhundert.",
        "Am 19. Mai kam er.",
    ],
)
def test_a_dot_that_belongs_to_its_word_is_no_end(text: str) -> None:
    assert split(LEAD, f"{text} Next.")[1:] == [text, "Next."]


@pytest.mark.parametrize(
    "text",
    [
        '"Really?" he said.',
        "Hello (really!) there.",
        'She said "No." and left.',
        "Well... maybe.",
        "I was thinking… that we go.",
    ],
)
def test_what_goes_on_in_lower_case_after_a_quotation_or_a_pause_is_one_sentence(text: str) -> None:
    assert split(text) == [text]


def test_an_abbreviation_ends_a_sentence_where_the_next_word_says_so() -> None:
    assert split("No. I mean 5 a.m. Not at 5 p.m. Then go, etc. The end.") == [
        "No.",
        "I mean 5 a.m.",
        "Not at 5 p.m.",
        "Then go, etc.",
        "The end.",
    ]


def test_full_width_marks_need_no_space() -> None:
    assert split("你好。「再见！」好") == ["你好。", "「再见！」", "好"]
    assert split("すごい？！はい。") == ["すごい？！", "はい。"]


def test_white_space_is_one_space_however_it_arrives() -> None:
    assert split("One  or ", " two.  ", "\tThree") == ["One or two.", "Three"]


def test_a_line_is_a_piece() -> None:
    assert split("a list\nof lines\r\n\r\nend\u2028- one\n- two") == [
        "a list",
        "of lines",
        "end",
        "- one",
        "- two",
    ]


def test_a_line_is_ready_at_its_break() -> None:
    assert SentenceSplitter().feed("Here it is:\n") == ["Here it is:"]


def test_the_number_of_a_lists_item_stays_with_it() -> None:
    assert split("1. First.\n2. **Second.** More.\n\n3. Third") == [
        "1. First.",
        "2. **Second.**",
        "More.",
        "3. Third",
    ]


@pytest.mark.parametrize("item", ["**1.** First.", "- 1. First.", "# 1. First", "> (1. First.)"])
def test_however_the_number_is_marked(item: str) -> None:
    assert split(item) == [item]


def test_a_number_that_counts_nothing_is_a_sentence() -> None:
    assert split("42. It always was. 7. That too.") == ["42.", "It always was.", "7.", "That too."]
    assert split("1. It is.") == ["1. It is."]
    assert split("2. It is.") == ["2.", "It is."]
    assert split("X 1. It is.") == ["X 1.", "It is."]
    splitter = SentenceSplitter()
    splitter.feed("1. A list.\n")
    splitter.flush()
    assert splitter.feed("2. Of another answer") == ["2."]


def test_marks_with_nothing_to_say_are_no_piece_of_their_own() -> None:
    assert split("... And so? ! Yes.") == ["... And so?", "! Yes."]
    assert split("。。。好。") == ["。。。好。"]
    assert split("") == split(" \n \n") == []


def test_a_link_is_in_one_piece() -> None:
    text = "[Is it so? Yes, it is, but not here](example.com) for all to see."
    assert split(text + " Next.") == [text, "Next."]


def test_a_sentence_is_ready_as_soon_as_the_next_one_begins() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("Hello there.") == []
    assert splitter.feed(" How") == ["Hello there."]
    assert splitter.flush() == ["How"]
    assert splitter.flush() == []


# -- the opening

AFTER = " and this is the rest of it, which goes on, as one can see, for a while."


@pytest.mark.parametrize(
    "opening",
    [
        "The weather will be fine,",
        "The weather will be fine;",
        "The weather will be as follows:",
        'He said "it will be fine,"',
        "The weather will be fine –",
        "The weather will be fine -",
        "The weather will be fine—",
        "The weather will be fine...",
        "The weather will be fine…",
    ],
)
def test_an_answer_opens_with_a_clause(opening: str) -> None:
    assert split(opening + AFTER) == [opening, AFTER.strip()]


@pytest.mark.parametrize("word", ["but", "because", "although", "whereas", "unless"])
def test_an_opening_ends_before_a_conjunction(word: str) -> None:
    assert split(f"The weather will be fine {word} nobody knows it yet") == [
        "The weather will be fine",
        f"{word} nobody knows it yet",
    ]


def test_an_opening_ends_at_a_dash_between_words() -> None:
    assert split("The weather will be fine—and dry") == ["The weather will be fine—", "and dry"]


def test_an_opening_has_twenty_letters() -> None:
    assert split("It is always so fine, no") == ["It is always so fine,", "no"]
    assert split("It is always so hot, no") == ["It is always so hot, no"]


def test_an_opening_in_full_width_marks_counts_syllables() -> None:
    assert split("今天的天气非常好，我们去公园吧。") == ["今天的天气非常好，", "我们去公园吧。"]
    assert split("他慢慢地离开了这里……走了。") == ["他慢慢地离开了这里……", "走了。"]
    assert split("是的，我们去。") == ["是的，我们去。"]
    assert split("今天天气很好，我们去。") == ["今天天气很好，我们去。"], "eighteen letters"


@pytest.mark.parametrize(
    "text",
    [
        "Well, yes, of course it is so.",  # too short to end at either
        "The battle began on May 3, 2020 in the morning",
        "The result of the whole is 12 - 3 = 9",
        "The twenty-first of December is butter and buttons",
        "It will be open from 10:30 until 1,000 people came",
        "The weather will be fine,",  # nothing follows
    ],
)
def test_an_opening_does_not_end_anywhere(text: str) -> None:
    assert split(text) == [text]


def test_the_opening_is_ready_before_the_sentence_is() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("The weather will be fine,") == []
    assert splitter.feed(" and") == ["The weather will be fine,"]


def test_only_the_opening_is_short() -> None:
    first, second = "The weather will be fine tomorrow.", "It will be warm and dry, and calm."
    assert split(f"{first} {second}") == [first, second]


def test_an_opening_too_short_to_cover_the_next_piece_is_followed_by_another() -> None:
    assert split("Sure! 🎉 Here is what I know of it, my friend, and more.") == [
        "Sure!",
        "🎉 Here is what I know of it,",
        "my friend, and more.",
    ]
    rest = "It will be warm and dry, and calm."
    assert split(f"It is always so hot. {rest}")[1:] == [rest]
    assert split(f"It is always so so. {rest}")[1:] == ["It will be warm and dry,", "and calm."]


def test_what_is_not_said_does_not_count_as_an_opening() -> None:
    rule = 30 * "-"
    assert split(f"{rule}\nThe weather will be fine, and dry.")[1] == "The weather will be fine,"


def test_every_answer_has_its_own_opening() -> None:
    splitter = SentenceSplitter()
    for _ in range(2):
        assert splitter.feed("The weather will be fine, and dry.") == ["The weather will be fine,"]
        assert splitter.flush() == ["and dry."]


# -- long sentences


def test_a_long_sentence_is_cut_at_its_last_clause() -> None:
    clause = "it goes on and on and on in this way, "
    assert split(LEAD, 10 * clause)[1:] == [(6 * clause).strip(), (4 * clause).strip()]


def test_a_long_sentence_is_cut_before_the_last_conjunction_that_lets_it_fit() -> None:
    clauses = "a" * 100 + ", " + "b" * 147
    assert split(LEAD, f"{clauses} although it is so.")[1:] == [clauses, "although it is so."]
    assert split(LEAD, f"{clauses}b but no.")[1:] == [clauses + "b", "but no."]
    assert split(LEAD, f"{clauses}bb but no.")[1] == "a" * 100 + ","


def test_a_long_clause_is_cut_between_words() -> None:
    assert split(LEAD, 60 * "word ")[1:] == [(50 * "word ").strip(), (10 * "word ").strip()]
    assert split(LEAD, 40 * "letter ")[1:] == [(35 * "letter ").strip(), (5 * "letter ").strip()]
    assert split(LEAD, "O " + 249 * "o")[1:] == ["O", 249 * "o"]


def test_a_sentence_just_short_enough_is_whole() -> None:
    sentence = "a" * 100 + ", " + "b" * 147 + "."
    assert len(sentence) == 250
    assert split(LEAD, sentence + " Next.")[1:] == [sentence, "Next."]
    assert split(LEAD, sentence + " ")[1:] == [sentence]
    assert split(LEAD, "c" + sentence + " Next.")[1:] == [
        "c" + "a" * 100 + ",",
        "b" * 147 + ".",
        "Next.",
    ]


def test_text_without_spaces_is_cut_too() -> None:
    assert [len(piece) for piece in split(600 * "a")] == [250, 250, 100]
    assert [len(piece) for piece in split(300 * "好")] == [250, 50]


def test_a_cut_keeps_a_letter_with_its_accent_and_a_pictograph_in_one() -> None:
    accented = "e\u0301"
    assert split("a" + 200 * accented)[0] == "a" + 124 * accented
    family = "\U0001f469\u200d\U0001f467"
    assert [len(piece) % 3 for piece in split("ab" + 200 * family)[:2]] == [2, 0]
    assert [len(piece) for piece in split("ab" + 300 * "\u0301")] == [250, 52]
    assert [len(piece) for piece in split(100 * "a" + 200 * "\u0301")] == [250, 50]


def test_what_waits_for_its_end_is_bounded() -> None:
    splitter = SentenceSplitter()
    ready = "".join(piece for _ in range(1000) for piece in splitter.feed("word"))
    assert 4000 - len(ready) < 270


# -- any text

TEXT = st.text(st.sampled_from("ab .!?…\n\"')。！」，,-—[]MrJ3I*\u0301"), max_size=60)
WORDS = st.lists(
    st.sampled_from(
        ["word", "Word", "and", "but", "because", "although", "Dr.", "e.g.", "5.", "1.", "end.",
         "End!", "so?", "well...", "clause,", "this:", "-", "—", "“quoted.”", "[link", "text](u)",
         "\n", "\t", "  ", "好。", "好，", "🎉", "a" * 70, "é" * 130]
    ),
    max_size=90,
).map(" ".join)  # fmt: skip
CUTS = st.lists(st.integers(0, 900), max_size=30)


@given(TEXT | WORDS, CUTS)
@example("a" * 250 + " " + "b" * 20, [251, 262])
@example("word " * 49 + "end! Next", [249, 250])
def test_any_slicing_gives_the_same_pieces(text: str, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert split(*(text[a:b] for a, b in pairwise(bounds))) == split(text)
    assert split(*text) == split(text)


@given(TEXT | WORDS | st.text())
def test_nothing_but_white_space_is_lost(text: str) -> None:
    assert "".join("".join(split(text)).split()) == "".join(text.split())


@given(TEXT | WORDS | st.text())
def test_a_piece_is_never_blank_or_ragged_or_too_long(text: str) -> None:
    for piece in split(text):
        assert piece == piece.strip()
        assert 0 < len(piece) <= 250
        assert "\n" not in piece


def test_who_is_not_in_a_hurry_has_whole_sentences_from_the_first() -> None:
    text = "That is what I think about it, but you may disagree. So be it."
    hurried, patient = SentenceSplitter(), SentenceSplitter(hurried=False)
    whole = ["That is what I think about it, but you may disagree.", "So be it."]
    assert [*patient.feed(text), *patient.flush()] == whole
    assert [*hurried.feed(text), *hurried.flush()] != whole
    assert [*patient.feed(text), *patient.flush()] == whole
