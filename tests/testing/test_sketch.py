"""The same sound has nearly the same sketch, however it came; another sound has not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.audio import AudioData
from realtime_stts.testing import speak_tones, speech
from realtime_stts.testing._sketch import Sketch, Sketcher, alike

CLIP = speech(1.05)


def sketches(*chunks: AudioData) -> list[Sketch]:
    sketcher = Sketcher()
    return [sketch for chunk in chunks for sketch in sketcher.hear(chunk)] + sketcher.finish()


def same(one: list[Sketch], other: list[Sketch]) -> bool:
    return len(one) == len(other) and all(map(alike, one, other))


def test_every_tenth_of_a_second_has_four_numbers() -> None:
    assert [len(sketch) for sketch in sketches(CLIP)] == [4] * 11
    assert sketches(AudioData(b"", 16_000)) == []
    assert sketches(AudioData.silence(0.2, 16_000)) == [(0, 0, 0, 0)] * 2


@given(st.lists(st.integers(0, 5_000), max_size=20), st.sampled_from([8_000, 16_000, 44_100]))
def test_sketches_do_not_depend_on_how_the_sound_is_cut(lengths: list[int], rate: int) -> None:
    clip = speech(0.55, rate)
    edges = np.minimum(np.cumsum([0, *lengths, clip.n_frames]), clip.n_frames)
    chunks = [clip.sliced(start / rate, end / rate) for start, end in pairwise(edges)]
    assert sketches(*chunks) == sketches(clip)


@given(st.integers(0, 2**32 - 1))
def test_last_bits_do_not_matter(seed: int) -> None:
    errors = np.random.default_rng(seed).integers(-1, 2, CLIP.n_frames)
    other = CLIP.samples[:, 0] + errors / (1 << 15)
    assert same(sketches(CLIP), sketches(AudioData.from_samples(other, 16_000)))


def test_formats_do_not_matter() -> None:
    assert same(sketches(CLIP), sketches(CLIP.converted("pcm_f32le")))
    stereo = AudioData.from_samples(CLIP.samples.repeat(2, axis=1), 16_000)
    assert same(sketches(CLIP), sketches(stereo))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(AudioData.silence(1.05, 16_000), id="silence"),
        pytest.param(CLIP.sliced(0, 0.9), id="shorter"),
        pytest.param(CLIP.sliced(0.001), id="later"),
        pytest.param(AudioData.from_samples(0.9 * CLIP.samples, 16_000), id="quieter"),
    ],
)
def test_another_sound_has_another_sketch(other: AudioData) -> None:
    assert not same(sketches(CLIP), sketches(other))


@given(st.text("abc", min_size=1, max_size=6), st.text("abc", min_size=1, max_size=6))
def test_two_texts_have_two_sketches(one: str, other: str) -> None:
    first, second = (sketches(speak_tones(text, 16_000)) for text in (one, other))
    assert same(first, second) == (one == other)


def test_sketches_of_different_kinds_are_not_alike() -> None:
    assert not alike((0, 0), (0, 0, 0))
