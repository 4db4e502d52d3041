"""What is installed and set, what is broken, and what mends it."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._registry import Kind
from ..engines import EngineEntry, available
from ..engines._environments import interpreter, made_environments
from ..engines._inspection import Inspection, inspect, inspect_environment
from ._checkup import (
    ModelFiles,
    Problem,
    SettingsState,
    check_engines,
    check_settings,
    find_models,
    find_sound,
)

__all__ = ["examine"]

_KINDS: Final[dict[Kind, str]] = {
    "stt": "speech to text",
    "tts": "text to speech",
    "pause_detection": "pause detection",
}
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*(?:;.*extra == ['\"](?P<extra>[\w-]+)['\"])?")
_REMEDIES: Final = {
    "torch": "pip install --force-reinstall torch",
    "perth": 'pip install "setuptools<81"',
}
_BROKEN: Final = {
    "torch": "models in torch cannot run",
    "perth": "Chatterbox cannot mark its speech",
}


@dataclass(frozen=True, slots=True)
class _Package:
    name: str
    extra: str | None  # which brings it; None: it is of the core
    version: str | None  # None: it is not installed


@dataclass(frozen=True, slots=True)
class _Environment:
    name: str
    state: str
    broken: bool


@dataclass(frozen=True, slots=True)
class _Report:
    """All that was found."""

    packages: list[_Package]
    engines: dict[Kind, list[EngineEntry]]
    here: Inspection
    environments: list[_Environment]
    models: list[ModelFiles]
    sound: list[str] | None  # None: the extra is not installed
    settings: SettingsState
    problems: list[Problem]


def examine(
    console: Console,
    *,
    config: Path | None = None,
    as_json: bool = False,
    strict: bool = False,
) -> bool:
    """Print the state of this installation, and of the settings in force.

    Args:
        config: A file of settings; by default the one that `check_settings` finds.
        as_json: For machines.
        strict: Whether every problem counts, and not only those of what was asked for.

    Returns:
        Whether all is well.
    """
    report = _examined(config)
    if as_json:
        console.file.write(f"{json.dumps(_plain(report), ensure_ascii=False, indent=2)}\n")
    else:
        _print(report, console)
    return not any(problem.asked or strict for problem in report.problems)


def _examined(config: Path | None) -> _Report:
    here = inspect()
    environments = [_environment(each) for each in made_environments()]
    engines: dict[Kind, list[EngineEntry]] = {kind: available(kind) for kind in _KINDS}
    settings, problems = check_settings(config, os.environ)
    models = find_models(settings.settings, os.environ)
    sound, deaf = find_sound()
    problems += [Problem(_BROKEN[package], _REMEDIES[package]) for package in here.broken]
    problems += [
        Problem(
            f"the environment {each.name} is {each.state}",
            f"realtime-stts env remove {each.name}, then realtime-stts env create {each.name}",
        )
        for each in environments
        if each.broken
    ]
    problems += deaf
    offered = {str(kind): entries for kind, entries in engines.items()}
    problems += check_engines(settings, offered, here.torch, models)
    packages = [_Package(name, extra, _version(name)) for name, extra in _requirements()]
    return _Report(packages, engines, here, environments, models, sound, settings, problems)


def _environment(folder: Path) -> _Environment:
    try:
        found = inspect_environment(interpreter(folder))
    except OSError as exc:
        return _Environment(folder.name, f"broken: {exc}", True)
    said = [f"Python {found.python}, realtime-stts {found.project}"]
    said += [f"{name}: {state}" for name in ("torch", "perth") if (state := getattr(found, name))]
    if found.project != version("realtime-stts"):
        return _Environment(folder.name, f"{said[0]}, and not {version('realtime-stts')}", True)
    return _Environment(folder.name, "; ".join(said), bool(found.broken))


def _requirements() -> Iterator[tuple[str, str | None]]:
    """The packages this one can use, and the extra that brings each."""
    for match in filter(None, map(_REQUIREMENT.match, requires("realtime-stts") or [])):
        yield match["name"], match["extra"]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# -- for machines ------------------------------------------------------------------------


def _plain(report: _Report) -> dict[str, Any]:
    settings = report.settings
    return {
        "version": version("realtime-stts"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": [asdict(each) for each in report.packages],
        "engines": [asdict(each) for kind in _KINDS for each in report.engines[kind]],
        "torch": report.here.torch,
        "watermark": report.here.perth,
        "environments": [asdict(each) for each in report.environments],
        "models": [asdict(each) for each in report.models],
        "sound_devices": report.sound,
        "settings": {
            "path": settings.path,
            "valid": settings.settings is not None,
            "warnings": dict(settings.warnings),
        },
        "problems": [asdict(each) for each in report.problems],
    }


# -- for people --------------------------------------------------------------------------


def _print(report: _Report, console: Console) -> None:
    console.print(
        f"realtime-stts {version('realtime-stts')}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}"
    )
    console.print(*_tables(report), sep="")
    for problem in report.problems:
        colour = "red" if problem.asked else "yellow"
        console.print(Text(f"! {problem.what}", colour), soft_wrap=True)
        console.print(f"  → {problem.remedy}", markup=False, soft_wrap=True)
    if not report.problems:
        console.print(Text("nothing is broken", "green"))


def _tables(report: _Report) -> Iterator[Table]:
    packages = _table("package", "part of", "version")
    for package in report.packages:
        packages.add_row(package.name, package.extra or "the core", _shown(package))
    yield packages
    engines = _table("engine", "for", "state")
    for kind, purpose in _KINDS.items():
        for engine in report.engines[kind]:
            state = Text(engine.problem, "red") if engine.problem else Text("ready", "green")
            engines.add_row(engine.name, purpose, state)
    yield engines
    models = _table("for models", "state")
    for name in ("torch", "perth"):
        said = getattr(report.here, name)
        broken = "red" if name in report.here.broken else "green"
        models.add_row(name, Text(said or "not installed", broken if said else "dim"))
    for model in report.models:
        models.add_row(f"{model.engine}:{model.name}", f"{_size(model.size)}, {model.path}")
    yield models
    if report.environments:
        table = _table("environment", "state")
        for each in report.environments:
            again = "; make it again" if each.broken else ""
            table.add_row(each.name, Text(each.state + again, "red" if each.broken else "green"))
        yield table
    yield _surroundings(report)


def _surroundings(report: _Report) -> Table:
    table = _table("around it", "state")
    sound = report.sound
    if sound is None:
        table.add_row(
            "sound devices", Text('not asked: pip install "realtime-stts[microphone]"', "dim")
        )
    else:
        table.add_row("sound devices", "\n".join(sound) or Text("none", "dim"))
    settings = report.settings
    state = Text("valid", "green") if settings.settings else Text("cannot be used", "red")
    table.add_row("settings", Text.assemble(f"{settings.path or 'no file'}: ", state))
    for path, warning in settings.warnings.items():
        table.add_row("", Text(f"{path}: {warning}", "yellow"))
    return table


def _table(*headers: str) -> Table:
    return Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)


def _shown(package: _Package) -> Text:
    if package.version is not None:
        return Text(package.version)
    of = f"[{package.extra}]" if package.extra else ""
    return Text(f'missing: pip install "realtime-stts{of}"', "red")


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
