"""Text to speech tokens: T3, for many sentences at once.

A sentence joins when it comes, with a pass over its text, and leaves when it ends; each step
in between draws one token for every sentence there is (continuous batching, as in Orca, Yu et
al. 2022). What a voice puts before every text is computed once for the voice.

A sentence has two rows, with its text and without, for classifier-free guidance; turbo, which
was distilled with it, has one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

import torch
import torch.nn.functional as F
from chatterbox.models.t3.inference.alignment_stream_analyzer import (
    LLAMA_ALIGNED_HEADS,
    AlignmentStreamAnalyzer,
)
from torch import Tensor, nn

from ._backbone import Watched, backbone
from ._rows import Prefix
from ._sampling import Sampling, draw, guided

__all__ = ["Talker", "Utterance"]

# It warns of each token that comes twice in a row.
logging.getLogger(AlignmentStreamAnalyzer.__module__).setLevel(logging.ERROR)


@dataclass(slots=True, eq=False)
class Utterance:
    """A sentence on its way through the model.

    Attributes:
        text: Its tokens, int64 of shape (n,), with those of start and end.
        prefix: The voice's, of `Talker.prefix`.
        dice: What its tokens are drawn from; None for torch's own.
        max_tokens: After so many it ends as it is.
        tokens: The speech tokens so far, 25 a second, without those that are no sound.
        ended: Whether there will be no more.
        is_cut: Whether that is because of ``max_tokens``.
    """

    text: Tensor
    prefix: Prefix
    sampling: Sampling
    dice: torch.Generator | None = None
    max_tokens: int = 1000
    tokens: list[int] = field(default_factory=list)
    ended: bool = False
    is_cut: bool = False
    n_drawn: int = 0
    _last: int = 0
    _alignment: _Alignment | None = None


_JUDGED: Final = 5  # tokens; Chatterbox's judgement fails on a text that has no more
_WATCHED: Final = {layer: [head] for layer, head in LLAMA_ALIGNED_HEADS}


class Talker:
    """A loaded T3, and the sentences that are at it."""

    def __init__(self, t3: nn.Module) -> None:
        self._t3 = t3
        self._hp = t3.hp
        self._group = 1 if t3.is_gpt else 2  # rows of a sentence
        self._watch = _WATCHED if t3.hp.is_multilingual else None
        self._backbone = backbone(t3)
        weight = t3.speech_head.weight
        self._rows = self._backbone.rows(weight)
        self._n_vocab = int(weight.shape[0])
        self._device = weight.device
        self._spoken: list[Utterance] = []
        self._logits = weight.new_zeros(0, self._n_vocab, dtype=torch.float32)  # a sentence's next
        self._seen = torch.zeros(0, self._n_vocab, dtype=torch.bool, device=self._device)

    @property
    def utterances(self) -> Sequence[Utterance]:
        return self._spoken

    @property
    def n_bytes(self) -> int:
        """Of what is kept for the sentences."""
        return self._rows.n_bytes

    def prefix(self, conditioning: Any, check: Callable[[], None]) -> Prefix:
        """What stands before every text of a voice.

        Args:
            conditioning: A ``T3Cond``, which is changed.
        """
        with torch.inference_mode():
            return self._backbone.prefix(self._t3.prepare_conditioning(conditioning), check)

    @torch.inference_mode()
    def join(self, utterance: Utterance, check: Callable[[], None]) -> None:
        """Read a sentence's text, from where on `step` speaks it.

        Args:
            check: What it raises ends this, and leaves all else as it was.
        """
        first, group = len(self._rows.lengths), self._group
        self._rows.add(group, utterance.prefix)
        watched: Watched = {}
        try:
            states = self._backbone.states(
                self._embedded(utterance.text),
                self._rows,
                first,
                check,
                watch=self._watch,
                watched=watched,
            )
        except BaseException:
            self._rows.remove(first, group)
            raise
        start = self._hp.start_speech_token
        seen = self._seen.new_zeros(1, self._n_vocab)
        seen[:, start] = True
        logits = self._guided(states[:, -1], [utterance])
        if self._watch and len(utterance.text) > _JUDGED:
            n_before = int(utterance.prefix[0][0].shape[2])
            alignment = _Alignment(n_before, len(utterance.text), self._hp.stop_speech_token)
            logits = alignment.judged(logits[0], watched, 0, start)[None]
            utterance._alignment = alignment
        self._spoken.append(utterance)
        self._logits = torch.cat([self._logits, logits])
        self._seen = torch.cat([self._seen, seen])

    @torch.inference_mode()
    def step(self, check: Callable[[], None]) -> None:
        """One more token for every sentence; those that end leave.

        Args:
            check: Called in each layer; what it raises ends the step, and all sentences are
                lost: `clear` lets them go.
        """
        drawn = draw(
            self._logits,
            self._seen,
            [each.sampling for each in self._spoken],
            [each.dice for each in self._spoken],
        )
        self._seen[torch.arange(len(drawn), device=self._device), drawn] = True
        start, stop = self._hp.start_speech_token, self._hp.stop_speech_token
        for place, (utterance, token) in enumerate(zip(self._spoken, drawn.tolist(), strict=True)):
            utterance.n_drawn += 1
            utterance._last = token
            if self._t3.is_gpt and utterance.n_drawn == 1 and token != start:
                self._seen[place, start] = False  # as turbo's loop has it
            utterance.ended = token == stop
            if token < start and not utterance.ended:
                utterance.tokens.append(token)
            if not utterance.ended and utterance.n_drawn >= utterance.max_tokens:
                utterance.ended = utterance.is_cut = True
        for utterance in [each for each in self._spoken if each.ended]:
            self.leave(utterance)
        if self._spoken:
            self._advance(check)

    @torch.inference_mode()
    def leave(self, utterance: Utterance) -> None:
        """Let a sentence go, ended or not; the last one takes its place."""
        if utterance not in self._spoken:
            return
        place, last = self._spoken.index(utterance), len(self._spoken) - 1
        self._rows.remove(place * self._group, self._group)
        for kept in (self._logits, self._seen):
            kept[place] = kept[last]
        self._logits, self._seen = self._logits[:last], self._seen[:last]
        self._spoken[place] = self._spoken[last]
        self._spoken.pop()

    def clear(self) -> None:
        """Let all sentences go."""
        for utterance in [*self._spoken]:
            self.leave(utterance)

    def _advance(self, check: Callable[[], None]) -> None:
        """Feed the tokens that were drawn last."""
        t3 = self._t3
        last = torch.tensor([each._last for each in self._spoken], device=self._device)
        x = t3.speech_emb(last)
        if t3.speech_pos_emb is not None:
            at = torch.tensor([each.n_drawn for each in self._spoken], device=self._device)
            x = x + t3.speech_pos_emb.emb(at)
        x = x[:, None].repeat_interleave(self._group, dim=0)
        watched: Watched = {}
        states = self._backbone.states(x, self._rows, 0, check, watch=self._watch, watched=watched)
        self._logits = self._guided(states[:, -1], self._spoken)
        for place, utterance in enumerate(self._spoken):
            if utterance._alignment is not None:
                self._logits[place] = utterance._alignment.judged(
                    self._logits[place], watched, self._group * place, utterance._last
                )

    def _embedded(self, text: Tensor) -> Tensor:
        """A text and the start of speech, of shape (group, n, n_state)."""
        t3 = self._t3
        start = torch.tensor([self._hp.start_speech_token], device=self._device)
        words, speech = t3.text_emb(text), t3.speech_emb(start)
        if self._t3.is_gpt:
            return torch.cat([words, speech])[None]
        # Chatterbox begins with the start of speech twice.
        speech = (speech + t3.speech_pos_emb.emb(torch.zeros_like(start))).repeat(2, 1)
        places = t3.text_pos_emb.emb(torch.arange(len(text), device=self._device))
        return torch.stack(
            [
                torch.cat([words + places, speech]),
                torch.cat([torch.zeros_like(words) + places, speech]),
            ]
        )

    def _guided(self, states: Tensor, utterances: Sequence[Utterance]) -> Tensor:
        logits = self._t3.speech_head(states).float()
        return logits if self._group == 1 else guided(logits, [u.sampling for u in utterances])


class _Alignment:
    """Ends a sentence when its attention has left the text, by Chatterbox's own judgement.

    Its class takes the attention from hooks that it leaves in the model. Here it is given
    something else to put them in, and the attention it asked for.
    """

    def __init__(self, n_before: int, n_text: int, stop: int) -> None:
        nothing = SimpleNamespace(
            self_attn=SimpleNamespace(register_forward_hook=lambda hook: None)
        )
        layers = {layer: nothing for layer, _ in LLAMA_ALIGNED_HEADS}
        self._analyzer = AlignmentStreamAnalyzer(
            SimpleNamespace(layers=layers),
            None,
            text_tokens_slice=(n_before, n_before + n_text),
            eos_idx=stop,
        )
        self._n_before = n_before
        self._is_first = True

    def judged(self, logits: Tensor, watched: Watched, row: int, last: int) -> Tensor:
        """The logits, of shape (n_vocab,), of a row that goes on or has to end."""
        attention = [watched[layer][row, 0].cpu() for layer, _ in LLAMA_ALIGNED_HEADS]
        if self._is_first:  # it counts the queries from the voice's, too
            attention = [F.pad(each, (0, 0, self._n_before, 0)) for each in attention]
            self._is_first = False
        self._analyzer.last_aligned_attns = attention
        judged: Tensor = self._analyzer.step(logits[None], next_token=last)[0]
        return judged
