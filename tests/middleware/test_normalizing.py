"""Written text made speakable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.middleware._normalizing import Replacements, Rules, cleaned, speaks


def said(text: str, **rules: object) -> str:
    return cleaned(text, Rules(**rules))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello there, my friend.",
        "3 * 4 = 12 and 2*3*4, snake_case, C#, a < b and c > d.",
        "Um 8 Uhr; was nun? (Nichts!)",
        "1. first, then 2. second",
        "One line\nand another\n\nand a paragraph",
        "今天天气很好\uff0c我们去公园散步吧\u3002",
        "नमस्ते, می‌خواهم",
        "™ © → ±",
        "he wrote to a@b.com",
        'He said "no" [sic] and left (early)',
    ],
)
def test_prose_stays_as_it_is(text: str) -> None:
    assert said(text) == text


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("# Title #\n\nText", "Title\n\nText"),
        ("**bold**, *slanted*, ***both*** and __bold__ _too_", "bold, slanted, both and bold too"),
        ("_snake_case_ **a *b* c**", "snake_case a b c"),
        ("~~no~~ `x = 1` ``y``", "no x = 1 y"),
        (
            "> quoted\n- one\n* two\n+ three\n- [x] done\n• four",
            "quoted\none\ntwo\nthree\ndone\nfour",
        ),
        ("above\n\n---\n\nbelow", "above\n\nbelow"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", "a, b\n1, 2"),
        ("[the docs](https://a.b/c_(d)), ![a cat](cat.png)", "the docs, a cat"),
        ("[[a](b)](c) [text][ref] noted[^1].", "a text noted."),
        (r"a \*star\* and \_score\_", "a star and score"),
        ("<b>bold</b> <a href='x'>link</a><br/>end<!-- no\none -->", "bold linkend"),
        ("before\n```python\nprint(1)\n```\nafter", "before\nafter"),
        ("before\n~~~\n```\nx\n~~~\nafter", "before\nafter"),
        (
            "before\n```\nnot closed\n``` x\nafter",
            "before\nnot closed\n``` x\nafter".replace("\n``` x", ""),
        ),
        ("```\nall code\n```", ""),
    ],
)
def test_markdown_is_taken_off(text: str, spoken: str) -> None:
    assert said(text) == spoken


def test_markdown_may_stay() -> None:
    assert said("**a** [b](c)", markdown=False) == "**a** [b](c)"


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("see https://www.example.com/a?b=1#c.", "see example.com."),
        ("see www.example.org, or <http://me:pw@host.net:80/x>", "see example.org, or host.net"),
        ("(see http://a.org/x)", "(see a.org)"),
        ("http://a.org/x_(y)", "a.org"),
    ],
)
def test_an_address_is_its_host(text: str, spoken: str) -> None:
    assert said(text) == spoken


def test_an_address_may_be_a_word() -> None:
    assert said("see https://www.example.com/a, please", link="the link") == "see the link, please"


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Hello 🎉! Great 👍🏽 job", "Hello! Great job"),
        ("a👨‍👩‍👧b ❤️ 🇩🇪", "a b"),
        ("press 1️⃣ now", "press 1 now"),
        ("🎉", ""),
    ],
)
def test_emoji_are_left_out(text: str, spoken: str) -> None:
    assert said(text) == spoken


def test_emoji_may_stay() -> None:
    assert said("well done 🎉", emoji=False) == "well done 🎉"


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        (
            "\u201cHi\u201d \u2018you\u2019 \u00abthere\u00bb it\u2019s\u2026",
            '"Hi" \'you\' "there" it\'s...',
        ),
        ("pages 3\u20135, well\u2010known", "pages 3-5, well-known"),
        ("yes \u2014 no\u2014maybe \u2013 so", "yes, no, maybe, so"),
        ("\u2014 What?", "What?"),
        ("what?!?! no!!! wait..... a,, b", "what?! no! wait... a, b"),
        ("tabs\tand   spaces , here .", "tabs and spaces, here."),
        ("a\r\nb\rc\u2028d\n\n\n\ne", "a\nb\nc\nd\n\ne"),
        ("be\x07ll so\u00adft \u202eleft\u202c \ufeff", "bell soft left"),
    ],
)
def test_characters_are_plain(text: str, spoken: str) -> None:
    assert said(text) == spoken


def test_whether_anything_is_said() -> None:
    assert speaks("a")
    assert speaks("7")
    assert not speaks("... !")


def test_marks_upon_marks_without_end_are_all_taken_off() -> None:
    nested = "[" * 50 + "a" + "](b)" * 50
    assert said(nested) == "a" + "(b)" * 30
    assert said(said(nested)) == said(nested)


# Text that is dense with what the rules are about.
written = st.text(
    st.sampled_from(list("ab1 \n*_`#~|<>[]()\\-+.,:;!?/&\"'=^🎉\u2014\u201c\u2026\u2028\ufe0f\t"))
    | st.characters(codec="utf-8"),
    max_size=60,
) | st.lists(
    st.sampled_from(
        ["**", "__", "```", "\n", "[a](b)", "http://a.b/", "www.", "<b>", "| ", "|-|", "- ", "> ",
         "# ", " ", "x", "1", "\\", "🎉", "...", "(", ")", "~~", "<!--", "-->", "![", "]["]
    ),
    max_size=20,
).map("".join)  # fmt: skip


@given(written, st.booleans(), st.booleans())
def test_what_is_clean_stays_as_it_is(text: str, markdown: bool, emoji: bool) -> None:
    clean = said(text, markdown=markdown, emoji=emoji)
    assert said(clean, markdown=markdown, emoji=emoji) == clean


@given(st.lists(st.from_regex(r"[a-zA-Z]{1,8}", fullmatch=True), max_size=12))
def test_words_are_never_lost(words: list[str]) -> None:
    assert said(" ".join(words)) == " ".join(words)


class TestReplacements:
    def test_whole_words_in_any_case(self) -> None:
        replaced = Replacements({"nginx": "engine x"})
        assert replaced("Nginx, NGINX and nginx-light; nginxx") == (
            "engine x, engine x and engine x-light; nginxx"
        )

    def test_a_key_with_capitals_is_found_as_it_stands(self) -> None:
        replaced = Replacements({"US": "United States"})
        assert replaced("the US and us") == "the United States and us"

    def test_a_longer_one_goes_first_and_nothing_is_replaced_twice(self) -> None:
        replaced = Replacements({"gif": "jif", "gif file": "picture", "jif": "peanut butter"})
        assert replaced("a gif file, a gif, a jif") == "a picture, a jif, a peanut butter"

    def test_signs_may_be_parts_of_a_word(self) -> None:
        replaced = Replacements({"c++": "see plus plus", ".net": "dot net", "a.b": "\\1 \\g<0>"})
        assert (
            replaced("C++, .NET and a.b, not axb")
            == "see plus plus, dot net and \\1 \\g<0>, not axb"
        )

    def test_scripts_without_spaces_have_no_whole_words(self) -> None:
        assert Replacements({"重庆": "chóngqìng"})("我在重庆市") == "我在chóngqìng市"
        assert Replacements({"ai": "A I"})("用AI写") == "用A I写"

    def test_a_word_goes_on_with_its_vowels(self) -> None:
        replaced = Replacements({"नमस": "x", "नमस्ते": "namaste"})
        assert replaced("नमस्ते, नमस्तेजी नमसा नमस") == "namaste, नमस्तेजी नमसा x"

    def test_none_changes_nothing(self) -> None:
        assert Replacements({})("as it is") == "as it is"

    def test_a_key_must_be_seen(self) -> None:
        with pytest.raises(ValueError, match="' ' has none"):
            Replacements({" ": "x"})
