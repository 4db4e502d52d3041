"""PURE: what a voice should say of a written answer.

Models that write answers write Markdown, emoji and web addresses; read aloud as they stand,
those are noise. Marks of layout and pictures are dropped, a link is its text, an address of
the web its host's name. Prose of any script is left as it is, whatever signs it shares with
Markdown: ``3 * 4 = 12``, ``snake_case``, ``C#``.

The text is one piece of an answer, so a mark may have its partner in another piece, and a
line of code cannot be told from one of prose: it is said. A number that begins a line as
that of a list's item does is dropped.
"""

from __future__ import annotations

import re

from .._scripts import PICTURES

__all__ = ["speakable"]

# -- characters

_LINE_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SPACES = re.compile(r"\s{2,}|[\t\x1f]")

# Controls, marks of direction, soft hyphens, halves of surrogate pairs, private characters. The
# joiners and the space without width stay: Persian, Hindi and Khmer spell with them.
_SILENT = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffd\ud800-\uf8ff\U000f0000-\U0010ffff]"
)

# Skin tones and the letters of flags are pictures themselves; variation selectors, joiners and
# tags make one picture of several.
_PICTURE = rf"[{PICTURES}][{PICTURES}\ufe0e\ufe0f\u200d\u20e3\U000e0020-\U000e007f]*"
_PICTURES_IN_TEXT = re.compile(rf"\s?(?:{_PICTURE}\s?)+")
_CLOSING = ".,;:!?\u2026)]}\u201d\u2019\u00bb\u3002\uff0c\uff01\uff1f"
_KEYCAP = "[0-9#*]\ufe0f?\u20e3"
_VARIATION = re.compile("(?:[#*](?=\ufe0f?\u20e3))?[\ufe0e\ufe0f\u20e3]")  # a digit's key is said

# -- lines

_FENCE = re.compile(r"(?:```+|~~~+)\s?[\w.+#-]*")
_HEADING = re.compile(r"#{1,6}\s.*?(\s#+)$")
_BEGINNING = re.compile(
    r"(?:(?:"
    r">(?!=)"  # a quotation
    r"|\#{1,6}(?=\s)"
    r"|[-*+\u2013\u2014](?=\s)|[\u2022\u2023\u25e6\u00b7]"  # bullets
    r"|\[[ xX]\](?=\s)"
    r"|\d{1,3}[.)](?=\s+\S)"
    rf"|{_KEYCAP}"
    r")\s*)+"
)
_ROW = re.compile(r"\|.*|.*\||.*\s\|\s.*\s\|\s.*")
_PIPES = re.compile(r"([.,;:!?])?\s?\|[\s|]*")

# -- within lines

# Of Latin, Greek and Cyrillic letters: other scripts write on without a space.
_HOST_PART = r"(?-i:[^\W\u0590-\uffff])"  # ignoring case, k would be the Kelvin sign in it
_URL = re.compile(
    r"(?:(?:https?|ftp)://(?:[^\s/@<>]*@)?(?:www\.)*|(?<![\w@./-])(?:www\.)+)"
    rf"(?P<host>{_HOST_PART}(?:(?:{_HOST_PART}|[.-])*{_HOST_PART})?)(?::\d+)?"
    r"(?P<path>[/?#][!#-;=?-~]*)?",
    re.IGNORECASE,
)
_AFTER_URL = ".,;:!?'*_~`|)]}"
_AUTOLINK = re.compile(
    r"<(?:mailto:)?([^\s<>@]+@[^\s<>@]+|(?:https?|ftp)://[^\s<>]+)>", re.IGNORECASE
)
_LINK = re.compile(r"!?\[([^\[\]]*)\]\(\s?(?:[^()\s]|\([^()\s]*\))*(?:\s[\"'][^\"']*[\"'])?\s?\)")
_FOOTNOTE = re.compile(r"\[\^\d+\]:?")

_BREAKS = "br|blockquote|dd|div|dl|dt|h[1-6]|hr|li|ol|p|pre|table|tbody|td|tfoot|th|thead|tr|ul"
_INLINE = (
    "a|b|big|center|code|del|details|em|font|i|img|ins|kbd|mark|q|s|samp|small|span|strike|"
    "strong|sub|summary|sup|tt|u|var"
)
_ATTRIBUTES = r"(?:\s[\w:-]+=(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))*\s?/?"
_BREAK = re.compile(rf"</?(?:{_BREAKS}){_ATTRIBUTES}>", re.IGNORECASE)
_TAG = re.compile(rf"</?(?:{_INLINE}){_ATTRIBUTES}>|<!--.*?-->", re.IGNORECASE)

_STARRED = re.compile(r"(?<!\*)(\*{1,3})(?=[^\s*])([^*]*[^\s*])\1(?!\*)")
_EMPHASIS = re.compile(
    # Its partner is elsewhere. A star between two spaces or two letters is none, nor is A*.
    r"(?<![\w*])\*+(?=[^\s*])|(?<=[^\s*])(?<!\b[A-Z])\*+(?![\w*])"
    r"|(?<!\w)_+(?=[^\s_])|(?<=[^\s_])_+(?!\w)"
    r"|~~|`"
)
_ESCAPE = re.compile(r"\\(?=[*_`#~|<>\[\]])|(?<=\d)\\(?=\.)")

_RULE = re.compile(r"([-=_~#*+])\1{2,}")
_REPEATED = re.compile(r"([!?\uff01\uff1f\u061f\u3002\u060c])\1+")
_MIXED = re.compile(r"(\?!|!\?)[?!]+")
_DOTS = re.compile(r"\.{4,}")
_COMMAS = re.compile(r",(?:\s?,)+")


def speakable(text: str) -> str:
    """``text`` as it is to be said; "" if nothing of it can be.

    What is speakable already comes back unchanged. There is no control character in it, and
    no more characters than in ``text`` but for one a cell of a table.
    """
    while (plain := _plain(text)) != text:  # under one mark there may be another
        text = plain
    return text


def _plain(text: str) -> str:
    lines = _LINE_BREAK.split(_SILENT.sub("", text))
    return " ".join(filter(_speaks, map(_line, lines)))


def _speaks(text: str) -> bool:
    return any(char.isalnum() for char in text)


def _line(line: str) -> str:
    line = _SPACES.sub(" ", line).strip()
    if _FENCE.fullmatch(line):
        return ""
    if heading := _HEADING.fullmatch(line):
        line = line[: heading.start(1)]
    if beginning := _BEGINNING.match(line):
        line = line[beginning.end() :]
    if _ROW.fullmatch(line):
        line = _PIPES.sub(lambda pipes: f"{pipes[1] or ','} ", line.strip("| "))
    line = _AUTOLINK.sub(r"\1", line)
    line = _LINK.sub(r"\1", line)
    line = _URL.sub(_host, line)
    line = _FOOTNOTE.sub("", line)
    line = _TAG.sub("", _BREAK.sub(" ", line))
    line = _STARRED.sub(_unstarred, _ESCAPE.sub("", line))
    line = _EMPHASIS.sub("", line)
    line = _VARIATION.sub("", _PICTURES_IN_TEXT.sub(_gap, line))
    line = _REPEATED.sub(r"\1", _RULE.sub(" ", line))
    line = _COMMAS.sub(",", _DOTS.sub("...", _MIXED.sub(r"\1", line)))
    return _SPACES.sub(" ", line).strip()


def _host(url: re.Match[str]) -> str:
    """The host's name, and what follows the address although no space is between."""
    path = url["path"] or ""
    after = path[len(path.rstrip(_AFTER_URL)) :]
    return url["host"] + after.replace(")", "", path.count("("))


def _unstarred(starred: re.Match[str]) -> str:
    """Without its stars, unless that would make 234 of 2*3*4; Chinese has no spaces around."""
    around = starred.string[: starred.start()][-1:], starred.string[starred.end() :][:1]
    product = all(char.isascii() and char.isalnum() for char in around)
    return starred[0] if product else starred[2]


def _gap(pictures: re.Match[str]) -> str:
    """What stands for pictures between two words, or between a word and its mark."""
    following = pictures.string[pictures.end() :][:1]
    return "" if following in _CLOSING else " "
