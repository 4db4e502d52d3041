"""What a voice says of an answer that was written to be read."""

# ruff: noqa: RUF001 - the marks of other scripts are meant

from __future__ import annotations

from unicodedata import category

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realtime_stts.conversation._speakable import speakable


@pytest.mark.parametrize(
    "text",
    [
        "3 * 4 = 12, and 2*3*4 is 24; 5*3 and 4*2 are 23.",
        "The snake_case name of C# or C++ is in f(x) = a[i] - b.",
        "It's $5, 50 % or 3,5 % of ~20 °C - not £3.99 (about €4)!",
        "5 > 3, a < b, x <y and z> w, List<int> & Co.",
        "#1 at +49 30 1234, 10:30, -5, and/or 1/2 ½ ① ²",
        "Well... yes?! A* is “good”, ‘fine’ – and so — on…",
        "Mail me.too_1@www.example.com or see example.com.",
        "a | b, a || b, a -- b, {a}, [b], it is 5'3\".",
        "C♯ and B♭, → left, © ® ™",
        "¿Cómo estás? ¡Über-naïve Fêtes, s'il vous plaît !",
        "今天天气很好，我们去公园吧。「好吗？」她说……",
        "カタカナとひらがな、漢字。",
        "안녕하세요. 반갑습니다!",
        "मुझे हिन्दी आती है। क्\u200dष",
        "مرحبا، كيف حالك؟ می\u200cخواهم",
        "สวัสดีครับ",
        "Привет, как дела?",
        "a\u00a0b\u202fc",
        "42.",
        "2024. It was",
        ">= 5 of them",
    ],
)
def test_prose_is_said_as_it_is(text: str) -> None:
    assert speakable(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("**Hello** there, *my* ***dear*** __old__ _friend_.", "Hello there, my dear old friend."),
        ("~~gone~~ `code` ``more``", "gone code more"),
        ("**Hello there.", "Hello there."),
        ("How are you?**", "How are you?"),
        ("*smiles and", "smiles and"),
        ("waves*", "waves"),
        ("这是**重点**内容", "这是重点内容"),
        ("**A** is **B**.", "A is B."),
        (r"\*not slanted\* but 2 \* 3", "not slanted but 2 * 3"),
        ("Title -----", "Title"),
    ],
)
def test_emphasis_is_not_said(text: str, said: str) -> None:
    assert speakable(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# Title", "Title"),
        ("## Title ##", "Title"),
        ("- item", "item"),
        ("* item", "item"),
        ("+ item", "item"),
        ("\u2022item", "item"),
        ("\u2014 Oui.", "Oui."),
        ("1. First", "First"),
        ("2) Second", "Second"),
        ("- [x] done", "done"),
        ("- [ ] to do", "to do"),
        ("> quoted", "quoted"),
        ("> - **Bold:** text", "Bold: text"),
        ("```python", ""),
        ("```", ""),
        ("~~~", ""),
        ("```\nx = 1\n```", "x = 1"),
        ("Title\n=====\n\ntext\n\n---\n\nmore", "Title text more"),
    ],
)
def test_layout_is_not_said(text: str, said: str) -> None:
    assert speakable(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("| a | b |", "a, b"),
        ("|a|b|", "a, b"),
        ("a | b | c", "a, b, c"),
        ("rest of it | c |", "rest of it, c"),
        ("| a | | c |", "a, c"),
        ("| It is so. | Yes |", "It is so. Yes"),
        ("| X | O |", "X, O"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", "a, b 1, 2"),
    ],
)
def test_a_tables_row_is_a_list_of_its_cells(text: str, said: str) -> None:
    assert speakable(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("see [the docs](https://example.com/a_(b)) now", "see the docs now"),
        ('[the docs](docs.md "Of it")', "the docs"),
        ("![a cat](cat.png)", "a cat"),
        ("[![a cat](cat.png)](https://example.com)", "a cat"),
        ("so it is[^1].", "so it is."),
        ("https://www.example.com/a/b?c=d#e", "example.com"),
        ("Go to https://example.com/a.", "Go to example.com."),
        ("(http://user:pass@example.com:8080/)", "(example.com)"),
        ("(see https://example.com/A_(b))", "(see example.com)"),
        ("www.example.com/a, then", "example.com, then"),
        ("**https://example.com/a_b_c**", "example.com"),
        ("<https://example.com/> and <mailto:me@example.com>", "example.com and me@example.com"),
        ("HTTPS://KIOSK.example/", "KIOSK.example"),
        ("请看https://example.com/a。谢谢", "请看example.com。谢谢"),
        ("https://münchen.example/weg", "münchen.example"),
    ],
)
def test_a_link_is_its_text_and_an_address_its_host(text: str, said: str) -> None:
    assert speakable(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one<br>two<br/>three", "one two three"),
        ('<p class="x">a <b>b</b> <a href="y">c</a></p>', "a b c"),
        ("a <!-- not this --> b", "a b"),
    ],
)
def test_tags_are_not_said(text: str, said: str) -> None:
    assert speakable(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Great \U0001f389 job!", "Great job!"),
        ("Great\U0001f389job", "Great job"),
        ("Hi \U0001f44b\U0001f3fd!", "Hi!"),
        ("Hi \U0001f44b, you.", "Hi, you."),
        ("A family \U0001f468\u200d\U0001f469\u200d\U0001f467.", "A family."),
        ("\U0001f1e9\U0001f1ea Germany", "Germany"),
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f Wales", "Wales"),
        ("\u26a0\ufe0f Hot", "Hot"),
        ("\u2764\ufe0f \u2705 \u2728", ""),
        ("1\ufe0f\u20e3 First", "First"),
        ("Press 1\ufe0f\u20e3 or *\ufe0f\u20e3", "Press 1 or"),
        ("left \u2194\ufe0f right", "left \u2194 right"),
        ("好\U0001f44d。", "好。"),
    ],
)
def test_pictures_are_not_said(text: str, said: str) -> None:
    assert speakable(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Stop!!! What???", "Stop! What?"),
        ("What?!?! No!??!", "What?! No!?"),
        ("Hm......", "Hm..."),
        ("a,, b, , c", "a, b, c"),
        ("  a  b\tc\nd\r\n e ", "a b c d e"),
        ("a\x00b\x1b\u202e\ufeff\ud800\ue000c\x85d", "abc d"),
    ],
)
def test_repetitions_and_what_is_no_text_are_not_said(text: str, said: str) -> None:
    assert speakable(text) == said


@pytest.mark.parametrize(
    "text", ["", " ", "\U0001f389", "---", "***", "...", "?!", "``", "- ", "|"]
)
def test_where_nothing_is_left_there_is_nothing_to_say(text: str) -> None:
    assert speakable(text) == ""


# -- any text

MARKUP = st.lists(
    st.sampled_from(
        ["*", "**", "_", "~~", "`", "```", "#", "# ", "- ", "1. ", "2) ", "> ", "[", "](", ")", "!",
         "|", " | ", "https://", "www.", "a.b", "/x", "<br>", "<b>", "<", ">", "\\", " ", "\n",
         "\t", "?", ".", ",", "-", "=", "word", "5", "\U0001f389", "\u200d", "\ufe0f",
         "1\ufe0f\u20e3", "\x00", "\x85", "[^1]", "好", "me@", "\"", "(", ":"]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@given(st.text() | MARKUP)
@example("1. 2. [![[a](b)](c)](d)")
@example("*\\*a\\**")
@example("https://www.www.a.b")
def test_what_is_speakable_already_stays(text: str) -> None:
    assert speakable(speakable(text)) == speakable(text)


@given(st.text() | MARKUP)
def test_no_control_character_is_left(text: str) -> None:
    assert not {"Cc", "Cs", "Co"} & {*map(category, speakable(text))}


@given(st.text() | MARKUP)
def test_what_is_said_is_no_longer_but_for_a_tables_cells(text: str) -> None:
    assert len(speakable(text)) <= len(text) + text.count("|")


WORDS = st.from_regex(r"[^\W\d_]+([’'-][^\W\d_]+)?[.,;:!?]?", fullmatch=True)


@given(st.lists(WORDS, min_size=1).map(" ".join))
def test_words_are_said_as_they_are(text: str) -> None:
    assert speakable(text) == text
