"""Counting the workloads' instructions, in programs that callgrind executes."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from .child import FORKS, ROUNDS

__all__ = ["PACKAGES", "PATIENCE", "CountError", "build", "count", "versions"]

_ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("numpy", "soxr", "anyio", "pydantic")
PATIENCE: Final = 600.0  # s; a run takes under a minute

# Nothing of whoever runs it: neither their settings nor the size of their environment.
_ENVIRONMENT: Final = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
_UNDER_CALLGRIND: Final = {**_ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"}

_MISSING: Final = (
    "valgrind is not installed, and nothing else counts instructions here: "
    "apt-get install valgrind (Debian, Ubuntu), dnf install valgrind (Fedora)"
)


class CountError(Exception):
    """The instructions could not be counted."""


def build() -> str:
    """What belongs to the machine: the build of Python, its C library, and valgrind.

    Others take, or count, other numbers of instructions.

    Raises:
        CountError: valgrind is not installed, or does not run.
    """
    said = subprocess.run([_valgrind(), "--version"], capture_output=True, text=True, check=False)
    if said.returncode:
        raise CountError(f"valgrind does not run: {said.stderr.strip()}")
    compiled = " ".join(re.findall(r"-O\w", str(sysconfig.get_config_var("OPT"))))
    if "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")):
        compiled += " profiled"
    return ", ".join(
        [
            f"{platform.python_implementation()} {platform.python_version()}",
            f"{platform.python_compiler()} {compiled}",
            platform.machine(),
            " ".join(platform.libc_ver()),
            said.stdout.strip(),
        ]
    )


def versions() -> dict[str, str]:
    """Of the packages that the counts depend on, which are pinned."""
    return {package: version(package) for package in PACKAGES}


def count(workloads: Path) -> dict[str, int]:
    """The instructions of one round of each workload in that file.

    Its workloads are counted by as many programs at a time as there are cores.

    Raises:
        CountError: They could not be counted; what was started has ended.
    """
    # Not under callgrind, to have everything compiled: Python that compiles what it imports
    # has other things in other places.
    listing = subprocess.run(
        _child(workloads), cwd=_ROOT, env=_ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        raise CountError(f"the workloads cannot be run:\n{listing.stderr}")
    names: list[str] = json.loads(listing.stdout)
    n_programs = min(len(names), os.cpu_count() or 1)
    with TemporaryDirectory(prefix="guard-") as folder:
        dumps = Path(folder)
        commands = [
            [*_callgrind(dumps), *_child(workloads), str(first), str(n_programs)]
            for first in range(n_programs)
        ]
        with _running(commands, dumps) as programs:
            for number, program in enumerate(programs):
                _wait_for(program, dumps / f"{number}.err")
        forks = "".join((dumps / f"{i}.out").read_text("utf-8") for i in range(n_programs))
        counts = _smallest(forks, dumps)
    return {name: counts[name] for name in names}


def _child(workloads: Path) -> list[str]:
    return [sys.executable, "-s", "-m", "benchmarks.guard.child", str(workloads.resolve())]


def _valgrind() -> str:
    found = shutil.which("valgrind")
    if found is None:
        raise CountError(_MISSING)
    return found


def _callgrind(dumps: Path) -> list[str]:
    return [
        _valgrind(),
        "--command-line-only=yes",  # no options of whoever runs it
        "--tool=callgrind",
        f"--callgrind-out-file={dumps}/dump.%p",
        "--collect-atstart=no",
        "--toggle-collect=ffi_call",
        "--dump-after=ffi_call",
    ]


@contextmanager
def _running(commands: list[list[str]], output: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start all of them; on the way out, whatever happened, none is left, nor a fork of one."""
    programs: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate(commands):
            with (
                (output / f"{number}.out").open("wb") as out,
                (output / f"{number}.err").open("wb") as err,
            ):
                programs.append(
                    subprocess.Popen(
                        command,
                        cwd=_ROOT,
                        env=_UNDER_CALLGRIND,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=err,
                        start_new_session=True,
                    )
                )
        yield programs
    finally:
        for program in programs:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()


def _wait_for(program: subprocess.Popen[bytes], errors: Path) -> None:
    try:
        status = program.wait(PATIENCE)
    except subprocess.TimeoutExpired as exc:
        raise CountError(f"counting took longer than {PATIENCE:g} s") from exc
    if status:
        said = errors.read_text("utf-8", "replace")[-4000:]
        raise CountError(f"callgrind or the workloads failed (exit status {status}):\n{said}")


def _smallest(forks: str, dumps: Path) -> dict[str, int]:
    """Of each workload, the smallest count of a round in any of its forks."""
    counts: dict[str, list[int]] = {}
    for line in forks.splitlines():
        pid, _, name = line.partition(" ")
        rounds = [_total(path) for path in dumps.glob(f"dump.{pid}.*")]
        if len(rounds) != ROUNDS:
            raise CountError(
                f"callgrind counted {len(rounds)} rounds of {name!r} and not {ROUNDS}: it did not "
                "find the function ffi_call in this Python's libffi, or a workload uses ctypes"
            )
        counts.setdefault(name, []).extend(rounds)
    assert all(len(of) == FORKS * ROUNDS for of in counts.values())
    return {name: min(of) for name, of in counts.items()}


def _total(dump: Path) -> int:
    """The instructions in one of callgrind's dumps."""
    found = re.search(r"^totals: (\d+)$", dump.read_text("utf-8", "replace"), re.MULTILINE)
    if found is None:
        raise CountError(f"callgrind wrote a dump without a total: {dump.name}")
    return int(found[1])
