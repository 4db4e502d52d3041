"""All three pause detectors on one real voice: eSpeak's, in a room that hisses."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.engines._framing import FramedPauseDetector
from realtime_stts.errors import MissingExtraError

pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)

from realtime_stts.engines.espeak import ESpeakTTSEngine

pytestmark = pytest.mark.anyio

RATE = 16_000  # Hz
TEXT = "When the sunlight strikes raindrops in the air they act as a prism"
PAUSE = 1.5  # s; before, between and after the two times it is said
SETTLED = 1.0  # s; WebRTC's own model of the noise takes that long, and guesses until then


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("energy", "EnergyPauseDetector"),
        ("silero", "SileroPauseDetector"),
        ("webrtc", "WebRTCPauseDetector"),
    ],
)
async def test_two_sentences_are_found_where_they_are(module: str, name: str) -> None:
    module = f"realtime_stts.engines.{module}"
    pytest.importorskip(module, exc_type=MissingExtraError)
    detector: FramedPauseDetector = getattr(import_module(module), name)()

    async with ESpeakTTSEngine() as tts:
        spoken = (await tts.synthesize(TEXT)).audio_data.resampled(RATE)
    voice = 0.5 * spoken.samples[:, 0]
    voice = voice[: np.flatnonzero(np.abs(voice) > 0.01)[-1]]
    pause = np.zeros(round(PAUSE * RATE))
    room = np.concatenate([pause, voice, pause, voice, pause])
    hiss = 0.001 * np.random.default_rng(2).standard_normal(len(room))
    result = await detector.process_chunk(AudioData.from_samples(room + hiss, RATE))

    length = len(voice) / RATE
    expected = [PAUSE, PAUSE + length, 2 * PAUSE + length, 2 * PAUSE + 2 * length]
    heard = [event.at for event in result["speech_events"] if event.at > SETTLED]
    assert heard == pytest.approx(expected, abs=0.15)
