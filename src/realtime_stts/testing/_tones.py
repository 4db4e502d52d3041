"""PURE: a language of tones, in which the fakes truly speak and understand.

A character is a chord of two sines, as a telephone dials (ITU-T Recommendation Q.23);
white space is silent. The upper sine and the row of the lower one tell which character it
is, the group of the lower one its place in the text: the first, or its number modulo
three. So a text can be read at any pace and however long its silences are: "ll" is two
characters, one that was paused in the middle is one, a space is no pause, and where a
first character comes, another text begins.

All sines lie in the telephone band of 300 to 3,400 Hz, which every rate from 8 kHz up
carries, at whole multiples of 50 Hz: over 20 ms they are orthogonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from unicodedata import normalize

import numpy as np

from ..audio import AudioData

__all__ = [
    "HIGHEST",
    "LOWEST",
    "N_LOWER",
    "SECONDS_PER_CHARACTER",
    "STEP",
    "Tone",
    "speak_tones",
    "tone_spelling",
]

SECONDS_PER_CHARACTER: Final = 0.06  # about 16 characters a second, as people talk
_PEAK: Final = 0.3  # of full scale

LOWEST, HIGHEST, STEP = 300, 3_400, 50  # Hz; of the sines
_ROWS: Final = 5
_N_PLACES: Final = 4  # the first character's, and three that take turns
N_LOWER: Final = _ROWS * _N_PLACES  # how many of the frequencies are for the lower sine
_COLUMNS: Final = (HIGHEST - LOWEST) // STEP + 1 - N_LOWER  # the others

# The visible characters of code page 1252, 215: as many as there are rows times columns.
_ALPHABET: Final = "".join(
    character
    for character in bytes(range(0x21, 0x100)).decode("cp1252", "ignore")
    if character.isprintable() and not character.isspace()
)
_NUMBERS: Final = {character: number for number, character in enumerate(_ALPHABET)}


@dataclass(frozen=True, slots=True)
class Tone:
    """A character and its place in a text: 0 for the first, then 1, 2, 3, 1, 2, 3 and so on."""

    character: str
    place: int

    @property
    def frequencies(self) -> tuple[float, float]:
        """Of the lower and of the upper sine, in Hz."""
        row, column = divmod(_NUMBERS[self.character], _COLUMNS)
        return LOWEST + STEP * (_ROWS * self.place + row), LOWEST + STEP * (N_LOWER + column)

    @staticmethod
    def of(lower: int, upper: int) -> Tone:
        """The tone whose sines have these numbers, counted from the lowest of each kind."""
        place, row = divmod(lower, _ROWS)
        return Tone(_ALPHABET[_COLUMNS * row + upper], place)

    def places_to(self, later: Tone) -> int | None:
        """1 if ``later`` is the next character, 2 if there is a space between.

        None if it is of another text, or something between the two is missing.
        """
        places = (later.place - self.place) % 3 if self.place else later.place
        return places if later.place and places in (1, 2) else None


def tone_spelling(text: str) -> str:
    """``text`` as `tone_text` gives it back.

    Tones spell what Western keyboards type: the visible characters of code page 1252, in
    their composed form, case included. Any other is spelled "?". White space becomes one
    space between words and none around them.
    """
    return " ".join(_known(text).split())


def speak_tones(
    text: str,
    sample_rate: int = 24_000,
    *,
    seconds_per_character: float = SECONDS_PER_CHARACTER,
    voice: int = 0,
) -> AudioData:
    """``text`` in tones, as 16-bit mono: always the same samples for the same arguments.

    Args:
        text: Anything, spelled as `tone_spelling` says.
        sample_rate: Hz.
        seconds_per_character: Pace, of white space too. From 0.03 up it can be read.
        voice: Number of a voice. Voices differ in their samples, and read the same.

    Raises:
        AudioFormatError: ``sample_rate`` is out of range.
    """
    spelled = _known(text)
    tracks = np.zeros((2, len(spelled)))  # Hz; 0 where it is silent
    n = -1
    for i, (before, character) in enumerate(pairwise(" " + spelled)):
        if not character.isspace():
            n += 2 if before.isspace() and n >= 0 else 1
            tracks[:, i] = Tone(character, (n - 1) % 3 + 1 if n else 0).frequencies

    length = max(1, round(seconds_per_character * sample_rate))
    # Phases go on from one character to the next: a jump would click.
    turns = np.cumsum(np.repeat(tracks, length, axis=1), axis=1) / sample_rate
    lower, upper = np.sin(2 * np.pi * turns)[0], np.sin(2 * np.pi * turns[1] + voice)
    sounding = np.repeat(tracks[0] > 0, length)
    return AudioData.from_samples(_PEAK / 2 * sounding * (lower + upper), sample_rate)


def _known(text: str) -> str:
    composed = normalize("NFC", text)
    return "".join(c if c in _NUMBERS or c.isspace() else "?" for c in composed)
