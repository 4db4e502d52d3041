"""How many may be here at a time, in all and of one client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from ...errors import OverloadedError, RateLimitError

__all__ = ["Seats"]


class Seats:
    """Seats for conversations. Nobody waits for one.

    Args:
        total: Seats in all.
        per_client: Of them, those of one client.

    Raises:
        ValueError: A number is less than 1.
    """

    def __init__(self, total: int, per_client: int) -> None:
        if min(total, per_client) < 1:
            raise ValueError(f"there must be a seat: total is {total}, per_client {per_client}")
        self.total, self.per_client = total, per_client
        self._taken: Counter[Hashable] = Counter()

    @property
    def taken(self) -> int:
        return self._taken.total()

    @contextmanager
    def seat(self, client: Hashable) -> Iterator[None]:
        """A seat, for as long as the block lasts.

        Raises:
            RateLimitError: The client has all that one may have.
            OverloadedError: All are taken.
        """
        if self._taken[client] >= self.per_client:
            raise RateLimitError(f"a client has at most {self.per_client} conversations at a time")
        if self.taken >= self.total:
            raise OverloadedError(f"all {self.total} conversations are taken")
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]
