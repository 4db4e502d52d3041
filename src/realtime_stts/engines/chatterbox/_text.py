"""PURE: a long text cut into pieces that Chatterbox can say, and the pauses between them.

A piece is of one line: a sentence, short sentences together, an item of a list, or a cue such
as ``(laughs)``. A sentence that is too long is cut at a clause, else between words, else
anywhere. Nothing is lost but white space and what says nothing, marks that stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from unicodedata import category, east_asian_width

from ..._sentences import SentenceSplitter

__all__ = ["CLAUSE", "ITEM", "LINE", "PARAGRAPH", "SENTENCE", "Piece", "letters", "pieces"]

# Seconds. Readers' pauses are brief (under 0.2 s), mostly within sentences; medium (to 1 s),
# mostly between them; or long (Campione and Veronis, "A large-scale multilingual study of
# silent pause duration", 2002). All stay under a second, lest a listener think it is over.
CLAUSE: Final = 0.15
SENTENCE: Final = 0.35
ITEM: Final = 0.45
LINE: Final = 0.45
PARAGRAPH: Final = 0.7

# Seventeen seconds of sound. Chatterbox loses its way in pieces over some 300 letters, and
# its 1,000 tokens, which it does not go beyond, are 40 s.
_LONGEST: Final = 250  # letters

# What one character takes to say, in Latin letters, of which 15 are a second: a syllable of
# Han or Hangul three, of kana two; and a digit is a word.
_HAN, _KANA, _DIGIT = 3, 2, 4
_KANA_LETTER = re.compile("[\u3040-\u30ff\uff66-\uff9f]")

_WRAPPED: Final = 40  # characters: who wraps lines makes them longer, and items are shorter

_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
_ITEM = re.compile(r"(?:[-*+•‣◦·–]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s+\S")
_CLOSING = r"[\"'”’»›)\]}*_~`」』）》】〕〉]*"
_SENTENCE_END = re.compile(rf"[.!?…؟。！？｡।॥۔።։។]{_CLOSING}$")
_CLAUSE_END = re.compile(rf"[,;:،؛，、；：—–-]{_CLOSING}$")
_CLAUSE = re.compile(rf"[,;:،؛—–]+{_CLOSING}(?=\s\D)|[、，；：。！？]+{_CLOSING}|…+")
_CUE = re.compile(
    r"""
    [(（] (?:[a-z]+\s)?
    (?:
        (?:laugh|sigh|gasp|cough|sniff|snort|groan|moan|grunt|yawn|scream|shout|yell|whisper
          |murmur|breath|weep|gulp|clap) (?:s|es|ed|ing|e|ter)?
        |(?:chuckl|giggl|snickl|mumbl|whistl|sneez|inhal|exhal|paus) (?:e|es|ed|ing)
        |sob(?:s|bing)? |hum(?:s|ming)? |cr(?:y|ies|ied|ying) |applause |music |silence
        |clear(?:s|ed|ing)?\s(?:[a-z]+\s)?throat
    )
    (?:\s[a-z]+)? [)）] [.,;:!?]*
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Piece:
    """``text`` is said in one go; ``pause`` is the silence after it, in seconds."""

    text: str
    pause: float


def letters(text: str) -> int:
    """How long ``text`` takes to say, in Latin letters, of which some 15 are a second."""
    return sum(map(_letters_of, text))


def pieces(text: str, target: int = 120) -> list[Piece]:
    """``text`` in pieces of at most 250 letters; none if it is but marks.

    After the last there is no pause.

    Args:
        target: Sentences of a line go together up to so many letters, 1 to 250; what is in an
            item of a list goes together as far as it can.

    Raises:
        ValueError: ``text`` is blank, or ``target`` is out of range.
    """
    if not text.strip():
        raise ValueError("there is nothing to say: the text is blank")
    if not 1 <= target <= _LONGEST:
        raise ValueError(f"target is 1 to {_LONGEST} letters, not {target}")
    if not _speaks(text):
        return []
    splitter = SentenceSplitter(hurried=False)  # its sound streams anyway
    said: list[Piece] = []
    for line, pause in _lines(text):
        most = _LONGEST if _is_item(line) else target
        for part, is_cue in _cues(line):
            sentences = [part] if is_cue else splitter.feed(f"{part}\n")
            for piece in filter(_speaks, _packed(part, sentences, most)):
                # Beside a gesture there is hardly a pause.
                pause_after = max(_pause(piece), CLAUSE if is_cue else 0.0)
                said.append(Piece(piece, pause_after))
        if said:
            said[-1] = replace(said[-1], pause=pause)
    said[-1] = replace(said[-1], pause=0.0)
    return said


def _speaks(text: str) -> bool:
    return any(char.isalnum() for char in text)


def _letters_of(char: str) -> int:
    if char.isdigit():
        return _DIGIT
    if not char.isalnum() or east_asian_width(char) not in "WF":
        return 1
    return _KANA if _KANA_LETTER.match(char) else _HAN


def _lines(text: str) -> Iterator[tuple[str, float]]:
    """The lines that are not blank, with single spaces, and the pause after each.

    A long line that goes on in lower case was wrapped by its writer, and not ended.
    """
    line = ""
    rows = [" ".join(row.split()) for row in _LINE_BREAK.split(text)]
    for row, following in zip(rows, [*rows[1:], ""], strict=True):
        line = f"{line} {row}" if line else row
        goes_on = following[:1].islower() and not _is_item(following)
        if goes_on and len(line) >= _WRAPPED and not _SENTENCE_END.search(row):
            continue
        if line:
            in_list = _is_item(line) or _is_item(following)
            yield line, PARAGRAPH if not following else ITEM if in_list else LINE
        line = ""


def _is_item(line: str) -> bool:
    return _ITEM.match(line) is not None


def _cues(line: str) -> Iterator[tuple[str, bool]]:
    """The parts of a line, and whether each is a cue."""
    at = 0
    for cue in _CUE.finditer(line):
        yield line[at : cue.start()].strip(), False
        yield cue[0], True
        at = cue.end()
    yield line[at:].strip(), False


def _packed(part: str, sentences: list[str], most: int) -> list[str]:
    """The sentences of a part of a line, together as far as ``most`` letters allow."""
    packed: list[str] = []
    start = at = 0  # of the last piece, and of what no piece has yet
    for sentence in sentences:
        begin = part.index(sentence, at)
        at = begin + len(sentence)
        if packed and letters(part[start:at]) <= most:
            packed[-1] = part[start:at]
            continue
        packed += _within(sentence)
        start = at - len(packed[-1])
    return packed


def _within(sentence: str) -> Iterator[str]:
    """A sentence in parts of at most the longest, each as long as a good place allows."""
    while (n_fit := _n_fitting(sentence)) < len(sentence):
        clauses = [clause.end() for clause in _CLAUSE.finditer(sentence, 0, n_fit)]
        cut = clauses[-1] if clauses and clauses[-1] > n_fit // 3 else 0
        cut = cut or sentence.rfind(" ", 1, n_fit + 1)
        cut = cut if cut > 0 else _between_letters(sentence, n_fit)
        yield sentence[:cut].rstrip()
        sentence = sentence[cut:].lstrip()
    yield sentence


def _n_fitting(text: str) -> int:
    """How many characters of ``text`` are no more than the longest."""
    total = 0
    for index, char in enumerate(text):
        total += _letters_of(char)
        if total > _LONGEST:
            return index
    return len(text)


def _between_letters(text: str, most: int) -> int:
    """Where a letter keeps its accents and what is joined to it, if there is such a place."""
    for cut in range(most, most // 2, -1):
        if category(text[cut])[0] != "M" and "\u200d" not in text[cut - 1 : cut + 1]:
            return cut
    return most


def _pause(piece: str) -> float:
    """After a piece within its line."""
    if _SENTENCE_END.search(piece):
        return SENTENCE
    return CLAUSE if _CLAUSE_END.search(piece) else 0.0
