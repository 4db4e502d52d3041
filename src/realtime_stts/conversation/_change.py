"""Something that changes again and again, and those who wait for that."""

from __future__ import annotations

import anyio

__all__ = ["Change"]


class Change:
    """Wakes all who wait, each time it is told. Costs nothing while nobody does."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next: anyio.Event | None = None  # made by who waits: it is not cheap

    async def wait(self) -> None:
        """Return at the next change."""
        if self._next is None:
            self._next = anyio.Event()
        await self._next.wait()

    def tell(self) -> None:
        """It has changed."""
        if self._next is not None:
            self._next.set()
            self._next = None
