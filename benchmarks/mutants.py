"""Change the pure core in small ways, one at a time: do its tests notice?

mutmut makes the changes, mutants, in a copy below ``out/mutants/``. Each module is judged by
its own test file alone, with the same Hypothesis examples every time. A mutant that no test
notices shows a test that is missing, unless nobody could tell it from the original: those
are listed in ``mutants.txt``, each with its reason, and are left out of the score.

It changes what functions compute. Constants, defaults of fields and properties it leaves.

Exits with 1 if a mutant went unnoticed that is not listed, or if one is listed that is
noticed or no longer made.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["main"]

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
_PACKAGE = PurePosixPath("src/realtime_stts")
_LISTED = _HERE / "mutants.txt"
_MODULES = (
    "_agreement",
    "_endpoint",
    "_sentences",
    "conversation/_end_of_turn",
    "conversation/_history",
    "conversation/_ledger",
    "conversation/_overlap",
    "conversation/_playout",
    "conversation/_speakable",
    "conversation/_timing",
    "conversation/_turns",
    "middleware/_breaker",
    "middleware/_token_bucket",
    "middleware/_waiting_room",
)

# A mutant may loop for ever: it is stopped after three times what its tests take, and 9 s.
_SETTINGS = """\
[mutmut]
source_paths = src
only_mutate = {source}
pytest_add_cli_args =
    --hypothesis-profile=mutants
    -p
    no:cacheprovider
pytest_add_cli_args_test_selection = {tests}
timeout_multiplier = 3
timeout_constant = 3
use_git_change_detection = false
"""
_NOTICED = ("killed", "timeout")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: where it is, and the lines before and after it, without their indents."""

    module: str
    function: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    def __str__(self) -> str:
        """As it is written in ``mutants.txt``."""
        lines = [f"@ {self.module} {self.function}"]
        lines += [f"- {line}" for line in self.before]
        lines += [f"+ {line}" for line in self.after]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one module's mutants."""

    module: str
    n_mutants: int
    unnoticed: tuple[Mutant, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help=f"which ones (all): {', '.join(_MODULES)}"
    )
    parser.add_argument("--out", type=Path, default=_ROOT / "out" / "mutants", help="folder")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time (1)")
    options = parser.parse_args(arguments)
    if unknown := set(options.modules) - set(_MODULES):
        parser.error(f"no module is called {', '.join(sorted(unknown))}")
    modules = options.modules or _MODULES

    listed = [*_listed(_LISTED.read_text(encoding="utf-8").splitlines())]
    reports = []
    for module in modules:
        print(f"{module} ...", flush=True)
        reports.append(_run(module, options.out.resolve() / module, options.jobs))

    print(f"\n{_table(reports, listed)}")
    unnoticed = {mutant for report in reports for mutant in report.unnoticed}
    missing = unnoticed.difference(listed)
    stale = {mutant for mutant in listed if mutant.module in modules} - unnoticed
    for title, mutants in (("no test notices", missing), ("listed without need", stale)):
        for mutant in sorted(mutants, key=str):
            print(f"\n{title}:\n{mutant}")
    return 1 if missing or stale else 0


def _run(module: str, folder: Path, jobs: int) -> Report:
    source, tests = _PACKAGE / f"{module}.py", _test_file(module)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / tests).parent.mkdir(parents=True)
    (folder / "src").symlink_to(_ROOT / "src")
    for path in ("pyproject.toml", "tests/conftest.py", tests):
        shutil.copy(_ROOT / path, folder / path)
    (folder / "setup.cfg").write_text(
        _SETTINGS.format(source=source, tests=tests), encoding="utf-8"
    )
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        subprocess.run(
            [Path(sys.executable).with_name("mutmut"), "run", "--max-children", str(jobs)],
            cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=True,
        )  # fmt: skip
    return _report(module, folder, source)


def _test_file(module: str) -> PurePosixPath:
    path = PurePosixPath("tests", module)
    return path.with_name(f"test{path.name}.py")


def _report(module: str, folder: Path, source: PurePosixPath) -> Report:
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code

    meta = folder / "mutants" / f"{source}.meta"
    exit_codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
    unnoticed = []
    before = Path.cwd()
    os.chdir(folder)  # mutmut looks for its files from there
    try:
        for name, exit_code in exit_codes.items():
            status = status_by_exit_code[exit_code]
            if status == "not checked":
                raise RuntimeError(f"mutmut did not try {name}: see {folder / 'log.txt'}")
            if status not in _NOTICED:
                diff = get_diff_for_mutant(name, path=str(source)).splitlines()[3:]
                unnoticed.append(_mutant(module, _function(name), diff))
    finally:
        os.chdir(before)
    return Report(module, len(exit_codes), tuple(unnoticed))


def _function(name: str) -> str:
    """Of mutmut's ``package.module.x_function__mutmut_1`` or ``...xǁClassǁmethod__mutmut_1``."""
    mangled = name.rpartition(".")[2].rpartition("__mutmut_")[0]
    return mangled.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")


def _mutant(module: str, function: str, diff: Iterable[str]) -> Mutant:
    lines = [(line[0], line[1:].strip()) for line in diff if line]
    before = tuple(text for sign, text in lines if sign == "-")
    after = tuple(text for sign, text in lines if sign == "+")
    return Mutant(module, function, before, after)


def _listed(lines: Iterable[str]) -> Iterator[Mutant]:
    where: list[str] = []
    diff: list[str] = []
    for line in [*lines, "@"]:
        if line.startswith(("-", "+")):
            diff.append(line)
        elif line.startswith("@"):
            if where:
                yield _mutant(*where, diff)
            where, diff = line.split()[1:], []


def _table(reports: Sequence[Report], listed: Sequence[Mutant]) -> str:
    lines = [("module", "mutants", "noticed", "equivalent", "missed", "score")]
    total = [0, 0, 0, 0]
    for report in reports:
        n_missed = len([mutant for mutant in report.unnoticed if mutant not in listed])
        n_noticed = report.n_mutants - len(report.unnoticed)
        counts = [report.n_mutants, n_noticed, len(report.unnoticed) - n_missed, n_missed]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        lines.append((report.module, *map(str, counts), _score(counts)))
    if len(reports) > 1:
        lines.append(("all", *map(str, total), _score(total)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _score(counts: Sequence[int]) -> str:
    n_mutants, n_noticed, n_equivalent, _ = counts
    return f"{100 * n_noticed / (n_mutants - n_equivalent):.1f} %"


if __name__ == "__main__":
    sys.exit(main())
