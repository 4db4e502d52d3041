"""Loudness after ITU-R BS.1770-4, and the gain that it leads to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_stts.middleware._loudness import (
    Loudness,
    RunningGain,
    WholeGain,
    amplitude,
    decibels,
)
from realtime_stts.testing import speech

RATE = 16_000
CEILING = amplitude(-1.0)
SPEECH = speech(3.0, RATE).samples
SILENCE = np.zeros((RATE, 1), np.float32)


def sine(
    level: float, seconds: float, rate: int = RATE, channels: int = 2, frequency: float = 1000.0
) -> NDArray[np.float32]:
    """A tone whose peak is at ``level`` dBFS."""
    time = np.arange(round(seconds * rate)) / rate
    tone = amplitude(level) * np.sin(2 * np.pi * frequency * time)
    return np.repeat(tone[:, np.newaxis], channels, axis=1).astype(np.float32)


def lufs(*parts: NDArray[np.float32], rate: int = RATE) -> float:
    measure = Loudness(rate, parts[0].shape[1])
    for part in parts:
        measure.push(part)
    return measure.value()


def test_decibels_and_amplitudes() -> None:
    assert decibels(1.0) == 0.0
    assert decibels(0.1) == pytest.approx(-20.0)
    assert decibels(0.0) == -math.inf
    assert amplitude(decibels(0.3)) == pytest.approx(0.3)


class TestLoudness:
    """Expected values and tolerance are those of EBU Tech 3341, table 1."""

    @pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000])
    def test_a_stereo_tone_of_minus_23_dbfs_has_minus_23_lufs(self, rate: int) -> None:
        assert lufs(sine(-23, 10, rate), rate=rate) == pytest.approx(-23.0, abs=0.1)
        assert lufs(sine(-33, 10, rate), rate=rate) == pytest.approx(-33.0, abs=0.1)

    def test_one_channel_has_half_the_power(self) -> None:
        assert lufs(sine(-23, 10, channels=1)) == pytest.approx(-26.01, abs=0.1)

    @pytest.mark.parametrize(
        "parts",
        [
            [(-36, 10), (-23, 60), (-36, 10)],
            [(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)],
            [(-26, 20), (-20, 20.1), (-26, 20)],
        ],
        ids=["case-3", "case-4", "case-5"],
    )
    def test_quiet_parts_are_gated(self, parts: list[tuple[float, float]]) -> None:
        measured = lufs(*(sine(level, seconds, 8_000) for level, seconds in parts), rate=8_000)
        assert measured == pytest.approx(-23.0, abs=0.1)

    @pytest.mark.parametrize("frequency", [50.0, 100.0, 400.0, 2_000.0, 8_000.0])
    def test_low_tones_count_less_and_high_ones_more(self, frequency: float) -> None:
        tone = sine(-23, 5, 48_000, frequency=frequency)
        expected = -23.0 + weight(frequency) - weight(997.0)
        assert lufs(tone, rate=48_000) == pytest.approx(expected, abs=0.05)

    def test_silence_has_none(self) -> None:
        assert lufs(SILENCE) == -math.inf
        assert lufs(SILENCE[:0]) == -math.inf
        assert lufs(sine(-80, 0.2)) == -math.inf
        assert Loudness(RATE, 1).blocks == 0

    @pytest.mark.parametrize("seconds", [0.05, 0.1, 0.35])
    def test_what_is_too_short_for_a_block_is_measured_whole(self, seconds: float) -> None:
        assert lufs(sine(-23, seconds)) == pytest.approx(-23.0, abs=0.3)

    def test_blocks_above_full_scale_are_counted(self) -> None:
        assert lufs(30 * sine(0, 1, channels=8)) == pytest.approx(35.5, abs=0.2)

    @given(st.lists(st.integers(1, 9_000), max_size=8))
    def test_any_slicing_is_the_same_loudness(self, cuts: list[int]) -> None:
        measure = Loudness(RATE, 1)
        for piece in np.split(SPEECH, np.cumsum(cuts)):
            measure.push(piece)
        assert measure.value() == pytest.approx(lufs(SPEECH), abs=1e-6)


def weight(frequency: float) -> float:
    """The gain in dB of the recommendation's filters, from its tables for 48 kHz."""
    z = np.exp(-2j * np.pi * frequency / 48_000)
    shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
        1 - 1.69065929318241 * z + 0.73248077421585 * z**2
    )
    high_pass = (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    return float(20 * np.log10(abs(shelf * high_pass)))


def through(gain: WholeGain | RunningGain, *pieces: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([*map(gain.push, pieces), gain.flush()])


def whole(target: float = -19.0, max_gain: float = 20.0) -> WholeGain:
    return WholeGain(RATE, 1, target=target, max_gain=max_gain, ceiling=CEILING)


def running(
    known: tuple[float, int] | None = None, target: float = -19.0, max_gain: float = 20.0
) -> RunningGain:
    return RunningGain(RATE, 1, target=target, max_gain=max_gain, ceiling=CEILING, known=known)


def pieces_of(sound: NDArray[np.float32], cuts: Sequence[int]) -> list[NDArray[np.float32]]:
    return np.split(sound, np.cumsum(cuts))


class TestWholeGain:
    @pytest.mark.parametrize("level", [0.2, 0.5, 1.0])
    def test_speech_of_any_level_comes_out_at_the_target(self, level: float) -> None:
        gain = whole()
        assert lufs(through(gain, level * SPEECH)) == pytest.approx(-19.0, abs=0.3)
        assert not gain.limited
        measured = gain.measured()
        assert measured is not None
        assert measured[0] == pytest.approx(lufs(level * SPEECH))

    def test_is_one_gain_where_no_peak_is_too_high(self) -> None:
        made = through(whole(target=-30.0), SPEECH)
        factor = amplitude(-30.0 - lufs(SPEECH))
        assert np.allclose(made, SPEECH * factor, atol=1e-6)

    def test_peaks_never_go_beyond_the_ceiling(self) -> None:
        clicks = 0.02 * SPEECH
        clicks[::7919] = 0.9
        made = through(whole(), clicks)
        assert np.abs(made).max() <= CEILING + 1e-6
        assert np.median(np.abs(made)) > 2 * np.median(np.abs(clicks))  # speech was raised

    def test_is_not_raised_beyond_the_greatest_gain(self) -> None:
        gain = whole(max_gain=6.0)
        made = through(gain, 0.01 * SPEECH)
        assert lufs(made) - lufs(0.01 * SPEECH) == pytest.approx(6.0, abs=0.01)
        assert gain.limited

    def test_silence_and_nothing_come_back_as_they_were(self) -> None:
        gain = whole()
        assert np.array_equal(through(gain, SILENCE), SILENCE)
        assert gain.measured() is None
        assert len(through(whole(), SILENCE[:0])) == 0


class TestRunningGain:
    def test_a_known_voice_is_at_the_target_from_the_beginning(self) -> None:
        quiet = 0.2 * SPEECH
        made = through(running((lufs(quiet), 50)), quiet)
        assert lufs(made) == pytest.approx(-19.0, abs=0.3)
        assert lufs(made[: RATE // 2]) == pytest.approx(
            lufs(SPEECH[: RATE // 2]) - lufs(SPEECH) - 19, abs=0.5
        )

    def test_an_unknown_voice_gets_there_by_6_db_a_second(self) -> None:
        quiet = np.concatenate([0.25 * SPEECH] * 4)
        gain = running()
        made = through(gain, quiet)
        raised = lufs(made[:RATE]) - lufs(quiet[:RATE])
        assert 0 < raised < 6
        assert lufs(made[-3 * RATE :]) == pytest.approx(-19.0, abs=0.5)
        measured = gain.measured()
        assert measured is not None
        assert measured[0] == pytest.approx(lufs(quiet), abs=0.2)

    def test_what_is_known_is_weighed_against_what_is_heard(self) -> None:
        gain = running((-40.0, 10))
        through(gain, SPEECH)
        measured = gain.measured()
        assert measured is not None
        assert -40 < measured[0] < lufs(SPEECH)
        assert measured[1] > 10

    def test_too_little_sound_teaches_nothing(self) -> None:
        gain = running((-40.0, 10))
        through(gain, SPEECH[: RATE // 3])
        assert gain.measured() == (-40.0, 10)

    def test_a_pause_changes_nothing(self) -> None:
        noise = 0.001 * SPEECH
        made = through(running(), SPEECH, *[noise] * 3)
        at_the_end = made[-RATE:] / np.where(noise[-RATE:] == 0, 1, noise[-RATE:])
        expected = amplitude(-19.0 - lufs(SPEECH))
        assert np.median(at_the_end[noise[-RATE:] != 0]) == pytest.approx(expected, rel=0.05)

    def test_silence_stays_silence(self) -> None:
        assert np.array_equal(through(running((-50.0, 50)), SILENCE), SILENCE)
        assert len(through(running())) == 0

    def test_is_not_raised_beyond_the_greatest_gain(self) -> None:
        gain = running((-60.0, 50), max_gain=6.0)
        assert gain.limited
        made = through(gain, 0.01 * SPEECH)
        assert np.abs(made).max() == pytest.approx(
            amplitude(6.0) * 0.01 * np.abs(SPEECH).max(), rel=1e-3
        )

    def test_is_10_ms_late_at_most(self) -> None:
        gain, given, got = running(), 0, 0
        for piece in np.split(SPEECH, range(100, len(SPEECH), 100)):
            given += len(piece)
            got += len(gain.push(piece))
            assert given - got <= 0.010 * RATE

    def test_it_does_not_click(self) -> None:
        steady = sine(-40, 3, channels=1, frequency=100.0)
        steady[RATE:] *= 60  # a peak that must be lowered at once
        made = through(running((-30.0, 50)), steady)
        gains = made[np.abs(steady) > 1e-3] / steady[np.abs(steady) > 1e-3]
        assert np.abs(np.diff(20 * np.log10(gains))).max() < 1.0  # dB from one sample to another

    @given(
        st.lists(st.integers(1, 9_000), max_size=8),
        st.sampled_from([None, (-45.0, 20)]),
    )
    def test_any_slicing_is_the_same_sound(
        self, cuts: list[int], known: tuple[float, int] | None
    ) -> None:
        made = through(running(known), *pieces_of(SPEECH, cuts))
        assert np.allclose(made, through(running(known), SPEECH), atol=1e-6)
        assert len(made) == len(SPEECH)

    @settings(max_examples=30)
    @given(st.integers(0, 2**32 - 1), st.floats(0.0, 2.0), st.integers(0, 20_000))
    def test_no_sample_ever_goes_beyond_the_ceiling(self, seed: int, loud: float, n: int) -> None:
        rng = np.random.default_rng(seed)
        bursts = np.repeat(rng.random(n // 100 + 1), 100)[:n, np.newaxis] ** 4
        sound = np.clip(loud * bursts * rng.normal(size=(n, 1)), -1, 1).astype(np.float32)
        for gain in (running((-40.0, 50)), running(), whole()):
            made = through(gain, sound)
            assert len(made) == n
            assert np.abs(made).max(initial=0.0) <= CEILING + 1e-6
