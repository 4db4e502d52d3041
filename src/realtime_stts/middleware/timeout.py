"""Timeout: how long a result may be waited for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from anyio import CancelScope, current_time

from ..audio import AudioData
from ..errors import EngineTimeoutError
from ._context import RequestContext
from ._middleware import CallNext
from ._replay import END, first_result

__all__ = ["TimeoutMiddleware", "TimeoutStatistics"]


class _Limit(NamedTuple):
    """When a result must be there, and how long that is after its clock began."""

    deadline: float
    seconds: float


_NEVER = _Limit(inf, inf)


@dataclass(frozen=True, slots=True)
class TimeoutStatistics:
    """Counts since the start."""

    calls: int
    timed_out: int


class TimeoutMiddleware:
    """Ends calls that take too long: EngineTimeoutError, and all inside is closed.

    While a streaming STT call still gets audio, its speaker takes as long as they take: its
    clocks begin when its audio ends. A deadline that a layer outside has set holds at all
    times; one that has passed already ends a call before the engine is asked.

    Args:
        first: Seconds until the first result.
        between: Seconds from asking for a further result of a stream until it is there; what
            the consumer takes is not counted.
        total: Seconds until the last result, with what the consumer takes. Layers inside
            see it as ``context.deadline``.
        name: What logs call it.

    Raises:
        ValueError: None is given, or one is not over 0.
        EngineTimeoutError: From a call: it took too long.
    """

    def __init__(
        self,
        *,
        first: float | None = None,
        between: float | None = None,
        total: float | None = None,
        name: str = "timeout",
    ) -> None:
        given = [each for each in (first, between, total) if each is not None]
        if not given:
            raise ValueError("a timeout needs `first`, `between` or `total`")
        if not all(each > 0.0 for each in given):
            raise ValueError(f"a timeout is over 0 seconds, not {min(given)}")
        self.name = name
        self._first, self._between, self._total = (
            inf if each is None else each for each in (first, between, total)
        )
        self._calls = self._timed_out = 0

    def statistics(self) -> TimeoutStatistics:
        """What happened until now."""
        return TimeoutStatistics(self._calls, self._timed_out)

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        run = self._streamed if context.streaming else self._once
        return run(context, call_next)

    async def _once(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        self._calls += 1
        outer, now = context.deadline, current_time()
        seconds = min(self._first, self._total, outer - now)
        if seconds <= 0.0:
            raise self._late(context, 0.0)
        if self._total < inf:
            context.deadline = min(outer, now + self._total)
        results = call_next(context)
        try:
            if seconds < inf:
                result: Any = END
                with CancelScope(deadline=now + seconds) as scope:
                    result = await first_result(results)
                if scope.cancelled_caught:
                    raise self._late(context, seconds)
                if result is END:
                    return
                yield result
            async for result in results:
                yield result
        finally:
            context.deadline = outer  # a layer outside may ask again
            await results.aclose()

    async def _streamed(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        self._calls += 1
        outer = context.deadline
        clock = _Clock(self, context)
        if context.request_type == "stt":
            context.input_data["audio"] = _Audio(context.input_data["audio"], clock)
        else:
            clock.begin()
        results = call_next(context)
        try:
            while clock.runs:
                result = await clock.next(results)
                if result is END:
                    return
                yield result
            async for result in results:
                yield result
        finally:
            context.deadline = outer
            await results.aclose()

    def _late(self, context: RequestContext, seconds: float) -> EngineTimeoutError:
        self._timed_out += 1
        return EngineTimeoutError(context.engine, seconds, request_id=context.request_id)


class _Clock:
    """The time of one stream."""

    __slots__ = (
        "_asked",
        "_context",
        "_limit",
        "_next",
        "_scope",
        "_timeout",
        "_waiting",
        "_whole",
    )

    def __init__(self, timeout: TimeoutMiddleware, context: RequestContext) -> None:
        self._timeout = timeout
        self._context = context
        self._asked = False  # for anything yet
        self._next = timeout._first  # s for the next result
        self._waiting = True  # for the end of the audio: the clocks do not run yet
        self._whole = _NEVER  # for the call as a whole
        if context.deadline < inf:
            self._whole = _Limit(context.deadline, context.remaining())
        self._limit = _NEVER  # for the wait going on
        self._scope: CancelScope | None = None  # of the wait going on

    @property
    def runs(self) -> bool:
        """Whether anything limits, or may yet limit, the results to come."""
        return (
            self._next < inf
            or self._timeout._between < inf
            or self._whole.deadline < inf
            or (self._waiting and self._timeout._total < inf)
        )

    def begin(self) -> None:
        """The engine has all it needs."""
        self._waiting = False
        total = self._timeout._total
        if total < inf:
            self._whole = min(self._whole, _Limit(current_time() + total, total))
            self._context.deadline = self._whole.deadline
        if self._scope is not None:
            self._limit = self._due(current_time())
            self._scope.deadline = self._limit.deadline

    async def next(self, results: AsyncGenerator[Any]) -> Any:
        """The next result or `END`, in time."""
        now = current_time()
        self._limit = self._due(now)
        if self._limit.deadline <= now and not self._asked:
            raise self._timeout._late(self._context, self._limit.seconds)
        self._asked = True
        result: Any = END
        # Past its deadline, a stream still gives what is there already, if only its end.
        with CancelScope(deadline=self._limit.deadline) as scope:
            self._scope = scope
            try:
                result = await first_result(results)
            finally:
                self._scope = None
        if scope.cancelled_caught:
            raise self._timeout._late(self._context, self._limit.seconds)
        self._next = self._timeout._between
        return result

    def _due(self, now: float) -> _Limit:
        if self._waiting or self._next == inf:
            return self._whole
        return min(self._whole, _Limit(now + self._next, self._next))


class _Audio:
    """The caller's audio, whose end begins the clocks."""

    __slots__ = ("_chunks", "_clock")

    def __init__(self, chunks: AsyncIterable[AudioData], clock: _Clock) -> None:
        self._chunks = aiter(chunks)
        self._clock = clock

    def __aiter__(self) -> _Audio:
        return self

    async def __anext__(self) -> AudioData:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            if self._clock._waiting:
                self._clock.begin()
            raise
