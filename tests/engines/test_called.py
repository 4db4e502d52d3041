"""A call from another process reaches the engine's method, with what it was given."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from realtime_stts import AudioData, EngineError
from realtime_stts.engines._called import called
from realtime_stts.engines._isolated_values import packed_audio, plain
from realtime_stts.testing import ScriptedTTSEngine, ToneSTTEngine, speak_tones, tone_text

pytestmark = pytest.mark.anyio

CLIP = speak_tones("good day", 16_000)


class Sound:
    """A stream that knows whether it was closed."""

    closed = False

    async def chunks(self) -> AsyncGenerator[AudioData]:
        try:
            yield CLIP
        finally:
            self.closed = True


async def answers(engine: Any, payload: bytes = b"", **header: Any) -> tuple[list[Any], Sound]:
    sound = Sound()
    async with aclosing(called(engine, header, payload, sound.chunks)) as results:
        return [result async for result in results], sound


async def test_voices_are_listed() -> None:
    (voices,), _ = await answers(ScriptedTTSEngine(), method="list_voices")
    assert voices == await ScriptedTTSEngine().list_voices()


@pytest.mark.parametrize("method", ["synthesize", "speak"])
async def test_a_text_is_spoken_as_it_was_configured(method: str) -> None:
    config = plain({"speed_factor": 2.0})
    results, _ = await answers(
        ScriptedTTSEngine(), method=method, text="hello", voice_config=config
    )
    sounds = [getattr(result, "audio_data", result) for result in results]
    spoken = AudioData.concat(sounds)
    assert tone_text(spoken) == "hello"
    slower = (await ScriptedTTSEngine().synthesize("hello", {})).audio_data
    assert spoken.duration_seconds < slower.duration_seconds


async def test_a_clip_is_heard() -> None:
    layout, data = packed_audio(CLIP)
    (result,), _ = await answers(
        ToneSTTEngine(), data, method="transcribe", layout=layout, language="en"
    )
    assert (result.text, result.language) == ("good day", "en")


async def test_a_stream_is_heard_and_closed() -> None:
    results, sound = await answers(ToneSTTEngine(), method="listen", language=None)
    assert results[-1].text == "good day"
    assert sound.closed


async def test_what_an_engine_must_not_answer_is_its_failure() -> None:
    class Mute(ScriptedTTSEngine):
        async def synthesize(self, text: str, voice_config: Any = None) -> Any:
            return None

    with pytest.raises(EngineError):
        await answers(Mute(), method="synthesize", text="hello", voice_config={})
