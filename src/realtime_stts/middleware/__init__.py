"""Middleware: code around any engine's calls, one-shot and streaming alike.

    timing = TimingMiddleware()
    stt = Chain(timing, TimeoutMiddleware(first=2.0), RetryMiddleware()).wrap(engine)

`Chain` links them around an engine, and `Middleware` says what one is; `Observer` is the
short way to one that only watches. Each is imported once it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ._call import serve
    from ._chain import Chain
    from ._context import RequestContext
    from ._middleware import CallNext, Middleware
    from ._observer import Observation, Observer
    from ._process import ContextMiddleware, ProcessMiddleware
    from .analytics import AnalyticsMiddleware, AnalyticsStatistics
    from .audit import (
        AuditLog,
        AuditMiddleware,
        AuditRecord,
        AuditStatistics,
        FileAuditLog,
        Verification,
    )
    from .authentication import AuthenticationMiddleware, AuthenticationStatistics, Principal
    from .cache import CacheMiddleware, CacheStatistics, cache_key
    from .circuit_breaker import CircuitBreakerMiddleware, CircuitBreakerStatistics
    from .concurrency_limit import ConcurrencyLimitMiddleware, ConcurrencyLimitStatistics
    from .fallback import FallbackMiddleware, FallbackStatistics
    from .hallucination_guard import KNOWN_PHRASES, HallucinationGuardMiddleware
    from .instrumentation import InstrumentationMiddleware
    from .load_shed import LoadShedMiddleware, LoadShedStatistics
    from .logging import LoggingMiddleware
    from .loudness_match import LoudnessMatchMiddleware
    from .rate_limit import RateLimitMiddleware, RateLimitStatistics
    from .redaction import CARD, EMAIL, IBAN, PHONE, PersonalData, RedactionMiddleware
    from .retry import RetryBudget, RetryMiddleware, RetryStatistics
    from .silence_trim import SilenceTrimMiddleware
    from .speech_guard import SpeechGuardMiddleware
    from .text_normalizer import TextNormalizerMiddleware
    from .timeout import TimeoutMiddleware, TimeoutStatistics
    from .timing import Distribution, TimingMiddleware, TimingStatistics

_MODULES: Final = {
    "CARD": "redaction",
    "EMAIL": "redaction",
    "IBAN": "redaction",
    "PHONE": "redaction",
    "AnalyticsMiddleware": "analytics",
    "AnalyticsStatistics": "analytics",
    "AuditLog": "audit",
    "AuditMiddleware": "audit",
    "AuditRecord": "audit",
    "AuditStatistics": "audit",
    "AuthenticationMiddleware": "authentication",
    "AuthenticationStatistics": "authentication",
    "CacheMiddleware": "cache",
    "CacheStatistics": "cache",
    "CallNext": "_middleware",
    "Chain": "_chain",
    "CircuitBreakerMiddleware": "circuit_breaker",
    "CircuitBreakerStatistics": "circuit_breaker",
    "ConcurrencyLimitMiddleware": "concurrency_limit",
    "ConcurrencyLimitStatistics": "concurrency_limit",
    "ContextMiddleware": "_process",
    "Distribution": "timing",
    "FallbackMiddleware": "fallback",
    "FallbackStatistics": "fallback",
    "FileAuditLog": "audit",
    "HallucinationGuardMiddleware": "hallucination_guard",
    "KNOWN_PHRASES": "hallucination_guard",
    "InstrumentationMiddleware": "instrumentation",
    "LoadShedMiddleware": "load_shed",
    "LoadShedStatistics": "load_shed",
    "LoggingMiddleware": "logging",
    "LoudnessMatchMiddleware": "loudness_match",
    "Middleware": "_middleware",
    "Observation": "_observer",
    "Observer": "_observer",
    "PersonalData": "redaction",
    "Principal": "authentication",
    "ProcessMiddleware": "_process",
    "RateLimitMiddleware": "rate_limit",
    "RateLimitStatistics": "rate_limit",
    "RedactionMiddleware": "redaction",
    "RequestContext": "_context",
    "RetryBudget": "retry",
    "RetryMiddleware": "retry",
    "RetryStatistics": "retry",
    "SilenceTrimMiddleware": "silence_trim",
    "SpeechGuardMiddleware": "speech_guard",
    "TextNormalizerMiddleware": "text_normalizer",
    "TimeoutMiddleware": "timeout",
    "TimeoutStatistics": "timeout",
    "TimingMiddleware": "timing",
    "TimingStatistics": "timing",
    "Verification": "audit",
    "cache_key": "cache",
    "serve": "_call",
}

__all__ = [
    "CARD",
    "EMAIL",
    "IBAN",
    "KNOWN_PHRASES",
    "PHONE",
    "AnalyticsMiddleware",
    "AnalyticsStatistics",
    "AuditLog",
    "AuditMiddleware",
    "AuditRecord",
    "AuditStatistics",
    "AuthenticationMiddleware",
    "AuthenticationStatistics",
    "CacheMiddleware",
    "CacheStatistics",
    "CallNext",
    "Chain",
    "CircuitBreakerMiddleware",
    "CircuitBreakerStatistics",
    "ConcurrencyLimitMiddleware",
    "ConcurrencyLimitStatistics",
    "ContextMiddleware",
    "Distribution",
    "FallbackMiddleware",
    "FallbackStatistics",
    "FileAuditLog",
    "HallucinationGuardMiddleware",
    "InstrumentationMiddleware",
    "LoadShedMiddleware",
    "LoadShedStatistics",
    "LoggingMiddleware",
    "LoudnessMatchMiddleware",
    "Middleware",
    "Observation",
    "Observer",
    "PersonalData",
    "Principal",
    "ProcessMiddleware",
    "RateLimitMiddleware",
    "RateLimitStatistics",
    "RedactionMiddleware",
    "RequestContext",
    "RetryBudget",
    "RetryMiddleware",
    "RetryStatistics",
    "SilenceTrimMiddleware",
    "SpeechGuardMiddleware",
    "TextNormalizerMiddleware",
    "TimeoutMiddleware",
    "TimeoutStatistics",
    "TimingMiddleware",
    "TimingStatistics",
    "Verification",
    "cache_key",
    "serve",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
