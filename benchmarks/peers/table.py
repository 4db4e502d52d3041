"""Write the figures of a run into the docs, between two markers.

    python -m benchmarks.peers.table out/bench/peers.json docs/explanation/beside-others.md

The page holds ``<!-- peers: begin -->`` and ``<!-- peers: end -->``; what is between them is
replaced. What was not measured comes from ``peers-missing.json`` beside the report.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["main", "rendered"]

_BEGIN, _END = "<!-- peers: begin -->", "<!-- peers: end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("report", type=Path, help="peers.json of a run")
    parser.add_argument("page", type=Path, help="a page with the two markers")
    options = parser.parse_args(arguments)

    report = json.loads(options.report.read_text(encoding="utf-8"))
    beside = options.report.with_name("peers-missing.json")
    missing = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else []
    page = options.page.read_text(encoding="utf-8")
    if page.count(_BEGIN) != 1 or page.count(_END) != 1:
        print(f"{options.page} needs {_BEGIN} and {_END} once each", file=sys.stderr)
        return 1
    before, rest = page.split(_BEGIN)
    after = rest.split(_END)[1]
    text = f"{before}{_BEGIN}\n{rendered(report, missing)}\n{_END}{after}"
    unfinished = options.page.with_name(f".{options.page.name}.partial")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(options.page)
    finally:
        unfinished.unlink(missing_ok=True)
    return 0


def rendered(report: Mapping[str, Any], missing: Sequence[str]) -> str:
    """The machine, a table with a row for each comparison, and what could not be measured."""
    machine = report["machine"]
    where = f"{machine['cores']} cores, {machine['cpu']}, Python {machine['python']}"
    lines = [
        f"{machine['date'][:10]}, {where}, load {machine['load']} at the end.",
        "",
        "| what | beside | ours: median (least) | theirs: median (least) | ours / theirs | n |",
        "|---|---|---|---|---|---|",
        *_lines(report["rows"]),
        "",
        "Not measured:",
        "",
        *(f"* {reason}" for reason in missing),
    ]
    return "\n".join(lines)


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        what, _, peer = row["case"].rpartition(", vs. ")
        unit = row["unit"].replace("us", "µs")
        ours = _figures(row["ours"], row["ours_min"], unit)
        theirs = _figures(row["peer"], row["peer_min"], unit)
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else "-"
        if row["ratio"] and row["ratio"] > 1.05 and not peer.startswith("nobody"):
            ratio += ", **a loss**"
        if not row["equal"]:
            ratio = "ours failed the gate"
        cells = (what, re.sub(": failed$", " (failed)", peer), ours, theirs, ratio, row["n"])
        yield f"| {' | '.join(map(str, cells))} |"


def _figures(median: float | None, least: float | None, unit: str) -> str:
    if median is None:
        return "-"
    shown = f"{_rounded(median)} {unit}"
    return shown if least is None else f"{shown} ({_rounded(least)})"


def _rounded(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 99.95 else f"{figure:#.3g}"


if __name__ == "__main__":
    sys.exit(main())
