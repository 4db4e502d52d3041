"""A small Whisper checkpoint, stored smaller: what the tests hear with.

A checkpoint of the real class holds a row for each of some 50,000 tokens, of which a model
of a few words uses forty and the 1,501 times. Stored are the used rows, in half precision;
written out again, the others are zeros, as they were in training, and the file is what
`whisper.load_model` reads.

    python -m tools.whisper_fixture out/tiny-words.pt

It can also be made as large as OpenAI's models, to measure what those cost with text that
means something: see `widened`.

    python -m tools.whisper_fixture out/base-words.pt --shape base
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["SHAPES", "STORED", "expand", "store", "widened"]

# OpenAI's: layers of the encoder, of the decoder, and how many times the fixture's width.
# (Its mel has 80 bands, where that of turbo and large-v3 has 128.)
SHAPES = {
    "tiny": (4, 4, 3),
    "base": (6, 6, 4),
    "small": (12, 12, 6),
    "turbo": (32, 4, 10),
    "large-v2": (32, 32, 10),
}

STORED = Path(__file__).parents[1] / "tests" / "fixtures" / "whisper_tiny_words" / "checkpoint.npz"

_EMBEDDING = "decoder.token_embedding.weight"
_SINUSOIDS = "encoder.positional_embedding"  # always the same


def store(checkpoint: dict[str, Any], used: list[int], file: Path) -> None:
    """Keep a checkpoint as `expand` reads it.

    Args:
        checkpoint: ``dims`` and ``model_state_dict``, as whisper saves them.
        used: The tokens whose rows are kept.
    """
    arrays = {
        name: tensor.detach().cpu().numpy().astype(np.float16)
        for name, tensor in checkpoint["model_state_dict"].items()
        if name not in (_SINUSOIDS, _EMBEDDING)
    }
    embedding = checkpoint["model_state_dict"][_EMBEDDING].detach().cpu().numpy()
    arrays["used rows"] = embedding[used].astype(np.float16)
    arrays["used"] = np.array(used, np.int32)
    arrays["dims"] = np.array([*checkpoint["dims"].values()], np.int32)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        np.savez_compressed(opened, **arrays)


def expand(to: Path, file: Path = STORED) -> Path:
    """Write the stored checkpoint as a file for `whisper.load_model`; return ``to``."""
    import torch
    from whisper.model import ModelDimensions, sinusoids

    with np.load(file) as stored:
        arrays = dict(stored)
    names = ModelDimensions.__dataclass_fields__
    dims = dict(zip(names, arrays.pop("dims").tolist(), strict=True))
    used, rows = arrays.pop("used"), arrays.pop("used rows")
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    embedding = torch.zeros(dims["n_vocab"], rows.shape[1], dtype=torch.float16)
    embedding[torch.from_numpy(used.astype(np.int64))] = torch.from_numpy(rows)
    state[_EMBEDDING] = embedding
    state[_SINUSOIDS] = sinusoids(dims["n_audio_ctx"], dims["n_audio_state"])
    to.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": dims, "model_state_dict": state}, to)
    return to


def widened(checkpoint: dict[str, Any], shape: str) -> dict[str, Any]:
    """The same function as a model of another shape: the same text at that model's cost.

    Every feature becomes several alike, which the norms do not notice, and each product is
    divided by their number (as in Net2Net, Chen, Goodfellow and Shlens 2016,
    https://arxiv.org/abs/1511.05641). The layers that are missing come first, and add nothing.

    Args:
        checkpoint: ``dims`` and ``model_state_dict`` of the fixture.
        shape: One of `SHAPES`.
    """
    n_encoder, n_decoder, times = SHAPES[shape]
    dims = dict(checkpoint["dims"])
    missing = {
        "encoder": n_encoder - dims["n_audio_layer"],
        "decoder": n_decoder - dims["n_text_layer"],
    }
    for name in ("n_audio_state", "n_audio_head", "n_text_state", "n_text_head"):
        dims[name] *= times
    dims["n_audio_layer"], dims["n_text_layer"] = n_encoder, n_decoder
    state = {}
    for name, tensor in checkpoint["model_state_dict"].items():
        wide = _tiled(name, tensor.float(), times)
        layer = re.fullmatch(r"(encoder|decoder)\.blocks\.(\d+)\.(.*)", name)
        if layer is None:
            state[name] = wide
            continue
        part, number, rest = layer.groups()
        state[f"{part}.blocks.{int(number) + missing[part]}.{rest}"] = wide
        if number == "0":
            silent = re.search(r"(attn\.out|mlp\.2)\.(weight|bias)$", rest) is not None
            for i in range(missing[part]):
                state[f"{part}.blocks.{i}.{rest}"] = wide * 0.0 if silent else wide
    return {"dims": dims, "model_state_dict": state}


def _tiled(name: str, tensor: Any, times: int) -> Any:
    if name == _EMBEDDING or name.endswith("positional_embedding"):
        return tensor.repeat(1, times)
    if name.startswith("decoder.ln."):
        return tensor.repeat(times) / times  # the logits are products with the embedding
    if tensor.ndim == 1:
        return tensor.repeat(times)
    if name == "encoder.conv1.weight":
        return tensor.repeat(times, 1, 1)  # the mel stays as it is
    return tensor.repeat(times, times, *[1] * (tensor.ndim - 2)) / times


def _main() -> None:
    parser = argparse.ArgumentParser(description="Write the fixture as a Whisper checkpoint.")
    parser.add_argument("to", type=Path)
    parser.add_argument(
        "--shape", choices=SHAPES, help="of a model of OpenAI's; its own if not given"
    )
    args = parser.parse_args()
    expand(args.to)
    if args.shape:
        import torch

        torch.save(widened(torch.load(args.to, weights_only=True), args.shape), args.to)
    print(args.to)


if __name__ == "__main__":
    _main()
