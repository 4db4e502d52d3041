"""Speech tokens of many sentences at once, as Chatterbox makes them one after the other."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any

import pytest

pytest.importorskip("chatterbox")

import torch
from chatterbox.models.t3 import T3
from torch import Tensor

from realtime_stts.engines._worker import Withdrawn
from realtime_stts.engines.chatterbox._sampling import Sampling
from realtime_stts.engines.chatterbox._talker import Talker, Utterance
from tools.random_chatterbox import KINDS, conditioning, small_t3, text_tokens

TURBO = Sampling(0.8, 1.2, 0.0, 0.95, 1000, 0.0, penalty_last=True)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def models() -> dict[str, T3]:
    return {kind: small_t3(kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def t3(request: pytest.FixtureRequest, models: dict[str, T3]) -> T3:
    return models[request.param]


@pytest.fixture(params=KINDS[:2])
def english(request: pytest.FixtureRequest, models: dict[str, T3]) -> T3:
    """Those that only speak it, which are smaller."""
    return models[request.param]


def never() -> None: ...


def utterance(t3: T3, talker: Talker, text: Tensor, seed: int, **options: Any) -> Utterance:
    options.setdefault("max_tokens", 18)
    sampling = options.pop("sampling", TURBO if t3.is_gpt else Sampling())
    prefix = talker.prefix(conditioning(t3, options.pop("voice", 0)), never)
    return Utterance(text, prefix, sampling, torch.Generator().manual_seed(seed), **options)


def spoken(talker: Talker, *utterances: Utterance) -> list[list[int]]:
    """All their tokens; they join together."""
    for each in utterances:
        talker.join(each, never)
    while talker.utterances:
        talker.step(never)
    return [each.tokens for each in utterances]


def chatterboxes(t3: T3, text: Tensor, seed: int, voice: int = 0, n: int = 18) -> list[int]:
    """What the package's own loop draws, of a copy, as it leaves its hooks there."""
    own = deepcopy(t3)
    torch.manual_seed(seed)
    if t3.is_gpt:
        # It draws one before it begins to count.
        drawn = own.inference_turbo(conditioning(t3, voice), text[None], max_gen_len=n - 1)
    else:
        drawn = own.inference(
            t3_cond=conditioning(t3, voice),
            text_tokens=torch.stack([text, text]),
            max_new_tokens=n,
            top_p=1.0,
        )
    return [token for token in drawn[0].tolist() if token < t3.hp.start_speech_token]


def stopping_at(t3: T3, token: int) -> T3:
    """The same model, for which that token ends a sentence."""
    own = copy(t3)
    own.hp = copy(t3.hp)
    own.hp.stop_speech_token = token
    return own


class TestASentence:
    @pytest.mark.parametrize("seed", range(2))
    def test_has_the_tokens_that_chatterboxs_loop_draws(self, t3: T3, seed: int) -> None:
        text = text_tokens(t3, 9 + 5 * seed, seed)
        talker = Talker(t3)
        tokens = spoken(talker, utterance(t3, talker, text, seed, voice=seed))[0]
        assert len(tokens) > 8
        assert tokens == chatterboxes(t3, text, seed, seed)

    def test_ends_where_chatterbox_would_end_it(self, t3: T3) -> None:
        text = text_tokens(t3, 12)
        first = chatterboxes(t3, text, 5)
        ending = stopping_at(t3, first[9])
        talker = Talker(ending)
        said = utterance(ending, talker, text, 5)
        tokens = spoken(talker, said)[0]
        assert tokens == [t for t in chatterboxes(ending, text, 5) if t != first[9]]
        if not t3.hp.is_multilingual:  # which may not end while it looks at the text's middle
            assert (said.ended, said.is_cut) == (True, False)

    def test_is_cut_after_as_many_tokens_as_it_may_have(self, english: T3) -> None:
        talker = Talker(english)
        said = utterance(english, talker, text_tokens(english, 5), 1, max_tokens=7)
        spoken(talker, said)
        assert said.n_drawn == 7
        assert (said.ended, said.is_cut) == (True, True)

    def test_leaves_the_model_as_it_was(self, t3: T3) -> None:
        before = {name: weight.clone() for name, weight in t3.state_dict().items()}
        config = repr(t3.tfmr.config)
        talker = Talker(t3)
        spoken(talker, utterance(t3, talker, text_tokens(t3, 5), 1))
        for name, weight in t3.state_dict().items():
            assert torch.equal(weight, before[name])
        assert repr(t3.tfmr.config) == config
        for module in t3.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks
        assert not hasattr(t3, "patched_model")


class TestTheTextsWeight:
    def test_may_be_nothing(self) -> None:
        """Chatterbox itself fails there."""
        t3 = small_t3("standard")
        text = text_tokens(t3, 8)
        talker = Talker(t3)
        tokens = spoken(talker, utterance(t3, talker, text, 3, sampling=Sampling(cfg_weight=0.0)))
        # The row without the text has no say, so it may as well be another text's.
        little = Sampling(cfg_weight=1e-7)
        assert tokens == spoken(talker, utterance(t3, talker, text, 3, sampling=little))


class TestManySentences:
    def test_have_the_tokens_they_would_have_alone(self, t3: T3) -> None:
        talker = Talker(t3)
        texts = [text_tokens(t3, n, n) for n in (3, 17, 8, 12)]
        alone = [
            spoken(talker, utterance(t3, talker, text, i, voice=i, max_tokens=16 + i))[0]
            for i, text in enumerate(texts)
        ]
        together = spoken(
            talker,
            *(
                utterance(t3, talker, text, i, voice=i, max_tokens=16 + i)
                for i, text in enumerate(texts)
            ),
        )
        assert together == alone
        assert len({*map(tuple, alone)}) == 4

    def test_come_and_go_as_they_like(self, english: T3) -> None:
        talker = Talker(english)
        lengths = {0: 14, 1: 5, 2: 9, 3: 12}
        texts = {i: text_tokens(english, 4 + 3 * i, i) for i in lengths}
        alone = {
            i: spoken(talker, utterance(english, talker, texts[i], i, voice=i, max_tokens=n))[0]
            for i, n in lengths.items()
        }
        said = {
            i: utterance(english, talker, texts[i], i, voice=i, max_tokens=n)
            for i, n in lengths.items()
        }
        gone = utterance(english, talker, text_tokens(english, 20), 99)
        for step in range(24):
            if step % 3 == 0 and step // 3 in said:
                talker.join(said[step // 3], never)
            if step == 1:
                talker.join(gone, never)
            if step == 4:
                talker.leave(gone)
            if talker.utterances:
                talker.step(never)
        assert not talker.utterances
        assert {i: each.tokens for i, each in said.items()} == alone
        assert len(gone.tokens) <= 4

    def test_go_on_when_one_that_comes_is_withdrawn(self, english: T3) -> None:
        talker = Talker(english)
        text = text_tokens(english, 8)
        (alone,) = spoken(talker, utterance(english, talker, text, 1))
        said, withdrawn = (utterance(english, talker, text, seed) for seed in (1, 2))
        talker.join(said, never)
        calls = 0

        def withdraw() -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise Withdrawn

        for _ in range(3):
            talker.step(never)
            calls = 0
            with pytest.raises(Withdrawn):
                talker.join(withdrawn, withdraw)
        while talker.utterances:
            talker.step(never)
        assert said.tokens == alone
        assert withdrawn.tokens == []

    def test_keep_nothing_when_they_are_gone(self, english: T3) -> None:
        talker = Talker(english)
        least = talker.n_bytes
        for seed in range(3):
            talker.join(utterance(english, talker, text_tokens(english, 300), seed), never)
        assert talker.n_bytes > least
        talker.clear()
        assert not talker.utterances
        assert talker.n_bytes == least
