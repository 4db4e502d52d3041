"""What the page about Chatterbox shows is run, with a small model in place of Resemble AI's."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("chatterbox")

from realtime_stts.audio import AudioData

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "speak-with-chatterbox.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_piece_of_python_speaks(
    block: str,
    checkpoint: Callable[[str], Path],
    recording: Callable[..., AudioData],
    tmp_path: Path,
) -> None:
    recording().to_file(tmp_path / "ada.wav")
    kind = "turbo" if "turbo" in block else "standard"
    code = re.sub(
        r'"(chatterbox:)?(turbo|standard)"',
        lambda m: repr(f"{m[1] or ''}{checkpoint(kind)}"),
        block,
    )
    assert code != block
    begin = (
        f"from tools.random_chatterbox import small\nmodel = small({kind!r})\nmodel.__enter__()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", begin + code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if "morning.wav" in block:
        assert AudioData.from_file(tmp_path / "morning.wav").duration_seconds > 1.0
    else:
        assert "ada True" in done.stdout
        assert not [*(tmp_path / "voices").iterdir()]
