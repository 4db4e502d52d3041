"""Count the core's instructions and compare them with the baseline; see the package."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ._compare import (
    LIMIT,
    SPREAD,
    Baseline,
    BaselineError,
    changes,
    complaints,
    other_versions,
    read,
    spread,
    table,
    written,
)
from ._counter import CountError, build, count, versions

__all__ = ["main"]

_HERE: Final = Path(__file__).parent
_RENEW: Final = "python -m benchmarks.guard --update"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guard",
        description="Counts the instructions of the core's work. Exits with 1 when a workload "
        f"takes more than {LIMIT:.0%} more of them than in the baseline, and with 2 when they "
        "could not be compared.",
    )
    parser.add_argument(
        "--update", action="store_true", help="measure twice, and renew this Python's baseline"
    )
    parser.add_argument(
        "--required", action="store_true", help="fail where this Python has no baseline"
    )
    parser.add_argument(
        "--baseline", type=Path, default=_HERE / "baseline.json", help="the file of baselines"
    )
    parser.add_argument(
        "--workloads", type=Path, default=_HERE / "workloads.py", help="what is counted"
    )
    options = parser.parse_args(arguments)
    try:
        if options.update:
            return _update(options.baseline, options.workloads)
        return _check(options.baseline, options.workloads, options.required)
    except (BaselineError, CountError) as exc:
        print(f"guard: {exc}", file=sys.stderr)
        return 2


def _check(file: Path, workloads: Path, required: bool) -> int:
    here = build()
    baseline = _baselines(file).get(here)
    if baseline is None:
        print(f"guard: no baseline for {here}: nothing was compared ({_RENEW} makes one)")
        return 2 if required else 0
    others = other_versions(baseline.versions, versions())
    if others:
        raise BaselineError(
            f"the baseline was made with other versions: {'; '.join(others)}. If they are to "
            f"change, renew it without any other change: {_RENEW}"
        )
    found = changes(baseline.counts, count(workloads))
    print(table(found))
    fell = [change.name for change in found if change.verdict == "fall"]
    if fell:
        print(f"fell by more than {LIMIT:.0%}, renew the baseline ({_RENEW}): {', '.join(fell)}")
    failed = complaints(found)
    for complaint in failed:
        print(f"FAIL {complaint}", file=sys.stderr)
    if failed:
        print(f"If that is meant, accept it by a new baseline: {_RENEW}", file=sys.stderr)
    return 1 if failed else 0


def _update(file: Path, workloads: Path) -> int:
    baselines = _baselines(file) if file.exists() else {}
    used = versions()
    first, second = count(workloads), count(workloads)
    apart = {name: by for name, by in spread(first, second).items() if by > SPREAD}
    if apart:
        raise CountError(
            f"two measurements are more than {SPREAD:.0%} apart, which makes no baseline: "
            + ", ".join(f"{name} ({by:.1%})" for name, by in apart.items())
        )
    here = build()
    counts = {name: min(n, second[name]) for name, n in first.items()}
    before = baselines[here].counts if here in baselines else {}
    print(table(changes(before, counts)))
    _replace(file, written({**baselines, here: Baseline(used, counts)}))
    print(f"-> {file}: the baseline of {here}")
    others = sorted(set(baselines) - {here})
    if others:
        print(f"It also holds, unchanged, those of {'; '.join(others)}")
    return 0


def _baselines(file: Path) -> dict[str, Baseline]:
    try:
        return read(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, BaselineError) as exc:
        raise BaselineError(f"{file.name}: {exc}") from exc


def _replace(file: Path, text: str) -> None:
    """The old file or the whole new one, never half of it."""
    partial = file.with_name(f".{file.name}-{os.getpid()}.partial")
    try:
        partial.write_text(text, "utf-8")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
