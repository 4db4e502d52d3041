"""PURE: turns with pauses in them, made of utterances: the truth about who was finished when.

A turn is one or two utterances, each cut once between two of its words, with silence put in
at the cut and between the two. A cut is in the quietest place near a word's end, which is
estimated from the letters before it: what a detector hears has the pause exactly where this
says; which word stands before it may be off by one. All of it lies in the faint noise of a
quiet room.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio import AudioData
from ._figures import Utterance
from ._onsets import trimmed

__all__ = ["LEAD_IN", "PAUSES", "RATE", "TAIL", "SpokenTurn", "Word", "spoken_turn", "spoken_turns"]

RATE = 16_000  # Hz
LEAD_IN = 0.5  # s of line before the first sound: a detector has to know what silence is
TAIL = 3.0  # s of line after the last: longer than anybody waits

# That silences in speech are distributed as the logarithm of a normal is from E. Campione and
# J. Véronis, "A large-scale multilingual study of silent pause duration", Speech Prosody 2002.
# The median and the spread are ours: 62 % are longer than 0.3 s and 14 % than 0.6 s.
_MEDIAN, _SPREAD = 0.35, 0.5  # s; standard deviation of the natural logarithm
_SHORTEST, _LONGEST = 0.1, 2.0  # s
PAUSES = f"pauses log-normal, median {_MEDIAN:g} s, spread {_SPREAD:g}"  # for a reader

_NOISE = 0.001  # RMS: -60 dB
_FADE = round(0.005 * RATE)  # samples at a cut, so that it does not click
_NEAR = round(0.08 * RATE)  # samples around the estimate where a cut may be
_QUIET = round(0.02 * RATE)  # samples whose level is looked at
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its marks, and when it has been said, in seconds of the line."""

    text: str
    end: float


@dataclass(frozen=True, slots=True, eq=False)
class SpokenTurn:
    """One turn on a line of its own: 16-bit mono at 16 kHz, with a lead-in and a tail."""

    line: AudioData
    end: float  # of the speech, in seconds of the line: the one true end of the turn
    pauses: tuple[tuple[float, float], ...]  # start and end of each, in seconds of the line
    words: tuple[Word, ...]


def spoken_turns(utterances: Sequence[Utterance], n: int, seed: int) -> list[SpokenTurn]:
    """``n`` turns of these utterances, each of which is used about as often as the others.

    The same arguments always make the same samples.

    Raises:
        ValueError: There is no utterance.
    """
    if not utterances:
        raise ValueError("turns are made of utterances, and there are none")
    random = np.random.default_rng(seed)
    order: list[int] = []
    turns: list[SpokenTurn] = []
    for _ in range(n):
        parts = []
        for _ in range(1 + int(random.integers(2))):
            order = order or [int(i) for i in random.permutation(len(utterances))]
            parts.append(utterances[order.pop()])
        pieces = [piece for part in parts for piece in _cut(part, random)]
        turns.append(spoken_turn(pieces, _draw(random, len(pieces) - 1), seed=len(turns)))
    return turns


def spoken_turn(
    pieces: Sequence[tuple[str, AudioData]], pauses: Sequence[float], *, seed: int = 0
) -> SpokenTurn:
    """These pieces of speech, with pauses of so many seconds between them.

    Silence at the ends of a piece is taken off first, so that each pause lasts as long as
    it says.

    Args:
        pieces: What is said, and its sound, of any rate.
        pauses: One fewer than there are pieces.
        seed: Of the room's noise.
    """
    words: list[Word] = []
    silences: list[tuple[float, float]] = []
    sounds: list[NDArray[np.float32]] = [np.zeros(round(LEAD_IN * RATE), np.float32)]
    n = len(sounds[0])
    for i, (text, audio) in enumerate(pieces):
        if i:
            gap = round(pauses[i - 1] * RATE)
            silences.append((n / RATE, (n + gap) / RATE))
            sounds.append(np.zeros(gap, np.float32))
            n += gap
        sound = _faded(trimmed(audio.mono().resampled(RATE)).samples[:, 0])
        words += _said(text, n / RATE, len(sound) / RATE)
        sounds.append(sound)
        n += len(sound)
    sounds.append(np.zeros(round(TAIL * RATE), np.float32))
    line = np.concatenate(sounds)
    line += _NOISE * np.random.default_rng(seed).standard_normal(len(line), np.float32)
    return SpokenTurn(AudioData.from_samples(line, RATE), n / RATE, tuple(silences), tuple(words))


def _draw(random: np.random.Generator, n: int) -> list[float]:
    """So many pauses, in seconds."""
    drawn = _MEDIAN * np.exp(_SPREAD * random.standard_normal(n))
    return [float(pause) for pause in np.clip(drawn, _SHORTEST, _LONGEST)]


def _cut(utterance: Utterance, random: np.random.Generator) -> list[tuple[str, AudioData]]:
    """An utterance in two, or whole where it has but one word."""
    text = utterance.text
    sound = trimmed(utterance.audio.mono().resampled(RATE))
    gaps = [match.end() for match in _WORD.finditer(text)][:-1]
    if not gaps:
        return [(text, sound)]
    gap = gaps[int(random.integers(len(gaps)))]
    samples = sound.samples[:, 0]
    at = _quietest(samples, round(len(samples) * gap / len(text)))
    halves = [AudioData.from_samples(half, RATE) for half in (samples[:at], samples[at:])]
    return [(text[:gap], halves[0]), (text[gap:], halves[1])]


def _quietest(samples: NDArray[np.float32], near: int) -> int:
    """Where the level is lowest, near that sample."""
    starts = range(max(0, near - _NEAR), min(len(samples), near + _NEAR), _QUIET // 4)
    levels = [float(np.square(samples[at : at + _QUIET]).mean()) for at in starts]
    return starts[int(np.argmin(levels))] + _QUIET // 2


def _faded(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    faded: NDArray[np.float32] = samples.copy()
    n = min(_FADE, len(faded) // 2)
    ramp = np.linspace(0.0, 1.0, n, dtype=np.float32)
    faded[:n] *= ramp
    faded[len(faded) - n :] *= ramp[::-1]
    return faded


def _said(text: str, start: float, duration: float) -> list[Word]:
    """The words of a piece, spread over it by their letters."""
    return [
        Word(match.group(), start + duration * match.end() / len(text))
        for match in _WORD.finditer(text)
    ]
