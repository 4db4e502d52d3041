"""When each word was spoken, read off the cross attention.

A few of the decoder's heads look at the sound of the token they predict. openai-whisper
gets at their weights by computing every attention the slow way, over an encoder pass of its
own; here the features of the decode are used again, and the few heads' weights are computed
from queries and keys alone. From there on the method is its own, dynamic time warping
(Giorgino 2009, https://doi.org/10.18637/jss.v031.i07), and so are the times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from whisper.tokenizer import Tokenizer

from ._decoder import Decoder

__all__ = ["Spoken", "align", "heads_by_layer", "place"]

_POSITIONS_PER_SECOND: Final = 50
_FILTER: Final = 7  # positions, of the median filter over the weights

_PREPENDED: Final = "\"'“¿([{-"
_APPENDED: Final = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - full-width marks are meant
_SENTENCE_END: Final = ".。!！?？"  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word, its tokens, and when it was said."""

    text: str
    tokens: tuple[int, ...]
    start: float  # s
    end: float
    probability: float


# -- the alignment -----------------------------------------------------------------------


def heads_by_layer(alignment_heads: Tensor) -> dict[int, list[int]]:
    """The heads that look at what they say, of each layer that has some."""
    heads: dict[int, list[int]] = {}
    for layer, head in alignment_heads.indices().T.tolist():
        heads.setdefault(layer, []).append(head)
    return heads


def align(
    decoder: Decoder,
    heads: dict[int, list[int]],
    tokenizers: Sequence[Tokenizer],
    texts: Sequence[Sequence[int]],
    n_frames: Sequence[int],
) -> list[list[Spoken]]:
    """When the words of each sound's text were said, counted from the sound's beginning.

    Args:
        decoder: With the sounds; its rows are lost.
        tokenizers: Each sound's.
        texts: Each sound's text tokens, without times.
        n_frames: How many frames of 0.01 s of each sound to look at.
    """
    decoder.begin()
    starts = [[*t.sot_sequence, t.no_timestamps] for t in tokenizers]
    fed = [[*start, *text, t.eot] for start, text, t in zip(starts, texts, tokenizers, strict=True)]
    queries: dict[int, Tensor] = {layer: torch.empty(0) for layer in heads}
    states = decoder.states(fed, queries)
    aligned: list[list[Spoken]] = []
    for sound, (start, text, tokenizer) in enumerate(zip(starts, texts, tokenizers, strict=True)):
        if not text or n_frames[sound] < 2:
            aligned.append([])
            continue
        first = len(start) - 1
        logits = decoder.logits(states[sound, first : first + len(text)])[:, : tokenizer.eot]
        rows = torch.arange(len(text), device=logits.device)
        probabilities = logits.softmax(dim=-1)[rows, torch.tensor(text, device=logits.device)]
        weights = torch.cat(
            [
                _weights(queries[layer][sound, which, : len(fed[sound])],
                         decoder.keys(layer)[sound, which])
                for layer, which in heads.items()
            ]
        )  # fmt: skip
        # Upstream counts the frames of a window in halves, and so a clip of one has none.
        weights = weights[:, :, : n_frames[sound] // 2]
        matrix = _contrast(weights)[first:-1]
        aligned.append(_words(tokenizer, text, matrix, probabilities.tolist()))
    return aligned


def _weights(queries: Tensor, keys: Tensor) -> Tensor:
    """Raw attention of shape (n_heads, n_tokens, n_positions)."""
    return ((queries @ keys.transpose(-1, -2)) * queries.shape[-1] ** -0.5).float()


def _contrast(weights: Tensor) -> NDArray[np.float64]:
    """How much more than other tokens each one looks at each position."""
    weights = weights.softmax(dim=-1)
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    weights = (weights - mean) / deviation
    if weights.shape[-1] > _FILTER // 2:
        padded = F.pad(weights, (_FILTER // 2, _FILTER // 2, 0, 0), mode="reflect")
        weights = padded.unfold(-1, _FILTER, 1).sort()[0][..., _FILTER // 2]
    matrix: NDArray[np.float64] = weights.mean(dim=0).double().cpu().numpy()
    return matrix


def _words(
    tokenizer: Tokenizer,
    text: Sequence[int],
    matrix: NDArray[np.float64],
    probabilities: Sequence[float],
) -> list[Spoken]:
    texts, tokens = tokenizer.split_to_word_tokens([*text, tokenizer.eot])
    if len(tokens) <= 1:
        return []
    bounds = np.cumsum([0, *map(len, tokens[:-1])])
    times = _first_positions(-matrix) / _POSITIONS_PER_SECOND
    return [
        Spoken(
            word,
            tuple(own),
            float(times[start]),
            float(times[end]),
            float(np.mean(probabilities[start:end])),
        )
        for word, own, start, end in zip(texts, tokens, bounds[:-1], bounds[1:], strict=False)
    ]


def _first_positions(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the cheapest monotone path through (n_tokens, n_positions) reaches each token.

    Diagonal by diagonal. Ties fall as upstream, whose sums are float64 too: numba makes that
    of its float32 array times infinity.
    """
    n, m = cost.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0.0
    for i_and_j in range(2, n + m + 1):
        i = np.arange(max(1, i_and_j - m), min(n, i_and_j - 1) + 1)
        j = i_and_j - i
        diagonal, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        best = np.where(diagonal == up, left, np.minimum(np.minimum(diagonal, up), left))
        total[i, j] = cost[i - 1, j - 1] + best
    firsts = np.zeros(n)
    i, j = n, m
    while i > 0 and j > 0:
        firsts[i - 1] = j - 1
        diagonal, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        if diagonal < up and diagonal < left:
            i, j = i - 1, j - 1
        elif up < diagonal and up < left:
            i -= 1
        else:
            j -= 1
    return firsts


# -- words in segments -------------------------------------------------------------------


def place(
    words: Sequence[Spoken],
    segments: Sequence[tuple[float, float, int]],
    offset: float,
    last_end: float,
) -> list[tuple[float, float, list[Spoken]]]:
    """Give the words to their segments, with the times that look wrong put right.

    The first word after a pause, and the last before one, tend to be aligned with the pause
    too; none is left longer than twice the median. The rules are openai-whisper's.

    Args:
        words: The window's, with times counted from its beginning.
        segments: Start, end and number of text tokens of each.
        offset: When the window begins.
        last_end: When the last segment before it ended.

    Returns:
        Start, end and words of each segment.
    """
    lengths = [word.end - word.start for word in words if word.end != word.start]
    usual = min(0.7, median(lengths)) if lengths else 0.0
    longest = 2 * usual
    merged = _merged(_shortened(words, longest) if lengths else [*words])
    placed = []
    at = 0
    for start, end, n_tokens in segments:
        own: list[Spoken] = []
        n = 0
        while at < len(merged) and n < n_tokens:
            word = merged[at]
            at += 1
            n += len(word.tokens)
            if word.text:
                own.append(
                    replace(
                        word,
                        start=round(offset + word.start, 2),
                        end=round(offset + word.end, 2),
                    )
                )
        if own:
            start, end, own = _bounded(start, end, own, usual, last_end)
            last_end = end
        placed.append((start, end, own))
    return placed


def _shortened(words: Sequence[Spoken], longest: float) -> list[Spoken]:
    """A mark at a sentence's end, and a word after one, last no longer than ``longest``."""
    words = [*words]
    for i in range(1, len(words)):
        word = words[i]
        if word.end - word.start > longest:
            if word.text in _SENTENCE_END:
                words[i] = replace(word, end=word.start + longest)
            elif words[i - 1].text in _SENTENCE_END:
                words[i] = replace(word, start=word.end - longest)
    return words


def _merged(words: Sequence[Spoken]) -> list[Spoken]:
    """Marks join the word they belong to; what they leave behind has no text."""
    words = [*words]
    following = len(words) - 1
    for i in range(len(words) - 2, -1, -1):
        mark = words[i]
        if mark.text.startswith(" ") and mark.text.strip() in _PREPENDED:
            word = words[following]
            words[following] = replace(
                word, text=mark.text + word.text, tokens=mark.tokens + word.tokens
            )
            words[i] = replace(mark, text="", tokens=())
        else:
            following = i
    previous = 0
    for i in range(1, len(words)):
        mark, word = words[i], words[previous]
        if not word.text.endswith(" ") and mark.text in _APPENDED:
            words[previous] = replace(
                word, text=word.text + mark.text, tokens=word.tokens + mark.tokens
            )
            words[i] = replace(mark, text="", tokens=())
        else:
            previous = i
    return words


def _bounded(
    start: float, end: float, words: list[Spoken], usual: float, last_end: float
) -> tuple[float, float, list[Spoken]]:
    """The segment and its words, with the words next to a pause not longer than usual."""
    longest = 2 * usual
    first = words[0]
    if first.end - last_end > usual * 4 and (
        first.end - first.start > longest
        or (len(words) > 1 and words[1].end - first.start > longest * 2)
    ):
        if len(words) > 1 and words[1].end - words[1].start > longest:
            boundary = max(words[1].end / 2, words[1].end - longest)
            first = replace(first, end=boundary)
            words[1] = replace(words[1], start=boundary)
        first = words[0] = replace(first, start=max(0.0, first.end - longest))
    if start < first.end and start - 0.5 > first.start:
        words[0] = replace(first, start=max(0.0, min(first.end - usual, start)))
    else:
        start = first.start
    last = words[-1]
    if end > last.start and end + 0.5 < last.end:
        words[-1] = replace(last, end=max(last.start + usual, end))
    else:
        end = last.end
    return start, end, words
