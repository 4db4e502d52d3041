"""Metrics for Prometheus.

    metrics = PrometheusInstrumentation()
    stt = Chain(InstrumentationMiddleware(metrics)).wrap(engine)
    prometheus_client.start_http_server(9464)

No label is about a person: of what an `Instrumentation` is told, only operational facts are
used, and each label has a bounded number of values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from ..errors import MissingExtraError
from ..instrumentation import (
    TURN_STAGES,
    CallDetails,
    Details,
    LoadDetails,
    SessionDetails,
    TurnDetails,
)

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
except ImportError as exc:
    raise MissingExtraError("PrometheusInstrumentation", "prometheus") from exc

__all__ = ["METRICS", "Metric", "PrometheusInstrumentation"]

# s. What people feel is between 0.1 (at once), 0.2 (the usual gap between two speakers:
# Stivers et al., PNAS 2009), 1 (a pause that means something) and 10 (they give up); what
# works in the background takes up to minutes.
_LATENCY: Final = (
    *(0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0),
)
# Seconds of computing for a second of sound. Above 1 a conversation stutters; one GPU shared
# by n sessions needs less than 1/n.
_RTF: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 5.0)
# s. A model comes from memory in tenths, from disk in seconds, over a network in minutes.
_LOADING: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)

_OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, without the prefix of its name.

    Labels are fields of ``of`` by the same name; ``stage`` is one of the delays that
    `TurnDetails` divides its time to first audio into.
    """

    name: str
    help: str
    of: type[Details]
    labels: tuple[str, ...]
    buckets: tuple[float, ...] | None = None  # of a histogram; None: a counter


_CALL: Final = ("request_type", "engine")

METRICS: Final = (
    Metric(
        "calls",
        "Calls that have ended.",
        CallDetails,
        (*_CALL, "streaming", "outcome", "error_type"),
    ),
    Metric(
        "call_duration_seconds",
        "From a call until all of it is closed, without what its caller took between results.",
        CallDetails,
        (*_CALL, "streaming", "outcome"),
        _LATENCY,
    ),
    Metric(
        "time_to_first_result_seconds",
        "From a streaming call to its first result.",
        CallDetails,
        _CALL,
        _LATENCY,
    ),
    Metric(
        "real_time_factor",
        "Seconds of the engine for a second of audio, of completed calls.",
        CallDetails,
        (*_CALL, "streaming"),
        _RTF,
    ),
    Metric("engine_seconds", "Waiting for the engine.", CallDetails, _CALL),
    Metric("audio_seconds", "Audio heard by STT or made by TTS.", CallDetails, _CALL),
    Metric("characters", "Characters written by STT, spoken or answered.", CallDetails, _CALL),
    Metric(
        "queue_wait_seconds",
        "In a waiting room, of calls that came to one.",
        CallDetails,
        _CALL,
        _LATENCY,
    ),
    Metric("retries", "Times that an engine was asked again.", CallDetails, _CALL),
    Metric(
        "cache_results",
        "Calls that came to a cache, by what it had: hit, joined or miss.",
        CallDetails,
        (*_CALL, "cache"),
    ),
    Metric(
        "model_load_seconds",
        "Loading a model.",
        LoadDetails,
        ("engine", "outcome"),
        _LOADING,
    ),
    Metric("turns", "Turns that are over.", TurnDetails, ("outcome", "error_type")),
    Metric(
        "turn_time_to_first_audio_seconds",
        "From the user's last sound to the first sound of the answer.",
        TurnDetails,
        (),
        _LATENCY,
    ),
    Metric(
        "turn_stage_seconds",
        "The same, divided into its stages.",
        TurnDetails,
        ("stage",),
        _LATENCY,
    ),
    Metric("interruptions", "Times that a user spoke over an answer.", TurnDetails, ()),
    Metric("sessions", "Sessions that are over.", SessionDetails, ("reason",)),
    Metric("session_audio_seconds", "Audio that sessions heard.", SessionDetails, ()),
    Metric("dropped_turns", "Turns given up because too many waited.", SessionDetails, ()),
    Metric("undelivered_events", "Events that no host took before the end.", SessionDetails, ()),
)


class PrometheusInstrumentation:
    """An `Instrumentation` that counts and measures what it is told.

    It keeps no more than ``max_names`` engines and kinds of errors apart; what comes after
    those is together in ``other``. (None is dropped for another: a counter that goes away
    and comes back looks like a restart.) Any number of threads may call it.

    Args:
        registry: Where the metrics are; that of `prometheus_client` by default.
        prefix: What their names begin with.
        max_names: Values of a label that software, and not this library, chooses.

    Raises:
        ValueError: The registry has metrics of these names: one instance serves all chains
            and conversations of a process.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        prefix: str = "realtime_stts",
        *,
        max_names: int = 50,
    ) -> None:
        if max_names < 1:
            raise ValueError(f"max_names must be at least 1, not {max_names}")
        registry = REGISTRY if registry is None else registry
        self._families = {each.name: _Family(each, prefix) for each in METRICS}
        registered: list[_Family] = []
        try:
            for family in self._families.values():
                registry.register(family.collector)
                registered.append(family)
        except ValueError as exc:
            for family in registered:
                registry.unregister(family.collector)
            raise ValueError(
                f"the registry has metrics called {prefix}_... already: use the one "
                "PrometheusInstrumentation for all, or give this one another prefix"
            ) from exc
        self._engines = _Names(max_names)
        self._errors = _Names(max_names)

    def __call__(self, details: Details, /) -> None:
        match details:
            case CallDetails():
                self._call(details)
            case LoadDetails():
                self._observe(
                    "model_load_seconds",
                    details.duration,
                    self._engines.known(details.engine),
                    details.outcome,
                )
            case TurnDetails():
                self._turn(details)
            case SessionDetails():
                self._count("sessions", 1, details.reason)
                self._count("session_audio_seconds", details.audio_seconds)
                self._count("dropped_turns", details.dropped_turns)
                self._count("undelivered_events", details.undelivered_events)

    def _call(self, call: CallDetails) -> None:
        engine = self._engines.known(call.engine)
        of = call.request_type, engine
        streaming = "true" if call.streaming else "false"
        error = self._errors.known(call.error_type) if call.error_type else ""
        self._count("calls", 1, *of, streaming, call.outcome, error)
        duration = max(call.duration - call.consumer_time, 0.0)
        self._observe("call_duration_seconds", duration, *of, streaming, call.outcome)
        if call.streaming and call.time_to_first_result is not None:
            self._observe("time_to_first_result_seconds", call.time_to_first_result, *of)
        # What a cache had took no engine, and says nothing of one.
        if call.rtf and call.outcome == "completed":
            self._observe("real_time_factor", call.rtf, *of, streaming)
        self._count("engine_seconds", call.engine_time, *of)
        if call.audio_seconds:
            self._count("audio_seconds", call.audio_seconds, *of)
        self._count("characters", call.characters, *of)
        if call.queue_wait is not None:
            self._observe("queue_wait_seconds", call.queue_wait, *of)
        if call.attempts > 1:
            self._count("retries", call.attempts - 1, *of)
        if call.cache is not None:
            self._count("cache_results", 1, *of, call.cache)

    def _turn(self, turn: TurnDetails) -> None:
        error = self._errors.known(turn.error_type) if turn.error_type else ""
        self._count("turns", 1, turn.outcome, error)
        self._count("interruptions", turn.interruptions)
        if turn.time_to_first_audio is not None:
            self._observe("turn_time_to_first_audio_seconds", turn.time_to_first_audio)
        for stage in TURN_STAGES:
            delay: float | None = getattr(turn, stage)
            if delay is not None:
                self._observe("turn_stage_seconds", delay, stage)

    def _count(self, name: str, amount: float, *labels: str) -> None:
        self._families[name].child(labels).inc(amount)

    def _observe(self, name: str, value: float, *labels: str) -> None:
        self._families[name].child(labels).observe(value)


class _Family:
    """One metric with all its labels' values, of which there is a bounded number."""

    __slots__ = ("_children", "collector")

    def __init__(self, metric: Metric, prefix: str) -> None:
        name = f"{prefix}_{metric.name}"
        self.collector: Counter | Histogram
        if metric.buckets is None:
            self.collector = Counter(name, metric.help, metric.labels, registry=None)
        else:
            self.collector = Histogram(
                name, metric.help, metric.labels, registry=None, buckets=metric.buckets
            )
        self._children: dict[tuple[str, ...], Any] = {} if metric.labels else {(): self.collector}

    def child(self, labels: tuple[str, ...]) -> Any:
        child = self._children.get(labels)
        if child is None:  # two threads may both come here: they get the same one
            child = self._children[labels] = self.collector.labels(*labels)
        return child


class _Names:
    """Names that software chooses, so many of them and no more."""

    __slots__ = ("_known", "_max")

    def __init__(self, max_names: int) -> None:
        self._known: dict[str, Literal[True]] = {}
        self._max = max_names

    def known(self, name: str) -> str:
        if name not in self._known:
            if len(self._known) >= self._max:
                return _OTHER
            self._known[name] = True
        return name
