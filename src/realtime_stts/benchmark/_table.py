"""PURE: a report and a comparison as Markdown, which reads well as plain text, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ._compare import Comparison, busy
from ._figures import Figure
from ._report import Report
from ._statistics import Change, interval, percentile, value

__all__ = ["changes_table", "described", "figures_table", "markdown", "number", "quantity", "shown"]

_STATISTICS = {
    "p50": "median",
    "p95": "95th percentile",
    "mean": "mean",
    "max": "most",
    "ratio": "all",
}


def number(x: float) -> str:
    """Three significant digits, and all of those before the point."""
    if x == 0 or abs(x) >= 99.95:
        return f"{x:,.0f}"
    return f"{x:#.3g}".removesuffix(".")


def quantity(x: float | None, unit: str) -> str:
    """A number with its unit."""
    if x is None:
        return "-"
    return f"{number(x)}{unit}" if unit in ("", "%", "x") else f"{number(x)} {unit}"


def shown(figures: Iterable[Figure]) -> list[Figure]:
    """Those that have a line of their own.

    A 95th percentile of the very samples whose median is shown stands in that one's line; a
    figure of its own it is for a comparison.
    """
    every = [*figures]
    medians = {(each.suite, each.samples) for each in every if each.statistic == "p50"}
    return [
        each
        for each in every
        if each.statistic != "p95" or (each.suite, each.samples) not in medians
    ]


def figures_table(figures: Iterable[Figure]) -> str:
    """What was measured, what it came to, and how sure that is."""
    rows = [("what", "of the samples", "value", "95 % interval", "p95", "n", "what to know")]
    for each in shown(figures):
        sure = interval(each)
        rows.append(
            (
                each.case,
                _STATISTICS[each.statistic],
                quantity(value(each), each.unit),
                f"{number(sure[0])} to {number(sure[1])}" if sure else "",
                quantity(percentile(each.samples, 95), each.unit)
                if each.statistic == "p50"
                else "",
                str(len(each.samples)),
                each.note,
            )
        )
    return _table(rows, right=(2, 3, 4, 5))


def changes_table(changes: Iterable[Change]) -> str:
    """What became of each figure."""
    rows = [("suite", "what", "old", "new", "new/old", "95 % interval", "verdict")]
    for each in changes:
        known = each.low is not None and each.high is not None
        rows.append(
            (
                each.suite,
                each.case,
                quantity(each.old, each.unit),
                quantity(each.new, each.unit),
                "-" if each.ratio is None else f"{each.ratio:.3f}",
                f"{each.low:.3f} to {each.high:.3f}" if known else "",
                f"{each.verdict}: {each.why}" if each.why else each.verdict,
            )
        )
    return _table(rows, right=(2, 3, 4, 5))


def described(report: Report) -> str:
    """Where, when and with what it was measured, in a few lines."""
    machine, options, workload = report.machine, report.options, report.workload
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    where = (
        f"{machine.get('cpu')}, {machine.get('cores')} cores, load {machine.get('load')}{gpu}; "
        f"Python {machine.get('python')}, {machine.get('platform')}; {machine.get('date')}."
    )
    what = (
        f"Speech to text: {options.stt}. Text to speech: {options.tts}. "
        f"{'Quick' if options.quick else 'Full'}, seed {options.seed}, {_times(options.repeat)}."
    )
    said = f"{len(workload.names)} {workload.source}, {workload.seconds:.1f} s ({workload.hash})."
    packages = ", ".join(f"{name} {version}" for name, version in report.packages.items())
    lines = [where, what, f"Said: {said}", f"{packages}."]
    if told := busy(report):
        lines.append(f"{told[0].upper()}{told[1:]}. Measure again when it is not.")
    return "\n".join(lines)


def markdown(report: Report, comparison: Comparison | None = None) -> str:
    """The whole report as a page."""
    parts = ["# Benchmark", described(report)]
    for suite in dict.fromkeys(each.suite for each in report.figures):
        figures = [each for each in report.figures if each.suite == suite]
        parts += [f"## {suite}", figures_table(figures)]
    for suite, what in report.failures.items():
        parts.append(f"**{suite} failed**: {what}")
    if comparison is not None:
        parts.append("## Compared")
        parts += ["\n".join(f"* {each}" for each in comparison.warnings)] * bool(
            comparison.warnings
        )
        parts.append(changes_table(comparison.changes))
    return "\n\n".join(parts) + "\n"


def _times(repeat: int) -> str:
    return "once" if repeat == 1 else f"{repeat} times"


def _table(rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = (
        "-" * (width - 1) + ":" if index in right else "-" * width
        for index, width in enumerate(widths)
    )
    return "\n".join([line(cells[0]), f"| {' | '.join(rule)} |", *map(line, cells[1:])])
