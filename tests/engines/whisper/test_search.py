"""Every search finds, in a batch and with a draft, what openai-whisper's finds alone."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

pytest.importorskip("whisper")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from whisper.audio import N_SAMPLES, log_mel_spectrogram, pad_or_trim
from whisper.decoding import DecodingOptions, DecodingResult, DecodingTask
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import Tokenizer, get_tokenizer

from realtime_stts.engines.whisper._decoder import Decoder
from realtime_stts.engines.whisper._model import Model, prepared
from realtime_stts.engines.whisper._search import Hypothesis, Rules, Search, rules_for, search

CPU = torch.device("cpu")
SOT, SOT_PREV, EOT = 50258, 50361, 50257


def tokenizer() -> Tokenizer:
    return get_tokenizer(True, num_languages=99, language="en", task="transcribe")


def prompt(*before: int, timestamps: bool = True) -> list[int]:
    start = [*tokenizer().sot_sequence]
    if not timestamps:
        start.append(tokenizer().no_timestamps)
    return [SOT_PREV, *before, *start] if before else start


def rules(timestamps: bool = True, **options: Any) -> Rules:
    usual = {"suppress": (-1,), "suppress_blank": True, "max_initial_timestamp": 1.0}
    return rules_for(tokenizer(), 51865, CPU, timestamps=timestamps, **{**usual, **options})


def noise(n: int, n_state: int = 64, seed: int = 0) -> Tensor:
    """Features that no sound has."""
    values = np.random.default_rng(seed).standard_normal((n, 1500, n_state))
    return torch.from_numpy(values.astype(np.float32))


def found(
    model: Model,
    sounds: Tensor,
    prompts: Sequence[Sequence[int]],
    how: Search,
    given: Rules | None = None,
    **rest: Any,
) -> list[Hypothesis]:
    decoder = Decoder(model.whisper, sounds, model.head, lambda: None)
    return found_by(decoder, prompts, how, given or rules(), **rest)


def found_by(
    decoder: Decoder, prompts: Sequence[Sequence[int]], how: Search, given: Rules, **rest: Any
) -> list[Hypothesis]:
    results: dict[int, Hypothesis] = {}
    for done in search(
        decoder, given, prompts, how, sot=SOT, no_speech_token=tokenizer().no_speech, **rest
    ):
        for sound, _, hypothesis in done:
            assert sound not in results
            results[sound] = hypothesis
    return [results[sound] for sound in range(len(prompts))]


def openai(model: Whisper, sounds: Tensor, **options: Any) -> list[DecodingResult]:
    """What openai-whisper finds for each of the sounds alone."""
    task = DecodingOptions(**{"language": "en", "fp16": False, **options})
    return [DecodingTask(model, task).run(sound[None])[0] for sound in sounds]


def same(results: Sequence[Hypothesis], expected: Sequence[DecodingResult]) -> None:
    assert [result.tokens for result in results] == [each.tokens for each in expected]
    for result, each in zip(results, expected, strict=True):
        assert result.avg_logprob == pytest.approx(each.avg_logprob, abs=2e-4)
        assert result.no_speech == pytest.approx(each.no_speech_prob, abs=1e-5)


@pytest.fixture(scope="module")
def spoken(openai_words: Whisper, speech: dict[str, list[Any]]) -> Tensor:
    """The features of eight phrases of one to six words."""
    mels = [
        pad_or_trim(log_mel_spectrogram(phrase.samples, padding=N_SAMPLES), 3000)
        for phrase in speech["en"][:8]
    ]
    with torch.inference_mode():
        return openai_words.encoder(torch.stack(mels))


@pytest.fixture(scope="module")
def forgetful() -> Whisper:
    """A model, never trained, whose context is 64 tokens."""
    torch.manual_seed(1)
    model = Whisper(ModelDimensions(80, 1500, 64, 2, 2, 51865, 64, 64, 2, 2)).eval()
    for weights in model.requires_grad_(False).parameters():
        if weights.ndim > 1:
            weights.normal_(0.0, 0.1)
    return model


SEARCHES = {
    "greedy": ({}, Search()),
    "2 beams": ({"beam_size": 2}, Search(beam_size=2)),
    "5 beams": ({"beam_size": 5}, Search(beam_size=5)),
    "1 beam": ({"beam_size": 1}, Search(beam_size=1)),
    "3 patient beams": ({"beam_size": 3, "patience": 2.0}, Search(beam_size=3, patience=2.0)),
    "4 impatient beams": ({"beam_size": 4, "patience": 0.5}, Search(beam_size=4, patience=0.5)),
    "beams by Google's penalty": (
        {"beam_size": 3, "length_penalty": 0.6},
        Search(beam_size=3, length_penalty=0.6),
    ),
    "beams by the whole sum": (
        {"beam_size": 3, "length_penalty": 0.0},
        Search(beam_size=3, length_penalty=0.0),
    ),
}


def of_length(how: Search, sample_len: int) -> Search:
    return Search(
        how.temperatures,
        how.beam_size,
        how.best_of,
        how.patience,
        how.length_penalty,
        sample_len,
    )


class TestABatch:
    @pytest.mark.parametrize("timestamps", [True, False])
    @pytest.mark.parametrize("name", SEARCHES)
    def test_of_speech_gives_each_what_openai_gives_it(
        self, openai_words: Whisper, words_model: Model, spoken: Tensor, name: str, timestamps: bool
    ) -> None:
        options, how = SEARCHES[name]
        how = of_length(how, 24)
        results = found(
            words_model,
            spoken,
            [prompt(timestamps=timestamps)] * len(spoken),
            how,
            rules(timestamps),
        )
        same(
            results,
            openai(
                openai_words, spoken, **options, sample_len=24, without_timestamps=not timestamps
            ),
        )

    @pytest.mark.parametrize("name", SEARCHES)
    def test_of_noise_and_different_prompts_gives_each_what_openai_gives_it(
        self, openai_random: Whisper, random_model: Model, name: str
    ) -> None:
        options, how = SEARCHES[name]
        sounds = noise(4)
        befores = [[500, 600, 700], [], [900], [*range(1000, 1060)]]
        results = found(
            random_model,
            sounds,
            [prompt(*before) for before in befores],
            of_length(how, 16),
            rules(),
        )
        expected = [
            openai(
                openai_random,
                sound[None],
                **options,
                sample_len=16,
                prompt=before,
            )[0]
            for sound, before in zip(sounds, befores, strict=True)
        ]
        same(results, expected)

    def test_hands_over_each_as_soon_as_it_is_found(
        self, words_model: Model, spoken: Tensor
    ) -> None:
        decoder = Decoder(words_model.whisper, spoken, words_model.head, lambda: None)
        when: dict[int, tuple[int, int]] = {}
        for step, done in enumerate(
            search(
                decoder,
                rules(),
                [prompt()] * len(spoken),
                Search(),
                sot=SOT,
                no_speech_token=tokenizer().no_speech,
            ),
            start=1,
        ):
            for sound, _, hypothesis in done:
                when[sound] = step, len(hypothesis.tokens) + 1
        assert len(when) == len(spoken)
        assert all(step == n for step, n in when.values())
        assert len({step for step, _ in when.values()}) > 2

    @pytest.mark.parametrize("how", [Search(), Search(beam_size=3)])
    def test_goes_on_without_those_whom_nobody_waits_for(
        self, words_model: Model, spoken: Tensor, how: Search
    ) -> None:
        alone = found(words_model, spoken, [prompt()] * len(spoken), how)
        decoder = Decoder(words_model.whisper, spoken, words_model.head, lambda: None)
        results: dict[int, Hypothesis] = {}
        for done in search(
            decoder,
            rules(),
            [prompt()] * len(spoken),
            how,
            sot=SOT,
            no_speech_token=tokenizer().no_speech,
            wanted=lambda sound: sound % 2 == 1,
        ):
            results.update((sound, hypothesis) for sound, _, hypothesis in done)
        assert [*sorted(results)] == [1, 3, 5, 7]
        for sound, result in results.items():
            assert result.tokens == alone[sound].tokens
            assert result.sum_logprob == pytest.approx(alone[sound].sum_logprob, abs=1e-4)


class TestTheLength:
    @pytest.mark.parametrize("sample_len", [1, 2, 7])
    @pytest.mark.parametrize("beam_size", [None, 2])
    def test_is_limited(
        self,
        openai_words: Whisper,
        words_model: Model,
        spoken: Tensor,
        sample_len: int,
        beam_size: int | None,
    ) -> None:
        results = found(
            words_model,
            spoken,
            [prompt()] * len(spoken),
            Search(beam_size=beam_size, sample_len=sample_len),
        )
        same(results, openai(openai_words, spoken, sample_len=sample_len, beam_size=beam_size))
        assert max(len(result.tokens) for result in results) == sample_len

    @pytest.mark.parametrize("beam_size", [None, 2])
    def test_is_limited_by_the_context_that_a_long_prompt_leaves(
        self, forgetful: Whisper, beam_size: int | None
    ) -> None:
        sounds, before = noise(2), [*range(1000, 1031)]
        results = found(
            prepared(deepcopy(forgetful), CPU, torch.float32, int8=False),
            sounds,
            [prompt(*before), prompt(*before[:20])],
            Search(beam_size=beam_size, sample_len=64),
        )
        options = {"sample_len": 64, "beam_size": beam_size}
        expected = [
            *openai(forgetful, sounds[:1], prompt=before, **options),
            *openai(forgetful, sounds[1:], prompt=before[:20], **options),
        ]
        same(results, expected)
        # The last token is found, and not fed.
        assert [len(result.tokens) for result in results] == [64 - 35 + 1, 64 - 24 + 1]


class TestTheRules:
    OPTIONS = (
        {"suppress": None},
        {"suppress": ()},
        {"suppress": (-1,)},
        {"suppress": (11, 13, 220)},
        {"suppress": (-1, 2221)},
        {"suppress_blank": False},
        {"max_initial_timestamp": None},
        {"max_initial_timestamp": 0.0},
        {"max_initial_timestamp": 0.1},
        {"max_initial_timestamp": 30.0},
    )

    @pytest.mark.parametrize("timestamps", [True, False])
    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_are_openais(
        self, openai_random: Whisper, random_model: Model, options: dict[str, Any], timestamps: bool
    ) -> None:
        results = found(
            random_model,
            noise(2),
            [prompt(timestamps=timestamps)] * 2,
            Search(sample_len=16),
            rules(timestamps, **options),
        )
        same(
            results,
            openai(
                openai_random,
                noise(2),
                sample_len=16,
                without_timestamps=not timestamps,
                **in_openais_words(options),
            ),
        )

    @pytest.mark.parametrize("multilingual", [True, False])
    @given(data=st.data())
    @settings(max_examples=40)
    def test_leave_what_openais_leave_after_any_tokens(
        self, data: st.DataObject, multilingual: bool
    ) -> None:
        n_vocab = 51865 if multilingual else 51864
        model = Whisper(ModelDimensions(80, 1500, 8, 1, 0, n_vocab, 448, 8, 1, 0))
        own = get_tokenizer(multilingual, num_languages=99, language="en", task="transcribe")
        begin = own.timestamp_begin
        options = data.draw(st.sampled_from(self.OPTIONS))
        timestamps = data.draw(st.booleans())
        a_token = st.one_of(
            st.integers(0, 50_000),
            st.integers(begin, begin + 1500),
            st.integers(begin, begin + 3),
        )
        n = data.draw(st.integers(0, 6))
        sampled = data.draw(
            st.lists(st.lists(a_token, min_size=n, max_size=n), min_size=1, max_size=3)
        )
        logits = np.random.default_rng(data.draw(st.integers(0, 1000))).standard_normal(
            (len(sampled), n_vocab)
        ) * data.draw(st.sampled_from([0.1, 3.0, 30.0]))
        given = torch.from_numpy(logits.astype(np.float32))
        task = DecodingTask(
            model,
            DecodingOptions(
                language="en",
                fp16=False,
                without_timestamps=not timestamps,
                **in_openais_words(options),
            ),
        )
        expected, rows = given.clone(), [[*task.initial_tokens, *row] for row in sampled]
        for logit_filter in task.logit_filters:
            logit_filter.apply(expected, torch.tensor(rows))
        usual = {"suppress": (-1,), "suppress_blank": True, "max_initial_timestamp": 1.0}
        rules_for(own, n_vocab, CPU, timestamps=timestamps, **{**usual, **options}).apply(
            given, sampled
        )
        assert torch.equal(given, expected)


def in_openais_words(options: dict[str, Any]) -> dict[str, Any]:
    words = dict(options)
    if "suppress" in words:
        suppress = words.pop("suppress")
        words["suppress_tokens"] = None if suppress is None else [*suppress]
    return words


class TestADraft:
    @pytest.mark.parametrize("timestamps", [True, False])
    def test_right_or_wrong_changes_nothing(
        self, words_model: Model, spoken: Tensor, timestamps: bool
    ) -> None:
        prompts = [prompt(timestamps=timestamps)] * len(spoken)
        without = found(words_model, spoken, prompts, Search(), rules(timestamps))
        right = [result.tokens for result in without]
        drafts = [
            right[0],
            right[1][:2],
            [*right[2][:2], 777, *right[2][3:]],
            [],
            [*right[4], EOT],
            [*right[5], 11, 13, 2221, 11],
            right[7],
            [777, *right[7]],
        ]
        results = found(words_model, spoken, prompts, Search(), rules(timestamps), drafts=drafts)
        assert [result.tokens for result in results] == right
        for result, each in zip(results, without, strict=True):
            assert result.sum_logprob == pytest.approx(each.sum_logprob, abs=1e-4)
            assert result.no_speech == pytest.approx(each.no_speech, abs=1e-6)

    @given(
        befores=st.lists(st.integers(0, 12), min_size=3, max_size=3),
        mends=st.lists(
            st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 51_864)),
            min_size=3,
            max_size=3,
        ),
        sample_len=st.sampled_from([1, 5, 16]),
        timestamps=st.booleans(),
    )
    @settings(max_examples=15)
    def test_however_wrong_and_long_changes_nothing(
        self,
        random_model: Model,
        befores: list[int],
        mends: list[tuple[int, int, int]],
        sample_len: int,
        timestamps: bool,
    ) -> None:
        sounds, given, how = noise(3), rules(timestamps), Search(sample_len=sample_len)
        prompts = [prompt(*range(2000, 2000 + n), timestamps=timestamps) for n in befores]
        longer = found(random_model, sounds, prompts, Search(sample_len=20), given)
        drafts = []
        for result, (length, place, token) in zip(longer, mends, strict=True):
            draft = [*result.tokens, *result.tokens[:10]][:length]
            if place < len(draft):
                draft[place] = token
            drafts.append(draft)
        without = found(random_model, sounds, prompts, how, given)
        results = found(random_model, sounds, prompts, how, given, drafts=drafts)
        for result, each in zip(results, without, strict=True):
            assert result.tokens == each.tokens
            assert result.sum_logprob == pytest.approx(each.sum_logprob, abs=1e-3)

    def test_longer_than_the_context_changes_nothing(self, forgetful: Whisper) -> None:
        model = prepared(deepcopy(forgetful), CPU, torch.float32, int8=False)
        sounds, prompts, how = noise(1), [prompt(*range(1000, 1031))], Search(sample_len=64)
        without = found(model, sounds, prompts, how)[0]
        n = len(without.tokens)
        likely = [*without.tokens, *range(1000, 1040)]
        for _ in range(8):  # what the search would find if it could go on
            longer = found(model, sounds, [prompt()], how, drafts=[likely])[0].tokens
            for draft in (without.tokens, likely, [*without.tokens, *longer[n:]], longer):
                (result,) = found(model, sounds, prompts, how, drafts=[draft])
                assert result.tokens == without.tokens
                assert result.sum_logprob == pytest.approx(without.sum_logprob, abs=1e-3)
            likely = longer

    def test_that_is_right_costs_one_step_instead_of_many(
        self, words_model: Model, spoken: Tensor
    ) -> None:
        prompts = [prompt()] * len(spoken)
        n_steps, drafts = [], [()] * len(spoken)
        for _ in range(2):
            decoder = Decoder(words_model.whisper, spoken, words_model.head, lambda: None)
            steps = [
                *search(
                    decoder,
                    rules(),
                    prompts,
                    Search(),
                    sot=SOT,
                    no_speech_token=tokenizer().no_speech,
                    drafts=drafts,
                )
            ]
            n_steps.append(len(steps))
            results = {sound: result for done in steps for sound, _, result in done}
            drafts = [results[sound].tokens for sound in range(len(spoken))]
        assert n_steps[0] > 5
        assert n_steps[1] == 1

    @pytest.mark.parametrize(
        "how", [Search(beam_size=2, sample_len=8), Search((0.5,), sample_len=8)]
    )
    def test_is_no_help_to_other_searches(self, random_model: Model, how: Search) -> None:
        def dice() -> list[list[torch.Generator]]:
            return [[generator(sound)] for sound in range(2)]

        prompts = [prompt()] * 2
        without = found(random_model, noise(2), prompts, how, dice=dice())
        results = found(
            random_model,
            noise(2),
            prompts,
            how,
            dice=dice(),
            drafts=[without[0].tokens, [1, 2, 3]],
        )
        assert results == without


class TestWhatWasHeardBefore:
    @pytest.mark.parametrize("how", [Search(sample_len=8), Search(beam_size=2, sample_len=8)])
    def test_is_not_fed_again(self, random_model: Model, how: Search) -> None:
        sounds, prompts = noise(2), [prompt()] * 2
        whole = found(random_model, sounds, prompts, how)
        decoder = Decoder(random_model.whisper, sounds, random_model.head, lambda: None)
        states = decoder.states([[SOT]] * 2)
        results = found_by(decoder, prompts, how, rules(), sot_states=states[:, 0])
        same_as(results, whole)

    def test_may_be_followed_by_a_draft(self, random_model: Model) -> None:
        sounds, prompts, how = noise(2), [prompt()] * 2, Search(sample_len=8)
        whole = found(random_model, sounds, prompts, how)
        decoder = Decoder(random_model.whisper, sounds, random_model.head, lambda: None)
        states = decoder.states([[SOT]] * 2)
        results = found_by(
            decoder,
            prompts,
            how,
            rules(),
            sot_states=states[:, 0],
            drafts=[whole[0].tokens, whole[1].tokens[:3]],
        )
        same_as(results, whole)

    def test_may_not_tell_silence(self, random_model: Model) -> None:
        decoder = Decoder(random_model.whisper, noise(1), random_model.head, lambda: None)
        steps = search(
            decoder,
            rules(),
            [prompt()],
            Search(sample_len=1),
            sot=SOT,
            no_speech_token=None,
        )
        ((_, _, result),) = next(steps)
        assert np.isnan(result.no_speech)


def same_as(results: Sequence[Hypothesis], expected: Sequence[Hypothesis]) -> None:
    for result, each in zip(results, expected, strict=True):
        assert result.tokens == each.tokens
        assert result.sum_logprob == pytest.approx(each.sum_logprob, abs=1e-4)
        assert result.no_speech == pytest.approx(each.no_speech, abs=1e-6)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestSampling:
    @pytest.mark.parametrize("best_of", [None, 1, 3])
    @pytest.mark.parametrize("temperature", [0.2, 1.0])
    @pytest.mark.parametrize("which", ["words", "random"])
    def test_finds_what_openais_would_with_the_same_dice(
        self,
        monkeypatch: pytest.MonkeyPatch,
        request: pytest.FixtureRequest,
        openai_words: Whisper,
        openai_random: Whisper,
        words_model: Model,
        random_model: Model,
        which: str,
        temperature: float,
        best_of: int | None,
    ) -> None:
        theirs, model, sounds = openai_random, random_model, noise(3)
        if which == "words":
            theirs, model = openai_words, words_model
            sounds = request.getfixturevalue("spoken")[:3]
        how = Search((temperature,), best_of=best_of, sample_len=12)
        for seed, sound in enumerate(sounds):
            dice = generator(seed)

            class Thrown:
                def __init__(self, logits: Tensor) -> None:
                    self._likely = logits.softmax(dim=-1)

                def sample(self, dice: torch.Generator = dice) -> Tensor:
                    return self._likely.multinomial(1, generator=dice)[:, 0]

            monkeypatch.setattr("whisper.decoding.Categorical", Thrown)
            expected = openai(
                theirs, sound[None], temperature=temperature, best_of=best_of, sample_len=12
            )
            results = found(model, sound[None], [prompt()], how, dice=[[generator(seed)]])
            same(results, expected)

    @pytest.mark.parametrize("best_of", [None, 3])
    def test_does_not_depend_on_who_else_is_in_the_batch(
        self, words_model: Model, spoken: Tensor, best_of: int | None
    ) -> None:
        how = Search((0.8,), best_of=best_of, sample_len=30)
        together = found(
            words_model,
            spoken,
            [prompt()] * len(spoken),
            how,
            dice=[[generator(sound)] for sound in range(len(spoken))],
        )
        for seed, (sound, result) in enumerate(zip(spoken, together, strict=True)):
            (alone,) = found(words_model, sound[None], [prompt()], how, dice=[[generator(seed)]])
            assert alone.tokens == result.tokens
            assert alone.sum_logprob == pytest.approx(result.sum_logprob, abs=1e-4)

    def test_depends_on_the_seed_alone(self, random_model: Model) -> None:
        how = Search((1.0,), sample_len=8)
        drawn = [
            found(random_model, noise(1), [prompt()], how, dice=[[generator(seed)]])
            for seed in (1, 2, 1)
        ]
        assert drawn[0] == drawn[2]
        assert drawn[0] != drawn[1]

    def test_without_a_seed_draws_anew(self, random_model: Model) -> None:
        how = Search((1.0,), sample_len=8)
        drawn = {(*found(random_model, noise(1), [prompt()], how)[0].tokens,) for _ in range(3)}
        assert len(drawn) == 3

    def test_of_several_takes_the_likeliest(self, random_model: Model) -> None:
        def mean(best_of: int) -> float:
            how = Search((1.0,), best_of=best_of, sample_len=8)
            return float(
                np.mean(
                    [
                        found(random_model, noise(1), [prompt()], how, dice=[[generator(seed)]])[
                            0
                        ].avg_logprob
                        for seed in range(8)
                    ]
                )
            )

        assert mean(8) > mean(1)


class TestSeveralTemperatures:
    @pytest.mark.parametrize("best_of", [None, 3])
    @pytest.mark.parametrize("which", ["words", "random"])
    def test_find_what_each_would_alone(
        self,
        words_model: Model,
        random_model: Model,
        spoken: Tensor,
        which: str,
        best_of: int | None,
    ) -> None:
        model, sounds = (words_model, spoken[:4]) if which == "words" else (random_model, noise(4))
        temperatures = (0.2, 0.6, 1.0)
        prompts = [prompt()] * len(sounds)
        how = Search(temperatures, best_of=best_of, sample_len=30)
        decoder = Decoder(model.whisper, sounds, model.head, lambda: None)
        results: dict[tuple[int, int], Hypothesis] = {}
        for done in search(
            decoder,
            rules(),
            prompts,
            how,
            sot=SOT,
            no_speech_token=tokenizer().no_speech,
            dice=[[generator(10 * sound + i) for i in range(3)] for sound in range(len(sounds))],
        ):
            for sound, place, hypothesis in done:
                assert (sound, place) not in results
                results[sound, place] = hypothesis
        assert len(results) == 3 * len(sounds)
        for place, temperature in enumerate(temperatures):
            alone = found(
                model,
                sounds,
                prompts,
                Search((temperature,), best_of=best_of, sample_len=30),
                dice=[[generator(10 * sound + place)] for sound in range(len(sounds))],
            )
            same_as([results[sound, place] for sound in range(len(sounds))], alone)

    def test_end_each_in_its_own_time(self, words_model: Model, spoken: Tensor) -> None:
        decoder = Decoder(words_model.whisper, spoken, words_model.head, lambda: None)
        ended: dict[tuple[int, int], int] = {}
        for step, done in enumerate(
            search(
                decoder,
                rules(),
                [prompt()] * len(spoken),
                Search((0.2, 1.0), sample_len=100),
                sot=SOT,
                no_speech_token=None,
                dice=[[generator(sound), generator(-sound)] for sound in range(len(spoken))],
            )
        ):
            for sound, place, hypothesis in done:
                ended[sound, place] = step
                assert step == len(hypothesis.tokens)
        assert any(ended[sound, 0] != ended[sound, 1] for sound in range(len(spoken)))
