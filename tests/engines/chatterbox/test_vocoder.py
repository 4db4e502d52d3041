"""The sound of a mel that comes in pieces is that of the whole."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

pytest.importorskip("chatterbox")

import torch
from chatterbox.models.s3gen.hifigan import HiFTGenerator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from realtime_stts.engines.chatterbox._noise import Use, noise, phases
from realtime_stts.engines.chatterbox._vocoder import (
    CONTEXT,
    PITCH_CONTEXT,
    SAMPLES_PER_FRAME,
    Spoken,
    Vocoder,
)
from tools.random_chatterbox import small_s3gen

N = 60  # frames


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def hift() -> HiFTGenerator:
    return small_s3gen().mel2wav


def mel_of(n: int = N, seed: int = 0) -> Tensor:
    return torch.randn(1, n, 80, generator=torch.Generator().manual_seed(seed))


def spoken(mel: Tensor, ends: Iterable[int], seed: int = 5) -> Tensor:
    """The sound, in pieces that end where told; each with as little context as it may have."""
    vocoder, state, sounds = Vocoder(hift()), Spoken(), []
    with torch.inference_mode():
        for end in ends:
            heard = mel[:, : end + CONTEXT + PITCH_CONTEXT]
            sound, state = vocoder.speak(heard, end, state, seed, last=False)
            sounds.append(sound)
        sounds.append(vocoder.speak(mel, mel.shape[1], state, seed, last=True)[0])
    return torch.cat(sounds)


def upstream_source(mel: Tensor, seed: int = 5) -> Tensor:
    """Upstream's own source signal, with our noise and phases in place of its own."""
    net = hift()
    sines = net.m_source.l_sin_gen
    with torch.inference_mode():
        pitch = net.f0_predictor(mel.transpose(1, 2))
        f0 = net.f0_upsamp(pitch[:, None]).double()
        harmonics = torch.arange(1, 10)[:, None]
        turns = (f0 * harmonics / sines.sampling_rate).cumsum(-1) % 1
        waves = sines.sine_amp * torch.sin(2 * torch.pi * turns + phases(seed, 9)[:, None])
        voiced = sines._f02uv(f0)
        drawn = noise(seed, Use.SOURCE, 0, mel.shape[1], (SAMPLES_PER_FRAME, 9)).flatten(0, 1).T
        loud = voiced * sines.noise_std + (1 - voiced) * sines.sine_amp / 3
        mixed = (waves * voiced + loud * drawn).float()
        return torch.tanh(net.m_source.l_linear(mixed.transpose(1, 2))).transpose(1, 2)


def test_the_whole_is_upstreams_with_that_source() -> None:
    mel = mel_of()
    with torch.inference_mode():
        sound, _ = hift().inference(mel.transpose(1, 2), cache_source=upstream_source(mel))
    assert sound.std() > 0.01
    torch.testing.assert_close(spoken(mel, []), sound[0], rtol=0, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, N - 1), max_size=4, unique=True).map(sorted))
def test_however_it_is_cut_the_sound_is_the_same(ends: list[int]) -> None:
    mel = mel_of()
    whole = spoken(mel, [])
    pieces = spoken(mel, ends)
    assert pieces.shape == whole.shape == (N * SAMPLES_PER_FRAME,)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-5)


def test_the_last_frame_of_a_piece_is_held_back() -> None:
    vocoder = Vocoder(hift())
    with torch.inference_mode():
        sound, state = vocoder.speak(mel_of(), 20, Spoken(), 0, last=False)
        assert len(sound) == 19 * SAMPLES_PER_FRAME
        assert vocoder.speak(mel_of(), 20, state, 0, last=False)[0].numel() == 0
        rest, _ = vocoder.speak(mel_of(20), 20, state, 0, last=True)
    assert len(rest) == SAMPLES_PER_FRAME


def test_where_the_mel_changes_after_all_the_sound_does_not_jump() -> None:
    vocoder, mel = Vocoder(hift()), mel_of()
    other = mel.clone()
    other[:, 30:] = mel_of(seed=1)[:, 30:]
    with torch.inference_mode():
        one, state = vocoder.speak(mel, 30, Spoken(), 0, last=False)
        two, _ = vocoder.speak(other, N, state, 0, last=True)
    step = (two[0] - one[-1]).abs()
    assert step <= torch.cat([one, two]).diff().abs().quantile(0.99)


def test_the_phase_is_exact_after_minutes() -> None:
    vocoder, pitch = Vocoder(hift()), torch.full((500,), 123.4)
    turns = [0.25]
    for start in range(0, 15_000, 500):  # 300 s
        with torch.inference_mode():
            _, turns = vocoder._source(pitch, start, turns[-1], 0)
    assert turns[-1] == pytest.approx((0.25 + 300 * float(pitch[0])) % 1, abs=1e-6)


def test_seeds_sound_different_and_one_seed_the_same() -> None:
    mel = mel_of(30)
    assert torch.equal(spoken(mel, [], seed=1), spoken(mel, [], seed=1))
    assert not torch.allclose(spoken(mel, [], seed=1), spoken(mel, [], seed=2), atol=1e-3)
