"""PURE: whether sound can be a text that is spoken.

Bounds are wide, because what speech a text becomes depends on its language, which is not
known here: a digit is one letter to some and a word to others, and a name in capitals
may be spelled out. Nothing that is merely slow, fast or odd is refused.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from math import ceil, inf, log10
from typing import Final
from unicodedata import category, east_asian_width

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bounds", "SpeechCheck", "fewest_letters", "most_letters"]

_Samples = NDArray[np.float32]

# What a character takes to say, in Latin letters, of which some 15 are a second: at most.
_KANA: Final = re.compile("[\u3040-\u30ff\uff66-\uff9f]")
_ABJAD: Final = re.compile("[\u0590-\u07ff\ufb1d-\ufdff\ufe70-\ufeff]")  # vowels are not written
_WIDE, _KANA_MOST, _ABJAD_MOST = 3, 2, 2
_DIGIT_MOST, _SIGN_MOST = 9, 9  # 777: seven hundred and seventy-seven; %: percent
_CAPITAL_MOST = 3  # ABC: ay, bee, see
_PICTURE_MOST = 30  # an emoji may be read by its name
_PAUSE_MOST = 4  # a mark or the end of a line: 0.3 s, and 0.8 s at the slowest pace

_FRAME: Final = 0.02  # s; noise is as flat and as loud in each, a consonant in two or three
_BAND: Final = (200.0, 3_800.0)  # Hz; voices are not flat there, and every rate has it
# Spectral flatness, the geometric mean of the power over its arithmetic mean: of one frame of
# white noise 0.56, however long (exp(-0.577)); of vowels below 0.05.
_FLAT: Final = 0.3
_STEADY: Final = 3.0  # dB; the spread of noise's level is below 1.5, that of a whisper above 5
_NOISE_LEVEL: Final = -50.0  # dBFS; below, noise is the engine's floor
_SILENT: Final = -60.0  # dBFS; no sound of a voice is below


def most_letters(text: str) -> int:
    """As how many Latin letters ``text`` may be spoken at most."""
    return sum(map(_most, text))


def fewest_letters(text: str) -> int:
    """As how many Latin letters ``text`` is spoken at least."""
    return sum(map(str.isalnum, text))


def _most(char: str) -> int:
    if char.isdigit():
        return _DIGIT_MOST
    if char.isalpha():
        if east_asian_width(char) in "WF":
            return _KANA_MOST if _KANA.match(char) else _WIDE
        if char.isupper():
            return _CAPITAL_MOST
        return _ABJAD_MOST if _ABJAD.match(char) else 1
    kind = category(char)
    if kind == "So":
        return _PICTURE_MOST
    if char == "\n" or (kind in ("Po", "Pd") and char not in "%&@#*/\\"):
        return _PAUSE_MOST
    if kind[0] == "M":
        return 1  # a vowel
    return 0 if kind[0] in "ZC" else _SIGN_MOST


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is plausible."""

    slowest: float  # letters a second
    fastest: float
    slack: float  # s that speech may be longer, whatever its text
    max_noise: float | None  # s of steady noise at the end


class SpeechCheck:
    """Listens to the speech of one text; each answer is None or what is wrong with it.

    Args:
        text: What was to be said.
        sample_rate: Hz.
        bounds: What is plausible.
        speed: How many times faster than normal it was to be said.
    """

    def __init__(self, text: str, sample_rate: int, bounds: Bounds, speed: float) -> None:
        self._rate = sample_rate
        fewest = fewest_letters(text)
        self._has_words = fewest > 0
        self._shortest = fewest / (bounds.fastest * speed)  # s
        self._longest = most_letters(text) / (bounds.slowest * speed) + bounds.slack
        self._n_frames = 0
        self.audible = False  # there was a sound
        self._noise = None if bounds.max_noise is None else _Noise(sample_rate, bounds.max_noise)

    @property
    def seconds(self) -> float:
        """How long it has become."""
        return self._n_frames / self._rate

    def push(self, samples: _Samples) -> str | None:
        """Listen to what comes next."""
        self._n_frames += len(samples)
        if not self.audible:
            self.audible = bool((np.abs(samples) > 10 ** (_SILENT / 20)).any())
        if self._noise is not None:
            self._noise.push(samples)
        if self.seconds > self._longest:
            return f"over {self._longest:.1f} s long, too long for its text"
        return None

    def end(self) -> str | None:
        """It has ended: the last word on it."""
        if self._has_words and not self.audible:
            return "all silence"
        if self.seconds < self._shortest:
            return f"{self.seconds:.2f} s long, too short for its text"
        if self._noise is not None and self._noise.goes_on():
            return "noise at its end"
        return None


class _Noise:
    """Knows whether what it heard ended in steady noise, and perhaps silence after that."""

    def __init__(self, sample_rate: int, seconds: float) -> None:
        self._frame = round(_FRAME * sample_rate)
        low, high = (ceil(edge * self._frame / sample_rate) for edge in _BAND)
        self._band = slice(low, high)
        self._window = np.hanning(self._frame).astype(np.float32)
        self._pending = np.zeros(0, np.float32)
        self._n = max(round(seconds / _FRAME), 1)
        self._frames: deque[tuple[float, float]] = deque(maxlen=self._n)  # level, flatness
        self._interrupted = False  # by silence

    def push(self, samples: _Samples) -> None:
        joined = np.concatenate([self._pending, samples.mean(axis=1)])
        n = len(joined) // self._frame
        self._pending = joined[n * self._frame :]
        if not n:
            return
        frames = joined[: n * self._frame].reshape(n, -1)
        power = np.square(frames).mean(axis=1)
        spectrum = np.abs(np.fft.rfft(frames * self._window, axis=1)[:, self._band]) ** 2
        spectrum += 1e-20  # of silence, lest its logarithm be none
        flatness = np.exp(np.log(spectrum).mean(axis=1)) / spectrum.mean(axis=1)
        for mean, flat in zip(power.tolist(), flatness.tolist(), strict=True):
            level = 10 * log10(mean) if mean else -inf
            if level < _NOISE_LEVEL:
                self._interrupted = True
                continue
            if self._interrupted:
                self._frames.clear()
                self._interrupted = False
            self._frames.append((level, flat))

    def goes_on(self) -> bool:
        if len(self._frames) < self._n:
            return False
        levels, flatnesses = np.array(self._frames).T
        return bool(np.median(flatnesses) > _FLAT and levels.std() < _STEADY)
