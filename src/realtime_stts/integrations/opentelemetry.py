"""Traces and metrics for OpenTelemetry.

    telemetry = OpenTelemetryInstrumentation()  # of the providers that the program has set
    stt = Chain(InstrumentationMiddleware(telemetry)).wrap(engine)

It needs the API only: what is done with spans and measurements is the program's choice of
an SDK, and without one nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from ..errors import MissingExtraError
from ..instrumentation import (
    TURN_STAGES,
    CallDetails,
    Details,
    LoadDetails,
    Sensitivity,
    SessionDetails,
    TurnDetails,
    sensitivity,
)
from . import _genai

try:
    from opentelemetry.metrics import Histogram, MeterProvider, get_meter
    from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider, get_tracer
except ImportError as exc:
    raise MissingExtraError("OpenTelemetryInstrumentation", "opentelemetry") from exc

__all__ = ["ATTRIBUTES", "OpenTelemetryInstrumentation"]

_SCOPE: Final = "realtime_stts"
_NS: Final = 1_000_000_000

# Fields that the conventions have a name for; the others are called realtime_stts.<field>.
_CONVENTIONAL: Final = {
    "engine": _genai.PROVIDER_NAME,
    "error_type": _genai.ERROR_TYPE,
    "session_id": _genai.CONVERSATION_ID,
    "streaming": _genai.REQUEST_STREAM,
    "subject": _genai.USER_ID,
}
# Fields that a span has in its own form: its name, and when it began and ended.
_INHERENT: Final = {"duration", "ended_at", "started_at"}

ATTRIBUTES: Final[dict[type[Details], dict[str, str]]] = {
    of: {
        each.name: _CONVENTIONAL.get(each.name, f"{_SCOPE}.{each.name}")
        for each in fields(of)
        if each.name not in _INHERENT
    }
    for of in (CallDetails, LoadDetails, TurnDetails, SessionDetails)
}
"""What each field is called as an attribute of a span."""


class OpenTelemetryInstrumentation:
    """An `Instrumentation` that makes a span of each thing it is told, and measures it.

    A span is made when its work has ended, with the times at which that began and ended, as
    a child of the span that is current there. So a call's is inside the one that the host
    had open around it; spans that an engine makes of its own are beside it. What belongs
    to one conversation has the same ``gen_ai.conversation.id``.

    Metrics have operational facts for attributes only, spans also the ids of the request and
    the session. Whoever asked and their voice are in neither, unless ``personal``; what was
    said is in neither.

    Args:
        tracer_provider: The one that the program has set, by default.
        meter_provider: Likewise.
        personal: Whether spans carry who asked and the voice, under the pseudonyms of a
            `RedactionMiddleware` if there is one.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        personal: bool = False,
    ) -> None:
        allowed = {Sensitivity.OPERATIONAL, Sensitivity.IDENTIFIER}
        if personal:
            allowed.add(Sensitivity.PERSONAL)
        self._attributes = {
            of: [
                (field, name) for field, name in names.items() if sensitivity(of, field) in allowed
            ]
            for of, names in ATTRIBUTES.items()
        }
        self._tracer = get_tracer(_SCOPE, tracer_provider=tracer_provider)
        self._instruments = _Instruments(meter_provider)

    def __call__(self, details: Details, /) -> None:
        match details:
            case CallDetails():
                self._call(details)
            case LoadDetails():
                name = f"load {details.engine}"
                self._span(name, details, details.started_at, details.duration)
                self._instruments.load(details)
            case TurnDetails():
                began = details.ended_at - details.duration
                self._span("turn", details, began, details.duration)
                self._instruments.turn(details)
            case SessionDetails():
                began = details.ended_at - details.duration
                self._span("session", details, began, details.duration)
                self._instruments.session(details)

    def _call(self, call: CallDetails) -> None:
        operation = _genai.OPERATIONS.get(call.request_type, call.request_type)
        more: dict[str, Any] = {_genai.OPERATION_NAME: operation}
        if call.request_type in _genai.OUTPUT_TYPES:
            more[_genai.OUTPUT_TYPE] = _genai.OUTPUT_TYPES[call.request_type]
        if call.rtf is not None:
            more[f"{_SCOPE}.rtf"] = call.rtf
        if call.streaming and call.time_to_first_result is not None:
            more[_genai.TIME_TO_FIRST_CHUNK] = call.time_to_first_result
        name = f"{operation} {call.engine}"
        self._span(name, call, call.started_at, call.duration, SpanKind.CLIENT, more)
        self._instruments.call(call, operation)

    def _span(
        self,
        name: str,
        details: Details,
        began: float,
        duration: float,
        kind: SpanKind = SpanKind.INTERNAL,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        attributes = {
            attribute: value
            for field, attribute in self._attributes[type(details)]
            if (value := getattr(details, field)) is not None
        }
        start = int(began * _NS)
        span = self._tracer.start_span(
            name, kind=kind, attributes={**attributes, **(more or {})}, start_time=start
        )
        if attributes.get(_genai.ERROR_TYPE) is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(start + int(duration * _NS))


class _Instruments:
    """The metrics: what Prometheus has too, under the conventions' names where there are any."""

    def __init__(self, provider: MeterProvider | None) -> None:
        meter = get_meter(_SCOPE, meter_provider=provider)

        def seconds(name: str, description: str, buckets: tuple[float, ...]) -> Histogram:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=buckets
            )

        def own(name: str, description: str) -> Histogram:
            return seconds(f"{_SCOPE}.{name}", description, _genai.DURATION_BUCKETS)

        self._duration = seconds(
            _genai.OPERATION_DURATION, "GenAI operation duration.", _genai.DURATION_BUCKETS
        )
        self._first_chunk = seconds(
            _genai.TIME_TO_FIRST_CHUNK_METRIC,
            "From a streaming call to its first result.",
            _genai.FIRST_CHUNK_BUCKETS,
        )
        self._rtf = meter.create_histogram(
            f"{_SCOPE}.real_time_factor",
            "1",
            "Seconds of the engine for a second of audio.",
            explicit_bucket_boundaries_advisory=(
                *(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9),
                *(1.0, 1.2, 1.5, 2.0, 5.0),
            ),
        )
        counter = meter.create_counter
        self._audio = counter(f"{_SCOPE}.audio", "s", "Audio heard by STT or made by TTS.")
        self._characters = counter(
            f"{_SCOPE}.characters", "{character}", "Written by STT, spoken or answered."
        )
        self._retries = counter(f"{_SCOPE}.retries", "{attempt}", "An engine was asked again.")
        self._cached = counter(f"{_SCOPE}.cache_results", "{call}", "Calls that came to a cache.")
        self._queue_wait = own("queue_wait", "In a waiting room.")
        self._load = own("model_load", "Loading a model.")
        self._turn = own(
            "turn.time_to_first_audio",
            "From the user's last sound to the first sound of the answer.",
        )
        self._stage = own("turn.stage", "The same, divided into its stages.")
        self._turns = counter(f"{_SCOPE}.turns", "{turn}", "Turns that are over.")
        self._interruptions = counter(
            f"{_SCOPE}.interruptions", "{interruption}", "A user spoke over an answer."
        )
        self._sessions = counter(f"{_SCOPE}.sessions", "{session}", "Sessions that are over.")
        self._dropped = counter(
            f"{_SCOPE}.dropped_turns", "{turn}", "Given up because too many waited."
        )
        self._undelivered = counter(
            f"{_SCOPE}.undelivered_events", "{event}", "Events that no host took before the end."
        )

    def call(self, call: CallDetails, operation: str) -> None:
        of: dict[str, Any] = {_genai.OPERATION_NAME: operation, _genai.PROVIDER_NAME: call.engine}
        failed = {**of, _genai.ERROR_TYPE: call.error_type} if call.error_type else of
        self._duration.record(max(call.duration - call.consumer_time, 0.0), failed)
        if call.streaming and call.time_to_first_result is not None:
            self._first_chunk.record(call.time_to_first_result, of)
        if call.rtf and call.outcome == "completed":
            self._rtf.record(call.rtf, of)
        self._audio.add(call.audio_seconds, of)
        self._characters.add(call.characters, of)
        if call.queue_wait is not None:
            self._queue_wait.record(call.queue_wait, of)
        if call.attempts > 1:
            self._retries.add(call.attempts - 1, of)
        if call.cache is not None:
            self._cached.add(1, {**of, f"{_SCOPE}.cache": call.cache})

    def load(self, load: LoadDetails) -> None:
        of = {_genai.PROVIDER_NAME: load.engine, f"{_SCOPE}.outcome": load.outcome}
        self._load.record(load.duration, of)

    def turn(self, turn: TurnDetails) -> None:
        of = {f"{_SCOPE}.outcome": turn.outcome}
        self._turns.add(1, {**of, _genai.ERROR_TYPE: turn.error_type} if turn.error_type else of)
        self._interruptions.add(turn.interruptions)
        if turn.time_to_first_audio is not None:
            self._turn.record(turn.time_to_first_audio)
        for stage in TURN_STAGES:
            delay: float | None = getattr(turn, stage)
            if delay is not None:
                self._stage.record(delay, {f"{_SCOPE}.stage": stage})

    def session(self, session: SessionDetails) -> None:
        self._sessions.add(1, {f"{_SCOPE}.reason": session.reason})
        self._dropped.add(session.dropped_turns)
        self._undelivered.add(session.undelivered_events)
