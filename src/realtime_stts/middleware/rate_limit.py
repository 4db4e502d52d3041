"""Rate limit: so many calls a second, or so much of something else, for each who asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from anyio import current_time

from ..errors import RateLimitError
from ._context import RequestContext
from ._middleware import CallNext
from ._token_bucket import TokenBuckets

__all__ = ["RateLimitMiddleware", "RateLimitStatistics"]


@dataclass(frozen=True, slots=True)
class RateLimitStatistics:
    """The numbers at one moment."""

    admitted: int  # since the start
    refused: int  # since the start
    keys: int  # that have a bucket of their own, because it is not known to be full


class RateLimitMiddleware:
    """Refuses calls of those who ask too often: a token bucket for each key.

    In any t seconds, calls of one key cost at most ``burst + rate * t``. A call that finds
    too little raises `RateLimitError`, which says exactly when there is enough if no other
    call takes it; nothing waits. What a call cost is not given back if it fails.

    One instance belongs to one event loop. Around several engines it limits their sum.

    Args:
        rate: Tokens a second that flow into each bucket.
        burst: Tokens that a bucket holds, and begins with.
        key: Who asks. By default the ``subject``, which an `AuthenticationMiddleware` outside
            of this has made sure of; else the session; else a bucket that all other calls
            share. A client that names its own sessions has as many buckets as it likes.
        cost: What a call costs in tokens, 0 or more; by default 1. The length of the text
            makes it a limit of characters a second. A call that costs more than ``burst``
            is always refused, without a time to try again.
        max_keys: Buckets that are kept. Full ones need not be; if this many are not full,
            all further keys share one.
        clock: Seconds.
        name: What logs call it.

    Raises:
        ValueError: A number is not positive and finite; as the call's error, that ``cost``
            gave a negative number or none.
    """

    def __init__(
        self,
        rate: float,
        *,
        burst: float,
        key: Callable[[RequestContext], Hashable] | None = None,
        cost: Callable[[RequestContext], float] | None = None,
        max_keys: int = 10_000,  # about 2 MB
        clock: Callable[[], float] = current_time,
        name: str = "rate_limit",
    ) -> None:
        for what, value in (("rate", rate), ("burst", burst)):
            if not (isfinite(value) and value > 0.0):
                raise ValueError(f"{what} is finite and more than 0, not {value!r}")
        if burst < 1.0 and cost is None:
            raise ValueError(f"a call costs 1, and a burst of {burst!r} never holds that much")
        if max_keys < 1:
            raise ValueError(f"max_keys is 1 or more, not {max_keys!r}")
        self.name = name
        self._key = _who if key is None else key
        self._cost = cost
        self._clock = clock
        self._buckets = TokenBuckets(float(rate), float(burst), max_keys)
        self._admitted = self._refused = 0

    async def __call__(
        self, context: RequestContext, call_next: CallNext, /
    ) -> AsyncGenerator[Any]:
        cost = 1.0 if self._cost is None else self._cost(context)
        if not cost >= 0.0:
            raise ValueError(f"{self.name}: the cost of a call is 0 or more, not {cost!r}")
        wait = self._buckets.take(self._key(context), cost, self._clock())
        if wait > 0.0:
            self._refused += 1
            raise self._refusal(cost, wait)
        self._admitted += 1
        async with aclosing(call_next(context)) as results:
            async for result in results:
                yield result

    def statistics(self) -> RateLimitStatistics:
        """The numbers now."""
        return RateLimitStatistics(self._admitted, self._refused, len(self._buckets))

    def _refusal(self, cost: float, wait: float) -> RateLimitError:
        rate, burst = self._buckets.rate, self._buckets.burst
        if wait == inf:
            return RateLimitError(
                f"{self.name}: the call costs {cost:g}, more than the {burst:g} that are ever "
                "allowed at once"
            )
        return RateLimitError(
            f"{self.name}: more than {rate:g} a second and {burst:g} at once", retry_after=wait
        )


def _who(context: RequestContext) -> Hashable:
    # Told apart, so that nobody gets into a subject's bucket by a session of that name.
    if context.subject is not None:
        return ("subject", context.subject)
    if context.session_id is not None:
        return ("session", context.session_id)
    return None
