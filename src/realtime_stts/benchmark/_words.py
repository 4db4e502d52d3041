"""PURE: how the words of a revisable transcript come and change."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["common", "has_spaces", "pieces", "shown_for_good", "unstable"]

# Languages that put no space between words: what is counted there are characters.
_UNSPACED = frozenset({"bo", "dz", "ja", "km", "lo", "my", "th", "yue", "zh"})


def has_spaces(language: str) -> bool:
    """Whether a language, such as ``en`` or ``zh-TW``, puts spaces between its words."""
    return language.lower().replace("_", "-").partition("-")[0] not in _UNSPACED


def pieces(text: str, language: str) -> list[str]:
    """What is counted of a text: its words, or its characters where nothing is between words."""
    return text.split() if has_spaces(language) else [*"".join(text.split())]


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words both begin with."""
    n = 0
    for mine, theirs in zip(one, other):  # noqa: B905 - as far as both go
        if mine != theirs:
            break
        n += 1
    return n


def shown_for_good(results: Sequence[tuple[float, Sequence[str]]]) -> list[float]:
    """When each word of the last result was shown, never to change again.

    Args:
        results: When each came, and its words; the last is final. A later one replaces
            what the earlier ones showed.
    """
    final = results[-1][1]
    shown = [results[-1][0]] * len(final)
    lasting = len(final)
    for at, words in reversed(results):
        lasting = min(lasting, common(words, final))
        shown[:lasting] = [at] * lasting
    return shown


def unstable(results: Sequence[Sequence[str]]) -> int:
    """How many words were shown and then taken back or changed.

    Divided by the words of the final result it is the unstable partial word ratio of
    Shangguan and others, "Analyzing the Quality and Stability of a Streaming End-to-End
    On-Device Speech Recognizer" (2020). A word that moves on because one was put in before
    it has changed: a reader has to read it anew.
    """
    pairs = zip(results, results[1:])  # noqa: B905, RUF007 - one less
    return sum(len(before) - common(before, after) for before, after in pairs)
