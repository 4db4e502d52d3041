"""The estimator's velocities are upstream's."""

from __future__ import annotations

from copy import deepcopy

import pytest

pytest.importorskip("chatterbox")

import torch
from chatterbox.models.s3gen.decoder import ConditionalDecoder
from torch import Tensor

from realtime_stts.engines.chatterbox._estimator import Estimator
from realtime_stts.engines.chatterbox._past import NOTHING, Past
from tools.random_chatterbox import small_s3gen

N = 120  # frames


@pytest.fixture(params=[False, True], ids=["standard", "meanflow"])
def network(request: pytest.FixtureRequest) -> ConditionalDecoder:
    return small_s3gen(meanflow=request.param).flow.decoder.estimator


@pytest.fixture
def rows() -> Tensor:
    """x, mu, the speaker and the known mel of two rows, of shape (2, N, 320)."""
    return torch.randn(2, N, 320, generator=torch.Generator().manual_seed(0))


TIMES = torch.tensor([0.0, 0.3, 1.0])


def upstream(network: ConditionalDecoder, rows: Tensor, step: int) -> Tensor:
    x, mu, speaker, known = rows.transpose(1, 2).split(80, dim=1)
    speaker = speaker[..., 0]
    begin, end = (TIMES[i].expand(2) for i in (step, step + 1))
    ends = end if network.meanflow else None
    mask = torch.ones(2, 1, rows.shape[1])
    with torch.inference_mode():
        return network(x, mask, mu, begin, speaker, known, ends).transpose(1, 2)


def same_speaker(rows: Tensor) -> Tensor:
    rows[:, :, 160:240] = rows[:, :1, 160:240]
    return rows


@pytest.mark.parametrize("step", [0, 1])
def test_at_once_they_are_upstreams(network: ConditionalDecoder, rows: Tensor, step: int) -> None:
    rows = same_speaker(rows)
    estimator = Estimator(network)
    with torch.inference_mode():
        velocity = estimator(rows, estimator.embed(TIMES)[step], NOTHING)
    assert velocity.shape == (2, N, 80)
    torch.testing.assert_close(velocity, upstream(network, rows, step), rtol=0, atol=1e-4)


def test_by_chunks_they_are_upstreams_with_a_mask(
    network: ConditionalDecoder, rows: Tensor
) -> None:
    rows = same_speaker(rows)
    masked = deepcopy(network)
    masked.static_chunk_size = 50
    estimator, past = Estimator(network), Past()
    with torch.inference_mode():
        step = estimator.embed(TIMES)[0]
        pieces = [estimator(piece, step, past) for piece in rows.split(50, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), upstream(masked, rows, 0), rtol=0, atol=1e-4)


def test_it_says_how_much_a_past_keeps(network: ConditionalDecoder, rows: Tensor) -> None:
    estimator, past = Estimator(network), Past()
    with torch.inference_mode():
        step = estimator.embed(TIMES)[0]
        estimator(rows[:, :50], step, past)
        one = past.n_bytes
        estimator(rows[:, 50:100], step, past)
    assert past.n_bytes - one == 2 * 50 * estimator.n_bytes_per_frame


@pytest.mark.filterwarnings("ignore::FutureWarning")  # diffusers' plans
def test_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="form"):
        Estimator(ConditionalDecoder(channels=[64, 64], n_blocks=1, num_mid_blocks=1))
