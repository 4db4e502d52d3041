"""Python environments for engines whose packages do not agree with those of a program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import typer
from rich.table import Table

from ..engines._environments import (
    environments_folder,
    find_environment,
    interpreter,
    made_environments,
)
from ..engines._inspection import Inspection, inspect_environment
from ._console import MISUSED, err, fail, one_line_errors, out, tell

__all__ = ["app", "create", "requirement"]

_DISTRIBUTION: Final = "realtime-stts"

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def _main() -> None:
    """Make Python environments for engines that need one of their own.

    Such an engine runs in a process of its own, and its packages, whatever
    versions they pin, never meet those of your program.
    """


@app.command(
    "create",
    epilog="[bold]Examples[/bold]\n\n"
    "realtime-stts env create chatterbox\n\n"
    "realtime-stts env create chatterbox --python python3.11\n\n"
    "realtime-stts env create voices --extra chatterbox --extra local --path /srv/voices\n\n"
    "[bold]Then[/bold]\n\n"
    'realtime-stts say "good morning" --tts isolated:chatterbox',
)
@one_line_errors()
def _create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call it: the engine's name, at best.")
    ],
    extras: Annotated[
        list[str] | None,
        typer.Option(
            "--extra",
            metavar="EXTRA",
            help="What to install; may be repeated. [dim]Default: the extra called NAME.[/dim]",
        ),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(metavar="PYTHON", help="Its interpreter. [dim]Default: this one.[/dim]"),
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where to make it; then it is used by its interpreter's path. "
            "[dim]Default: your data folder, or $REALTIME_STTS_HOME.[/dim]",
        ),
    ] = None,
) -> None:
    """Make an environment for an engine, with this version of realtime-stts.

    A model's packages take several gigabytes. What is not made to the
    end leaves nothing behind. Uses uv if it is there, and else pip.
    """
    if not _is_name(name):
        raise fail(f"{name!r} is no name: letters, digits, - and _, please", MISUSED)
    folder = path or environments_folder() / name
    found = create(folder, extras or [name], python)
    tell(f"{name}: {interpreter(folder)} (Python {found.python})")


@app.command("list")
@one_line_errors()
def _list() -> None:
    """Show the environments there are, and what state they are in."""
    made = made_environments()
    if not made:
        tell(f"no environment in {environments_folder()}: realtime-stts env create chatterbox")
        return
    table = Table("environment", "Python", "realtime-stts", "folder", box=None, pad_edge=False)
    for environment in made:
        table.add_row(environment.name, *_state(environment), str(environment))
    out.print(table)


def _state(environment: Path) -> tuple[str, str]:
    try:
        found = inspect_environment(interpreter(environment))
    except OSError as exc:
        return "broken", str(exc)
    return found.python, found.project


@app.command("remove", epilog="[bold]Example[/bold]\n\nrealtime-stts env remove chatterbox")
@one_line_errors()
def _remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name: see env list.")],
) -> None:
    """Delete an environment and all that is in it."""
    folder = environments_folder()
    # And what is left of one that was being made when the machine went down.
    found = [*folder.glob(f".{name}.*.partial")] if _is_name(name) else []
    if (environment := find_environment(name)) is not None:
        found.append(environment)
    if not found:
        names = ", ".join(path.name for path in made_environments()) or "none"
        raise fail(f"there is no environment called {name!r}; there are: {names}", MISUSED)
    for path in found:
        shutil.rmtree(path)
    tell(f"{name} is gone")


def create(folder: Path, extras: Sequence[str], python: str | None = None) -> Inspection:
    """Make an environment in a new folder; return what is in it.

    It is built beside its place and moved there when it is whole.

    Raises:
        ValueError: This version has no such extra.
        OSError: The folder is there already, or a step failed, which has said why.
    """
    wanted = requirement(extras)
    if folder.exists():
        raise FileExistsError(
            f"{folder} is there already; to make it anew: realtime-stts env remove {folder.name}"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}.partial")
    try:
        for n, (what, command) in enumerate(_steps(partial, wanted, python or sys.executable), 1):
            err.print(f"({n}/3) {what}", markup=False, soft_wrap=True)
            _run(command)
        err.print("(3/3) looking whether it works", markup=False)
        found = inspect_environment(interpreter(partial))
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return found


def _steps(folder: Path, wanted: Sequence[str], python: str) -> list[tuple[str, list[str]]]:
    """What each step does, and its command."""
    make, install = "making an environment", f"installing {wanted[-1]}"
    inside = str(interpreter(folder))
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv:
        return [
            (make, [uv, "venv", "-q", "--relocatable", "--python", python, str(folder)]),
            (install, [uv, "pip", "install", "--python", inside, *wanted]),
        ]
    return [
        (make, [python, "-m", "venv", str(folder)]),
        (
            install,
            [inside, "-m", "pip", "install", "--disable-pip-version-check", *wanted],
        ),
    ]


def _run(command: list[str]) -> None:
    """Run a step; what it says is for whoever waits, and so goes to stderr.

    Raises:
        OSError: It failed.
    """
    sys.stderr.flush()
    done = subprocess.run(command, stdout=sys.__stderr__, check=False)
    if done.returncode:
        name = Path(command[0]).name
        raise OSError(f"{name} failed with exit code {done.returncode}; nothing was left behind")


def requirement(extras: Sequence[str]) -> list[str]:
    """This very realtime-stts with extras, as pip takes it: the same version, or source.

    Raises:
        ValueError: It has no such extra.
    """
    try:
        this = distribution(_DISTRIBUTION)
    except PackageNotFoundError as exc:
        raise ValueError("this realtime-stts is not installed: pip install -e . first") from exc
    known = this.metadata.get_all("Provides-Extra") or []
    unknown = [extra for extra in extras if extra not in known]
    if unknown:
        raise ValueError(f"there is no extra {unknown[0]!r}; known: {', '.join(sorted(known))}")
    suffix = f"[{','.join(extras)}]"
    origin: dict[str, Any] = json.loads(this.read_text("direct_url.json") or "{}")
    url = origin.get("url", "")
    if "dir_info" in origin:
        source = url2pathname(urlsplit(url).path)
        editable = ["-e"] if origin["dir_info"].get("editable") else []
        return [*editable, f"{source}{suffix}"]
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        return [f"{_DISTRIBUTION}{suffix} @ {vcs['vcs']}+{url}@{vcs['commit_id']}"]
    if url:
        return [f"{_DISTRIBUTION}{suffix} @ {url}"]
    return [f"{_DISTRIBUTION}{suffix}=={this.version}"]


def _is_name(name: str) -> bool:
    return bool(name) and name.isascii() and name.replace("-", "").replace("_", "").isalnum()
