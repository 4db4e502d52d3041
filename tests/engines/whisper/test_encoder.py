"""The encoder is openai-whisper's where it computes the same, and lets go when it is told to."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("whisper")

import torch
from hypothesis import given
from hypothesis import strategies as st
from whisper.model import ModelDimensions, Whisper

from realtime_stts.engines.whisper._encoder import encode, n_positions


class _Stop(Exception):
    pass


def sound(n: int, n_frames: int = 3000) -> torch.Tensor:
    noise = np.random.default_rng(0).standard_normal((n, 80, n_frames)) * 0.5
    return torch.from_numpy(noise.astype(np.float32))


def count(model: Whisper, last: int) -> int:
    """How often an encoding asks whether to go on, if it is not stopped at the ``last`` time."""
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == last:
            raise _Stop

    encode(model, sound(1, 128), check)
    return calls


class TestFeatures:
    @pytest.mark.parametrize("n", [1, 3])
    def test_of_whole_windows_are_openais(self, openai_random: Whisper, n: int) -> None:
        mel = sound(n)
        features = encode(openai_random, mel, lambda: None)
        assert torch.equal(features, openai_random.encoder(mel))

    def test_of_short_windows_are_those_of_a_model_with_fewer_positions(
        self, openai_random: Whisper
    ) -> None:
        short = Whisper(ModelDimensions(80, 192, 64, 2, 2, 51865, 448, 64, 2, 2)).eval()
        weights = dict(openai_random.encoder.state_dict())
        weights["positional_embedding"] = weights["positional_embedding"][:192]
        short.encoder.load_state_dict(weights)
        mel = sound(2, 384)
        features = encode(openai_random, mel, lambda: None)
        assert features.shape == (2, 192, 64)
        with torch.no_grad():
            assert torch.equal(features, short.encoder(mel))

    def test_are_not_computed_to_the_end_if_nobody_wants_them(self, openai_random: Whisper) -> None:
        n_checks = count(openai_random, last=1_000)
        assert n_checks >= 2 * len(openai_random.encoder.blocks)
        for last in range(1, n_checks + 1):
            with pytest.raises(_Stop):
                count(openai_random, last)


class TestHowMuchIsComputed:
    @given(n_frames=st.integers(0, 3000), n_ctx=st.sampled_from([1500, 750]))
    def test_exactly_is_everything(self, n_frames: int, n_ctx: int) -> None:
        assert n_positions(n_frames, "exact", n_ctx) == n_ctx

    @pytest.mark.parametrize(
        ("n_frames", "balanced", "aggressive"),
        [(1, 192, 128), (100, 192, 128), (129, 256, 192), (1000, 640, 576), (3000, 1500, 1500)],
    )
    def test_is_the_sound_and_some_silence(
        self, n_frames: int, balanced: int, aggressive: int
    ) -> None:
        assert n_positions(n_frames, "balanced", 1500) == balanced
        assert n_positions(n_frames, "aggressive", 1500) == aggressive

    @given(n_frames=st.integers(0, 3000))
    def test_covers_the_sound_and_is_one_of_few_sizes(self, n_frames: int) -> None:
        aggressive = n_positions(n_frames, "aggressive", 1500)
        balanced = n_positions(n_frames, "balanced", 1500)
        assert aggressive <= balanced <= 1500
        for n, margin in ((aggressive, 64), (balanced, 128)):
            assert n == 1500 or (n % 64 == 0 and margin <= n - n_frames / 2 < margin + 64)

    @pytest.mark.parametrize("encoder", ["exact", "balanced", "aggressive"])
    def test_grows_with_the_sound(self, encoder: str) -> None:
        sizes = [n_positions(n, encoder, 1500) for n in range(3001)]
        assert all(one <= other for one, other in pairwise(sizes))
        assert len({*sizes}) <= 1500 // 64 + 1
