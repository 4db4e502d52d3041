"""How long a program waits for ``import realtime_stts``, beside what it is built on.

Each round is a fresh interpreter that times the import alone; the bytecode is cached, as
it is for everybody after the first start.
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
            f"import realtime_stts, vs. its dependencies (< {_LIMIT:.0f} ms, < {_RATIO}x)",
            _importing("realtime_stts"),
            _importing(_DEPENDENCIES),
            unit="ms",
            rounds=21,
        )
    ]


def _importing(names: str) -> Round:
    program = (
        "from time import perf_counter\n"
        "start = perf_counter()\n"
        f"import {names}\n"
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
