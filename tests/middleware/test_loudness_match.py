"""Loudness of TTS: every voice as loud as the next."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.middleware import Chain, LoudnessMatchMiddleware
from realtime_stts.middleware._loudness import Loudness
from realtime_stts.middleware.loudness_match import LoudnessStatistics
from realtime_stts.protocols import SynthesisResult
from realtime_stts.testing import MiddlewareSuite, chunked, speech

pytestmark = pytest.mark.anyio

SPEECH = speech(3.0, 24_000)


class TestLoudnessMatchPromises(MiddlewareSuite):
    kinds = ("tts",)
    changes_results = True

    def middleware(self) -> LoudnessMatchMiddleware:
        return LoudnessMatchMiddleware()


class Mouth:
    """TTS whose voices are as loud as their names say."""

    name = "mouth"
    model_loaded = True

    def _sound(self, voice_config: dict[str, Any] | None) -> AudioData:
        level = float((voice_config or {}).get("voice_id", "1"))
        return AudioData.from_samples(SPEECH.samples * level, SPEECH.sample_rate)

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        return SynthesisResult(self._sound(voice_config), text, "alice")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        async for chunk in chunked(self._sound(voice_config)):
            yield chunk

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


def lufs(audio: AudioData) -> float:
    measure = Loudness(audio.sample_rate, audio.channels)
    measure.push(audio.samples)
    return measure.value()


async def once(match: LoudnessMatchMiddleware, voice: str) -> AudioData:
    result = await Chain(match).wrap(Mouth()).synthesize("hello", {"voice_id": voice})
    assert result is not None
    return result.audio_data


async def stream(match: LoudnessMatchMiddleware, voice: str) -> AudioData:
    tts = Chain(match).wrap(Mouth())
    return AudioData.concat([chunk async for chunk in tts.stream("hello", {"voice_id": voice})])


async def test_loud_and_quiet_voices_become_as_loud_as_the_target() -> None:
    match = LoudnessMatchMiddleware(target=-23.0)
    for voice in ("1.0", "0.3", "0.15"):
        made = await once(match, voice)
        assert lufs(made) == pytest.approx(-23.0, abs=0.2)
        assert made.n_frames == SPEECH.n_frames
    assert match.statistics() == LoudnessStatistics(calls=3, limited=0, voices=3)


async def test_two_channels_are_as_loud_as_one() -> None:
    class Stereo(Mouth):
        def _sound(self, voice_config: dict[str, Any] | None) -> AudioData:
            return AudioData.from_samples(np.repeat(SPEECH.samples, 2, axis=1), 24_000)

    tts = Chain(LoudnessMatchMiddleware(target=-25.0)).wrap(Stereo())
    result = await tts.synthesize("hello", {})
    assert result is not None
    assert lufs(result.audio_data.mono()) == pytest.approx(-25.0, abs=0.2)


async def test_a_stream_of_a_voice_heard_before_is_right_from_the_beginning() -> None:
    match = LoudnessMatchMiddleware(target=-23.0)
    first = lufs(await stream(match, "0.1"))
    second = lufs(await stream(match, "0.1"))
    assert first < -26
    assert second == pytest.approx(-23.0, abs=0.5)


async def test_a_clip_teaches_what_a_stream_knows() -> None:
    match = LoudnessMatchMiddleware(target=-23.0)
    await once(match, "0.1")
    assert lufs(await stream(match, "0.1")) == pytest.approx(-23.0, abs=0.5)


async def test_only_so_many_voices_are_remembered() -> None:
    match = LoudnessMatchMiddleware(target=-23.0, max_voices=2)
    for voice in ("0.1", "0.2", "0.1", "0.3"):
        await stream(match, voice)
    assert match.statistics().voices == 2
    assert lufs(await stream(match, "0.1")) == pytest.approx(-23.0, abs=0.5)  # used last
    assert lufs(await stream(match, "0.2")) < -24  # forgotten


async def test_what_cannot_be_raised_enough_is_counted() -> None:
    match = LoudnessMatchMiddleware(max_gain=3.0)
    made = await once(match, "0.1")
    assert lufs(made) == pytest.approx(lufs(SPEECH) - 20 + 3, abs=0.2)
    assert match.statistics() == LoudnessStatistics(calls=1, limited=1, voices=1)


async def test_silence_stays_silence_and_teaches_nothing() -> None:
    match = LoudnessMatchMiddleware()
    assert (await once(match, "0")).samples.any() == np.False_
    assert (await stream(match, "0")).samples.any() == np.False_
    assert match.statistics() == LoudnessStatistics(calls=2, limited=0, voices=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"target": 0.0}, "target is -40 to -5 dB, not 0.0"),
        ({"target": float("nan")}, "target is"),
        ({"max_gain": -1.0}, "max_gain is 0 to 60 dB"),
        ({"ceiling": 1.0}, "ceiling is -20 to 0 dB"),
        ({"max_voices": 0}, "max_voices is at least 1, not 0"),
    ],
)
async def test_refuses_what_makes_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoudnessMatchMiddleware(**wrong)
