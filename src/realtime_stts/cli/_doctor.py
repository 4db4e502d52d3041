"""What is installed, and what would add the rest."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._registry import Kind
from ..engines import available
from ..engines._environments import interpreter, made_environments
from ..engines._inspection import inspect, inspect_environment

__all__ = ["examine"]

_KINDS: Final[dict[Kind, str]] = {
    "stt": "speech to text",
    "tts": "text to speech",
    "pause_detection": "pause detection",
}
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*(?:;.*extra == ['\"](?P<extra>[\w-]+)['\"])?")


def examine(console: Console) -> None:
    """Print the versions of all packages, and the state of all engines and environments."""
    console.print(
        f"realtime-stts {version('realtime-stts')}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}"
    )
    packages = _table("package", "part of", "version")
    for name, extra in _requirements():
        packages.add_row(name, extra or "the core", _version(name, extra))
    engines = _table("engine", "for", "state")
    for kind, purpose in _KINDS.items():
        for engine in available(kind):
            state = Text(engine.problem, "red") if engine.problem else Text("ready", "green")
            engines.add_row(engine.name, purpose, state)
    console.print(packages, engines, _models(), *_environments(), sep="")


def _models() -> Table:
    """What computes the models, and what marks their speech."""
    table = _table("for models", "state")
    found = inspect()
    for package in ("torch", "perth"):
        state = getattr(found, package)
        if package in found.broken:
            table.add_row(package, Text(state, "red"))
        else:
            table.add_row(package, Text(state or "not installed", "green" if state else "dim"))
    return table


def _environments() -> Iterator[Table]:
    """The engines' own environments, if there are any."""
    made = made_environments()
    if made:
        table = _table("environment", "state")
        for environment in made:
            table.add_row(environment.name, _state(environment))
        yield table


def _state(environment: Path) -> Text:
    try:
        found = inspect_environment(interpreter(environment))
    except OSError as exc:
        return Text(f"broken: {exc}; make it again", "red")
    said = [f"Python {found.python}, realtime-stts {found.project}"]
    said += [f"{name}: {state}" for name in ("torch", "perth") if (state := getattr(found, name))]
    if found.project != version("realtime-stts"):
        return Text(f"{said[0]}, and not {version('realtime-stts')}: make it again", "red")
    return Text("; ".join(said), "red" if found.broken else "green")


def _table(*headers: str) -> Table:
    return Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)


def _requirements() -> Iterator[tuple[str, str | None]]:
    """The packages this one can use, and the extra that brings each."""
    for requirement in requires("realtime-stts") or []:
        if match := _REQUIREMENT.match(requirement):
            yield match["name"], match["extra"]


def _version(package: str, extra: str | None) -> Text:
    try:
        return Text(version(package))
    except PackageNotFoundError:
        of = f"[{extra}]" if extra else ""
        return Text(f'missing: pip install "realtime-stts{of}"', "red")
