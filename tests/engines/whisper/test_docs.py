"""What the page about Whisper shows is run, with the tests' model in place of OpenAI's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("whisper")

from realtime_stts.audio import AudioData

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "transcribe-with-whisper.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_piece_of_python_hears_what_is_said(
    block: str, tiny_words: Path, tmp_path: Path, say: object
) -> None:
    clip = say("how is the weather today")  # type: ignore[operator]
    assert isinstance(clip, AudioData)
    clip.to_file(tmp_path / "speech.wav")
    code = re.sub(r'"(whisper:)?base\.en"', lambda m: repr(f"{m[1] or ''}{tiny_words}"), block)
    assert code != block
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert "weather" in done.stdout
