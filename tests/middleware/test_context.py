"""A call's context: ids, how it ended, how long it took."""

from __future__ import annotations

import asyncio
from math import inf

import anyio
import pytest

from realtime_stts.errors import EngineError
from realtime_stts.middleware import RequestContext
from realtime_stts.middleware._context import outcome


def test_a_new_context_is_processing_and_owns_its_dictionaries() -> None:
    one, two = RequestContext("1", "tts"), RequestContext("2", "tts")
    one.input_data["text"] = "hello"
    one.add_metric("size", 5)
    one.add_metadata("path", "/tts")
    assert (one.status, one.error, one.streaming) == ("processing", None, False)
    assert (one.metrics, one.metadata) == ({"size": 5}, {"path": "/tts"})
    assert two.input_data == two.metrics == two.metadata == two.config == two.output_data == {}


def test_the_duration_grows_until_the_end_and_is_fixed_from_there() -> None:
    context = RequestContext("1", "stt")
    running = [context.duration_ms for _ in range(3)]
    assert running == sorted(running)
    assert running[0] >= 0.0
    context._end(None)
    ended = context.duration_ms
    assert ended >= running[-1]
    assert context.duration_ms == ended
    assert context.status == "completed"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(None, "completed", id="no error"),
        pytest.param(ValueError("blank"), "error", id="an error"),
        pytest.param(GeneratorExit(), "cancelled", id="the stream was closed early"),
        pytest.param(asyncio.CancelledError(), "cancelled", id="the call was cancelled"),
    ],
)
def test_how_a_call_ended(error: BaseException | None, status: str) -> None:
    context = RequestContext("1", "stt")
    context._end(error)
    assert outcome(error) == context.status == status
    assert context.error is error


def test_an_engine_error_learns_the_request_id_once() -> None:
    error = EngineError("whisper", "out of memory")
    RequestContext("first", "stt")._end(error)
    RequestContext("second", "stt")._end(error)
    assert error.request_id == "first"
    assert str(error) == "whisper: out of memory (request first)"


@pytest.mark.anyio
async def test_a_deadline_comes_nearer_and_passes() -> None:
    context = RequestContext("1", "tts")
    assert context.remaining() == inf
    context.deadline = anyio.current_time() + 5.0
    assert context.remaining() == 5.0
    await anyio.sleep(2.0)
    assert context.remaining() == pytest.approx(3.0)
    await anyio.sleep(10.0)
    assert context.remaining() == 0.0
