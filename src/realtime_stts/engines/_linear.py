"""Linear layers for a few rows at a time, as a decoder's steps have them, on a CPU.

Such a product is as fast as its weights can be read. `torch.nn.functional.linear` has the
rows of the input as the rows of the result, and for 1 to 16 of them its library takes two to
ten times as long as that; with the weights' rows as the result's it does not. The sums are
the same but for the order they are taken in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ..errors import MissingExtraError

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
except ImportError as exc:
    raise MissingExtraError("A model in torch", "whisper") from exc

__all__ = ["ThinLinear", "thin_head", "thin_linear", "thinned"]

_Others = Mapping[type[nn.Module], Callable[[Any], "tuple[Tensor, Tensor | None]"]]

_FEW: Final = 16  # rows, up to which it pays
_FEW_OF_MANY: Final = 64  # for a weight with a row for each token


def thin_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, few: int = _FEW) -> Tensor:
    """``x @ weight.T + bias``, for ``x`` of shape (..., n_in)."""
    rows = x.reshape(-1, x.shape[-1])
    n = rows.shape[0]
    if n > few:
        return F.linear(x, weight, bias)
    if n == 1:
        rows = rows.repeat(2, 1)  # with one column it is a product with a vector, and as slow
    columns = weight @ rows.T if bias is None else torch.addmm(bias[:, None], weight, rows.T)
    # Contiguous, or what comes next (attention, for one) takes its slow way.
    return columns[:, :n].T.contiguous().view(*x.shape[:-1], weight.shape[0])


class ThinLinear(nn.Module):
    """A linear layer.

    Args:
        weight: Of shape (n_out, n_in).
        bias: Of shape (n_out,), or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return thin_linear(x, self.weight, self.bias)


def thinned(module: nn.Module, others: _Others = MappingProxyType({})) -> None:
    """Put `ThinLinear` in place of every linear layer in a module.

    Args:
        others: Gives weight and bias of layers that are linear but no `torch.nn.Linear`.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, ThinLinear(child.weight, child.bias))
        elif type(child) in others:
            setattr(module, name, ThinLinear(*others[type(child)](child)))
        else:
            thinned(child, others)


def thin_head(embedding: Tensor, states: Tensor) -> Tensor:
    """Logits of states of shape (n, n_state)."""
    return thin_linear(states, embedding, few=_FEW_OF_MANY)
