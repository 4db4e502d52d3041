"""Which file a model's name means, and how it becomes a model."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import torch
import whisper
from whisper.model import Whisper

from ...errors import EngineLoadError, EngineMemoryError
from .._device import is_out_of_memory
from .._download import Progress, download

__all__ = ["Checkpoint", "available_models", "load", "resolve"]

_ENGINE: Final = "whisper"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's file, there or still to be downloaded.

    Attributes:
        name: One of `available_models`, or the path as it was given.
        file: Where it is, or will be.
        url: Where to download it; None for a file of the caller's own.
        alignment_heads: Which heads look at the sound they write down, as openai-whisper
            packs them; None if nobody measured it.
    """

    name: str
    file: Path
    url: str | None
    alignment_heads: bytes | None

    @property
    def is_present(self) -> bool:
        """Whether a file is in its place; not whether it is whole."""
        return self.file.is_file()

    def fetch(
        self, progress: Progress | None = None, check: Callable[[], None] = lambda: None
    ) -> Path:
        """The file, whole: downloaded if it is not there; blocks.

        Args:
            progress: Called in this thread; not at all if nothing is downloaded.
            check: Called as bytes come; what it raises ends the download.

        Raises:
            EngineLoadError: It is not there, and cannot be downloaded.
        """
        if self.url is None:
            if not self.is_present:
                raise EngineLoadError(_ENGINE, f"there is no file {self.file}")
            return self.file
        return download(
            self.url,
            self.file,
            sha256=self.url.split("/")[-2],
            engine=_ENGINE,
            otherwise=(
                f"pass a checkpoint's path: whisper:/path/to/{self.file.name}, "
                f"or run `realtime-stts download whisper:{self.name}` where there is a network"
            ),
            progress=progress,
            check=check,
        )


def available_models() -> list[str]:
    """The names that OpenAI gave its models."""
    return [*whisper.available_models()]


def resolve(
    model: str = "base",
    model_path: str | os.PathLike[str] | None = None,
    download_root: str | os.PathLike[str] | None = None,
) -> Checkpoint:
    """The checkpoint that is meant; touches no network.

    Args:
        model: One of `available_models`, or a path: of a file that is there, or anything with
            a separator or the suffix ``.pt``.
        model_path: A file of openai-whisper's format; wins over ``model``.
        download_root: The folder of downloads; by default the one of openai-whisper,
            ``whisper`` in ``$XDG_CACHE_HOME`` or ``~/.cache``, so that both share them.

    Raises:
        ValueError: There is no model of that name.
    """
    if model_path is not None:
        return _own(os.fspath(model_path))
    if model in available_models():
        url = whisper._MODELS[model]
        folder = Path(download_root).expanduser() if download_root is not None else _cache()
        file = folder.absolute() / url.rpartition("/")[2]
        return Checkpoint(model, file, url, whisper._ALIGNMENT_HEADS[model])
    if Path(model).suffix == ".pt" or {os.sep, os.altsep} & {*model} or Path(model).is_file():
        return _own(model)
    close = get_close_matches(model, available_models(), n=3)
    known = [*close, *(name for name in available_models() if name not in close)]
    raise ValueError(f"no Whisper model is called {model!r}; known: {', '.join(known)}")


def _own(path: str) -> Checkpoint:
    # Absolute, as `load_model` takes "tiny" for a name, whatever lies in this folder.
    file = Path(path).expanduser().absolute()
    # A known model's file, or one tuned from it under its name, looks with the same heads.
    return Checkpoint(path, file, None, whisper._ALIGNMENT_HEADS.get(file.stem))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "whisper")


def load(checkpoint: Checkpoint, device: torch.device) -> Whisper:
    """The model, on that device; its file must be there; blocks.

    Raises:
        EngineLoadError: The file cannot be read, or holds no Whisper model.
        EngineMemoryError: It does not fit into the memory.
    """
    try:
        # By way of the CPU: what fails there is the file's fault, and the device never holds
        # the file's tensors beside the model's.
        model = _read(checkpoint.file).to(device)
    except (MemoryError, RuntimeError) as exc:
        if not is_out_of_memory(exc):
            raise
        raise EngineMemoryError(
            _ENGINE,
            f"{checkpoint.name} does not fit into the memory of {device}; "
            "choose a smaller model, or another device",
        ) from exc
    if checkpoint.alignment_heads is not None:
        # Of another shape only if a file has a known model's name and is none: then the model
        # keeps openai-whisper's default, all heads of the upper half of its layers.
        with suppress(RuntimeError):
            model.set_alignment_heads(checkpoint.alignment_heads)
    return model


def _read(file: Path) -> Whisper:
    try:
        with file.open("rb"):
            pass
    except OSError as exc:
        raise EngineLoadError(_ENGINE, f"{file} cannot be read: {exc.strerror}") from exc
    try:
        model: Whisper = whisper.load_model(str(file), device="cpu")
    except Exception as exc:  # torch stumbles over what is no archive in many ways
        if is_out_of_memory(exc):
            raise
        raise EngineLoadError(
            _ENGINE,
            f"{file} is not a Whisper checkpoint, or is damaged: "
            f"{type(exc).__name__}: {str(exc).partition(chr(10))[0]}",
        ) from exc
    return model
