"""PURE: what was said, what was answered, and how much of the answer reached the host."""

from __future__ import annotations

from ..protocols import Exchange

__all__ = ["History"]


class History:
    """The last exchanges of one session, oldest first.

    Args:
        max_length: How many to keep; the oldest goes first.
    """

    def __init__(self, max_length: int = 50) -> None:
        if max_length < 0:
            raise ValueError("a history's length is not negative")
        self._max_length = max_length
        self._exchanges: tuple[Exchange, ...] = ()

    def add(self, exchange: Exchange) -> None:
        """Remember one more exchange."""
        kept = (*self._exchanges, exchange)
        self._exchanges = kept[max(0, len(kept) - self._max_length) :]

    def clear(self) -> None:
        """Forget everything."""
        self._exchanges = ()

    def snapshot(self) -> tuple[Exchange, ...]:
        """The exchanges now; later ones do not change it."""
        return self._exchanges
