"""From speech tokens to mel frames: the encoder and the flow of S3Gen, over public modules.

The encoder is a conformer with relative positions (arXiv:1901.02860, section 3.3) that doubles
the rate half way; the flow is integrated by Euler's method, with guidance without a classifier
(arXiv:2207.12598) unless it was distilled to need none. Both do what upstream's
`CausalMaskedDiffWithXvec.inference` does for one sentence, and can go on where they stopped.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import log, sqrt
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from ._estimator import Estimator
from ._past import NOTHING, Nothing, Past

if TYPE_CHECKING:
    from chatterbox.models.s3gen.flow import CausalMaskedDiffWithXvec

__all__ = ["CHUNK_TOKENS", "FRAMES_PER_TOKEN", "LOOK_AHEAD", "N_MELS", "Flow", "FlowPast", "Steps"]

FRAMES_PER_TOKEN: Final = 2
N_MELS: Final = 80
LOOK_AHEAD: Final = 3  # tokens the encoder wants to see beyond the one it encodes
CHUNK_TOKENS: Final = 25  # of CosyVoice 2, whose flow this is, where it was trained to stream


@dataclass(frozen=True, slots=True)
class Steps:
    """Euler's steps: how long each is, and what it tells the stages of the estimator."""

    lengths: tuple[float, ...]
    embedded: list[list[Tensor]]


@dataclass(frozen=True, slots=True)
class FlowPast:
    """What both parts of the encoder heard, and the estimator in each of its steps."""

    tokens: Past
    frames: Past
    steps: tuple[Past, ...]

    @classmethod
    def begin(cls, n_steps: int) -> FlowPast:
        return cls(Past(), Past(), tuple(Past() for _ in range(n_steps)))

    def fork(self) -> FlowPast:
        steps = tuple(past.fork() for past in self.steps)
        return FlowPast(self.tokens.fork(), self.frames.fork(), steps)

    @property
    def n_bytes(self) -> int:
        return sum(past.n_bytes for past in (self.tokens, self.frames, *self.steps))


class Flow:
    """The token-to-mel half of S3Gen, read only.

    Raises:
        ValueError: The model is not of S3Gen's form.
    """

    def __init__(self, flow: CausalMaskedDiffWithXvec, *, meanflow: bool) -> None:
        self._flow = flow
        self._cfm = flow.decoder
        self._estimator = Estimator(flow.decoder.estimator)
        self._meanflow = meanflow

    def n_bytes_per_token(self, n_steps: int) -> int:
        """What the past of the estimator keeps of a token; the encoder's is little beside it."""
        rows = 1 if self._meanflow else 2
        return n_steps * rows * FRAMES_PER_TOKEN * self._estimator.n_bytes_per_frame

    def steps(self, n: int) -> Steps:
        """Upstream's steps: shorter at first, unless the flow is of means."""
        like = self._flow.encoder_proj.weight
        times = torch.linspace(0, 1, n + 1, device=like.device, dtype=like.dtype)
        if not self._meanflow and self._cfm.t_scheduler == "cosine":
            times = 1 - torch.cos(times * 0.5 * torch.pi)
        return Steps(tuple(times.diff().tolist()), self._estimator.embed(times))

    def speaker(self, embedding: Tensor) -> Tensor:
        """What the estimator is told of a voice: (1, 80) for an x-vector of shape (1, 192)."""
        speaker: Tensor = self._flow.spk_embed_affine_layer(F.normalize(embedding, dim=1))
        return speaker

    def encode(self, tokens: Tensor, n: int, past: FlowPast | None = None) -> Tensor:
        """What the flow is to draw for the first n of some tokens.

        Args:
            tokens: Of shape (1, n_tokens), what follows the n included as far as it is known;
                the encoder sees `LOOK_AHEAD` of it. Without any, the n-th is the last.
            past: What these n tokens hear besides themselves; it goes on by them.

        Returns:
            Of shape (1, 2 n, 80).
        """
        encoder = self._flow.encoder
        of_tokens, of_frames = (past.tokens, past.frames) if past else (NOTHING, NOTHING)
        x = _embed(encoder.embed, self._flow.input_embedding(tokens[:, : n + LOOK_AHEAD]))
        x = _look_ahead(encoder.pre_lookahead_layer, x, n, of_tokens)
        x = _conform(encoder.encoders, x, of_tokens)
        x = x.repeat_interleave(FRAMES_PER_TOKEN, dim=1)
        up = encoder.up_layer.conv
        x = of_frames.before("up", x, up.kernel_size[0] - 1)
        x = F.conv1d(x.transpose(1, 2), up.weight, up.bias).transpose(1, 2)
        x = _conform(encoder.up_encoders, _embed(encoder.up_embed, x), of_frames)
        mu: Tensor = self._flow.encoder_proj(encoder.after_norm(x))
        return mu

    def solve(
        self,
        noise: Tensor,
        mu: Tensor,
        speaker: Tensor,
        known: Tensor,
        steps: Steps,
        past: FlowPast | None = None,
    ) -> Generator[None, None, Tensor]:
        """Turn noise into mel, a step at a time.

        Args:
            noise: Of shape (1, n_frames, 80).
            mu: What the encoder says, likewise.
            speaker: Of shape (1, 80).
            known: The mel of frames that are given, and zeros, likewise.
            past: As for `encode`; it goes on by these frames.

        Returns:
            Of shape (1, n_frames, 80).
        """
        given = torch.cat([mu, speaker[:, None].expand_as(mu), known], dim=-1)
        if not self._meanflow:  # a second row, which is told nothing
            given = torch.cat([given, torch.zeros_like(given)])
        rate = self._cfm.inference_cfg_rate
        x = noise
        for i, (length, embedded) in enumerate(zip(steps.lengths, steps.embedded, strict=True)):
            heard = past.steps[i] if past else NOTHING
            rows = torch.cat([x.expand(len(given), -1, -1), given], dim=-1)
            velocity = self._estimator(rows, embedded, heard)
            if not self._meanflow:
                velocity = (1.0 + rate) * velocity[:1] - rate * velocity[1:]
            x = x + length * velocity
            yield
        return x


def _embed(embed: Any, x: Tensor) -> Tensor:
    embedded: Tensor = embed.out(x) * embed.pos_enc.xscale
    return embedded


def _look_ahead(layer: Any, x: Tensor, n: int, past: Nothing | Past) -> Tensor:
    """Tell each of the first n tokens of those that follow."""
    x = F.pad(x, (0, 0, 0, n + LOOK_AHEAD - x.shape[1]))
    ahead = F.leaky_relu(layer.conv1(x.transpose(1, 2))).transpose(1, 2)
    ahead = past.before("ahead", ahead, layer.conv2.kernel_size[0] - 1)
    told: Tensor = layer.conv2(ahead.transpose(1, 2)).transpose(1, 2)
    return told + x[:, :n]


def _conform(layers: Any, x: Tensor, past: Nothing | Past) -> Tensor:
    n = x.shape[1]
    positions = _positions(past.length("0"), n, x)
    for i, layer in enumerate(layers):
        attention = layer.self_attn
        y = layer.norm_mha(x)
        q, k, v = (
            project(y).unflatten(-1, (attention.h, attention.d_k))
            for project in (attention.linear_q, attention.linear_k, attention.linear_v)
        )
        distances = attention.linear_pos(positions).unflatten(-1, (attention.h, attention.d_k))
        scores = (q + attention.pos_bias_v).transpose(1, 2) @ distances.permute(1, 2, 0)
        heard = past.attend(
            f"{i}",
            (q + attention.pos_bias_u).transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            _shift(scores) / sqrt(attention.d_k),
        )
        x = x + attention.linear_out(heard)
        x = x + layer.feed_forward(layer.norm_ff(x))
    return x


def _positions(n_past: int, n: int, like: Tensor) -> Tensor:
    """Sinusoids of every distance from a new position back to another, the largest first.

    Returns:
        Of shape (n_past + 2 n - 1, width).
    """
    width = like.shape[-1]
    rates = torch.exp(torch.arange(0, width, 2, device=like.device) * (-log(10000.0) / width))
    distances = torch.arange(n_past + n - 1, -n, -1, device=like.device)
    angles = distances[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(like.dtype)


def _shift(scores: Tensor) -> Tensor:
    """The scores of distances, by the positions that are at those distances.

    Args:
        scores: Of shape (..., n, n_all + n - 1): a new position by distances, as `_positions`.

    Returns:
        Of shape (..., n, n_all), a view.
    """
    scores = scores.contiguous()
    n, n_distances = scores.shape[-2:]
    shape = (*scores.shape[:-1], n_distances - n + 1)
    # Each row begins one distance later than the row below it.
    return scores.as_strided(shape, (*scores.stride()[:-2], n_distances - 1, 1), n - 1)
