"""What was asked for, how long it took, and what failed."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from realtime_stts.analytics import Usage as Counted
from realtime_stts.middleware import TimingMiddleware

from ..core.schemas import errors
from ..security import ServicesOf, requires

__all__ = ["router"]

router = APIRouter(tags=["analytics"], dependencies=[requires("manage")])

Measure = Literal[
    "duration", "time_to_first_result", "engine_time", "queue_wait", "audio_seconds", "rtf"
]

_KINDS: tuple[Literal["stt", "tts", "response"], ...] = ("stt", "tts", "response")
_LATEST = 1e11  # s since the epoch; in some three thousand years


class _Facts(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Usage(_Facts):
    """How much was asked for, and how it ended."""

    calls: int
    errors: int
    cancelled: int = Field(description="Withdrawn by the caller: no errors.")
    audio_seconds: float
    characters: int
    error_rate: float = Field(description="Percent.")


class UsageOf(_Facts):
    name: str
    usage: Usage


class ErrorCount(_Facts):
    error_type: str
    calls: int
    last_at: float = Field(description="Seconds since the epoch.")


class Period(_Facts):
    start: float = Field(description="Seconds since the epoch; hours and days are those of UTC.")
    usage: Usage


class Percentiles(BaseModel):
    """How a measure is distributed; in seconds, but for the real-time factor."""

    measure: Measure
    calls: int
    average: float | None
    min: float | None
    max: float | None
    values: dict[str, float] = Field(examples=[{"p50": 0.12, "p95": 0.3}])


class Trend(BaseModel):
    """The last days, and as many before them."""

    days: list[Period]
    usage: Usage
    previous: Usage
    change: dict[str, float | None] = Field(description="Percent; null if there was nothing.")


class Call(_Facts):
    """One call of an engine. There is no text of anybody's."""

    request_type: str
    engine: str
    outcome: str
    streaming: bool
    started_at: float
    duration: float
    request_id: str
    error_type: str | None
    time_to_first_result: float | None
    engine_time: float
    audio_seconds: float
    characters: int
    voice: str | None
    language: str | None
    audio_format: str | None
    queue_wait: float | None
    attempts: int
    cache: str | None
    rtf: float | None


class Performance(BaseModel):
    """How the chains around the engines are doing now."""

    timing: dict[str, dict[str, Any]] = Field(description="By kind of call; milliseconds.")
    middleware: dict[str, dict[str, dict[str, Any]]] = Field(
        description="By kind of call, what each layer counts: queue, cache, breaker, retries."
    )
    engines: dict[str, bool] = Field(description="Whether each is loaded.")
    conversations: dict[str, int]
    store: dict[str, int] = Field(description="What became of the events that were counted.")


def _selection(
    since: Annotated[float | None, Query(ge=0, le=_LATEST, allow_inf_nan=False)] = None,
    until: Annotated[float | None, Query(ge=0, le=_LATEST, allow_inf_nan=False)] = None,
    request_type: Literal["stt", "tts", "response"] | None = None,
    engine: Annotated[str | None, Query(max_length=128)] = None,
) -> dict[str, Any]:
    """Which calls: those that started from `since` until before `until`, s since the epoch."""
    return {"since": since, "until": until, "request_type": request_type, "engine": engine}


Only = Annotated[dict[str, Any], Depends(_selection)]
Limit = Annotated[int, Query(ge=1, le=10_000)]


@router.get("/api/analytics/usage", response_model=Usage, responses=errors())
async def usage(services: ServicesOf, only: Only) -> Any:
    """How much was asked for, in all."""
    return await services.analytics.usage(**only)


@router.get("/api/analytics/engines", response_model=list[UsageOf], responses=errors())
async def engines(services: ServicesOf, only: Only, limit: Limit = 100) -> Any:
    """The usage of each engine, the most used first."""
    return await services.analytics.engines(limit, **only)


@router.get("/api/analytics/voices", response_model=list[UsageOf], responses=errors())
async def voices(services: ServicesOf, only: Only, limit: Limit = 100) -> Any:
    """The usage of each voice, the most used first."""
    return await services.analytics.voices(limit, **only)


@router.get("/api/analytics/formats", response_model=list[UsageOf], responses=errors())
async def formats(services: ServicesOf, only: Only, limit: Limit = 100) -> Any:
    """The usage of each audio format, the most used first."""
    return await services.analytics.formats(limit, **only)


@router.get("/api/analytics/languages", response_model=list[UsageOf], responses=errors())
async def languages(services: ServicesOf, only: Only, limit: Limit = 100) -> Any:
    """The usage of each language, the most used first."""
    return await services.analytics.languages(limit, **only)


@router.get("/api/analytics/errors", response_model=list[ErrorCount], responses=errors())
async def errors_by_type(services: ServicesOf, only: Only, limit: Limit = 100) -> Any:
    """How many calls failed with each class of error, the most frequent first."""
    return await services.analytics.errors(limit, **only)


@router.get("/api/analytics/hourly", response_model=list[Period], responses=errors())
async def hourly(services: ServicesOf, only: Only, limit: Limit = 168) -> Any:
    """The last hours in which there were calls."""
    return await services.analytics.hourly(limit, **only)


@router.get("/api/analytics/daily", response_model=list[Period], responses=errors())
async def daily(services: ServicesOf, only: Only, limit: Limit = 366) -> Any:
    """The last days in which there were calls."""
    return await services.analytics.daily(limit, **only)


@router.get("/api/analytics/percentiles", responses=errors())
async def percentiles(
    services: ServicesOf,
    only: Only,
    measure: Measure = "duration",
    rank: Annotated[list[float] | None, Query(max_length=20)] = None,
) -> Percentiles:
    """How a measure is distributed; each rank is a percent, over 0 and up to 100."""
    ranks = rank or [50.0, 90.0, 95.0, 99.0]
    if not all(0 < each <= 100 for each in ranks):
        raise HTTPException(422, "A rank is over 0 and at most 100 percent.")
    found = await services.analytics.percentiles(measure, ranks, **only)
    return Percentiles(
        measure=found.measure,
        calls=found.calls,
        average=found.average,
        min=found.min,
        max=found.max,
        values={f"p{of:g}": value for of, value in found.values.items()},
    )


@router.get("/api/analytics/trend", responses=errors())
async def trend(
    services: ServicesOf, only: Only, days: Annotated[int, Query(ge=1, le=366)] = 7
) -> Trend:
    """The last days up to `until` (now), beside as many before them."""
    if only.pop("since") is not None:
        raise HTTPException(422, "A trend begins `days` before `until`: it takes no since.")
    found = await services.analytics.trend(days, **only)
    facts: tuple[Literal["calls", "errors", "audio_seconds", "characters"], ...] = (
        "calls",
        "errors",
        "audio_seconds",
        "characters",
    )
    return Trend(
        days=[Period(start=day.start, usage=_usage(day.usage)) for day in found.days],
        usage=_usage(found.usage),
        previous=_usage(found.previous),
        change={fact: found.change(fact) for fact in facts},
    )


@router.get("/api/analytics/recent", response_model=list[Call], responses=errors())
async def recent(services: ServicesOf, only: Only, limit: Limit = 100) -> Any:
    """The calls that ended last, the last first."""
    return await services.analytics.recent(limit, **only)


@router.get("/api/metrics/performance", responses=errors())
async def performance(services: ServicesOf) -> Performance:
    """How the chains around the engines are doing: times, queues, caches, breakers."""
    assembly = services.parts.assembly
    timing: dict[str, dict[str, Any]] = {}
    layers: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in _KINDS:
        layers[kind] = {}
        for layer in assembly.chain(kind):
            if isinstance(layer, TimingMiddleware):
                timing[kind] = asdict(layer.statistics(kind))
            elif (statistics := getattr(layer, "statistics", None)) is not None:
                layers[kind][getattr(layer, "name", type(layer).__name__)] = asdict(statistics())
    told = getattr(services.analytics, "statistics", None)
    return Performance(
        timing=timing,
        middleware=layers,
        engines={"stt": services.stt.model_loaded, "tts": services.tts.model_loaded},
        conversations={"active": services.seats.taken, "max": services.seats.total},
        store=asdict(told()) if told is not None else {},
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **errors(404),
    },
)
async def metrics(services: ServicesOf) -> Response:
    """For Prometheus; its scraper shows a token that permits *manage*."""
    if services.metrics is None:
        raise HTTPException(404, 'Install "realtime-stts[prometheus]" on the server for this.')
    from prometheus_client import generate_latest

    return Response(generate_latest(services.metrics), media_type="text/plain; version=0.0.4")


def _usage(counted: Counted) -> Usage:
    return Usage.model_validate(counted)
