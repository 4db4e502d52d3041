"""Engines with faults: what healthy calls give, where the others break, and what is counted."""

from __future__ import annotations

from contextlib import aclosing
from itertools import repeat
from typing import Any

import anyio
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.protocols import (
    ConversationContext,
    StreamingResponseGenerator,
    StreamingSTTEngine,
    StreamingTTSEngine,
    TranscriptionResult,
)
from realtime_stts.testing import (
    Failure,
    FaultyResponseGenerator,
    FaultySTTEngine,
    FaultyTTSEngine,
    Hang,
    ResponseGeneratorSuite,
    no_leaks,
    speech,
)
from realtime_stts.testing.suites._calls import Source

pytestmark = pytest.mark.anyio

TEXT = "Please call me back tomorrow."
SAID = TranscriptionResult(TEXT, "en", [])
CLIP = speech(3.0)
SECONDS = [CLIP.sliced(second, second + 1.0) for second in (0.0, 1.0, 2.0)]
BROKE = EngineError("faulty", "broke")


class TestFaultyResponseGenerator(ResponseGeneratorSuite):
    def engine(self) -> FaultyResponseGenerator:
        return FaultyResponseGenerator()


def stream(engine: Any) -> Any:
    match engine:
        case FaultySTTEngine():
            return engine.stream(Source(SECONDS))
        case FaultyTTSEngine():
            return engine.stream(TEXT)
        case _:
            return engine.stream_response(SAID, ConversationContext())


async def once(engine: Any) -> Any:
    match engine:
        case FaultySTTEngine():
            return await engine.transcribe(CLIP)
        case FaultyTTSEngine():
            return await engine.synthesize(TEXT, {})
        case _:
            return await engine.generate_response(SAID, ConversationContext())


async def taken(engine: Any, results: list[Any]) -> None:
    """All results of a stream, as they come."""
    async with aclosing(stream(engine)) as given:
        async for result in given:
            results.append(result)  # noqa: PERF401  # those that came stay, whatever follows


@pytest.fixture(params=[FaultySTTEngine, FaultyTTSEngine, FaultyResponseGenerator])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


# -- healthy calls -----------------------------------------------------------------------


async def test_an_engine_hears_who_speaks_from_the_sound_alone() -> None:
    engine = FaultySTTEngine()
    assert isinstance(engine, StreamingSTTEngine)
    assert await engine.is_available()
    heard, again = await engine.transcribe(CLIP), await engine.transcribe(CLIP, "de")
    other = await engine.transcribe(speech(2.0))
    assert [heard] == engine.answers(CLIP)
    assert (heard.text, heard.language, again.language) == (again.text, "en", "de")
    assert heard.text != other.text
    assert heard.duration == CLIP.duration_seconds
    assert heard.confidence == 0.9


async def test_a_stream_hears_more_and_more_and_then_all() -> None:
    engine = FaultySTTEngine(results=2)
    results: list[Any] = []
    await taken(engine, results)
    assert [result.partial for result in results] == [True, False]
    assert results[1].text.startswith(results[0].text)
    assert [result.duration for result in results] == [1.0, 3.0]
    assert results == engine.answers(SECONDS)


async def test_a_stream_of_no_sound_has_its_results_too() -> None:
    engine = FaultySTTEngine()
    results: list[Any] = []
    async with aclosing(engine.stream(Source([]))) as given:
        results += [result async for result in given]
    assert results == engine.answers([])


async def test_speech_takes_as_long_as_its_text() -> None:
    engine = FaultyTTSEngine()
    assert isinstance(engine, StreamingTTSEngine)
    assert [voice["id"] for voice in await engine.list_voices()] == ["faulty"]
    result = await engine.synthesize(TEXT, {})
    assert [result] == engine.answers(TEXT, streamed=False)
    assert result.audio_data.duration_seconds == pytest.approx(len(TEXT) / 15.0, abs=0.001)
    other = await engine.synthesize(TEXT.lower(), {})
    assert other.audio_data != result.audio_data


async def test_chunks_joined_are_the_speech() -> None:
    engine = FaultyTTSEngine(results=4)
    chunks: list[Any] = []
    await taken(engine, chunks)
    assert chunks == engine.answers(TEXT, streamed=True)
    assert len({chunk.data for chunk in chunks}) == 4
    assert AudioData.concat(chunks) == (await engine.synthesize(TEXT, {})).audio_data


async def test_an_answer_repeats_what_was_said() -> None:
    engine = FaultyResponseGenerator()
    assert isinstance(engine, StreamingResponseGenerator)
    pieces: list[Any] = []
    await taken(engine, pieces)
    assert pieces == engine.answers(SAID, streamed=True)
    assert [await once(engine)] == engine.answers(SAID, streamed=False) == ["".join(pieces)]
    assert TEXT in pieces[0]
    engine.set_response_mode("faulty")  # it has no other
    engine.clear_history()


# -- faults ------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 2, 3, 7])
async def test_a_stream_fails_after_so_many_results(kind: Any, after: int) -> None:
    """Or at its end, if it has fewer."""
    engine = kind([Failure(BROKE, after)])
    results: list[Any] = []
    with pytest.raises(EngineError) as raised:
        await taken(engine, results)
    assert raised.value is BROKE
    assert len(results) == min(after, 3)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
async def test_a_stream_hangs_after_so_many_results(kind: Any, after: int) -> None:
    engine = kind([Hang(after)])
    results: list[Any] = []
    with anyio.move_on_after(3600.0) as scope:
        await taken(engine, results)
    assert scope.cancelled_caught
    assert len(results) == after
    assert engine.calls[0].hangs
    assert engine.running == 0


@pytest.mark.parametrize("after", [0, 2])
async def test_a_one_shot_call_breaks_whatever_it_had_delivered(kind: Any, after: int) -> None:
    engine = kind([Failure(BROKE, after), Hang(after)])
    with pytest.raises(EngineError):
        await once(engine)
    with anyio.move_on_after(3600.0) as scope:
        await once(engine)
    assert scope.cancelled_caught
    assert engine.running == 0


async def test_a_call_that_nobody_cancels_says_so_after_a_day(kind: Any) -> None:
    with pytest.raises(AssertionError, match="a call of forgotten hung"):
        await once(kind([Hang()], name="forgotten"))


async def test_each_call_has_its_own_fault_and_later_ones_are_healthy(kind: Any) -> None:
    engine = kind([None, Failure(BROKE)])
    await once(engine)
    with pytest.raises(EngineError):
        await once(engine)
    await once(engine)


async def test_all_calls_may_fail(kind: Any) -> None:
    engine = kind(repeat(Failure(BROKE)))
    for _ in range(5):
        with pytest.raises(EngineError):
            await once(engine)


# -- what is counted ---------------------------------------------------------------------


async def test_results_are_asked_for_one_at_a_time(kind: Any) -> None:
    engine = kind(latency=1.0)
    began = anyio.current_time()
    async with no_leaks(), aclosing(stream(engine)) as results:
        for n in (1, 2, 3):
            await anext(results)
            assert engine.calls[0].asked == n
            assert anyio.current_time() - began == pytest.approx(n)
        assert not engine.calls[0].closed
    assert engine.calls[0].closed
    assert engine.calls[0].streamed


async def test_the_input_is_kept(kind: Any) -> None:
    engine = kind()
    await once(engine)
    assert engine.calls[0].given in (CLIP, TEXT, SAID)
    assert not engine.calls[0].streamed


async def test_calls_at_the_same_time_are_counted(kind: Any) -> None:
    engine = kind(latency=1.0)
    async with anyio.create_task_group() as tasks:
        for delay in (0.0, 0.5, 0.9, 5.0):
            tasks.start_soon(after, delay, engine)
    assert (engine.running, engine.most_running, len(engine.calls)) == (0, 3, 4)


async def after(delay: float, engine: Any) -> None:
    await anyio.sleep(delay)
    await once(engine)
