"""A loaded Chatterbox, and what it takes to say the lines of a request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final, get_args

import torch
from chatterbox import mtl_tts, tts, tts_turbo
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from ...voices import Reference, VoiceRegistry
from .._linear import thinned
from ._conditionals import computed, of_checkpoint
from ._joins import is_plausible, longest
from ._render import FEWEST_TOKENS, TOKENS_PER_SECOND, Mode, Prompt, Renderer, Rendering
from ._rows import Prefix
from ._sampling import Sampling
from ._settings import ChatterboxSettings, Kind
from ._talker import Talker, Utterance

__all__ = ["Manner", "Model", "Request"]

_LOG: Final = logging.getLogger(__name__)

_NORMALISED: Final[dict[Kind, Callable[[str], str]]] = {
    "standard": tts.punc_norm,
    "turbo": tts_turbo.punc_norm,
    "multilingual": mtl_tts.punc_norm,
}

_MOST_TOKENS: Final = 1000  # of a line: 40 s, the longest that was learnt
_SILENCE: Final = (4299,) * 3  # with these turbo ends a sentence
_SEEDS: Final = 1 << 63
_ANOTHER: Final = 0x9E3779B97F4A7C15  # between two seeds of a request


@dataclass(frozen=True, slots=True)
class Manner:
    """How tokens become sound.

    Attributes:
        mode: ``window``, the model as it was shipped; each window is rendered with a second of
            what was before it. Or ``cached``, in which attention is held to chunks of a second,
            so that nothing is rendered twice; it takes about 0.7 GB for each voice with 3 s of
            its recording, and as much for 3 s of speech. Whether the weights speak as well so
            is not known.
        prompt_seconds: How much of a voice's recording the sound goes on from, its end, 0.5
            at least; None for all there is, up to 10 s. Less is faster.
        first_tokens: Of 25 a second, after which the first sound is made; of n, it has the
            sound of 2 n - 11 frames of 20 ms, and the watermark keeps 0.21 s of it back. None
            to make each sentence at once.
        steps: Of the flow's solver; None for the model's own.
        rerolls: How often a sentence is drawn again whose length cannot be right, as long as
            none of it was heard.
    """

    mode: Mode = "window"
    prompt_seconds: float | None = None
    first_tokens: int | None = 16
    steps: int | None = None
    rerolls: int = 1

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode is {' or '.join(get_args(Mode))}, not {self.mode!r}")
        for name, least in (
            ("prompt_seconds", 0.5),
            ("first_tokens", FEWEST_TOKENS),
            ("steps", 1),
            ("rerolls", 0),
        ):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"{name} is at least {least}, not {value}")


@dataclass(frozen=True, slots=True)
class Request:
    """Texts to say, each in one go.

    Attributes:
        voice_id: Of one that the registry knows.
        seed: Of all that is drawn.
    """

    texts: Sequence[str]
    settings: ChatterboxSettings
    voices: VoiceRegistry
    voice_id: str
    manner: Manner
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class _Voice:
    """What is computed before a voice says anything; not to be changed."""

    prefix: Prefix
    prompt: Prompt

    @property
    def nbytes(self) -> int:
        kept = sum(keys.nbytes + values.nbytes for keys, values in self.prefix)
        return kept + self.prompt.n_bytes

    def copy(self) -> _Voice:
        return self


class Model:
    """One that is loaded.

    Args:
        chatterbox: The package's object; its linear layers may be replaced by others that
            give the same.
        name: Tells it from other models.
    """

    def __init__(self, chatterbox: Any, kind: Kind, device: torch.device, name: str) -> None:
        self.chatterbox = chatterbox
        self.kind: Kind = kind
        self.device = device
        self._name = name
        if device.type == "cpu":
            turned = {Conv1D: lambda layer: (layer.weight.T.contiguous(), layer.bias)}
            thinned(chatterbox.t3, turned)
        self.talker = Talker(chatterbox.t3)
        self.renderer = Renderer(chatterbox.s3gen, meanflow=kind == "turbo")

    def lines(self, request: Request, check: Callable[[], None]) -> list[_Line]:
        voice = self._voice(request, check)
        return [
            _Line(self, request, voice, text, number) for number, text in enumerate(request.texts)
        ]

    def warm_up(self, request: Request) -> None:
        """Say a little of a request to nobody; while nobody else speaks."""
        for line in self.lines(request, lambda: None):
            utterance, rendering = line.utterance(0), line.rendering()
            utterance.max_tokens = TOKENS_PER_SECOND
            self.talker.join(utterance, lambda: None)
            while not utterance.ended:
                self.talker.step(lambda: None)
            with torch.inference_mode():
                rendering.feed(utterance.tokens, last=True)
                for _ in rendering.next_chunk():
                    pass

    def _voice(self, request: Request, check: Callable[[], None]) -> _Voice:
        exaggeration, manner = request.settings.exaggeration, request.manner

        def conditionals(reference: Reference | None) -> Any:
            if reference is None:
                return of_checkpoint(self.chatterbox.conds)
            return computed(reference, self.chatterbox, self.kind)

        own = request.voices.conditionals(request.voice_id, self._name, conditionals)

        def ready(reference: Reference | None) -> _Voice:
            prefix = self.talker.prefix(own.t3(exaggeration), check)
            prompt = self.renderer.prompt(own.gen, manner.prompt_seconds)
            if manner.mode == "cached":
                remembering = self.renderer.remember(prompt, manner.steps)
                while True:
                    check()
                    try:
                        with torch.inference_mode():
                            next(remembering)
                    except StopIteration as done:
                        prompt = done.value
                        break
            return _Voice(prefix, prompt)

        made = f"{self._name}, {exaggeration}, {replace(manner, first_tokens=None, rerolls=0)}"
        return request.voices.conditionals(request.voice_id, made, ready)

    def tokens(self, text: str, language: str) -> Tensor:
        """A text's tokens, int64 of shape (n,)."""
        text = _NORMALISED[self.kind](text)
        tokenizer, hp = self.chatterbox.tokenizer, self.chatterbox.t3.hp
        if self.kind == "turbo":
            return torch.tensor(tokenizer(text).input_ids, device=self.device)
        told = {"language_id": language} if self.kind == "multilingual" else {}
        words = tokenizer.text_to_tokens(text, **told)[0].tolist()
        ends = [hp.start_text_token], [hp.stop_text_token]
        return torch.tensor([*ends[0], *words, *ends[1]], device=self.device)


@dataclass(frozen=True, slots=True)
class _Line:
    """One text of a request."""

    model: Model
    request: Request
    voice: _Voice
    text: str
    number: int

    def utterance(self, attempt: int) -> Utterance:
        settings, model = self.request.settings, self.model
        return Utterance(
            model.tokens(self.text, settings.language),
            self.voice.prefix,
            Sampling(
                settings.temperature,
                settings.repetition_penalty,
                settings.min_p,
                settings.top_p,
                settings.top_k or 0,
                settings.cfg_weight,
                penalty_last=model.kind == "turbo",
            ),
            torch.Generator(model.device).manual_seed(self._seed(attempt)),
            min(_MOST_TOKENS, ceil(longest(self.text) * TOKENS_PER_SECOND) + 1),
        )

    @property
    def rerolls(self) -> int:
        return self.request.manner.rerolls

    def is_plausible(self, n_tokens: int) -> bool:
        return is_plausible(self.text, n_tokens / TOKENS_PER_SECOND)

    def warn(self, n_tokens: int) -> None:
        _LOG.warning(
            "a text of %d characters became %.1f s of sound: words may be missing, or too many",
            len(self.text),
            n_tokens / TOKENS_PER_SECOND,
        )

    @property
    def closing(self) -> Sequence[int]:
        return _SILENCE if self.model.kind == "turbo" else ()

    def rendering(self) -> Rendering:
        manner = self.request.manner
        return Rendering(
            self.model.renderer,
            self.voice.prompt,
            mode=manner.mode,
            seed=self._seed(0),
            first_tokens=manner.first_tokens,
            n_steps=manner.steps,
        )

    def _seed(self, attempt: int) -> int:
        return (self.request.seed + ((self.number << 8) + attempt) * _ANOTHER) % _SEEDS
