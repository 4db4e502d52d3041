"""PURE: personal data in texts, found however the text is cut, and masked.

What a `PersonalData` finds is short and made of few characters, so a text that still comes
in pieces needs to be held back only where such a thing may have begun: any slicing gives the
same text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ["CARD", "EMAIL", "IBAN", "PHONE", "Masker", "PersonalData", "mask", "mask_pieces"]


@dataclass(frozen=True, slots=True)
class PersonalData:
    """Something that can be told from its form.

    A match is at most ``max_length`` characters long, and depends on one character before
    and one after it. ``alphabet`` matches each character that may be in it, and ``first``
    each that it may begin with; without an alphabet, text in pieces is held back by the
    maximal length.
    """

    pattern: re.Pattern[str]
    alphabet: re.Pattern[str] | None = None
    first: re.Pattern[str] = re.compile(r".", re.DOTALL)
    max_length: int = 64
    valid: Callable[[str], bool] | None = None  # decides where the form alone does not

    def find(self, text: str, start: int) -> tuple[int, int] | None:
        """The first one that begins at ``start`` or later."""
        match = self.pattern.search(text, start)
        while match is not None:
            if match.end() > match.start() and (self.valid is None or self.valid(match[0])):
                return match.span()
            match = self.pattern.search(text, match.start() + 1)
        return None

    def undecided(self, text: str) -> int:
        """Where in ``text`` one may begin that more text would make another one."""
        latest = max(len(text) - self.max_length - 1, 0)
        if self.alphabet is None:
            return latest
        place = len(text)
        while place > latest and self.alphabet.match(text[place - 1]):
            place -= 1
        begins = self.first.search(text, place)
        return len(text) if begins is None else begins.start()


def _luhn(number: str) -> bool:
    """Whether the last digit checks the others: ISO/IEC 7812-1, annex B."""
    digits = [int(char) for char in reversed(number) if char.isdigit()]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


def _mod_97(account: str) -> bool:
    """Whether the check digits fit: ISO 13616, by ISO/IEC 7064 MOD 97-10."""
    letters = account.replace(" ", "").replace("-", "").upper()
    return int("".join(str(int(char, 36)) for char in letters[4:] + letters[:4])) % 97 == 1


def _enough_digits(number: str) -> bool:
    """E.164 allows 15 digits; under 7 are extensions, years, prices and amounts."""
    return 7 <= sum(map(str.isdigit, number)) <= 15


_ATOM: Final = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"  # RFC 5322, 3.2.3

# A local part of at most 64 characters (RFC 5321, 4.5.3.1), and a domain of 3 labels' length.
EMAIL: Final = PersonalData(
    re.compile(
        rf"(?<![{_ATOM}])[{_ATOM}][.{_ATOM}]{{0,63}}"
        r"@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,188}[A-Za-z0-9])?(?![A-Za-z0-9])"
    ),
    alphabet=re.compile(rf"[.@{_ATOM}]"),
    first=re.compile(rf"[{_ATOM}]"),
    max_length=256,
)
CARD: Final = PersonalData(
    re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){11,18}(?![0-9])"),
    alphabet=re.compile(r"[0-9 -]"),
    first=re.compile(r"[0-9]"),
    max_length=37,  # 19 digits, and what is between them
    valid=_luhn,
)
IBAN: Final = PersonalData(
    re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,30}(?![A-Za-z0-9])"),
    alphabet=re.compile(r"[A-Z0-9 -]"),
    first=re.compile(r"[A-Z]"),
    max_length=64,  # 34 characters, and what is between them
    valid=_mod_97,
)
PHONE: Final = PersonalData(
    re.compile(r"(?<![A-Za-z0-9+])(?:\+|\(\+?)?[0-9](?:[ ()./-]{0,2}[0-9]){6,14}(?![A-Za-z0-9])"),
    alphabet=re.compile(r"[0-9 ()./+-]"),
    first=re.compile(r"[0-9(+]"),
    max_length=45,  # 15 digits, two marks between each, and those before
    valid=_enough_digits,
)


class _Found(NamedTuple):
    start: int
    end: int
    name: str


def _next(kinds: Iterable[tuple[str, PersonalData]], text: str, start: int) -> _Found | None:
    """The first thing of any kind; of those that begin at one place, the kind named first."""
    found: _Found | None = None
    for name, kind in kinds:
        span = kind.find(text, start)
        if span is not None and (found is None or span[0] < found.start):
            found = _Found(*span, name)
    return found


class Masker:
    """Masks a text that comes in pieces, in the order of ``kinds``.

    What it returns, joined, is the `mask` of the pieces, joined: at every moment as much of
    it as no more text can change.
    """

    def __init__(self, kinds: Mapping[str, PersonalData]) -> None:
        self._kinds = tuple(kinds.items())
        self._text = ""  # not yet returned, after a character that was: it may decide a match
        self._done = 0

    def push(self, piece: str) -> str:
        """The next piece."""
        self._text += piece
        text = self._text
        decided = (kind.undecided(text) for _, kind in self._kinds)
        return self._take(min(decided, default=len(text)))

    def flush(self) -> str:
        """There is no more: the rest."""
        return self._take(len(self._text))

    def _take(self, end: int) -> str:
        taken = []
        while (found := _next(self._kinds, self._text, self._done)) and found.start < end:
            taken += [self._text[self._done : found.start], f"[{found.name}]"]
            self._done = found.end
        taken.append(self._text[self._done : end])
        self._done = max(self._done, end)
        forgotten = max(self._done - 1, 0)
        self._text, self._done = self._text[forgotten:], self._done - forgotten
        return "".join(taken)


def mask(text: str, kinds: Mapping[str, PersonalData]) -> str:
    """``text`` with everything found replaced by the name of its kind, in brackets."""
    masker = Masker(kinds)
    masker._text = text
    return masker.flush()


def mask_pieces(pieces: Sequence[str], kinds: Mapping[str, PersonalData]) -> list[str]:
    """The same for words or segments of one text: what several of them hold is found too.

    The mask takes the place of the first part; the other pieces lose theirs.
    """
    text, starts = "", []
    for piece in pieces:
        if text and not piece[:1].isspace():
            text += " "
        starts.append(len(text))
        text += piece
    masked = [list(piece) for piece in pieces]
    place = 0
    while found := _next(kinds.items(), text, place):
        place = found.end
        shown = f"[{found.name}]"
        for start, chars in zip(starts, masked, strict=True):
            for at in range(max(found.start, start), min(found.end, start + len(chars))):
                chars[at - start], shown = shown, ""
    return ["".join(chars) for chars in masked]
