"""Write the tables of README.md and of the docs from the committed benchmark.

    realtime-stts bench --repeat 3 && cp out/bench/bench.json benchmarks/results/
    python -m tools.bench_tables

What stands between ``<!-- bench:begin SUITE... -->`` and ``<!-- bench:end -->`` is written
anew: the tables of these suites, or of all for none, and where they were measured. With
``--check`` nothing is written; it fails where a page and the benchmark differ.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from realtime_stts.benchmark import Report, figures_table, read
from realtime_stts.benchmark._table import described

__all__ = ["PAGES", "RESULTS", "filled", "main"]

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "bench.json"
PAGES = (ROOT / "README.md", ROOT / "docs" / "how-to" / "benchmark.md")

_PLACE = re.compile(r"(<!-- bench:begin([^>]*) -->\n).*?(<!-- bench:end -->)", re.DOTALL)


def filled(page: str, report: Report) -> str:
    """The page with its tables.

    Raises:
        ValueError: It has no place for any, or names a suite that the report does not have.
    """
    if not _PLACE.search(page):
        raise ValueError("there is no <!-- bench:begin --> with a <!-- bench:end --> after it")

    def tables(place: re.Match[str]) -> str:
        return f"{place[1]}\n{_tables(report, place[2].split())}\n\n{place[3]}"

    return _PLACE.sub(tables, page)


def _tables(report: Report, wanted: list[str]) -> str:
    known = [*dict.fromkeys(figure.suite for figure in report.figures)]
    if unknown := [suite for suite in wanted if suite not in known]:
        raise ValueError(f"the benchmark has no figure of {', '.join(unknown)}")
    parts: list[str] = []
    for suite in wanted or known:
        figures = [figure for figure in report.figures if figure.suite == suite]
        parts += [f"**{suite}**", figures_table(figures)]
    return "\n\n".join([*parts, " ".join(described(report).splitlines())])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if it would")
    parser.add_argument("--report", type=Path, default=RESULTS)
    parser.add_argument("pages", type=Path, nargs="*", default=PAGES)
    options = parser.parse_args(arguments)
    report, differ = read(options.report), False
    for page in options.pages:
        before = page.read_text(encoding="utf-8")
        try:
            after = filled(before, report)
        except ValueError as exc:
            print(f"{page}: {exc}", file=sys.stderr)
            return 2
        if before != after and options.check:
            print(f"{page}: differs from {options.report}", file=sys.stderr)
            differ = True
        elif before != after:
            page.write_text(after, encoding="utf-8")
            print(f"{page}: written")
    return int(differ)


if __name__ == "__main__":
    raise SystemExit(main())
