"""Products of a few rows are those of `torch.nn.functional.linear`."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_stts.engines._linear import ThinLinear, thin_head, thin_linear, thinned


def some(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("shape", [(1, 8), (1, 1, 8), (3, 8), (2, 5, 8), (16, 8), (17, 8), (0, 8)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_product_is_the_same_and_contiguous(shape: tuple[int, ...], has_bias: bool) -> None:
    x, weight, bias = some(*shape), some(12, 8), some(12) if has_bias else None
    result = thin_linear(x, weight, bias)
    assert torch.allclose(result, F.linear(x, weight, bias), atol=1e-5)
    # Attention takes a slow way with anything else.
    assert result.is_contiguous()


@pytest.mark.parametrize("n", [1, 64, 65])
def test_so_are_the_logits(n: int) -> None:
    states, embedding = some(n, 8), some(500, 8)
    assert torch.allclose(thin_head(embedding, states), states @ embedding.T, atol=1e-5)


class Turned(nn.Module):
    """Linear, with its weight the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(some(8, 8)), nn.Parameter(some(8))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


def test_every_linear_layer_of_a_module_is_replaced_and_nothing_else() -> None:
    module = nn.Sequential(
        nn.Linear(8, 8), nn.Sequential(Turned(), nn.LayerNorm(8)), nn.Linear(8, 3, bias=False)
    )
    x = some(2, 8)
    expected = module(x)
    thinned(module, {Turned: lambda layer: (layer.weight.T.contiguous(), layer.bias)})
    assert torch.allclose(module(x), expected, atol=1e-5)
    kinds = [type(layer) for layer in module.modules()][1:]
    assert kinds == [ThinLinear, nn.Sequential, ThinLinear, nn.LayerNorm, ThinLinear]
