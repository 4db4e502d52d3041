"""`settings`: what is in force and why, whether a file can be used, and what there is to set."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ..errors import MissingExtraError
from ._console import err, fail, one_line_errors, tell

try:
    import typer
except ImportError as exc:
    raise MissingExtraError("The realtime-stts command", "cli") from exc

if TYPE_CHECKING:
    from ..settings import SettingsStore

__all__ = ["app"]

app = typer.Typer(
    name="settings",
    no_args_is_help=True,
    help="Look at settings: what counts, where it comes from, and whether a file is right.",
)

_Profile = Annotated[
    str | None, typer.Option(metavar="NAME", help="Also read NAME's file beside the first.")
]


@app.command(
    epilog="[bold]Examples[/bold]\n\n"
    "realtime-stts settings show config.yaml\n\n"
    "REALTIME_STTS_SERVER__PORT=8004 realtime-stts settings show --all"
)
@one_line_errors()
def show(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="[dim]Default: $REALTIME_STTS_CONFIG, or no file.[/dim]"
        ),
    ] = None,
    profile: _Profile = None,
    everything: Annotated[bool, typer.Option("--all", help="Defaults too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All values as one tree.")] = False,
) -> None:
    """Print each option that is not a default, and where it was set. Secrets are hidden."""
    store = _store(file, profile)
    if as_json:
        typer.echo(json.dumps(store.current.masked(), ensure_ascii=False, indent=2))
        return
    from ..settings import Settings
    from ..settings._section import options

    shown = False
    for path in options(Settings):
        told = store.explain(path)
        if told.layer != "default" or everything:
            shown = True
            value = json.dumps(told.value, ensure_ascii=False)
            tell(f"{path} = {value}  ({told.source or told.layer})")
    if not shown:
        err.print("every option has its default; --all shows them")


@app.command(
    epilog="[bold]Example[/bold]\n\nrealtime-stts settings validate config.yaml --profile live"
)
@one_line_errors()
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of settings.")],
    profile: _Profile = None,
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings fail too.")] = False,
) -> None:
    """Say what is wrong and what is odd in a file, with the environment over it."""
    if not file.is_file():
        raise fail(f"{file}: there is no such file")
    store = _store(file, profile)
    for path, warning in store.warnings.items():
        tell(f"warning: {path}: {warning}")
    if store.warnings and strict:
        raise fail(f"{file} has warnings")
    tell(f"{file} can be used")


@app.command(epilog="[bold]Example[/bold]\n\nrealtime-stts settings schema > settings.schema.json")
@one_line_errors()
def schema() -> None:
    """Print the JSON Schema of a file of settings, for editors."""
    from ..settings import json_schema

    typer.echo(json.dumps(json_schema(), ensure_ascii=False, indent=2))


def _store(file: Path | None, profile: str | None) -> SettingsStore:
    from ..settings import SettingsStore
    from ._checkup import CONFIG

    if file is None and os.environ.get(CONFIG):
        file = Path(os.environ[CONFIG])
    return SettingsStore(file, profile=profile)
