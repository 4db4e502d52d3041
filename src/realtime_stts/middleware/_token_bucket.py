"""Token buckets, one for each key, in bounded memory.

A bucket is one number: when it will be full again. That is all there is to know of it, and
nothing has to be filled as time goes by (the generic cell rate algorithm, ITU-T I.371, read
as a bucket).
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf, nextafter
from typing import Final

__all__ = ["TokenBuckets"]

# Full buckets that are forgotten for each new one: more than one, so that the table shrinks
# again; few, so that no call pays for many others.
_FORGET: Final = 2


class TokenBuckets:
    """A bucket of ``burst`` tokens for each key, filled with ``rate`` tokens a second.

    In any t seconds a key takes at most ``burst + rate * t`` tokens, whatever other keys do.

    A full bucket is no different from none and is forgotten. While ``max_keys`` are in use,
    all further keys share one bucket; a key that gets its own later begins with what is in
    the shared one. So no number of keys makes anybody's empty bucket full.
    """

    def __init__(self, rate: float, burst: float, max_keys: int) -> None:
        self.rate: Final = rate
        self.burst: Final = burst
        self.max_keys: Final = max_keys
        # When each is full again; in the order of their last use, so that the first ones
        # are full, or everybody is busy.
        self._full_at: dict[Hashable, float] = {}
        self._shared_full_at = -inf

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, cost: float, now: float) -> float:
        """Take ``cost`` tokens, at ``now`` seconds.

        Returns:
            0.0 if they were there. Otherwise in how many seconds they will be, exactly;
            infinity if the bucket never holds so many. Nothing is taken then.
        """
        if cost > self.burst:
            return inf
        full_at = self._full_at.pop(key, None)
        if full_at is None:
            self._forget_full(now)
            full_at = self._shared_full_at
            own = len(self._full_at) < self.max_keys
        else:
            own = True
        begin = max(full_at, now)
        ready_at = begin + (cost - self.burst) / self.rate
        taken = ready_at <= now
        if taken:
            full_at = begin + cost / self.rate
        if own:
            self._full_at[key] = full_at
        else:
            self._shared_full_at = full_at
        return 0.0 if taken else _until(ready_at, now)

    def _forget_full(self, now: float) -> None:
        for _ in range(min(_FORGET, len(self._full_at))):
            key = next(iter(self._full_at))
            if self._full_at[key] > now:
                return
            del self._full_at[key]


def _until(time: float, now: float) -> float:
    """The seconds that, added to ``now``, are not before ``time``, whatever is rounded."""
    seconds = time - now
    while now + seconds < time:
        seconds = nextafter(seconds, inf)
    return seconds
