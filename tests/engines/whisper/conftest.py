"""What the tests of Whisper hear with: a small checkpoint that truly recognises, and noise.

Without openai-whisper the tests are skipped, and nothing of it is imported here.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import MissingExtraError

if TYPE_CHECKING:
    from whisper.model import Whisper

    from realtime_stts.engines.whisper import WhisperOptions
    from realtime_stts.engines.whisper._model import Model
    from realtime_stts.engines.whisper._reader import Decoded, Reader, Window


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The last bit of a sum depends on how many threads added it up."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _vocabularies() -> None:
    """openai-whisper reads its two and does not close the files."""
    from whisper.tokenizer import get_tokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        get_tokenizer(True)
        get_tokenizer(False)


@pytest.fixture(scope="session")
def tiny_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of some thirty English and German words, in openai-whisper's format."""
    from tools.whisper_fixture import expand

    return expand(tmp_path_factory.mktemp("whisper") / "tiny-words.pt")


@pytest.fixture(scope="session")
def openai_words(tiny_words: Path) -> Whisper:
    """That checkpoint, as openai-whisper loads it."""
    import whisper

    return whisper.load_model(str(tiny_words), device="cpu").requires_grad_(False)


@pytest.fixture(scope="session")
def words_model(openai_words: Whisper) -> Model:
    """A copy of it, ready to decode."""
    return _prepared(openai_words)


@pytest.fixture(scope="session")
def openai_random() -> Whisper:
    """A model that was never trained: it is sure of nothing, and never ends."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(0)
    model = Whisper(ModelDimensions(80, 1500, 64, 2, 2, 51865, 448, 64, 2, 2)).eval()
    model.requires_grad_(False)
    for weights in model.parameters():
        if weights.ndim > 1:
            weights.normal_(0.0, 0.1)
    return model


@pytest.fixture(scope="session")
def random_model(openai_random: Whisper) -> Model:
    return _prepared(openai_random)


def _prepared(model: Whisper) -> Model:
    import torch

    from realtime_stts.engines.whisper._model import prepared

    return prepared(deepcopy(model), torch.device("cpu"), torch.float32, int8=False)


@pytest.fixture(scope="session")
def speech() -> dict[str, list[Any]]:
    """Phrases by voices that the checkpoint knows, by language; each with text and samples."""
    pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
    from tools.train_whisper_fixture import VOICES, record

    phrases: dict[str, list[Any]] = {"en": [], "de": []}
    for phrase in asyncio.run(record(100, 11, VOICES)):
        samples = phrase.samples.copy()  # torch wants its own
        phrases[phrase.language].append(replace(phrase, samples=samples))
    return phrases


@pytest.fixture(scope="session")
def say() -> Callable[..., AudioData]:
    """What the voice that the checkpoint hears best says, with some silence around it."""
    pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
    from realtime_stts.engines.espeak import ESpeakTTSEngine

    async def spoken(text: str, voice: str) -> AudioData:
        async with ESpeakTTSEngine(voice, rate=150) as engine:
            return (await engine.synthesize(text)).audio_data.resampled(16_000)

    @cache
    def say(text: str, voice: str = "en-us+f3") -> AudioData:
        with ThreadPoolExecutor() as pool:  # a test's event loop may run already
            sound = pool.submit(asyncio.run, spoken(text, voice)).result()
        silence = AudioData.silence(0.2, 16_000)
        return AudioData.concat([silence, sound, silence])

    return say


@pytest.fixture(scope="session")
def monologue(speech: dict[str, list[Any]]) -> np.ndarray:
    """Seventy seconds of English phrases, with pauses between them, as float32 at 16 kHz."""
    chance = np.random.default_rng(5)
    pieces: list[np.ndarray] = []
    for phrase in speech["en"]:
        pause = int(16_000 * chance.uniform(0.3, 2.5))
        pieces += [phrase.samples, np.zeros(pause, np.float32)]
    sound = np.concatenate(pieces)[: 70 * 16_000]
    assert sound.size == 70 * 16_000
    noise = chance.standard_normal(sound.size) * 1e-3
    return (sound + noise).astype(np.float32)


Answering = Callable[["Model", Sequence["Window"]], list["Decoded"]]
Reading = Callable[..., "Reader"]


@pytest.fixture(scope="session")
def answers() -> Answering:
    """What a model answers to windows, all of them in one batch."""
    from realtime_stts.engines._batcher import Entry

    def answers(model: Model, windows: Sequence[Window]) -> list[Decoded]:
        entries = [Entry(window, lambda: None) for window in windows]
        for _ in model.run(entries):
            pass
        return [entry.take() for entry in entries]

    return answers


@pytest.fixture(scope="session")
def begin_reading() -> Reading:
    """A reader of a clip, as the engine makes it."""
    import torch

    from realtime_stts.engines.whisper._mel import mel_of
    from realtime_stts.engines.whisper._reader import Reader

    def begin_reading(
        model: Model,
        samples: np.ndarray,
        options: WhisperOptions,
        language: str | None = None,
        **beginning: Any,
    ) -> Reader:
        dims = model.whisper.dims
        mel = mel_of(torch.from_numpy(samples), dims.n_mels)
        tokenizer = model.tokenizer(language, options.task)
        return Reader(
            mel, options, language, tokenizer, dims.n_audio_ctx, dims.n_text_ctx, **beginning
        )

    return begin_reading


@pytest.fixture(scope="session")
def read(begin_reading: Reading, answers: Answering) -> Reading:
    """A clip, read to its end."""

    def read(model: Model, *args: Any, **kwargs: Any) -> Reader:
        reader = begin_reading(model, *args, **kwargs)
        while (window := reader.window()) is not None:
            reader.take(*answers(model, [window]))
        return reader

    return read
