"""PURE: whether a transcription can be what was said.

Models that were trained on subtitles write something whatever they hear: a phrase that
subtitles end with, or one phrase over and over. The rules on confidence, speech and
compression are those of Whisper's ``transcribe`` (Radford et al., "Robust Speech
Recognition via Large-Scale Weak Supervision", 2022, section 4.5), with its thresholds.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._scripts import MARKS, UNSPACED
from ..protocols import TranscriptionResult, TranscriptionSegment

__all__ = [
    "KNOWN_PHRASES",
    "Limits",
    "Loudest",
    "cut_back",
    "folded",
    "judge",
    "without_bad_segments",
]

# What subtitles end with, and models that learned from them write of music and noise.
KNOWN_PHRASES: Final = (
    "Thank you.",
    "Thanks for watching!",
    "Thank you for watching.",
    "Thank you so much for watching.",
    "Please subscribe to my channel.",
    "Subtitles by the Amara.org community",
    "Untertitel der Amara.org-Community",
    "Untertitel im Auftrag des ZDF für funk",
    "Vielen Dank fürs Zuschauen.",
    "Vielen Dank.",
    "Sous-titres réalisés par la communauté d'Amara.org",
    "Merci d'avoir regardé cette vidéo.",
    "Subtítulos realizados por la comunidad de Amara.org",
    "¡Gracias por ver el video!",
    "Sottotitoli creati dalla comunità Amara.org",
    "Legendas pela comunidade Amara.org",
    "Obrigado por assistir.",
    "Ondertiteld door de Amara.org gemeenschap",
    "Продолжение следует...",
    "Спасибо за просмотр!",
    "ご視聴ありがとうございました",
    "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
    "시청해주셔서 감사합니다",
)

_FRAME: Final = 0.03  # s; a vowel lasts for two or three
_ROUNDING: Final = 1e-9  # s; of a sum of many frames
_SHORT: Final = 1.0  # s; a known phrase takes longer to say
_UNSURE: Final = -0.5  # mean log probability; of speech that is understood it is above -0.3
_NO_SPEECH_LIKELY: Final = 0.3

# Compression says something about texts that are neither very short nor so long that any
# language repeats itself: Whisper's windows hold 30 s, of some 500 characters.
_SHORTEST: Final = 50  # characters
_WINDOW: Final = 500  # characters
_LONGEST_PHRASE: Final = 20  # words; of phrases whose repetition is looked for
_FREE_WORDS: Final = 2  # that any audio may have: its ends may cut into words

_LETTERS: Final = rf"(?:[^\W_{UNSPACED}]|[{MARKS}])+"
_WORD: Final = re.compile(rf"[{UNSPACED}]|{_LETTERS}(?:['\u2019]{_LETTERS})*")
_UNSPACED: Final = re.compile(f"[{UNSPACED}]")
_KANA_AND_HAN: Final = "\u3040"  # and above
# Words that a character is, where they have no spaces: Chinese ones have about two characters,
# Thai ones about four, vowels and tones among them.
_OF_TWO, _OF_FOUR = 0.5, 0.25


@dataclass(frozen=True, slots=True)
class Limits:
    """What is plausible. None switches a rule off."""

    min_level: float | None = -60.0  # dBFS
    min_speech: float | None = 0.1  # s
    max_no_speech: float | None = 0.6  # probability
    min_log_probability: float | None = -1.0  # mean of a token
    max_compression: float | None = 2.4
    max_repeats: int | None = 6
    max_rate: float | None = 8.0  # words a second
    phrases: frozenset[tuple[str, ...]] = frozenset()  # as `folded` makes them

    @property
    def enough(self) -> float:
        """Seconds of loud audio after which more of it changes no verdict."""
        return max(self.min_speech or 0.0, _SHORT if self.phrases else 0.0)

    def heard(self, loud: float) -> bool:
        """Whether so many seconds of loud audio are enough to be speech."""
        if self.min_level is None:
            return True
        return loud > 0 and loud >= (self.min_speech or 0.0) - _ROUNDING


class Loudest:
    """Hears how much of the audio is loud enough to be speech.

    A frame's level is the root mean square of its loudest channel, without its mean: a
    constant is no sound.

    Args:
        level: dBFS that a frame of 30 ms must be above.
        enough: Seconds of such frames after which it need not listen any more.
    """

    def __init__(self, level: float, enough: float) -> None:
        self._power = 10 ** (level / 10)
        self._enough = enough
        self._pending: NDArray[np.float32] | None = None
        self.loud = 0.0  # s, so far

    @property
    def satisfied(self) -> bool:
        return self.loud > 0 and self.loud >= self._enough - _ROUNDING

    def push(self, samples: NDArray[np.float32], sample_rate: int) -> None:
        """Listen to the next samples, shape (frames, channels), however they are cut."""
        if self.satisfied:
            return
        if self._pending is not None and self._pending.shape[1] == samples.shape[1]:
            samples = np.concatenate([self._pending, samples])
        frame = round(_FRAME * sample_rate)
        n = len(samples) // frame
        self._pending = samples[n * frame :]
        if n:
            frames = samples[: n * frame].reshape(n, frame, -1)
            self.loud += _FRAME * int((frames.var(axis=1).max(axis=1) > self._power).sum())


def folded(text: str) -> tuple[str, ...]:
    """The words of a text, without case and punctuation; of some scripts, its characters."""
    return tuple(_WORD.findall(text.casefold()))


def judge(
    text: str,
    limits: Limits,
    *,
    seconds: float,
    loud: float,
    confidence: float | None,
    no_speech: float | None,
) -> str | None:
    """Why ``text`` cannot have been said, or None if it can.

    Args:
        text: What the engine wrote.
        limits: What is plausible.
        seconds: Length of the audio it is of.
        loud: Seconds of it that were loud enough to be speech.
        confidence: Probability of the text, the geometric mean of its tokens'.
        no_speech: Probability that there was no speech.
    """
    words = folded(text)
    sure = None if confidence is None else log(max(confidence, 1e-10))
    low = limits.min_log_probability
    unsure = sure is not None and low is not None and sure < low
    most = limits.max_no_speech
    silent = most is not None and no_speech is not None and no_speech > most
    if silent and (unsure or low is None):
        return "no speech"
    if unsure:
        return "log probability"
    if limits.max_compression is not None and _compression(text) > limits.max_compression:
        return "compression ratio"
    if limits.max_repeats is not None and _repeats(words, limits.max_repeats):
        return "repetition"
    if limits.max_rate is not None and _n_words(words) > limits.max_rate * seconds + _FREE_WORDS:
        return "rate"
    doubtful = (
        loud < _SHORT
        or (sure is not None and sure < _UNSURE)
        or (no_speech is not None and no_speech > _NO_SPEECH_LIKELY)
    )
    if doubtful and words in limits.phrases:
        return "known phrase"
    return None


def _compression(text: str) -> float:
    """The highest ratio of a window's size to its size once compressed."""
    windows = (text[first : first + _WINDOW] for first in range(0, len(text), _WINDOW))
    return max(
        (
            len(window) / len(zlib.compress(_one_byte_each(window)))
            for window in windows
            if len(window) >= _SHORTEST
        ),
        default=0.0,
    )


def _one_byte_each(text: str) -> bytes:
    """Its characters, numbered as they come.

    UTF-8 has up to three bytes for a character, of which but one says much: by that measure,
    all of what is said in Hindi or Thai is repetition.
    """
    numbers: dict[str, int] = {}
    return bytes(numbers.setdefault(char, len(numbers)) & 0xFF for char in text)


def _repeats(words: Sequence[str], most: int) -> bool:
    """Whether a phrase of up to 20 words comes more than ``most`` times in a row."""
    for n in range(1, min(_LONGEST_PHRASE, len(words) // (most + 1)) + 1):
        run = 0  # words that are as those ``n`` before
        for word, before in zip(words[n:], words, strict=False):
            run = run + 1 if word == before else 0
            if run == n * most:
                return True
    return False


def _n_words(words: Iterable[str]) -> float:
    return sum(map(_weight, words))


def _weight(word: str) -> float:
    if not _UNSPACED.match(word):
        return 1.0
    return _OF_TWO if word >= _KANA_AND_HAN else _OF_FOUR


# -- what remains ------------------------------------------------------------------------


def without_bad_segments(
    result: TranscriptionResult, limits: Limits, loud: float
) -> tuple[TranscriptionResult, str | None]:
    """A result of several segments without those that cannot have been said, and why.

    Where the segments are not found in the text, it stays as it is.
    """
    spans = _spans(result.text, result.segments)
    if spans is None or len(spans) < 2:
        return result, None
    verdicts = [
        judge(
            each.text,
            limits,
            seconds=each.end - each.start,
            loud=min(loud, each.end - each.start),
            confidence=each.confidence,
            no_speech=result.no_speech_probability,
        )
        for each in result.segments
    ]
    bad = [n for n, verdict in enumerate(verdicts) if verdict]
    if not bad:
        return result, None
    text = result.text
    for n in reversed(bad):
        start, end = spans[n]
        text = f"{text[:start].rstrip()}{_gap(text, start)}{text[end:].lstrip()}"
    kept = [each for n, each in enumerate(result.segments) if n not in bad]
    confidence = _weighed(kept) if kept else None
    words = [
        word
        for word in result.words
        if not any(
            result.segments[n].start <= (word.start + word.end) / 2 < result.segments[n].end
            for n in bad
        )
    ]
    said = replace(result, text=text.strip(), segments=kept, words=words, confidence=confidence)
    return said, verdicts[bad[0]]


def _weighed(segments: Sequence[TranscriptionSegment]) -> float | None:
    """The confidence of several segments, each as long as it is."""
    total = weight = 0.0
    for each in segments:
        if each.confidence is None:
            return None
        total += each.confidence * (each.end - each.start)
        weight += each.end - each.start
    return total / weight if weight > 0 else None


def cut_back(result: TranscriptionResult, committed: str) -> TranscriptionResult:
    """A result that says no more than was committed before; "" if nothing was."""

    def before(items: Sequence[Any]) -> list[Any]:
        spans = _spans(result.text, items) if result.text.startswith(committed) else None
        return [
            item
            for item, (_, end) in zip(items, spans or [], strict=False)
            if end <= len(committed)
        ]

    return replace(
        result,
        text=committed,
        committed=committed,
        segments=before(result.segments),
        words=before(result.words),
        confidence=result.confidence if committed else None,
    )


def _gap(text: str, at: int) -> str:
    return " " if text[max(at - 1, 0) : at].isspace() else ""


def _spans(text: str, items: Sequence[Any]) -> list[tuple[int, int]] | None:
    """Where in a text its segments or words are, one after the other; None if they are not."""
    spans, at = [], 0
    for item in items:
        said = item.text.strip()
        start = text.find(said, at)
        if start < 0:
            return None
        at = start + len(said)
        spans.append((start, at))
    return spans
