"""How long a program waits for ``import realtime_stts``, beside what it is built on.

Each round is a fresh interpreter that times the import alone; the bytecode is cached, as
it is for everybody after the first start. The parts load when a name of theirs is asked
for, so there are two rows: the package, and all of its names.
"""

from __future__ import annotations

import os
import subprocess
import sys

from ._report import Round, Row, compare

__all__ = ["run"]

_DEPENDENCIES = "anyio, numpy, pydantic, soundfile, soxr, typing_extensions"

_LIMIT = 150.0  # ms; what is longer is felt in a command-line tool
_RATIO = 1.6  # ours to the dependencies alone


def run() -> list[Row]:
    return [
        compare(
            f"{statement}, vs. importing its dependencies{limits}",
            _importing(statement),
            _importing(f"import {_DEPENDENCIES}"),
            unit="ms",
            rounds=21,
        )
        for statement, limits in (
            ("import realtime_stts", f" (< {_LIMIT:.0f} ms, < {_RATIO}x)"),
            ("from realtime_stts import *", f" (< {_RATIO}x)"),
        )
    ]


def _importing(statement: str) -> Round:
    program = (
        "from time import perf_counter\n"
        "start = perf_counter()\n"
        f"{statement}\n"
        "print((perf_counter() - start) * 1e3)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def round_() -> float:
        done = subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
        return float(done.stdout)

    return round_
