"""A clip is read as openai-whisper's `transcribe` reads it.

Its own answers are taken twice: those of a model, and, for what a model seldom answers,
answers made up by chance, which are handed to both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("whisper")

import torch
import whisper
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.model import Whisper
from whisper.timing import WordTiming
from whisper.tokenizer import Tokenizer, get_tokenizer

from realtime_stts.engines.whisper import WhisperOptions
from realtime_stts.engines.whisper._mel import Mel
from realtime_stts.engines.whisper._model import Model
from realtime_stts.engines.whisper._reader import Decoded, Reader, needs_fallback
from realtime_stts.engines.whisper._segments import slice_tokens
from realtime_stts.engines.whisper._words import Spoken

Reading = Callable[..., Reader]

CPU = torch.device("cpu")
T = 50_364  # 0.00 s


def english() -> Tokenizer:
    return get_tokenizer(True, num_languages=99, language="en", task="transcribe")


# -- with a model ------------------------------------------------------------------------


def same(reader: Reader, expected: dict[str, Any]) -> None:
    """What is read is what openai-whisper transcribes, but for segments without text."""
    segments = [segment for segment in expected["segments"] if segment["text"].strip()]
    assert reader.text == expected["text"]
    assert reader.language == expected["language"]
    assert [(s.start, s.end, s.text, [*s.tokens], s.temperature) for s in reader.segments] == [
        (s["start"], s["end"], s["text"], s["tokens"], s["temperature"]) for s in segments
    ]
    for ours, theirs in zip(reader.segments, segments, strict=True):
        assert ours.avg_logprob == pytest.approx(theirs["avg_logprob"], abs=2e-4)
        assert ours.no_speech == pytest.approx(theirs["no_speech_prob"], abs=2e-4)
        assert ours.compression_ratio == theirs["compression_ratio"]
        words = theirs.get("words", [])
        assert [(word.text, word.start, word.end) for word in ours.words] == [
            (word["word"], word["start"], word["end"]) for word in words
        ]
        for word, other in zip(ours.words, words, strict=True):
            assert word.probability == pytest.approx(other["probability"], abs=1e-4)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as it comes": ({}, {}),
    "without the text before": (
        {"condition_on_previous_text": False},
        {"condition_on_previous_text": False},
    ),
    "with a prompt": (
        {"prompt": "Hello there. How is the weather?"},
        {"initial_prompt": "Hello there. How is the weather?"},
    ),
    "with a prompt for every window": (
        {"prompt": "good bye now.", "carry_prompt": True},
        {"initial_prompt": "good bye now.", "carry_initial_prompt": True},
    ),
    "with a prompt for every window, and nothing else": (
        {"prompt": "stop", "carry_prompt": True, "condition_on_previous_text": False},
        {
            "initial_prompt": "stop",
            "carry_initial_prompt": True,
            "condition_on_previous_text": False,
        },
    ),
    "a part": ({"clip": (12.34, 51.2)}, {"clip_timestamps": [12.34, 51.2]}),
    "from somewhere on": ({"clip": (55.0, None)}, {"clip_timestamps": [55.0]}),
    "up to somewhere": ({"clip": (0.0, 9.0)}, {"clip_timestamps": [0.0, 9.0]}),
    "by beams": (
        {"beam_size": 2, "clip": (0.0, 33.0)},
        {"beam_size": 2, "clip_timestamps": [0.0, 33.0]},
    ),
    "word by word": (
        {"word_timestamps": True, "clip": (0.0, 33.0)},
        {"word_timestamps": True, "clip_timestamps": [0.0, 33.0]},
    ),
    "word by word, without silence": (
        {"word_timestamps": True, "hallucination_silence_threshold": 1.0, "clip": (0.0, 33.0)},
        {
            "word_timestamps": True,
            "hallucination_silence_threshold": 1.0,
            "clip_timestamps": [0.0, 33.0],
        },
    ),
    "without times": ({"timestamps": False}, {"without_timestamps": True}),
    "without limits": (
        {
            "no_speech_threshold": None,
            "logprob_threshold": None,
            "compression_ratio_threshold": None,
            "suppress_tokens": None,
        },
        {
            "no_speech_threshold": None,
            "logprob_threshold": None,
            "compression_ratio_threshold": None,
            "suppress_tokens": None,
        },
    ),
}


class TestSeventySeconds:
    @pytest.mark.parametrize("name", CASES)
    def test_are_read_as_openai_reads_them(
        self,
        openai_words: Whisper,
        words_model: Model,
        monologue: np.ndarray,
        read: Reading,
        name: str,
    ) -> None:
        ours, theirs = CASES[name]
        options = WhisperOptions(temperature=0.0, fill="zeros", sample_len=50, **ours)
        expected = whisper.transcribe(
            openai_words,
            monologue,
            language="en",
            temperature=0.0,
            fp16=False,
            sample_len=50,
            **theirs,
        )
        assert len(expected["segments"]) > 1
        same(read(words_model, monologue, options, "en"), expected)


class TestAShortClip:
    @pytest.mark.parametrize("word_timestamps", [True, False])
    def test_is_read_as_openai_reads_it_in_its_own_language(
        self,
        openai_words: Whisper,
        words_model: Model,
        speech: dict[str, list[Any]],
        read: Reading,
        word_timestamps: bool,
    ) -> None:
        options = WhisperOptions(
            temperature=0.0, fill="zeros", word_timestamps=word_timestamps, sample_len=40
        )
        for phrase in (*speech["en"][:2], *speech["de"][:2]):
            samples = np.pad(phrase.samples, (1_600, 8_000))
            expected = whisper.transcribe(
                openai_words,
                samples,
                temperature=0.0,
                fp16=False,
                word_timestamps=word_timestamps,
                sample_len=40,
            )
            same(read(words_model, samples, options), expected)

    def test_is_read_as_openai_reads_it_with_silence_recorded_after_it(
        self,
        openai_words: Whisper,
        words_model: Model,
        speech: dict[str, list[Any]],
        read: Reading,
    ) -> None:
        phrase = speech["en"][0]
        result = openai_words.decode(
            whisper.log_mel_spectrogram(whisper.pad_or_trim(phrase.samples)),
            DecodingOptions(language="en", fp16=False),
        )
        reader = read(words_model, phrase.samples, WhisperOptions(temperature=0.0), "en")
        assert [token for s in reader.segments for token in s.tokens] == result.tokens

    @pytest.mark.parametrize("n", [800, 40_000])
    def test_of_silence_is_read_as_openai_reads_it(
        self, openai_words: Whisper, words_model: Model, read: Reading, n: int
    ) -> None:
        samples = np.zeros(n, np.float32)
        expected = whisper.transcribe(openai_words, samples, temperature=0.0, fp16=False)
        options = WhisperOptions(temperature=0.0, fill="zeros")
        same(read(words_model, samples, options), expected)

    def test_shorter_than_a_frame_is_not_read(self, words_model: Model, read: Reading) -> None:
        """Of it, openai-whisper tells the language alone."""
        reader = read(words_model, np.zeros(159, np.float32), WhisperOptions())
        assert (reader.text, reader.segments, reader.language) == ("", [], None)

    def test_begins_with_what_it_is_said_to_begin_with(
        self, words_model: Model, speech: dict[str, list[Any]], read: Reading
    ) -> None:
        phrase = next(phrase for phrase in speech["en"] if len(phrase.text.split()) > 3)
        first = phrase.text.split()[0]
        options = WhisperOptions(temperature=0.0, timestamps=False, prompt="yes.")
        reader = read(words_model, phrase.samples, options, "en", prefix=first)
        whole = read(words_model, phrase.samples, options, "en")
        assert reader.text.split()[0] == first
        assert reader.text == whole.text

    def test_gives_the_draft_to_the_first_window_only(
        self, words_model: Model, monologue: np.ndarray, begin_reading: Reading
    ) -> None:
        reader = begin_reading(
            words_model, monologue, WhisperOptions(), "en", draft=(1, 2), prefix="yes"
        )
        window = reader.window()
        assert window is not None
        assert window.draft == (1, 2)
        assert window.prefix == tuple(english().encode(" yes"))
        reader.take(answer([T, 1, T + 100]))
        window = reader.window()
        assert window is not None
        assert window.draft == window.prefix == ()


# -- with answers made up ----------------------------------------------------------------


def answer(tokens: list[int], **rest: Any) -> Decoded:
    usual: dict[str, Any] = {
        "text": "",
        "avg_logprob": -0.3,
        "no_speech": 0.1,
        "temperature": 0.0,
        "compression_ratio": 1.0,
        "language": "en",
        "language_probability": None,
    }
    return Decoded(tuple(tokens), **{**usual, **rest})


@dataclass
class Aligned:
    """Times of words that depend on nothing but the tokens."""

    lengths: list[int]
    probabilities: list[float]

    def __call__(self, text: list[int], n_frames: int) -> list[Spoken]:
        words, at = [], 0
        for i, token in enumerate(text):
            end = min(at + self.lengths[i % len(self.lengths)], n_frames // 2)
            chance = self.probabilities[i % len(self.probabilities)]
            words.append(Spoken(english().decode([token]), (token,), at / 50, end / 50, chance))
            at = end
        return words


@dataclass
class Openai:
    """Stands in for openai-whisper's model: gives the answers, and keeps the questions."""

    answers: Iterator[Decoded]
    dims: Any = field(
        default_factory=lambda: SimpleNamespace(n_mels=80, n_audio_ctx=1500, n_text_ctx=448)
    )
    device: torch.device = CPU
    is_multilingual: bool = True
    num_languages: int = 99
    questions: list[tuple[Tensor, list[int]]] = field(default_factory=list)

    def decode(self, mel: Tensor, options: DecodingOptions) -> DecodingResult:
        self.questions.append((mel, [*(options.prompt or ())]))
        decoded = next(self.answers)
        return DecodingResult(
            mel,
            "en",
            tokens=[*decoded.tokens],
            avg_logprob=decoded.avg_logprob,
            no_speech_prob=decoded.no_speech,
            temperature=decoded.temperature,
            compression_ratio=decoded.compression_ratio,
        )


NOTHING = answer([], no_speech=0.95, avg_logprob=-5.0)
WORDS = [2425, 456, 577, 307, 264, 5503, 965, 13, 11, 1]  # and two marks, and a quote


@st.composite
def tokens_of_a_window(draw: st.DrawFn) -> list[int]:
    """As the rules allow them: times do not go back, and a segment has a length."""
    tokens: list[int] = []
    time = draw(st.integers(0, 200))
    for _ in range(draw(st.integers(0, 4))):
        tokens.append(T + time)
        tokens += draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5))
        time += draw(st.integers(1, 400))
        tokens.append(T + min(time, 1500))
        time += draw(st.sampled_from([0, 0, 10, 200]))
        if time >= 1450:
            return tokens
    match draw(st.sampled_from(["ends", "goes on", "text alone", "time again"])):
        case "goes on":
            tokens += [T + time, *draw(st.lists(st.sampled_from(WORDS), max_size=5))]
        case "text alone" if not tokens:
            tokens += draw(st.lists(st.sampled_from(WORDS), max_size=5))
        case "time again" if tokens:
            tokens.append(tokens[-1])
    return tokens


@st.composite
def made_up(draw: st.DrawFn) -> list[Decoded]:
    return [
        answer(
            draw(tokens_of_a_window()),
            avg_logprob=draw(st.sampled_from([-0.2, -0.2, -0.9, -1.4])),
            no_speech=draw(st.sampled_from([0.0, 0.1, 0.7])),
            temperature=draw(st.sampled_from([0.0, 0.0, 0.4, 0.6])),
        )
        for _ in range(draw(st.integers(1, 5)))
    ]


SPECTRUM = torch.from_numpy(
    np.random.default_rng(0).standard_normal((80, 11_000)).astype(np.float32)
)


@given(
    decodes=made_up(),
    n_content=st.sampled_from([1, 50, 900, 2999, 3000, 3001, 5000, 8000]),
    aligned=st.builds(
        Aligned,
        st.lists(st.sampled_from([1, 5, 12, 20, 60, 150]), min_size=1, max_size=4),
        st.lists(st.sampled_from([0.05, 0.5, 0.99]), min_size=1, max_size=4),
    ),
    word_timestamps=st.booleans(),
    silence=st.sampled_from([None, None, 0.5, 2.0]),
    condition=st.booleans(),
    prompt=st.sampled_from([None, "Hello there.", "one two three " * 30, "one two three " * 90]),
    carry=st.booleans(),
    limits=st.sampled_from([(0.6, -1.0), (None, -1.0), (0.6, None), (None, None)]),
    clip=st.sampled_from([(0.0, None), (0.0, None), (3.21, None), (0.5, 20.0), (1.0, 500.0)]),
)
@settings(max_examples=200)
def test_answers_of_any_kind_are_taken_as_openai_takes_them(
    decodes: list[Decoded],
    n_content: int,
    aligned: Aligned,
    word_timestamps: bool,
    silence: float | None,
    condition: bool,
    prompt: str | None,
    carry: bool,
    limits: tuple[float | None, float | None],
    clip: tuple[float, float | None],
) -> None:
    carry = carry and prompt is not None and len(prompt) < 1000  # there is room for more
    if clip[1] is not None:
        clip = clip[0], min(clip[1], n_content / 100)  # openai-whisper would go on without end
        if clip[1] <= clip[0]:
            return
    silence = silence if word_timestamps else None
    transcribe = sys.modules["whisper.transcribe"]

    def endlessly() -> Iterator[Decoded]:
        yield from decodes
        while True:
            # Whatever the limits are, this window ends.
            yield NOTHING

    openai = Openai(endlessly())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            transcribe,
            "log_mel_spectrogram",
            lambda *_, **__: SPECTRUM[:, : n_content + 3000],
        )
        patched.setattr(
            "whisper.timing.find_alignment",
            lambda model, tokenizer, text, mel, n_frames, **_: [
                WordTiming(w.text, [*w.tokens], w.start, w.end, w.probability)
                for w in aligned(text, n_frames)
            ],
        )
        expected = whisper.transcribe(
            openai,
            np.zeros(1, np.float32),
            language="en",
            temperature=0.0,
            fp16=False,
            word_timestamps=word_timestamps,
            hallucination_silence_threshold=silence,
            condition_on_previous_text=condition,
            initial_prompt=prompt,
            carry_initial_prompt=carry,
            no_speech_threshold=limits[0],
            logprob_threshold=limits[1],
            clip_timestamps=[each for each in clip if each is not None],
        )
    options = WhisperOptions(
        temperature=0.0,
        word_timestamps=word_timestamps,
        hallucination_silence_threshold=silence,
        condition_on_previous_text=condition,
        prompt=prompt,
        carry_prompt=carry,
        no_speech_threshold=limits[0],
        logprob_threshold=limits[1],
        clip=clip,
        fill="zeros",
    )
    mel = Mel(SPECTRUM[:, :n_content], n_content, -1.5)
    reader = Reader(mel, options, "en", english(), 1500, 448)
    given_out = endlessly()
    for theirs, said_before in openai.questions:
        window = reader.window()
        assert window is not None
        assert torch.equal(window.mel, theirs)
        assert torch.equal(window.whole(), theirs)
        assert [*window.prompt] == said_before[-223:]
        decoded = next(given_out)
        pieces = slice_tokens(decoded.tokens, T, window.n_frames).pieces
        text = [token for piece in pieces for token in piece.tokens if token < 50_257]
        words = aligned(text, window.n_frames) if word_timestamps else []
        reader.take(
            answer(
                [*decoded.tokens],
                avg_logprob=decoded.avg_logprob,
                no_speech=decoded.no_speech,
                temperature=decoded.temperature,
                words=tuple(words),
            )
        )
    assert reader.window() is None
    same(reader, expected)


class TestAReader:
    def reader(self, n_content: int = 500, **options: Any) -> Reader:
        mel = Mel(SPECTRUM[:, : n_content + 4], n_content, -1.5)
        return Reader(mel, WhisperOptions(**options), None, english(), 1500, 448)

    def test_of_nothing_asks_nothing(self) -> None:
        assert self.reader(0).window() is None

    def test_detects_the_language_once(self) -> None:
        reader = self.reader(4000)
        window = reader.window()
        assert window is not None
        assert window.language is window.detect is None
        reader.take(answer([T, 1, T + 100], language="de", language_probability=0.8))
        assert (reader.language, reader.language_probability) == ("de", 0.8)
        window = reader.window()
        assert window is not None
        assert window.language == "de"

    def test_detects_it_by_the_sound_alone_where_zeros_are_filled_up(self) -> None:
        window = self.reader(fill="zeros").window()
        assert window is not None
        assert window.detect is not None
        assert torch.all(window.mel[:, 500:] == 0.0)
        assert torch.all(window.detect[:, 504:] == -1.5)

    def test_asks_for_less_where_less_is_computed(self) -> None:
        window = self.reader(encoder="aggressive").window()
        assert window is not None
        assert window.mel.shape == (80, 640)
        assert window.whole().shape == (80, 3000)
        assert torch.equal(window.whole()[:, :640], window.mel)

    def test_gives_hotwords_to_every_window(self) -> None:
        hotwords = english().encode(" Alia, Ada")
        reader = self.reader(4000, hotwords=["Alia", "Ada"], prompt="Hello.")
        window = reader.window()
        assert window is not None
        assert [*window.prompt] == [*hotwords, *english().encode(" Hello.")]
        reader.take(answer([T, 2425, T + 100, T + 100]))
        window = reader.window()
        assert window is not None
        said = [*english().encode(" Hello."), T, 2425, T + 100]
        assert [*window.prompt] == [*hotwords, *said]

    def test_leaves_no_more_prompt_than_the_context_has_room_for(self) -> None:
        window = self.reader(hotwords=["word"] * 400, prompt="Hello.").window()
        assert window is not None
        assert len(window.prompt) == 223
        assert 2425 not in window.prompt

    def test_goes_on_though_a_time_does_not(self) -> None:
        """openai-whisper would ask the same for ever."""
        reader = self.reader(500)
        reader.take(answer([T, T]))
        assert reader.segments == []
        window = reader.window()
        assert window is not None
        assert window.n_frames == 499

    def test_may_leave_the_end_of_the_clip_unread(self) -> None:
        word = Spoken(" yes", (2086,), 0.0, 1.0, 0.9)
        for revisits, n_left in ((True, 400), (False, None)):
            mel = Mel(SPECTRUM[:, :504], 500, -1.5)
            options = WhisperOptions(word_timestamps=True)
            reader = Reader(mel, options, "en", english(), 1500, 448, revisits=revisits)
            reader.take(answer([T, 2086], words=(word,)))
            window = reader.window()
            assert (None if window is None else window.n_frames) == n_left

    def test_tells_the_least_silence_it_met(self) -> None:
        reader = self.reader(9000)
        assert reader.no_speech is None
        for no_speech, least in ((float("nan"), None), (0.4, 0.4), (0.0, 0.0), (0.9, 0.0)):
            reader.take(answer([T, 1, T + 100], no_speech=no_speech))
            assert reader.no_speech == least


class TestAnAnswer:
    @pytest.mark.parametrize(
        ("avg_logprob", "no_speech", "ratio", "again"),
        [
            (-0.5, 0.1, 1.0, False),
            (-1.5, 0.1, 1.0, True),
            (-0.5, 0.1, 3.0, True),
            (-1.5, 0.9, 3.0, False),
            (-0.5, 0.9, 3.0, True),
        ],
    )
    def test_that_looks_wrong_is_asked_for_again(
        self, avg_logprob: float, no_speech: float, ratio: float, again: bool
    ) -> None:
        decoded = answer([], avg_logprob=avg_logprob, no_speech=no_speech, compression_ratio=ratio)
        assert needs_fallback(decoded, WhisperOptions()) is again

    def test_is_taken_as_it_is_without_thresholds(self) -> None:
        decoded = answer([], avg_logprob=-9.0, compression_ratio=9.0)
        options = WhisperOptions(logprob_threshold=None, compression_ratio_threshold=None)
        assert not needs_fallback(decoded, options)

    @pytest.mark.parametrize(
        ("avg_logprob", "no_speech", "thresholds", "silent"),
        [
            (-1.5, 0.9, (0.6, -1.0), True),
            (-0.5, 0.9, (0.6, -1.0), False),
            (-1.5, 0.5, (0.6, -1.0), False),
            (-0.5, 0.9, (0.6, None), True),
            (-1.5, 0.9, (None, -1.0), False),
            (-1.5, float("nan"), (0.6, -1.0), False),
        ],
    )
    def test_is_silence_if_it_is_likely_and_the_text_is_not(
        self,
        avg_logprob: float,
        no_speech: float,
        thresholds: tuple[float | None, float | None],
        silent: bool,
    ) -> None:
        options = WhisperOptions(no_speech_threshold=thresholds[0], logprob_threshold=thresholds[1])
        decoded = answer([], avg_logprob=avg_logprob, no_speech=no_speech)
        assert decoded.is_silence(options) is silent
