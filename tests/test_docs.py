"""What the README and the docs show is run, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from realtime_stts.errors import MissingExtraError

pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
pytest.importorskip("realtime_stts.engines.pocketsphinx", exc_type=MissingExtraError)
pytest.importorskip("realtime_stts.engines.silero", exc_type=MissingExtraError)

ROOT = Path(__file__).parent.parent
NEEDS_A_MODEL = {"speak-with-chatterbox.md", "transcribe-with-whisper.md"}  # run in tests/engines
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
    if page.name not in NEEDS_A_MODEL
]
BLOCKS = {
    f"{page.name}-{n}": block
    for page in PAGES
    for n, block in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )
}


@pytest.mark.parametrize("code", BLOCKS.values(), ids=BLOCKS)
def test_every_piece_of_python_runs(code: str, tmp_path: Path) -> None:
    for leaf in re.findall(r"realtime_stts\.integrations\.\w+", code):
        pytest.importorskip(leaf, exc_type=MissingExtraError)
    if "import openai" in code:
        pytest.importorskip("openai")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_conversation_hears_and_answers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS["README.md-0"]], capture_output=True, text=True
    )
    assert "heard:    tell me a joke" in done.stdout
    assert "answered: Why do programmers" in done.stdout
