"""Analytics that last: every call that ended, kept and asked about.

    async with SQLiteAnalyticsStore("analytics.db") as store:
        stt = Chain(AnalyticsMiddleware(store=store)).wrap(engine)
        ...
        print(await store.voices(request_type="tts"))

An `AnalyticsStore` is an `Instrumentation`: whatever tells of calls can tell it.
"""

from ._answers import (
    ErrorCount,
    Measure,
    Percentiles,
    Period,
    Selection,
    StoreStatistics,
    Trend,
    Usage,
    UsageOf,
)
from ._memory import InMemoryAnalyticsStore
from ._sqlite import SQLiteAnalyticsStore
from ._store import AnalyticsStore

__all__ = [
    "AnalyticsStore",
    "ErrorCount",
    "InMemoryAnalyticsStore",
    "Measure",
    "Percentiles",
    "Period",
    "SQLiteAnalyticsStore",
    "Selection",
    "StoreStatistics",
    "Trend",
    "Usage",
    "UsageOf",
]
