"""Middleware: code around any engine's calls, one-shot and streaming alike.

    timing = TimingMiddleware()
    stt = Chain(timing, LoggingMiddleware()).wrap(engine)

`Chain` links them around an engine, and `Middleware` says what one is; `Observer` is the
short way to one that only watches.
"""

from __future__ import annotations

from ._call import serve
from ._chain import Chain
from ._context import RequestContext
from ._middleware import CallNext, Middleware
from ._observer import Observation, Observer
from ._process import ContextMiddleware, ProcessMiddleware
from .analytics import AnalyticsMiddleware, AnalyticsStatistics
from .logging import LoggingMiddleware
from .timing import Distribution, TimingMiddleware, TimingStatistics

__all__ = [
    "AnalyticsMiddleware",
    "AnalyticsStatistics",
    "CallNext",
    "Chain",
    "ContextMiddleware",
    "Distribution",
    "LoggingMiddleware",
    "Middleware",
    "Observation",
    "Observer",
    "ProcessMiddleware",
    "RequestContext",
    "TimingMiddleware",
    "TimingStatistics",
    "serve",
]
