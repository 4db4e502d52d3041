"""Speech to text with OpenAI's Whisper.

The models (Radford et al. 2022, https://arxiv.org/abs/2212.04356) are those of the package
openai-whisper, loaded by it; what computes with them is this package's own. It gives the
same text, tokens and times, and serves any number of sessions with one model: concurrent
calls become a batch.
"""

from __future__ import annotations

import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from math import exp
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import anyio
import numpy as np
import torch
from anyio import to_thread
from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE

from ...audio import AudioData
from ...errors import EngineError, EngineLoadError, RealtimeSTTSError
from ...protocols import TranscriptionResult, TranscriptionSegment, TranscriptionWord
from .._batcher import Batcher, BatcherStatistics, Entry, OutOfMemory
from .._device import choose_device, free_memory, is_out_of_memory
from .._download import Progress
from .._lifecycle import LocalEngine
from .._worker import Withdrawn, Worker
from ._checkpoint import available_models, load, resolve
from ._mel import Mel, MelStream, mel_of
from ._model import Model, batch_key, prepared
from ._options import WhisperOptions
from ._pauses import pieces_of
from ._reader import Decoded, Reader, Window
from ._streaming import SAMPLE_RATE, Question, Streaming, transcribed

__all__ = ["WhisperSTTEngine"]

T = TypeVar("T")

_INAUDIBLE: Final = 8 / 32768  # a clip that never reaches this holds nothing to hear
_SHORTEST: Final = SAMPLE_RATE // 20  # samples: less is no word
_INTERACTIVE: Final = 30.0  # s; a longer clip can wait for those that cannot

_DTYPES: Final = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

Dtype = Literal["auto", "float32", "float16", "bfloat16"]


class WhisperSTTEngine(LocalEngine[Model]):
    """Speech to text with Whisper, for any number of sessions at once.

    Clips may have any rate, width and channel count. A clip without speech gives a text of
    "". A segment's confidence is the geometric mean of its tokens' probabilities, and a
    result's the mean of its segments', by their length; a word's is the mean of its tokens'.

    Calls that are under way at the same time are decoded as one batch, if their options
    agree. Clips over 30 seconds give way to shorter ones.

    Args:
        model_size: One of `get_available_models`, such as ``base.en`` or ``turbo``, or the path
            of a checkpoint in openai-whisper's format.
        device: ``auto``, ``cuda``, ``cuda:1``, ``mps`` or ``cpu``. It is tried before it is
            relied on; one that does not work gives a warning and the CPU.
        model_path: A checkpoint's path; wins over ``model_size``.
        download_root: Where models are kept; by default where openai-whisper keeps them.
        options: How to transcribe; single ones may be given by name instead.
        dtype: What to compute in; ``auto`` is float16 on CUDA and float32 elsewhere.
        quantization: ``int8`` holds the weights in 8 bits, on a CPU. It is faster, and costs
            some accuracy; calls in one batch are rounded together, and so depend on each
            other a little.
        streaming: How `stream` works.
        max_batch: Calls in a batch at most.
        max_waiting: Calls that wait at most; more raise `OverloadedError`.
        idle_ttl: Seconds after which an unused model is released; the next call loads it.
        progress: Told, in another thread, how many bytes of how many are downloaded.

    Raises:
        ValueError: There is no such model, or an option is out of its range.
    """

    name = "whisper"

    def __init__(
        self,
        model_size: str = "base",
        device: str = "auto",
        model_path: str | os.PathLike[str] | None = None,
        download_root: str | os.PathLike[str] | None = None,
        *,
        options: WhisperOptions | None = None,
        dtype: Dtype = "auto",
        quantization: Literal["int8"] | None = None,
        streaming: Streaming | None = None,
        max_batch: int = 16,
        max_waiting: int = 256,
        idle_ttl: float | None = None,
        progress: Progress | None = None,
        **single_options: Any,
    ) -> None:
        super().__init__(Worker(self.name), idle_ttl)
        self._checkpoint = resolve(model_size, model_path, download_root)
        if dtype != "auto" and dtype not in _DTYPES:
            raise ValueError(f"dtype is auto, {', '.join(_DTYPES)}, not {dtype!r}")
        if quantization not in (None, "int8"):
            raise ValueError(f"quantization is int8 or None, not {quantization!r}")
        if quantization and dtype not in ("auto", "float32"):
            raise ValueError("int8 weights are computed with in float32")
        if max_batch < 1:
            raise ValueError(f"max_batch is at least 1, not {max_batch}")
        self._max_batch = max_batch
        self._device = device
        self._dtype = dtype
        self._quantization = quantization
        self._options = _with(options or WhisperOptions(), single_options)
        self._streaming = streaming or Streaming()
        self._progress = progress
        self._batcher = Batcher[Window, Decoded](
            self.name, self._run, self._worker, max_batch=max_batch, max_waiting=max_waiting
        )

    # -- transcribing

    async def transcribe(
        self,
        audio: AudioData,
        language: str | None = None,
        *,
        options: WhisperOptions | None = None,
    ) -> TranscriptionResult:
        """Transcribe a clip of any length.

        Args:
            language: A code or an English name, such as ``de`` or ``german``; None or ``auto``
                detects it from the first 30 seconds.
            options: Instead of the engine's own.

        Raises:
            ValueError: Whisper does not know the language, or this model only English.
            OverloadedError: Too many calls wait.
            EngineMemoryError: The clip's batch did not fit into memory, nor half of it.
        """
        options = options or self._options
        code = _code(language)
        samples = await _aside(_samples, audio)
        model = await self._loaded_model()
        self._check_language(model, code)
        if samples.size < _SHORTEST or np.abs(samples).max() < _INAUDIBLE:
            return TranscriptionResult("", code or "", [], no_speech_probability=1.0)
        mel = await _aside(mel_of, torch.from_numpy(samples), model.n_mels)
        background = samples.size > _INTERACTIVE * SAMPLE_RATE
        if options.long_audio == "batched" and background:
            return await self._read_in_pieces(model, mel, options, code)
        reader = _reader(model, mel, options, code)
        await self._read(reader, background=background)
        return _result([reader])

    def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        """Transcribe chunks as they arrive.

        The sound that is not settled yet is decoded again as it grows. What is committed is
        what two decodes agree on, or what is far enough from the sound's end, as the
        `Streaming` policy says. Words are always timed, and of several temperatures only the
        first is used: a decode that looks wrong is soon followed by another.

        Raises:
            ValueError: Whisper does not know the language, or this model only English.
        """
        return self._stream(audio, _code(language))

    async def _stream(
        self, audio: AsyncIterable[AudioData], code: str | None
    ) -> AsyncGenerator[TranscriptionResult]:
        model = await self._loaded_model()
        self._check_language(model, code)
        by_attention = self._by_attention(model)
        async with aclosing(
            transcribed(
                _Listener(self, model, by_attention).ask,
                audio,
                code,
                self._streaming,
                by_attention=by_attention,
            )
        ) as results:
            async for result in results:
                yield result

    async def _read(
        self, reader: Reader, *, session: object = None, background: bool = False
    ) -> Decoded | None:
        """Read a clip to its end; return the last window's answer."""
        decoded = None
        while (window := reader.window()) is not None:
            decoded = await self._batcher.submit(
                window, group=batch_key(window), session=session, background=background
            )
            reader.take(decoded)
        return decoded

    async def _read_in_pieces(
        self, model: Model, mel: Mel, options: WhisperOptions, code: str | None
    ) -> TranscriptionResult:
        """Read a long clip's pieces together; the first one tells the language."""
        start = round(options.clip[0] * 100)
        end = mel.n_content if options.clip[1] is None else round(options.clip[1] * 100)
        loudness = mel.frames[:, start : min(end, mel.n_content)].mean(dim=0).numpy()
        readers = [
            _reader(
                model,
                mel,
                replace(options, clip=((start + first) / 100, (start + last) / 100)),
                code,
            )
            for first, last in await _aside(pieces_of, loudness)
        ]
        session = object()
        if code is None:
            await self._read(readers[0], session=session, background=True)
            for reader in readers[1:]:
                reader.language = readers[0].language
        slots = anyio.CapacityLimiter(2 * self._max_batch)  # the next batch fills meanwhile

        async def read(reader: Reader) -> None:
            async with slots:
                await self._read(reader, session=session, background=True)

        await _all([partial(read, reader) for reader in readers])
        return _result(readers)

    # -- the model

    @property
    def is_downloaded(self) -> bool:
        """Whether the file is here, so that loading fetches nothing; not whether it is whole."""
        return self._checkpoint.is_present

    async def is_available(self) -> bool:
        return self._checkpoint.url is not None or self._checkpoint.is_present

    async def download(self, progress: Progress | None = None) -> Path:
        """Have the model's file in its place, without loading it; where that is.

        Raises:
            EngineLoadError: It is not there, and cannot be downloaded.
        """
        fetch = partial(self._checkpoint.fetch, progress or self._progress)
        return await self._worker.run(lambda job: fetch(job.check))

    @property
    def device(self) -> str:
        """Where the model is, or where it is wanted while it is not loaded."""
        return self._device if self._loaded is None else str(self._loaded.device)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that it hears, by ISO 639-1's codes or Whisper's own.

        Of a file that is not loaded they are not known, and all of Whisper's are given.
        """
        model = self._loaded
        english = (
            self._checkpoint.name.endswith(".en")
            if model is None
            else not model.whisper.is_multilingual
        )
        return ("en",) if english else tuple(LANGUAGES)

    @property
    def statistics(self) -> BatcherStatistics:
        """How well calls were batched so far."""
        return self._batcher.statistics

    @staticmethod
    def get_available_models() -> list[str]:
        """The names of OpenAI's models."""
        return available_models()

    def get_model_info(self) -> dict[str, Any]:
        """What is known of the model; its dimensions once it is loaded."""
        info: dict[str, Any] = {"model_size": self._checkpoint.name, "device": self.device}
        model = self._loaded
        if model is not None:
            dims = model.whisper.dims
            info |= {
                "is_multilingual": model.whisper.is_multilingual,
                "n_mels": dims.n_mels,
                "n_vocab": dims.n_vocab,
                "n_text_ctx": dims.n_text_ctx,
                "n_audio_ctx": dims.n_audio_ctx,
                "dtype": str(model.dtype).removeprefix("torch."),
                "quantization": self._quantization,
            }
        return info

    def transcribe_file(
        self, path: str | os.PathLike[str], language: str | None = None
    ) -> TranscriptionResult:
        """`transcribe` a file, for a program without an event loop; blocks.

        Raises:
            AudioFormatError: The file is no audio that can be read.
            OSError: The file cannot be read.
        """
        return anyio.run(self.transcribe, AudioData.from_file(path), language)

    def _check_language(self, model: Model, code: str | None) -> None:
        if code not in (None, "en") and not model.whisper.is_multilingual:
            raise ValueError(f"{self._checkpoint.name} hears English only, not {code!r}")

    def _by_attention(self, model: Model) -> bool:
        if self._streaming.policy != "auto":
            return self._streaming.policy == "attention"
        # Heads to look with are known of OpenAI's models; a decoder much smaller than its
        # encoder, as turbo's, has too few.
        dims = model.whisper.dims
        known = self._checkpoint.alignment_heads is not None
        return known and 2 * dims.n_text_layer > dims.n_audio_layer

    def _fetch(self, check: Callable[[], None]) -> None:
        self._checkpoint.fetch(self._progress, check)

    def _load(self) -> Model:
        device = choose_device(self._device)
        int8 = self._quantization == "int8"
        if int8 and device.type != "cpu":
            raise EngineLoadError(self.name, f"int8 is for the CPU, and the device is {device}")
        dtype = _DTYPES.get(self._dtype)
        if dtype is None:
            dtype = torch.float16 if device.type == "cuda" else torch.float32
        return prepared(load(self._checkpoint, device), device, dtype, int8=int8)

    def _warm_up(self, model: Model) -> None:
        noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32) * 0.01
        options = replace(self._options, temperature=0.0, sample_len=4, clip=(0.0, None))
        window = _reader(model, mel_of(torch.from_numpy(noise), model.n_mels), options, None)
        asked = window.window()
        if asked is not None:
            for _ in model.run([Entry(asked, lambda: None)]):
                pass

    def _released(self) -> None:
        free_memory(choose_device(self._device))

    def _run(self, entries: Sequence[Entry[Window, Decoded]]) -> Iterator[None]:
        """A batch's steps; each asks for the model, which is not idle meanwhile."""
        try:
            for _ in self._model().run(entries):
                yield
                self._model()
        except (RealtimeSTTSError, Withdrawn):
            raise
        except Exception as exc:
            if is_out_of_memory(exc):
                raise OutOfMemory(str(exc).partition("\n")[0]) from None
            raise EngineError(self.name, f"the model failed: {exc}") from exc


class _Listener:
    """One stream's questions to the model."""

    def __init__(self, engine: WhisperSTTEngine, model: Model, by_attention: bool) -> None:
        self._engine = engine
        self._model = model
        self._base = replace(
            engine._options,
            word_timestamps=True,
            timestamps=not by_attention,
            condition_on_previous_text=True,
            carry_prompt=False,
            clip=(0.0, None),
            long_audio="sequential",
            temperature=engine._options.temperatures[0],
        )
        self._mel = MelStream(model.n_mels)
        self._n_known = 0  # samples that it has
        self._draft: tuple[int, ...] = ()

    async def ask(self, question: Question) -> TranscriptionResult:
        samples = question.samples
        if not question.is_more:
            self._mel, self._n_known, self._draft = MelStream(self._model.n_mels), 0, ()
        self._mel.push(torch.from_numpy(samples[self._n_known :].copy()))
        self._n_known = samples.size
        if samples.size < _SHORTEST or np.abs(samples).max() < _INAUDIBLE:
            return TranscriptionResult("", question.language or "", [], no_speech_probability=1.0)
        prefix = question.said if question.force else ""
        options = replace(
            self._base,
            prompt=question.context or self._base.prompt,
            # What is said already may be all there is.
            suppress_blank=self._base.suppress_blank and not prefix,
        )
        reader = _reader(
            self._model,
            self._mel.mel(),
            options,
            question.language,
            draft=self._drafted(question),
            prefix=prefix,
            # What follows the last word is heard again with what comes: a window for each update.
            revisits=False,
        )
        decoded = await self._engine._read(reader, session=self)
        one_window = samples.size <= _INTERACTIVE * SAMPLE_RATE
        self._draft = decoded.tokens if decoded is not None and one_window else ()
        return _result([reader])

    def _drafted(self, question: Question) -> tuple[int, ...]:
        if not question.force:
            return self._draft
        if not question.expected:
            return ()
        tokenizer = self._model.tokenizer(None, self._base.task)
        return tuple(tokenizer.encode(f" {question.expected}"))


# -- in and out --------------------------------------------------------------------------


def _samples(audio: AudioData) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Float32 of shape (n,) at 16 kHz."""
    return np.array(
        audio.decoded().mono().resampled(SAMPLE_RATE).samples[:, 0]
    )  # torch wants its own


def _reader(
    model: Model, mel: Mel, options: WhisperOptions, code: str | None, **beginning: Any
) -> Reader:
    dims = model.whisper.dims
    tokenizer = model.tokenizer(code, options.task)
    return Reader(mel, options, code, tokenizer, dims.n_audio_ctx, dims.n_text_ctx, **beginning)


def _result(readers: Sequence[Reader]) -> TranscriptionResult:
    """What the readers of a clip's pieces found, in order."""
    found = [segment for reader in readers for segment in reader.segments]
    confidences = [_probability(segment.avg_logprob) for segment in found]
    lengths = [max(segment.end - segment.start, 0.01) for segment in found]
    silences = [reader.no_speech for reader in readers if reader.no_speech is not None]
    return TranscriptionResult(
        "".join(reader.text for reader in readers).strip(),
        readers[0].language or "",
        [
            TranscriptionSegment(segment.text.strip(), segment.start, segment.end, confidence)
            for segment, confidence in zip(found, confidences, strict=True)
        ],
        sum(c * n for c, n in zip(confidences, lengths, strict=True)) / sum(lengths)
        if found
        else None,
        words=[
            TranscriptionWord(word.text.strip(), word.start, word.end, min(1.0, word.probability))
            for segment in found
            for word in segment.words
        ],
        language_probability=readers[0].language_probability,
        no_speech_probability=min(silences) if silences else None,
    )


async def _aside(function: Callable[..., T], *args: Any) -> T:
    """The function's result, computed in a thread, beside the model's."""
    return await to_thread.run_sync(function, *args, abandon_on_cancel=True)


async def _all(calls: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Make all calls at once; the first that fails ends the others, and its error comes out."""
    failed: list[Exception] = []

    async def guarded(call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except Exception as exc:  # noqa: BLE001 - raised below: a task group would wrap it
            failed.append(exc)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(guarded, call)
    if failed:
        raise failed[0]


def _probability(avg_logprob: float) -> float:
    return min(1.0, exp(avg_logprob))


def _with(options: WhisperOptions, single: dict[str, Any]) -> WhisperOptions:
    unknown = [name for name in single if name not in WhisperOptions.__dataclass_fields__]
    if unknown:
        raise TypeError(f"WhisperSTTEngine has no option called {', '.join(unknown)}")
    return replace(options, **single)


def _code(language: str | None) -> str | None:
    """Whisper's code of a language; None to detect it."""
    if language is None or language.lower() == "auto":
        return None
    name = language.lower().replace("_", "-")
    for candidate in (name, name.partition("-")[0]):
        code: str = TO_LANGUAGE_CODE.get(candidate, candidate)
        if code in LANGUAGES:
            return code
    raise ValueError(f"Whisper knows no language {language!r}; it wants a code such as en or de")
