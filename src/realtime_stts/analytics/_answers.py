"""What a store is asked and what it answers: values, and the arithmetic of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from math import ceil, inf, isfinite
from typing import Final, Literal, get_args

from typing_extensions import TypedDict

from ._event import Event
from ._event import name as as_kept

__all__ = [
    "DAY",
    "HOUR",
    "MEASURES",
    "ErrorCount",
    "Filter",
    "Measure",
    "Percentiles",
    "Period",
    "Selection",
    "StoreStatistics",
    "Trend",
    "TrendSpans",
    "Usage",
    "UsageOf",
    "checked_limit",
    "checked_ranks",
    "nearest_rank",
]

HOUR: Final = 3600.0  # s
DAY: Final = 24 * HOUR

# What percentiles are asked for; in s, but for the real-time factor.
Measure = Literal[
    "duration", "time_to_first_result", "engine_time", "queue_wait", "audio_seconds", "rtf"
]
MEASURES: Final = get_args(Measure)


class Selection(TypedDict, total=False):
    """Which calls a question is about: all, but for what is said."""

    since: float | None  # started then or later; s since the epoch
    until: float | None  # started before then
    request_type: str | None  # "stt", "tts" or "response"
    engine: str | None  # by name


@dataclass(frozen=True, slots=True)
class Usage:
    """How much was asked for, and how it ended."""

    calls: int = 0
    errors: int = 0
    cancelled: int = 0  # withdrawn by the caller: not an error
    audio_seconds: float = 0.0  # heard by STT or made by TTS
    characters: int = 0  # written by STT, spoken by TTS or answered

    @property
    def error_rate(self) -> float:
        """Percent of the calls that failed."""
        return 100.0 * self.errors / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class UsageOf:
    """The usage of one engine, voice, format or language."""

    name: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Period:
    """The usage of one hour or day, in UTC."""

    start: float  # s since the epoch
    usage: Usage

    @property
    def date(self) -> datetime:
        """``start`` as a date, in UTC."""
        return datetime.fromtimestamp(self.start, timezone.utc)


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """How many calls failed with one class of error."""

    error_type: str
    calls: int
    last_at: float  # when the last of them started; s since the epoch


@dataclass(frozen=True, slots=True)
class Percentiles:
    """How a measure is distributed over the calls that have it.

    By nearest rank: each value is one that was measured. Without calls there are none.
    """

    measure: Measure
    calls: int
    average: float | None
    min: float | None
    max: float | None
    values: dict[float, float]  # by rank


@dataclass(frozen=True, slots=True)
class Trend:
    """The last days, one by one and beside as many days before them."""

    days: tuple[Period, ...]  # every one, also without calls; the oldest first
    usage: Usage  # of these days, the last up to the moment that was asked about
    previous: Usage  # of the same span, that many days earlier

    def change(
        self,
        fact: Literal["calls", "errors", "cancelled", "audio_seconds", "characters"] = "calls",
    ) -> float | None:
        """Percent more (or less, under 0) than before; None if there was nothing before."""
        before: float = getattr(self.previous, fact)
        now: float = getattr(self.usage, fact)
        return 100.0 * (now - before) / before if before else None


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """What became of the events that a store was told of, since it was made."""

    queued: int  # not yet written
    written: int
    dropped: int  # the queue was full, or the store was closed
    failed: int  # could not be written, or had facts that cannot be kept


@dataclass(frozen=True, slots=True)
class Filter:
    """A checked `Selection`."""

    since: float = -inf
    until: float = inf
    request_type: str | None = None
    engine: str | None = None

    @classmethod
    def of(cls, selection: Selection, oldest: float = -inf) -> Filter:
        """What ``selection`` means for a store that keeps nothing from before ``oldest``.

        Raises:
            ValueError: A time is no number, or ``request_type`` or ``engine`` no name.
            TypeError: There is something else in it.
        """
        given = {name: value for name, value in selection.items() if value is not None}
        for name in ("since", "until"):
            moment = given.get(name, 0.0)
            if not isinstance(moment, (int, float)) or not isfinite(moment):
                raise ValueError(f"{name} must be seconds since the epoch, not {moment!r}")
        for name in ("request_type", "engine"):
            if name in given:
                if not isinstance(given[name], str):
                    raise ValueError(f"{name} must be a name, not {given[name]!r}")
                given[name] = as_kept(given[name])
        chosen = cls(**given)  # type: ignore[arg-type]
        return cls(max(chosen.since, oldest), chosen.until, chosen.request_type, chosen.engine)

    def during(self, since: float, until: float) -> Filter:
        """The same for another time; never for one before its own."""
        return Filter(max(since, self.since), until, self.request_type, self.engine)

    def includes(self, event: Event) -> bool:
        return (
            self.since <= event.started_at < self.until
            and self.request_type in (None, event.request_type)
            and self.engine in (None, event.engine)
        )


@dataclass(frozen=True, slots=True)
class TrendSpans:
    """The days of a trend."""

    first: int  # days since the epoch
    n_days: int
    until: float

    @classmethod
    def of(cls, n_days: int, until: float) -> TrendSpans:
        """The ``n_days`` days in UTC of which the last is that of ``until``.

        Raises:
            ValueError: There is less than a day.
        """
        if n_days < 1:
            raise ValueError(f"a trend is over at least 1 day, not {n_days}")
        return cls(ceil(until / DAY) - n_days, n_days, until)

    @property
    def now(self) -> tuple[float, float]:
        return self.first * DAY, self.until

    @property
    def previous(self) -> tuple[float, float]:
        return (self.first - self.n_days) * DAY, self.until - self.n_days * DAY

    def filled(self, periods: Iterable[Period]) -> tuple[Period, ...]:
        """Every day, with those in ``periods`` in their places."""
        found = {period.start: period for period in periods}
        starts = [(self.first + n) * DAY for n in range(self.n_days)]
        return tuple(found.get(start) or Period(start, Usage()) for start in starts)


def nearest_rank(rank: float, n: int) -> int:
    """The index of a percentile among ``n`` ordered values."""
    return max(ceil(rank / 100 * n), 1) - 1


def checked_ranks(measure: str, ranks: Sequence[float]) -> tuple[float, ...]:
    """``ranks``, if they are percents of a known measure.

    Raises:
        ValueError: They are not.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, not {measure!r}")
    for rank in ranks:
        if not 0 < rank <= 100:
            raise ValueError(f"a rank is over 0 and at most 100 percent, not {rank!r}")
    return tuple(ranks)


def checked_limit(limit: int) -> int:
    """``limit``, if it is a number of things.

    Raises:
        ValueError: It is less than 1.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit!r}")
    return limit
