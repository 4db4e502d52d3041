"""PURE: what has to be known of the world's scripts."""

from __future__ import annotations

from typing import Final

__all__ = ["MARKS", "PICTURES", "UNSPACED"]

# Letters of scripts that put no space between words, as ranges for a character class:
# Thai, Lao, Burmese, Khmer, kana and Han.
UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30fa\u30fc-\u30ff"
    "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)

# Vowels and other marks that are parts of words and no letters to ``\w``, as ranges for a
# character class: accents, Hebrew, Arabic, the scripts of India, and the joiners.
MARKS: Final = (
    "\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u0900-\u0963\u0966-\u0dff\u200c\u200d"
)

# The emoji of Unicode's emoji-data.txt with the pictographs among them. Arrows, musical
# accidentals, numbers in circles and signs such as the trademark's are no pictures: they are read.
PICTURES: Final = (
    "\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe"
    "\u2600-\u266c\u2670-\u2775\u2794-\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001f0ff\U0001f10d-\U0001faff"
)
