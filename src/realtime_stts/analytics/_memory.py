"""Analytics in memory: the last events, gone with the process."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from time import time
from typing import TypeVar

from anyio import to_thread

from ..instrumentation import CallDetails, Details
from ._answers import (
    ErrorCount,
    Filter,
    Measure,
    Percentiles,
    Period,
    StoreStatistics,
    Usage,
    UsageOf,
    nearest_rank,
)
from ._event import Event, recorder
from ._store import Answers, Queries, limiter

__all__ = ["InMemoryAnalyticsStore"]

T = TypeVar("T")


class InMemoryAnalyticsStore(Queries):
    """An `AnalyticsStore` that remembers the last events, for as long as the process lives.

    One instance may serve any number of event loops and threads.

    Args:
        max_events: How many; the oldest make room for new ones. 10 000 take some 6 MB.
        retention_days: Events that started longer ago are in no answer; None for no limit.
        voices: Whether voices are kept. They are personal data: see `RedactionMiddleware`.
        identifiers: Whether requests' and sessions' ids are kept.
        subjects: Whether it is kept who asked.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        max_events: int = 10_000,
        *,
        retention_days: float | None = 30.0,
        voices: bool = True,
        identifiers: bool = False,
        subjects: bool = False,
        clock: Callable[[], float] = time,
    ) -> None:
        super().__init__(retention_days, clock)
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, not {max_events}")
        self._record = recorder(voices=voices, identifiers=identifiers, subjects=subjects)
        self._lock = Lock()
        self._events: deque[Event] = deque(maxlen=max_events)
        self._written = self._dropped = self._failed = 0

    def __call__(self, details: Details, /) -> None:
        if not isinstance(details, CallDetails):
            return
        try:
            event = self._record(details)
        except ValueError:
            event = None
        with self._lock:
            if self._closed:
                self._dropped += 1
            elif event is None:
                self._failed += 1
            else:
                self._events.append(event)
                self._written += 1

    def statistics(self) -> StoreStatistics:
        """What became of the events until now."""
        with self._lock:
            return StoreStatistics(0, self._written, self._dropped, self._failed)

    async def flush(self) -> None:
        pass

    async def aclose(self) -> None:
        self._closed = True

    async def _ask(self, question: Callable[[Answers], T]) -> T:
        with self._lock:
            events = list(self._events)
        return await to_thread.run_sync(question, _EventAnswers(events), limiter=limiter())


class _EventAnswers:
    """Answers from a list of events, in the order in which they were told."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events

    def usage(self, chosen: Filter) -> Usage:
        return _usage(filter(chosen.includes, self._events))

    def by(self, fact: str, chosen: Filter, limit: int) -> tuple[UsageOf, ...]:
        groups: defaultdict[str, list[Event]] = defaultdict(list)
        for event in filter(chosen.includes, self._events):
            if name := getattr(event, fact):
                groups[name].append(event)
        found = [UsageOf(name, _usage(events)) for name, events in groups.items()]
        found.sort(key=lambda each: (-each.usage.calls, each.name))
        return tuple(found[:limit])

    def errors(self, chosen: Filter, limit: int) -> tuple[ErrorCount, ...]:
        calls: Counter[str] = Counter()
        last: dict[str, float] = {}
        for event in filter(chosen.includes, self._events):
            if kind := event.error_type:
                calls[kind] += 1
                last[kind] = max(event.started_at, last.get(kind, 0.0))
        found = [ErrorCount(kind, n, last[kind]) for kind, n in calls.items()]
        found.sort(key=lambda each: (-each.calls, each.error_type))
        return tuple(found[:limit])

    def periods(self, length: float, chosen: Filter, limit: int) -> tuple[Period, ...]:
        groups: defaultdict[int, list[Event]] = defaultdict(list)
        for event in filter(chosen.includes, self._events):
            groups[int(event.started_at / length)].append(event)
        return tuple(Period(n * length, _usage(groups[n])) for n in sorted(groups)[-limit:])

    def percentiles(self, measure: Measure, ranks: Sequence[float], chosen: Filter) -> Percentiles:
        ordered = sorted(
            value
            for event in filter(chosen.includes, self._events)
            if (value := getattr(event, measure)) is not None
        )
        n = len(ordered)
        if not n:
            return Percentiles(measure, 0, None, None, None, {})
        values = {rank: ordered[nearest_rank(rank, n)] for rank in ranks}
        return Percentiles(measure, n, sum(ordered) / n, ordered[0], ordered[-1], values)

    def recent(self, chosen: Filter, limit: int) -> tuple[CallDetails, ...]:
        found: list[CallDetails] = []
        for event in filter(chosen.includes, reversed(self._events)):
            found.append(event.details())
            if len(found) == limit:
                break
        return tuple(found)


def _usage(events: Iterable[Event]) -> Usage:
    calls = errors = cancelled = characters = 0
    audio_seconds = 0.0
    for event in events:
        calls += 1
        errors += event.outcome == "error"
        cancelled += event.outcome == "cancelled"
        audio_seconds += event.audio_seconds
        characters += event.characters
    return Usage(calls, errors, cancelled, audio_seconds, characters)
