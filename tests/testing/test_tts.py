"""The scripted voice: length follows the text, and every text and voice has its own sound."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.protocols import ManagedTTSEngine
from realtime_stts.testing import Failure, ScriptedTTSEngine, TTSCall, tone_text

pytestmark = pytest.mark.anyio

BROKEN = EngineError("scripted", "the model is gone")


async def stream(engine: ScriptedTTSEngine, text: str) -> list[AudioData]:
    return [chunk async for chunk in engine.stream(text)]


async def test_is_managed_like_a_real_engine() -> None:
    assert isinstance(ScriptedTTSEngine(), ManagedTTSEngine)


async def test_every_character_takes_its_time() -> None:
    result = await ScriptedTTSEngine(seconds_per_character=0.06).synthesize("hello", {})
    assert result.audio_data.duration_seconds == pytest.approx(5 * 0.06)
    assert (result.text, result.voice_id) == ("hello", "scripted")


async def test_speed_divides_the_time() -> None:
    engine = ScriptedTTSEngine(seconds_per_character=0.06)
    result = await engine.synthesize("hello", {"speed_factor": 2.0})
    assert result.audio_data.duration_seconds == pytest.approx(5 * 0.03)


async def test_texts_and_voices_sound_different() -> None:
    engine = ScriptedTTSEngine(voices=["ada", "grace"])
    sounds = {
        (await engine.synthesize(text, {"voice_id": voice})).audio_data.data
        for text in ("hello", "jello")
        for voice in ("ada", "grace")
    }
    assert len(sounds) == 4


async def test_white_space_is_silent() -> None:
    engine = ScriptedTTSEngine(seconds_per_character=0.1)
    audio = (await engine.synthesize("a b", {})).audio_data
    levels = [
        np.abs(audio.sliced(start, start + 0.1).samples).max() > 0.1 for start in (0.0, 0.1, 0.2)
    ]
    assert levels == [True, False, True]


async def test_what_it_says_can_be_read_again() -> None:
    engine = ScriptedTTSEngine(voices=["ada", "grace"])
    result = await engine.synthesize("Hello, there!", {"voice_id": "grace", "speed_factor": 1.5})
    assert tone_text(result.audio_data) == "Hello, there!"


async def test_a_blank_text_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to say"):
        await ScriptedTTSEngine().synthesize(" \n", {})


async def test_its_voices_are_listed() -> None:
    assert await ScriptedTTSEngine(voices=["ada", "grace"]).list_voices() == [
        {"id": "ada", "name": "Ada", "language": "en"},
        {"id": "grace", "name": "Grace", "language": "en"},
    ]


async def test_chunks_have_the_length_asked_for() -> None:
    engine = ScriptedTTSEngine(seconds_per_character=0.05, chunk=0.1, sample_rate=16_000)
    chunks = await stream(engine, "hello")
    assert [chunk.duration_seconds for chunk in chunks] == pytest.approx([0.1, 0.1, 0.05])
    assert {chunk.sample_rate for chunk in chunks} == {16_000}


async def test_chunks_come_as_they_are_made() -> None:
    engine = ScriptedTTSEngine(seconds_per_character=0.1, latency=0.5, real_time_factor=0.2)
    began = anyio.current_time()
    times = [anyio.current_time() - began async for _ in engine.stream("abc")]
    assert times == pytest.approx([0.52, 0.54, 0.56])
    assert (await engine.synthesize("abc", {})).synthesis_time == pytest.approx(0.56)


async def test_an_unknown_voice_is_refused() -> None:
    with pytest.raises(ValueError, match="no voice is called 'hal'; known: ada, grace"):
        await ScriptedTTSEngine(voices=["ada", "grace"]).synthesize("hi", {"voice_id": "hal"})


@pytest.mark.parametrize("speed", [0, -1, float("inf"), float("nan"), "fast"])
async def test_an_impossible_speed_is_refused(speed: object) -> None:
    with pytest.raises(ValueError, match="speed_factor is a positive number"):
        await ScriptedTTSEngine().synthesize("hi", {"speed_factor": speed})


async def test_failures_follow_their_plan() -> None:
    """A bare exception comes before any sound, None stands for success, and so does the end."""
    engine = ScriptedTTSEngine(failures=[BROKEN, None])
    with pytest.raises(EngineError) as caught:
        await engine.synthesize("hello", {})
    assert caught.value is BROKEN
    assert await stream(engine, "hello")
    assert await stream(engine, "hello")


@pytest.mark.parametrize(("after", "delivered"), [(0, 0), (1, 1), (9, 3)])
async def test_a_failure_lets_chunks_through_first(after: int, delivered: int) -> None:
    engine = ScriptedTTSEngine(seconds_per_character=0.1, failures=[Failure(BROKEN, after)])
    chunks: list[AudioData] = []

    async def listen() -> None:
        async for chunk in engine.stream("abc"):
            chunks.append(chunk)  # noqa: PERF401  # kept when it raises

    with pytest.raises(EngineError):
        await listen()
    assert len(chunks) == delivered
    assert engine.calls[0].delivered == pytest.approx(0.1 * delivered)
    assert not engine.calls[0].finished


async def test_calls_are_recorded() -> None:
    engine = ScriptedTTSEngine(seconds_per_character=0.1)
    await engine.synthesize("abc", {"voice_id": "scripted"})
    async with aclosing(engine.stream("abc")) as chunks:
        await anext(chunks)
        assert engine.open_streams == 1
    whole, part = engine.calls
    assert whole == TTSCall(
        "abc", {"voice_id": "scripted"}, streamed=False, delivered=whole.delivered, finished=True
    )
    assert whole.delivered == pytest.approx(0.3)
    assert (part.streamed, part.delivered, part.finished) == (True, 0.1, False)
    assert engine.open_streams == 0
