"""Nothing of what was said, and nobody's name or voice, in logs, metrics or traces."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_args

import anyio
import pytest

pytest.importorskip("realtime_stts.integrations.prometheus", exc_type=ImportError)
pytest.importorskip("realtime_stts.integrations.opentelemetry", exc_type=ImportError)
pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from realtime_stts import (
    ConversationContext,
    ConversationEngine,
    EngineError,
    TranscriptionResult,
    request_scope,
)
from realtime_stts.instrumentation import CallDetails, Details, Sensitivity, sensitivity
from realtime_stts.integrations.opentelemetry import ATTRIBUTES, OpenTelemetryInstrumentation
from realtime_stts.integrations.prometheus import METRICS, PrometheusInstrumentation
from realtime_stts.middleware import (
    Chain,
    InstrumentationMiddleware,
    LoggingMiddleware,
    RedactionMiddleware,
    TimingMiddleware,
)
from realtime_stts.middleware.authentication import AuthenticationMiddleware, Principal
from realtime_stts.testing import (
    Failure,
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    speech,
)

from .tools import Given

pytestmark = pytest.mark.anyio

TEXT = "zebrafish umbrella marmalade"
VOICE, SUBJECT, TOKEN = "voice-of-quentin", "quentin@example.org", "token-of-quentin-123"
MARKERS = (*TEXT.split(), "quentin", TOKEN)


class Telescope:
    """Everything that a program lets out about its work."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self.registry = CollectorRegistry()
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.instrumentations = (
            PrometheusInstrumentation(self.registry),
            OpenTelemetryInstrumentation(tracers, MeterProvider([self._reader])),
        )
        self.timing = TimingMiddleware()

    def texts(self) -> Iterator[str]:
        formatter = logging.Formatter("%(message)s")
        for record in self._caplog.records:
            yield formatter.format(record)  # with the text of exc_info
            yield repr(vars(record))
        yield generate_latest(self.registry).decode()
        for span in self._spans.get_finished_spans():
            yield span.to_json()
        yield repr(self._reader.get_metrics_data())
        yield repr(self.timing.statistics())

    def chain(self, *layers: Any) -> Chain:
        return Chain(
            RedactionMiddleware(),
            LoggingMiddleware(),
            InstrumentationMiddleware(*self.instrumentations),
            self.timing,
            *layers,
            LoggingMiddleware(name="inside"),
            InstrumentationMiddleware(*self.instrumentations),
        )


@pytest.fixture
def telescope(caplog: pytest.LogCaptureFixture) -> Telescope:
    caplog.set_level(logging.DEBUG)
    return Telescope(caplog)


def quoting() -> EngineError:
    error = EngineError("engine", f"failed at {TEXT} of {SUBJECT}")
    error.__cause__ = ValueError(f"cannot handle {TEXT!r} in {VOICE}")
    return error


def cut() -> Failure:
    return Failure(quoting(), after=1, text=TEXT)


def audio() -> Given:
    return Given(speech(2.0))


async def call_of_every_kind(telescope: Telescope) -> int:
    """Succeeding, failing, closed and cancelled; the number of failures."""
    who = AuthenticationMiddleware({TOKEN: Principal(SUBJECT, {"stt", "tts", "response"})})
    chain = telescope.chain(who)
    stt = chain.wrap(ScriptedSTTEngine([TEXT, TEXT, TEXT, quoting(), cut()]))
    spoken = [None, None, None, quoting(), cut()]
    tts = chain.wrap(ScriptedTTSEngine(voices=[VOICE], failures=spoken))
    responder = chain.wrap(ScriptedResponseGenerator([TEXT, TEXT, TEXT, quoting(), cut()]))
    said = TranscriptionResult(TEXT, "en", [])
    voice = {"voice_id": VOICE}

    async def stream_of(kind: int) -> None:
        streams = (
            lambda: stt.stream(audio()),
            lambda: tts.stream(TEXT, voice),
            lambda: responder.stream_response(said, ConversationContext()),
        )
        async for _ in streams[kind]():
            pass

    async def whole(kind: int) -> None:
        if kind == 0:
            await stt.transcribe(speech(1.0))
        elif kind == 1:
            await tts.synthesize(TEXT, voice)
        else:
            await responder.generate_response(said, ConversationContext())

    n_failures = 0
    with request_scope(id="request-1", session_id="session-1", token=TOKEN):
        for kind in range(3):
            await whole(kind)
            await stream_of(kind)
            with anyio.move_on_after(0.05):
                await whole(kind)
            for call in (whole, stream_of):
                with pytest.raises(EngineError) as raised:
                    await call(kind)
                # What a host logs of it.
                logging.getLogger("host").error("failed", exc_info=raised.value)
                n_failures += 1
    return n_failures


async def test_calls_leave_no_trace_of_what_was_said_or_by_whom(telescope: Telescope) -> None:
    n_failures = await call_of_every_kind(telescope)
    everything = [*telescope.texts()]
    found = [(mark, text) for text in everything for mark in MARKERS if mark in text.lower()]
    assert not found
    # And it looked where there is something to see.
    shown = "\n".join(everything)
    assert "request-1" in shown
    assert "EngineError" in shown
    assert shown.count("message not shown") > n_failures
    count = telescope.registry.get_sample_value(
        "realtime_stts_calls_total",
        {
            "request_type": "tts",
            "engine": "ScriptedTTSEngine",
            "streaming": "true",
            "outcome": "error",
            "error_type": "EngineError",
        },
    )
    assert count == 2  # outside and inside
    assert n_failures == 6


async def test_nor_do_conversations(telescope: Telescope) -> None:
    chain = telescope.chain()
    engine = ConversationEngine(
        stt=chain.wrap(ScriptedSTTEngine([TEXT, TEXT])),
        tts=chain.wrap(ScriptedTTSEngine(voices=[VOICE], failures=[None, quoting()])),
        responder=chain.wrap(ScriptedResponseGenerator([f"{TEXT}.", f"{TEXT}."])),
        pause_detector=ScriptedPauseDetector([(0.5, 1.5), (4.5, 5.5)]),
        instrumentation=telescope.instrumentations,
    )
    session = engine.session()
    async with session, anyio.create_task_group() as tasks:

        async def talk() -> None:
            for _ in range(9):
                await session.push(speech(1.0))
                await anyio.sleep(1.0)
            await session.end_input()

        tasks.start_soon(talk)
        async for _ in session:
            pass
    found = [text for text in telescope.texts() if any(mark in text.lower() for mark in MARKERS)]
    assert not found
    turns = telescope.registry.get_sample_value(
        "realtime_stts_turns_total", {"outcome": "failed", "error_type": "EngineError"}
    )
    assert turns == 1


async def test_who_asks_to_see_texts_sees_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await Chain(LoggingMiddleware(log_text=True)).wrap(ScriptedTTSEngine()).synthesize(TEXT, {})
    assert TEXT in caplog.text


# -- every key that telemetry has is classified ------------------------------------------


@pytest.mark.parametrize("of", get_args(Details))
def test_each_field_of_details(of: Any) -> None:
    unclassified = [each.name for each in fields(of) if "sensitivity" not in each.metadata]
    assert not unclassified
    content = {"text", "transcript", "reply", "message", "audio", "prompt", "token"}
    assert not content & {each.name for each in fields(of)}


def test_each_label_of_a_metric_is_operational() -> None:
    for metric in METRICS:
        for label in metric.labels:
            if label != "stage":  # its values are names of fields
                assert sensitivity(metric.of, label) is Sensitivity.OPERATIONAL


def test_each_attribute_of_a_span() -> None:
    for of, names in ATTRIBUTES.items():
        for field in names:
            assert isinstance(sensitivity(of, field), Sensitivity)


async def test_each_attribute_that_we_add_to_a_log_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    tts = Chain(LoggingMiddleware()).wrap(ScriptedTTSEngine(failures=[None, quoting()]))
    await tts.synthesize(TEXT, {})
    with pytest.raises(EngineError):
        await tts.synthesize(TEXT, {})
    plain = vars(logging.makeLogRecord({}))
    ours = {key for record in caplog.records for key in vars(record)} - {*plain, "message"}
    assert "request_id" in ours
    for key in ours - {"asctime"}:
        assert sensitivity(CallDetails, key) is not Sensitivity.PERSONAL
