"""A batch gives each window what it would get alone, whatever is done for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("whisper")

import torch
import whisper
from torch import Tensor, nn
from whisper.decoding import DecodingOptions
from whisper.model import ModelDimensions, Whisper

from realtime_stts.engines._batcher import Entry
from realtime_stts.engines.whisper import WhisperOptions
from realtime_stts.engines.whisper._model import Model, batch_key, prepared
from realtime_stts.engines.whisper._reader import Decoded, Reader, Window

Answering = Callable[[Model, Sequence[Window]], list[Decoded]]
Reading = Callable[..., Reader]
Asking = Callable[..., list[Window]]

CPU = torch.device("cpu")
GREEDY = WhisperOptions(temperature=0.0, sample_len=24)


@pytest.fixture(scope="module")
def clips(speech: dict[str, list[Any]]) -> list[Any]:
    """Sixteen phrases, a quarter of them German."""
    return [
        phrase for i in range(4) for phrase in (*speech["en"][3 * i : 3 * i + 3], speech["de"][i])
    ]


@pytest.fixture(scope="module")
def ask(begin_reading: Reading, words_model: Model) -> Asking:
    """The windows of some clips."""

    def ask(clips: Sequence[Any], options: WhisperOptions, detect: bool = False) -> list[Window]:
        windows = []
        for clip in clips:
            language = None if detect else clip.language
            samples = np.pad(clip.samples, (1_600, 1_600))
            window = begin_reading(words_model, samples, options, language).window()
            assert window is not None
            windows.append(window)
        return windows

    return ask


def told(decoded: Decoded) -> tuple[Any, ...]:
    words = [(word.text, word.start, word.end) for word in decoded.words]
    return decoded.tokens, decoded.text, decoded.language, decoded.temperature, words


def same(one: Decoded, other: Decoded) -> None:
    assert told(one) == told(other)
    assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)
    assert one.no_speech == pytest.approx(other.no_speech, abs=1e-4)
    assert one.language_probability == pytest.approx(other.language_probability, abs=1e-4)


class TestABatch:
    @pytest.mark.parametrize(
        ("options", "detect"),
        [
            (GREEDY, True),
            (replace(GREEDY, word_timestamps=True), False),
            (replace(GREEDY, timestamps=False), True),
            (replace(GREEDY, encoder="balanced"), False),
            (replace(GREEDY, encoder="aggressive", word_timestamps=True, fill="zeros"), True),
        ],
        ids=["greedy", "with words", "without times", "less", "much less, with words"],
    )
    def test_gives_each_window_what_it_gets_alone(
        self,
        words_model: Model,
        clips: list[Any],
        ask: Asking,
        answers: Answering,
        options: WhisperOptions,
        detect: bool,
    ) -> None:
        windows = ask(clips, options, detect)
        if options.encoder != "exact":  # only windows of one length are in a batch
            lengths = [window.mel.shape[-1] for window in windows]
            most = max(lengths, key=lengths.count)
            windows = [window for window in windows if window.mel.shape[-1] == most]
        assert len({batch_key(window) for window in windows}) == 1
        assert len(windows) > 3
        together = answers(words_model, windows)
        for window, decoded in zip(windows, together, strict=True):
            same(decoded, *answers(words_model, [window]))
        assert len({decoded.text for decoded in together}) > 3

    def test_of_different_prompts_gives_each_what_it_gets_alone(
        self, words_model: Model, clips: list[Any], ask: Asking, answers: Answering
    ) -> None:
        windows = [
            replace(window, prompt=tuple(range(1000, 1000 + 7 * i)))
            for i, window in enumerate(ask(clips[:4], GREEDY, detect=True))
        ]
        for window, decoded in zip(windows, answers(words_model, windows), strict=True):
            same(decoded, *answers(words_model, [window]))

    @pytest.mark.parametrize("fill", ["silence", "zeros"])
    def test_tells_languages_and_silence_as_openai_does(
        self,
        openai_words: Whisper,
        words_model: Model,
        clips: list[Any],
        ask: Asking,
        answers: Answering,
        fill: Any,
    ) -> None:
        windows = ask(clips[:8], replace(GREEDY, fill=fill), detect=True)
        for window, decoded in zip(windows, answers(words_model, windows), strict=True):
            heard = window.mel if window.detect is None else window.detect
            _, probabilities = openai_words.detect_language(heard)
            assert decoded.language == max(probabilities, key=lambda code: probabilities[code])
            assert decoded.language_probability == pytest.approx(
                probabilities[decoded.language], abs=1e-5
            )
            result = openai_words.decode(
                window.mel, DecodingOptions(language=decoded.language, fp16=False, sample_len=24)
            )
            assert [*decoded.tokens] == result.tokens
            assert decoded.text == result.text
            assert decoded.no_speech == pytest.approx(result.no_speech_prob, abs=1e-5)
            assert decoded.compression_ratio == result.compression_ratio

    def test_takes_a_language_that_is_known_as_it_is(
        self, words_model: Model, clips: list[Any], ask: Asking, answers: Answering
    ) -> None:
        windows = ask(clips[:4], GREEDY)
        for window, decoded in zip(windows, answers(words_model, windows), strict=True):
            assert (decoded.language, decoded.language_probability) == (window.language, None)

    def test_gives_no_words_to_silence(
        self, words_model: Model, clips: list[Any], ask: Asking, answers: Answering
    ) -> None:
        options = replace(GREEDY, word_timestamps=True, no_speech_threshold=0.5)
        spoken = ask(clips[:1], options)[0]
        silent = replace(spoken, mel=torch.full((80, 3000), -1.5))
        for windows in ([spoken, silent], [silent]):
            *_, last = answers(words_model, windows)
            assert last.no_speech > 0.5
            # Its text is unlikely, or it would not be silence.
            unsure = replace(options, logprob_threshold=-1e-6)
            *_, last = answers(words_model, [replace(w, options=unsure) for w in windows])
            assert last.words == ()

    def test_hears_only_english_with_a_model_that_does(self, answers: Answering) -> None:
        torch.manual_seed(0)
        model = Whisper(ModelDimensions(80, 1500, 16, 2, 1, 51864, 448, 16, 2, 1)).eval()
        nn.init.normal_(model.decoder.positional_embedding)
        window = Window(torch.zeros(80, 3000), lambda: torch.zeros(80, 3000), 100, None, (), GREEDY)
        (decoded,) = answers(prepared(model, CPU, torch.float32, int8=False), [window])
        assert (decoded.language, decoded.language_probability) == ("en", None)


class TestTemperatures:
    def test_rise_for_those_alone_whose_text_looks_wrong(
        self, words_model: Model, clips: list[Any], ask: Asking, answers: Answering
    ) -> None:
        sure = answers(words_model, ask(clips[:6], GREEDY))
        threshold = float(np.median([decoded.avg_logprob for decoded in sure]))
        options = replace(
            GREEDY, temperature=(0.0, 0.5, 1.0), logprob_threshold=threshold, seed=3, best_of=2
        )
        windows = ask(clips[:6], options)
        together = answers(words_model, windows)
        for decoded, first in zip(together, sure, strict=True):
            if first.avg_logprob >= threshold:
                same(decoded, first)
            else:
                assert decoded.temperature > 0.0
                assert decoded.temperature == 1.0 or decoded.avg_logprob >= threshold
        assert 0 < sum(decoded.temperature > 0.0 for decoded in together) < 6
        for window, decoded in zip(windows, together, strict=True):
            same(decoded, *answers(words_model, [window]))

    def test_rise_by_each_windows_own_measure(
        self, words_model: Model, clips: list[Any], ask: Asking, answers: Answering
    ) -> None:
        options = replace(GREEDY, temperature=(0.0, 1.0), seed=3)
        usual, strict, lax = (
            replace(options, logprob_threshold=-9.0),
            replace(options, logprob_threshold=-1e-9, no_speech_threshold=None),
            replace(options, logprob_threshold=None, compression_ratio_threshold=None),
        )
        (window,) = ask(clips[:1], options)
        together = answers(
            words_model, [replace(window, options=each) for each in (usual, strict, lax)]
        )
        assert [decoded.temperature for decoded in together] == [0.0, 1.0, 0.0]

    def test_draw_by_the_seed(
        self, words_model: Model, clips: list[Any], ask: Asking, answers: Answering
    ) -> None:
        def drawn(seed: int | None) -> Decoded:
            options = replace(GREEDY, temperature=1.0, seed=seed)
            return answers(words_model, ask(clips[2:3], options))[0]

        assert told(drawn(1)) == told(drawn(1))
        assert len({drawn(seed).tokens for seed in range(6)}) > 1

    def test_do_not_search_in_beams_above_zero(
        self, words_model: Model, clips: list[Any], ask: Asking, answers: Answering
    ) -> None:
        options = replace(GREEDY, temperature=0.5, beam_size=3, seed=2)
        (beams,) = answers(words_model, ask(clips[:1], options))
        (plain,) = answers(words_model, ask(clips[:1], replace(options, beam_size=None)))
        same(beams, plain)


class Once:
    """Counts how often a window's whole is asked for."""

    def __init__(self, whole: Callable[[], Tensor]) -> None:
        self.n = 0
        self._whole = whole

    def __call__(self) -> Tensor:
        self.n += 1
        return self._whole()


class TestACutWindow:
    def counting(self, windows: Sequence[Window]) -> tuple[list[Window], list[Once]]:
        counts = [Once(window.whole) for window in windows]
        return [replace(w, whole=c) for w, c in zip(windows, counts, strict=True)], counts

    def test_that_goes_well_is_all_that_is_computed(
        self, words_model: Model, clips: list[Any], ask: Asking, answers: Answering
    ) -> None:
        options = replace(GREEDY, encoder="balanced", logprob_threshold=-5.0)
        windows, counts = self.counting(ask(clips[:1], options))
        (decoded,) = answers(words_model, windows)
        assert decoded.text
        assert counts[0].n == 0

    @pytest.mark.parametrize("word_timestamps", [True, False])
    @pytest.mark.parametrize("detect", [True, False])
    def test_that_looks_wrong_is_decoded_again_in_full(
        self,
        words_model: Model,
        clips: list[Any],
        ask: Asking,
        answers: Answering,
        word_timestamps: bool,
        detect: bool,
    ) -> None:
        options = replace(
            GREEDY,
            encoder="aggressive",
            word_timestamps=word_timestamps,
            logprob_threshold=-1e-9,
            no_speech_threshold=None,
        )
        cut = ask(clips, options, detect)
        cut = [window for window in cut if window.mel.shape == cut[0].mel.shape][:3]
        windows, counts = self.counting(cut)
        whole = [replace(w, mel=w.whole(), options=replace(options, encoder="exact")) for w in cut]
        for decoded, expected in zip(
            answers(words_model, windows), answers(words_model, whole), strict=True
        ):
            assert told(decoded) == told(expected)
        assert [count.n for count in counts] == [1] * len(windows)

    def test_that_goes_wrong_does_not_hold_up_the_others(
        self, words_model: Model, clips: list[Any], ask: Asking, answers: Answering
    ) -> None:
        options = replace(GREEDY, encoder="aggressive", no_speech_threshold=None)
        cut = ask(clips, options)
        cut = [window for window in cut if window.mel.shape == cut[0].mel.shape]
        sure = answers(words_model, [replace(w, options=options) for w in cut])
        threshold = float(np.median([decoded.avg_logprob for decoded in sure]))
        unsure = replace(options, logprob_threshold=threshold)
        windows, counts = self.counting([replace(w, options=unsure) for w in cut])
        order: list[int] = []
        entries = [
            Entry[Window, Decoded](window, lambda i=i: order.append(i))
            for i, window in enumerate(windows)
        ]
        for _ in words_model.run(entries):
            pass
        again = [i for i, count in enumerate(counts) if count.n]
        assert 0 < len(again) < len(windows)
        assert sorted(order[-len(again) :]) == again
        for i in {*range(len(windows))} - {*again}:
            same(entries[i].take(), sure[i])

    def test_whose_text_goes_on_and_on_is_decoded_again_in_full(
        self, random_model: Model, answers: Answering
    ) -> None:
        mel = torch.from_numpy(np.random.default_rng(0).standard_normal((80, 3000)))
        options = replace(
            GREEDY,
            encoder="aggressive",
            sample_len=60,
            logprob_threshold=None,
            compression_ratio_threshold=None,
        )
        whole = Once(lambda: mel.float())
        window = Window(mel[:, :256].float(), whole, 100, "en", (), options)
        (decoded,) = answers(random_model, [window])
        assert whole.n == 1
        (expected,) = answers(random_model, [replace(window, mel=mel.float())])
        assert decoded.tokens == expected.tokens
        # Sixty tokens are no loop where there is sound enough for them.
        long_enough = replace(window, n_frames=400)
        answers(random_model, [long_enough])
        assert whole.n == 1


class TestACallThatIsWithdrawn:
    @pytest.mark.parametrize("word_timestamps", [True, False])
    @pytest.mark.parametrize("after", [0, 1, 2, 4, 7])
    def test_is_left_out_and_the_others_do_not_notice(
        self,
        words_model: Model,
        clips: list[Any],
        ask: Asking,
        answers: Answering,
        after: int,
        word_timestamps: bool,
    ) -> None:
        windows = ask(clips[:3], replace(GREEDY, word_timestamps=word_timestamps))
        expected = answers(words_model, windows)
        entries = [Entry[Window, Decoded](window, lambda: None) for window in windows]
        steps = words_model.run(entries)
        for _ in range(after):
            next(steps)
        entries[1].withdraw()
        for _ in steps:
            pass
        assert entries[1].withdrawn
        same(entries[0].take(), expected[0])
        same(entries[2].take(), expected[2])

    def test_as_the_last_one_ends_the_batch_at_once(
        self, words_model: Model, clips: list[Any], ask: Asking
    ) -> None:
        entries = [
            Entry[Window, Decoded](window, lambda: None) for window in ask(clips[:2], GREEDY)
        ]
        steps = words_model.run(entries)
        next(steps)
        for entry in entries:
            entry.withdraw()
        assert [*steps] == []

    def test_is_not_decoded_again_in_full(
        self, words_model: Model, clips: list[Any], ask: Asking
    ) -> None:
        options = replace(
            GREEDY, encoder="aggressive", logprob_threshold=-1e-9, no_speech_threshold=None
        )
        (window,) = ask(clips[:1], options)
        whole = Once(window.whole)
        entries = [Entry[Window, Decoded](replace(window, whole=whole), lambda: None)]
        steps = words_model.run(entries)
        next(steps)
        entries[0].withdraw()
        assert [*steps] == []
        assert whole.n == 0


class TestBetweenSteps:
    def test_no_mode_of_torch_is_left_on(
        self, words_model: Model, clips: list[Any], ask: Asking
    ) -> None:
        options = replace(GREEDY, word_timestamps=True)
        n_steps = 0
        for _ in words_model.run([Entry(ask(clips[:1], options, True)[0], lambda: None)]):
            assert not torch.is_inference_mode_enabled()
            n_steps += 1
        assert n_steps > 5


class TestWhatIsInOneBatch:
    def window(self, **options: Any) -> Window:
        mel = torch.zeros(80, 3000)
        return Window(mel, lambda: mel, 100, "en", (), replace(GREEDY, **options))

    @pytest.mark.parametrize(
        "options",
        [
            {"prompt": "Hello."},
            {"hotwords": ["Alia"]},
            {"clip": (1.0, 2.0)},
            {"seed": 3},
            {"condition_on_previous_text": False},
            {"compression_ratio_threshold": 2.0},
            {"logprob_threshold": -0.5},
            {"no_speech_threshold": 0.5},
        ],
        ids=str,
    )
    def test_may_differ_in_what_is_each_windows_own(self, options: dict[str, Any]) -> None:
        assert batch_key(self.window()) == batch_key(self.window(**options))

    @pytest.mark.parametrize(
        "options",
        [
            {"task": "translate"},
            {"temperature": 0.5},
            {"temperature": (0.0, 0.5)},
            {"beam_size": 2},
            {"best_of": 2},
            {"patience": 2.0},
            {"length_penalty": 0.5},
            {"word_timestamps": True},
            {"timestamps": False},
            {"max_initial_timestamp": 2.0},
            {"suppress_tokens": None},
            {"suppress_tokens": [5]},
            {"suppress_blank": False},
            {"sample_len": 5},
            {"encoder": "balanced"},
        ],
        ids=str,
    )
    def test_agrees_in_how_it_is_decoded(self, options: dict[str, Any]) -> None:
        assert batch_key(self.window()) != batch_key(self.window(**options))

    def test_agrees_in_its_length_and_in_whether_the_language_is_known(self) -> None:
        window = self.window()
        keys = {
            batch_key(window),
            batch_key(replace(window, language=None)),
            batch_key(replace(window, language=None, detect=window.mel)),
            batch_key(replace(window, mel=window.mel[:, :256])),
        }
        assert len(keys) == 4
        assert batch_key(replace(window, language="de")) == batch_key(window)

    def test_can_be_looked_up(self) -> None:
        window = self.window(suppress_tokens=[1, 2], temperature=[0.0, 0.5])
        assert hash(batch_key(window)) == hash(batch_key(window))


class TestTheRules:
    def test_are_made_once_for_the_same_options(self, words_model: Model) -> None:
        tokenizer = words_model.tokenizer("en", "transcribe")
        rules = words_model.rules_of(tokenizer, GREEDY)
        assert words_model.rules_of(tokenizer, replace(GREEDY, prompt="x", seed=1)) is rules
        assert words_model.rules_of(tokenizer, replace(GREEDY, timestamps=False)) is not rules

    def test_are_not_kept_without_end(self, random_model: Model) -> None:
        tokenizer = random_model.tokenizer("en", "transcribe")
        for token in range(70):
            random_model.rules_of(tokenizer, replace(GREEDY, suppress_tokens=(token,)))
        assert len(random_model.rules) <= 64


class TestAModel:
    def test_knows_its_mels_and_its_tokens(self, words_model: Model) -> None:
        assert words_model.n_mels == 80
        tokenizer = words_model.tokenizer("de", "translate")
        assert tokenizer.language == "de"
        assert tokenizer.translate in tokenizer.sot_sequence

    def test_computes_with_weights_that_do_not_learn(self, words_model: Model) -> None:
        assert not any(weights.requires_grad for weights in words_model.whisper.parameters())
        assert not words_model.whisper.training

    @pytest.mark.parametrize("kind", ["int8", "bfloat16"])
    def test_of_smaller_weights_still_recognises(
        self,
        openai_words: Whisper,
        words_model: Model,
        clips: list[Any],
        ask: Asking,
        answers: Answering,
        kind: str,
    ) -> None:
        dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
        model = prepared(deepcopy(openai_words), CPU, dtype, int8=kind == "int8")
        windows = ask(clips[:8], replace(GREEDY, word_timestamps=True), detect=True)
        texts = [decoded.text for decoded in answers(model, windows)]
        expected = [decoded.text for decoded in answers(words_model, windows)]
        assert sum(one == other for one, other in zip(texts, expected, strict=True)) >= 6

    def test_of_half_the_bits_keeps_the_norms_and_positions_whole(
        self, openai_words: Whisper
    ) -> None:
        model = prepared(deepcopy(openai_words), CPU, torch.bfloat16, int8=False).whisper
        assert model.encoder.conv1.weight.dtype == torch.bfloat16
        assert model.decoder.blocks[0].attn.query.weight.dtype == torch.bfloat16
        assert model.decoder.token_embedding.weight.dtype == torch.bfloat16
        assert model.decoder.ln.weight.dtype == torch.float32
        assert model.decoder.positional_embedding.dtype == torch.float32

    def test_of_eight_bits_holds_no_linear_layer_in_more(self, openai_words: Whisper) -> None:
        model = prepared(deepcopy(openai_words), CPU, torch.float32, int8=True)
        assert not any(type(module) is nn.Linear for module in model.whisper.modules())


def test_openais_own_model_is_what_ours_is_compared_with(openai_words: Whisper) -> None:
    """Ours is a copy: what is done to it must not be done to the other."""
    assert any(type(module) is whisper.model.Linear for module in openai_words.decoder.modules())
