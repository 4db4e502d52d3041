r"""PURE: written text made speakable.

The whole text is known, so that marks find their partners and blocks of code can be left
out. Marks of layout and pictures are dropped, a link is its text, an address of the web its
host. Prose of any script stays as it is, whatever signs it shares with Markdown:
``3 * 4 = 12``, ``snake_case``, ``C#``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .._scripts import MARKS, PICTURES, UNSPACED

__all__ = ["Replacements", "Rules", "cleaned", "speaks"]

# Under one mark there may be another. Nobody writes so many; where somebody does, all go.
_MOST_ROUNDS: Final = 20

# -- characters

# Controls, marks of direction, soft hyphens, surrogates, private characters. The joiners and
# the space without width stay: Persian, Hindi and Khmer spell with them.
_SILENT: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffd\ud800-\uf8ff\U000f0000-\U0010ffff]"
)
_LINE_END: Final = re.compile("\r\n?|[\u2028\u2029\v\f\x85]")
_SPACES: Final = re.compile(r"[^\S\n]+")
_PLAIN: Final = {
    ord(char): plain
    for chars, plain in (
        ("\u2018\u2019\u201a\u201b\u2032", "'"),
        ("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        ("\u2010\u2011", "-"),
        ("\u2026", "..."),
    )
    for char in chars
}
_DASH: Final = re.compile(r"(?<=\d)[^\S\n]*[\u2012\u2013][^\S\n]*(?=\d)")  # 3-5, from to
_APART: Final = re.compile(  # a pause, as a comma makes it
    r"(?<=[\w.!?,;:)\"'])(?:[^\S\n]*[\u2014\u2015][^\S\n]*|[^\S\n]+[\u2012\u2013][^\S\n]+)(?=[\w(\"'])"
)
_LONG_DASH: Final = re.compile("[\u2012-\u2015]")

# Joiners, selectors of a form, skin tones and the tags of flags make one picture of several.
_PICTURE: Final = re.compile(
    rf"[^\S\n]*[{PICTURES}][{PICTURES}\ufe0e\ufe0f\u200d\u20e3\U000e0020-\U000e007f]*"
)
_CLOSING: Final = ".,;:!?)]}\u2026\u201d\u2019\u00bb\u3002\uff0c\uff01\uff1f"
_FORM: Final = re.compile("[\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]")  # a digit's key is said

_REPEATED: Final = re.compile(r"([!?,;:\u3002\uff01\uff1f\u061f])(?:[^\S\n]*\1)+")
_MIXED: Final = re.compile(r"(?:\?!|!\?)[?!]+")
_DOTS: Final = re.compile(r"\.{4,}")
_BEFORE_MARK: Final = re.compile(r"(?<=\w)[^\S\n]+(?=[,.](?:\s|$))")
_BLANK_LINES: Final = re.compile(r"\n{3,}")

# -- Markdown

_FENCE: Final = re.compile(r"\s*(```+|~~~+)\s*([^`]*)")
_RULE: Final = re.compile(r"^[^\S\n]*([-=_*#])(?:[^\S\n]*\1){2,}[^\S\n]*$", re.MULTILINE)
_BEGINNING: Final = re.compile(
    r"^[^\S\n]*(?:(?:>(?!=)|\#{1,6}(?=\s)|[-*+\u2022\u2023\u25e6](?=\s)|\[[ xX]\](?=\s))[^\S\n]*)+",
    re.MULTILINE,
)
_HEADING_END: Final = re.compile(r"(?<=\w)[^\S\n]+#+[^\S\n]*$", re.MULTILINE)
_ALIGNMENT: Final = re.compile(
    r"^[^\S\n]*\|?(?:[^\S\n]*:?-+:?[^\S\n]*\|)+[^\S\n:|-]*[:-]*[^\S\n]*$\n?", re.MULTILINE
)
_ROW: Final = re.compile(r"^[^\S\n]*\|([^\n]*)\|[^\S\n]*$", re.MULTILINE)
_CELL: Final = re.compile(r"[^\S\n]*\|[^\S\n]*")
_LINK: Final = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)")
_REFERENCE: Final = re.compile(r"!?\[([^\[\]\n]+)\]\[[^\[\]\n]*\]|\[\^[^\[\]\n]+\]:?")
_COMMENT: Final = re.compile(r"<!--(?:(?!<!--).)*?-->", re.DOTALL)
_TAG: Final = re.compile(
    r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s+[\w:-]+(?:=(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))?)*\s*/?>"
)
_STARRED: Final = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]*[^\s*])\1(?![\w*])")
_UNDERLINED: Final = re.compile(
    r"(?<![\w_])(_{1,3})(?=[^\s_])((?:[^_\n]|(?<=[^\W_])_(?=[^\W_]))*[^\s_])\1(?![\w_])"
)
_STRUCK: Final = re.compile(r"~~(?=\S)([^~\n]*\S)~~")
_CODE: Final = re.compile(r"(?<!`)(`+)(?!`)([^`\n]+)\1(?!`)")
_ESCAPE: Final = re.compile(r"\\([*_`#~|<>\[\]()!.-])")
_MARKS: Final = re.compile(r"[*_`#~|<>\[\]\\]+")

# -- addresses

_URL: Final = re.compile(
    r"<?(?:(?:https?|ftp)://(?:[^\s/@<>]*@)?(?:www\.)?|(?<![\w@./-])www\.)"
    r"(?P<host>[^\W_](?:[\w.-]*[^\W_])?)(?::\d+)?(?P<path>[/?#][^\s<>\"]*)?>?",
    re.IGNORECASE,
)
_AFTER_URL: Final = ".,;:!?'*_~`|)]}"


@dataclass(frozen=True, slots=True)
class Rules:
    """What is made speakable."""

    markdown: bool = True
    emoji: bool = True
    link: str | None = None  # what stands for an address; None: its host


def speaks(text: str) -> bool:
    """Whether there is a letter or a digit in it."""
    return any(map(str.isalnum, text))


def cleaned(text: str, rules: Rules) -> str:
    """``text`` as it is to be said; cleaning it again changes nothing.

    It may be without a letter, or empty.
    """
    for _ in range(_MOST_ROUNDS):
        clean = _round(text, rules)
        if clean == text:
            return text
        text = clean
    return _round(_MARKS.sub("", text), Rules(markdown=False, emoji=rules.emoji))


def _round(text: str, rules: Rules) -> str:
    text = _SPACES.sub(" ", _SILENT.sub("", _LINE_END.sub("\n", text)))
    if rules.markdown:
        text = _without_markdown(text)
    text = _URL.sub(lambda url: _spoken(url, rules.link), text)
    if rules.emoji:
        text = _FORM.sub("", _PICTURE.sub(_gap, text))
    text = text.translate(_PLAIN)
    text = _LONG_DASH.sub("-", _APART.sub(", ", _DASH.sub("-", text)))
    text = _DOTS.sub("...", _MIXED.sub("?!", _REPEATED.sub(r"\1", text)))
    text = _BEFORE_MARK.sub("", _SPACES.sub(" ", text))
    lines = [line.strip() for line in text.split("\n")]
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _without_markdown(text: str) -> str:
    text = _ESCAPE.sub(r"\1", _COMMENT.sub("", _without_code(text)))
    text = _RULE.sub("", text)
    text = _HEADING_END.sub("", _BEGINNING.sub("", text))
    text = _ROW.sub(lambda row: _CELL.sub(", ", row[1]), _ALIGNMENT.sub("", text))
    text = _REFERENCE.sub(r"\1", _LINK.sub(r"\1", text))
    text = _TAG.sub("", text)
    text = _CODE.sub(r"\2", text)
    return _STRUCK.sub(r"\1", _UNDERLINED.sub(r"\2", _STARRED.sub(r"\2", text)))


def _without_code(text: str) -> str:
    """Without blocks of code; of one that is not closed, the code is taken for prose."""
    kept: list[str] = []
    block: list[str] = []
    opened = ""
    for line in text.split("\n"):
        fence = _FENCE.fullmatch(line)
        if not opened:
            if fence is None:
                kept.append(line)
            else:
                opened = fence[1]
        elif fence is not None and fence[1].startswith(opened) and not fence[2]:
            opened = ""
            block.clear()
        elif fence is None:
            block.append(line)
    return "\n".join(kept + block)


def _gap(picture: re.Match[str]) -> str:
    """What stands for a picture between two words, or between a word and its mark."""
    following = picture.string[picture.end() :][:1]
    return "" if following in _CLOSING else " "


def _spoken(url: re.Match[str], link: str | None) -> str:
    """What is said of an address, and what follows it although no space is between."""
    path = url["path"] or ""
    after = path[len(path.rstrip(_AFTER_URL)) :]
    if path.count("(") >= path.count(")"):
        after = after.replace(")", "")
    return (url["host"] if link is None else link) + after


class Replacements:
    """Words, and what is said instead of each.

    A key is found as a whole word, in any case unless it has a capital itself; a longer one
    goes before a shorter. What was put in is not looked at again. In scripts without spaces
    it is found anywhere.

    Raises:
        ValueError: A key is blank.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        ordered = sorted(words, key=len, reverse=True)
        for word in ordered:
            if not word.strip():
                raise ValueError(
                    f"a word to be replaced has a visible character; {word!r} has none"
                )
        self._said = [words[word] for word in ordered]
        self._pattern = re.compile("|".join(map(_alternative, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: self._said[(found.lastindex or 0) - 1], text)


def _alternative(word: str) -> str:
    before = rf"(?<![^\W{UNSPACED}])(?<![{MARKS}])" if _spaced(word[0]) else ""
    after = rf"(?![^\W{UNSPACED}]|[{MARKS}])" if _spaced(word[-1]) else ""
    flags = "i" if word == word.lower() else ""
    return rf"({before}(?{flags}:{re.escape(word)}){after})"


def _spaced(char: str) -> bool:
    return re.match(rf"[^\W{UNSPACED}]|[{MARKS}]", char) is not None
