"""Whisper: this package's engine and openai-whisper's own `transcribe`, with the same weights.

The weights are the tests' checkpoint, made as large as OpenAI's models (see
`tools.whisper_fixture.widened`): it costs what those cost, and what it hears is the same
text on both sides, with the same number of tokens. Times are for a clip, or for a second of
a stream; the ratio is ours divided by theirs.

Rows say "exact" where text and times must be the same as upstream's, and "lossy" where the
engine was told to trade accuracy for speed; there the gate is that the text is the same here,
which says nothing about other weights.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import anyio
import numpy as np
import torch
import whisper
from whisper.tokenizer import get_tokenizer

from realtime_stts.audio import AudioData
from realtime_stts.engines.espeak import ESpeakTTSEngine
from realtime_stts.engines.whisper import Streaming, WhisperOptions, WhisperSTTEngine
from realtime_stts.protocols import TranscriptionResult
from realtime_stts.testing import virtual_time
from tools.train_whisper_fixture import edits
from tools.whisper_fixture import expand, widened

from ._report import Round, Row, interleaved, timed, timed_async
from .peers.faster_whisper_client import PYTHON, FasterWhisper

_RATE = 16_000
_N_AT_ONCE = 16
_STREAM = 30  # s: a window of Whisper, the most that a growing buffer can hold
_NAIVE = "all that has come, again and again"
_FORCED = 16  # tokens
_SEED = 7

_PHRASES = [
    "how is the weather today",
    "tell me a joke",
    "what time is it",
    "thank you very much",
    "please stop now",
    "what is the time now",
    "tell me the time please",
]
_SHAPES = {"cpu": ("tiny", "base", "small"), "cuda": ("base", "turbo", "large-v2")}


_Case = tuple[str, dict[str, Any]]


def run(device: str = "cpu") -> list[Row]:
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    torch.set_num_threads(threads)
    one, many, (long, said) = anyio.run(_clips)
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        small = expand(Path(folder, "words.pt"))
        for shape in _SHAPES[device]:
            file = Path(folder, f"{shape}.pt")
            torch.save(widened(torch.load(small, weights_only=True), shape), file)
            bench = _Bench(shape, file, device)
            rows += bench.one_clip(one)
            if shape != "small":
                rows += bench.at_once(many)
            if shape == _SHAPES[device][0]:
                rows += bench.stream(long, said)
            if shape == "base":
                rows += bench.beams(many[:4])
                if device == "cpu":
                    rows += bench.faster_whisper(one, threads)
            del bench
    return rows


class _Bench:
    """One shape of model, on both sides."""

    def __init__(self, shape: str, file: Path, device: str) -> None:
        self._shape, self._file, self._device = shape, file, device
        self._theirs = whisper.load_model(str(file), device=device)
        self._rounds = {"tiny": 7, "base": 5, "small": 3}.get(shape, 9)

    @contextmanager
    def _ours(self, **options: Any) -> Iterator[WhisperSTTEngine]:
        engine = WhisperSTTEngine(str(self._file), self._device, **options)
        engine.load_model()
        try:
            yield engine
        finally:
            engine.unload_model()

    def _upstream(self, clip: np.ndarray, **options: Any) -> dict[str, Any]:
        fp16 = self._device != "cpu"
        return self._theirs.transcribe(clip, fp16=fp16, **options)

    # -- one clip

    def one_clip(self, clip: np.ndarray) -> list[Row]:
        words = {"word_timestamps": True}
        odd = words | {"compression_ratio_threshold": 0.0, "no_speech_threshold": None}
        odd |= {"sample_len": 16}
        balanced = {"encoder": "balanced"}
        plain: list[_Case] = [("exact", {}), ("lossy: balanced", balanced)]
        if self._device == "cpu":
            plain += [
                ("lossy: int8", {"quantization": "int8"}),
                ("lossy: balanced int8", {"quantization": "int8", **balanced}),
            ]
        timed_words: list[_Case] = [
            ("words, exact", words),
            ("words, lossy: balanced", words | balanced),
        ]
        rows = [
            *self._rows(clip, plain, {}),
            *self._rows(clip, [("exact, language given", {"_language": "en"})], {"language": "en"}),
            *self._rows(clip, timed_words, words),
        ]
        if self._shape != "small":
            rows += self._rows(clip, [("words, exact, six temperatures fail", odd)], odd)
        return rows

    def _rows(
        self, clip: np.ndarray, cases: Sequence[_Case], theirs: dict[str, Any]
    ) -> Iterator[Row]:
        """One row a case, all beside the same rounds of upstream's."""
        audio = AudioData.from_samples(clip, _RATE)
        # By itself the engine follows a clip with silence, as training did. The times of words
        # depend on where the clip ends, so they are compared with upstream's own filling.
        with seeded(self._theirs):
            right = self._upstream(whisper.pad_or_trim(clip), **theirs)
        with seeded(self._theirs):
            right_words = self._upstream(clip, **theirs)
        with ExitStack() as engines:
            sides: list[Round] = []
            equal = []
            for case, options in cases:
                own = dict(options)
                language = own.pop("_language", None)
                engine = engines.enter_context(self._ours(seed=_SEED, **own))
                call = partial(engine.transcribe, audio, language)
                exact, words = "lossy" not in case, bool(own.get("word_timestamps"))
                is_equal = same(anyio.run(call), right, times=exact and not words)
                if exact and words:
                    with self._ours(seed=_SEED, fill="zeros", **own) as filling:
                        said = anyio.run(filling.transcribe, audio, language)
                    is_equal &= same(said, right_words, times=True)
                equal.append(is_equal)
                sides.append(timed_async(call, scale=1.0))
            sides.append(timed(partial(self._upstream, clip, **theirs), scale=1.0))
            *ours, peer = interleaved(*sides, rounds=self._rounds)
        length = f"a clip of {clip.size / _RATE:.1f} s"
        for (case, _), sample, is_equal in zip(cases, ours, equal, strict=True):
            name = f"{self._shape}: {length}, {case}"
            yield said_so(Row.of(name, sample, peer, unit="s", equal=is_equal))

    # -- many

    def at_once(self, clips: Sequence[np.ndarray]) -> Iterator[Row]:
        return self._batches(
            clips, [("exact", {}), ("lossy: balanced", {"encoder": "balanced"})], {}
        )

    def beams(self, clips: Sequence[np.ndarray]) -> Iterator[Row]:
        beam = {"beam_size": 5}
        return self._batches(clips, [("beam of 5, exact", beam)], beam)

    def _batches(
        self, clips: Sequence[np.ndarray], cases: Sequence[_Case], theirs: dict[str, Any]
    ) -> Iterator[Row]:
        def text(clip: np.ndarray) -> str:
            return str(self._upstream(clip, **theirs)["text"]).strip()

        right = [text(whisper.pad_or_trim(clip)) for clip in clips]
        with ExitStack() as engines:
            sides: list[Round] = []
            equal = []
            for _, options in cases:
                engine = engines.enter_context(self._ours(**options))
                together = partial(_together, engine, clips)
                equal.append(anyio.run(together) == right)
                sides.append(timed_async(together, scale=1.0))
            sides.append(timed(lambda: [text(clip) for clip in clips], scale=1.0))
            *ours, peer = interleaved(*sides, rounds=2 if self._shape == "base" else 3)
        for (case, _), sample, is_equal in zip(cases, ours, equal, strict=True):
            name = f"{self._shape}: {len(clips)} clips at once, against in a row, {case}"
            yield said_so(Row.of(name, sample, peer, unit="s", equal=is_equal))

    # -- beside faster-whisper

    def faster_whisper(self, clip: np.ndarray, threads: int) -> list[Row]:
        """The same number of tokens, forced on both: CTranslate2 would else stop elsewhere.

        It runs in a process of its own, as the threads of two engines in one slow each other,
        and has the same weights.
        """
        tokenizer = get_tokenizer(True, num_languages=99, language="en", task="transcribe")
        n_vocab = self._theirs.dims.n_vocab
        forced = WhisperOptions(
            temperature=0.0,
            timestamps=False,
            suppress_tokens=tuple(range(tokenizer.eot, n_vocab)),
            suppress_blank=False,
            compression_ratio_threshold=None,
            logprob_threshold=None,
            no_speech_threshold=None,
            sample_len=_FORCED,
        )
        audio = AudioData.from_samples(clip, _RATE)
        rows = []
        for case, kind, ours in (
            ("exact, against its float32", "float32", {}),
            ("lossy: int8, against its int8", "int8", {"quantization": "int8"}),
            (
                "lossy: balanced int8, against its int8",
                "int8",
                {"quantization": "int8", "encoder": "balanced"},
            ),
        ):
            own = dict(ours)
            options = replace(forced, encoder=own.pop("encoder", "exact"))
            with (
                self._ours(options=options, **own) as engine,
                FasterWhisper(PYTHON, self._file, kind, threads) as peer,
            ):
                said = anyio.run(engine.transcribe, audio, "en").text
                theirs = tokenizer.decode(peer.tokens(clip, _FORCED)).strip()
                samples = interleaved(
                    timed_async(partial(engine.transcribe, audio, "en"), scale=1.0),
                    partial(peer.transcribe, clip, _FORCED),
                    rounds=self._rounds,
                )
            case = f"{self._shape}: {_FORCED} tokens of a clip, faster-whisper, {case}"
            # Two ways of 8 bits round differently; the number of tokens is the same.
            row = Row.of(case, *samples, unit="s", equal=bool(ours) or said == theirs)
            rows.append(said_so(row))
        return rows

    # -- streaming

    def stream(self, speech: np.ndarray, said: Sequence[str]) -> Iterator[Row]:
        """What a second of a stream costs, with a decode for each second.

        So long a clip is not what the checkpoint was trained on, and it errs on both sides:
        the gate is that a stream has no more wrong words than the whole has, decoded at last.
        """
        cases: list[_Case] = [
            (f"{policy}, {accuracy}", {"streaming": Streaming(policy=policy), **options})
            for policy in ("agreement", "attention")
            for accuracy, options in (("exact", {}), ("lossy: balanced", {"encoder": "balanced"}))
        ]
        texts: dict[str, str] = {}
        with ExitStack() as engines:
            sides: list[Round] = []
            for case, options in cases:
                engine = engines.enter_context(self._ours(**options))

                def ours(case: str = case, engine: WhisperSTTEngine = engine) -> float:
                    began = perf_counter()
                    backend = virtual_time()[1]
                    texts[case] = anyio.run(_streamed, engine, speech, backend_options=backend)
                    return (perf_counter() - began) / _STREAM

                sides.append(ours)
            *own, peer = interleaved(*sides, self._growing(speech, texts), rounds=1)
        most = edits(said, texts[_NAIVE].replace(".", "").split())
        for (case, _), sample in zip(cases, own, strict=True):
            wrong = edits(said, texts[case].replace(".", "").split())
            name = f"{self._shape}: a second of a stream of {_STREAM} s, {case}"
            yield said_so(Row.of(name, sample, peer, unit="s", equal=wrong <= most))

    def _growing(self, speech: np.ndarray, texts: dict[str, str]) -> Round:
        """All that has come so far, with the times of words, each second."""

        def round_() -> float:
            began = perf_counter()
            for second in range(1, _STREAM + 1):
                heard = self._upstream(
                    speech[: second * _RATE], language="en", word_timestamps=True, temperature=0.0
                )
            texts[_NAIVE] = str(heard["text"])
            return (perf_counter() - began) / _STREAM

        return round_


async def _together(engine: WhisperSTTEngine, clips: Sequence[np.ndarray]) -> list[str]:
    """What the engine hears in clips that come at the same moment."""
    texts = [""] * len(clips)

    async def transcribe(i: int) -> None:
        texts[i] = (await engine.transcribe(AudioData.from_samples(clips[i], _RATE))).text

    async with anyio.create_task_group() as tasks:
        for i in range(len(clips)):
            tasks.start_soon(transcribe, i)
    return texts


async def _streamed(engine: WhisperSTTEngine, speech: np.ndarray) -> str:
    async def live() -> AsyncGenerator[AudioData]:
        for start in range(0, _STREAM * _RATE, _RATE // 10):
            await anyio.sleep(0.1)
            yield AudioData.from_samples(speech[start : start + _RATE // 10], _RATE)

    return [result async for result in engine.stream(live(), "en")][-1].text


def said_so(row: Row) -> Row:
    """The row, once it is known: all of them take a quarter of an hour."""
    print(f"{row.case}: {row.ours:.3f} {row.unit} against {row.peer or 0:.3f}", file=sys.stderr)
    return row


@contextmanager
def seeded(model: whisper.Whisper) -> Iterator[None]:
    """openai-whisper's model, with each temperature's chance from where ours has it.

    It is asked to decode at one temperature after the other.
    """
    decode, seeds = model.decode, itertools.count(_SEED)

    def seeded_decode(*args: Any, **options: Any) -> Any:
        torch.manual_seed(next(seeds))
        return decode(*args, **options)

    model.decode = seeded_decode
    try:
        yield
    finally:
        del model.decode


def same(ours: TranscriptionResult, theirs: dict[str, Any], *, times: bool) -> bool:
    """Whether both say the same; with ``times``, and when.

    The times of words come from sums that are taken in another order, so where two of the
    model's positions are as good, 0.02 s apart, either will do.
    """
    if ours.text != str(theirs["text"]).strip() or ours.language != theirs["language"]:
        return False
    if not times:
        return True
    segments = [segment for segment in theirs["segments"] if segment["text"].strip()]
    words = [word for segment in segments for word in segment.get("words", ())]
    own = [(each.start, each.end) for each in (*ours.segments, *ours.words)]
    right = [(each["start"], each["end"]) for each in (*segments, *words)]
    near = 0.021 if words else 1e-9
    return len(own) == len(right) and bool(np.allclose(own, right, rtol=0.0, atol=near))


async def _clips() -> tuple[np.ndarray, list[np.ndarray], tuple[np.ndarray, list[str]]]:
    """One clip of about 4 s, sixteen of 2 to 5 s, and speech of twenty, with its words."""
    chance = random.Random(_SEED)
    async with ESpeakTTSEngine("en-us+f3", rate=150) as voice:

        async def said(*phrases: str) -> np.ndarray:
            pause = AudioData.silence(0.4, _RATE)
            pieces = []
            for phrase in phrases:
                pieces += [(await voice.synthesize(phrase)).audio_data.resampled(_RATE), pause]
            return np.array(AudioData.concat(pieces).samples[:, 0])

        one = await said("how is the weather today", "please stop now")
        many = [await said(*chance.sample(_PHRASES, 2)) for _ in range(_N_AT_ONCE)]
        speech, words = np.zeros(0, np.float32), []
        while True:
            phrase = chance.choice(_PHRASES)
            more = np.concatenate([speech, await said(phrase)])
            if more.size > _STREAM * _RATE:
                break
            speech, words = more, [*words, *phrase.split()]
        quiet = np.zeros(_STREAM * _RATE - speech.size, np.float32)
    return one, many, (np.concatenate([speech, quiet]), words)
