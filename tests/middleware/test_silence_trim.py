"""Silence in TTS results, one-shot and streaming."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.middleware import Chain, SilenceTrimMiddleware
from realtime_stts.middleware.silence_trim import SilenceStatistics
from realtime_stts.protocols import SynthesisResult
from realtime_stts.testing import MiddlewareSuite, chunked, speech

pytestmark = pytest.mark.anyio

RATE = 16_000


class TestSilenceTrimPromises(MiddlewareSuite):
    kinds = ("tts",)
    changes_results = True

    def middleware(self) -> SilenceTrimMiddleware:
        return SilenceTrimMiddleware()


class Mouth:
    """TTS that says what it is given."""

    name = "mouth"
    model_loaded = True

    def __init__(self, audio: AudioData) -> None:
        self._audio = audio

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        return SynthesisResult(self._audio, text, "alice")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        async for chunk in chunked(self._audio, 0.25):
            yield chunk

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


def said(*seconds: float) -> AudioData:
    """Silence and speech in turn."""
    parts = [
        speech(each, RATE) if n % 2 else AudioData.silence(each, RATE)
        for n, each in enumerate(seconds)
    ]
    return AudioData.concat(parts)


async def once(trim: SilenceTrimMiddleware, audio: AudioData) -> AudioData:
    result = await Chain(trim).wrap(Mouth(audio)).synthesize("hello", {})
    assert result is not None
    return result.audio_data


async def stream(trim: SilenceTrimMiddleware, audio: AudioData) -> list[AudioData]:
    return [chunk async for chunk in Chain(trim).wrap(Mouth(audio)).stream("hello", {})]


async def test_a_clip_and_a_stream_are_cut_alike() -> None:
    trim = SilenceTrimMiddleware()
    audio = said(1.0, 0.5, 2.0, 0.5, 1.0)
    made = await once(trim, audio)
    assert made.duration_seconds == pytest.approx(0.05 + 0.5 + 0.5 + 0.5 + 0.1)
    assert AudioData.concat(await stream(trim, audio)) == made
    assert trim.statistics() == SilenceStatistics(2, 10.0, pytest.approx(6.7))


async def test_a_stream_gives_sound_at_once_and_silence_when_it_must() -> None:
    chunks = await stream(SilenceTrimMiddleware(), said(1.0, 0.5, 0.5, 0.25))
    assert [chunk.duration_seconds for chunk in chunks] == [0.3, 0.25, 0.75]


async def test_silences_between_may_be_kept() -> None:
    audio = said(0.0, 0.5, 2.0, 0.5)
    assert (await once(SilenceTrimMiddleware(internal=None), audio)) == audio


async def test_a_stream_of_silence_is_not_lost() -> None:
    [chunk] = await stream(SilenceTrimMiddleware(), said(2.0))
    assert chunk == AudioData.silence(0.1, RATE)


async def test_the_threshold_says_what_is_silence() -> None:
    hum = AudioData.from_samples(speech(1.0, RATE).samples * np.float32(0.05), RATE)  # -40 dBFS
    assert (await once(SilenceTrimMiddleware(threshold=-50.0), hum)).duration_seconds > 0.9
    assert (await once(SilenceTrimMiddleware(threshold=-30.0), hum)).duration_seconds == 0.1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threshold": 0.0}, "threshold is -90 to -20 dBFS, not 0.0"),
        ({"threshold": float("nan")}, "threshold is"),
        ({"leading": -1.0}, "leading is 0 to 10 s, not -1.0"),
        ({"trailing": float("inf")}, "trailing is 0 to 10 s"),
        ({"internal": 11.0}, "internal is 0 to 10 s"),
        ({"fade": 1.0}, "fade is 0 to 0.1 s"),
    ],
)
async def test_refuses_what_makes_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SilenceTrimMiddleware(**wrong)
