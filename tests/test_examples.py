"""Every example is run as its reader would run it: as a program of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from realtime_stts.errors import MissingExtraError

EXAMPLES = sorted(Path(__file__).parent.parent.joinpath("examples").glob("*.py"))
ENGINES = {
    "espeak": "realtime_stts.engines.espeak",
    "pocketsphinx": "realtime_stts.engines.pocketsphinx",
    "silero": "realtime_stts.engines.silero",
    "webrtc": "realtime_stts.engines.webrtc",
}


def run(example: Path, cwd: Path) -> str:
    """What it prints, unless this environment lacks an engine that it names."""
    source = example.read_text(encoding="utf-8")
    for engine, module in ENGINES.items():
        if f'"{engine}' in source:
            pytest.importorskip(module, exc_type=MissingExtraError)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)], capture_output=True, text=True, cwd=cwd
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs(example: Path, tmp_path: Path) -> None:
    assert run(example, tmp_path)


def test_own_middleware_corrects_clips_and_streams(tmp_path: Path) -> None:
    [example] = (path for path in EXAMPLES if path.stem == "own_middleware")
    printed = run(example, tmp_path)
    assert "without: open the pod bay doors hal\n" in printed
    assert "with:    open the pod-bay doors HAL\n" in printed
    assert "final:   open the pod-bay doors HAL\n" in printed


def test_a_middleware_of_ones_own_is_short() -> None:
    """Under 15 lines of user code: what stands between the example's two lines."""
    [example] = (path for path in EXAMPLES if path.stem == "own_middleware")
    source = example.read_text(encoding="utf-8")
    own = source.partition("# -- the middleware")[2].partition("# -- and its use")[0]
    lines = [line for line in own.splitlines()[1:] if line.strip()]
    assert 0 < len(lines) < 15
