"""What an analytics store is, and the questions that all of them answer alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import inf
from types import TracebackType
from typing import Final, Protocol, TypeVar, runtime_checkable

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from typing_extensions import Self, Unpack

from ..instrumentation import CallDetails, Details
from ._answers import (
    DAY,
    HOUR,
    ErrorCount,
    Filter,
    Measure,
    Percentiles,
    Period,
    Selection,
    Trend,
    TrendSpans,
    Usage,
    UsageOf,
    checked_limit,
    checked_ranks,
)

__all__ = ["AnalyticsStore", "Answers", "Queries", "limiter"]

T = TypeVar("T")

_MAX_READERS: Final = 4  # threads of one event loop that answer questions at the same time
_RANKS: Final = (50.0, 90.0, 95.0, 99.0)  # percent
_HOURS: Final = 7 * 24
_DAYS: Final = 366


@runtime_checkable
class AnalyticsStore(Protocol):
    """Keeps calls that ended, and answers questions about them.

    It is an `Instrumentation`: telling it never waits and never fails, however much comes.

    Answers are values of that moment; asking changes nothing, and no event loop is held up
    by it. Each question may be narrowed by a `Selection`: ``since`` and ``until`` (when calls
    started, in seconds since the epoch, the end not included), ``request_type`` and
    ``engine``. Hours and days are those of UTC. A nonsensical question is a ValueError.
    """

    def __call__(self, details: Details, /) -> None:
        """Keep a call. What is no call is not kept."""
        ...

    async def usage(self, **only: Unpack[Selection]) -> Usage:
        """How much was asked for, in all."""
        ...

    async def engines(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[UsageOf, ...]:
        """The usage of each engine: the most used first, and of those the first by name."""
        ...

    async def voices(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[UsageOf, ...]:
        """The same for each voice; calls without one are in none."""
        ...

    async def formats(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[UsageOf, ...]:
        """The same for each audio format."""
        ...

    async def languages(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[UsageOf, ...]:
        """The same for each language."""
        ...

    async def errors(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[ErrorCount, ...]:
        """How many calls failed with each class of error: the most frequent first."""
        ...

    async def hourly(self, limit: int = _HOURS, **only: Unpack[Selection]) -> tuple[Period, ...]:
        """The last ``limit`` hours in which there were calls, in their order."""
        ...

    async def daily(self, limit: int = _DAYS, **only: Unpack[Selection]) -> tuple[Period, ...]:
        """The last ``limit`` days in which there were calls, in their order."""
        ...

    async def percentiles(
        self,
        measure: Measure = "duration",
        ranks: Sequence[float] = _RANKS,
        **only: Unpack[Selection],
    ) -> Percentiles:
        """How a measure is distributed; ``ranks`` are percents."""
        ...

    async def trend(self, days: int = 7, **only: Unpack[Selection]) -> Trend:
        """The last ``days`` days up to ``until`` (now), beside as many days before them."""
        ...

    async def recent(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[CallDetails, ...]:
        """The calls that were told of last, the last first, without what is not kept."""
        ...

    async def flush(self) -> None:
        """Wait until questions are answered with all that was told so far."""
        ...

    async def aclose(self) -> None:
        """Keep what was told so far for good, and take no more."""
        ...

    async def __aenter__(self) -> Self:
        """Open it. What was closed stays so: that is a RuntimeError."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Answers(Protocol):
    """Answers questions about a state of the events that does not change meanwhile. Blocks."""

    def usage(self, chosen: Filter) -> Usage: ...

    def by(self, fact: str, chosen: Filter, limit: int) -> tuple[UsageOf, ...]: ...

    def errors(self, chosen: Filter, limit: int) -> tuple[ErrorCount, ...]: ...

    def periods(self, length: float, chosen: Filter, limit: int) -> tuple[Period, ...]:
        """The last ``limit`` periods of ``length`` seconds that have calls, in their order."""
        ...

    def percentiles(
        self, measure: Measure, ranks: Sequence[float], chosen: Filter
    ) -> Percentiles: ...

    def recent(self, chosen: Filter, limit: int) -> tuple[CallDetails, ...]: ...


class Queries(ABC):
    """The questions of an `AnalyticsStore`, for one that has `Answers`."""

    def __init__(self, retention_days: float | None, clock: Callable[[], float]) -> None:
        if retention_days is not None and not 0 < retention_days < inf:
            raise ValueError(f"retention_days must be over 0, or None, not {retention_days!r}")
        self._retention = None if retention_days is None else retention_days * DAY
        self._clock = clock
        self._closed = False

    @abstractmethod
    async def _ask(self, question: Callable[[Answers], T]) -> T:
        """Have ``question`` answered in a worker thread."""

    @abstractmethod
    async def aclose(self) -> None:
        """Keep what was told so far for good, and take no more."""

    async def usage(self, **only: Unpack[Selection]) -> Usage:
        chosen = self._chosen(only)
        return await self._ask(lambda answers: answers.usage(chosen))

    async def engines(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[UsageOf, ...]:
        return await self._by("engine", limit, only)

    async def voices(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[UsageOf, ...]:
        return await self._by("voice", limit, only)

    async def formats(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[UsageOf, ...]:
        return await self._by("audio_format", limit, only)

    async def languages(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[UsageOf, ...]:
        return await self._by("language", limit, only)

    async def errors(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[ErrorCount, ...]:
        chosen = self._chosen(only)
        checked_limit(limit)
        return await self._ask(lambda answers: answers.errors(chosen, limit))

    async def hourly(self, limit: int = _HOURS, **only: Unpack[Selection]) -> tuple[Period, ...]:
        return await self._periods(HOUR, limit, only)

    async def daily(self, limit: int = _DAYS, **only: Unpack[Selection]) -> tuple[Period, ...]:
        return await self._periods(DAY, limit, only)

    async def percentiles(
        self,
        measure: Measure = "duration",
        ranks: Sequence[float] = _RANKS,
        **only: Unpack[Selection],
    ) -> Percentiles:
        chosen = self._chosen(only)
        ranks = checked_ranks(measure, ranks)
        return await self._ask(lambda answers: answers.percentiles(measure, ranks, chosen))

    async def trend(self, days: int = 7, **only: Unpack[Selection]) -> Trend:
        if only.get("since") is not None:
            raise ValueError("a trend begins `days` before `until`: it takes no since")
        chosen = self._chosen(only)
        spans = TrendSpans.of(days, self._clock() if chosen.until == inf else chosen.until)
        now, previous = chosen.during(*spans.now), chosen.during(*spans.previous)

        def answer(answers: Answers) -> Trend:
            return Trend(
                spans.filled(answers.periods(DAY, now, days)),
                usage=answers.usage(now),
                previous=answers.usage(previous),
            )

        return await self._ask(answer)

    async def recent(self, limit: int = 100, **only: Unpack[Selection]) -> tuple[CallDetails, ...]:
        chosen = self._chosen(only)
        checked_limit(limit)
        return await self._ask(lambda answers: answers.recent(chosen, limit))

    async def __aenter__(self) -> Self:
        if self._closed:
            raise RuntimeError("this store was closed and takes no more: make another")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _oldest(self) -> float:
        """From when on events are kept."""
        return -inf if self._retention is None else self._clock() - self._retention

    def _chosen(self, only: Selection) -> Filter:
        # What is too old may not be deleted yet; it is in no answer any more.
        return Filter.of(only, self._oldest())

    async def _by(self, fact: str, limit: int, only: Selection) -> tuple[UsageOf, ...]:
        chosen = self._chosen(only)
        checked_limit(limit)
        return await self._ask(lambda answers: answers.by(fact, chosen, limit))

    async def _periods(self, length: float, limit: int, only: Selection) -> tuple[Period, ...]:
        chosen = self._chosen(only)
        checked_limit(limit)
        return await self._ask(lambda answers: answers.periods(length, chosen, limit))


_limiters = RunVar[CapacityLimiter]("realtime_stts_analytics_threads")


def limiter() -> CapacityLimiter:
    """The readers' own: many questions must not use up everybody's threads."""
    found = _limiters.get(None)
    if found is None:
        found = CapacityLimiter(_MAX_READERS)
        _limiters.set(found)
    return found
