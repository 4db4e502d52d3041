"""Silence at the ends and between words, cut to a length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_stts.middleware._silences import Silences, SilenceTrimmer
from realtime_stts.testing import speech

RATE = 8_000
WORD = speech(0.3, RATE).samples


def quiet(seconds: float) -> NDArray[np.float32]:
    """Not digital silence: noise at -60 dBFS, the same each time."""
    rng = np.random.default_rng(1)
    return rng.normal(scale=1e-3, size=(round(seconds * RATE), 1)).astype(np.float32)


def trimmed(
    *pieces: NDArray[np.float32], channels: int = 1, **changes: float
) -> NDArray[np.float32]:
    asked = {"leading": 0.05, "trailing": 0.1, "internal": 0.5, "fade": 0.005, **changes}
    trimmer = SilenceTrimmer(RATE, channels, Silences(threshold=10 ** (-45 / 20), **asked))
    return np.concatenate([*map(trimmer.push, pieces), trimmer.flush()])


def lengths(sound: NDArray[np.float32]) -> list[float]:
    """Seconds of silence and of sound in turn, silence first, to 10 ms."""
    frames = np.abs(sound[: len(sound) // 80 * 80]).reshape(-1, 80).max(axis=1) > 0.02
    found, loud, n = [], False, 0
    for is_loud in [*frames.tolist(), None]:
        if is_loud != loud:
            found.append(round(n * 0.01, 2))
            loud, n = bool(is_loud), 0
        n += 1
    return found


def test_long_silences_are_shortened_and_sound_is_not() -> None:
    made = trimmed(quiet(1.0), WORD, quiet(0.9), WORD, quiet(1.0))
    assert lengths(made) == [0.05, 0.3, 0.5, 0.3, 0.1]
    assert np.array_equal(made[400 : 400 + len(WORD)], WORD)


def test_short_silences_stay_as_they_are() -> None:
    sound = np.concatenate([quiet(0.05), WORD, quiet(0.5), WORD, quiet(0.1)])
    assert np.array_equal(trimmed(sound), sound)


def test_a_shortened_silence_keeps_both_of_its_ends() -> None:
    pause = quiet(0.9)
    pause[:800] += 0.002  # the decay of a word
    pause[-800:] -= 0.002  # a breath
    made = trimmed(WORD, pause, WORD, internal=0.4)
    between = made[len(WORD) : -len(WORD)]
    assert len(between) == 3200
    assert np.array_equal(between[:1500], pause[:1500])
    assert np.array_equal(between[-1500:], pause[-1500:])


@pytest.mark.parametrize("trailing", [0.0, 0.1, 0.4, 0.45])
@pytest.mark.parametrize("internal", [0.0, 0.01, 0.3, 0.5])
@pytest.mark.parametrize("pause", [0.2, 0.4, 0.6, 0.9])
def test_each_silence_has_its_own_limit(trailing: float, internal: float, pause: float) -> None:
    made = trimmed(WORD, quiet(pause), WORD, quiet(pause), trailing=trailing, internal=internal)
    between, after = min(pause, internal), min(pause, trailing)
    assert len(made) == 2 * len(WORD) + round((between + after) * RATE)


def test_cuts_are_faded() -> None:
    hiss = np.full((RATE, 1), 0.004, np.float32)  # -48 dBFS: as loud as silence can be
    made = trimmed(hiss, WORD, hiss, WORD, hiss)
    assert made[0] < 0.0002
    assert made[-1] < 0.0002
    middle = made[400 + len(WORD) :][:4000]
    assert middle[1999] < 0.0002
    assert middle[2000] < 0.0002
    silent = np.concatenate([made[:400], middle, made[-800:]])
    assert np.abs(np.diff(silent[:, 0])).max() < 0.0003


def test_a_fade_is_no_longer_than_the_silence_left() -> None:
    made = trimmed(quiet(0.2), WORD, quiet(0.2), leading=0.01, trailing=0.01, fade=0.1)
    assert np.array_equal(made[80:-80], WORD)


@pytest.mark.parametrize(("seconds", "left"), [(0.0, 0.0), (0.055, 0.055), (0.1, 0.1), (0.7, 0.1)])
def test_all_silence_becomes_what_may_be_silent(seconds: float, left: float) -> None:
    assert len(trimmed(quiet(seconds))) == round(left * RATE)


def test_something_is_left_of_all_silence_even_if_none_may_be() -> None:
    assert len(trimmed(quiet(0.7), leading=0.0, trailing=0.0)) == 80


def test_sound_on_one_of_two_channels_is_sound() -> None:
    both = np.concatenate([quiet(0.3), WORD, quiet(0.3)])
    stereo = np.concatenate([both * 0, both], axis=1)
    made = trimmed(stereo, channels=2)
    assert made.shape == (round(0.45 * RATE), 2)


def test_a_word_that_ends_within_a_frame_is_whole() -> None:
    made = trimmed(quiet(0.2), WORD[:-37])
    assert np.array_equal(made[400:], WORD[:-37])


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 9_000)), max_size=6),
    st.lists(st.integers(1, 5_000), max_size=12),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.sampled_from([0.0, 0.2, 0.5]),
)
def test_any_slicing_is_the_same_sound(
    parts: list[tuple[bool, int]], cuts: list[int], trailing: float, internal: float
) -> None:
    hum = speech(9_000 / RATE, RATE).samples
    sound = np.concatenate(
        [quiet(0.0), *(hum[:n] if loud else quiet(n / RATE) for loud, n in parts)]
    )
    whole = trimmed(sound, trailing=trailing, internal=internal)
    pieces = np.split(sound, np.cumsum(cuts))
    assert np.array_equal(trimmed(*pieces, trailing=trailing, internal=internal), whole)
    again = trimmed(whole, trailing=trailing, internal=internal)
    assert len(again) <= len(whole) <= len(sound)
