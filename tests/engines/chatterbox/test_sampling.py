"""Tokens drawn as transformers' processors would have them, for rows with settings of their own."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("chatterbox")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from realtime_stts.engines.chatterbox._sampling import Sampling, draw, guided

N_VOCAB = 200


def logits(n: int, seed: int) -> Tensor:
    return torch.randn(n, N_VOCAB, generator=torch.Generator().manual_seed(seed)) * 4


def theirs(logits: Tensor, tokens: list[int], how: Sampling) -> Tensor:
    """One row's, as Chatterbox composes them."""
    penalty = RepetitionPenaltyLogitsProcessor(how.repetition_penalty)
    warpers: list[Any] = [TemperatureLogitsWarper(how.temperature)]
    if how.top_k:
        warpers.append(TopKLogitsWarper(how.top_k))
    if how.min_p:
        warpers.append(MinPLogitsWarper(how.min_p))
    warpers.append(TopPLogitsWarper(how.top_p))
    order = [*warpers, penalty] if how.penalty_last else [penalty, *warpers]
    processed: Tensor = LogitsProcessorList(order)(torch.tensor([tokens]), logits.clone())
    return processed


def samplings(*, penalty_last: bool) -> st.SearchStrategy[Sampling]:
    return st.builds(
        Sampling,
        temperature=st.floats(0.05, 2.0),
        repetition_penalty=st.floats(1.0, 5.0),
        min_p=st.sampled_from([0.0, 0.05, 0.5]),
        top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
        top_k=st.sampled_from([0, 1, 20, 1000]),
        penalty_last=st.just(penalty_last),
    )


@given(st.data(), st.booleans(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_each_row_draws_what_it_would_by_transformers(
    data: st.DataObject, penalty_last: bool, seed: int
) -> None:
    rows = data.draw(st.lists(samplings(penalty_last=penalty_last), min_size=1, max_size=4))
    given_logits = logits(len(rows), seed)
    tokens = [
        data.draw(st.lists(st.integers(0, N_VOCAB - 1), min_size=1, max_size=9)) for _ in rows
    ]
    seen = torch.zeros(len(rows), N_VOCAB, dtype=torch.bool)
    for row, own in enumerate(tokens):
        seen[row, own] = True
    drawn = draw(
        given_logits, seen, rows, [torch.Generator().manual_seed(row) for row in range(len(rows))]
    )
    for row, how in enumerate(rows):
        likely = theirs(given_logits[row : row + 1], tokens[row], how).softmax(dim=-1)
        expected = likely.multinomial(1, generator=torch.Generator().manual_seed(row))
        assert drawn[row] == expected[0, 0]


def test_without_dice_torchs_own_chance_is_drawn_from() -> None:
    seen = torch.zeros(1, N_VOCAB, dtype=torch.bool)
    drawn = set()
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        drawn.add(int(draw(logits(1, 0) * 0, seen, [Sampling(min_p=0.0)], [None])))
    assert len(drawn) == 2


def test_the_text_counts_as_much_as_it_is_given_weight() -> None:
    pairs = logits(4, 0)
    rows = [Sampling(cfg_weight=0.0), Sampling(cfg_weight=0.5)]
    expected = [pairs[0], pairs[2] + 0.5 * (pairs[2] - pairs[3])]
    assert torch.allclose(guided(pairs, rows), torch.stack(expected))
