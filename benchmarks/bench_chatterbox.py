"""Chatterbox: this package's engine and chatterbox-tts's own `generate`, with the same weights.

The weights are random, of the published shapes (see `tools.random_chatterbox`): what they cost
does not depend on what they are, and how good they sound is not measured. Both sides say as
many tokens: those that are no sound, the end among them, are ruled out, up to a number.

Rows say "exact" where the same chance gives the same tokens or the same sound as upstream's, and
"lossy" where less of the reference is heard, or less of the sentence, to be faster; there the
gate is that the sound is as long.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import aclosing, contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, TypeVar

import anyio
import numpy as np
import torch
from chatterbox.tts import ChatterboxTTS
from torch import Tensor

from realtime_stts.engines.chatterbox import ChatterboxTTSEngine, Manner
from realtime_stts.engines.chatterbox._render import Prompt, Renderer, Rendering, render_whole
from realtime_stts.engines.chatterbox._sampling import Sampling
from realtime_stts.engines.chatterbox._talker import Talker, Utterance
from tools.random_chatterbox import conditioning, write

from ._report import Round, Row, Sample, interleaved

T = TypeVar("T")

_SPECIAL = 6561  # the first token that is no sound
_STOP = 6562
_TEXT = "The quick brown fox jumps over the lazy dog, and then it runs away into the dark woods."
_TOKENS = 150  # 6 s
_SESSIONS = 8
_SHORT = 3.12  # s of the reference: whole chunks of the cached mode, and three tokens
_SEED = 7

_RATE = 24_000

_WINDOW = Manner(rerolls=0)
_CACHED = Manner(mode="cached", prompt_seconds=_SHORT, rerolls=0)
_MANNERS = {
    "windows": _WINDOW,
    "windows, 3 s of the reference": Manner(prompt_seconds=_SHORT, rerolls=0),
    "cached chunks, 3 s of the reference": _CACHED,
}


def run(device: str = "cpu") -> list[Row]:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    warnings.simplefilter("ignore", FutureWarning)  # chatterbox-tts's
    with TemporaryDirectory() as folder:
        with quiet():
            write(Path(folder), "standard")
        rows = [*_memory(folder, device)]
        with quiet():
            theirs = ChatterboxTTS.from_local(folder, device)
        bench = _Bench(theirs, Path(folder), device)
        rows += bench.tokens()
        rows += bench.chunks()
        rows += bench.sentence()
    return rows


@contextmanager
def quiet() -> Iterator[None]:
    """Without what chatterbox-tts prints while it works."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


class _Bench:
    def __init__(self, theirs: Any, folder: Path, device: str) -> None:
        self._theirs, self._folder, self._device = theirs, folder, device
        self._rounds = 2 if device == "cpu" else 7

    def _timed(self, work: Callable[[], Any], per: float = 1.0) -> Round:
        def round_() -> float:
            self._finish()
            began = perf_counter()
            work()
            self._finish()
            return (perf_counter() - began) / per

        return round_

    def _finish(self) -> None:
        if self._device != "cpu":
            torch.cuda.synchronize()

    # -- text to tokens

    def tokens(self) -> Iterator[Row]:
        """Speech tokens a second of one sentence, and of eight at once."""
        t3 = self._theirs.t3
        n = 40 if self._device == "cpu" else _TOKENS
        own = self._thin(t3)
        talker = Talker(own)
        text = self._text()
        prefix = talker.prefix(self._conditioning(), lambda: None)

        def ours(seeds: Sequence[int], n: int) -> list[list[int]]:
            said = [
                Utterance(text, prefix, Sampling(), self._dice(seed), max_tokens=n)
                for seed in seeds
            ]
            for each in said:
                talker.join(each, lambda: None)
            while talker.utterances:
                talker.step(lambda: None)
            return [each.tokens for each in said]

        def upstream(seeds: Sequence[int], n: int) -> list[list[int]]:
            drawn = []
            for seed in seeds:
                torch.manual_seed(seed)
                with quiet():
                    tokens = t3.inference(
                        t3_cond=self._conditioning(),
                        text_tokens=torch.stack([text, text]),
                        max_new_tokens=n,
                        top_p=1.0,
                    )
                drawn.append(tokens[0].tolist())
            return drawn

        with only_sound(t3), only_sound(own):
            for seeds, n_each in (([_SEED], n), ([*range(_SESSIONS)], n // 2)):
                n_all = len(seeds) * n_each
                equal = ours(seeds, n_each) == upstream(seeds, n_each)
                sides = interleaved(
                    self._timed(partial(ours, seeds, n_each), n_all),
                    self._timed(partial(upstream, seeds, n_each), n_all),
                    rounds=self._rounds,
                )
                who = "a sentence" if len(seeds) == 1 else f"{len(seeds)} sessions at once"
                name = f"T3: a token of {who}, exact"
                yield said_so(Row.of(name, *sides, unit="s", equal=equal))

    def _thin(self, t3: Any) -> Any:
        """As the engine has it on a CPU: another copy, of the same weights."""
        from transformers.pytorch_utils import Conv1D

        from realtime_stts.engines._linear import thinned

        own = deepcopy(t3)
        if self._device == "cpu":
            thinned(own, {Conv1D: lambda layer: (layer.weight.T.contiguous(), layer.bias)})
        return own

    def _text(self) -> Tensor:
        words = self._theirs.tokenizer.text_to_tokens(_TEXT)[0].tolist()
        return torch.tensor([255, *words, 0], device=self._device)

    def _conditioning(self) -> Any:
        return conditioning(self._theirs.t3).to(device=self._device)

    def _dice(self, seed: int) -> torch.Generator | None:
        if self._device == "cpu":
            return torch.Generator().manual_seed(seed)
        return torch.Generator(self._device).manual_seed(seed)

    # -- tokens to sound

    def chunks(self) -> Iterator[Row]:
        """A second of sound, of a reference of ten."""
        s3gen, gen = self._theirs.s3gen, self._theirs.conds.gen
        renderer = Renderer(s3gen, meanflow=False)
        tokens = np.random.default_rng(0).integers(0, _SPECIAL, 400).tolist()
        full, short = renderer.prompt(gen), renderer.prompt(gen, _SHORT)
        cached = _finished(renderer.remember(short))

        def upstream() -> np.ndarray:
            with torch.inference_mode(), quiet():
                second = torch.tensor([tokens[:25]], device=self._device)
                return np.asarray(s3gen.inference(second, ref_dict=gen)[0][0].cpu())

        def at_once(prompt: Prompt) -> np.ndarray:
            return render_whole(renderer, prompt, tokens[:25])

        middle = _Middle(renderer, cached, tokens)
        length = upstream().size
        cases: list[tuple[str, Callable[[], np.ndarray], str]] = [
            ("the whole reference", partial(at_once, full), "exact"),
            ("3 s of it", partial(at_once, short), "lossy"),
            ("3 s of it, cached, within a sentence", middle, "lossy"),
        ]
        *ours, peer = interleaved(
            *(self._timed(work) for _, work, _ in cases), self._timed(upstream), rounds=3
        )
        for (case, work, label), sample in zip(cases, ours, strict=True):
            equal = abs(work().size - length) <= 480
            name = f"S3Gen: a chunk of 1 s, {case}, {label}"
            yield said_so(Row.of(name, sample, peer, unit="s", equal=equal))

    # -- a sentence

    def sentence(self) -> Iterator[Row]:
        """From a text to sound: the first of it, and all of it."""
        engine = ChatterboxTTSEngine(self._device, model=self._folder, seed=_SEED)
        with quiet():
            engine.load_model()
        t3 = engine._loaded.chatterbox.t3
        said: dict[str, list[_Said]] = {}

        def streaming(name: str, manner: Manner) -> Round:
            def round_() -> float:
                with only_sound(t3, _TOKENS):
                    said.setdefault(name, []).append(anyio.run(_streamed, engine, manner))
                return said[name][-1].seconds

            return round_

        lengths: list[int] = []

        def upstream() -> None:
            torch.manual_seed(_SEED)
            with only_sound(self._theirs.t3, _TOKENS), quiet():
                lengths.append(self._theirs.generate(_TEXT).shape[1])

        sides = {name: streaming(name, manner) for name, manner in _MANNERS.items()}
        *ours, peer = interleaved(
            *sides.values(), self._timed(upstream), rounds=1 if self._device == "cpu" else 5
        )
        for name, sample in zip(sides, ours, strict=True):
            runs = said[name][1:]  # before, the voice is computed, once
            equal = abs(runs[-1].sound.size - lengths[-1]) <= _RATE // 10
            first = Sample.of([run.first for run in runs])
            label = f"streamed in {name}, lossy"
            yield said_so(
                Row.of(f"6 s: the first sound, {label}", first, peer, unit="s", equal=equal)
            )
            yield said_so(Row.of(f"6 s: all of it, {label}", sample, peer, unit="s", equal=equal))
        with only_sound(t3, _TOKENS):
            at_once = anyio.run(_streamed, engine, replace(_CACHED, first_tokens=None)).sound
        name, streamed = "cached chunks", said["cached chunks, 3 s of the reference"][-1].sound
        difference = float(np.abs(streamed - at_once).max())
        yield said_so(
            Row(
                f"6 s: streamed in {name} against made at once, the largest difference",
                difference,
                "of full scale",
                equal=difference <= 1e-4,
            )
        )


class _Middle:
    """A second within a sentence, of which more is known before."""

    def __init__(self, renderer: Renderer, prompt: Prompt, tokens: list[int]) -> None:
        self._rendering = Rendering(renderer, prompt, mode="cached", first_tokens=25)
        self._rendering.feed(tokens, last=False)
        for _ in range(2):
            self._next()

    def _next(self) -> np.ndarray:
        with torch.inference_mode():
            for _ in self._rendering.next_chunk():
                pass
        return self._rendering.take()

    def __call__(self) -> np.ndarray:
        return self._next()


def _finished(steps: Generator[None, None, T]) -> T:
    """What a generator returns in the end."""
    result: list[T] = []

    def kept() -> Iterator[None]:
        result.append((yield from steps))

    with torch.inference_mode():
        for _ in kept():
            pass
    return result[0]


@dataclass(frozen=True, slots=True)
class _Said:
    first: float  # s, until there was sound
    seconds: float
    sound: np.ndarray


async def _streamed(engine: ChatterboxTTSEngine, manner: Manner) -> _Said:
    began = perf_counter()
    first, chunks = 0.0, []
    async with aclosing(engine._spoken(_TEXT, engine._settings, manner)) as sound:
        async for chunk in sound:
            first = first or perf_counter() - began
            chunks.append(chunk.samples[:, 0])
    return _Said(first, perf_counter() - began, np.concatenate(chunks))


@contextmanager
def only_sound(t3: Any, n: int | None = None) -> Iterator[None]:
    """A model that says nothing but sounds, and ends after ``n`` tokens."""
    calls = 0

    def forced(module: Any, inputs: Any, logits: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        logits = logits.clone()
        logits[..., _SPECIAL:] = -1e9
        if n is not None and calls > n:
            logits[...] = -1e9
            logits[..., _STOP] = 1e9
        return logits

    hook = t3.speech_head.register_forward_hook(forced)
    try:
        yield
    finally:
        hook.remove()


# -- memory ------------------------------------------------------------------------------


def _memory(folder: str, device: str) -> Iterator[Row]:
    """The most that a process had that loads the model and says the sentence once."""
    peaks = {
        side: float(
            json.loads(
                subprocess.run(
                    [sys.executable, "-m", "benchmarks.bench_chatterbox", side, folder, device],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.splitlines()[-1]
            )
        )
        for side in ("ours", "theirs")
    }
    yield said_so(
        Row("peak memory of a process that says 6 s", peaks["ours"], "GB", peaks["theirs"])
    )


def _say_once(side: str, folder: str, device: str) -> float:
    if side == "ours":
        engine = ChatterboxTTSEngine(device, model=folder, seed=_SEED)
        engine.load_model()
        with only_sound(engine._loaded.chatterbox.t3, _TOKENS):
            anyio.run(_streamed, engine, _WINDOW)
    else:
        theirs = ChatterboxTTS.from_local(folder, device)
        with only_sound(theirs.t3, _TOKENS):
            theirs.generate(_TEXT)
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def said_so(row: Row) -> Row:
    """The row, once it is known: all of them take a while."""
    peer = "" if row.peer is None else f" against {row.peer:.4g}"
    print(f"{row.case}: {row.ours:.4g} {row.unit}{peer}", file=sys.stderr)
    return row


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(_say_once(*sys.argv[1:])))
