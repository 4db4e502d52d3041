"""The command ``transcribe``: one file to the terminal, or many to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import anyio
import typer

from ._batch_plan import FORMATS, Wanted
from ._console import MISUSED, fail, one_line_errors, read_audio

__all__ = ["EPILOG", "transcribe"]

EPILOG = (
    "[bold]Examples[/bold]\n\n"
    "realtime-stts transcribe talk.mp3\n\n"
    "realtime-stts transcribe talk.flac --json > talk.json\n\n"
    "cat talk.wav | realtime-stts transcribe -\n\n"
    "realtime-stts transcribe talks/ --workers 4 -o texts --format txt --format srt"
)

_OUTPUT = Path("transcripts")


@one_line_errors()
def transcribe(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="wav, flac, ogg, opus or mp3, whatever its name; - for stdin; "
            "or several, or folders.",
        ),
    ],
    stt: Annotated[
        str,
        typer.Option("--stt", metavar="ENGINE", help="Speech to text; doctor lists the engines."),
    ] = "pocketsphinx",
    language: Annotated[
        str | None,
        typer.Option(
            metavar="CODE", help="The language spoken, such as en. [dim]Default: detect it.[/dim]"
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print words, times and confidence as JSON; of many files, what was done.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help=f"Where the texts go. [dim]Default: {_OUTPUT}, here.[/dim]",
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"{', '.join(FORMATS)}; may be repeated. [dim]Default: txt.[/dim]",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Files at a time, each by an engine of its own. [dim]Default: 1.[/dim]",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run the engines on that Ray cluster, not here."),
    ] = None,
    patterns: Annotated[
        list[str] | None,
        typer.Option(
            "--pattern", metavar="GLOB", help="Only files of such a name; may be repeated."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Only so many files in this run."),
    ] = None,
    max_hours: Annotated[
        float,
        typer.Option(metavar="H", help="A file with more sound than that fails."),
    ] = 12.0,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="S", help="Seconds that five minutes of sound may take; then the file fails."
        ),
    ] = 3600.0,
    force: Annotated[
        bool,
        typer.Option("--force", help="Do again what is done already."),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="No progress, only what was done."),
    ] = False,
) -> None:
    """Turn a recording into text, or many at once.

    Of one file the text goes to stdout. Several, or a folder with all that
    is in it, become files in the output folder. What is done there already
    is not done again: after a stop, the same command goes on. A file that
    fails does not stop the others; the exit code is 1 then.
    """
    options = (output, formats, workers, ray, patterns, limit)
    many = len(files) > 1 or files[0].is_dir() or force or any(each is not None for each in options)
    if not many:
        _transcribe_one(files[0], stt, language, as_json)
        return
    wrong = [format for format in formats or () if format not in FORMATS]
    if wrong:
        raise fail(f"--format is one of {', '.join(FORMATS)}, not {wrong[0]}", MISUSED)
    if Path("-") in files:
        raise fail("stdin is one recording; give it alone, without options for many", MISUSED)
    if not (max_hours > 0.0 and timeout > 0.0):
        raise fail("--max-hours and --timeout are above 0", MISUSED)
    from ._batch import Batch, run_batch

    run_batch(
        Batch(
            files,
            output or _OUTPUT,
            Wanted(stt, language, tuple(dict.fromkeys(formats or ("txt",)))),
            workers=workers or 1,
            patterns=patterns or (),
            limit=limit,
            max_seconds=3600.0 * max_hours,
            timeout=timeout,
            ray=ray,
            force=force,
            quiet=quiet,
            as_json=as_json,
        )
    )


def _transcribe_one(file: Path, stt: str, language: str | None, as_json: bool) -> None:
    from ._speech import transcribe, transcription_fields

    clip = read_audio(file)
    result = anyio.run(transcribe, clip, stt, language)
    if as_json:
        typer.echo(json.dumps(transcription_fields(result, clip), ensure_ascii=False, indent=2))
    else:
        typer.echo(result.text)
