"""Instrumentation: each call and each loading, as one value for whoever wants to know."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from realtime_stts import EngineError, request_scope
from realtime_stts.instrumentation import CallDetails, Details, LoadDetails
from realtime_stts.middleware import (
    CallNext,
    Chain,
    InstrumentationMiddleware,
    Observation,
    Observer,
    RequestContext,
)
from realtime_stts.testing import (
    MiddlewareSuite,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    speech,
)

from .tools import Given

pytestmark = pytest.mark.anyio


class TestPromises(MiddlewareSuite):
    def middleware(self) -> InstrumentationMiddleware:
        return InstrumentationMiddleware([].append)


async def test_a_call_is_told_with_what_was_measured() -> None:
    told: list[Any] = []
    tts = Chain(InstrumentationMiddleware(told.append)).wrap(ScriptedTTSEngine())
    with request_scope(id="r1", session_id="s1"):
        await tts.synthesize("hello", {"voice_id": "scripted", "language": "en"})
    [call] = told
    assert isinstance(call, CallDetails)
    assert (call.request_type, call.engine, call.streaming) == ("tts", "ScriptedTTSEngine", False)
    assert (call.outcome, call.error_type) == ("completed", None)
    assert (call.request_id, call.session_id, call.subject) == ("r1", "s1", None)
    assert (call.voice, call.language, call.audio_format) == ("scripted", "en", "pcm")
    assert (call.characters, call.n_results) == (5, 1)
    assert call.audio_seconds == pytest.approx(0.3)
    assert (call.queue_wait, call.attempts, call.cache) == (None, 1, None)
    assert 0.0 < call.time_to_first_result <= call.duration
    assert call.rtf is not None


async def test_layers_inside_add_what_they_know() -> None:
    async def limited(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.metrics |= {"queue_wait": 0.5, "attempts": 2, "cache": "miss"}
        context.subject, context.engine = "ada", "spare"
        async for result in call_next(context):
            yield result

    told: list[Any] = []
    tts = Chain(InstrumentationMiddleware(told.append), limited).wrap(ScriptedTTSEngine())
    await tts.synthesize("hello", {})
    [call] = told
    assert (call.queue_wait, call.attempts, call.cache) == (0.5, 2, "miss")
    assert (call.subject, call.engine) == ("ada", "spare")


async def test_a_stream_its_failure_and_its_end_by_the_caller() -> None:
    told: list[Any] = []
    engine = ScriptedSTTEngine(["hello there", EngineError("ear", "hello there")])
    stt = Chain(InstrumentationMiddleware(told.append)).wrap(engine)
    async with aclosing(stt.stream(Given(speech(1.0)))) as results:
        await anext(results)
    with pytest.raises(EngineError):
        [result async for result in stt.stream(Given(speech(1.0)))]
    cut, failed = told
    assert (cut.outcome, cut.error_type, cut.n_results) == ("cancelled", None, 1)
    assert (failed.outcome, failed.error_type) == ("error", "EngineError")
    assert failed.time_to_first_result is None
    assert failed.audio_seconds == pytest.approx(1.0)


async def test_people_and_voices_are_told_by_their_pseudonyms_where_there_are_any() -> None:
    async def private(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.subject, context.pseudonym = "ada", lambda name: f"<{name}>"
        async for result in call_next(context):
            yield result

    told: list[Any] = []
    tts = Chain(InstrumentationMiddleware(told.append), private).wrap(ScriptedTTSEngine())
    await tts.synthesize("hello", {})
    assert (told[0].subject, told[0].voice) == ("<ada>", "<scripted>")


@pytest.mark.parametrize(
    ("given", "told_as"),
    [("", "scripted"), ("x" * 200, "x" * 127), ("a\nb", "a\\nb'"), (7, "int"), (None, "scripted")],
)
async def test_a_name_that_a_client_chose_can_be_written_anywhere(given: Any, told_as: str) -> None:
    async def renamed(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.config = {}
        async for result in call_next(context):
            yield result

    told: list[Any] = []
    tts = Chain(InstrumentationMiddleware(told.append), renamed).wrap(ScriptedTTSEngine())
    await tts.synthesize("hello", {"voice_id": given})
    assert told[0].voice == told_as


async def test_who_fails_to_listen_keeps_it_from_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(details: Details) -> None:
        raise ValueError("no")

    told: list[Any] = []
    middleware = InstrumentationMiddleware(broken, told.append)
    await Chain(middleware).wrap(ScriptedTTSEngine()).synthesize("hello", {})
    assert len(told) == middleware.failures == 1
    assert caplog.messages == ["the instrumentation middleware failed; the call goes on"]


# -- loading -----------------------------------------------------------------------------


async def test_loading_a_model_is_told_once() -> None:
    told: list[Any] = []
    engine = ScriptedTTSEngine(load_time=2.0)
    tts = Chain(InstrumentationMiddleware(told.append)).wrap(engine)
    async with tts:
        await tts.load()
    [load] = told
    assert isinstance(load, LoadDetails)
    assert (load.engine, load.outcome, load.error_type) == (
        *("ScriptedTTSEngine", "completed", None),
    )
    await tts.warmup()
    assert isinstance(told[1], LoadDetails)


async def test_a_loading_that_fails_or_is_given_up_is_told_too() -> None:
    class Broken(ScriptedTTSEngine):
        async def load(self) -> None:
            raise EngineError("mouth", "no weights in /home/ada")

    told: list[Any] = []
    middleware = InstrumentationMiddleware(told.append)
    with pytest.raises(EngineError):
        await Chain(middleware).wrap(Broken()).load()
    with anyio.move_on_after(1.0):
        await Chain(middleware).wrap(ScriptedTTSEngine(load_time=2.0)).load()
    assert [(each.outcome, each.error_type) for each in told] == [
        ("error", "EngineError"),
        ("cancelled", None),
    ]
    assert "ada" not in repr(told)


async def test_other_observers_need_not_care_and_one_that_fails_breaks_no_loading() -> None:
    class Watcher(Observer):
        def observe(self, context: RequestContext) -> Observation:
            raise NotImplementedError

    class Clumsy(Watcher):
        def loaded(self, details: LoadDetails) -> None:
            raise ValueError("no")

    async def plain(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async for result in call_next(context):
            yield result

    clumsy, told = Clumsy("clumsy"), []
    layers = Watcher("watcher"), clumsy, plain, InstrumentationMiddleware(told.append)
    tts = Chain(*layers).wrap(ScriptedTTSEngine())
    await tts.load()
    assert tts.model_loaded
    assert (clumsy.failures, len(told)) == (1, 1)
