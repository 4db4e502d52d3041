"""The scripted recogniser hears its script, at the time and with the failures it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.protocols import ManagedSTTEngine, TranscriptionResult
from realtime_stts.testing import (
    Failure,
    ScriptedSTTEngine,
    ScriptExhausted,
    STTCall,
    chunked,
    speech,
    virtual_time,
)

pytestmark = pytest.mark.anyio

CLIP = speech(1.0)
BROKEN = EngineError("scripted", "the model is gone")


async def stream(
    engine: ScriptedSTTEngine, audio: AudioData = CLIP, seconds: float = 0.02
) -> list[TranscriptionResult]:
    async with aclosing(chunked(audio, seconds)) as source:
        return [result async for result in engine.stream(source)]


async def test_is_managed_like_a_real_engine() -> None:
    assert isinstance(ScriptedSTTEngine([]), ManagedSTTEngine)


async def test_each_call_hears_the_next_line() -> None:
    engine = ScriptedSTTEngine(["one", "two"])
    assert [(await engine.transcribe(CLIP)).text for _ in range(2)] == ["one", "two"]


async def test_a_call_too_many_fails_the_test() -> None:
    """Not as an `EngineError`, which the code under test may well handle."""
    engine = ScriptedSTTEngine(["only this"])
    await engine.transcribe(CLIP)
    with pytest.raises(ScriptExhausted, match="ScriptedSTTEngine has no line for call 2"):
        await engine.transcribe(CLIP)


async def test_silence_takes_no_line() -> None:
    engine = ScriptedSTTEngine(["hello"])
    assert (await engine.transcribe(AudioData.silence(1.0, 16_000))).text == ""
    assert (await engine.transcribe(CLIP)).text == "hello"


async def test_words_are_spread_over_the_audio() -> None:
    result = await ScriptedSTTEngine(["hello there again you"]).transcribe(CLIP)
    assert [(word.text, word.start, word.end) for word in result.words] == [
        ("hello", 0.0, 0.25),
        ("there", 0.25, 0.5),
        ("again", 0.5, 0.75),
        ("you", 0.75, 1.0),
    ]
    assert result.duration == 1.0


async def test_a_whole_result_is_delivered_as_it_is() -> None:
    result = TranscriptionResult("bonjour", "fr", [], confidence=0.2)
    assert await ScriptedSTTEngine([result]).transcribe(CLIP) is result


async def test_the_callers_language_wins() -> None:
    engine = ScriptedSTTEngine(["ja", "yes"], language="en")
    assert (await engine.transcribe(CLIP, "de")).language == "de"
    assert (await engine.transcribe(CLIP)).language == "en"


async def test_partial_results_grow_word_by_word() -> None:
    results = await stream(ScriptedSTTEngine(["one two three four"], seconds_per_word=0.3))
    assert [(result.text, result.partial) for result in results] == [
        ("one", True),
        ("one two", True),
        ("one two three", True),
        ("one two three four", False),
    ]


async def test_partial_results_come_with_their_audio() -> None:
    began = anyio.current_time()
    engine = ScriptedSTTEngine(["one two"], seconds_per_word=0.3, latency=0.2)
    async with aclosing(chunked(CLIP, 0.1, paced=True)) as source:
        times = [
            (result.text, round(anyio.current_time() - began, 3))
            async for result in engine.stream(source)
        ]
    assert times == [("one", 0.3), ("one two", 0.6), ("one two", 1.2)]


async def test_partial_results_can_be_turned_off() -> None:
    assert len(await stream(ScriptedSTTEngine(["one two"], partials=False))) == 1


@given(lengths=st.lists(st.integers(0, 8_000), min_size=1, max_size=20))
def test_results_do_not_depend_on_how_the_audio_is_cut(lengths: Sequence[int]) -> None:
    async def main() -> None:
        async def source() -> AsyncIterator[AudioData]:
            start = 0
            for length in [*lengths, CLIP.n_frames]:
                yield CLIP.sliced(start / 16_000, (start + length) / 16_000)
                start += length

        engine = ScriptedSTTEngine(["one two three"] * 2, seconds_per_word=0.25)
        expected = await stream(engine)
        assert [result async for result in engine.stream(source())] == expected

    backend, options = virtual_time("asyncio")
    anyio.run(main, backend=backend, backend_options=options)


@pytest.mark.parametrize("line", [BROKEN, Failure(BROKEN)])
async def test_an_exception_is_raised_after_the_latency(line: Exception | Failure) -> None:
    engine = ScriptedSTTEngine([line, "fine again"], latency=0.5)
    began = anyio.current_time()
    with pytest.raises(EngineError) as caught:
        await engine.transcribe(CLIP)
    assert caught.value is BROKEN
    assert anyio.current_time() - began == pytest.approx(0.5)
    assert (await engine.transcribe(CLIP)).text == "fine again"


@pytest.mark.parametrize(
    ("after", "delivered"), [(0, []), (2, ["one", "one two"]), (9, ["one", "one two"])]
)
async def test_a_failure_lets_results_through_first(after: int, delivered: list[str]) -> None:
    """As many as it says, or all that the audio gives: the final one never comes."""
    engine = ScriptedSTTEngine([Failure(BROKEN, after=after, text="one two")])
    texts: list[str] = []

    async def listen(source: AsyncIterator[AudioData]) -> None:
        async for result in engine.stream(source):
            texts.append(result.text)  # noqa: PERF401  # kept when it raises

    async with aclosing(chunked(CLIP)) as source:
        with pytest.raises(EngineError):
            await listen(source)
    assert texts == delivered


async def test_calls_are_recorded() -> None:
    engine = ScriptedSTTEngine(["one", "two"])
    whole = await engine.transcribe(CLIP, "en")
    async with (
        aclosing(chunked(CLIP, 0.25)) as source,
        aclosing(engine.stream(source)) as results,
    ):
        await anext(results)
        assert engine.open_streams == 1
    assert engine.calls == [
        STTCall("en", streamed=False, heard=1.0, result=whole),
        STTCall(None, streamed=True, heard=0.5, result=None),
    ]
    assert engine.open_streams == 0


async def test_loads_once_for_all() -> None:
    engine = ScriptedSTTEngine(["one"] * 3, load_time=2.0, latency=0.5)
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(engine.transcribe, CLIP)
    assert engine.loads == 1
    assert anyio.current_time() - began == pytest.approx(2.5)
    assert engine.model_loaded


async def test_a_call_during_unload_loads_again() -> None:
    engine = ScriptedSTTEngine(["one", "two"], latency=1.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.transcribe, CLIP)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(engine.unload)
        await anyio.wait_all_tasks_blocked()
        assert not engine.model_loaded
        tasks.start_soon(engine.transcribe, CLIP)
    assert engine.loads == 2
