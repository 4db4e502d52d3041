"""PURE: texts on a page: whether they say the same, and how they fit."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["same_words", "wrap"]


def same_words(said: str, heard: str) -> bool:
    """Whether the words are the same, whatever their case and punctuation."""
    return _words(said) == _words(heard)


def _words(text: str) -> list[str]:
    return ["".join(filter(str.isalnum, word)) for word in text.casefold().split()]


def wrap(text: str, width: float, max_lines: int, measure: Callable[[str], float]) -> list[str]:
    """``text`` in lines no wider than ``width``; what finds no room becomes an ellipsis."""
    lines: list[str] = []
    rest = text.split()
    while rest and len(lines) < max_lines:
        line = rest.pop(0)
        while rest and measure(f"{line} {rest[0]}") <= width:
            line = f"{line} {rest.pop(0)}"
        if measure(line) > width or (rest and len(lines) == max_lines - 1):
            rest.clear()
            while line and measure(f"{line}…") > width:
                line = line[:-1]
            line = f"{line.rstrip(' ,.')}…"
        lines.append(line)
    return lines
