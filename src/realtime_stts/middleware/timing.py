"""Timing: how long calls take, and whose time it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from threading import Lock
from typing import Any, NamedTuple

from .. import _html
from ._context import RequestContext, Status, outcome
from ._observer import Observation, Observer

__all__ = ["Distribution", "TimingMiddleware", "TimingStatistics"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """Milliseconds, over the calls that were kept; all 0.0 while there are none.

    Percentiles are by nearest rank: always a time that was measured.
    """

    average: float = 0.0
    min: float = 0.0
    max: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p95: float = 0.0
    p99: float = 0.0

    @classmethod
    def of(cls, times: Iterable[float]) -> Distribution:
        ordered = sorted(times)
        if not ordered:
            return cls()
        percentiles = (_percentile(ordered, rank) for rank in (50, 90, 95, 99))
        return cls(sum(ordered) / len(ordered), ordered[0], ordered[-1], *percentiles)


def _percentile(ordered: Sequence[float], rank: float) -> float:
    return ordered[max(ceil(rank / 100 * len(ordered)), 1) - 1]


@dataclass(frozen=True, slots=True)
class TimingStatistics:
    """Counts since the start, and times of the last calls."""

    count: int
    errors: int
    cancelled: int  # withdrawn by the caller
    slow: int
    total: Distribution  # from the call to its end
    processing: Distribution  # the same without what the caller took between results
    engine: Distribution  # waiting for the engine
    overhead: Distribution  # processing without the engine: what the chain costs
    time_to_first_result: Distribution  # of the calls that had one

    def _repr_html_(self) -> str:
        return _html.never_raising(self._as_html, self)

    def _as_html(self) -> str:
        names = ("total", "processing", "engine", "overhead", "time_to_first_result")
        rows = [(name.replace("_", " "), getattr(self, name)) for name in names]
        calls = f"{self.count} call{'' if self.count == 1 else 's'}"
        told = (f"{self.errors} failed", f"{self.cancelled} withdrawn", f"{self.slow} slow")
        return _html.statistics(rows, calls, *told)


class _Times(NamedTuple):
    """One call, in ms."""

    total: float
    processing: float
    engine: float
    first_result: float | None

    @property
    def overhead(self) -> float:
        # Less than none where a middleware has several engines work at the same time.
        return max(self.processing - self.engine, 0.0)


class _Record:
    """What is kept of the calls of one type."""

    __slots__ = ("cancelled", "count", "errors", "slow", "times")

    def __init__(self, history: int) -> None:
        self.count = self.errors = self.cancelled = self.slow = 0
        self.times: deque[_Times] = deque(maxlen=history)


class TimingMiddleware(Observer):
    """Times each call, failed and withdrawn ones too, and keeps statistics.

    Wherever it stands, a call counts from where it entered the chain until all inside this
    layer is closed; what the caller does between results is its own time. So first in the
    chain it sees every layer's cost.

    Leaves in ``context.metrics``: ``processing_duration_ms``, ``total_duration_ms``,
    ``engine_duration_ms``, ``slow_request``, ``time_to_first_result_ms`` if there was one,
    and ``error_duration_ms`` if the call failed.

    One instance may serve any number of event loops and threads: a lock guards the numbers.

    Args:
        name: What statistics and logs call it.
        slow_threshold: Seconds of processing from which a call is slow.
        history: Calls of each type whose times are kept; at least 1.
    """

    def __init__(
        self, name: str = "timing", slow_threshold: float = 5.0, history: int = 1000
    ) -> None:
        if history < 1:
            raise ValueError(f"history must be at least 1, not {history}")
        super().__init__(name)
        self.slow_threshold = slow_threshold
        self._history = history
        self._records: dict[str, _Record] = {}
        self._last = 0.0  # ms
        self._lock = Lock()

    def observe(self, context: RequestContext) -> Observation:
        return _Timed(context, self)

    def statistics(self, request_type: str | None = None) -> TimingStatistics:
        """Of all calls, or of those of one type: ``stt``, ``tts`` or ``response``."""
        with self._lock:
            records = [
                record
                for type_, record in self._records.items()
                if request_type is None or type_ == request_type
            ]
            times = [times for record in records for times in record.times]
            count = sum(record.count for record in records)
            errors = sum(record.errors for record in records)
            cancelled = sum(record.cancelled for record in records)
            slow = sum(record.slow for record in records)
        return TimingStatistics(
            count,
            errors,
            cancelled,
            slow,
            total=Distribution.of(each.total for each in times),
            processing=Distribution.of(each.processing for each in times),
            engine=Distribution.of(each.engine for each in times),
            overhead=Distribution.of(each.overhead for each in times),
            time_to_first_result=Distribution.of(
                each.first_result for each in times if each.first_result is not None
            ),
        )

    def get_statistics(self) -> dict[str, float]:
        """The contract's summary of `statistics`: ``request_count`` and, once there is a
        call, ``average_``, ``min_``, ``max_`` and ``recent_duration_ms`` (the last one's).
        """
        statistics = self.statistics()
        if not statistics.count:
            return {"request_count": 0}
        return {
            "request_count": statistics.count,
            "average_duration_ms": statistics.processing.average,
            "min_duration_ms": statistics.processing.min,
            "max_duration_ms": statistics.processing.max,
            "recent_duration_ms": self._last,
        }

    def get_percentile_stats(
        self, percentiles: Sequence[float] = (50, 90, 95, 99)
    ) -> dict[str, Any]:
        """The contract's ``total_requests`` and ``percentiles_ms`` (``p50`` and so on)."""
        with self._lock:
            count = sum(record.count for record in self._records.values())
            times = sorted(
                times.processing for record in self._records.values() for times in record.times
            )
        found = {f"p{rank:g}": _percentile(times, rank) for rank in percentiles if times}
        return {"total_requests": count, "percentiles_ms": found}

    def _add(self, request_type: str, ended: Status, slow: bool, times: _Times) -> None:
        with self._lock:
            record = self._records.get(request_type)
            if record is None:
                record = self._records[request_type] = _Record(self._history)
            record.count += 1
            record.errors += ended == "error"
            record.cancelled += ended == "cancelled"
            record.slow += slow
            record.times.append(times)
            self._last = times.processing


class _Timed:
    """Times one call."""

    __slots__ = ("_context", "_first", "_timing")

    def __init__(self, context: RequestContext, timing: TimingMiddleware) -> None:
        self._context = context
        self._timing = timing
        self._first: float | None = None

    def result(self, result: Any) -> None:
        if self._first is None:
            self._first = self._context.duration_ms

    def end(self, error: BaseException | None) -> None:
        context, timing = self._context, self._timing
        ended = outcome(error)
        total = context.duration_ms
        processing = total - context.consumer_time * 1e3
        engine = context.engine_time * 1e3
        slow = processing >= timing.slow_threshold * 1e3
        metrics = context.metrics
        metrics["total_duration_ms"] = total
        metrics["processing_duration_ms"] = processing
        metrics["engine_duration_ms"] = engine
        metrics["slow_request"] = slow
        if self._first is not None:
            metrics["time_to_first_result_ms"] = self._first
        if ended == "error":
            metrics["error_duration_ms"] = processing
        timing._add(
            context.request_type, ended, slow, _Times(total, processing, engine, self._first)
        )
