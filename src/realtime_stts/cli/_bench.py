"""The benchmark in the terminal: what is going on, the tables, and where the files are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from rich.text import Text

from ..benchmark import (
    SUITES,
    Comparison,
    Report,
    changes_table,
    compare,
    figures_table,
    read,
    run,
    save,
)
from ..engines import load_stt, load_tts
from ._console import err, out, tell
from ._download import fetch

__all__ = ["Wanted", "run_bench"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to measure, and where the files go."""

    suites: Sequence[str]
    stt: str
    tts: str
    quick: bool
    data: Path | None
    language: str
    folder: Path
    old: Path | None  # the report to compare with
    new: Path | None  # a report to show, instead of measuring
    across_engines: bool
    seed: int
    repeat: int


def run_bench(wanted: Wanted) -> bool:
    """Measure, or read what was measured; show and write it; return whether no suite failed.

    Raises:
        ValueError: There is no such suite, or another option is out of range.
        RealtimeSTTSError: An engine, the recordings or a report cannot be used.
        OSError: A file cannot be read or written.
    """
    old = None if wanted.old is None else read(wanted.old)  # it may be the file written below
    if wanted.new is not None:
        report = read(wanted.new)
    else:
        wanted.folder.mkdir(parents=True, exist_ok=True)  # or fail before minutes of measuring
        report = anyio.run(_measured, wanted)
    comparison = None
    if old is not None:
        comparison = compare(old, report, across_engines=wanted.across_engines)
    _show(report, comparison)
    if wanted.new is None or comparison is not None:
        files = save(report, wanted.folder, comparison)
        tell(f"{wanted.folder}: {', '.join(file.name for file in files)}")
    return not report.failures


async def _measured(wanted: Wanted) -> Report:
    await fetch(load_stt(wanted.stt), wanted.stt)
    await fetch(load_tts(wanted.tts), wanted.tts)
    with err.status("starting") as status:
        done: set[str] = set()

        def going_on(text: str) -> None:
            if err.is_terminal:
                status.update(Text(text))
            elif text in names and text not in done:  # a line a suite, where nobody watches
                done.add(text)
                err.print(text, markup=False)

        names = {suite.name for suite in SUITES}
        return await run(
            wanted.suites,
            stt=wanted.stt,
            tts=wanted.tts,
            data=wanted.data,
            language=wanted.language,
            quick=wanted.quick,
            seed=wanted.seed,
            repeat=wanted.repeat,
            tell=going_on,
        )


def _show(report: Report, comparison: Comparison | None) -> None:
    for suite in dict.fromkeys(each.suite for each in report.figures):
        out.print(f"\n{suite}", style="bold", markup=False)
        _plain(figures_table(each for each in report.figures if each.suite == suite))
    if comparison is not None:
        out.print("\ncompared, new to old", style="bold", markup=False)
        for warning in comparison.warnings:
            _plain(f"note: {warning}")
        _plain(changes_table(comparison.changes))
    for suite, what in report.failures.items():
        err.print(f"error: {suite} failed: {what}", style="red", markup=False, soft_wrap=True)


def _plain(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)  # a table is cut by no terminal's width
