"""The encoder and the flow give upstream's mel, at once and by chunks."""

from __future__ import annotations

from collections.abc import Generator
from copy import deepcopy
from typing import TypeVar

import pytest

pytest.importorskip("chatterbox")

import torch
from chatterbox.models.s3gen import S3Gen
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from realtime_stts.engines.chatterbox._flow import Flow, FlowPast, _shift
from tools.random_chatterbox import small_s3gen

T = TypeVar("T")
N = 60  # tokens


@pytest.fixture(params=[False, True], ids=["standard", "meanflow"])
def s3gen(request: pytest.FixtureRequest) -> S3Gen:
    return small_s3gen(meanflow=request.param)


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, 6561, (1, N), generator=torch.Generator().manual_seed(0))


def masked(s3gen: S3Gen) -> S3Gen:
    """A copy in which attention is held to chunks of a second."""
    s3gen = deepcopy(s3gen)
    s3gen.flow.encoder.static_chunk_size = 25
    s3gen.flow.decoder.estimator.static_chunk_size = 50
    return s3gen


def done(steps: Generator[None, None, T]) -> T:
    result: list[T] = []

    def keep() -> Generator[None, None, None]:
        result.append((yield from steps))

    for _ in keep():
        pass
    return result[0]


def encoded(s3gen: S3Gen, tokens: Tensor) -> Tensor:
    flow = s3gen.flow
    with torch.inference_mode():
        h, _ = flow.encoder(flow.input_embedding(tokens), torch.tensor([tokens.shape[1]]))
        return flow.encoder_proj(h)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


class TestTheEncoder:
    def test_at_once_is_upstreams(self, s3gen: S3Gen, tokens: Tensor) -> None:
        with torch.inference_mode():
            mu = Flow(s3gen.flow, meanflow=s3gen.meanflow).encode(tokens, N)
        assert mu.shape == (1, 2 * N, 80)
        close(mu, encoded(s3gen, tokens))

    def test_by_chunks_is_upstreams_with_a_mask(self, s3gen: S3Gen, tokens: Tensor) -> None:
        flow = Flow(s3gen.flow, meanflow=s3gen.meanflow)
        past, pieces, start = FlowPast.begin(1), [], 0
        with torch.inference_mode():
            for end in (25, 50, N):
                known = tokens[:, start : min(N, end + 3)]
                pieces.append(flow.encode(known, end - start, past))
                start = end
        close(torch.cat(pieces, 1), encoded(masked(s3gen), tokens))

    def test_sees_three_tokens_ahead_and_no_more(self, s3gen: S3Gen, tokens: Tensor) -> None:
        flow = Flow(s3gen.flow, meanflow=s3gen.meanflow)
        other = tokens.clone()
        other[:, 28:] = 0
        with torch.inference_mode():
            one, same, short = (
                flow.encode(t, 25, FlowPast.begin(1)) for t in (tokens, other, tokens[:, :27])
            )
        assert torch.equal(one, same)
        assert not torch.allclose(one, short, atol=1e-3)


class TestTheFlow:
    N_STEPS = 3

    @pytest.fixture
    def given_(self) -> dict[str, Tensor]:
        dice = torch.Generator().manual_seed(1)
        drawn = {
            name: torch.randn(1, 2 * N, 80, generator=dice) for name in ("noise", "mu", "known")
        }
        drawn["speaker"] = torch.randn(1, 80, generator=dice)
        return drawn

    def upstream(self, s3gen: S3Gen, noise: Tensor, mu: Tensor, known: Tensor, speaker: Tensor):
        cfm = s3gen.flow.decoder
        times = torch.linspace(0, 1, self.N_STEPS + 1)
        solve = cfm.basic_euler
        if not s3gen.meanflow:
            times, solve = 1 - torch.cos(times * 0.5 * torch.pi), cfm.solve_euler
        with torch.inference_mode():
            noise, mu, known = (x.transpose(1, 2) for x in (noise, mu, known))
            mel = solve(noise, times, mu, torch.ones(1, 1, 2 * N), speaker, known)
        return mel.transpose(1, 2)

    def test_at_once_gives_upstreams_mel(self, s3gen: S3Gen, given_: dict[str, Tensor]) -> None:
        flow = Flow(s3gen.flow, meanflow=s3gen.meanflow)
        with torch.inference_mode():
            mel = done(flow.solve(**given_, steps=flow.steps(self.N_STEPS)))
        close(mel, self.upstream(s3gen, **given_))

    def test_by_chunks_gives_upstreams_with_a_mask(
        self, s3gen: S3Gen, given_: dict[str, Tensor]
    ) -> None:
        flow = Flow(s3gen.flow, meanflow=s3gen.meanflow)
        speaker = given_.pop("speaker")
        past, pieces, start = FlowPast.begin(self.N_STEPS), [], 0
        with torch.inference_mode():
            steps = flow.steps(self.N_STEPS)
            for end in (50, 100, 2 * N):
                new = {name: x[:, start:end] for name, x in given_.items()}
                pieces.append(done(flow.solve(**new, speaker=speaker, steps=steps, past=past)))
                start = end
        close(torch.cat(pieces, 1), self.upstream(masked(s3gen), **given_, speaker=speaker))

    def test_takes_a_step_at_a_time(self, s3gen: S3Gen, given_: dict[str, Tensor]) -> None:
        flow = Flow(s3gen.flow, meanflow=s3gen.meanflow)
        with torch.inference_mode():
            assert len([*flow.solve(**given_, steps=flow.steps(4))]) == 4

    def test_a_speaker_is_upstreams(self, s3gen: S3Gen) -> None:
        embedding = torch.randn(1, 192, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            speaker = Flow(s3gen.flow, meanflow=s3gen.meanflow).speaker(embedding)
            unit = embedding / embedding.norm()
            close(speaker, s3gen.flow.spk_embed_affine_layer(unit))


@given(st.integers(0, 6), st.integers(1, 6))
def test_scores_of_distances_come_to_the_positions_at_those_distances(n_past: int, n: int) -> None:
    n_all = n_past + n
    distances = torch.arange(n_all - 1, -n, -1)
    scores = (100 * torch.arange(n)[:, None] + distances)[None]
    shifted = _shift(scores)
    assert shifted.shape == (1, n, n_all)
    for i in range(n):
        for j in range(n_all):
            assert shifted[0, i, j] == 100 * i + (n_past + i - j)
