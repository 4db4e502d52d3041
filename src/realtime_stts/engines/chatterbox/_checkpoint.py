"""Which files a model's name means, and how they become a model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import torch
from chatterbox.models.s3gen import S3Gen
from chatterbox.models.t3 import T3
from chatterbox.models.t3.modules.t3_config import T3Config
from chatterbox.models.tokenizers import EnTokenizer, MTLTokenizer
from chatterbox.models.tokenizers.tokenizer import ChineseCangjieConverter
from chatterbox.models.voice_encoder import VoiceEncoder
from chatterbox.tts import Conditionals
from httpx import HTTPError
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import AutoTokenizer

from ...errors import EngineLoadError, EngineMemoryError, RealtimeSTTSError
from .._device import is_out_of_memory
from .._download import Progress
from ._settings import Kind

__all__ = ["Checkpoint", "available_models", "hp_of", "load", "resolve"]

_ENGINE: Final = "chatterbox"
_TURBO_WORDS: Final = 50276  # of GPT-2, and the cues it was taught


@dataclass(frozen=True, slots=True)
class _Release:
    """A model as Resemble AI published it."""

    repository: str
    files: tuple[str, ...]  # of T3, which tells the kind; the voice encoder; S3Gen; and others
    patterns: tuple[str, ...]  # of files that it may lack


_RELEASES: Final[dict[Kind, _Release]] = {
    "standard": _Release(
        "ResembleAI/chatterbox",
        ("t3_cfg.safetensors", "ve.safetensors", "s3gen.safetensors", "tokenizer.json"),
        ("conds.pt",),
    ),
    "turbo": _Release(
        "ResembleAI/chatterbox-turbo",
        ("t3_turbo_v1.safetensors", "ve.safetensors", "s3gen_meanflow.safetensors"),
        ("*.json", "*.txt", "*.model", "conds.pt"),
    ),
    "multilingual": _Release(
        "ResembleAI/chatterbox",
        ("t3_mtl23ls_v2.safetensors", "ve.pt", "s3gen.pt", "grapheme_mtl_merged_expanded_v1.json"),
        ("conds.pt", "Cangjie5_TC.json"),
    ),
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files, there or still to be downloaded.

    Attributes:
        name: One of `available_models`, or the folder as it was given.
        folder: Of the caller's own; None for the cache of huggingface_hub.
        cache: Where that is, if not where it is by default.
    """

    name: str
    kind: Kind
    folder: Path | None
    cache: Path | None

    @property
    def is_present(self) -> bool:
        """Whether all files are in their place; not whether they are whole."""
        return self._found() is not None

    def fetch(
        self, progress: Progress | None = None, check: Callable[[], None] = lambda: None
    ) -> Path:
        """The folder, with all files: downloaded if one is missing; blocks.

        Args:
            progress: Called in this thread; not at all if nothing is downloaded.
            check: Called as bytes come; what it raises ends the download.

        Raises:
            EngineLoadError: They are not there, and cannot be downloaded.
        """
        found = self._found()
        if found is not None:
            return found
        release = _RELEASES[self.kind]
        if self.folder is not None:
            missing = [file for file in release.files if not (self.folder / file).is_file()]
            raise EngineLoadError(_ENGINE, f"there is no {', no '.join(missing)} in {self.folder}")
        try:
            return self._download(release, progress, check)
        except (OSError, HTTPError, HfHubHTTPError, LocalEntryNotFoundError) as exc:
            raise EngineLoadError(
                _ENGINE,
                f"{release.repository} cannot be downloaded ({_reason(exc)}). Put its files "
                f"({', '.join(release.files)}, conds.pt) into a folder and pass that: "
                "chatterbox:/path/to/folder, or run "
                f"`realtime-stts download chatterbox:{self.name}` where there is a network",
            ) from exc

    def _found(self) -> Path | None:
        release = _RELEASES[self.kind]
        folder = self.folder
        if folder is None:
            try:
                folder = self._local(release, release.files[0])
            except LocalEntryNotFoundError:
                return None
        return folder if all((folder / file).is_file() for file in release.files) else None

    def _local(self, release: _Release, file: str) -> Path:
        return Path(
            hf_hub_download(release.repository, file, cache_dir=self.cache, local_files_only=True)
        ).parent

    def _download(
        self, release: _Release, progress: Progress | None, check: Callable[[], None]
    ) -> Path:
        info = HfApi().model_info(release.repository, files_metadata=True)
        files = {
            sibling.rfilename: sibling.size or 0
            for sibling in info.siblings or ()
            if sibling.rfilename in release.files
            or any(Path(sibling.rfilename).match(pattern) for pattern in release.patterns)
        }
        done = 0
        for file, size in files.items():
            bar = _bar(done, sum(files.values()), progress, check)
            hf_hub_download(release.repository, file, cache_dir=self.cache, tqdm_class=bar)
            done += size
        return self._local(release, release.files[0])


def _bar(done: int, total: int, progress: Progress | None, check: Callable[[], None]) -> type[Any]:
    """What huggingface_hub shows a download with, which shows nothing and tells ``progress``."""
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[type-arg, misc, unused-ignore]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})
            self._n_bytes = int(kwargs.get("initial") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            check()
            self._n_bytes += int(n or 0)
            if progress is not None:
                progress(done + self._n_bytes, total)
            return None

    return Bar


def _reason(error: BaseException) -> str:
    """The innermost words: the outer ones speak of settings of huggingface_hub."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error).partition("\n")[0] or type(error).__name__


def available_models() -> list[str]:
    """The models there are to download."""
    return [*_RELEASES]


def resolve(
    model: str = "standard",
    model_path: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Checkpoint:
    """The checkpoint that is meant; touches no network.

    Args:
        model: One of `available_models`, or a folder that has a model's files.
        model_path: Such a folder; wins over ``model``.
        cache: Where downloads are kept; by default where huggingface_hub keeps them.

    Raises:
        ValueError: There is no model of that name, and no such folder.
    """
    if model_path is None and model in _RELEASES:
        root = None if cache is None else Path(cache).expanduser()
        return Checkpoint(model, model, None, root)
    folder = Path(model if model_path is None else model_path).expanduser()
    for kind, release in _RELEASES.items():
        if (folder / release.files[0]).is_file():
            return Checkpoint(str(folder), kind, folder, None)
    known = ", ".join(_RELEASES)
    if not folder.is_dir():
        raise ValueError(f"no Chatterbox model, and no folder, is called {str(folder)!r}; {known}")
    weights = ", ".join(release.files[0] for release in _RELEASES.values())
    raise ValueError(f"the folder {folder} holds no Chatterbox model: it has none of {weights}")


class _NoRandomWeights(TorchFunctionMode):
    """Leaves weights as they are allocated: the checkpoint's come at once.

    Drawing 800 million of them takes most of the time that loading does.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWS or getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


_DRAWS: Final = {torch.Tensor.normal_, torch.Tensor.uniform_}


def load(checkpoint: Checkpoint, device: torch.device) -> Any:
    """What the package's classes make of a model's files, on that device; blocks.

    Returns:
        What its own ``from_local`` does, but for the watermark, which is not the model's:
        ``t3``, ``s3gen``, ``ve``, ``tokenizer``, ``device`` and ``conds``.

    Raises:
        EngineLoadError: A file cannot be read, or holds no such model.
        EngineMemoryError: It does not fit into the memory.
    """
    folder = checkpoint.fetch()
    release = _RELEASES[checkpoint.kind]
    try:
        with torch.random.fork_rng(devices=[]), _NoRandomWeights():
            parts = {"t3": T3(hp_of(checkpoint.kind)), "ve": VoiceEncoder()}
            parts["s3gen"] = S3Gen(meanflow=checkpoint.kind == "turbo")
        for (name, module), file in zip(parts.items(), release.files, strict=False):
            _fill(module, _state(folder / file), strict=name != "s3gen")
            # By way of the CPU, so that the device never holds two of a tensor.
            module.requires_grad_(False).eval().to(device)
        if checkpoint.kind == "turbo":
            del parts["t3"].tfmr.wte  # of no use: what it reads is embedded already
        own_voice = folder / "conds.pt"
        return SimpleNamespace(
            **parts,
            tokenizer=_tokenizer(checkpoint.kind, folder),
            device=device,
            conds=Conditionals.load(own_voice, "cpu").to(device) if own_voice.is_file() else None,
        )
    except RealtimeSTTSError:
        raise
    except Exception as exc:
        if is_out_of_memory(exc):
            raise EngineMemoryError(
                _ENGINE,
                f"{checkpoint.name} does not fit into the memory of {device}; "
                "choose a smaller model, or another device",
            ) from exc
        raise EngineLoadError(
            _ENGINE,
            f"{folder} holds no {checkpoint.kind} Chatterbox model, or a damaged one: "
            f"{type(exc).__name__}: {str(exc).partition(chr(10))[0]}",
        ) from exc


def hp_of(kind: Kind) -> T3Config:
    """T3's, as each of the package's own ``from_local`` sets them."""
    if kind == "standard":
        return T3Config.english_only()
    if kind == "multilingual":
        return T3Config.multilingual()
    hp = T3Config(text_tokens_dict_size=_TURBO_WORDS)
    hp.llama_config_name = "GPT2_medium"
    hp.speech_tokens_dict_size = 6563
    hp.input_pos_emb = None
    hp.speech_cond_prompt_len = 375
    hp.use_perceiver_resampler = hp.emotion_adv = False
    return hp


def _state(file: Path) -> dict[str, torch.Tensor]:
    if file.suffix == ".pt":
        loaded: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    else:
        loaded = load_file(file)
    # Some files of T3 hold it as it was trained.
    state: dict[str, torch.Tensor] = loaded["model"][0] if "model" in loaded else loaded
    return state


def _fill(module: nn.Module, state: dict[str, torch.Tensor], *, strict: bool) -> None:
    """Give a module its weights.

    Args:
        strict: Whether it may miss nothing; else it may miss what it computes itself.
    """
    found = module.load_state_dict(state, strict=strict, assign=True)
    computed = {*getattr(module, "ignore_state_dict_missing", ())}
    if missing := {*found.missing_keys} - computed:
        raise KeyError(f"{len(missing)} weights are missing, {min(missing)} is one")


def _tokenizer(kind: Kind, folder: Path) -> Any:
    if kind == "turbo":
        return AutoTokenizer.from_pretrained(folder)
    if kind == "standard":
        return EnTokenizer(str(folder / "tokenizer.json"))
    # Its own `__init__` fetches what it needs for Chinese, whoever speaks what.
    tokenizer = MTLTokenizer.__new__(MTLTokenizer)
    tokenizer.tokenizer = Tokenizer.from_file(str(folder / _RELEASES[kind].files[3]))
    tokenizer.check_vocabset_sot_eot()
    chinese: list[Any] = []

    def converted(text: str) -> str:
        if not chinese:
            chinese.append(ChineseCangjieConverter(folder))
        result: str = chinese[0](text)
        return result

    tokenizer.cangjie_converter = converted
    return tokenizer
