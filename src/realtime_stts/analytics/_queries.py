"""The same questions, answered in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from sqlite3 import Connection
from typing import Any, Final

from ..instrumentation import CallDetails
from ._answers import (
    ErrorCount,
    Filter,
    Measure,
    Percentiles,
    Period,
    Usage,
    UsageOf,
    nearest_rank,
)
from ._event import Event

__all__ = ["SQLAnswers"]

_COLUMNS: Final = ", ".join(Event._fields)
_USAGE: Final = (
    "COUNT(*), COALESCE(SUM(outcome = 'error'), 0), COALESCE(SUM(outcome = 'cancelled'), 0), "
    "TOTAL(audio_seconds), COALESCE(SUM(characters), 0)"
)


class SQLAnswers:
    """Answers from a database. Its transaction is the state of the events that is asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def usage(self, chosen: Filter) -> Usage:
        ((*usage,),) = self._rows(f"SELECT {_USAGE} FROM calls", chosen)
        return Usage(*usage)

    def by(self, fact: str, chosen: Filter, limit: int) -> tuple[UsageOf, ...]:
        rows = self._rows(
            f"SELECT {fact}, {_USAGE} FROM calls",
            chosen,
            f"{fact} != ''",  # and so not NULL either
            f"GROUP BY {fact} ORDER BY COUNT(*) DESC, {fact} LIMIT {limit:d}",
        )
        return tuple(UsageOf(name, Usage(*usage)) for name, *usage in rows)

    def errors(self, chosen: Filter, limit: int) -> tuple[ErrorCount, ...]:
        rows = self._rows(
            "SELECT error_type, COUNT(*), MAX(started_at) FROM calls",
            chosen,
            "error_type != ''",
            f"GROUP BY error_type ORDER BY COUNT(*) DESC, error_type LIMIT {limit:d}",
        )
        return tuple(ErrorCount(*row) for row in rows)

    def periods(self, length: float, chosen: Filter, limit: int) -> tuple[Period, ...]:
        rows = self._rows(
            f"SELECT CAST(started_at / {length!r} AS INTEGER) AS period, {_USAGE} FROM calls",
            chosen,
            then=f"GROUP BY period ORDER BY period DESC LIMIT {limit:d}",
        )
        return tuple(Period(n * length, Usage(*usage)) for n, *usage in reversed(rows))

    def percentiles(self, measure: Measure, ranks: Sequence[float], chosen: Filter) -> Percentiles:
        ((n, average, low, high),) = self._rows(
            f"SELECT COUNT({measure}), AVG({measure}), MIN({measure}), MAX({measure}) FROM calls",
            chosen,
        )
        # All ranks from one sort. An index for each measure would do without it, and make
        # writing, which is always, six times as slow for asking, which is rare.
        wanted = {rank: nearest_rank(rank, n) + 1 for rank in ranks} if n else {}
        found = dict(
            self._rows(
                "SELECT place, value FROM (SELECT"
                f" ROW_NUMBER() OVER (ORDER BY {measure}) AS place, {measure} AS value FROM calls",
                chosen,
                f"{measure} IS NOT NULL",
                f") WHERE place IN ({', '.join(map(str, wanted.values()))})",
            )
        )
        values = {rank: found[place] for rank, place in wanted.items()}
        return Percentiles(measure, n, average, low, high, values)

    def recent(self, chosen: Filter, limit: int) -> tuple[CallDetails, ...]:
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM calls", chosen, then=f"ORDER BY id DESC LIMIT {limit:d}"
        )
        return tuple(Event(*row).details() for row in rows)

    def _rows(
        self, select: str, chosen: Filter, also: str | None = None, then: str = ""
    ) -> list[Any]:
        """What is selected. Values go in as parameters; the rest is this module's own."""
        conditions = {
            "started_at >= ?": None if chosen.since == -inf else chosen.since,
            "started_at < ?": None if chosen.until == inf else chosen.until,
            "request_type = ?": chosen.request_type,
            "engine = ?": chosen.engine,
        }
        given = {sql: value for sql, value in conditions.items() if value is not None}
        where = " AND ".join([*given, *([also] if also else [])])
        sql = f"{select} {'WHERE ' if where else ''}{where} {then}"
        return self._connection.execute(sql, tuple(given.values())).fetchall()
