"""The encoder over the model's public modules: for any length, and interruptible.

openai-whisper's always computes 30 seconds. The cost of fewer falls faster than their
number; what it does to the text is another matter (whisper.cpp's `audio_ctx`): the model was
trained on whole windows, so a margin of silence is kept, and a decode that looks wrong is
done again in full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch.nn.functional as F
from torch import Tensor
from whisper.model import Whisper

from ._options import Encoder

__all__ = ["FRAMES_PER_POSITION", "encode", "n_positions"]

FRAMES_PER_POSITION: Final = 2

_MARGIN: Final[dict[Encoder, int]] = {"balanced": 128, "aggressive": 64}  # of 0.02 s each
_BUCKET: Final = 64  # positions; clips of nearly the same length share a batch


def n_positions(n_frames: int, encoder: Encoder, n_ctx: int) -> int:
    """How many positions of 0.02 s are computed for so many frames of sound.

    Args:
        n_ctx: The model's own number.
    """
    if encoder == "exact":
        return n_ctx
    wanted = -(-n_frames // FRAMES_PER_POSITION) + _MARGIN[encoder]
    return min(n_ctx, -(-wanted // _BUCKET) * _BUCKET)


def encode(model: Whisper, mel: Tensor, check: Callable[[], None]) -> Tensor:
    """The features of windows of sound.

    Args:
        mel: In the type of the weights, of shape (n_batch, n_mels, 2 n), n at most the
            model's number of positions.
        check: Called some times in each layer; what it raises ends the call.

    Returns:
        Features of shape (n_batch, n, n_state).
    """
    encoder = model.encoder
    x = F.gelu(encoder.conv1(mel))
    x = F.gelu(encoder.conv2(x)).permute(0, 2, 1)
    x = (x + encoder.positional_embedding[: x.shape[1]]).to(x.dtype)
    for block in encoder.blocks:
        check()
        x = x + block.attn(block.attn_ln(x))[0]
        check()
        x = x + block.mlp(block.mlp_ln(x))
    return encoder.ln_post(x)
