"""What every pause detector shares, over a model that is nothing but a frame's loudest sample."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, repeat
from typing import Any

import anyio
import numpy as np
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_stts._endpoint import SpeechStarted, SpeechStopped
from realtime_stts.audio import AudioData
from realtime_stts.engines._framing import FrameCutter, FramedPauseDetector
from realtime_stts.errors import AudioFormatError
from realtime_stts.protocols import PauseDetector
from realtime_stts.testing import speech

pytestmark = pytest.mark.anyio

RATE = 16_000  # Hz
FRAME = 320  # samples: 20 ms


class PeakDetector(FramedPauseDetector):
    """Speech is what was loud, now or, a little less so, in the frame before."""

    _peak_before: float

    def __init__(self, min_speech_frames: int = 2, min_pause_frames: int = 3) -> None:
        super().__init__(
            sample_rate=RATE,
            frame_size=FRAME,
            min_speech_frames=min_speech_frames,
            min_pause_frames=min_pause_frames,
        )
        self.reset()

    def get_config(self) -> dict[str, Any]:
        return {
            "min_speech_frames": self._min_speech_frames,
            "min_pause_frames": self._min_pause_frames,
        }

    def _probability(self, frame: NDArray[np.int16]) -> float:
        peak = float(np.abs(frame.astype(int)).max()) / (1 << 15)
        probability = max(peak, 0.5 * self._peak_before)
        self._peak_before = peak
        return probability

    def _forget(self) -> None:
        self._peak_before = 0.0


def level(value: float, n_frames: int) -> AudioData:
    return AudioData.from_samples(np.full(n_frames * FRAME, value), RATE)


def cut(audio: AudioData, sizes: Iterator[int]) -> Iterator[AudioData]:
    """``audio`` in chunks of so many samples."""
    width = len(audio.data) // max(1, audio.n_frames)
    position = 0
    while position < len(audio.data):
        end = position + width * next(sizes)
        yield AudioData(audio.data[position:end], audio.sample_rate, audio.channels, audio.format)
        position = end


async def listen(
    detector: FramedPauseDetector, chunks: Iterator[AudioData]
) -> tuple[list[Any], list[Any]]:
    """All events and all frames of some chunks."""
    events: list[Any] = []
    frames: list[Any] = []
    for chunk in chunks:
        result = await detector.process_chunk(chunk)
        events += result["speech_events"]
        frames += result["frames"]
    return events, frames


# -- frames ------------------------------------------------------------------------------


@given(st.binary(max_size=600), st.lists(st.integers(1, 90), min_size=1), st.integers(1, 40))
def test_frames_are_the_same_however_audio_is_cut(
    data: bytes, sizes: list[int], frame_size: int
) -> None:
    """Every sample comes out once, in order, but for the last frame's beginning."""
    audio = AudioData(data[: len(data) // 2 * 2], RATE)
    cutter = FrameCutter(RATE, frame_size)
    frames = [cutter.push(chunk) for chunk in cut(audio, cycle(sizes))]
    assert all(frame.shape[1] == frame_size for frame in frames)
    joined = b"".join(frame.tobytes() for frame in frames)
    n_whole = audio.n_frames // frame_size
    assert joined == audio.data[: 2 * frame_size * n_whole]


def test_frames_are_of_the_models_rate_and_mono() -> None:
    sound = speech(1.0, 48_000).samples
    stereo = AudioData.from_samples(np.hstack([sound, np.zeros_like(sound)]), 48_000)
    frames = FrameCutter(RATE, FRAME).push(stereo)
    expected = speech(1.0, RATE).samples[: frames.size, 0] / 2
    assert frames.shape == (48, FRAME)  # the resampler holds back some 15 ms
    # The resampled sound is the sound made at that rate, once the filter hears both sides.
    error = np.abs(frames.ravel() / 32768 - expected)[FRAME:]
    assert error.max() < 1e-4


# -- what a chunk tells ------------------------------------------------------------------


async def test_it_is_a_pause_detector() -> None:
    assert isinstance(PeakDetector(), PauseDetector)


async def test_a_chunk_tells_what_was_heard_and_when() -> None:
    detector = PeakDetector()
    first = await detector.process_chunk(AudioData.concat([level(0.0, 2), level(0.75, 3)]))
    assert first == {
        "is_speaking": True,
        "events": ["speech_start"],
        "speech_events": [SpeechStarted(0.04, 0.08)],
        "frames": (
            (0.0, 0.02, 0.0),
            (0.02, 0.04, 0.0),
            (0.04, 0.06, 0.75),
            (0.06, 0.08, 0.75),
            (0.08, 0.1, 0.75),
        ),
        "speech_frames": 3,
        "silence_frames": 0,
        "speech_duration_ms": 60,
        "silence_duration_ms": 0,
        "speech_confidence": 0.75,
        "chunk_count": 1,
    }
    second = await detector.process_chunk(level(0.0, 4))
    assert second == {
        "is_speaking": False,
        "events": ["speech_end"],
        "speech_events": [SpeechStopped(0.12, 0.18)],
        "frames": (
            (0.1, 0.12, 0.375),
            (0.12, 0.14, 0.0),
            (0.14, 0.16, 0.0),
            (0.16, 0.18, 0.0),
        ),
        "speech_frames": 0,
        "silence_frames": 3,
        "speech_duration_ms": 0,
        "silence_duration_ms": 60,
        "speech_confidence": 0.0,
        "chunk_count": 2,
    }


async def test_a_pause_too_short_to_count_is_still_speech() -> None:
    detector = PeakDetector()
    result = await detector.process_chunk(AudioData.concat([level(0.9, 3), level(0.0, 3)]))
    assert (result["is_speaking"], detector.is_speaking) == (True, True)
    assert (result["speech_frames"], result["silence_frames"]) == (0, 2)


async def test_one_chunk_may_hold_a_whole_conversation() -> None:
    turns = [level(0.0, 5), level(0.9, 5), level(0.0, 5), level(0.9, 5), level(0.0, 5)]
    result = await PeakDetector().process_chunk(AudioData.concat(turns))
    assert result["events"] == ["speech_start", "speech_end"] * 2


async def test_a_chunk_shorter_than_a_frame_waits_for_the_rest() -> None:
    detector = PeakDetector()
    half = AudioData.from_samples(np.full(FRAME // 2, 0.9), RATE)
    counts = [len((await detector.process_chunk(half))["frames"]) for _ in range(6)]
    assert counts == [0, 1, 0, 1, 0, 1]


async def test_an_empty_chunk_is_a_chunk_of_no_frames() -> None:
    detector = PeakDetector()
    result = await detector.process_chunk(AudioData(b"", RATE))
    assert (result["frames"], result["chunk_count"]) == ((), 1)
    assert result["speech_confidence"] == 0.0


async def test_an_encoded_chunk_is_decoded_first() -> None:
    sound = AudioData.concat([level(0.9, 10), level(0.0, 10)])
    encoded = AudioData(sound.encode("flac"), RATE, format="flac")
    expected = await PeakDetector().process_chunk(sound)
    assert await PeakDetector().process_chunk(encoded) == expected


# -- any slicing, same answer ------------------------------------------------------------

levels = st.lists(st.sampled_from([0.0, 0.3, 0.45, 0.7, 1.0]), min_size=1, max_size=30)


@given(
    levels,
    st.lists(st.integers(1, 2_000), max_size=20),
    st.sampled_from([(RATE, 1), (8_000, 1), (44_100, 2), (48_000, 2)]),
)
@settings(deadline=None)
async def test_events_and_times_are_the_same_however_audio_is_cut(
    heard: list[float], sizes: list[int], layout: tuple[int, int]
) -> None:
    rate, channels = layout
    samples = np.repeat(heard, rate // 50)
    audio = AudioData.from_samples(np.tile(samples[:, np.newaxis], channels), rate)
    whole = await listen(PeakDetector(), iter([audio]))
    assert await listen(PeakDetector(), cut(audio, cycle([*sizes, 700]))) == whole


async def test_a_chunk_longer_than_a_second_is_the_same_too() -> None:
    """It is heard second by second, which must leave no seam at any rate."""
    audio = AudioData.from_samples(np.repeat([0.9, 0.0, 0.9], [75_001, 30_007, 60_000]), 44_100)
    whole = await listen(PeakDetector(), iter([audio]))
    assert whole[0]
    assert await listen(PeakDetector(), cut(audio, repeat(441))) == whole


# -- beginnings --------------------------------------------------------------------------


@given(levels, levels, st.integers(0, FRAME - 1))
@settings(max_examples=50, deadline=None)
async def test_after_reset_a_detector_is_as_new(
    before: list[float], after: list[float], odd: int
) -> None:
    """Whatever state it was left in, amid a frame, at whichever rate."""
    detector = PeakDetector()
    samples = np.repeat(before, 960)
    await detector.process_chunk(AudioData.from_samples(samples[: len(samples) - odd], 48_000))
    detector.reset()
    audio = AudioData.from_samples(np.repeat(after, FRAME), RATE)
    assert not detector.is_speaking
    assert await detector.process_chunk(audio) == await PeakDetector().process_chunk(audio)


async def test_a_clone_has_the_settings_and_none_of_what_was_heard() -> None:
    detector = PeakDetector(min_speech_frames=1, min_pause_frames=2)
    await detector.process_chunk(level(1.0, 3))
    clone = detector.clone()
    assert (type(clone), clone.get_config()) == (PeakDetector, detector.get_config())
    assert (detector.is_speaking, clone.is_speaking) == (True, False)
    await clone.process_chunk(level(0.0, 5))
    assert detector.is_speaking


@pytest.mark.parametrize("changed", [(48_000, 1), (RATE, 2)], ids=["rate", "channels"])
async def test_a_stream_that_changes_its_layout_is_refused_and_not_heard(
    changed: tuple[int, int],
) -> None:
    detector = PeakDetector()
    await detector.process_chunk(level(1.0, 3))
    with pytest.raises(AudioFormatError, match="the stream began with"):
        await detector.process_chunk(AudioData.silence(1.0, *changed))
    result = await detector.process_chunk(level(1.0, 1))
    assert (result["is_speaking"], result["chunk_count"]) == (True, 2)
    assert result["frames"] == ((0.06, 0.08, pytest.approx(1.0, abs=1e-4)),)


# -- the event loop ----------------------------------------------------------------------


async def turns_of_others_during(audio: AudioData) -> int:
    """How often another task gets its turn while ``audio`` is heard."""
    turns = heard = 0

    async def another() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(another)
        await checkpoint()
        turns = 0
        await PeakDetector().process_chunk(audio)
        heard = turns
        tasks.cancel_scope.cancel()
    return heard


async def test_a_chunk_of_a_second_is_heard_at_one_go() -> None:
    assert await turns_of_others_during(AudioData.silence(1.0, RATE)) == 0


async def test_a_long_chunk_gives_way_to_others() -> None:
    assert await turns_of_others_during(AudioData.silence(60.0, RATE)) >= 50


async def test_a_long_chunk_can_be_cancelled() -> None:
    detector = PeakDetector()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await detector.process_chunk(level(1.0, 500))
    assert scope.cancelled_caught
    detector.reset()
    assert (await detector.process_chunk(level(1.0, 1)))["chunk_count"] == 1


# -- settings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "frames"),
    [("conversation", (12, 30)), ("formal_speech", (15, 52)), ("responsive", (8, 22))],
)
async def test_a_preset_means_durations_whatever_the_frame(
    name: str, frames: tuple[int, int]
) -> None:
    """The contract's 8/20, 10/35 and 5/15 frames of 30 ms, in frames of 20 ms."""
    config = PeakDetector.preset(name).get_config()
    assert config == {"min_speech_frames": frames[0], "min_pause_frames": frames[1]}


async def test_what_is_given_wins_over_the_preset() -> None:
    config = PeakDetector.preset("conversation", min_pause_frames=7).get_config()
    assert config == {"min_speech_frames": 12, "min_pause_frames": 7}


async def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'shouting'.*conversation, formal_speech, responsive"):
        PeakDetector.preset("shouting")


@pytest.mark.parametrize("setting", ["min_speech_frames", "min_pause_frames"])
async def test_no_frames_at_all_are_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="at least 1, not"):
        PeakDetector(**{setting: 0})
