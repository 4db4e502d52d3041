"""Speech at another speed, at the same pitch, as it streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("chatterbox")

from realtime_stts.engines.chatterbox._speed import Speed

RATE = 24_000
FACTORS = [0.5, 0.75, 0.9, 1.1, 1.3, 2.0]


def changed(sound: np.ndarray, factor: float, cuts: list[int] | None = None) -> np.ndarray:
    speed = Speed(factor, RATE)
    chunks = np.split(sound, sorted(cut % (sound.size + 1) for cut in cuts or []))
    return np.concatenate([*map(speed.feed, chunks), speed.finish()])


def tone(frequency: float, seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def voice(frequency: float, seconds: float) -> np.ndarray:
    """A buzz of many partials, its pitch wavering and its level as syllables."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * frequency * (time + 0.002 * np.sin(2 * np.pi * 3 * time))
    buzz = sum(np.sin(n * phase) / n for n in range(1, 12))
    return (0.15 * buzz * (1.2 + np.sin(2 * np.pi * 4 * time))).astype(np.float32)


def pitch(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(sound.size), 1 << 19))
    return float(spectrum.argmax() * RATE / (1 << 19))


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("frequency", [80.0, 120.0, 221.0, 350.0, 1000.0])
def test_a_tone_keeps_its_pitch_and_does_not_click(factor: float, frequency: float) -> None:
    sound = tone(frequency, 2.0)
    out = changed(sound, factor)
    inner = out[1000:-2000]
    assert pitch(inner) == pytest.approx(frequency, rel=0.01)
    # A click is a jump steeper than the tone ever is.
    assert np.abs(np.diff(inner)).max() < 1.2 * np.abs(np.diff(sound)).max()
    assert np.abs(inner).max() < 1.05 * 0.5
    loudness = np.sqrt(
        np.mean(inner.reshape(-1)[: inner.size // 600 * 600].reshape(-1, 600) ** 2, 1)
    )
    assert loudness.min() > 0.25  # nowhere do two periods cancel


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("seconds", [0.01, 0.3, 3.0])
def test_it_lasts_as_long_as_it_should(factor: float, seconds: float) -> None:
    sound = voice(110.0, seconds)
    out = changed(sound, factor)
    assert out.dtype == np.float32
    assert out.size == round(sound.size / factor)


@pytest.mark.parametrize("factor", FACTORS)
def test_syllables_come_when_they_should(factor: float) -> None:
    sound = voice(110.0, 3.0)

    def syllables(sound: np.ndarray, frequency: float) -> float:
        time = np.arange(sound.size) / RATE
        return float(np.abs(np.mean(sound**2 * np.exp(-2j * np.pi * frequency * time))))

    out = changed(sound, factor)
    assert syllables(out, 4 * factor) == pytest.approx(syllables(sound, 4.0), rel=0.1)


def test_normal_speed_changes_nothing_and_holds_nothing_back() -> None:
    sound = voice(110.0, 0.5)
    speed = Speed(1.0)
    assert np.array_equal(speed.feed(sound), sound)
    assert speed.finish().size == 0


def test_silence_stays_silent() -> None:
    assert not changed(np.zeros(20_000, np.float32), 1.5).any()


def test_of_nothing_comes_nothing() -> None:
    assert changed(np.zeros(0, np.float32), 1.5).size == 0


@settings(max_examples=40)
@given(
    st.floats(0.5, 2.0),
    st.integers(0, 30_000),
    st.lists(st.integers(0, 30_000), max_size=8),
)
def test_it_is_the_same_however_it_is_cut(factor: float, n: int, cuts: list[int]) -> None:
    sound = voice(140.0, 1.25)[:n]
    assert np.array_equal(changed(sound, factor, cuts), changed(sound, factor))


@pytest.mark.parametrize("factor", FACTORS)
def test_little_is_held_back(factor: float) -> None:
    sound, speed, n_out = voice(110.0, 2.0), Speed(factor, RATE), 0
    for start in range(0, sound.size, 240):
        n_in = min(start + 240, sound.size)
        n_out += speed.feed(sound[start:n_in]).size
        assert n_in - n_out * factor <= 0.046 * RATE


@pytest.mark.parametrize("factor", [0.49, 2.01, float("nan")])
def test_a_factor_has_a_range(factor: float) -> None:
    with pytest.raises(ValueError, match=r"the factor is 0.5 to 2, not"):
        Speed(factor)
