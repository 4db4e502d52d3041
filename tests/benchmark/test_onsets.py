"""A recording tells where there is sound, to 10 ms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import AudioData
from realtime_stts.benchmark._onsets import (
    GATE,
    first_sound,
    last_sound,
    spans_of_sound,
    trimmed,
)

FRAME = 0.01 + 1e-6  # s

rates = st.sampled_from([8_000, 16_000, 22_050, 24_000, 48_000])
seconds = st.floats(0.0, 1.0)


def tone(length: float, rate: int, level: float = 0.1) -> AudioData:
    t = np.arange(round(length * rate)) / rate
    return AudioData.from_samples(level * np.sin(2 * np.pi * 440.0 * t), rate)


def between(before: float, sound: AudioData, after: float) -> AudioData:
    rate = sound.sample_rate
    return AudioData.concat(
        [AudioData.silence(before, rate), sound, AudioData.silence(after, rate)]
    )


@given(rates, seconds, st.floats(0.05, 1.0), seconds)
def test_sound_begins_and_ends_where_it_does(
    rate: int, before: float, length: float, after: float
) -> None:
    audio = between(before, tone(length, rate), after)
    start, end = first_sound(audio), last_sound(audio)
    assert start is not None
    assert end is not None
    assert abs(start - before) <= FRAME
    assert abs(end - before - length) <= FRAME
    assert abs(trimmed(audio).duration_seconds - length) <= 2 * FRAME
    [(first, last)] = spans_of_sound(audio)
    assert (first, last) == (start, end)


@given(rates, seconds)
def test_silence_has_no_sound_in_it(rate: int, length: float) -> None:
    quiet = AudioData.silence(length, rate)
    assert first_sound(quiet) is None
    assert last_sound(quiet) is None
    assert spans_of_sound(quiet) == []
    assert trimmed(quiet) == quiet


def test_sound_below_the_gate_counts_for_silence() -> None:
    assert first_sound(tone(0.5, 16_000, level=GATE)) is None  # a sine's RMS is lower
    assert first_sound(tone(0.5, 16_000, level=2 * GATE)) == 0.0


@pytest.mark.parametrize(("pause", "n"), [(0.2, 2), (0.29, 2), (0.3, 1), (0.5, 1)])
def test_a_pause_within_a_stretch_of_sound_may_be_so_long(pause: float, n: int) -> None:
    sound = tone(0.4, 16_000)
    twice = between(0.5, between(0.0, sound, 0.3), 0.0)
    twice = AudioData.concat([twice, sound])
    assert len(spans_of_sound(twice, pause)) == n


def test_the_first_after_and_the_last_before_a_moment() -> None:
    sound = tone(0.4, 16_000)
    twice = AudioData.concat([between(0.5, sound, 0.3), sound])  # 0.5 to 0.9 and 1.2 to 1.6 s
    assert first_sound(twice, after=1.0) == pytest.approx(1.2)
    assert first_sound(twice, after=0.5) == pytest.approx(0.5)
    assert first_sound(twice, after=1.6) is None
    assert last_sound(twice, before=1.1) == pytest.approx(0.9)
    assert last_sound(twice, before=1.6) == pytest.approx(1.6)
    assert last_sound(twice, before=0.5) is None


def test_of_several_channels_their_mean_counts() -> None:
    left = tone(0.4, 16_000).samples
    opposite = AudioData.from_samples(np.hstack([left, -left]), 16_000)
    assert first_sound(opposite) is None
    assert first_sound(AudioData.from_samples(np.hstack([left, left]), 16_000)) == 0.0
