"""Whether sound can be a text that is spoken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_stts.middleware._plausible import Bounds, SpeechCheck, fewest_letters, most_letters
from realtime_stts.testing import speech

RATE = 16_000
BOUNDS = Bounds(slowest=5.0, fastest=35.0, slack=2.0, max_noise=0.5)
HELLO = "Hello there, my friend."  # 18 letters and two marks


def hum(seconds: float) -> NDArray[np.float32]:
    return speech(seconds, RATE).samples


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros((round(seconds * RATE), 1), np.float32)


def noise(seconds: float, level: float) -> NDArray[np.float32]:
    """White noise at ``level`` dBFS."""
    rng = np.random.default_rng(3)
    scale = 10 ** (level / 20)
    return rng.normal(scale=scale, size=(round(seconds * RATE), 1)).astype(np.float32)


def verdict(
    *pieces: NDArray[np.float32], text: str = HELLO, speed: float = 1.0, bounds: Bounds = BOUNDS
) -> str | None:
    check = SpeechCheck(text, RATE, bounds, speed)
    for piece in pieces:
        if (wrong := check.push(piece)) is not None:
            return wrong
    return check.end()


@pytest.mark.parametrize(
    ("text", "fewest", "most"),
    [
        ("hello", 5, 5),
        ("FBI", 3, 9),  # may be spelled out
        ("777", 3, 27),  # seven hundred and seventy-seven
        ("5 %", 2 - 1, 9 + 9),
        ("a, b.", 2, 10),
        ("a\nb", 2, 6),
        ("你好", 2, 6),
        ("カナ", 2, 4),
        ("سلام", 4, 8),
        ("नमस्ते", 4, 6),
        ("🎉", 0, 30),
        (" \t", 0, 0),
    ],
)
def test_letters_of_a_text(text: str, fewest: int, most: int) -> None:
    assert (fewest_letters(text), most_letters(text)) == (fewest, most)


def test_speech_of_the_usual_pace_is_plausible() -> None:
    assert verdict(hum(1.5)) is None


def test_speech_may_be_too_long() -> None:
    longest = (19 + 2 * 4 - 1 + 2) / 5 + 2  # a capital is three letters
    assert verdict(hum(longest - 0.1)) is None
    wrong = verdict(hum(longest + 0.1))
    assert wrong == f"over {longest:.1f} s long, too long for its text"


def test_speech_may_be_too_short() -> None:
    assert verdict(hum(0.52)) is None
    assert verdict(hum(0.5)) == "0.50 s long, too short for its text"


def test_a_speed_factor_scales_both_bounds() -> None:
    assert verdict(hum(6.0), speed=0.5) is None
    assert verdict(hum(6.0), speed=2.0) is not None
    assert verdict(hum(0.3), speed=2.0) is None
    assert verdict(hum(0.6), speed=0.5) is not None


def test_silence_is_no_speech_unless_there_is_nothing_to_say() -> None:
    assert verdict(silence(1.5)) == "all silence"
    assert verdict(noise(1.5, -80)) == "all silence"
    assert verdict(silence(1.5), text="...") is None
    assert verdict(text="...") is None


@pytest.mark.parametrize("level", [-20.0, -45.0])
@pytest.mark.parametrize("after", [0.0, 0.3])
def test_steady_noise_at_the_end_is_no_speech(level: float, after: float) -> None:
    assert verdict(hum(1.0), noise(0.6, level), silence(after)) == "noise at its end"


@pytest.mark.parametrize(
    "end",
    [
        noise(0.4, -20),  # as long as a consonant
        noise(2.0, -60),  # the engine's floor
        np.concatenate([noise(0.4, -20), silence(0.1), noise(0.4, -20)]),
        noise(0.6, -20) * np.repeat([[1.0], [0.1]] * 10, RATE * 3 // 100, axis=0)[: RATE * 6 // 10],
        np.concatenate([noise(1.0, -20), hum(0.2)]),
        hum(1.0),
    ],
    ids=["short", "faint", "interrupted", "unsteady", "before-speech", "none"],
)
def test_other_ends_are_speech(end: NDArray[np.float32]) -> None:
    assert verdict(hum(1.0), end.astype(np.float32)) is None


def test_noise_may_be_allowed() -> None:
    anything = Bounds(slowest=5.0, fastest=35.0, slack=2.0, max_noise=None)
    assert verdict(hum(1.0), noise(1.0, -20), bounds=anything) is None


@given(
    st.lists(st.integers(1, 9_000), max_size=8),
    st.sampled_from([hum(1.5), np.concatenate([hum(1.0), noise(0.7, -30), silence(0.2)])]),
)
def test_any_slicing_is_the_same_verdict(cuts: list[int], sound: NDArray[np.float32]) -> None:
    assert verdict(*np.split(sound, np.cumsum(cuts))) == verdict(sound)
