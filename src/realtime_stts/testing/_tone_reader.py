"""PURE: the sound of tones becomes words, as it comes and however it is cut."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..audio import AudioData, StreamResampler
from ..protocols import TranscriptionWord
from ._tones import HIGHEST, LOWEST, N_LOWER, SECONDS_PER_CHARACTER, STEP, Tone

__all__ = ["Reading", "ToneReader", "tone_text"]

_RATE: Final = 8_000  # Hz; carries all of the tones' band
_WINDOW: Final = _RATE // STEP  # samples; over so many the tones are orthogonal
_HOP: Final = _WINDOW // 4  # samples
_BLOCK: Final = 10  # windows; as many are analysed at once
_BLOCK_SIZE: Final = (_BLOCK - 1) * _HOP + _WINDOW  # samples
_BINS: Final = slice(LOWEST // STEP, HIGHEST // STEP + 1)  # of a window's spectrum

_FLOOR: Final = _WINDOW * 10 ** (-50 / 10)  # energy of a window at -50 dBFS; less is silence
_PURE: Final = 0.8  # share of the two sines in the energy; 1 in a tone without noise
_BALANCE: Final = 0.2  # of the energy of one sine to the other's, at least; 1 in a tone
_SURE: Final = 2  # windows in a row; one alone may be chance
_ENOUGH: Final = 0.65  # of a character: about two thirds
_TWICE: Final = 1.4  # characters in one are two of them
_PAUSE: Final = 2.0  # characters of silence after a word; a space is one


def tone_text(audio: AudioData, *, seconds_per_character: float = SECONDS_PER_CHARACTER) -> str:
    """What the tones say, in audio of any rate and format; "" if there are none.

    A character that the beginning or the end of the sound cuts off counts if about two
    thirds of it are there; how long a whole one is, its text shows. Texts are parted by a
    space.

    Args:
        audio: Tones, between silence, other sounds and in a little noise.
        seconds_per_character: The pace of texts too short to show theirs: of one or two
            characters.

    Raises:
        AudioFormatError: The audio cannot be decoded.
    """
    reader = ToneReader(seconds_per_character)
    reader.hear(audio)
    return " ".join(word.text for word in reader.finish())


@dataclass(frozen=True, slots=True)
class Reading:
    """What has been read: the words that are complete, as far as one can tell."""

    words: tuple[TranscriptionWord, ...] = ()
    n_certain: int = 0  # of them, from the first on, stay as they are


class ToneReader:
    """Reads tones as their sound comes. However it is cut, the words are the same.

    It keeps some milliseconds of the sound, and the words.

    Args:
        seconds_per_character: The pace, until the tones show theirs.
    """

    def __init__(self, seconds_per_character: float = SECONDS_PER_CHARACTER) -> None:
        self._resampler = StreamResampler(_RATE)
        self._samples = np.empty(0, np.float32)  # from the next window on
        self._n_windows = 0
        self._tone: Tone | None = None  # that of the last window
        self._since = 0  # its first window
        self._speller = _Speller(seconds_per_character)

    def hear(self, audio: AudioData) -> list[Reading]:
        """Hear the next chunk, of any length.

        Returns:
            Each reading that is new. A word is complete once the next has begun, or silence
            has; which may prove to have been a pause in the middle of the word.

        Raises:
            AudioFormatError: It cannot be decoded, or its rate or channel count is not
                that of the chunks before.
        """
        heard = self._resampler.push(audio).samples[:, 0]
        self._samples = np.concatenate((self._samples, heard))
        readings = []
        while len(self._samples) >= _BLOCK_SIZE:
            self._analyse(self._samples[:_BLOCK_SIZE])
            self._samples = self._samples[_BLOCK * _HOP :]
            now = self._n_windows * _HOP / _RATE
            reading = self._speller.news(now, sounding=self._tone is not None)
            if reading is not None:
                readings.append(reading)
        return readings

    def finish(self) -> tuple[TranscriptionWord, ...]:
        """All words, now that nothing follows."""
        rest = self._resampler.flush().samples[:, 0]
        samples = np.concatenate((self._samples, rest))
        if len(samples) >= _WINDOW:
            self._analyse(samples)
        self._end_tone()
        return self._speller.words()

    def _analyse(self, samples: NDArray[np.float32]) -> None:
        for tone in _tones(samples):
            if tone != self._tone:
                self._end_tone()
                self._tone, self._since = tone, self._n_windows
            self._n_windows += 1

    def _end_tone(self) -> None:
        if self._tone is not None and self._n_windows - self._since >= _SURE:
            start = self._since * _HOP / _RATE
            end = ((self._n_windows - 1) * _HOP + _WINDOW) / _RATE
            self._speller.hear(self._tone, start, end)


def _tones(samples: NDArray[np.float32]) -> list[Tone | None]:
    """What each window of the samples holds, if it holds a tone from end to end."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    energy = np.square(windows).sum(axis=1)
    if energy.max() < _FLOOR:
        return [None] * len(windows)
    # A sine of energy e has the power e * n / 2 at its frequency, over n samples.
    sines = np.square(np.abs(np.fft.rfft(windows, axis=1)[:, _BINS])) * (2 / _WINDOW)
    lower, upper = sines[:, :N_LOWER], sines[:, N_LOWER:]
    low, high = lower.max(axis=1), upper.max(axis=1)
    heard = (
        (energy >= _FLOOR)
        & (low + high >= _PURE * energy)
        & (np.minimum(low, high) >= _BALANCE * np.maximum(low, high))
    )
    numbers = zip(heard, lower.argmax(axis=1), upper.argmax(axis=1), strict=True)
    return [Tone.of(int(low), int(high)) if tone else None for tone, low, high in numbers]


@dataclass(slots=True)
class _Character:
    """A character that is being heard, perhaps in pieces."""

    tone: Tone
    start: float
    end: float
    length: float  # s of sound in all pieces
    begins_word: bool
    begun: bool  # the one before it was heard, so that nothing is missing
    in_pieces: bool = False


class _Speller:
    """Tones become characters, and characters words.

    A character between two that it follows from and that follow from it is whole, whatever
    its length. Of any other, enough must be there.
    """

    def __init__(self, pace: float) -> None:
        self._pace = pace  # s a character
        self._words: list[TranscriptionWord] = []
        self._first: _Character | None = None  # of a text; waits for the pace of the second
        self._last: _Character | None = None  # may go on
        self._told = Reading()
        self._told_of_pause = False

    def hear(self, tone: Tone, start: float, end: float) -> None:
        """A tone sounds in ``[start, end)`` seconds, and not right before or after."""
        self._told_of_pause = False
        last, length = self._last, end - start
        if last is not None and tone == last.tone and not self._again(last, length):
            last.end, last.length, last.in_pieces = end, last.length + length, True
            return
        places = last.tone.places_to(tone) if last else None
        self._end_character(followed=places is not None)
        self._last = _Character(tone, start, end, length, places != 1, places is not None)

    def _again(self, last: _Character, length: float) -> bool:
        """Whether it is the last character's text again, which is of this character alone."""
        return last.tone.place == 0 and last.length + length > _TWICE * self._pace

    def news(self, now: float, *, sounding: bool) -> Reading | None:
        """What has been read by ``now``; None if nothing is new."""
        last = self._last
        if last is None:
            return None
        n_certain = max(0, len(self._words) - (not last.begins_word))
        if sounding or now - last.end < _PAUSE * self._pace:
            if n_certain <= len(self._told.words):
                return None
            words = tuple(self._words[:n_certain])
        elif self._told_of_pause:
            return None
        else:
            self._told_of_pause = True
            words = self.words()
        if words == self._told.words:
            return None
        self._told = Reading(words, n_certain)
        return self._told

    def words(self) -> tuple[TranscriptionWord, ...]:
        """All words, if nothing followed."""
        ended = copy(self)
        ended._words = [*self._words]
        ended._end_character(followed=False)
        return tuple(ended._words)

    def _end_character(self, *, followed: bool) -> None:
        last = self._last
        if last is None:
            return
        if followed and not last.begun:
            self._first = last
            return
        if followed and not last.in_pieces:
            self._pace = last.length
        if self._first is not None:
            if not self._counts(self._first):
                last = replace(last, begins_word=True)
            else:
                self._spell(self._first)
            self._first = None
        if followed or self._counts(last):
            self._spell(last)

    def _counts(self, character: _Character) -> bool:
        return character.length >= _ENOUGH * self._pace

    def _spell(self, character: _Character) -> None:
        text, start, end = character.tone.character, character.start, character.end
        if not character.begins_word:
            word = self._words.pop()
            text, start = word.text + text, word.start
        self._words.append(TranscriptionWord(text, start, end))
