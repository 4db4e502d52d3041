"""PURE: what a recogniser says of a growing recording, decode after decode, becomes a transcript.

LocalAgreement-2 (Liu, Spanakis and Niehues 2020, https://arxiv.org/abs/2005.11185; for
Whisper: Macháček, Dabre and Bojar 2023, https://arxiv.org/abs/2307.14743): a word is
committed once two successive decodes agree on it and on every word before it, and from
then on it stays. What the last decode says after the committed words is the tail, which
the next one may revise.

Each decode hears the committed words again, as far as their sound is still there, and
need not hear them alike. Where in a hypothesis they end is found by its text first, and by
its times only where the text leaves a choice: times jitter from one decode to the next,
and where a recogniser gives none they are guessed. (Macháček et al. go by the times first,
and compare the last five words at most.)

It stands below engines and conversations because both transcribe this way. Decode the
sound since ``state.start`` whenever more of it has come, and each time::

    words = timed_words(result.shifted(state.start), state.start, end)
    state = trimmed(agree(state, words), end, policy)

After the last decode, `finish` makes the final result of it. All times are seconds since
the recording began.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile

from ._scripts import UNSPACED
from .protocols import TranscriptionResult, TranscriptionSegment, TranscriptionWord

__all__ = [
    "Agreement",
    "TrimPolicy",
    "after_committed",
    "agree",
    "confidence_of",
    "finish",
    "middle",
    "sentences",
    "text_of",
    "timed_words",
    "trimmed",
]

_Words = tuple[TranscriptionWord, ...]

# Words around the committed end that show where it lies, and how far from the sound they may
# be. The paper compares as many, as far apart; more tell no more, and the tail's end is unsure.
_CONTEXT = 5
_REACH = 1.0  # s

# About as far as times of words are off. Where words follow close, the cut is so much before
# the end of one: the rest of a word is known for what it is, and the next one heard whole.
_MARGIN = 0.1  # s

# There a letter counts as a word, as in Whisper's own tokenizer.
_WORD = re.compile(rf"[{UNSPACED}][^\w\s]*|[^\s{UNSPACED}]+")
# Such a letter, or a full-width mark, stands next to another without a space.
_TIGHT = re.compile(rf"[{UNSPACED}\u3000-\u303f\uff00-\uffef]")
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][^\w\s]*$")


@dataclass(frozen=True, slots=True)
class TrimPolicy:
    """How much sound is decoded again and again.

    A recording shorter than ``keep`` is always decoded whole. From there on it is trimmed
    at the end of a sentence, and past ``limit`` anywhere.
    """

    keep: float = 10.0  # s; most turns of a conversation are shorter
    limit: float = 20.0  # s; leaves what comes during a decode room in Whisper's window of 30 s

    def __post_init__(self) -> None:
        if not 0.0 <= self.keep <= self.limit or not self.limit >= 1.0:
            raise ValueError(
                "a recording is kept for 0 seconds or more, up to a limit of that or more, and "
                f"of 1 second at least, not {self.keep} and {self.limit}"
            )


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the decodes so far have settled."""

    committed: _Words = ()  # only ever longer
    tail: _Words = ()  # what the last decode says after that
    start: float = 0.0  # s; the sound before it need not be decoded again


def agree(state: Agreement, hypothesis: Sequence[TranscriptionWord]) -> Agreement:
    """Take in a decode of the sound since ``state.start``: commit what it and the last agree on.

    Words are the same if they differ in case and punctuation only; the later spelling and
    times are committed.
    """
    new = after_committed(state, hypothesis)
    pairs = zip(_plain(new), _plain(state.tail), strict=False)
    n_agreed = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return replace(state, committed=state.committed + new[:n_agreed], tail=new[n_agreed:])


def finish(state: Agreement) -> Agreement:
    """There is no more to decode: what the last decode says after the committed words stands."""
    return Agreement(state.committed + state.tail, (), state.start)


def trimmed(state: Agreement, end: float, policy: TrimPolicy) -> Agreement:
    """Move ``start`` up, if the decode just taken in, of the sound up to ``end``, was long.

    It moves to the end of the last committed sentence but one: a recogniser that is given
    a scrap of sound hears what is not there, and the committed words that stay show where
    new ones begin. Past the limit it moves to half the limit from the end, or to where the
    word there ends, and what is uncommitted before that is committed without a second
    opinion. So ``end`` is never further than the limit from the new ``start``.
    """
    if end - state.start <= policy.keep:
        return state
    words = state.committed + state.tail
    n_committed = len(state.committed)
    if end - state.start > policy.limit:
        start = end - policy.limit / 2
        n_committed = max(n_committed, sum(word.start < start for word in words))
        cut = next((i for i in range(n_committed) if words[i].end >= start), None)
    else:
        start = state.start
        ends = [i for i, word in enumerate(state.committed) if _SENTENCE_END.search(word.text)]
        cut = ends[-2] if len(ends) > 1 else None
    if cut is not None:
        following = words[cut + 1].start if cut + 1 < len(words) else end
        in_pause = following - words[cut].end > 2 * _MARGIN
        start = max(state.start, words[cut].end + (_MARGIN if in_pause else -_MARGIN))
    return Agreement(words[:n_committed], words[n_committed:], start)


# -- where the committed words end -------------------------------------------------------


def after_committed(state: Agreement, hypothesis: Sequence[TranscriptionWord]) -> _Words:
    """What a hypothesis says after the committed words, no earlier than they end."""
    if not state.committed:
        return tuple(hypothesis)
    end = state.committed[-1].end
    return tuple(_in_order(hypothesis[_seam(state, hypothesis) :], end))


def _seam(state: Agreement, hypothesis: Sequence[TranscriptionWord]) -> int:
    """How many words of a hypothesis are committed ones, heard again.

    The hypothesis is laid against the last one, which was the committed words and the
    tail, with as few words changed, missing or added as can be (the edit distance of
    Wagner and Fischer 1974). Where several places need as few, the one whose words lie on
    the right side of the committed end.
    """
    n_audible = sum(middle(word) > state.start for word in state.committed)
    n_near = sum(word.end > state.start - _REACH for word in state.committed)
    n_known = min(n_near, n_audible + _CONTEXT)
    known = _plain(state.committed[len(state.committed) - n_known :])
    expected = _plain(state.tail[:_CONTEXT])
    heard = _plain(hypothesis)
    places = range(len(heard) + 1)
    # Words from before the sound may be missing, and more may follow the tail.
    before = _edits(known, heard, [*places], free=n_known - n_audible)
    after = _edits(expected[::-1], heard[::-1], [0 for _ in places])[::-1]

    misplaced = [middle(word) - state.committed[-1].end for word in hypothesis]
    late = [0.0, *accumulate(max(0.0, time) for time in misplaced)]
    early = [0.0, *accumulate(max(0.0, -time) for time in misplaced)]
    return min(places, key=lambda n: (before[n] + after[n], late[n] + early[-1] - early[n], n))


def _edits(known: list[str], heard: list[str], row: list[int], free: int = 0) -> list[int]:
    """The edits between ``known`` and each beginning of ``heard``.

    Args:
        row: Those between nothing and each beginning of ``heard``.
        free: How many of the first words of ``known`` cost nothing when they are missing.
    """
    for i, word in enumerate(known):
        above, row = row, [row[0] + (i >= free)]
        for j, other in enumerate(heard):
            row.append(min(above[j] + (word != other), above[j + 1] + 1, row[j] + 1))
    return row


def middle(word: TranscriptionWord) -> float:
    """When half of it was said: on which side of a cut it counts."""
    return (word.start + word.end) / 2


def _plain(words: Iterable[TranscriptionWord]) -> list[str]:
    """The words without case and punctuation; one that is nothing else, as it is."""
    return [
        "".join(c for c in word.text.casefold() if not unicodedata.category(c).startswith("P"))
        or word.text
        for word in words
    ]


# -- words -------------------------------------------------------------------------------


def timed_words(result: TranscriptionResult, start: float, end: float) -> _Words:
    """The words of a result about the sound in ``[start, end)``, all of them within it.

    They are spelled as in the text, which has punctuation where an engine's words may have
    none. An engine that times only segments gets the words of each spread over it, by
    their length; one that times nothing gets them spread over the whole.
    """
    spread = [*_spread(TranscriptionSegment(result.text, start, end, result.confidence))]
    own = [word for word in result.words if word.text.strip()]
    words = own or [word for segment in result.segments for word in _spread(segment)]
    if _plain(words) == _plain(spread):
        words = [replace(word, text=token.text) for word, token in zip(words, spread, strict=True)]
    elif not own:
        words = spread  # there are no segments, or they are not the text
    return tuple(_in_order(words, start, end))


def _spread(segment: TranscriptionSegment) -> Iterator[TranscriptionWord]:
    tokens = _WORD.findall(segment.text)
    per_character = (segment.end - segment.start) / max(1, sum(map(len, tokens)))
    end = segment.start
    for token in tokens:
        start, end = end, end + len(token) * per_character
        yield TranscriptionWord(token, start, end, segment.confidence)


def _in_order(
    words: Iterable[TranscriptionWord], start: float, end: float = float("inf")
) -> Iterator[TranscriptionWord]:
    """Words whose times do not go back, nor leave ``[start, end]``."""
    for word in words:
        begins = min(max(word.start, start), end)
        start = min(max(word.end, begins), end)
        yield TranscriptionWord(word.text.strip(), begins, start, word.confidence)


def text_of(words: Iterable[TranscriptionWord]) -> str:
    """The words as a text, with spaces where their script has them."""
    text = ""
    for word in words:
        tight = not text or (_TIGHT.match(text[-1]) and _TIGHT.match(word.text))
        text += word.text if tight else f" {word.text}"
    return text


def sentences(words: Iterable[TranscriptionWord]) -> list[TranscriptionSegment]:
    """The words as segments, one a sentence."""
    segments: list[TranscriptionSegment] = []
    sentence: list[TranscriptionWord] = []
    for word in words:
        sentence.append(word)
        if _SENTENCE_END.search(word.text):
            segments.append(_segment(sentence))
            sentence = []
    return [*segments, _segment(sentence)] if sentence else segments


def confidence_of(words: Iterable[TranscriptionWord]) -> float | None:
    """The mean of the words' confidences, by their length; None if one has none."""
    sure = length = 0.0
    for word in words:
        if word.confidence is None:
            return None
        lasts = max(word.end - word.start, 1e-3)  # s; a word of no length still counts
        sure, length = sure + word.confidence * lasts, length + lasts
    return min(1.0, sure / length) if length else None


def _segment(words: Sequence[TranscriptionWord]) -> TranscriptionSegment:
    return TranscriptionSegment(text_of(words), words[0].start, words[-1].end, confidence_of(words))
