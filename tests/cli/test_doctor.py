"""What the doctor says of this very environment, and of one that lacks or breaks something."""

from __future__ import annotations

import io
import json
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from rich.console import Console
from typer.testing import CliRunner

from realtime_stts.cli import _doctor
from realtime_stts.cli._app import app
from realtime_stts.cli._checkup import ModelFiles, Problem
from realtime_stts.engines import EngineEntry
from realtime_stts.engines._inspection import Inspection

HERE = Inspection("3.11.7", version("realtime-stts"), None, None)


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without models, environments, sound devices and settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REALTIME_STTS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("REALTIME_STTS_CONFIG", raising=False)
    monkeypatch.setattr(_doctor, "find_models", lambda settings, environ: [])
    monkeypatch.setattr(_doctor, "find_sound", lambda: ([], []))
    monkeypatch.setattr(_doctor, "inspect", lambda: HERE)


def offer(monkeypatch: pytest.MonkeyPatch, **problems: str | None) -> None:
    """Engines for both kinds, and what is wrong with each."""
    entries = [EngineEntry(name, "stt", "p", problem) for name, problem in problems.items()]
    monkeypatch.setattr(_doctor, "available", lambda kind: entries)


def examination(width: int = 200, **options: Any) -> tuple[str, bool]:
    file = io.StringIO()
    well = _doctor.examine(Console(file=file, width=width), **options)
    return file.getvalue(), well


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def run(*args: str) -> tuple[int, str, str]:
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    result = runner.invoke(app, ["doctor", *args], prog_name="realtime-stts")
    return result.exit_code, result.stdout, result.stderr


def test_it_names_the_versions_of_python_and_of_every_package() -> None:
    text, _ = examination()
    assert f"realtime-stts {version('realtime-stts')}, Python {platform.python_version()}" in text
    assert f"numpy the core {version('numpy')}" in lines(text)
    assert f"rich cli {version('rich')}" in lines(text)


def test_it_lists_the_engines_with_what_they_are_for() -> None:
    said = lines(examination()[0])
    assert "energy pause detection ready" in said
    for engine in ("pocketsphinx speech to text", "espeak text to speech"):
        assert any(line.startswith(engine) for line in said)


def test_a_package_that_is_missing_has_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = ["no-such-core>=1", 'no-such-package>=1; extra == "local"']
    monkeypatch.setattr(_doctor, "requires", lambda _: requirements)
    said = lines(examination()[0])
    assert 'no-such-core the core missing: pip install "realtime-stts"' in said
    assert 'no-such-package local missing: pip install "realtime-stts[local]"' in said


def test_an_engine_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, deaf='pip install "realtime-stts[local]"')
    assert 'deaf speech to text pip install "realtime-stts[local]"' in lines(examination()[0])


def test_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, pocketsphinx=None, espeak=None)
    text, well = examination(strict=True)
    assert well
    assert lines(text)[-1] == "nothing is broken"
    assert {"sound devices none", "settings no file: valid"} <= {*lines(text)}


def test_models_are_listed_with_their_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [
        ModelFiles("whisper", "base", "/cache/base.pt", 145_262_807),
        ModelFiles("chatterbox", "chatterbox", "/hub", 3_200_000_000),
    ]
    monkeypatch.setattr(_doctor, "find_models", lambda settings, environ: models)
    said = lines(examination()[0])
    assert "whisper:base 145 MB, /cache/base.pt" in said
    assert "chatterbox:chatterbox 3.20 GB, /hub" in said


def test_sound_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_doctor, "find_sound", lambda: (["0 Headset (ALSA)"], []))
    assert "sound devices 0 Headset (ALSA)" in lines(examination()[0])
    broken = Problem("microphones cannot be used", "apt install libportaudio2")
    monkeypatch.setattr(_doctor, "find_sound", lambda: (None, [broken]))
    said = lines(examination()[0])
    assert 'sound devices not asked: pip install "realtime-stts[microphone]"' in said
    assert said[-2:] == ["! microphones cannot be used", "→ apt install libportaudio2"]


def test_a_watermark_that_is_silently_none_is_a_problem_with_its_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, pocketsphinx=None, espeak=None)
    silent = replace(HERE, torch="2.6, on cpu", perth="cannot be used: x", broken=("perth",))
    monkeypatch.setattr(_doctor, "inspect", lambda: silent)
    text, well = examination()
    assert well
    assert lines(text)[-2:] == [
        "! Chatterbox cannot mark its speech",
        '→ pip install "setuptools<81"',
    ]
    assert not examination(strict=True)[1]


def test_settings_that_cannot_be_used_fail_with_every_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("mine.yaml")
    path.write_text("server: {prot: 1}\nui: {theme: pink}\n")
    code, out, err = run("--config", str(path))
    assert (code, err) == (1, "")
    assert f"settings {path}: cannot be used" in lines(out)
    assert f"! server.prot: there is no such setting; is server.port meant? (from {path})" in out
    assert "! ui.theme: " in out
    assert f"→ correct it in {path} or the variable that it names" in out


def test_an_engine_that_settings_name_and_that_is_missing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, pocketsphinx=None, espeak=None, deaf="pip install ears")
    path = tmp_path / "mine.yaml"
    path.write_text("stt_engine: {engine: deaf}\nserver: {port: 80}\n")
    code, out, _ = run("--config", str(path))
    assert code == 1
    assert lines(out)[-2:] == ["! stt_engine.engine: deaf cannot be used", "→ pip install ears"]
    assert any(line.startswith("server.port: below 1024") for line in lines(out))
    path.write_text("stt_engine: {engine: pocketsphinx}\n")
    assert run("--config", str(path))[0] == 0


def test_a_default_engine_that_is_missing_fails_only_the_strict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, pocketsphinx='pip install "realtime-stts[local]"', espeak=None)
    assert run()[0] == 0
    assert run("--strict")[0] == 1


def test_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, pocketsphinx="pip install x", espeak=None)
    code, out, err = run("--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert {*report} == {
        "version", "python", "system", "packages", "engines", "torch", "watermark",
        "environments", "models", "sound_devices", "settings", "problems",
    }  # fmt: skip
    assert report["settings"] == {"path": None, "valid": True, "warnings": {}}
    assert report["problems"] == [
        {
            "what": "stt_engine.engine: pocketsphinx cannot be used",
            "remedy": "pip install x",
            "asked": False,
        }
    ]


def test_an_environment_of_another_version_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_doctor, "made_environments", lambda: [tmp_path / "old"])
    old = replace(HERE, project="0.0.1")
    monkeypatch.setattr(_doctor, "inspect_environment", lambda python: old)
    said = lines(examination()[0])
    here = version("realtime-stts")
    assert f"old Python 3.11.7, realtime-stts 0.0.1, and not {here}; make it again" in said
    assert said[-1] == "→ realtime-stts env remove old, then realtime-stts env create old"
    ready = replace(HERE, torch="2.5, on cpu")
    monkeypatch.setattr(_doctor, "inspect_environment", lambda python: ready)
    state = f"old Python 3.11.7, realtime-stts {here}; torch: 2.5, on cpu"
    assert state in lines(examination()[0])


def test_an_environment_that_does_not_run_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(python: Path) -> Inspection:
        raise OSError("out of order")

    monkeypatch.setattr(_doctor, "made_environments", lambda: [tmp_path / "old"])
    monkeypatch.setattr(_doctor, "inspect_environment", refuse)
    said = lines(examination()[0])
    assert "old broken: out of order; make it again" in said
    assert "! the environment old is broken: out of order" in said
