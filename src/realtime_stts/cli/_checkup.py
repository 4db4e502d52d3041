"""What the doctor looks at beside packages: files of models, sound devices, the settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ..engines import EngineEntry
from ..errors import AudioDeviceError, MissingExtraError, SettingsError
from ..settings import Settings, SettingsStore
from ..settings._section import options

__all__ = [
    "CONFIG",
    "ModelFiles",
    "Problem",
    "SettingsState",
    "check_engines",
    "check_settings",
    "find_models",
    "find_sound",
]

CONFIG: Final = "REALTIME_STTS_CONFIG"
_USUAL: Final = Path("config.yaml")

# Of openai-whisper: names that mean the file of another.
_WHISPER_FILES: Final = {"large": "large-v3", "turbo": "large-v3-turbo"}
_REPOSITORIES: Final = "models--ResembleAI--chatterbox*"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is broken, and what mends it.

    Attributes:
        asked: Whether the user has asked for it, by settings of theirs.
    """

    what: str
    remedy: str
    asked: bool = False


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model that is on the disk."""

    engine: str
    name: str
    path: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class SettingsState:
    """The settings that are in force here."""

    path: str | None  # of the file, if there is one
    settings: Settings | None  # None where they cannot be used
    warnings: Mapping[str, str] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()  # paths of options that the user has set for here


# -- models ------------------------------------------------------------------------------


def find_models(settings: Settings | None, environ: Mapping[str, str]) -> list[ModelFiles]:
    """Models of Whisper and Chatterbox where they are by default, and where settings say."""
    return [*_whisper_models(settings, environ), *_chatterbox_models(settings, environ)]


def _cache(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _whisper_models(settings: Settings | None, environ: Mapping[str, str]) -> Iterator[ModelFiles]:
    folders = [_cache(environ) / "whisper"]
    if settings is not None:
        folders += filter(None, (settings.stt_engine.download_root, settings.paths.model_cache))
    for folder in dict.fromkeys(folders):
        for file in sorted(folder.expanduser().glob("*.pt")):
            yield ModelFiles("whisper", file.stem, str(file), file.stat().st_size)


def _chatterbox_models(
    settings: Settings | None, environ: Mapping[str, str]
) -> Iterator[ModelFiles]:
    home = Path(environ.get("HF_HOME") or _cache(environ) / "huggingface")
    folders = [Path(environ.get("HF_HUB_CACHE") or home / "hub")]
    if settings is not None and settings.paths.model_cache is not None:
        folders.append(settings.paths.model_cache.expanduser())
    for folder in dict.fromkeys(folders):
        for model in sorted(folder.glob(_REPOSITORIES)):
            # Snapshots are links to the blobs, which are counted once.
            size = sum(file.stat().st_size for file in model.glob("blobs/*"))
            yield ModelFiles("chatterbox", model.name.rpartition("--")[2], str(model), size)


# -- sound -------------------------------------------------------------------------------


def find_sound() -> tuple[list[str] | None, list[Problem]]:
    """The sound devices; None where the extra is not installed."""
    if find_spec("sounddevice") is None:
        return None, []
    try:
        from ..integrations.microphone import devices

        return [str(device) for device in devices()], []
    except MissingExtraError as exc:  # the package is there, and its library is not
        return None, [Problem("microphones and loudspeakers cannot be used", _after_colon(exc))]
    except AudioDeviceError as exc:
        return None, [Problem(str(exc), "see whether the system's own recorder finds them")]


def _after_colon(error: Exception) -> str:
    return str(error).partition(": ")[2] or str(error)


# -- settings ----------------------------------------------------------------------------


def check_settings(
    given: Path | None, environ: Mapping[str, str] = os.environ
) -> tuple[SettingsState, list[Problem]]:
    """Read the settings of a file, or of ``REALTIME_STTS_CONFIG``, or of ``config.yaml`` here.

    The last is not asked for: it may be another program's.
    """
    named = given or (Path(environ[CONFIG]) if environ.get(CONFIG) else None)
    path = named or (_USUAL if _USUAL.is_file() else None)
    asked = named is not None or path is None
    unusable = SettingsState(None if path is None else str(path), None)
    if named is not None and not named.is_file():
        problem = Problem(f"{named}: there is no such file", "name one that is there", asked)
        return unusable, [problem]
    try:
        store = SettingsStore(path, environ=environ)
    except SettingsError as exc:
        return unusable, [
            Problem(f"{key}: {said}", _mend(path), asked) for key, said in exc.problems.items()
        ]
    except OSError as exc:
        return unusable, [Problem(f"{path}: {exc.strerror}", "make it readable", asked)]
    ours = frozenset(
        option
        for option in options(Settings)
        if (layer := store.explain(option).layer) == "environment" or (asked and layer != "default")
    )
    state = SettingsState(unusable.path, store.current, store.warnings, ours)
    return state, [
        Problem(f"{option}: {what}", remedy, option in ours)
        for option, what, remedy in _paths(store.current)
    ]


def _mend(path: Path | None) -> str:
    where = "the variable" if path is None else f"{path} or the variable"
    return f"correct it in {where} that it names; docs/reference/settings.md has every key"


def _paths(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Files and folders that must be there and are not: the option, and what mends it."""
    stt, tts, model = settings.stt_engine, settings.tts_engine, settings.model
    if stt.model_path is not None and not stt.model_path.expanduser().is_file():
        yield "stt_engine.model_path", f"there is no file {stt.model_path}", "put it there"
    for key, folder in (
        ("tts_engine.predefined_voices_path", tts.predefined_voices_path),
        ("tts_engine.reference_audio_path", tts.reference_audio_path),
        ("model.local_path", model.local_path),
    ):
        if folder is not None and not folder.expanduser().is_dir():
            yield key, f"there is no folder {folder}", f"mkdir -p {folder}"


def check_engines(
    state: SettingsState,
    offered: Mapping[str, Sequence[EngineEntry]],
    torch: str | None,
    models: Iterable[ModelFiles],
) -> Iterator[Problem]:
    """Whether the engines that settings name can run here.

    Args:
        offered: Engines by kind, ``stt`` and ``tts``.
        torch: Its version and devices, as `inspect` has them; None where it is not installed.
        models: What is on the disk.
    """
    settings = state.settings
    if settings is None:
        return
    fallback = settings.middleware.fallback
    for kind, section, engine in (
        ("stt", "stt_engine", settings.stt_engine),
        ("tts", "tts_engine", settings.tts_engine),
    ):
        known = {entry.name: entry for entry in offered[kind]}
        chosen = [(f"{section}.engine", engine.engine)]
        if fallback.enabled:
            chosen += [(f"middleware.fallback.{kind}", spec) for spec in getattr(fallback, kind)]
        for option, spec in chosen:
            name, asked = spec.partition(":")[0], option in state.asked
            if name not in known:
                remedy = f"take one of: {', '.join(known) or 'none'}"
                yield Problem(f"{option}: no engine is called {name}", remedy, asked)
            elif (problem := known[name].problem) is not None:
                yield Problem(f"{option}: {name} cannot be used", problem, asked)
        if engine.device.startswith("cuda") and torch is not None and not _has_cuda(torch):
            yield Problem(
                f"{section}.device: {engine.device} is asked for, and torch computes on the CPU",
                f"set {section}.device to auto, or install a torch with CUDA and its driver",
                f"{section}.device" in state.asked,
            )
    yield from _not_on_disk(settings, {(each.engine, each.name) for each in models})


def _has_cuda(torch: str) -> bool:
    return torch.rpartition(", on ")[2] not in ("cpu", "mps and cpu")


def _not_on_disk(settings: Settings, on_disk: set[tuple[str, str]]) -> Iterator[Problem]:
    """Models that the first call would have to download: a wait, and no fault."""
    stt, tts, model = settings.stt_engine, settings.tts_engine, settings.model
    name, _, argument = stt.engine.partition(":")
    if name == "whisper" and stt.model_path is None:
        size = argument or stt.model_size
        if ("whisper", _WHISPER_FILES.get(size, size)) not in on_disk and "/" not in size:
            yield Problem(
                f"whisper:{size} is not on the disk, and the first call would download it",
                f"realtime-stts download whisper:{size}",
            )
    name, _, argument = tts.engine.partition(":")
    if name == "chatterbox" and model.local_path is None and "/" not in argument:
        of = "chatterbox-turbo" if "turbo" in (argument or model.repo_id) else "chatterbox"
        if ("chatterbox", of) not in on_disk:
            spec = f"chatterbox:{argument}" if argument else "chatterbox"
            yield Problem(
                f"{spec} is not on the disk, and the first call would download it",
                f"realtime-stts download {spec}",
            )
