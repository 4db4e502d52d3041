"""The tutorial's own test passes where its reader runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.docs.links import fences
from tools.docs.modules import ROOT

pytest.importorskip("trio")

TUTORIAL = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")


def test_its_test_passes_on_both_event_loops(tmp_path: Path) -> None:
    excerpts = fences(TUTORIAL, "py")
    conftest = next(each for each in excerpts if each.startswith("pytest_plugins"))
    test = next(each for each in excerpts if "async def test_" in each)
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "test_weather.py").write_text(test, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "anyio"],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # with what a reader has
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^2 passed in", done.stdout, re.M)
