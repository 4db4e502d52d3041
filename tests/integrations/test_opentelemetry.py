"""Traces and metrics for OpenTelemetry, as its own SDK has them."""

from __future__ import annotations

import importlib
import sys
from dataclasses import fields, replace
from typing import Any, get_args

import pytest

pytest.importorskip("realtime_stts.integrations.opentelemetry", exc_type=ImportError)
pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import (
    error_attributes,
    gen_ai_attributes,
    user_attributes,
)
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.trace import SpanKind, StatusCode

from realtime_stts.errors import MissingExtraError
from realtime_stts.instrumentation import Details, Sensitivity, sensitivity
from realtime_stts.integrations import _genai
from realtime_stts.integrations.opentelemetry import (
    ATTRIBUTES,
    OpenTelemetryInstrumentation,
)
from realtime_stts.middleware import Chain, InstrumentationMiddleware
from realtime_stts.testing import ScriptedTTSEngine

from .told import CALL, LOAD, SESSION, TURN

SECOND = 1_000_000_000  # ns


class Collected:
    """What the SDK would have sent."""

    def __init__(self, **options: Any) -> None:
        self._spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        meters = MeterProvider([self._reader])
        self.instrumentation = OpenTelemetryInstrumentation(self.tracers, meters, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        return [*self._spans.get_finished_spans()]

    @property
    def points(self) -> dict[str, list[Any]]:
        """The points of each metric that has any."""
        data: Any = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: [*metric.data.data_points]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def collected() -> Collected:
    return Collected()


def test_a_call_is_a_span_with_the_times_at_which_it_began_and_ended(collected: Collected) -> None:
    collected.instrumentation(replace(CALL, started_at=100.0))
    [span] = collected.spans
    assert (span.name, span.kind) == ("text_to_speech mouth", SpanKind.CLIENT)
    assert (span.start_time, span.end_time) == (100 * SECOND, 103 * SECOND)
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "text_to_speech",
        "gen_ai.provider.name": "mouth",
        "gen_ai.output.type": "speech",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.125,
        "gen_ai.conversation.id": "s1",
        "realtime_stts.attempts": 3,
        "realtime_stts.audio_seconds": 2.5,
        "realtime_stts.cache": "miss",
        "realtime_stts.characters": 40,
        "realtime_stts.consumer_time": 2.0,
        "realtime_stts.engine_time": 0.5,
        "realtime_stts.n_results": 3,
        "realtime_stts.outcome": "completed",
        "realtime_stts.queue_wait": 0.25,
        "realtime_stts.request_id": "r1",
        "realtime_stts.request_type": "tts",
        "realtime_stts.rtf": 0.2,
        "realtime_stts.time_to_first_result": 0.125,
    }


def test_it_is_a_child_of_the_span_around_the_call(collected: Collected) -> None:
    with collected.tracers.get_tracer("host").start_as_current_span("request") as outer:
        collected.instrumentation(CALL)
    call, _ = collected.spans
    assert call.parent is not None
    assert call.parent.span_id == outer.get_span_context().span_id


@pytest.mark.anyio
async def test_also_when_a_chain_makes_it(collected: Collected) -> None:
    tts = Chain(InstrumentationMiddleware(collected.instrumentation)).wrap(ScriptedTTSEngine())
    with collected.tracers.get_tracer("host").start_as_current_span("request") as outer:
        assert [chunk async for chunk in tts.stream("hello")]
    call, _ = collected.spans
    assert call.parent is not None
    assert call.parent.span_id == outer.get_span_context().span_id


def test_a_failure_is_named_by_its_type(collected: Collected) -> None:
    failed = replace(CALL, request_type="conversation", outcome="error", error_type="EngineError")
    collected.instrumentation(failed)
    [span] = collected.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert dict(span.attributes or {})["error.type"] == "EngineError"
    assert span.name == "conversation mouth"  # a type that is not ours is its own name
    [point] = collected.points["gen_ai.client.operation.duration"]
    assert point.attributes["error.type"] == "EngineError"


def test_nothing_is_said_of_what_there_was_not(collected: Collected) -> None:
    collected.instrumentation(
        replace(
            CALL,
            request_type="stt",
            streaming=False,
            audio_seconds=0.0,
            time_to_first_result=None,
            queue_wait=None,
            attempts=1,
            cache=None,
        )
    )
    [span] = collected.spans
    names = {*(span.attributes or {})}
    assert (
        not {"realtime_stts.rtf", "realtime_stts.cache", "gen_ai.response.time_to_first_chunk"}
        & names
    )
    assert {*collected.points} == {
        "gen_ai.client.operation.duration",
        "realtime_stts.audio",
        "realtime_stts.characters",
    }


def test_other_work_is_spans_too(collected: Collected) -> None:
    collected.instrumentation(replace(LOAD, started_at=10.0))
    collected.instrumentation(replace(TURN, ended_at=20.0, duration=5.0))
    collected.instrumentation(replace(SESSION, ended_at=30.0, duration=25.0))
    load, turn, session = collected.spans
    assert [span.name for span in collected.spans] == ["load mouth", "turn", "session"]
    assert (load.start_time, load.end_time) == (10 * SECOND, 14 * SECOND)
    assert (turn.start_time, turn.end_time) == (15 * SECOND, 20 * SECOND)
    assert (session.start_time, session.end_time) == (5 * SECOND, 30 * SECOND)
    for span in (turn, session):
        assert dict(span.attributes or {})["gen_ai.conversation.id"] == "s1"


def test_metrics_have_operational_attributes_only(collected: Collected) -> None:
    failed = replace(TURN, outcome="failed", error_type="EngineError", time_to_first_audio=None)
    for details in (CALL, LOAD, TURN, SESSION, replace(failed, handover_delay=None)):
        collected.instrumentation(details)
    points = collected.points
    assert {name: {key for each in points[name] for key in each.attributes} for name in points} == {
        "gen_ai.client.operation.duration": {"gen_ai.operation.name", "gen_ai.provider.name"},
        "gen_ai.client.operation.time_to_first_chunk": {
            *("gen_ai.operation.name", "gen_ai.provider.name"),
        },
        "realtime_stts.audio": {"gen_ai.operation.name", "gen_ai.provider.name"},
        "realtime_stts.cache_results": {
            *("gen_ai.operation.name", "gen_ai.provider.name", "realtime_stts.cache"),
        },
        "realtime_stts.characters": {"gen_ai.operation.name", "gen_ai.provider.name"},
        "realtime_stts.dropped_turns": set(),
        "realtime_stts.interruptions": set(),
        "realtime_stts.model_load": {"gen_ai.provider.name", "realtime_stts.outcome"},
        "realtime_stts.queue_wait": {"gen_ai.operation.name", "gen_ai.provider.name"},
        "realtime_stts.real_time_factor": {"gen_ai.operation.name", "gen_ai.provider.name"},
        "realtime_stts.retries": {"gen_ai.operation.name", "gen_ai.provider.name"},
        "realtime_stts.sessions": {"realtime_stts.reason"},
        "realtime_stts.turn.stage": {"realtime_stts.stage"},
        "realtime_stts.turn.time_to_first_audio": set(),
        "realtime_stts.turns": {"error.type", "realtime_stts.outcome"},
        "realtime_stts.undelivered_events": set(),
    }
    [duration] = points["gen_ai.client.operation.duration"]
    assert duration.sum == 1.0  # without what the caller took
    assert duration.explicit_bounds == pytest.approx(_genai.DURATION_BUCKETS)
    [first] = points["gen_ai.client.operation.time_to_first_chunk"]
    assert (first.sum, first.explicit_bounds) == (0.125, _genai.FIRST_CHUNK_BUCKETS)


def test_who_asked_is_told_only_if_it_is_asked_for() -> None:
    private, told = Collected(), Collected(personal=True)
    for each in (private, told):
        each.instrumentation(CALL)
    assert "ada" not in repr([dict(span.attributes or {}) for span in private.spans])
    [span] = told.spans
    attributes = dict(span.attributes or {})
    assert (attributes["user.id"], attributes["realtime_stts.voice"]) == ("ada", "bo")


@pytest.mark.parametrize("of", get_args(Details))
def test_each_attribute_of_a_span_is_a_classified_fact(of: Any) -> None:
    inherent = {"started_at", "ended_at", "duration"}
    assert {*ATTRIBUTES[of]} | inherent == {each.name for each in fields(of)} | inherent
    names = [*ATTRIBUTES[of].values()]
    assert len(names) == len(set(names))
    for field in ATTRIBUTES[of]:
        assert isinstance(sensitivity(of, field), Sensitivity)


def test_the_conventions_names_are_theirs() -> None:
    assert gen_ai_attributes.GEN_AI_CONVERSATION_ID == _genai.CONVERSATION_ID
    assert gen_ai_attributes.GEN_AI_OPERATION_NAME == _genai.OPERATION_NAME
    assert gen_ai_attributes.GEN_AI_OUTPUT_TYPE == _genai.OUTPUT_TYPE
    assert gen_ai_attributes.GEN_AI_PROVIDER_NAME == _genai.PROVIDER_NAME
    assert gen_ai_attributes.GEN_AI_REQUEST_STREAM == _genai.REQUEST_STREAM
    assert gen_ai_attributes.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK == _genai.TIME_TO_FIRST_CHUNK
    assert error_attributes.ERROR_TYPE == _genai.ERROR_TYPE
    assert user_attributes.USER_ID == _genai.USER_ID
    metrics = gen_ai_metrics
    assert metrics.GEN_AI_CLIENT_OPERATION_DURATION == _genai.OPERATION_DURATION
    first_chunk = metrics.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK
    assert first_chunk == _genai.TIME_TO_FIRST_CHUNK_METRIC
    chat = gen_ai_attributes.GenAiOperationNameValues.CHAT.value
    assert _genai.OPERATIONS["response"] == chat
    outputs = {each.value for each in gen_ai_attributes.GenAiOutputTypeValues}
    assert {*_genai.OUTPUT_TYPES.values()} <= outputs


def test_without_an_sdk_nothing_happens() -> None:
    for details in (CALL, LOAD, TURN, SESSION):
        OpenTelemetryInstrumentation()(details)


def test_something_new_is_passed_by(collected: Collected) -> None:
    collected.instrumentation(object())  # type: ignore[arg-type]
    assert not collected.spans


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    monkeypatch.delitem(sys.modules, "realtime_stts.integrations.opentelemetry")
    with pytest.raises(MissingExtraError, match=r"realtime-stts\[opentelemetry\]"):
        importlib.import_module("realtime_stts.integrations.opentelemetry")
