"""Rows of many lengths go through the decoder as each would alone through openai-whisper's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("whisper")

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from whisper.model import Whisper, disable_sdpa

from realtime_stts.engines.whisper._decoder import Decoder
from realtime_stts.engines.whisper._model import Model


class _Stop(Exception):
    pass


def features(n: int, n_positions: int = 100, seed: int = 0) -> Tensor:
    values = np.random.default_rng(seed).standard_normal((n, n_positions, 64))
    return torch.from_numpy(values.astype(np.float32))


def tokens(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 51865, n).tolist()


def new(model: Model, sounds: Tensor) -> Decoder:
    return Decoder(model.whisper, sounds, model.head, lambda: None)


def openai(model: Whisper, row: Sequence[int], sound: Tensor) -> Tensor:
    """The logits after each token of a row, of shape (n, n_vocab)."""
    return model.decoder(torch.tensor([row]), sound[None])[0]


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0.0, atol=1e-4)


class TestARow:
    def test_at_once_gives_openais_logits(
        self, openai_random: Whisper, random_model: Model
    ) -> None:
        sound, row = features(1), tokens(20)
        decoder = new(random_model, sound)
        states = decoder.states([row])
        assert states.shape == (1, 20, 64)
        assert decoder.lengths == [20]
        close(decoder.logits(states[0]), openai(openai_random, row, sound[0]))

    def test_token_by_token_gives_the_same(
        self, openai_random: Whisper, random_model: Model
    ) -> None:
        sound, row = features(1), tokens(20)
        decoder = new(random_model, sound)
        states = [decoder.states([[token]])[0] for token in row]
        close(decoder.logits(torch.cat(states)), openai(openai_random, row, sound[0]))

    @given(cuts=st.lists(st.integers(1, 19), max_size=5, unique=True))
    @settings(max_examples=20)
    def test_in_any_pieces_gives_the_same(
        self, openai_random: Whisper, random_model: Model, cuts: list[int]
    ) -> None:
        sound, row = features(1), tokens(20)
        decoder = new(random_model, sound)
        bounds = [0, *sorted(cuts), 20]
        states = [decoder.states([row[start:end]])[0] for start, end in itertools.pairwise(bounds)]
        close(decoder.logits(torch.cat(states)), openai(openai_random, row, sound[0]))

    def test_fills_the_whole_context(self, openai_random: Whisper, random_model: Model) -> None:
        sound, row = features(1), tokens(448)
        decoder = new(random_model, sound)
        assert decoder.n_ctx == 448
        decoder.states([row[:60]])
        decoder.states([row[60:70]])
        decoder.states([row[70:440]])
        states = [decoder.states([[token]])[0] for token in row[440:]]
        expected = openai(openai_random, row, sound[0])[440:]
        close(decoder.logits(torch.cat(states)), expected)

    def test_goes_on_from_where_it_was_cut(
        self, openai_random: Whisper, random_model: Model
    ) -> None:
        sound, row = features(1), tokens(20)
        decoder = new(random_model, sound)
        decoder.states([[*row[:12], 1, 2, 3]])
        decoder.cut([12])
        states = decoder.states([row[12:]])[0]
        close(decoder.logits(states), openai(openai_random, row, sound[0])[12:])


class TestManyRows:
    @given(
        lengths=st.lists(
            st.lists(st.integers(1, 40), min_size=3, max_size=3), min_size=1, max_size=4
        )
    )
    @settings(max_examples=25)
    def test_of_different_lengths_are_each_as_if_alone(
        self, openai_random: Whisper, random_model: Model, lengths: list[list[int]]
    ) -> None:
        sounds = features(3)
        decoder = new(random_model, sounds)
        rows: list[list[int]] = [[], [], []]
        for turn, sizes in enumerate(lengths):
            more = [tokens(n, seed=3 * turn + row) for row, n in enumerate(sizes)]
            states = decoder.states(more)
            for row, new_tokens in enumerate(more):
                rows[row] += new_tokens
                expected = openai(openai_random, rows[row], sounds[row])[-len(new_tokens) :]
                close(decoder.logits(states[row, : len(new_tokens)]), expected)
        assert decoder.lengths == [*map(len, rows)]

    def test_next_to_a_full_one_are_as_if_alone(
        self, openai_random: Whisper, random_model: Model
    ) -> None:
        sounds, full, short = features(2), tokens(447), tokens(5, seed=1)
        decoder = new(random_model, sounds)
        decoder.states([full, short])
        states = decoder.states([[7], [8, 9, 10]])
        close(decoder.logits(states[0, :1]), openai(openai_random, [*full, 7], sounds[0])[-1:])
        close(decoder.logits(states[1]), openai(openai_random, [*short, 8, 9, 10], sounds[1])[-3:])

    def test_of_one_sound_share_it(self, openai_random: Whisper, random_model: Model) -> None:
        sounds, starts = features(2), [tokens(6), tokens(9, seed=1)]
        decoder = new(random_model, sounds)
        decoder.states(starts)
        decoder.spread(3)
        assert decoder.lengths == [6, 6, 6, 9, 9, 9]
        for turn in range(3):
            more = [[100 * row + turn] for row in range(6)]
            states = decoder.states(more)
        for row in range(6):
            said = [*starts[row // 3], *(100 * row + turn for turn in range(3))]
            expected = openai(openai_random, said, sounds[row // 3])[-1:]
            close(decoder.logits(states[row]), expected)

    def test_are_one_for_each_sound_unless_there_are_to_be_more(self, random_model: Model) -> None:
        decoder = new(random_model, features(2))
        decoder.states([[1], [2]])
        decoder.spread(1)
        assert decoder.lengths == [1, 1]

    def test_go_on_from_one_another(self, openai_random: Whisper, random_model: Model) -> None:
        sounds, starts = features(1), [tokens(5), tokens(5, seed=1), tokens(5, seed=2)]
        decoder = new(random_model, sounds)
        decoder.spread(3)
        decoder.states(starts)
        decoder.reorder([2, 0, 0])
        states = decoder.states([[1], [2], [3]])
        for row, (source, token) in enumerate(zip([2, 0, 0], [1, 2, 3], strict=True)):
            expected = openai(openai_random, [*starts[source], token], sounds[0])[-1:]
            close(decoder.logits(states[row]), expected)

    def test_stay_where_they_are_if_their_order_does(self, random_model: Model) -> None:
        decoder = new(random_model, features(2))
        decoder.states([tokens(3), tokens(4)])
        rows = decoder._rows[0][0]
        decoder.reorder([0, 1])
        assert decoder._rows[0][0] is rows

    def test_leave_and_the_others_do_not_notice(
        self, openai_random: Whisper, random_model: Model
    ) -> None:
        sounds = features(4)
        starts = [tokens(n, seed=n) for n in (5, 9, 7, 3)]
        decoder = new(random_model, sounds)
        decoder.states(starts)
        decoder.spread(2)
        decoder.keep([1, 3])
        assert decoder.n_sounds == 2
        assert decoder.lengths == [9, 9, 3, 3]
        states = decoder.states([[1], [2], [3], [4]])
        for row, (sound, token) in enumerate([(1, 1), (1, 2), (3, 3), (3, 4)]):
            expected = openai(openai_random, [*starts[sound], token], sounds[sound])[-1:]
            close(decoder.logits(states[row]), expected)


class TestTheSounds:
    def test_are_heard_again_from_the_beginning(
        self, openai_random: Whisper, random_model: Model
    ) -> None:
        sound, row = features(1), tokens(8)
        decoder = new(random_model, sound)
        decoder.states([tokens(30, seed=9)])
        decoder.begin()
        assert decoder.lengths == [0]
        close(decoder.logits(decoder.states([row])[0]), openai(openai_random, row, sound[0]))

    def test_are_selected_without_loss_to_the_others(
        self, openai_random: Whisper, random_model: Model
    ) -> None:
        sounds, row = features(3), tokens(8)
        decoder = new(random_model, sounds)
        other = decoder.select([2, 0])
        assert (other.n_sounds, decoder.n_sounds) == (2, 3)
        states = other.states([row, row])
        close(other.logits(states[0]), openai(openai_random, row, sounds[2]))
        close(other.logits(states[1]), openai(openai_random, row, sounds[0]))
        states = decoder.states([row, row, row])
        close(decoder.logits(states[1]), openai(openai_random, row, sounds[1]))

    def test_outlive_the_rows_of_a_fork(self, openai_random: Whisper, random_model: Model) -> None:
        sounds, row = features(3), tokens(8)
        decoder = new(random_model, sounds)
        decoder.states([[1], [2], [3]])
        fork = decoder.fork()
        states = fork.states([row, row, row])
        close(fork.logits(states[2]), openai(openai_random, [3, *row], sounds[2])[1:])
        fork.keep([0])
        fork.states([[1]])
        assert decoder.n_sounds == 3
        states = decoder.select([1]).states([row])
        close(decoder.logits(states[0]), openai(openai_random, row, sounds[1]))

    def test_are_looked_at_by_queries_that_can_be_asked_for(
        self, openai_random: Whisper, random_model: Model
    ) -> None:
        sound, row = features(1), tokens(6)
        decoder = new(random_model, sound)
        queries = {1: torch.empty(0)}
        decoder.states([row], queries)
        assert [*queries] == [1]
        weights: list[Tensor] = []
        block = openai_random.decoder.blocks[1].cross_attn
        hook = block.register_forward_hook(lambda _, __, out: weights.append(out[1]))
        with disable_sdpa():
            openai(openai_random, row, sound[0])
        hook.remove()
        scale = queries[1].shape[-1] ** -0.5
        close(queries[1] @ decoder.keys(1).transpose(-1, -2) * scale, weights[0])


class TestNobodyWaiting:
    def test_ends_the_making_and_every_layer(self, random_model: Model) -> None:
        calls = 0

        def count() -> None:
            nonlocal calls
            calls += 1

        decoder = Decoder(random_model.whisper, features(1), random_model.head, count)
        in_making = calls
        decoder.states([[1]])
        assert (in_making, calls) == (2, 4)

        def stop() -> None:
            raise _Stop

        with pytest.raises(_Stop):
            Decoder(random_model.whisper, features(1), random_model.head, stop)
