"""PURE: an answer that arrives in pieces, cut into sentences that can be spoken.

A sentence ends at ``. ! ? …`` or their full-width forms, with closing quotes or brackets,
once white space follows (full-width marks need none), or at a line break. What follows an
abbreviation, an initial or a number's point is not an end. However the text is cut into
pieces, the sentences are the same; nothing but the white space between them is lost.
"""

from __future__ import annotations

import re

__all__ = ["SentenceSplitter"]

_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+[”’」』）]*(?=[^。！？”’」』）])|\n")
# A dot after these does not end a sentence.
_ABBREVIATION = re.compile(
    r"\b(?:(?i:mr|mrs|ms|dr|prof|st|vs|e\.g|i\.e|approx|fig|vol)|[A-HJ-Z])\.$"
)


class SentenceSplitter:
    """Feed it pieces; take sentences."""

    def __init__(self) -> None:
        self._text = ""
        self._scanned = 0  # up to here there is no end of a sentence

    def feed(self, piece: str) -> list[str]:
        """The sentences that ``piece`` completes."""
        self._text += piece
        sentences = []
        while match := _END.search(self._text, self._scanned):
            candidate = self._text[: match.end()]
            if match.group()[-1] == "." and _ABBREVIATION.search(candidate):
                self._scanned = match.end()
                continue
            self._text, self._scanned = self._text[match.end() :], 0
            if sentence := candidate.strip():
                sentences.append(sentence)
        return sentences

    def flush(self) -> str:
        """What is left, complete or not; "" if nothing."""
        rest, self._text, self._scanned = self._text.strip(), "", 0
        return rest
