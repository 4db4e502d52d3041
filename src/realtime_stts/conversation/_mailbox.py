"""Events on their way to the host: one order, bounded, and safe to cancel anywhere."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import anyio
from typing_extensions import Self

__all__ = ["Mailbox"]

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue whose writers post at once and then wait for room.

    Posting never suspends, so nothing can be lost or change places between a fact and its
    event. The bound is kept by waiting afterwards: at most ``capacity`` items plus what
    each writer posts at a time are ever held.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._closed = False
        self._changed = anyio.Event()

    def post(self, item: T) -> None:
        """Append ``item``; nothing happens once the mailbox is closed."""
        if not self._closed:
            self._items.append(item)
            self._wake()

    async def room(self) -> None:
        """Wait until there are fewer than ``capacity`` items, or nobody reads any more."""
        while len(self._items) >= self._capacity and not self._closed:
            await self._changed.wait()

    def close(self) -> None:
        """No more items: readers get those that are left, then the end."""
        self._closed = True
        self._wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            await self._changed.wait()
        item = self._items.popleft()
        self._wake()
        return item

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
