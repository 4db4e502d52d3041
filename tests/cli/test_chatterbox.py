"""Chatterbox on the command line and at its full size, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

pytest.importorskip("chatterbox")
pytest.importorskip("typer")

import perth

from realtime_stts.audio import AudioData
from realtime_stts.engines.isolated import IsolatedTTSEngine
from realtime_stts.errors import EngineCrashedError
from tools.random_chatterbox import write

TEXT = "So it is said."  # in 30 tokens, 1.2 s


def run(*args: str, home: Path) -> subprocess.CompletedProcess[str]:
    """A command; whatever it would download is refused by a port that nobody listens to."""
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(home), "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-m", "realtime_stts.cli", *args],
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 GB."""
    return write(tmp_path_factory.mktemp("chatterbox"), "standard", end=30)


@pytest.mark.parametrize("command", [["say", "hello"], ["download"]])
def test_without_a_network_the_error_says_what_to_do(command: list[str], tmp_path: Path) -> None:
    tts = ["--tts", "chatterbox"] if command[0] == "say" else ["chatterbox:standard"]
    done = run(*command, *tts, home=tmp_path)
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "ResembleAI/chatterbox cannot be downloaded (" in said
    assert "Put its files (t3_cfg.safetensors, " in said
    assert "run `realtime-stts download chatterbox:standard` where there is a network" in said
    assert "Traceback" not in done.stderr
    assert not [*tmp_path.rglob("*.safetensors*")]


@pytest.mark.full_size
@pytest.mark.timeout(300)
def test_a_text_becomes_a_marked_recording(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "said.wav"
    done = run("say", TEXT, "--tts", f"chatterbox:{model}", "-o", str(file), home=tmp_path)
    assert done.returncode == 0, done.stderr
    said = AudioData.from_file(file)
    assert (said.sample_rate, said.channels) == (24_000, 1)
    assert 0.5 < said.duration_seconds < 1.5
    detector = perth.PerthImplicitWatermarker()
    assert detector.get_watermark(said.samples[:, 0], 24_000, round=False).mean() > 0.9


@pytest.mark.full_size
@pytest.mark.timeout(300)
def test_its_process_may_be_killed_while_it_speaks(model: Path) -> None:
    """The call fails, and says why; the next one speaks again."""

    async def to_the_end(chunks: AsyncIterator[AudioData]) -> None:
        async for _ in chunks:
            pass

    async def killed() -> None:
        engine = IsolatedTTSEngine(f"chatterbox:{model}", options={"device": "cpu"}, python=None)
        async with engine:
            async with aclosing(engine.stream(TEXT)) as chunks:
                await anext(chunks)
                assert engine.pid is not None
                os.kill(engine.pid, signal.SIGKILL)
                with pytest.raises(EngineCrashedError, match="SIGKILL"):
                    await to_the_end(chunks)  # what had come before is still heard
            async with aclosing(engine.stream(TEXT)) as chunks:
                assert (await anext(chunks)).duration_seconds > 0.1

    anyio.run(killed)
