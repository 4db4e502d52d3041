"""Pause detection by loudness, and the room it learns."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from realtime_stts.audio import AudioData
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.testing import PauseDetectorSuite, speech

pytestmark = pytest.mark.anyio

RATE = 16_000  # Hz


class TestContract(PauseDetectorSuite):
    def engine(self) -> EnergyPauseDetector:
        return EnergyPauseDetector()


def noise(seconds: float, rms: float, *, low_pass: bool = False) -> NDArray[np.float64]:
    """The hiss of a room; or, its highs taken away, the rumble of a fan."""
    hiss = np.random.default_rng(5).standard_normal(round(seconds * RATE))
    if low_pass:
        spectrum = np.fft.rfft(hiss)
        frequency = np.fft.rfftfreq(len(hiss), 1 / RATE)
        hiss = np.fft.irfft(spectrum / np.maximum(frequency, 20.0), len(hiss))
    scaled: NDArray[np.float64] = hiss * rms / np.sqrt(np.mean(hiss**2))
    return scaled


def tone(seconds: float, rms: float) -> NDArray[np.float64]:
    time = np.arange(round(seconds * RATE)) / RATE
    wave: NDArray[np.float64] = np.sqrt(2) * np.sin(2 * np.pi * 150 * time)
    return rms * wave


def talk(seconds: float, rms: float) -> NDArray[np.float64]:
    """Syllables with a gap of 0.2 s between words, too short for a pause."""
    word = speech(0.8).samples[:, 0]
    words = np.tile(np.concatenate([word, np.zeros(RATE // 5)]), int(seconds) + 1)
    cut = words[: round(seconds * RATE)]
    scaled: NDArray[np.float64] = cut * rms / np.sqrt(np.mean(word**2))
    return scaled


async def listen(
    detector: EnergyPauseDetector, *parts: NDArray[np.float64]
) -> list[tuple[str, float]]:
    """What is heard, and when it was; on each next call, of the same stream."""
    audio = AudioData.from_samples(np.concatenate(parts), RATE)
    result = await detector.process_chunk(audio)
    return list(zip(result["events"], (event.at for event in result["speech_events"]), strict=True))


def about(*events: tuple[str, float]) -> list[tuple[str, Any]]:
    """The same events, each within a frame or two of its time."""
    return [(name, pytest.approx(at, abs=0.07)) for name, at in events]


# -- loudness ----------------------------------------------------------------------------


async def test_speech_is_found_where_it_is() -> None:
    heard = await listen(
        EnergyPauseDetector(),
        noise(1.0, 0.001),
        talk(2.8, 0.1),
        noise(1.5, 0.001),
        talk(0.8, 0.1),
        noise(1.0, 0.001),
    )
    assert heard == about(
        ("speech_start", 1.0), ("speech_end", 3.8), ("speech_start", 5.3), ("speech_end", 6.1)
    )


async def test_probability_is_one_half_at_the_threshold_and_grows_with_the_level() -> None:
    detector = EnergyPauseDetector(energy_threshold=0.01, adaptive_threshold=False)
    levels = [0.0, 0.0001, 0.002, 0.007, 0.01, 0.014, 0.05, 0.3, 1.0]
    squares = np.repeat(levels, 480)
    result = await detector.process_chunk(AudioData.from_samples(squares, RATE, "pcm_f32le"))
    probabilities = [probability for *_, probability in result["frames"]]
    assert all(a < b for a, b in pairwise(probabilities))
    assert probabilities[4] == pytest.approx(0.5, abs=0.01)
    assert 0.0 < probabilities[0] < 0.001
    assert 0.99 < probabilities[-1] < 1.0


async def test_speech_goes_on_three_decibels_below_where_it_starts() -> None:
    """A talker whose voice trails off is not cut at the level that began the talk."""
    soft = noise(2.0, 0.0075)  # 2.5 dB under the threshold
    fixed = EnergyPauseDetector(energy_threshold=0.01, adaptive_threshold=False)
    assert await listen(fixed, soft) == []
    assert await listen(fixed, noise(1.0, 0.1), soft) == about(("speech_start", 2.0))
    assert await listen(fixed, noise(1.0, 0.006)) == about(("speech_end", 5.0))


# -- the room ----------------------------------------------------------------------------


@pytest.mark.parametrize("sound", [tone, noise, talk], ids=["a tone", "a hiss", "syllables"])
async def test_twenty_seconds_of_steady_speech_are_one_stretch(sound: Any) -> None:
    heard = await listen(
        EnergyPauseDetector(), noise(2.0, 0.001), sound(20.0, 0.1), noise(2.0, 0.001)
    )
    assert [name for name, _ in heard] == ["speech_start", "speech_end"]
    assert heard[0][1] == pytest.approx(2.0, abs=0.07)
    assert heard[1][1] == pytest.approx(22.0, abs=0.3)


@pytest.mark.parametrize("low_pass", [False, True], ids=["hiss", "rumble"])
async def test_talk_of_two_minutes_is_never_cut_nor_does_it_teach_the_floor(
    low_pass: bool,
) -> None:
    detector = EnergyPauseDetector()
    room = noise(122.0, 0.003, low_pass=low_pass)
    room[2 * RATE :] += talk(120.0, 0.1)
    assert await listen(detector, room) == about(("speech_start", 2.0))
    assert detector.get_stats()["background_energy"] < 2 * 0.003


@pytest.mark.parametrize("low_pass", [False, True], ids=["hiss", "rumble"])
async def test_a_fan_switched_on_is_background_within_the_window(low_pass: bool) -> None:
    """And then speech over the fan is heard as it was in the quiet room."""
    detector = EnergyPauseDetector(noise_window=10.0)
    room = noise(40.0, 0.03, low_pass=low_pass)
    room[: 3 * RATE] /= 30
    started, stopped = await listen(detector, room)
    assert [started] == about(("speech_start", 3.0))
    assert stopped[0] == "speech_end"
    assert 12.0 < stopped[1] < 3.0 + 11.0 + 1.0

    over_fan = noise(6.0, 0.03, low_pass=low_pass)
    over_fan[2 * RATE : 4 * RATE] += tone(2.0, 0.3)
    assert await listen(detector, over_fan) == about(("speech_start", 42.0), ("speech_end", 44.0))


async def test_a_fan_switched_on_while_somebody_talks_does_not_cut_the_talk() -> None:
    detector = EnergyPauseDetector(noise_window=5.0)
    room = noise(41.0, 0.005)
    room[1 * RATE :] += talk(40.0, 0.2)
    room[10 * RATE :] += noise(31.0, 0.01)
    assert await listen(detector, room) == about(("speech_start", 1.0))
    assert 0.01 < detector.get_stats()["background_energy"] < 0.02


async def test_a_room_that_slowly_grows_louder_is_followed() -> None:
    """Ten times the noise over a minute, and never a word heard in it."""
    detector = EnergyPauseDetector()
    growing = noise(60.0, 0.002) * np.logspace(0, 1, 60 * RATE)
    assert await listen(detector, growing) == []
    assert detector.get_stats()["threshold"] == pytest.approx(3 * 0.02, rel=0.1)


async def test_a_room_that_grows_quiet_again_is_followed_at_once() -> None:
    detector = EnergyPauseDetector()
    await listen(detector, noise(20.0, 0.002) * np.logspace(0, 1, 20 * RATE))
    await listen(detector, noise(2.0, 0.001))
    assert detector.get_stats()["threshold"] == pytest.approx(0.005, rel=0.05)


async def test_soft_sounds_of_a_talker_do_not_teach_the_floor() -> None:
    """Every other syllable is under the threshold: not speech by itself, and yet no room."""
    detector = EnergyPauseDetector()
    syllables = np.tile(np.concatenate([tone(0.09, 0.1), tone(0.15, 0.004)]), 80)
    heard = await listen(detector, noise(3.0, 0.001), syllables)
    assert heard == about(("speech_start", 3.0))
    assert detector.get_stats()["background_energy"] == pytest.approx(0.001, rel=0.1)


async def test_clicks_do_not_teach_the_floor() -> None:
    detector = EnergyPauseDetector()
    ticking = noise(20.1, 0.001)
    ticking.reshape(-1, 4800)[:, 2400:2880] += 0.3  # 30 ms in every 300
    assert await listen(detector, ticking) == []
    assert detector.get_stats()["background_energy"] == pytest.approx(0.001, rel=0.1)


async def test_a_room_that_grows_quiet_behind_a_talker_is_followed() -> None:
    """The gaps between words tell."""
    detector = EnergyPauseDetector()
    await listen(detector, noise(20.0, 0.002) * np.logspace(0, 1, 20 * RATE))
    assert detector.get_stats()["background_energy"] == pytest.approx(0.02, rel=0.1)
    room = noise(20.0, 0.001)
    assert await listen(detector, room + talk(20.0, 0.3)) == about(("speech_start", 20.0))
    assert 0.001 < detector.get_stats()["background_energy"] < 0.002


async def test_a_muted_microphone_teaches_nothing() -> None:
    """Zeros are no room: what was noise before them is noise after them."""
    detector = EnergyPauseDetector()
    await listen(detector, noise(5.0, 0.008))
    learnt = detector.get_stats()["background_energy"]
    assert await listen(detector, np.zeros(20 * RATE), noise(5.0, 0.008)) == []
    assert learnt == pytest.approx(0.008, rel=0.05)


async def test_a_fixed_threshold_stays() -> None:
    detector = EnergyPauseDetector(adaptive_threshold=False, noise_window=5.0)
    assert await listen(detector, noise(30.0, 0.02)) == about(("speech_start", 0.0))
    assert detector.get_stats()["threshold"] == pytest.approx(0.01)


async def test_reset_forgets_the_room() -> None:
    detector = EnergyPauseDetector(noise_window=5.0)
    await listen(detector, noise(20.0, 0.03))
    assert detector.get_stats()["threshold"] == pytest.approx(0.09, rel=0.1)
    detector.reset()
    assert detector.get_stats() == EnergyPauseDetector(noise_window=5.0).get_stats()
    audio = AudioData.from_samples(talk(3.0, 0.05), RATE)
    fresh = EnergyPauseDetector(noise_window=5.0)
    assert await detector.process_chunk(audio) == await fresh.process_chunk(audio)


# -- settings ----------------------------------------------------------------------------


async def test_a_new_threshold_is_where_adaptation_starts_again() -> None:
    detector = EnergyPauseDetector()
    await listen(detector, noise(5.0, 0.008))
    detector.set_energy_threshold(0.05)
    assert detector.get_stats()["threshold"] == pytest.approx(0.05)
    assert detector.clone().get_stats()["threshold"] == pytest.approx(0.05)


async def test_adaptation_can_be_switched() -> None:
    """The room is learnt either way; the switch says whether the threshold follows it."""
    detector = EnergyPauseDetector(adaptive_threshold=False)
    await listen(detector, noise(5.0, 0.008))
    detector.enable_adaptive_threshold()
    assert detector.get_stats()["threshold"] == pytest.approx(3 * 0.008, rel=0.05)
    detector.enable_adaptive_threshold(False)
    assert detector.get_stats()["threshold"] == pytest.approx(0.01)
    assert detector.get_config()["adaptive_threshold"] is False


async def test_statistics_are_of_the_last_fifty_frames() -> None:
    detector = EnergyPauseDetector(adaptive_threshold=False)
    assert detector.get_stats()["max_energy"] == 0.0
    levels = [0.5] * 10 + [0.1] * 25 + [0.2] * 25
    squares = AudioData.from_samples(np.repeat(levels, 480), RATE)
    await detector.process_chunk(squares)
    stats = detector.get_stats()
    background = stats.pop("background_energy")
    assert stats == pytest.approx(
        {
            "current_energy": 0.2,
            "mean_energy": 0.15,
            "std_energy": 0.05,
            "min_energy": 0.1,
            "max_energy": 0.2,
            "threshold": 0.01,
            "snr_estimate": 20 * np.log10(0.2 / background),
        },
        rel=1e-3,
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"energy_threshold": 0.0}, "energy_threshold is in"),
        ({"energy_threshold": 1.5}, "energy_threshold is in"),
        ({"frame_duration_ms": 5}, "frame_duration_ms is 10 to 100"),
        ({"frame_duration_ms": 101}, "frame_duration_ms is 10 to 100"),
        ({"adaptation_rate": 1.0}, "adaptation_rate is between 0 and 1"),
        ({"adaptation_rate": 0.0}, "adaptation_rate is between 0 and 1"),
        ({"noise_window": 0.5}, "noise_window is at least 1 s"),
        ({"noise_window": float("nan")}, "noise_window is at least 1 s"),
        ({"min_pause_frames": 0}, "at least 1"),
        ({"sample_rate": 4_000}, "the sample rate is 8000 to 192000"),
    ],
    ids=str,
)
async def test_settings_out_of_range_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnergyPauseDetector(**setting)


async def test_a_threshold_out_of_range_changes_nothing() -> None:
    detector = EnergyPauseDetector()
    with pytest.raises(ValueError, match="energy_threshold is in"):
        detector.set_energy_threshold(0.0)
    assert detector.get_config()["energy_threshold"] == 0.01


async def test_presets_and_clones_keep_what_is_given() -> None:
    detector = EnergyPauseDetector.preset("conversation", energy_threshold=0.02)
    assert detector.clone().get_config() == {
        "energy_threshold": 0.02,
        "frame_duration_ms": 30,
        "min_speech_frames": 8,
        "min_pause_frames": 20,
        "sample_rate": 16_000,
        "adaptive_threshold": True,
        "adaptation_rate": 0.95,
        "noise_window": 30.0,
    }


async def test_a_line_that_is_digitally_silent_between_the_words_never_makes_it_deaf() -> None:
    """Gaps in the line are zeros: they are no room, but they are no talk either."""
    detector = EnergyPauseDetector()
    utterance = np.concatenate([speech(0.9).samples[:, 0], np.zeros(RATE)])
    for _ in range(60):  # 54 s of sound, and a window of 30
        heard = await listen(detector, utterance)
        assert [name for name, _ in heard] == ["speech_start", "speech_end"]
