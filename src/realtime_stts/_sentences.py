"""PURE: an answer that arrives in pieces, cut into pieces that can be spoken.

A piece ends with its sentence or its line. A sentence ends at ``. ! ? …`` or their like in
other scripts, with what closes a quotation, a bracket or an emphasis, once the next word
begins; full-width marks need no space. What follows an abbreviation, an initial or the
number of a list's item is not an end. An answer's opening may also end at a clause, so that
sound starts early, and a sentence that is too long is cut at a clause, else between words.

However the answer arrives, the pieces are the same: a place is judged only once all that
judges it is there, and never again. Nothing but white space is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import category, east_asian_width

__all__ = ["SentenceSplitter"]

# Fifteen letters a second are usual: this much is a second and a third of sound, in which the
# next piece can be made. Anything shorter sounds clipped, and is followed by a gap.
_OPENING = 20  # letters
_WIDE = 3  # letters that one syllable written as one character takes as long as

# Sixteen seconds of sound. Neural voices lose their way in pieces over some 300 characters.
_LONGEST = 250  # characters

_AHEAD = 12  # characters by which a place within the longest piece is judged, at most

_CLOSING = r"[\"'”’»›)\]}*_~`]*"
_CLOSING_WIDE = r"[”’」』）》】〕〉]*"
# English alone: where other languages begin such a clause they write a comma. "And" and "or"
# join words as often as clauses.
_CONJUNCTIONS = "but|because|although|whereas|unless"

_PLACE = re.compile(
    rf"""
    (?P<marks>[.!?…؟]+) (?P<closing>{_CLOSING}) (?=\s(?P<next>\S))
    | (?P<end>[。！？｡।॥۔።။។]+ {_CLOSING_WIDE}) (?=[^。！？｡।॥۔።။។”’」』）》】〕〉])
    | , {_CLOSING} (?=\s[^\s\d])                    # not in May 3, 2020
    | [;:،؛] {_CLOSING} (?=\s\S)
    | [，、；：]+ {_CLOSING_WIDE} (?=[^，、；：”’」』）》】〕〉])
    | …{{2,}} (?=[^\s…])
    | (?<=\s)[-–] (?=\s[^\s\d])
    | —+ (?=\s?[^\s—])
    | (?=\s(?:{_CONJUNCTIONS})\s)
    """,
    re.VERBOSE,
)

_LINE_BREAK = re.compile("[\n\r\v\f\x85\u2028\u2029]")
_SPACES = re.compile(r"(\s)\s+")
_ITEM = re.compile(r"\W*(\d{1,3})[.)]\s")

_OPENING_MARKS = "([{\"'“‘«‹¿¡*_~`"
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")  # e.g, z.B, U.S
# Always followed by more of the sentence.
_ABBREVIATION = re.compile(
    "mr|mrs|ms|mx|dr|prof|rev|gen|col|capt|lt|sgt|gov|sen|st|mt|vs|cf|viz|approx|ca"  # English
    "|hr|fr|bzw|vgl|ggf|evtl|inkl"  # German
    "|mme|mlle|sr|sra|srta|dra|ud|uds|sig|dott",  # French, Spanish, Italian
    re.IGNORECASE,
)
# Followed by more only if that is a number.
_NUMBERED = re.compile(
    "nos?|nr|figs?|vol|ch|sec|pp|art|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec", re.IGNORECASE
)
# A German ordinal, which reads as a whole number where a piece ends with it.
_ORDINAL = re.compile(
    r"\b(?:am|im|der|die|das|den|dem|des|vom|zum|seit|bis|ab) \d{1,2}$", re.IGNORECASE
)


class SentenceSplitter:
    """Feed it the pieces of one answer; take pieces to speak, of at most 250 characters.

    Args:
        hurried: Whether an answer's opening may end at a clause, so that sound starts early.
    """

    def __init__(self, *, hurried: bool = True) -> None:
        self._text = ""  # what no piece has yet; white space is one character at a time
        self._hurried = hurried
        self._opening = hurried  # no piece long enough to cover the making of the next has gone out
        self._item = 0  # the number of the list's last item

    def feed(self, piece: str) -> list[str]:
        """The pieces that ``piece`` completes, in order."""
        line, *lines = _LINE_BREAK.split(piece)
        pieces = self._extend(line)
        for line in lines:
            pieces += self._finish()
            pieces += self._extend(line)
        return pieces

    def flush(self) -> list[str]:
        """What is left, complete or not. The next answer can begin."""
        pieces = self._finish()
        self._opening, self._item = self._hurried, 0
        return pieces

    def _extend(self, text: str) -> list[str]:
        self._text = _SPACES.sub(r"\1", self._text + text)
        if self._text[:1].isspace():
            self._text = self._text[1:]
        return [*self._complete(_LONGEST + _AHEAD)]

    def _finish(self) -> list[str]:
        self._text = self._text.rstrip()
        pieces = [*self._complete(_LONGEST)]
        return [*pieces, *self._take(len(self._text))]

    def _complete(self, limit: int) -> Iterator[str]:
        """The pieces that can be told to be complete, given that text may be ``limit`` long."""
        while (cut := self._cut(limit)) is not None:
            yield from self._take(cut)

    def _take(self, cut: int) -> Iterator[str]:
        piece, self._text = self._text[:cut].rstrip(), self._text[cut:].lstrip()
        if not piece:
            return
        if item := _ITEM.match(piece):
            self._item = int(item[1])
        if _speaks(piece) and _size(piece) >= _OPENING:
            self._opening = False
        yield piece

    def _cut(self, limit: int) -> int | None:
        """Where the first piece of the text ends, if that is known."""
        clause = None
        for place in _PLACE.finditer(self._text, 0, _LONGEST + _AHEAD):
            cut = place.end()
            if cut > _LONGEST:
                break
            before = self._text[: place.start()]
            if not _speaks(before) or before.count("[") > before.count("]"):
                continue  # nothing to say yet; or within a link's text
            if place["end"] or (place["marks"] and self._is_end(before, place)):
                return cut
            if (place["marks"] is None or _is_pause(place)) and _size(before) >= _OPENING:
                if self._opening:
                    return cut
                clause = cut
        if len(self._text) <= limit:
            return None
        return clause or _between_words(self._text)

    def _is_end(self, before: str, place: re.Match[str]) -> bool:
        marks, goes_on = place["marks"], place["next"].islower()
        if goes_on and (place["closing"].strip("*_~`") or _is_pause(place)):
            return False  # "Really?" he said; well... maybe
        return marks != "." or not self._is_abbreviated(before, place["next"])

    def _is_abbreviated(self, before: str, following: str) -> bool:
        """Whether a dot between these belongs to the word before it."""
        number = before.strip(_OPENING_MARKS + " #>-+")
        if number.isdecimal():
            return int(number) in (1, self._item + 1)  # 42. It always was
        word = before.split()[-1].lstrip(_OPENING_MARKS)
        if len(word) == 1 and word.lower() != word.upper():
            return word != "I"  # of a name, mostly; it may be vitamin C
        if _ABBREVIATION.fullmatch(word) or _ORDINAL.search(before):
            return True
        if _NUMBERED.fullmatch(word) and following.isdigit():
            return True
        if _DOTTED.fullmatch(word):
            return following.islower() or word.lower() not in ("a.m", "p.m")
        # Who writes no capitals begins without one. Otherwise no sentence begins so.
        return following.islower() and not next(filter(str.isalpha, before), "").islower()


def _is_pause(place: re.Match[str]) -> bool:
    return place["marks"].endswith(("..", "…"))


def _speaks(text: str) -> bool:
    return any(char.isalnum() for char in text)


def _size(text: str) -> int:
    """How long it takes to say, in letters."""
    wide = sum(east_asian_width(char) in "WF" for char in text)
    return len(text) + (_WIDE - 1) * wide


def _between_words(text: str) -> int:
    """The last place for a cut in the longest piece that ``text`` begins with."""
    for cut in range(_LONGEST, 0, -1):
        if text[cut].isspace():
            return cut
    # Text without spaces: at least a letter keeps its accents, and a pictograph its parts.
    for cut in range(_LONGEST, _LONGEST // 2, -1):
        if category(text[cut])[0] != "M" and "\u200d" not in text[cut - 1 : cut + 1]:
            return cut
    return _LONGEST
