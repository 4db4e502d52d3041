"""Pause detection with WebRTC's voice activity detector."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import MissingExtraError
from realtime_stts.testing import PauseDetectorSuite, speech

webrtcvad = pytest.importorskip("webrtcvad")

from realtime_stts.engines.webrtc import WebRTCPauseDetector  # noqa: E402

pytestmark = pytest.mark.anyio


class TestContract(PauseDetectorSuite):
    def engine(self) -> WebRTCPauseDetector:
        return WebRTCPauseDetector()


def noisy_speech(sample_rate: int = 16_000) -> AudioData:
    """Two seconds on which the four modes differ."""
    clip = speech(2.0, sample_rate).samples[:, 0]
    hiss = np.random.default_rng(3).standard_normal(len(clip))
    return AudioData.from_samples(0.02 * clip + 0.004 * hiss, sample_rate)


async def decisions(detector: WebRTCPauseDetector, audio: AudioData) -> list[float]:
    frames = (await detector.process_chunk(audio))["frames"]
    return [probability for *_, probability in frames]


def decisions_of_the_package(
    audio: AudioData, aggressiveness: int, frame_duration_ms: int
) -> list[float]:
    vad = webrtcvad.Vad(aggressiveness)
    width = 2 * audio.sample_rate * frame_duration_ms // 1000
    return [
        float(vad.is_speech(audio.data[first : first + width], audio.sample_rate))
        for first in range(0, len(audio.data) - width + 1, width)
    ]


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 32_000, 48_000])
@pytest.mark.parametrize("frame_duration_ms", [10, 20, 30])
async def test_frames_are_judged_as_the_package_judges_them(
    sample_rate: int, frame_duration_ms: int
) -> None:
    detector = WebRTCPauseDetector(
        sample_rate=sample_rate, frame_duration_ms=frame_duration_ms, aggressiveness=3
    )
    audio = noisy_speech(sample_rate)
    expected = decisions_of_the_package(audio, 3, frame_duration_ms)
    assert await decisions(detector, audio) == expected
    assert set(expected) == {0.0, 1.0}


async def test_chunks_of_twenty_milliseconds_lose_nothing() -> None:
    """Discord's and WebRTC's size, which is no multiple of the 30 ms frame."""
    detector, audio = WebRTCPauseDetector(), noisy_speech(48_000)
    chunks = [audio.sliced(i / 50, (i + 1) / 50) for i in range(100)]
    frames = [frame for chunk in chunks for frame in await _frames(detector, chunk)]
    assert len(frames) == 66
    assert frames == await _frames(WebRTCPauseDetector(), audio)


async def _frames(detector: WebRTCPauseDetector, audio: AudioData) -> list[Any]:
    return list((await detector.process_chunk(audio))["frames"])


async def test_aggressiveness_changes_from_the_next_frame_on() -> None:
    audio = noisy_speech()
    lenient = await decisions(WebRTCPauseDetector(aggressiveness=0), audio)
    strict = await decisions(WebRTCPauseDetector(aggressiveness=3), audio)
    assert sum(strict) < sum(lenient)

    detector = WebRTCPauseDetector(aggressiveness=0)
    await detector.process_chunk(AudioData(b"", 16_000))
    detector.set_aggressiveness(3)
    assert await decisions(detector, audio) == strict
    detector.reset()
    assert await decisions(detector, audio) == strict


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("conversation", (2, 8, 20)),
        ("formal_speech", (1, 10, 35)),
        ("responsive", (3, 5, 15)),
    ],
)
async def test_presets_are_the_contracts(preset: str, expected: tuple[int, int, int]) -> None:
    assert WebRTCPauseDetector.preset(preset).get_config() == {
        "aggressiveness": expected[0],
        "frame_duration_ms": 30,
        "min_speech_frames": expected[1],
        "min_pause_frames": expected[2],
        "sample_rate": 16_000,
    }


async def test_a_preset_with_shorter_frames_means_the_same_durations() -> None:
    config = WebRTCPauseDetector.preset("conversation", frame_duration_ms=10).get_config()
    assert (config["min_speech_frames"], config["min_pause_frames"]) == (24, 60)


async def test_a_clone_has_the_aggressiveness_in_force() -> None:
    detector = WebRTCPauseDetector(frame_duration_ms=20, sample_rate=8_000)
    detector.set_aggressiveness(1)
    assert detector.clone().get_config() == detector.get_config()
    assert detector.get_config()["aggressiveness"] == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"aggressiveness": 4}, "aggressiveness is 0, 1, 2 or 3"),
        ({"aggressiveness": -1}, "aggressiveness is 0, 1, 2 or 3"),
        ({"frame_duration_ms": 25}, "frame_duration_ms is 10, 20 or 30"),
        ({"sample_rate": 44_100}, "sample_rate is 8000, 16000, 32000 or 48000"),
        ({"min_speech_frames": 0}, "at least 1"),
    ],
    ids=str,
)
async def test_settings_out_of_range_are_refused(setting: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WebRTCPauseDetector(**setting)


async def test_an_aggressiveness_out_of_range_changes_nothing() -> None:
    detector = WebRTCPauseDetector()
    with pytest.raises(ValueError, match="aggressiveness is"):
        detector.set_aggressiveness(5)
    assert detector.get_config()["aggressiveness"] == 2


def test_a_missing_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    monkeypatch.delitem(sys.modules, "realtime_stts.engines.webrtc")
    with pytest.raises(MissingExtraError, match=r"realtime-stts\[local\]"):
        import_module("realtime_stts.engines.webrtc")
