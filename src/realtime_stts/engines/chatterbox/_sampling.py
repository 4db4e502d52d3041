"""Which speech token comes next: logits of many rows, each drawn from in its own way.

The steps, and their order, are those of Chatterbox's two loops, so that the same dice give
the same tokens: classifier-free guidance, repetition penalty, temperature, min-p and top-p
for the Llama; temperature, top-k, top-p and then the penalty for turbo's GPT-2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Sampling", "draw", "guided"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one row's tokens are drawn.

    Attributes:
        temperature: Over 0.
        repetition_penalty: Divides the logits of tokens that were drawn before; 1 does not.
        min_p: Tokens less likely than this share of the likeliest one are left out; 0 for none.
        top_p: The likeliest tokens that together reach this probability stay; 1 for all.
        top_k: So many of the likeliest stay; 0 for all.
        cfg_weight: How much of what the text makes of it is added once more.
        penalty_last: Whether the penalty comes after the others, as for turbo.
    """

    temperature: float = 0.8
    repetition_penalty: float = 1.2
    min_p: float = 0.05
    top_p: float = 1.0
    top_k: int = 0
    cfg_weight: float = 0.5
    penalty_last: bool = False


def guided(logits: Tensor, how: Sequence[Sampling]) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, https://arxiv.org/abs/2207.12598).

    Args:
        logits: Of shape (2 n, n_vocab): each row with its text, followed by the same without.

    Returns:
        Of shape (n, n_vocab).
    """
    with_text, without = logits.view(len(how), 2, -1).unbind(1)
    weights = with_text.new_tensor([each.cfg_weight for each in how])
    return with_text + weights[:, None] * (with_text - without)


def draw(
    logits: Tensor,
    seen: Tensor,
    how: Sequence[Sampling],
    dice: Sequence[torch.Generator | None],
) -> Tensor:
    """Draw a token for each row.

    Args:
        logits: Float32 of shape (n, n_vocab).
        seen: Bool of the same shape, the tokens that are penalised.
        how: For each row; all with the same ``penalty_last``.
        dice: For each row; None for torch's own.

    Returns:
        Int64 of shape (n,).
    """

    def column(values: Sequence[float]) -> Tensor:
        return logits.new_tensor(values)[:, None]

    penalty_last = how[0].penalty_last
    penalties = column([each.repetition_penalty for each in how])
    if not penalty_last:
        logits = _penalised(logits, seen, penalties)
    logits = logits / column([each.temperature for each in how])
    if any(each.top_k > 0 for each in how):
        logits = _top_k(logits, how)
    if any(each.min_p > 0.0 for each in how):
        likely = logits.softmax(dim=-1)
        least = column([each.min_p for each in how]) * likely.amax(dim=-1, keepdim=True)
        logits = logits.masked_fill(likely < least, -torch.inf)
    if any(each.top_p < 1.0 for each in how):
        logits = _top_p(logits, column([each.top_p for each in how]))
    if penalty_last:
        logits = _penalised(logits, seen, penalties)
    likely = logits.softmax(dim=-1)
    drawn = [
        likely[row : row + 1].multinomial(1, generator=own)[:, 0] for row, own in enumerate(dice)
    ]
    return torch.cat(drawn)


def _penalised(logits: Tensor, seen: Tensor, penalties: Tensor) -> Tensor:
    """Keskar et al. 2019, https://arxiv.org/abs/1909.05858."""
    penalised = torch.where(logits < 0, logits * penalties, logits / penalties)
    return torch.where(seen, penalised, logits)


def _top_k(logits: Tensor, how: Sequence[Sampling]) -> Tensor:
    n_vocab = logits.shape[-1]
    ks = [min(each.top_k or n_vocab, n_vocab) for each in how]
    ranked = logits.topk(max(ks), dim=-1).values
    least = ranked.gather(1, torch.tensor(ks, device=logits.device)[:, None] - 1)
    return logits.masked_fill(logits < least, -torch.inf)


def _top_p(logits: Tensor, top_p: Tensor) -> Tensor:
    """Nucleus sampling (Holtzman et al. 2019, https://arxiv.org/abs/1904.09751)."""
    ranked, order = logits.sort(dim=-1)
    out = ranked.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
    out[:, -1] = False
    # Where all are to stay, so do those whose probabilities add up to nothing yet.
    out &= top_p < 1.0
    return logits.masked_fill(out.scatter(1, order, out), -torch.inf)
