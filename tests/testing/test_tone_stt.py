"""The recogniser of tones hears what was said, when it was said, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.audio import AudioData
from realtime_stts.protocols import ManagedSTTEngine, TranscriptionResult
from realtime_stts.testing import (
    ScriptedTTSEngine,
    StreamingSpeechToTextSuite,
    STTCall,
    ToneSTTEngine,
    chunked,
    speak_tones,
    speech,
    virtual_time,
)

pytestmark = pytest.mark.anyio

TEXT = "What will the weather be?"
CLIP = AudioData.concat([speak_tones(TEXT, 16_000), AudioData.silence(0.5, 16_000)])


class TestToneSTTEngine(StreamingSpeechToTextSuite):
    text = TEXT
    streams_as_it_transcribes = True

    def engine(self) -> ToneSTTEngine:
        return ToneSTTEngine(load_time=1.0)

    def clip(self) -> AudioData:
        return speak_tones(TEXT, 16_000)


async def stream(
    engine: ToneSTTEngine, audio: AudioData = CLIP, seconds: float = 0.02
) -> list[TranscriptionResult]:
    async with aclosing(chunked(audio, seconds)) as source, aclosing(engine.stream(source)) as all:
        return [result async for result in all]


async def test_is_managed_like_a_real_engine() -> None:
    assert isinstance(ToneSTTEngine(), ManagedSTTEngine)


async def test_it_understands_the_scripted_voice() -> None:
    spoken = await ScriptedTTSEngine().synthesize(TEXT, {"speed_factor": 1.3})
    assert (await ToneSTTEngine().transcribe(spoken.audio_data)).text == TEXT


async def test_what_says_nothing_is_heard_as_nothing() -> None:
    engine = ToneSTTEngine()
    for sound in (speech(1.0), AudioData.silence(1.0, 16_000)):
        assert await engine.transcribe(sound) == TranscriptionResult("", "en", [])


async def test_words_have_the_times_at_which_they_were_said() -> None:
    audio = AudioData.concat([AudioData.silence(1.0, 16_000), speak_tones("one two", 16_000)])
    result = await ToneSTTEngine().transcribe(audio)
    assert [(word.text, word.start, word.end) for word in result.words] == [
        ("one", pytest.approx(1.0, abs=0.006), pytest.approx(1.18, abs=0.006)),
        ("two", pytest.approx(1.24, abs=0.006), pytest.approx(1.42, abs=0.006)),
    ]
    [segment] = result.segments
    assert (segment.text, segment.start, segment.end) == (
        "one two",
        result.words[0].start,
        result.words[1].end,
    )


async def test_partial_results_come_as_words_are_complete() -> None:
    results = await stream(ToneSTTEngine(), CLIP)
    assert [(result.text, result.committed, result.partial) for result in results] == [
        ("What", "What", True),
        ("What will", "What will", True),
        ("What will the", "What will the", True),
        ("What will the weather", "What will the weather", True),
        # Silence follows: complete, but perhaps only paused.
        ("What will the weather be?", "What will the weather", True),
        ("What will the weather be?", "What will the weather be?", False),
    ]


@pytest.mark.parametrize(("every", "n_words"), [(2, [2, 4, 5]), (5, [5, 5]), (None, [5])])
async def test_partial_results_come_as_often_as_asked_for(
    every: int | None, n_words: list[int]
) -> None:
    results = await stream(ToneSTTEngine(partial_every=every))
    assert [len(result.words) for result in results] == n_words


async def test_partial_results_come_with_their_sound() -> None:
    began = anyio.current_time()
    times: list[float] = []
    async with (
        aclosing(chunked(CLIP, 0.02, paced=True)) as source,
        aclosing(ToneSTTEngine(latency=0.25).stream(source)) as results,
    ):
        async for result in results:
            now = anyio.current_time() - began
            assert result.words[-1].end < now
            times.append(now - result.words[-1].end)
    *partial, final = times
    assert max(partial) < 0.3  # the space, the beginning of the next word, some analysis
    assert final == pytest.approx(0.5 + 0.25, abs=0.01)


@given(text=st.text("abc ", max_size=12), lengths=st.lists(st.integers(0, 9_000), max_size=12))
def test_results_do_not_depend_on_how_the_audio_is_cut(text: str, lengths: list[int]) -> None:
    clip = AudioData.concat([speak_tones(text, 24_000), AudioData.silence(0.3, 24_000)])

    async def main() -> None:
        async def source() -> AsyncIterator[AudioData]:
            edges = np.minimum(np.cumsum([0, *lengths, clip.n_frames]), clip.n_frames)
            for start, end in pairwise(edges):
                yield clip.sliced(start / 24_000, end / 24_000)

        engine = ToneSTTEngine()
        assert [result async for result in engine.stream(source())] == await stream(engine, clip)

    backend, options = virtual_time("asyncio")
    anyio.run(main, backend=backend, backend_options=options)


async def test_a_callers_language_wins() -> None:
    engine = ToneSTTEngine(language="de")
    assert (await engine.transcribe(CLIP, "fr")).language == "fr"
    assert (await engine.transcribe(CLIP)).language == "de"


async def test_calls_are_recorded() -> None:
    engine = ToneSTTEngine()
    whole = await engine.transcribe(CLIP, "en")
    async with (
        aclosing(chunked(CLIP, 0.25)) as source,
        aclosing(engine.stream(source)) as results,
    ):
        await anext(results)
        assert engine.open_streams == 1
    assert engine.calls == [
        STTCall("en", streamed=False, heard=CLIP.duration_seconds, result=whole),
        STTCall(None, streamed=True, heard=0.5, result=None),
    ]
    assert engine.open_streams == 0
