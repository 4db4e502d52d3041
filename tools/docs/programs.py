"""Programs of the docs, run as a reader would run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

__all__ = ["Ended", "Run", "runner"]

_LIMIT = 45.0  # s; a test has 60

# What most programs import, and what costs time: other people's packages alone.
_PACKAGES = (
    "asyncio",
    "numpy",
    "numpy.typing",
    "pydantic",
    "yaml",
    "cachetools",
    "stamina",
    "anyio",
    "anyio._backends._asyncio",
    "fastapi",
    "prometheus_client",
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    rc: int | None  # exit status; None if it did not end in time
    out: str
    err: str
    left: bool = False  # whether a process of it still ran


class Run(Protocol):
    """Runs a program in a folder, with every warning an error."""

    def __call__(self, code: str, folder: Path) -> Ended: ...


@contextmanager
def runner() -> Iterator[Run]:
    """By forking one process that has the packages loaded; by starting Python, where none forks."""
    if not hasattr(os, "fork"):
        yield _started
        return
    packages = [name for name in _PACKAGES if find_spec(name.partition(".")[0])]
    server = subprocess.Popen(
        [sys.executable, "-W", "error", str(Path(__file__).with_name("forkserver.py")), *packages],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    stdin, stdout = server.stdin, server.stdout

    def forked(code: str, folder: Path) -> Ended:
        out, err = folder.with_name("stdout"), folder.with_name("stderr")
        request = {"code": code, "cwd": f"{folder}", "out": f"{out}", "err": f"{err}"}
        stdin.write(json.dumps({**request, "limit": _LIMIT}) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        said, complained = out.read_text("utf-8"), err.read_text("utf-8")
        return Ended(answer["rc"], said, complained, answer["left"])

    try:
        yield forked
    finally:
        stdin.close()
        server.wait()
        stdout.close()


def _started(code: str, folder: Path) -> Ended:
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            timeout=_LIMIT,
        )
    except subprocess.TimeoutExpired:
        return Ended(None, "", "")
    return Ended(done.returncode, done.stdout, done.stderr)
