"""Words have the times that openai-whisper gives them, to the last digit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

pytest.importorskip("whisper")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from whisper import timing
from whisper.audio import N_SAMPLES, log_mel_spectrogram, pad_or_trim
from whisper.model import Whisper
from whisper.tokenizer import Tokenizer, get_tokenizer

from realtime_stts.engines.whisper._decoder import Decoder
from realtime_stts.engines.whisper._model import Model
from realtime_stts.engines.whisper._words import (
    Spoken,
    _first_positions,
    align,
    heads_by_layer,
    place,
)


def english() -> Tokenizer:
    return get_tokenizer(True, num_languages=99, language="en", task="transcribe")


def german() -> Tokenizer:
    return get_tokenizer(True, num_languages=99, language="de", task="transcribe")


def mel_of_noise(seed: int) -> Tensor:
    samples = np.random.default_rng(seed).standard_normal(64_000) * 0.1
    return log_mel_spectrogram(samples.astype(np.float32), padding=N_SAMPLES)[:, :3000]


def aligned(
    model: Model,
    mels: Sequence[Tensor],
    texts: Sequence[Sequence[int]],
    n_frames: Sequence[int],
    tokenizers: Sequence[Tokenizer] | None = None,
) -> list[list[Spoken]]:
    with torch.inference_mode():
        features = model.whisper.encoder(torch.stack([*mels]))
        decoder = Decoder(model.whisper, features, model.head, lambda: None)
        tokenizers = tokenizers or [english()] * len(mels)
        return align(decoder, model.heads, tokenizers, texts, n_frames)


def same(words: Sequence[Spoken], expected: Sequence[timing.WordTiming]) -> None:
    assert [(word.text, [*word.tokens], word.start, word.end) for word in words] == [
        (word.word, word.tokens, word.start, word.end) for word in expected
    ]
    for word, other in zip(words, expected, strict=True):
        assert word.probability == pytest.approx(other.probability, abs=1e-5)


class TestTheHeads:
    def test_are_those_that_the_checkpoint_names(self, openai_words: Whisper) -> None:
        assert heads_by_layer(openai_words.alignment_heads) == {1: [0, 1, 2, 3]}

    def test_may_be_in_several_layers(self) -> None:
        mask = torch.zeros(4, 6, dtype=torch.bool)
        mask[1, 2] = mask[3, 0] = mask[3, 5] = True
        assert heads_by_layer(mask.to_sparse()) == {1: [2], 3: [0, 5]}


class TestAnAlignment:
    def test_of_noise_is_openais(self, openai_random: Whisper, random_model: Model) -> None:
        mel = mel_of_noise(0)
        text = english().encode(" Hello there, how is the weather? Good.")
        (words,) = aligned(random_model, [mel], [text], [400])
        expected = timing.find_alignment(openai_random, english(), text, mel, 400)
        assert len(words) > 5
        same(words, expected)

    def test_of_speech_is_openais_in_a_batch_of_different_lengths_and_languages(
        self, openai_words: Whisper, words_model: Model, speech: dict[str, list[Any]]
    ) -> None:
        phrases = [*speech["en"][:4], *speech["de"][:2]]
        mels = [
            pad_or_trim(log_mel_spectrogram(phrase.samples, padding=N_SAMPLES), 3000)
            for phrase in phrases
        ]
        tokenizers = [english() if phrase.language == "en" else german() for phrase in phrases]
        texts = [english().encode(f" {phrase.text}.") for phrase in phrases]
        n_frames = [phrase.samples.size // 160 for phrase in phrases]
        assert len({*map(len, texts)}) > 2
        together = aligned(words_model, mels, texts, n_frames, tokenizers)
        for i, words in enumerate(together):
            expected = timing.find_alignment(
                openai_words, tokenizers[i], texts[i], mels[i], n_frames[i]
            )
            same(words, expected)

    def test_of_a_whole_window_is_openais(
        self, openai_random: Whisper, random_model: Model
    ) -> None:
        mel, text = mel_of_noise(1), english().encode(" one two three four five six seven.")
        (words,) = aligned(random_model, [mel], [text], [3000])
        same(words, timing.find_alignment(openai_random, english(), text, mel, 3000))

    @pytest.mark.parametrize("n_frames", [4, 6, 7, 8, 9, 20])
    def test_of_very_little_sound_is_openais(
        self, openai_random: Whisper, random_model: Model, n_frames: int
    ) -> None:
        mel, text = mel_of_noise(2), english().encode(" yes no.")
        (words,) = aligned(random_model, [mel], [text], [n_frames])
        same(words, timing.find_alignment(openai_random, english(), text, mel, n_frames))

    @pytest.mark.parametrize("n_tokens", [1, 2, 3])
    def test_of_a_part_of_a_letter_is_openais(
        self, openai_random: Whisper, random_model: Model, n_tokens: int
    ) -> None:
        mel, text = mel_of_noise(2), english().encode("\N{SLEEPING FACE}")[:n_tokens]
        (words,) = aligned(random_model, [mel], [text], [100])
        same(words, timing.find_alignment(openai_random, english(), text, mel, 100))

    @pytest.mark.parametrize("n_frames", [2, 3])
    def test_of_a_single_position_is_there(self, random_model: Model, n_frames: int) -> None:
        """openai-whisper divides by zero, and counts from before the beginning."""
        text = english().encode(" yes no.")
        (words,) = aligned(random_model, [mel_of_noise(2)], [text], [n_frames])
        assert [(word.text, word.start, word.end) for word in words] == [
            (" yes", 0.0, 0.0),
            (" no", 0.0, 0.0),
            (".", 0.0, 0.0),
        ]

    def test_of_nothing_is_empty_next_to_one_that_is_not(self, random_model: Model) -> None:
        mels, text = [mel_of_noise(seed) for seed in range(3)], english().encode(" yes no.")
        nothing, too_short, words = aligned(random_model, mels, [[], text, text], [300, 1, 300])
        assert nothing == too_short == []
        (alone,) = aligned(random_model, mels[2:], [text], [300])
        assert [astuple(word)[:4] for word in words] == [astuple(word)[:4] for word in alone]


class TestThePath:
    @given(
        n=st.integers(1, 12),
        m=st.integers(1, 40),
        seed=st.integers(0, 10_000),
        digits=st.sampled_from([0, 1, 8]),
    )
    def test_reaches_each_token_where_openais_does(
        self, n: int, m: int, seed: int, digits: int
    ) -> None:
        """Rounded costs have ties."""
        cost = np.random.default_rng(seed).standard_normal((n, m)).round(digits)
        tokens, positions = timing.dtw_cpu(cost)
        jumps = np.pad(np.diff(tokens), (1, 0), constant_values=1).astype(bool)
        assert _first_positions(cost).tolist() == positions[jumps].tolist()


WORD = st.sampled_from(
    [" a", " bee", "b", " sea", ".", ",", "!", "?", " (", ' "', " -", "(", "。", ")", " ", "x "]
)  # fmt: skip


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[Spoken], list[tuple[float, float, int]], float, float]:
    """Words, segments that hold them, the window's beginning and the end of what was before."""
    words, at = [], draw(st.integers(0, 100))
    for _ in range(draw(st.integers(0, 12))):
        end = at + draw(st.sampled_from([0, 1, 5, 10, 20, 40, 60, 200, 500]))
        n_tokens = draw(st.integers(1, 3))
        words.append(
            Spoken(draw(WORD), tuple(range(n_tokens)), at / 50, end / 50, draw(st.floats(0, 1)))
        )
        at = end
    offset = draw(st.integers(0, 6000)) / 100
    n_left = sum(len(word.tokens) for word in words)
    segments = []
    start = offset + draw(st.integers(0, 100)) / 50
    while n_left > 0 or not segments:
        n_tokens = draw(st.integers(0, max(1, n_left)))
        end = start + draw(st.integers(0, 300)) / 50
        segments.append((start, end, n_tokens))
        start = end + draw(st.integers(0, 100)) / 50
        n_left -= max(1, n_tokens)
    last_end = draw(st.floats(0, offset + 1))
    return words, segments, offset, last_end


class TestAPlace:
    @given(window=windows())
    @settings(max_examples=400)
    def test_is_where_openai_puts_the_word(
        self,
        window: tuple[list[Spoken], list[tuple[float, float, int]], float, float],
    ) -> None:
        words, segments, offset, last_end = window
        theirs = [
            {"seek": round(offset * 100), "start": start, "end": end, "tokens": [0] * n}
            for start, end, n in segments
        ]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                timing,
                "find_alignment",
                lambda *_, **__: [
                    timing.WordTiming(word.text, [*word.tokens], *astuple(word)[2:])
                    for word in words
                ],
            )
            timing.add_word_timestamps(
                segments=theirs,
                model=None,
                tokenizer=english(),
                mel=None,
                num_frames=3000,
                last_speech_timestamp=last_end,
            )
        placed = place(words, segments, offset, last_end)
        assert [(start, end) for start, end, _ in placed] == [
            (each["start"], each["end"]) for each in theirs
        ]
        assert [
            [(word.text, word.start, word.end, word.probability) for word in own]
            for _, _, own in placed
        ] == [
            [
                (word["word"], word["start"], word["end"], word["probability"])
                for word in each["words"]
            ]
            for each in theirs
        ]

    def test_begins_where_openais_does_even_if_all_words_are_at_once(self) -> None:
        words = [Spoken(" a", (1,), 0.5, 0.5, 0.5), Spoken(" b", (2,), 0.5, 0.5, 0.5)]
        ((start, end, own),) = place(words, [(0.4, 0.6, 2)], 1.0, 0.0)
        assert (start, end) == (1.5, 1.5)
        assert [(word.start, word.end) for word in own] == [(1.5, 1.5)] * 2

    def test_of_no_words_leaves_the_segments_as_they_are(self) -> None:
        assert place([], [(1.0, 2.0, 3)], 0.0, 0.0) == [(1.0, 2.0, [])]

    def test_joins_marks_to_their_words(self) -> None:
        words = [
            Spoken(text, (i,), i / 10, (i + 1) / 10, 0.5)
            for i, text in enumerate([' "', " Yes", "!", '"', " he", " said", "."])
        ]
        ((_, _, placed),) = place(words, [(0.0, 1.0, 7)], 10.0, 0.0)
        assert [word.text for word in placed] == [' " Yes!"', " he", " said."]
        assert [word.tokens for word in placed] == [(0, 1, 2, 3), (4,), (5, 6)]
