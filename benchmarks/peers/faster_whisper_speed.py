"""faster-whisper on the weights of openai-whisper: a process that answers lines of JSON.

Two native engines in one process slow each other, so this one runs in an environment of its
own, and `FasterWhisper` in faster_whisper_client.py, which starts it, takes rounds of it in
turn with rounds of its own.

    python -m benchmarks.peers.faster_whisper_speed FOLDER --compute-type int8

The process says ``{"ready": true}`` and then answers each line that asks for a round:

    {"case": "encode", "clip": "clip.npy"} -> {"seconds": 0.61}
    {"case": "transcribe", "clip": "clip.npy", "tokens": 40, "beam": 1, "batch": 2}
        -> {"seconds": 1.27, "tokens": [[1029, ...], [1029, ...]]}

A clip is float32 at 16 kHz, shape (n,), of 30 s at most; a batch is so many times the same.
Seconds are those of the work, reading the clip not included. Each row has exactly as many
tokens as were asked for, and all of them are text: the special tokens are suppressed, the
end of the text and the times among them. No temperature but 0 is tried. What cannot be done
so is answered with ``{"error": "..."}``.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from itertools import pairwise, product
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import Any

import numpy as np
from ctranslate2.converters import utils
from ctranslate2.specs import WhisperSpec, common_spec
from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.audio import pad_or_trim
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

__all__ = ["Speed", "convert"]

_RATE = 16_000  # Hz

Weights = dict[str, Any]  # arrays by the names that openai-whisper gives them


# -- the weights, as CTranslate2 reads them ----------------------------------------------


def convert(exported: Path, to: Path) -> None:
    """Make the folder that `WhisperModel` reads, whole or not at all.

    Args:
        exported: The arrays of a checkpoint in float32, and a ``header`` of JSON: ``dims``,
            ``tokens`` in base64, and ``n_text``, how many of them are no special ones.
        to: Not there yet.
    """
    with np.load(exported) as file:
        weights: Weights = dict(file)
    header = json.loads(str(weights.pop("header")))
    dims, n_text = header["dims"], header["n_text"]
    tokens = [base64.b64decode(token) for token in header["tokens"]]
    tokenizer = _tokenizer(tokens, n_text)

    spec = _spec(weights, dims)
    spec.register_vocabulary([tokenizer.id_to_token(token) for token in range(len(tokens))])
    # CTranslate2 wants some; only the times of words depend on which.
    layers = range(dims["n_text_layer"] // 2, dims["n_text_layer"])
    spec.config.alignment_heads = [*product(layers, range(dims["n_text_head"]))]
    spec.config.lang_ids = [*range(n_text + 2, tokenizer.token_to_id("<|translate|>"))]
    spec.config.suppress_ids = spec.config.suppress_ids_begin = []
    spec.validate()
    spec.optimize()

    to.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(mkdtemp(dir=to.parent))
    spec.save(str(unfinished))
    tokenizer.save(str(unfinished / "tokenizer.json"))
    features = json.dumps({"feature_size": dims["n_mels"]})
    (unfinished / "preprocessor_config.json").write_text(features, encoding="utf-8")
    unfinished.replace(to)


def _spec(weights: Weights, dims: dict[str, int]) -> WhisperSpec:
    spec = WhisperSpec(
        dims["n_audio_layer"], dims["n_audio_head"], dims["n_text_layer"], dims["n_text_head"]
    )
    encoder, decoder = spec.encoder, spec.decoder
    for name, conv in (("conv1", encoder.conv1), ("conv2", encoder.conv2)):
        conv.weight, conv.bias = weights[f"encoder.{name}.weight"], weights[f"encoder.{name}.bias"]
    encoder.position_encodings.encodings = weights["encoder.positional_embedding"]
    _fill_norm(encoder.layer_norm, weights, "encoder.ln_post")
    for n, layer in enumerate(encoder.layer):
        _fill_block(layer, weights, f"encoder.blocks.{n}")

    decoder.embeddings.weight = weights["decoder.token_embedding.weight"]
    decoder.projection.weight = weights["decoder.token_embedding.weight"]
    decoder.position_encodings.encodings = weights["decoder.positional_embedding"]
    _fill_norm(decoder.layer_norm, weights, "decoder.ln")
    for n, layer in enumerate(decoder.layer):
        block = f"decoder.blocks.{n}"
        _fill_block(layer, weights, block)
        query, key, value, out = _attention(weights, f"{block}.cross_attn")
        utils.fuse_linear(layer.attention.linear[0], [query])
        utils.fuse_linear(layer.attention.linear[1], [key, value])
        utils.fuse_linear(layer.attention.linear[2], [out])
        _fill_norm(layer.attention.layer_norm, weights, f"{block}.cross_attn_ln")
    return spec


def _fill_block(layer: Any, weights: Weights, block: str) -> None:
    """What a layer of the encoder and one of the decoder have in common."""
    query, key, value, out = _attention(weights, f"{block}.attn")
    utils.fuse_linear(layer.self_attention.linear[0], [query, key, value])
    utils.fuse_linear(layer.self_attention.linear[1], [out])
    _fill_norm(layer.self_attention.layer_norm, weights, f"{block}.attn_ln")
    utils.fuse_linear(layer.ffn.linear_0, [_linear(weights, f"{block}.mlp.0")])
    utils.fuse_linear(layer.ffn.linear_1, [_linear(weights, f"{block}.mlp.2")])
    _fill_norm(layer.ffn.layer_norm, weights, f"{block}.mlp_ln")


def _attention(weights: Weights, name: str) -> list[common_spec.LinearSpec]:
    return [_linear(weights, f"{name}.{part}") for part in ("query", "key", "value", "out")]


def _linear(weights: Weights, name: str) -> common_spec.LinearSpec:
    layer = common_spec.LinearSpec()
    layer.weight = weights[f"{name}.weight"]
    if f"{name}.bias" in weights:  # the keys have none
        layer.bias = weights[f"{name}.bias"]
    return layer


def _fill_norm(layer: common_spec.LayerNormSpec, weights: Weights, name: str) -> None:
    layer.gamma, layer.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


# -- the tokens, as faster-whisper reads them --------------------------------------------


def _tokenizer(tokens: list[bytes], n_text: int) -> Tokenizer:
    """The tokenizer of those tokens, of which the first so many are in the order of merging."""
    ranks = {token: rank for rank, token in enumerate(tokens[:n_text])}
    letters = _letters()

    def spelt(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = [
        tuple(map(spelt, _merged(token, ranks))) for token in tokens[:n_text] if len(token) > 1
    ]
    vocabulary = {spelt(token): rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token.decode(), special=True) for token in tokens[n_text:]])
    if tokenizer.get_vocab_size() != len(tokens):
        raise ValueError(f"{len(tokens)} tokens became {tokenizer.get_vocab_size()}")
    return tokenizer


def _merged(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The two parts of a token: what the merges before its own make of its bytes."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        first = min(range(len(pairs)), key=pairs.__getitem__)
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    return parts


def _letters() -> list[str]:
    """How GPT-2 writes each byte: as its Latin-1 letter, or if that is none, from U+0100 on."""
    plain = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


# -- the rounds --------------------------------------------------------------------------


class Speed:
    """A model of faster-whisper on the CPU, and how long it takes."""

    def __init__(self, folder: Path, compute_type: str, n_threads: int) -> None:
        self._model = WhisperModel(
            str(folder), device="cpu", compute_type=compute_type, cpu_threads=n_threads
        )
        self._batched = BatchedInferencePipeline(self._model)
        tokenizer = self._model.hf_tokenizer
        n_text = tokenizer.token_to_id("<|endoftext|>")
        self._special = [*range(n_text, tokenizer.get_vocab_size())]
        self._n_prompt = 4 if self._model.model.is_multilingual else 2  # tokens

    def answer(self, line: str) -> dict[str, object]:
        try:
            match json.loads(line):
                case {"case": "encode", "clip": file}:
                    return {"seconds": self.encode(np.load(file))}
                case {"case": "transcribe", "clip": file, "tokens": n, "beam": k, "batch": size}:
                    seconds, tokens = self.transcribe(np.load(file), n, k, size)
                    return {"seconds": seconds, "tokens": tokens}
                case question:
                    return {"error": f"no such round: {question}"}
        except (ValueError, RuntimeError, OSError) as exc:
            return {"error": str(exc)}

    def encode(self, clip: np.ndarray) -> float:
        """The encoder alone, over its full window."""
        features = pad_or_trim(self._model.feature_extractor(clip)[..., :-1])
        start = perf_counter()
        self._model.encode(features)
        return perf_counter() - start

    def transcribe(
        self, clip: np.ndarray, n_tokens: int, beam: int, batch: int
    ) -> tuple[float, list[list[int]]]:
        """All that a caller waits for: features, encoder, decoder, text.

        Raises:
            ValueError: Not so many tokens came of it.
        """
        options: dict[str, Any] = {
            "language": "en",
            "beam_size": beam,
            "temperature": 0.0,
            "compression_ratio_threshold": None,
            "log_prob_threshold": None,
            "no_speech_threshold": None,
            "condition_on_previous_text": False,
            "without_timestamps": True,
            "suppress_blank": False,
            "suppress_tokens": [*self._special],  # a list that it would change
            # CTranslate2 decodes half as many tokens as prompt and these are together.
            "max_new_tokens": 2 * n_tokens - self._n_prompt,
        }
        start = perf_counter()
        if batch == 1:
            segments, _ = self._model.transcribe(clip, **options)
        else:
            length = clip.size / _RATE
            segments, _ = self._batched.transcribe(
                np.tile(clip, batch),
                batch_size=batch,
                clip_timestamps=[
                    {"start": n * length, "end": (n + 1) * length} for n in range(batch)
                ],
                **options,
            )
        tokens = [segment.tokens for segment in segments]
        seconds = perf_counter() - start
        if [len(row) for row in tokens] != [n_tokens] * batch:
            raise ValueError(
                f"{batch} x {n_tokens} tokens were asked for, not {[*map(len, tokens)]}"
            )
        return seconds, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="the converted model")
    parser.add_argument("--convert", type=Path, help="the exported weights to make it of first")
    parser.add_argument("--compute-type", choices=["float32", "int8"], default="float32")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(answer: dict[str, object]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    if options.convert:
        convert(options.convert, options.folder)
    speed = Speed(options.folder, options.compute_type, options.threads)
    say({"ready": True})
    for line in sys.stdin:
        say(speed.answer(line))


if __name__ == "__main__":
    main()
