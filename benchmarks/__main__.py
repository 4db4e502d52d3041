"""Run benchmarks, print their tables and write ``out/bench/NAME.json``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from ._report import table, write

_HERE = Path(__file__).parent
_NAMES = sorted(path.stem.removeprefix("bench_") for path in _HERE.glob("bench_*.py"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__} Exits with 1 when the two sides of a row do not agree.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which ones (all): {', '.join(_NAMES)}"
    )
    parser.add_argument("--out", type=Path, default=_HERE.parent / "out" / "bench", help="folder")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(_NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")

    agreed = True
    for name in options.names or _NAMES:
        rows = importlib.import_module(f"{__package__}.bench_{name}").run()
        print(f"{name}\n{table(rows)}\n-> {write(name, rows, options.out)}\n", flush=True)
        agreed = agreed and all(row.equal for row in rows)
    if not agreed:
        print("an equality gate failed: its rows measure different work", file=sys.stderr)
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
