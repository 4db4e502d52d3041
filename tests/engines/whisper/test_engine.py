"""Whisper as an engine: any sound in, text out, whatever it is asked for."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import pytest

pytest.importorskip("whisper")

import torch
from whisper.model import ModelDimensions, Whisper

from realtime_stts import ManagedSTTEngine, StreamingSTTEngine
from realtime_stts.audio import AudioData
from realtime_stts.engines import load_stt
from realtime_stts.engines.whisper import (
    WhisperOptions,
    WhisperSTTEngine,
    create_whisper_engine,
    create_whisper_engine_from_config,
)
from realtime_stts.errors import AudioFormatError, EngineLoadError
from realtime_stts.protocols import TranscriptionResult
from tools.train_whisper_fixture import edits

pytestmark = pytest.mark.anyio

QUESTION = "how is the weather today"

Saying = Callable[..., AudioData]


@pytest.fixture(scope="module")
def loaded(tiny_words: Path) -> WhisperSTTEngine:
    """An engine whose model stays loaded; its calls leave nothing behind."""
    return create_whisper_engine(str(tiny_words), "cpu")


@pytest.fixture
def engine(tiny_words: Path) -> Callable[..., WhisperSTTEngine]:
    """Makes an engine that is not loaded."""

    def engine(**options: Any) -> WhisperSTTEngine:
        return WhisperSTTEngine(str(tiny_words), "cpu", **options)

    return engine


@pytest.fixture(scope="module")
def english_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the English vocabulary, which knows nothing."""
    torch.manual_seed(0)
    model = Whisper(ModelDimensions(80, 1500, 16, 1, 1, 51864, 448, 16, 1, 1))
    torch.nn.init.normal_(model.decoder.positional_embedding)  # else what the memory held
    file = tmp_path_factory.mktemp("english") / "nothing.en.pt"
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, file)
    return file


def moments(result: TranscriptionResult) -> list[float]:
    """Where the segments begin and end, in their order."""
    return [moment for segment in result.segments for moment in (segment.start, segment.end)]


# -- what it hears -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "hello there",
        QUESTION,
        "tell me a joke",
        "what time is it",
        "thank you very much",
        "good bye",
    ],
)
async def test_it_hears_what_is_said(loaded: WhisperSTTEngine, say: Saying, text: str) -> None:
    result = await loaded.transcribe(say(text))
    assert (result.text, result.language, result.partial) == (f"{text}.", "en", False)


@pytest.mark.parametrize(
    ("rate", "channels", "format"),
    [
        (48_000, 2, "pcm_f32le"),
        (44_100, 6, "pcm_s24le"),
        (22_050, 1, "pcm_s32le"),
        (16_000, 2, "pcm_u8"),
    ],
)
async def test_any_rate_width_and_channel_count_gives_the_same_text(
    loaded: WhisperSTTEngine, say: Saying, rate: int, channels: int, format: str
) -> None:
    samples = say(QUESTION).resampled(rate).samples.repeat(channels, axis=1)
    clip = AudioData.from_samples(samples, rate, format)
    assert (await loaded.transcribe(clip)).text == f"{QUESTION}."


async def test_the_sound_of_a_telephone_is_heard_as_one_of_16_khz_that_sounds_like_it(
    loaded: WhisperSTTEngine, say: Saying
) -> None:
    narrow = say(QUESTION).resampled(8_000)
    expected = await loaded.transcribe(narrow.converted("pcm_f32le").resampled(16_000))
    result = await loaded.transcribe(narrow)
    assert result.text == expected.text
    assert "weather" in result.text


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param(AudioData(b"", 16_000), id="nothing"),
        pytest.param(AudioData.silence(0.01, 16_000), id="10 ms"),
        pytest.param(AudioData.silence(3.0, 44_100, 2), id="digital silence"),
        pytest.param(
            AudioData.from_samples(np.random.default_rng(3).normal(0, 1e-4, 32_000), 16_000),
            id="the noise of 16 bits",
        ),
        pytest.param(
            AudioData.from_samples(np.random.default_rng(4).normal(0, 3e-3, 32_000), 16_000),
            id="a noisy line",
        ),
    ],
)
async def test_where_nothing_is_said_there_is_no_text(
    loaded: WhisperSTTEngine, clip: AudioData
) -> None:
    result = await loaded.transcribe(clip)
    assert (result.text, result.segments, result.words) == ("", [], [])
    assert result.confidence is None
    assert result.no_speech_probability is not None
    assert result.no_speech_probability > 0.6


async def test_what_is_no_audio_is_refused(loaded: WhisperSTTEngine) -> None:
    with pytest.raises(AudioFormatError):
        await loaded.transcribe(AudioData(b"RIFF, but no more", 16_000, format="wav"))


async def test_probabilities_are_probabilities(loaded: WhisperSTTEngine, say: Saying) -> None:
    options = WhisperOptions(word_timestamps=True)
    result = await loaded.transcribe(say(QUESTION), options=options)
    assert result.language_probability is not None
    assert 0.5 < result.language_probability <= 1
    assert result.no_speech_probability is not None
    assert 0 <= result.no_speech_probability < 0.5
    assert result.confidence == pytest.approx(result.segments[0].confidence)
    for part in (*result.segments, *result.words):
        assert part.confidence is not None
        assert 0 < part.confidence <= 1


async def test_words_have_times_if_they_are_asked_for(
    loaded: WhisperSTTEngine, say: Saying
) -> None:
    clip = say(QUESTION)
    assert (await loaded.transcribe(clip)).words == []
    result = await loaded.transcribe(clip, options=WhisperOptions(word_timestamps=True))
    assert " ".join(word.text for word in result.words) == result.text
    times = [moment for word in result.words for moment in (word.start, word.end)]
    assert times == sorted(times)
    assert 0.0 <= times[0] < 0.5
    assert 1.0 < times[-1] <= clip.duration_seconds


@pytest.mark.parametrize("options", [{"beam_size": 3}, {"temperature": 0.0}])
def test_it_is_what_openai_whisper_hears_if_it_fills_the_window_alike(
    engine: Callable[..., WhisperSTTEngine],
    openai_words: Whisper,
    say: Saying,
    options: dict[str, Any],
) -> None:
    samples = say("thank you very much").samples[:, 0].copy()
    stt = engine(fill="zeros", word_timestamps=True, **options)
    result = anyio.run(stt.transcribe, AudioData.from_samples(samples, 16_000))
    expected = openai_words.transcribe(samples, word_timestamps=True, fp16=False, **options)
    assert result.text == expected["text"].strip()
    assert result.language == expected["language"]
    assert [(s.text, s.start, s.end) for s in result.segments] == [
        (segment["text"].strip(), segment["start"], segment["end"])
        for segment in expected["segments"]
        if segment["text"]  # it keeps what came to nothing
    ]
    assert [(word.text, word.start, word.end) for word in result.words] == [
        (word["word"].strip(), word["start"], word["end"])
        for segment in expected["segments"]
        for word in segment["words"]
    ]


@pytest.mark.parametrize("best_of", [None, 2])
def test_so_is_what_it_draws_where_no_temperature_will_do(
    engine: Callable[..., WhisperSTTEngine],
    openai_words: Whisper,
    say: Saying,
    monkeypatch: pytest.MonkeyPatch,
    best_of: int | None,
) -> None:
    decode, n_calls = openai_words.decode, itertools.count()

    def with_seed(*args: Any, **options: Any) -> Any:
        """openai-whisper tries one temperature after the other."""
        torch.manual_seed(3 + next(n_calls))
        return decode(*args, **options)

    monkeypatch.setattr(openai_words, "decode", with_seed)
    samples = say("thank you very much").samples[:, 0].copy()
    hopeless = {"compression_ratio_threshold": 0.0, "no_speech_threshold": None}
    stt = engine(fill="zeros", best_of=best_of, seed=3, **hopeless)
    result = anyio.run(stt.transcribe, AudioData.from_samples(samples, 16_000))
    expected = openai_words.transcribe(samples, fp16=False, best_of=best_of, **hopeless)
    assert next(n_calls) == 6
    assert result.text == expected["text"].strip()
    assert [(s.text, s.start, s.end) for s in result.segments] == [
        (segment["text"].strip(), segment["start"], segment["end"])
        for segment in expected["segments"]
        if segment["text"]
    ]


# -- long clips --------------------------------------------------------------------------


PHRASES = [
    "hello there", QUESTION, "tell me a joke", "what time is it", "thank you very much",
    "good bye", "please stop now", "yes please", "no thank you", "what is the time now",
    "how is it there", "tell me the time please",
]  # fmt: skip


def long_clip(say: Saying, every: float, n: int) -> tuple[AudioData, list[str]]:
    """Three phrases every so many seconds on a noisy line, and their words.

    Before them the line is quiet: there is no better moment to cut.
    """
    chance = np.random.default_rng(1)
    line = chance.normal(0.0, 1e-3, round(every * n * 16_000))
    said = [PHRASES[i % len(PHRASES)] for i in range(3 * n)]
    for i in range(n):
        at = round(every * i * 16_000)
        line[max(0, at - 8_000) : at] = 0.0
        for phrase in said[3 * i : 3 * i + 3]:
            sound = say(phrase).samples[:, 0]
            line[at : at + sound.size] += sound
            at += sound.size
    return AudioData.from_samples(line, 16_000), " ".join(said).split()


def share_of_wrong_words(said: list[str], result: TranscriptionResult) -> float:
    return edits(said, result.text.replace(".", "").split()) / len(said)


async def test_a_long_clip_is_read_window_by_window(loaded: WhisperSTTEngine, say: Saying) -> None:
    clip, said = long_clip(say, 30.0, 3)
    before = loaded.statistics
    # So small a model loses itself in what it said in another window.
    options = WhisperOptions(temperature=0.0, condition_on_previous_text=False)
    result = await loaded.transcribe(clip, options=options)
    assert loaded.statistics.n_batches - before.n_batches == 3
    assert loaded.statistics.n_entries - before.n_entries == 3
    assert share_of_wrong_words(said, result) < 0.1
    assert moments(result) == sorted(moments(result))
    assert [int(segment.start // 30) for segment in result.segments] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_long_speech_is_read_as_openai_whisper_reads_it(
    loaded: WhisperSTTEngine, openai_words: Whisper, monologue: np.ndarray
) -> None:
    options = WhisperOptions(temperature=0.0, fill="zeros")
    clip = AudioData.from_samples(monologue, 16_000)
    result = anyio.run(partial(loaded.transcribe, clip, options=options))
    expected = openai_words.transcribe(monologue, temperature=0.0, fp16=False)
    assert result.text == expected["text"].strip()
    assert [(s.text, s.start, s.end) for s in result.segments] == [
        (segment["text"].strip(), segment["start"], segment["end"])
        for segment in expected["segments"]
        if segment["text"]
    ]


@pytest.mark.parametrize("language", [None, "en"])
async def test_a_long_clip_is_read_many_pieces_at_once_if_wanted(
    engine: Callable[..., WhisperSTTEngine], say: Saying, language: str | None
) -> None:
    clip, said = long_clip(say, 16.5, 5)
    async with engine(long_audio="batched", word_timestamps=True) as stt:
        result = await stt.transcribe(clip, language)
        # The first piece alone tells the language for all; an idle model waits for nobody.
        assert stt.statistics.n_entries == 5
        assert stt.statistics.n_batches < 5
        assert stt.statistics.largest_batch >= 2
    assert share_of_wrong_words(said, result) < 0.1
    assert result.language == "en"
    assert (result.language_probability is None) == (language is not None)
    times = [moment for word in result.words for moment in (word.start, word.end)]
    assert times == sorted(times)
    assert [segment.start // 16 for segment in result.segments[::3]] == [0, 1, 2, 3, 4]
    assert 70 < times[-1] < 75


@pytest.mark.parametrize("long_audio", ["sequential", "batched"])
async def test_a_part_of_a_clip_is_heard_alone_with_times_of_the_whole(
    engine: Callable[..., WhisperSTTEngine], say: Saying, long_audio: str
) -> None:
    silence = AudioData.silence(33.0, 16_000)
    clip = AudioData.concat([say("tell me a joke"), silence, say("good bye")])
    async with engine(clip=(34.5, None), long_audio=long_audio) as stt:
        result = await stt.transcribe(clip)
    assert result.text == "good bye."
    assert 34.5 <= moments(result)[0] < moments(result)[-1] <= clip.duration_seconds + 0.02


# -- languages ---------------------------------------------------------------------------


@pytest.mark.parametrize("language", [None, "auto", "de", "german", "DE_at", "de-DE"])
async def test_a_language_is_detected_or_told_by_any_name(
    loaded: WhisperSTTEngine, say: Saying, language: str | None
) -> None:
    result = await loaded.transcribe(say("guten morgen", "de+f3"), language)
    assert (result.text, result.language) == ("guten morgen.", "de")
    detected = language in (None, "auto")
    assert (result.language_probability is not None) == detected


@pytest.mark.parametrize("language", ["en", "en-US", "English"])
async def test_english_has_many_names(loaded: WhisperSTTEngine, say: Saying, language: str) -> None:
    assert (await loaded.transcribe(say("good bye"), language)).language == "en"


@pytest.mark.parametrize("language", ["klingon", "xx", ""])
async def test_an_unknown_language_is_refused(loaded: WhisperSTTEngine, language: str) -> None:
    with pytest.raises(ValueError, match=r"knows no language .*such as en or de"):
        await loaded.transcribe(AudioData.silence(1.0, 16_000), language)
    with pytest.raises(ValueError, match="knows no language"):
        loaded.stream(_nothing(), language)


async def _nothing() -> Any:
    return
    yield


async def test_a_model_of_english_refuses_other_languages(english_only: Path) -> None:
    async with WhisperSTTEngine(str(english_only), "cpu", temperature=0.0, sample_len=1) as stt:
        assert stt.get_model_info()["is_multilingual"] is False
        assert stt.languages == ("en",)
        with pytest.raises(ValueError, match=r"nothing\.en\.pt hears English only, not 'de'"):
            await stt.transcribe(AudioData.silence(1.0, 16_000), "german")
        stream = stt.stream(_nothing(), "de")
        with pytest.raises(ValueError, match="English only"):
            await anext(stream)
        noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
        for language in (None, "en"):
            result = await stt.transcribe(AudioData.from_samples(noise, 16_000), language)
            assert (result.language, result.language_probability) == ("en", None)


# -- options -----------------------------------------------------------------------------


async def test_options_are_given_at_once_or_by_name_and_a_call_may_have_its_own(
    engine: Callable[..., WhisperSTTEngine], say: Saying
) -> None:
    clip = say("good bye")
    by_name = engine(word_timestamps=True)
    at_once = engine(options=WhisperOptions(word_timestamps=True, beam_size=2))
    both = engine(options=WhisperOptions(beam_size=2), word_timestamps=True)
    for stt in (by_name, at_once, both):
        async with stt:
            result = await stt.transcribe(clip)
            assert len(result.words) == 2
            assert (await stt.transcribe(clip, options=WhisperOptions())).words == []


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"beams": 3}, TypeError, "no option called beams"),
        ({"beam_size": 0}, ValueError, "beam_size is 1 to 16, not 0"),
        ({"dtype": "float64"}, ValueError, "dtype is auto, float32.*not 'float64'"),
        ({"quantization": "int4"}, ValueError, "int8 or None, not 'int4'"),
        ({"quantization": "int8", "dtype": "float16"}, ValueError, "computed with in float32"),
        ({"max_batch": 0}, ValueError, "max_batch is at least 1"),
        ({"max_waiting": 0}, ValueError, "max_waiting"),
        ({"idle_ttl": 0.0}, ValueError, "idle_ttl is over 0"),
        ({"model_size": "hug"}, ValueError, "no Whisper model is called 'hug'; known: "),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    options: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        WhisperSTTEngine(**{"model_size": "tiny", "device": "cpu", **options})


async def test_an_unknown_device_is_refused_when_it_is_loaded(tiny_words: Path) -> None:
    with pytest.raises(EngineLoadError, match="not 'abacus'"):
        await WhisperSTTEngine(str(tiny_words), "abacus").load()


@pytest.mark.parametrize(
    ("how", "dtype"), [({"quantization": "int8"}, "float32"), ({"dtype": "bfloat16"}, "bfloat16")]
)
async def test_fewer_bits_hear_the_same(
    engine: Callable[..., WhisperSTTEngine], say: Saying, how: dict[str, Any], dtype: str
) -> None:
    async with engine(**how) as stt:
        info = stt.get_model_info()
        assert (info["dtype"], info["quantization"]) == (dtype, how.get("quantization"))
        assert (await stt.transcribe(say(QUESTION))).text == f"{QUESTION}."


# -- the model ---------------------------------------------------------------------------


async def test_it_is_loaded_used_released_and_loaded_again(
    engine: Callable[..., WhisperSTTEngine], say: Saying
) -> None:
    stt = engine()
    assert isinstance(stt, ManagedSTTEngine)
    assert isinstance(stt, StreamingSTTEngine)
    assert not stt.model_loaded
    assert await stt.is_available()
    assert stt.is_downloaded
    await stt.load()
    assert stt.model_loaded
    await stt.warmup()
    first = await stt.transcribe(say("good bye"))
    await stt.unload()
    assert not stt.model_loaded
    assert await stt.transcribe(say("good bye")) == first
    assert stt.model_loaded


def test_the_name_says_whether_a_model_hears_more_than_english() -> None:
    assert WhisperSTTEngine("base.en").languages == ("en",)
    assert {"en", "de", "yue"} < {*WhisperSTTEngine("base").languages}


async def test_what_is_known_of_the_model_grows_when_it_is_loaded(tiny_words: Path) -> None:
    stt = WhisperSTTEngine(str(tiny_words))
    assert stt.get_model_info() == {"model_size": str(tiny_words), "device": "auto"}
    stt = WhisperSTTEngine(str(tiny_words), "cpu")
    await stt.load()
    assert stt.device == "cpu"
    assert stt.get_model_info() == {
        "model_size": str(tiny_words),
        "device": "cpu",
        "is_multilingual": True,
        "n_mels": 80,
        "n_vocab": 51865,
        "n_text_ctx": 448,
        "n_audio_ctx": 1500,
        "dtype": "float32",
        "quantization": None,
    }


def test_a_program_without_an_event_loop_uses_it_too(
    engine: Callable[..., WhisperSTTEngine], say: Saying, tmp_path: Path
) -> None:
    file = say("tell me a joke").to_file(tmp_path / "joke.flac")
    stt = engine()
    assert stt.load_model() is True
    assert stt.model_loaded
    assert stt.transcribe_file(file).text == "tell me a joke."
    assert stt.transcribe_file(str(file), "en").text == "tell me a joke."
    stt.unload_model()
    assert not stt.model_loaded
    with pytest.raises(FileNotFoundError):
        stt.transcribe_file(tmp_path / "nothing.wav")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioFormatError):
        stt.transcribe_file(tmp_path / "text.wav")


def test_a_program_may_end_as_soon_as_it_has_its_text(
    tiny_words: Path, say: Saying, tmp_path: Path
) -> None:
    """Without unloading: the model's thread is not torn from the model's code."""
    file = say("good bye").to_file(tmp_path / "bye.wav")
    program = (
        "import sys; from realtime_stts.engines.whisper import WhisperSTTEngine; "
        "print(WhisperSTTEngine(sys.argv[1], 'cpu').transcribe_file(sys.argv[2]).text)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(tiny_words), str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "good bye.\n"), run.stderr


def test_the_factories_load_it_unless_told_not_to(tiny_words: Path) -> None:
    path = str(tiny_words)
    assert create_whisper_engine(path, "cpu").model_loaded
    assert not create_whisper_engine(path, auto_load=False).model_loaded
    config = {"model_size": path, "device": "cpu", "beam_size": 2}
    assert create_whisper_engine_from_config(config).model_loaded
    assert not create_whisper_engine_from_config(config | {"auto_load": False}).model_loaded
    assert config == {"model_size": path, "device": "cpu", "beam_size": 2}
    with pytest.raises(TypeError, match="colour"):
        create_whisper_engine_from_config(config | {"colour": "red"})


def test_the_registry_knows_it_by_its_name(tiny_words: Path) -> None:
    stt = load_stt(f"whisper:{tiny_words}", device="cpu", beam_size=2)
    assert isinstance(stt, WhisperSTTEngine)
    assert {"tiny", "base.en", "turbo"} <= {*stt.get_available_models()}


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    stt = WhisperSTTEngine(model_path=tmp_path / "gone.pt")
    assert not await stt.is_available()
    assert not stt.is_downloaded
    with pytest.raises(EngineLoadError, match=r"there is no file .*gone\.pt"):
        await stt.transcribe(AudioData.silence(1.0, 16_000))
    assert not stt.model_loaded


async def test_a_damaged_file_is_named_and_a_mended_one_is_loaded(
    tmp_path: Path, tiny_words: Path
) -> None:
    file = tmp_path / "model.pt"
    whole = await anyio.Path(tiny_words).read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    stt = WhisperSTTEngine(model_path=file, device="cpu")
    for _ in range(2):
        with pytest.raises(EngineLoadError, match=r"model\.pt is not a Whisper checkpoint"):
            await stt.load()
    file.write_bytes(whole)
    await stt.load()
    assert stt.model_loaded


async def test_it_is_released_when_nobody_has_used_it_for_long(
    tiny_words: Path, say: Saying
) -> None:
    released, time_is_up = threading.Event(), threading.Event()

    class Watched(WhisperSTTEngine):
        def _released(self) -> None:
            super()._released()
            released.set()

    def wait(used: threading.Event, seconds: float) -> bool:
        assert seconds == 60.0
        time_is_up.wait()
        return used.is_set()

    stt = Watched(str(tiny_words), "cpu", idle_ttl=60.0)
    stt._wait = wait  # an hour would be long
    expected = await stt.transcribe(say("good bye"))
    assert stt.model_loaded
    time_is_up.set()
    await anyio.to_thread.run_sync(released.wait)
    assert not stt.model_loaded
    time_is_up.clear()
    assert await stt.transcribe(say("good bye")) == expected
    time_is_up.set()  # and its thread ends with it
    await stt.unload()
