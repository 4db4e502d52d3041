"""The mel of a sentence while its tokens come, in one of two ways; see `_render`.

Both are values: to go on is to make another, and what is left half way is forgotten.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from ._flow import CHUNK_TOKENS, FRAMES_PER_TOKEN, LOOK_AHEAD, N_MELS, Flow, FlowPast, Steps
from ._noise import Use, noise
from ._vocoder import CONTEXT, PITCH_CONTEXT

__all__ = ["Cached", "Prompt", "Windowed", "remember"]

_BEFORE: Final = 25  # tokens of the sentence that a window renders again before the new ones
_FADE: Final = 4  # frames that are faded over from the window before
_GROWTH: Final = 4  # windows grow to so many times the second


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What is computed once for a voice; not to be changed.

    Attributes:
        tokens: Of the reference, of shape (1, n).
        mel: Likewise, (1, 2 n, 80).
        speaker: What the estimator is told of the voice, (1, 80).
        noise: What the reference's frames are drawn from, (1, 2 n, 80).
        past: What was heard of all chunks that no sentence can change, if it was kept.
    """

    tokens: Tensor
    mel: Tensor
    speaker: Tensor
    noise: Tensor
    past: FlowPast | None = None

    @property
    def n_tokens(self) -> int:
        return int(self.tokens.shape[1])

    @property
    def n_constant(self) -> int:
        """How many tokens no sentence can change: the encoder looks ahead, and by chunks."""
        return max(0, self.n_tokens - LOOK_AHEAD) // CHUNK_TOKENS * CHUNK_TOKENS

    def tail(self, n: int) -> Prompt:
        """The last n tokens of it, without a past."""
        tokens, frames = slice(-n, None), slice(-n * FRAMES_PER_TOKEN, None)
        return replace(
            self,
            tokens=self.tokens[:, tokens].clone(),
            mel=self.mel[:, frames].clone(),
            noise=self.noise[:, frames].clone(),
            past=None,
        )

    @property
    def n_bytes(self) -> int:
        kept = sum(t.nbytes for t in (self.tokens, self.mel, self.speaker, self.noise))
        return kept + (self.past.n_bytes if self.past else 0)


@dataclass(frozen=True, slots=True, eq=False)
class Windowed:
    """By windows in which all hears all, each with the prompt.

    What was given out before is given to the model as known mel, as the prompt is.

    Attributes:
        mel: Of shape (1, n_frames, 80).
        n_final: Frames that stay as they are; the others are heard by the vocoder.
    """

    look_ahead: ClassVar[int] = 0  # what a window's last tokens lack is not final

    flow: Flow
    prompt: Prompt
    steps: Steps
    seed: int
    mel: Tensor
    n_final: int = 0

    def ends(self, first: int, then: int) -> Iterator[int]:
        """Up to which token each window goes: the prompt costs less where they are longer."""
        end, hop = first, then
        while True:
            yield end
            end, hop = end + hop, min(2 * hop, _GROWTH * then)

    def advance(
        self, tokens: Sequence[int], end: int, *, last: bool
    ) -> Generator[None, None, Windowed]:
        """Go on to the token ``end``, one of the flow's steps at a time.

        Args:
            tokens: All of the sentence's so far.
            last: It is the end of the sentence.
        """
        prompt, known = self.prompt, self.n_final
        start = max(0, known // FRAMES_PER_TOKEN - _BEFORE)
        first = start * FRAMES_PER_TOKEN
        window = torch.cat([prompt.tokens, _row(tokens[start:end], prompt.tokens)], dim=1)
        mu = self.flow.encode(window, window.shape[1])
        yield
        given = torch.cat([prompt.mel, self.mel[:, first:known]], dim=1)
        drawn = _noise(self.seed, first, end * FRAMES_PER_TOKEN, prompt.noise)
        made = yield from self.flow.solve(
            torch.cat([prompt.noise, drawn], dim=1),
            mu,
            prompt.speaker,
            F.pad(given, (0, 0, 0, mu.shape[1] - given.shape[1])),
            self.steps,
        )
        new = made[:, given.shape[1] :]
        before = self.mel[:, known : known + _FADE]
        n = before.shape[1]
        if n:
            fade = torch.linspace(0, 1, n + 2, device=new.device)[1:-1, None]
            new = torch.cat([before.lerp(new[:, :n], fade), new[:, n:]], dim=1)
        mel = torch.cat([self.mel[:, :known], new], dim=1)
        held = 0 if last else LOOK_AHEAD * FRAMES_PER_TOKEN + _FADE
        return replace(self, mel=mel, n_final=max(known, mel.shape[1] - held))


@dataclass(frozen=True, slots=True, eq=False)
class Cached:
    """By chunks that hear only what came before; the sound is the same however it is cut.

    Attributes:
        past: What was heard of the prompt and the sentence so far.
        n_heard: How many tokens of both that is.
        mel, n_final: As of `Windowed`; here all of the mel stays as it is, but the vocoder
            needs the rest as context.
    """

    look_ahead: ClassVar[int] = LOOK_AHEAD

    flow: Flow
    prompt: Prompt
    steps: Steps
    seed: int
    mel: Tensor
    past: FlowPast
    n_heard: int = 0
    n_final: int = 0

    @classmethod
    def begin(cls, flow: Flow, prompt: Prompt, steps: Steps, seed: int) -> Cached:
        past, n_heard = FlowPast.begin(len(steps.lengths)), 0
        if prompt.past:
            past, n_heard = prompt.past, prompt.n_constant
        return cls(flow, prompt, steps, seed, prompt.mel[:, :0], past, n_heard)

    def ends(self, first: int, then: int) -> Iterator[int]:
        """Up to which token each part goes: whole chunks, counted from the prompt's begin."""
        before = self.prompt.n_tokens
        end = _up(before + first - LOOK_AHEAD) - before
        while True:
            yield end
            end += _up(then)

    def advance(
        self, tokens: Sequence[int], end: int, *, last: bool
    ) -> Generator[None, None, Cached]:
        """Go on to the token ``end``, which ends a chunk unless it is the last."""
        prompt = self.prompt
        heard = yield from self._hear(
            torch.cat([prompt.tokens, _row(tokens, prompt.tokens)], dim=1),
            prompt.n_tokens + end,
        )
        if last:
            return replace(heard, past=FlowPast.begin(0), n_final=heard.mel.shape[1])
        n_final = heard.mel.shape[1] - CONTEXT - PITCH_CONTEXT
        return replace(heard, n_final=max(self.n_final, n_final))

    def _hear(self, tokens: Tensor, end: int) -> Generator[None, None, Cached]:
        prompt = self.prompt
        past, start, mel = self.past.fork(), self.n_heard, self.mel
        # A chunk at a time, however many there are: then even rounding is always the same.
        reference = prompt.mel.shape[1]
        while start < end:
            stop = min(end, start + CHUNK_TOKENS)
            mu = self.flow.encode(tokens[:, start:], stop - start, past)
            yield
            first, final = start * FRAMES_PER_TOKEN, stop * FRAMES_PER_TOKEN
            known = prompt.mel[:, first:final]
            of_sentence = range(max(0, first - reference), max(0, final - reference))
            drawn = _noise(self.seed, of_sentence.start, of_sentence.stop, prompt.noise)
            made = yield from self.flow.solve(
                torch.cat([prompt.noise[:, first:final], drawn], dim=1),
                mu,
                prompt.speaker,
                F.pad(known, (0, 0, 0, final - first - known.shape[1])),
                self.steps,
                past,
            )
            mel = torch.cat([mel, made[:, known.shape[1] :]], dim=1)
            start = stop
        return replace(self, mel=mel, past=past, n_heard=max(start, end))


def remember(flow: Flow, prompt: Prompt, steps: Steps) -> Generator[None, None, Prompt]:
    """The prompt with its past, made one of the flow's steps at a time; see `Renderer`."""
    if prompt.past or not prompt.n_constant:
        return prompt
    prompt = prompt.tail(prompt.n_constant + LOOK_AHEAD)
    unheard = Cached.begin(flow, prompt, steps, 0)
    heard = yield from unheard._hear(prompt.tokens, prompt.n_constant)
    return replace(prompt, past=heard.past)


def _up(n: int) -> int:
    return -(-n // CHUNK_TOKENS) * CHUNK_TOKENS


def _row(tokens: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor([[*tokens]], dtype=like.dtype, device=like.device)


def _noise(seed: int, start: int, stop: int, like: Tensor) -> Tensor:
    return noise(seed, Use.MEL, start, stop, (N_MELS,)).to(like.device, like.dtype)[None]
