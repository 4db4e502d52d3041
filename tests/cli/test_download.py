"""`download`, with engines that need something and with those that do not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from rich.console import Console
from typer.testing import CliRunner

from realtime_stts import EngineLoadError
from realtime_stts.cli import _download
from realtime_stts.cli._app import app
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine

Progress = Callable[[int, "int | None"], None]


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, ["download", *args])
    return result.exit_code, result.stdout, result.stderr


class _Downloading:
    """Finds its model in a folder, or gets it there in three pieces."""

    total: int | None = 3_000_000
    failure: Exception | None = None

    def __init__(self, folder: Path) -> None:
        self.file = folder / "model.bin"

    async def download(self, progress: Progress | None = None) -> Path:
        if self.failure:
            raise self.failure
        if not self.file.exists():
            assert progress is not None
            for done in range(0, 3_000_001, 1_000_000):
                progress(done, self.total)
            self.file.write_bytes(b"the model")
        return self.file


class DownloadingSTT(_Downloading, ScriptedSTTEngine):
    def __init__(self, folder: Path) -> None:
        _Downloading.__init__(self, folder)
        ScriptedSTTEngine.__init__(self, [])


class DownloadingTTS(_Downloading, ScriptedTTSEngine):
    def __init__(self, folder: Path) -> None:
        _Downloading.__init__(self, folder)
        ScriptedTTSEngine.__init__(self)


@pytest.fixture
def stt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Engines are made with a folder of their own; which, and how, is noted."""
    made: list[tuple[str, dict[str, Any]]] = []

    def load(spec: str, **options: Any) -> DownloadingSTT:
        made.append((spec, options))
        return DownloadingSTT(options.get("download_root", tmp_path))

    monkeypatch.setattr(_download, "load_stt", load)
    return made


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What a terminal shows."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    monkeypatch.setattr(_download, "err", console)
    return file.getvalue


def test_it_says_where_the_model_is(stt: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    assert run("deaf:tiny") == (0, f"deaf:tiny: {file}\n", "")
    assert file.read_bytes() == b"the model"
    assert stt == [("deaf:tiny", {})]


def test_into_a_folder_of_ones_choice(stt: list[Any], tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    assert run("deaf:tiny", "--root", str(folder))[:2] == (0, f"deaf:tiny: {folder}/model.bin\n")
    assert stt[-1] == ("deaf:tiny", {"download_root": folder})


@pytest.mark.parametrize("total", [3_000_000, None])
def test_on_a_terminal_a_bar_shows_how_far_it_is(
    stt: list[Any],
    terminal: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    total: int | None,
) -> None:
    monkeypatch.setattr(_Downloading, "total", total)
    run("deaf:tiny")
    assert "downloading deaf:tiny" in terminal()
    assert ("3.0/3.0 MB" if total else "3.0/? MB") in terminal()


def test_without_anything_to_fetch_there_is_no_bar(
    stt: list[Any], terminal: Callable[[], str], tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"is there")
    code, out, _ = run("deaf:tiny")
    assert (code, out) == (0, f"deaf:tiny: {tmp_path}/model.bin\n")
    assert "downloading" not in terminal()


def test_a_failure_is_one_line(stt: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    failure = EngineLoadError("deaf", "tiny cannot be downloaded (no network)")
    monkeypatch.setattr(_Downloading, "failure", failure)
    assert run("deaf") == (1, "", "error: deaf: tiny cannot be downloaded (no network)\n")


def test_a_voice_is_fetched_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_download, "load_tts", lambda spec: DownloadingTTS(tmp_path))
    assert run("mute:small") == (0, f"mute:small: {tmp_path}/model.bin\n", "")


@pytest.mark.parametrize("root", [[], ["--root", "models"]])
def test_an_engine_that_needs_nothing_says_so(
    root: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "load_stt", lambda spec: ScriptedSTTEngine([]))
    assert run("scripted", *root) == (0, "scripted needs no download\n", "")


def test_an_engine_that_is_embedded_says_so() -> None:
    pytest.importorskip("espeakng_loader")
    assert run("espeak") == (0, "espeak needs no download\n", "")


def test_an_engine_that_nobody_knows() -> None:
    code, out, err = run("nobody:tiny")
    assert (code, out) == (2, "")
    assert "no speech engine is called 'nobody'; known: " in err
    assert {"espeak", "pocketsphinx"} <= {*err.replace(".", ",").replace(",", " ").split()}


@pytest.mark.anyio
async def test_a_command_that_made_its_engine_fetches_what_that_one_needs(tmp_path: Path) -> None:
    engine = DownloadingSTT(tmp_path)
    assert await _download.fetch(engine, "deaf:tiny") == engine.file
    assert engine.file.exists()
    assert await _download.fetch(ScriptedSTTEngine([]), "scripted") is None


class TestWhisper:
    @pytest.fixture(autouse=True)
    def _whisper(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("whisper")
        from realtime_stts.engines.whisper import WhisperSTTEngine

        def load(spec: str, **options: Any) -> WhisperSTTEngine:
            return WhisperSTTEngine(spec.partition(":")[2], **options)

        monkeypatch.setattr(_download, "load_stt", load)

    def test_without_a_network_it_says_what_to_do(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody listens
        monkeypatch.setenv("no_proxy", "")
        code, out, err = run("whisper:tiny.en", "--root", str(tmp_path))
        assert (code, out) == (1, "")
        assert err.startswith("error: whisper: tiny.en.pt cannot be downloaded (Connection ")
        assert f"into {tmp_path}, or pass a checkpoint's path: whisper:/path/to/tiny.en.pt" in err
        assert err.count("\n") == 1

    def test_a_model_that_nobody_knows(self) -> None:
        code, out, err = run("whisper:tinny")
        assert (code, out) == (2, "")
        assert err.startswith("error: no Whisper model is called 'tinny'; known: tiny, ")

    def test_a_checkpoint_that_is_there(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.pt"
        file.write_bytes(b"is not looked at")
        assert run(f"whisper:{file}") == (0, f"whisper:{file}: {file}\n", "")
