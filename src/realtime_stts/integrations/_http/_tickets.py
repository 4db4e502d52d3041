"""PURE: tickets that let a browser's socket in, once, soon.

A page cannot send a header with its WebSocket, and a token in the address would end up in
logs and histories. So it asks for a ticket over HTTP, where it can show its token, and puts
that into the address: whoever reads it there later finds it used.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from secrets import token_urlsafe
from typing import Final, NamedTuple

from ...errors import OverloadedError
from ...middleware import Principal

__all__ = ["Bearer", "Tickets"]

_MAX: Final = 10_000  # that are out at a time: some 3 MB


class Bearer(NamedTuple):
    """Whom a ticket lets in."""

    principal: Principal | None
    token: str | None = None

    def __repr__(self) -> str:  # a token is nobody else's business
        return f"Bearer({self.principal!r})"


class Tickets:
    """Issues tickets, and takes each of them once. Of a ticket only a digest is kept.

    Args:
        ttl: Seconds for which one is good.
        max_out: Tickets that are neither used nor too old.

    Raises:
        ValueError: ``ttl`` or ``max_out`` is not positive.
    """

    def __init__(self, ttl: float = 30.0, *, max_out: int = _MAX) -> None:
        if not ttl > 0:
            raise ValueError(f"ttl is more than 0 seconds, not {ttl}")
        if max_out < 1:
            raise ValueError(f"max_out must be at least 1, not {max_out}")
        self.ttl = ttl
        self._max_out = max_out
        self._out: OrderedDict[bytes, tuple[float, Bearer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._out)

    def issue(self, principal: Principal | None, now: float, *, token: str | None = None) -> str:
        """A ticket for ``principal``, or for somebody who need not be known.

        Args:
            token: That they have shown, for the calls that are made for them.
            now: Seconds of any clock that only goes forward.

        Raises:
            OverloadedError: Too many are out.
        """
        self._forget(now)
        if len(self._out) >= self._max_out:
            soonest = next(iter(self._out.values()))[0]
            raise OverloadedError("too many tickets are out", retry_after=soonest - now)
        ticket = token_urlsafe(24)
        self._out[_digest(ticket)] = (now + self.ttl, Bearer(principal, token))
        return ticket

    def redeem(self, ticket: str, now: float) -> Bearer | None:
        """Whom it was issued to; None if it is not good, or was used."""
        self._forget(now)
        _, bearer = self._out.pop(_digest(ticket), (0.0, None))
        return bearer

    def _forget(self, now: float) -> None:
        while self._out and next(iter(self._out.values()))[0] <= now:
            self._out.popitem(last=False)


def _digest(ticket: str) -> bytes:
    return sha256(ticket.encode("utf-8", "surrogatepass")).digest()
