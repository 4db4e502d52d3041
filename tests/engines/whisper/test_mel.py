"""The spectrogram is openai-whisper's, frame by frame, however the sound comes in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("whisper")

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from whisper.audio import N_FRAMES, N_SAMPLES, log_mel_spectrogram, pad_or_trim

from realtime_stts.engines.whisper._mel import MelStream, mel_of


def noise(n: int, seed: int = 0, loudness: float = 0.1) -> Tensor:
    samples = np.random.default_rng(seed).standard_normal(n) * loudness
    return torch.from_numpy(samples.astype(np.float32))


def faded(n: int) -> Tensor:
    """Loud, then ever softer, so that both floors are reached."""
    return noise(n) * torch.logspace(0, -8, n)


CLIPS = {
    "one sample": noise(1),
    "less than a hop": noise(159),
    "half a frame": noise(200),
    "less than a frame": noise(399),
    "a frame": noise(400),
    "a frame and a hop": noise(561),
    "a second": noise(16_000),
    "an odd length": noise(51_237),
    "faded out": faded(80_000),
    "hardly audible": noise(8_000, loudness=1e-5),
    "silent": torch.zeros(24_000),
    "silent, and short": torch.zeros(100),
    "29.99 s": noise(479_840),
    "30 s": noise(480_000),
}
LONG = noise(640_123, seed=1)  # 40 s


def openai(samples: Tensor, n_mels: int = 80) -> Tensor:
    """Of shape (n_mels, n_content + 3000)."""
    return log_mel_spectrogram(samples, n_mels, padding=N_SAMPLES)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0.0, atol=1e-6)


class TestAClip:
    @pytest.mark.parametrize("n_mels", [80, 128])
    @pytest.mark.parametrize("name", CLIPS)
    def test_is_followed_by_silence_as_if_it_had_been_recorded(
        self, name: str, n_mels: int
    ) -> None:
        samples = CLIPS[name]
        mel = mel_of(samples, n_mels)
        expected = pad_or_trim(openai(samples, n_mels), N_FRAMES)
        close(mel.window(0, mel.n_content, zeros=False), expected)

    @pytest.mark.parametrize("n_mels", [80, 128])
    @pytest.mark.parametrize("name", CLIPS)
    def test_is_filled_up_with_zeros_as_transcribe_does(self, name: str, n_mels: int) -> None:
        samples = CLIPS[name]
        mel = mel_of(samples, n_mels)
        whole = openai(samples, n_mels)
        assert mel.n_content == whole.shape[1] - N_FRAMES
        expected = pad_or_trim(whole[:, : mel.n_content], N_FRAMES)
        close(mel.window(0, mel.n_content, zeros=True), expected)

    def test_that_is_silent_has_the_value_of_silence_throughout(self) -> None:
        mel = mel_of(torch.zeros(16_000), 80)
        assert mel.silence == -1.5
        assert torch.equal(mel.frames, torch.full_like(mel.frames, -1.5))

    def test_holds_only_few_frames_more_than_its_own(self) -> None:
        mel = mel_of(noise(16_000), 80)
        assert mel.n_content == 100
        assert mel.frames.shape == (80, 105)


class TestAWindow:
    @pytest.mark.parametrize("start", [0, 1, 1_000, 2_999])
    def test_of_a_longer_clip_is_its_frames(self, start: int) -> None:
        mel = mel_of(LONG, 80)
        size = min(N_FRAMES, mel.n_content - start)
        whole = openai(LONG)
        silent = mel.window(start, size, zeros=False)
        close(silent, whole[:, start : start + N_FRAMES])
        zeros = mel.window(start, size, zeros=True)
        close(zeros, pad_or_trim(whole[:, start : start + size], N_FRAMES))

    @pytest.mark.parametrize("zeros", [True, False])
    def test_holds_no_more_of_the_sound_than_is_wanted(self, zeros: bool) -> None:
        mel = mel_of(LONG, 80)
        window = mel.window(500, 250, zeros=zeros)
        close(window[:, :250], openai(LONG)[:, 500:750])
        assert torch.all(window[:, 250:] == (0.0 if zeros else mel.silence))

    def test_may_be_shorter(self) -> None:
        mel = mel_of(noise(16_000), 80)
        window = mel.window(0, 100, 384, zeros=False)
        assert window.shape == (80, 384)
        assert torch.equal(window, mel.window(0, 100, zeros=False)[:, :384])

    def test_may_be_shorter_than_the_sound(self) -> None:
        mel = mel_of(noise(16_000), 80)
        assert torch.equal(mel.window(0, 100, 40, zeros=True), mel.frames[:, :40])

    @pytest.mark.parametrize("zeros", [True, False])
    def test_after_the_end_is_empty(self, zeros: bool) -> None:
        mel = mel_of(noise(16_000), 80)
        window = mel.window(400, 100, zeros=zeros)
        assert torch.all(window == (0.0 if zeros else mel.silence))


class TestAStream:
    @given(
        n=st.one_of(st.integers(0, 1_000), st.integers(0, 40_000)),
        cuts=st.lists(st.floats(0, 1), max_size=8),
        seed=st.integers(0, 100),
    )
    def test_gives_the_spectrogram_of_the_clip_so_far_however_it_is_cut(
        self, n: int, cuts: list[float], seed: int
    ) -> None:
        samples = noise(n, seed) if seed % 3 else faded(n)
        stream = MelStream(80)
        for start, end in pairwise([0, *sorted(int(cut * n) for cut in cuts), n]):
            stream.push(samples[start:end])
            if end > 0:
                got, expected = stream.mel(), mel_of(samples[:end], 80)
                assert got.n_content == expected.n_content
                close(got.frames, expected.frames)
                assert got.silence == pytest.approx(expected.silence, abs=1e-6)

    @pytest.mark.parametrize("n_mels", [80, 128])
    def test_may_come_sample_by_sample(self, n_mels: int) -> None:
        samples = noise(900)
        stream = MelStream(n_mels)
        for i in range(900):
            stream.push(samples[i : i + 1])
        close(stream.mel().frames, mel_of(samples, n_mels).frames)

    def test_of_nothing_is_silence(self) -> None:
        mel = MelStream(80).mel()
        assert mel.n_content == 0
        assert mel.silence == -1.5
        assert torch.all(mel.frames == -1.5)
