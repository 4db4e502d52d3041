"""Analytics: what is asked for, how much of it, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from ._context import RequestContext, outcome
from ._observer import Observation, Observer, Usage
from .instrumentation import Measured

if TYPE_CHECKING:
    from ..analytics import AnalyticsStore

__all__ = ["AnalyticsMiddleware", "AnalyticsStatistics"]

_MAX_KEY: Final = 64  # characters
_OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class AnalyticsStatistics:
    """A copy of the counts at one moment; it changes nothing and nothing changes it.

    In each dictionary, keys beyond those that there is room for are together in "other".
    """

    requests: int
    errors: int
    cancelled: int  # withdrawn by the caller: not an error
    audio_seconds: float  # heard by STT or made by TTS; encoded audio is not counted
    characters: int  # written by STT, spoken by TTS or answered
    request_types: dict[str, int]
    error_types: dict[str, int]
    engines: dict[str, int]
    voices: dict[str, int]
    formats: dict[str, int]
    languages: dict[str, int]
    hours: dict[str, int]  # requests, by UTC hour: "2026-11-23_18"

    @property
    def error_rate(self) -> float:
        """Percent of the requests that failed."""
        return 100.0 * self.errors / self.requests if self.requests else 0.0


class AnalyticsMiddleware(Observer):
    """Counts calls by type, engine, voice, format, language, error and hour.

    Whatever clients send, it takes bounded memory: each dictionary has a number of keys,
    and a key 64 characters, the unprintable ones escaped. Nothing of what was said is kept.

    With a ``store`` each call is told to it as well: its answers are about more than counts,
    and may outlast the process. Who opens and closes the store is who made it.

    One instance may serve any number of event loops and threads: a lock guards the numbers.

    Args:
        name: What logs call it.
        max_keys: Voices, formats, languages and so on that are counted by name; at least 1.
        hours: How many hours back calls are counted by the hour; a week.
        store: What keeps the calls.
        pseudonymous: Whether voices, and who asked, are known by the pseudonyms of a
            `RedactionMiddleware` where there is one. False keeps their names here, though
            logs, metrics and traces see none.
    """

    def __init__(
        self,
        name: str = "analytics",
        max_keys: int = 100,
        hours: int = 7 * 24,
        *,
        store: AnalyticsStore | None = None,
        pseudonymous: bool = True,
    ) -> None:
        if max_keys < 1:
            raise ValueError(f"max_keys must be at least 1, not {max_keys}")
        if hours < 1:
            raise ValueError(f"hours must be at least 1, not {hours}")
        super().__init__(name)
        self.store = store
        self.pseudonymous = pseudonymous
        self._lock = Lock()
        self._requests = self._errors = self._cancelled = self._characters = 0
        self._audio_seconds = 0.0
        self._types = _Counts(max_keys)
        self._error_types = _Counts(max_keys)
        self._engines = _Counts(max_keys)
        self._voices = _Counts(max_keys)
        self._formats = _Counts(max_keys)
        self._languages = _Counts(max_keys)
        self._hours: dict[int, int] = {}  # by hours since the epoch
        self._max_hours = hours

    def observe(self, context: RequestContext) -> Observation:
        if self.store is None:
            return _Counted(context, self)
        return _Stored(context, self, self.store)

    def statistics(self) -> AnalyticsStatistics:
        """What was counted until now."""
        with self._lock:
            return AnalyticsStatistics(
                requests=self._requests,
                errors=self._errors,
                cancelled=self._cancelled,
                audio_seconds=self._audio_seconds,
                characters=self._characters,
                request_types=dict(self._types),
                error_types=dict(self._error_types),
                engines=dict(self._engines),
                voices=dict(self._voices),
                formats=dict(self._formats),
                languages=dict(self._languages),
                hours={_hour_name(hour): self._hours[hour] for hour in sorted(self._hours)},
            )

    def get_statistics(self) -> dict[str, Any]:
        """`statistics` under the contract's names, and what it has beyond them."""
        counted = self.statistics()
        return {
            "total_requests": counted.requests,
            "total_errors": counted.errors,
            "error_rate": counted.error_rate,
            "request_counts": counted.request_types,
            "error_counts": counted.error_types,
            "voice_usage": counted.voices,
            "format_usage": counted.formats,
            "total_cancelled": counted.cancelled,
            "engine_usage": counted.engines,
            "language_usage": counted.languages,
            "hourly_usage": counted.hours,
            "audio_seconds": counted.audio_seconds,
            "characters": counted.characters,
        }

    def _add(self, context: RequestContext, usage: Usage, error: BaseException | None) -> None:
        ended = outcome(error)
        voice = usage.voice
        pseudonym = context.pseudonym if self.pseudonymous else None
        if pseudonym is not None and voice and isinstance(voice, str):
            voice = pseudonym(voice)
        hour = int(context.start_time // 3600)
        with self._lock:
            self._requests += 1
            self._types.add(context.request_type)
            self._engines.add(context.engine)
            if ended == "error":
                self._errors += 1
                self._error_types.add(type(error).__name__)
            elif ended == "cancelled":
                self._cancelled += 1
            self._audio_seconds += usage.audio_seconds
            self._characters += usage.characters
            self._voices.add(voice)
            self._formats.add(usage.audio_format)
            self._languages.add(usage.language)
            self._hours[hour] = self._hours.get(hour, 0) + 1
            if len(self._hours) > self._max_hours:
                del self._hours[min(self._hours)]


def _hour_name(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, timezone.utc).strftime("%Y-%m-%d_%H")


class _Counts(dict[str, int]):
    """How often each key came, in a bounded number of bounded keys."""

    __slots__ = ("_max_keys",)

    def __init__(self, max_keys: int) -> None:
        super().__init__()
        self._max_keys = max_keys

    def add(self, key: object) -> None:
        """Count ``key``, which a client may have chosen: anything. None and "" are no key."""
        if not isinstance(key, str):
            if key is None:
                return
            key = type(key).__name__
        try:
            self[key] += 1
        except KeyError:
            if key:
                key = self._named(key)
                self[key] = self.get(key, 0) + 1

    def _named(self, key: str) -> str:
        key = repr(key[:_MAX_KEY])[1:-1][:_MAX_KEY]
        return key if key in self or len(self) < self._max_keys else _OTHER


class _Counted(Usage):
    """Counts one call."""

    __slots__ = ("_analytics", "_context")

    def __init__(self, context: RequestContext, analytics: AnalyticsMiddleware) -> None:
        super().__init__(context)
        self._context = context
        self._analytics = analytics

    def end(self, error: BaseException | None) -> None:
        self._analytics._add(self._context, self, error)


class _Stored(Measured):
    """Counts one call and tells the store of it."""

    __slots__ = ("_analytics",)

    def __init__(
        self, context: RequestContext, analytics: AnalyticsMiddleware, store: AnalyticsStore
    ) -> None:
        super().__init__(context, store, pseudonymous=analytics.pseudonymous)
        self._analytics = analytics

    def end(self, error: BaseException | None) -> None:
        self._analytics._add(self._context, self, error)
        super().end(error)
