"""PURE: when each word of a text is said, for voices that do not tell.

A word takes as long as its letters, a digit as long as a word, and a mark makes the pause
that it makes in reading aloud; the whole is stretched to the sound's duration. The weights
are those of eSpeak NG's word events in 28 sentences of four languages, rounded. Where a
script puts no space between words, each character is one.

The duration is that of the whole text, in seconds, and times count from where it begins.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from math import inf, isnan
from typing import NamedTuple

from .._scripts import UNSPACED

__all__ = ["SpokenWord", "heard_text", "spoken_words"]

# What opens a quotation belongs to the word after it, other marks and accents to the one before.
_BEFORE = r"(\[{¿¡\u00ab\u2018\u201c\u2039\u3008\u300a\u300c\u300e\u3010\uff08"
_IS_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(
    rf"[{_BEFORE}]*[{UNSPACED}][^\w\s{_BEFORE}]*"
    rf"|(?:[^\s{UNSPACED}{_BEFORE}]|[{_BEFORE}](?![{_BEFORE}]*[{UNSPACED}]))+"
)

# In letters, of which a voice says fifteen a second.
_WORD_ITSELF = 1.0
_LETTER = 1.0
_LETTER_UNSPACED = 3.0
_DIGIT = 5.0
_SYMBOLS = dict.fromkeys("$€£¥%&+=@", 6.0)  # dollars, percent
_PAUSES = {
    **dict.fromkeys(",\u060c\u3001\uff0c", 3.0),
    **dict.fromkeys(";:\u2013\u2014\u061b\uff1b\uff1a", 4.5),
    **dict.fromkeys(".!?\u2026\u061f\u06d4\u0964\u3002\uff01\uff1f", 6.0),
}
_PAUSE = re.compile(rf"([{re.escape(''.join(_PAUSES))}])[^\w\s]*$")
_LAST = 0.5  # of its pause is in the sound after the last word: some engines leave none


class SpokenWord(NamedTuple):
    """A word with its marks, and the seconds in which it is said, without the pause after it."""

    text: str
    start: float
    end: float


def spoken_words(text: str, duration: float) -> list[SpokenWord]:
    """An estimate of when each word of ``text`` is said.

    Raises:
        ValueError: The duration is negative or not a number.
    """
    return [SpokenWord(text[a:b], start, end) for a, b, start, end in _timed(text, duration)]


def heard_text(text: str, duration: float, played: float) -> str:
    """The words of ``text`` that have been said after ``played`` seconds, as they are written.

    It begins with the beginning of ``text`` and ends with a whole word. It is all of it once
    ``played`` is the duration, and "" at 0.

    Raises:
        ValueError: The duration is negative or not a number, or ``played`` is not a number.
    """
    if isnan(played):
        raise ValueError("what was played is a number of seconds")
    timed = _timed(text, duration)
    if played <= 0:
        return ""
    if played >= duration:
        return text
    n_heard = bisect_right([end for *_, end in timed], played)
    return text[: timed[n_heard - 1][1]] if n_heard else ""


def _timed(text: str, duration: float) -> list[tuple[int, int, float, float]]:
    """Each word's place in the text, and its seconds."""
    if not 0.0 <= duration < inf:
        raise ValueError(f"a sound's duration is 0 seconds or more, not {duration}")
    words = [match.span() for match in _WORD.finditer(text)]
    moments = [0.0]  # in letters: each word's start and end, and the end of the sound
    for first, last in words:
        word = text[first:last]
        moments.append(moments[-1] + _weight(word))
        moments.append(moments[-1] + _pause(word) * (_LAST if last == words[-1][1] else 1.0))
    scale = duration / moments[-1] if words else 0.0
    starts, ends = moments[0:-1:2], moments[1::2]
    return [
        (*place, start * scale, end * scale)
        for place, start, end in zip(words, starts, ends, strict=True)
    ]


def _weight(word: str) -> float:
    return _WORD_ITSELF + sum(map(_letters, word))


def _letters(char: str) -> float:
    if char.isdecimal():
        return _DIGIT
    if _IS_UNSPACED.match(char):
        return _LETTER_UNSPACED
    return _LETTER if char.isalpha() else _SYMBOLS.get(char, 0.0)


def _pause(word: str) -> float:
    mark = _PAUSE.search(word)
    return _PAUSES[mark[1]] if mark else 0.0
