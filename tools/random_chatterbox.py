"""Chatterbox with random weights: the real classes and files, which say nothing but noise.

What it costs to speak with them is what it costs with those that were trained; and small ones,
of fewer and narrower layers, are what most tests need.

    python -m tools.random_chatterbox out/chatterbox --kind turbo
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import librosa
import torch
from chatterbox.models.s3gen import S3Gen
from chatterbox.models.s3gen.configs import CFM_PARAMS
from chatterbox.models.s3gen.decoder import ConditionalDecoder
from chatterbox.models.s3gen.f0_predictor import ConvRNNF0Predictor
from chatterbox.models.s3gen.flow import CausalMaskedDiffWithXvec
from chatterbox.models.s3gen.flow_matching import CausalConditionalCFM
from chatterbox.models.s3gen.hifigan import HiFTGenerator
from chatterbox.models.s3gen.transformer.upsample_encoder import UpsampleConformerEncoder
from chatterbox.models.s3gen.utils.mel import mel_spectrogram
from chatterbox.models.s3gen.xvector import CAMPPlus
from chatterbox.models.s3tokenizer import S3_SR, S3Tokenizer
from chatterbox.models.t3 import T3
from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS
from chatterbox.models.t3.modules.cond_enc import T3Cond
from chatterbox.models.voice_encoder import VoiceEncoder
from s3tokenizer.model_v2 import ModelConfig, S3TokenizerV2
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch import nn
from transformers import PreTrainedTokenizerFast

from realtime_stts.engines.chatterbox._checkpoint import hp_of

__all__ = [
    "KINDS",
    "conditioning",
    "random_voice",
    "real_s3gen",
    "small",
    "small_s3gen",
    "small_t3",
    "text_tokens",
    "write",
]

KINDS: Final = ("standard", "turbo", "multilingual")

_SMALL_WORDS: Final = 300


# -- the files ---------------------------------------------------------------------------


def write(folder: Path, kind: str, end: int = 100) -> Path:
    """A checkpoint as Resemble AI publishes them, of full size, or small inside of `small`.

    Args:
        end: After how many tokens, of 25 a second, a sentence ends.
    """
    if kind not in KINDS:
        raise ValueError(f"a kind is one of {', '.join(KINDS)}, not {kind!r}")
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        t3 = T3(hp_of(kind))
        _livelier(t3, end)
        encoder = VoiceEncoder()
    s3gen = _made_s3gen(meanflow=kind == "turbo")
    voice = {"t3": vars(conditioning(t3)), "gen": random_voice(250)}
    torch.save(voice, folder / "conds.pt")
    if kind == "multilingual":
        _save(t3, folder / "t3_mtl23ls_v2.safetensors")
        torch.save(s3gen.state_dict(), folder / "s3gen.pt")
        torch.save(encoder.state_dict(), folder / "ve.pt")
        _tokenizer(["[en]", "[de]"]).save(str(folder / "grapheme_mtl_merged_expanded_v1.json"))
        (folder / "Cangjie5_TC.json").write_text("[]")
        return folder
    _save(encoder, folder / "ve.safetensors")
    if kind == "turbo":
        _save(t3, folder / "t3_turbo_v1.safetensors")
        _save(s3gen, folder / "s3gen_meanflow.safetensors")
        PreTrainedTokenizerFast(tokenizer_object=_tokenizer()).save_pretrained(folder)
    else:
        _save(t3, folder / "t3_cfg.safetensors")
        _save(s3gen, folder / "s3gen.safetensors")
        _tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _save(module: nn.Module, file: Path) -> None:
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, file)


def _tokenizer(more: list[str] | None = None) -> Tokenizer:
    """A token for each letter."""
    letters = [chr(code) for code in range(33, 127)]
    words = ["[STOP]", "[UNK]", "[SPACE]", *letters, *(more or ())]
    vocabulary = {word: number for number, word in enumerate(words)}
    vocabulary |= {f"<{number}>": number for number in range(len(vocabulary), 255)}
    vocabulary["[START]"] = 255
    tokenizer = Tokenizer(BPE(vocabulary, [], unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[START]", "[STOP]", "[UNK]", "[SPACE]", *(more or ())])
    return tokenizer


_MAKERS: Final = (
    "chatterbox.tts",
    "chatterbox.tts_turbo",
    "chatterbox.mtl_tts",
    "realtime_stts.engines.chatterbox._checkpoint",
)


@contextmanager
def small(kind: str) -> Iterator[None]:
    """Inside, the package's own loading makes small models, of files that are as small."""
    with ExitStack() as patches:
        patches.enter_context(patch.dict(LLAMA_CONFIGS, _small_configs(kind)))
        for module in _MAKERS:
            patches.enter_context(patch(f"{module}.S3Gen", _small_copy))
        patches.enter_context(patch(f"{__name__}._made_s3gen", _small_copy))
        patches.enter_context(patch(f"{_MAKERS[-1]}._TURBO_WORDS", _SMALL_WORDS))
        yield


def _made_s3gen(*, meanflow: bool) -> S3Gen:
    return real_s3gen(meanflow=meanflow)


def _small_copy(meanflow: bool = False) -> S3Gen:
    return deepcopy(small_s3gen(meanflow=meanflow))


# -- T3 ----------------------------------------------------------------------------------


def _small_configs(kind: str) -> dict[str, dict[str, Any]]:
    # A multilingual one's alignment is read off layers up to 13.
    llama = {"num_hidden_layers": 14 if kind == "multilingual" else 3, "intermediate_size": 64}
    gpt2 = {"n_layer": 3, "n_inner": 128, "n_positions": 2048, "vocab_size": _SMALL_WORDS}
    return {
        "Llama_520M": {**LLAMA_CONFIGS["Llama_520M"], **llama},
        "GPT2_medium": {**LLAMA_CONFIGS["GPT2_medium"], **gpt2},
    }


def small_t3(kind: str, seed: int = 0) -> T3:
    """T3 with a few narrow layers."""
    torch.manual_seed(seed)
    with patch.dict(LLAMA_CONFIGS, _small_configs(kind)):
        t3 = T3(hp_of(kind)).eval().requires_grad_(False)
    _livelier(t3, 100)
    return t3


def _livelier(t3: T3, end: int) -> None:
    """As drawn, all tokens are nearly as likely as each other, and nothing ends a sentence."""
    with torch.no_grad():
        t3.speech_head.weight *= 8.0
        ending = torch.randn(t3.dim)
        ending /= ending.norm()
        t3.speech_head.weight[t3.hp.stop_speech_token] = 1.5 * ending
        if t3.is_gpt:  # whose places count from the voice's beginning
            t3.tfmr.wpe.weight[t3.hp.speech_cond_prompt_len + 72 + end :] += 100.0 * ending
        else:
            t3.speech_pos_emb.emb.weight[end:] += 100.0 * ending


def conditioning(t3: T3, seed: int = 0) -> T3Cond:
    """A voice."""
    chance = torch.Generator().manual_seed(seed)
    n = t3.hp.speech_cond_prompt_len
    prompt = torch.randint(0, 6561, (1, n), generator=chance)
    speaker = torch.rand(1, 256, generator=chance)
    return T3Cond(
        speaker_emb=speaker / speaker.norm(),
        cond_prompt_speech_tokens=prompt,
        emotion_adv=0.5 * torch.ones(1, 1, 1),
    )


def text_tokens(t3: T3, n: int, seed: int = 0) -> torch.Tensor:
    """``n`` of them, int64 of shape (n + 2,), with those of start and end, or (n,) for turbo."""
    chance = torch.Generator().manual_seed(seed)
    words = torch.randint(1, 250, (n,), generator=chance)
    if t3.is_gpt:
        return words
    hp: Any = t3.hp
    ends = torch.tensor([hp.start_text_token]), torch.tensor([hp.stop_text_token])
    return torch.cat([ends[0], words, ends[1]])


# -- S3Gen --------------------------------------------------------------------------------


@cache
def small_s3gen(*, meanflow: bool = False) -> S3Gen:
    """S3Gen with a layer where it has several, and narrow ones; 10 M weights, made in a second.

    It is shared: whoever changes it takes a copy.
    """
    with _beginning():
        s3gen = S3Gen.__new__(S3Gen)
        nn.Module.__init__(s3gen)
        s3gen.tokenizer = _small_tokenizer()
        s3gen.speaker_encoder = CAMPPlus(memory_efficient=False)
        s3gen.meanflow = meanflow
        s3gen.mel_extractor, s3gen.resamplers = mel_spectrogram, {}
        encoder = UpsampleConformerEncoder(linear_units=64, num_blocks=2, **_AS_SHIPPED)
        encoder.up_encoders = encoder.up_encoders[:1]
        estimator = ConditionalDecoder(
            channels=[64],
            attention_head_dim=16,
            n_blocks=2,
            num_mid_blocks=1,
            num_heads=2,
            meanflow=meanflow,
        )
        if meanflow:  # which begins by ignoring where a step ends
            estimator.time_embed_mixer.weight.data += 0.02 * torch.randn(256, 512)
        cfm = CausalConditionalCFM(cfm_params=CFM_PARAMS, estimator=estimator)
        s3gen.flow = CausalMaskedDiffWithXvec(encoder=encoder, decoder=cfm)
        pitch = ConvRNNF0Predictor(cond_channels=64)
        s3gen.mel2wav = HiFTGenerator(base_channels=32, f0_predictor=pitch, **_HIFT)
        _liven(s3gen.mel2wav)
        _fade(s3gen)
    return s3gen.eval().requires_grad_(False)


@cache
def real_s3gen(*, meanflow: bool = False) -> S3Gen:
    """S3Gen of its full size: 264 M weights, made in some ten seconds."""
    with _beginning():
        s3gen = S3Gen(meanflow=meanflow)
        _liven(s3gen.mel2wav)
    return s3gen.eval().requires_grad_(False)


def random_voice(n_tokens: int, seed: int = 0) -> dict[str, Any]:
    """What `S3Gen.embed_ref` would return for a reference of so many tokens."""
    dice = torch.Generator().manual_seed(seed)
    return {
        "prompt_token": torch.randint(0, 6561, (1, n_tokens), generator=dice),
        "prompt_token_len": torch.tensor([n_tokens]),
        "prompt_feat": torch.randn(1, 2 * n_tokens, 80, generator=dice),
        "prompt_feat_len": None,
        "embedding": torch.randn(1, 192, generator=dice),
    }


@contextmanager
def _beginning() -> Iterator[None]:
    """The same weights every time; diffusers tells of its plans for every layer."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(1)
        yield


_AS_SHIPPED: dict[str, Any] = {
    "output_size": 512,
    "attention_heads": 8,
    "normalize_before": True,
    "input_layer": "linear",
    "pos_enc_layer_type": "rel_pos_espnet",
    "selfattention_layer_type": "rel_selfattn",
    "input_size": 512,
    "use_cnn_module": False,
    "macaron_style": False,
}

_HIFT: dict[str, Any] = {
    "sampling_rate": 24_000,
    "upsample_rates": [8, 5, 3],
    "upsample_kernel_sizes": [16, 11, 7],
    "source_resblock_kernel_sizes": [7, 7, 11],
    "source_resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
}


def _small_tokenizer() -> S3Tokenizer:
    """S3Tokenizer ignores the sizes that it is given, so it is put together by hand."""
    tokenizer = S3Tokenizer.__new__(S3Tokenizer)
    config = ModelConfig(n_audio_state=128, n_audio_head=2, n_audio_layer=1)
    S3TokenizerV2.__init__(tokenizer, "speech_tokenizer_v2_25hz", config)
    tokenizer.n_fft = 400
    filters = librosa.filters.mel(sr=S3_SR, n_fft=400, n_mels=config.n_mels)
    tokenizer.register_buffer("_mel_filters", torch.from_numpy(filters))
    tokenizer.register_buffer("window", torch.hann_window(400))
    return tokenizer


def _liven(hift: HiFTGenerator) -> None:
    """Let the sound depend on the mel and the source, which in a new network it hardly does.

    Much more than this, and rounding alone would make another sound. The pitch wavers around
    100 Hz, and some frames have none.
    """
    for part in hift.ups, hift.source_resblocks, hift.resblocks:
        for module in part.modules():
            if hasattr(module, "parametrizations"):
                module.parametrizations.weight.original0.data *= 1.3
    pitch = hift.f0_predictor.classifier
    pitch.weight.data *= 4000
    pitch.bias.data -= 130


def _fade(s3gen: S3Gen) -> None:
    n = 480
    rise = (torch.cos(torch.linspace(torch.pi, 0, n)) + 1) / 2
    s3gen.register_buffer("trim_fade", torch.cat([torch.zeros(n), rise]), persistent=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=KINDS, default="standard")
    options = parser.parse_args()
    print(f"{write(options.folder, options.kind)}: 3 GB of noise")


if __name__ == "__main__":
    main()
