"""Concurrency limit: so many calls at once, a few that wait, and no more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass
from math import inf
from typing import Any

from anyio import Event, current_time, move_on_after

from ..errors import OverloadedError
from ._context import RequestContext
from ._middleware import CallNext
from ._waiting_room import TicketState, WaitingRoom

__all__ = ["ConcurrencyLimitMiddleware", "ConcurrencyLimitStatistics"]


@dataclass(frozen=True, slots=True)
class ConcurrencyLimitStatistics:
    """The numbers at one moment."""

    running: int
    waiting: int
    admitted: int  # since the start, those running included
    refused: int  # since the start: no place, pushed out, or tired of waiting
    longest_wait: float  # s, of a call that was admitted
    average_held: float  # s that a call holds its slot, over about the last ten; 0.0 before one


class ConcurrencyLimitMiddleware:
    """Lets so many calls run at once and a few wait; the rest are refused at once.

    A call holds its slot from when its first result is asked for until all of it is closed:
    a stream as long as it is read. Sessions take turns, and within one session who came
    first goes first. A call that cannot wait, or not long enough, raises `OverloadedError`
    with an estimate of when to come back; the engine was never asked.

    One instance belongs to one event loop. Around several engines it limits their sum.

    Args:
        slots: How many calls may run.
        waiting: How many may wait. None is as many as slots: the last of them then waits
            for about as long as one call takes.
        max_wait: Seconds that a call waits at most. Its own deadline counts too.
        key: Whose call it is, for taking turns. By default the session, and a call outside
            of any is its own. Only asked when there is no free slot.
        name: What logs call it.

    Raises:
        ValueError: There is no slot, or less than no place or no time.
    """

    def __init__(
        self,
        slots: int,
        *,
        waiting: int | None = None,
        max_wait: float | None = None,
        key: Callable[[RequestContext], Hashable] | None = None,
        name: str = "concurrency_limit",
    ) -> None:
        if slots < 1:
            raise ValueError(f"slots is 1 or more, or no call could ever run; not {slots!r}")
        if waiting is not None and waiting < 0:
            raise ValueError(f"waiting is a number of calls, 0 or more, not {waiting!r}")
        if max_wait is not None and not max_wait > 0.0:
            raise ValueError(
                f"max_wait is in seconds and more than 0, not {max_wait!r}; "
                "waiting=0 is how no call waits"
            )
        self.name = name
        self._max_wait = inf if max_wait is None else max_wait
        self._key = _session if key is None else key
        self._room = WaitingRoom(slots, slots if waiting is None else waiting)
        self._refused = 0

    async def __call__(
        self, context: RequestContext, call_next: CallNext, /
    ) -> AsyncGenerator[Any]:
        room, metrics = self._room, context.metrics
        asked = admitted = current_time()
        if not room.enter():
            await self._wait(context, asked)
            admitted = current_time()
        try:
            # A call may pass several limits.
            metrics["queue_wait"] = metrics.get("queue_wait", 0.0) + admitted - asked
            async with aclosing(call_next(context)) as results:
                async for result in results:
                    yield result
        finally:
            now = current_time()
            room.leave(now, now - admitted)

    def statistics(self) -> ConcurrencyLimitStatistics:
        """The numbers now."""
        room = self._room
        return ConcurrencyLimitStatistics(
            room.running,
            room.waiting,
            room.admitted,
            self._refused,
            room.longest_wait,
            room.held or 0.0,
        )

    async def _wait(self, context: RequestContext, now: float) -> None:
        """Return with a slot, or raise without one."""
        room = self._room
        patience = min(self._max_wait, context.deadline - now)
        if patience <= 0.0:
            raise self._refusal(f"all {room.slots} slots are taken, and the call has no time left")
        woken = Event()
        ticket = room.wait(self._key(context), now, woken.set)
        if ticket is None:
            raise self._refusal(f"{room.running} calls run and {room.waiting} wait: no more room")
        try:
            if patience == inf:
                await woken.wait()
            else:
                with move_on_after(patience):
                    await woken.wait()
        except BaseException:
            # The call is withdrawn, perhaps in the moment in which it was handed a slot.
            room.give_up(ticket, current_time())
            raise
        if ticket.state is TicketState.REFUSED:
            raise self._refusal("its place went to a session with fewer calls that wait")
        if ticket.state is not TicketState.ADMITTED:
            room.give_up(ticket, current_time())
            raise self._refusal(f"no slot came free within {patience:.3g} s")

    def _refusal(self, why: str) -> OverloadedError:
        self._refused += 1
        return OverloadedError(f"{self.name}: {why}", retry_after=self._room.retry_after())


def _session(context: RequestContext) -> Hashable:
    return context.session_id or context.request_id
