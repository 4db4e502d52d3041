"""What a Python environment can run: versions, devices, and what is wrong with them.

An environment is asked by a process of its Python, which prints this as JSON.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import warnings
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

__all__ = ["Inspection", "inspect", "inspect_environment", "main"]

_PROGRAM: Final = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; "
    "from realtime_stts.engines._inspection import main; main()"
)

_PERTH_REMEDY: Final = 'pip install "setuptools<81": its Perth needs pkg_resources'


@dataclass(frozen=True, slots=True)
class Inspection:
    """An environment's state; None for what is not installed."""

    python: str
    project: str
    torch: str | None  # its version and where it can compute, or what is wrong
    perth: str | None  # "ready", or what is wrong
    broken: tuple[str, ...] = ()  # which of those are wrong


def inspect() -> Inspection:
    """The environment of this process. Takes seconds where torch is installed."""
    broken: list[str] = []
    states: dict[str, str | None] = {}
    for package, state in (("torch", _torch), ("perth", _perth)):
        states[package] = None
        if find_spec(package) is not None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # about what they import
                    states[package] = state()
            except Exception as exc:  # noqa: BLE001 - whatever a broken installation raises
                states[package] = f"cannot be used: {exc}"
                broken.append(package)
    try:
        project = version("realtime-stts")
    except PackageNotFoundError:
        project = "not installed"
    return Inspection(
        platform.python_version(), project, states["torch"], states["perth"], tuple(broken)
    )


def inspect_environment(python: Path, timeout: float = 120.0) -> Inspection:
    """The environment of that Python.

    Raises:
        OSError: It cannot be run, or does not run this library; the message says why.
    """
    try:
        done = subprocess.run(
            [python, "-c", _PROGRAM],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise OSError(f"{python} said nothing within {timeout:g} s") from exc
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise OSError(last or f"{python} ended with exit code {done.returncode}")
    fields: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return Inspection(**{**fields, "broken": tuple(fields["broken"])})


def main() -> None:
    sys.stdout.write(f"\n{json.dumps(asdict(inspect()))}\n")


def _torch() -> str:
    torch = import_module("torch")
    places = [torch.cuda.get_device_name(0)] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        places.append("mps")
    return f"{torch.__version__}, on {' and '.join([*places, 'cpu'])}"


def _perth() -> str:
    perth = import_module("perth")
    if perth.PerthImplicitWatermarker is None:  # it is what Perth leaves of an ImportError
        raise RuntimeError(_PERTH_REMEDY)
    return "ready"
