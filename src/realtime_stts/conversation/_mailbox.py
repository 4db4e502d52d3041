"""Events on their way to the host: one order, bounded, and safe to cancel anywhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from anyio import lowlevel
from typing_extensions import Self

from ._change import Change

__all__ = ["Mailbox"]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Delivery(Generic[T]):
    item: T
    on_taken: Callable[[], None]
    taken: bool | None = None  # None: neither taken nor taken back yet


class Mailbox(Generic[T]):
    """A queue whose writers post at once and then wait for room.

    Posting never suspends, so nothing can be lost or change places between a fact and its
    event. The bound is kept by waiting afterwards: at most ``capacity`` items plus what
    each writer posts at a time are ever held.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._delivery: _Delivery[T] | None = None  # of one of the items
        self._closed = False
        self._changed = Change()

    def post(self, item: T) -> None:
        """Append ``item``; nothing happens once the mailbox is closed."""
        if not self._closed:
            self._items.append(item)
            self._changed.tell()

    async def deliver(self, item: T, on_taken: Callable[[], None]) -> bool:
        """Post ``item`` and wait until the reader has it; one writer at a time.

        ``on_taken`` is called at the very moment: nothing comes between.

        Returns:
            Whether they have. They have not if it was taken back, or the mailbox is closed.
        """
        if self._closed:
            await lowlevel.checkpoint()  # whoever keeps trying must be cancellable
            return False
        delivery = self._delivery = _Delivery(item, on_taken)
        self.post(item)
        try:
            while delivery.taken is None:
                await self._changed.wait()
        finally:
            self.take_back()
        return bool(delivery.taken)

    def take_back(self) -> None:
        """Take back what is being delivered, if the reader does not have it yet."""
        delivery, self._delivery = self._delivery, None
        if delivery is not None and delivery.taken is None:
            delivery.taken = False
            self._items = deque(item for item in self._items if item is not delivery.item)
            self._changed.tell()

    async def room(self) -> None:
        """Wait until there are fewer than ``capacity`` items, or nobody reads any more."""
        while len(self._items) >= self._capacity and not self._closed:
            await self._changed.wait()

    def close(self) -> None:
        """No more items: readers get those that are left, then the end."""
        self.take_back()
        self._closed = True
        self._changed.tell()

    def __len__(self) -> int:
        return len(self._items)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            await self._changed.wait()
        item = self._items.popleft()
        if (delivery := self._delivery) is not None and item is delivery.item:
            delivery.taken = True
            delivery.on_taken()
        self._changed.tell()
        return item
