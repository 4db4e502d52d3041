"""S3Gen's estimator of velocities (`ConditionalDecoder`), over its public modules.

Upstream's gives attention a bias of zeros, which keeps it from its fast kernels, asks the
device whether a mask is empty in each of 14 stages, and computes the embedding of the same
few times again for every render. Here there is no mask, and times are embedded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._past import Nothing, Past

if TYPE_CHECKING:
    from chatterbox.models.s3gen.decoder import ConditionalDecoder

__all__ = ["Estimator"]


class Estimator:
    """The velocity with which a noisy mel moves.

    Raises:
        ValueError: The network is not of S3Gen's form: causal, all at one rate of frames.
    """

    def __init__(self, decoder: ConditionalDecoder) -> None:
        if not decoder.causal or len(decoder.down_blocks) != 1 or len(decoder.up_blocks) != 1:
            raise ValueError("not an estimator of S3Gen's form")
        self._decoder = decoder
        self._stages = [*decoder.down_blocks, *decoder.mid_blocks, *decoder.up_blocks]

    @property
    def n_bytes_per_frame(self) -> int:
        """What keys and values of one frame take, for one row and one step."""
        attentions = [block.attn1 for stage in self._stages for block in stage[1]]
        width = sum(a.to_k.weight.shape[0] + a.to_v.weight.shape[0] for a in attentions)
        return int(width * self._decoder.final_proj.weight.element_size())

    def embed(self, times: Tensor) -> list[list[Tensor]]:
        """What each step adds in each stage.

        Args:
            times: Where the steps begin and end, of shape (n_steps + 1,).
        """
        decoder = self._decoder
        known = decoder.time_mlp(decoder.time_embeddings(times).to(times.dtype))
        steps = known[:-1]
        if decoder.meanflow:  # which is told where a step ends, too
            steps = decoder.time_embed_mixer(torch.cat([steps, known[1:]], dim=1))
        added = [stage[0].mlp(steps) for stage in self._stages]
        return [[stage[i] for stage in added] for i in range(len(steps))]

    def __call__(self, x: Tensor, step: Sequence[Tensor], past: Nothing | Past) -> Tensor:
        """The velocity.

        Args:
            x: The noisy mel, what the encoder says, the speaker and the known mel, together
                of shape (rows, n_frames, 320).
            step: One of what `embed` returned.
            past: That of this very step.

        Returns:
            Of shape (rows, n_frames, 80).
        """
        skip = x
        last = len(self._stages) - 1
        for i, stage in enumerate(self._stages):
            if i == last:
                x = torch.cat([x, skip], dim=-1)
            x = _resnet(stage[0], x, step[i], past, f"{i}")
            for j, block in enumerate(stage[1]):
                x = _transformer(block, x, past, f"{i}.{j}")
            if i == 0:
                skip = x
            if len(stage) > 2:
                x = _convolve(stage[2], x, past, f"{i}.out")
        x = _block(self._decoder.final_block, x, past, "final")
        return _pointwise(self._decoder.final_proj, x)


def _convolve(conv: nn.Conv1d, x: Tensor, past: Nothing | Past, layer: str) -> Tensor:
    x = past.before(layer, x, conv.kernel_size[0] - 1)
    return F.conv1d(x.transpose(1, 2), conv.weight, conv.bias).transpose(1, 2)


def _pointwise(conv: nn.Conv1d, x: Tensor) -> Tensor:
    return F.linear(x, conv.weight.squeeze(-1), conv.bias)


def _block(block: Any, x: Tensor, past: Nothing | Past, layer: str) -> Tensor:
    conv, _, norm, _, mish = block.block
    return mish(norm(_convolve(conv, x, past, layer)))


def _resnet(resnet: Any, x: Tensor, time: Tensor, past: Nothing | Past, layer: str) -> Tensor:
    h = _block(resnet.block1, x, past, f"{layer}.a") + time
    return _block(resnet.block2, h, past, f"{layer}.b") + _pointwise(resnet.res_conv, x)


def _transformer(block: Any, x: Tensor, past: Nothing | Past, layer: str) -> Tensor:
    attention, feed = block.attn1, block.ff.net
    y = block.norm1(x)
    q, k, v = (
        project(y).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for project in (attention.to_q, attention.to_k, attention.to_v)
    )
    x = x + attention.to_out[0](past.attend(layer, q, k, v))
    return x + feed[2](F.gelu(feed[0].proj(block.norm3(x))))
