"""PURE: a transcription as subtitles, SubRip (.srt) and WebVTT (W3C).

A cue has up to two lines of 42 columns and lasts up to 7 s: what a person reads in one go
(Netflix's timed text style guide). A longer segment becomes several, cut where its words
were spoken; where their times are unknown, they are taken to be spread evenly over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from unicodedata import east_asian_width

from .protocols import TranscriptionResult, TranscriptionSegment, TranscriptionWord

__all__ = ["srt", "vtt"]

_COLUMNS: Final = 42  # a line; Chinese, Japanese and Korean characters take two
_LINES: Final = 2
_LONGEST: Final = 7_000  # ms
_ARROW: Final = re.compile("-{2,}>")
_SPEED: Final = 15.0  # characters a second, for a text of which no time at all is known


def srt(result: TranscriptionResult, duration: float | None = None) -> str:
    """SubRip subtitles. They have no way to escape an arrow, and so "-->" is changed to "->".

    Args:
        duration: Seconds of the audio. Only a text without segments and words needs it.
    """
    return "\n".join(
        f"{number}\n{_interval(cue, ',')}\n{_ARROW.sub('->', cue.text)}\n"
        for number, cue in enumerate(_cues(result, duration), 1)
    )


def vtt(result: TranscriptionResult, duration: float | None = None) -> str:
    """WebVTT subtitles: plain text, whatever of markup was said.

    Args:
        duration: As for `srt`.
    """
    cues = (f"{_interval(cue, '.')}\n{_escaped(cue.text)}\n" for cue in _cues(result, duration))
    return "\n".join(["WEBVTT\n", *cues])


@dataclass(frozen=True, slots=True)
class _Token:
    """What is not broken over lines; seconds."""

    text: str
    start: float
    end: float
    spaced: bool  # whether a space is before it, if anything is


@dataclass(frozen=True, slots=True)
class _Cue:
    start: int  # ms
    end: int
    text: str  # one or two lines


def _cues(result: TranscriptionResult, duration: float | None) -> Iterator[_Cue]:
    """In order, none overlapping another, each longer than nothing."""
    last = 0
    for tokens in _packed(result, duration):
        start = max(last, _ms(tokens[0].start))
        last = min(max(_ms(tokens[-1].end), start + 1), start + _LONGEST)
        yield _Cue(start, last, "\n".join(_wrapped(tokens)))


def _packed(result: TranscriptionResult, duration: float | None) -> Iterator[list[_Token]]:
    """The tokens of each cue."""
    for segment in _segments(result, duration):
        cue: list[_Token] = []
        for token in _tokens(segment, result.words):
            longer = [*cue, token]
            lasts = _ms(token.end) - _ms(longer[0].start)
            if cue and (lasts > _LONGEST or len(_wrapped(longer)) > _LINES):
                yield cue
                longer = [token]
            cue = longer
        if cue:
            yield cue


def _segments(result: TranscriptionResult, duration: float | None) -> list[TranscriptionSegment]:
    if result.segments:
        return result.segments
    words = result.words
    end = words[-1].end if words else duration or len(result.text) / _SPEED
    return [TranscriptionSegment(result.text, words[0].start if words else 0.0, end)]


# -- tokens ------------------------------------------------------------------------------


def _tokens(segment: TranscriptionSegment, words: list[TranscriptionWord]) -> list[_Token]:
    """The segment's text, with the times of its words or as if it were spoken evenly."""
    text = " ".join(segment.text.split())
    times = _spoken(text, segment, words) or _evenly(len(text), segment.start, segment.end)
    tokens, place = [], 0
    for piece in (piece for word in text.split() for piece in _broken(word)):
        spaced = text[place] == " "
        place += spaced
        end = place + len(piece)
        tokens.append(_Token(piece, times[place][0], times[end - 1][1], spaced))
        place = end
    return tokens


def _spoken(
    text: str, segment: TranscriptionSegment, words: list[TranscriptionWord]
) -> list[tuple[float, float]]:
    """When each character was spoken, by the words found in the text; [] if none is."""
    times: list[tuple[float, float]] = []
    place = 0
    for word in words:
        said = word.text.strip()
        found = text.find(said, place) if said else -1
        if found >= 0 and segment.start <= (word.start + word.end) / 2 <= segment.end:
            before = times[-1][1] if times else segment.start
            times += _evenly(found - place, before, word.start)  # spaces, and what is no word
            times += _evenly(len(said), word.start, word.end)
            place = found + len(said)
    return times and times + _evenly(len(text) - place, times[-1][1], segment.end)


def _evenly(n: int, start: float, end: float) -> list[tuple[float, float]]:
    each = max(0.0, end - start) / max(1, n)
    return [(start + each * k, start + each * (k + 1)) for k in range(n)]


def _broken(word: str) -> Iterator[str]:
    """Pieces that fit into a line: languages without spaces have very long words."""
    line = ""
    for character in word:
        if line and _width(line + character) > _COLUMNS:
            yield line
            line = ""
        line += character
    yield line


# -- text --------------------------------------------------------------------------------


def _wrapped(tokens: list[_Token]) -> list[str]:
    lines: list[str] = []
    for token in tokens:
        longer = f"{lines[-1]}{' ' * token.spaced}{token.text}" if lines else ""
        if lines and _width(longer) <= _COLUMNS:
            lines[-1] = longer
        else:
            lines.append(token.text)
    return lines


def _width(text: str) -> int:
    return len(text) + sum(east_asian_width(character) in "WF" for character in text)


def _interval(cue: _Cue, point: str) -> str:
    return f"{_clock(cue.start, point)} --> {_clock(cue.end, point)}"


def _clock(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
