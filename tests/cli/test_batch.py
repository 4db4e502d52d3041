"""`transcribe` for many files, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from typer.testing import CliRunner

from realtime_stts.cli._app import app
from realtime_stts.cli._batch_find import SUFFIXES
from realtime_stts.cli._batch_keep import MANIFEST
from realtime_stts.cli._batch_run import Outcome
from realtime_stts.cli._batch_show import Watch
from realtime_stts.testing import speech

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and links are POSIX's")

# What it does is said by how long the sound is.
ENGINE = """
    import os
    import anyio
    from realtime_stts import TranscriptionResult

    class Engine:
        model_loaded = True

        async def is_available(self):
            return True

        async def transcribe(self, audio, language=None):
            what = round(audio.duration_seconds)
            if what == 3:
                os._exit(7)
            if what == 2 and "PATIENT" not in os.environ:
                await anyio.sleep_forever()
            if language == "xx":
                raise ValueError("it does not hear xx")
            return TranscriptionResult(f"{what} s", language or "en", [])
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with an engine called ``told``."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "told_engine.py").write_text(dedent(ENGINE))
    info = folder / "told-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: told\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[realtime_stts.stt]\ntold = told_engine:Engine\n")
    return folder


@pytest.fixture
def command(packages: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """The command as a process of its own, in the folder above ``sound``."""

    def start(*args: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "realtime_stts.cli", "transcribe", *args],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(packages), "COLUMNS": "200"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    return start


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    folder = tmp_path / "sound"
    folder.mkdir()
    return folder


def invoke(*args: str | Path) -> tuple[int, str, str]:
    """The command in this process."""
    runner = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"})
    result = runner.invoke(app, ["transcribe", *map(str, args)])
    return result.exit_code, result.stdout, result.stderr


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def test_a_run_with_every_kind_of_file_and_then_again(
    packages: Path, monkeypatch: pytest.MonkeyPatch, sound: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(packages))
    (sound / "b").mkdir()
    speech(1.0).to_file(sound / "b" / "short.flac")
    speech(1.0).to_file(sound / "b" / "short.wav")
    speech(3.0).to_file(sound / "kills.wav")
    (sound / "empty.wav").write_bytes(b"")
    texts = tmp_path / "texts"
    asked = (sound, "--stt", "told", "-o", texts, "--json")
    code, out, err = invoke(*asked, "--workers", "2")
    told = json.loads(out)
    assert code == 1, err
    assert {each["file"] for each in told["done"]} == {"b/short.flac", "b/short.wav"}
    assert {each["file"]: each["kind"] for each in told["failed"]} == {
        "empty.wav": "AudioFormatError",
        "kills.wav": "EngineCrashedError",
    }
    assert "failed: empty.wav: the file is empty\n" in err
    assert files(texts) == {"b/short.flac.txt": "1 s\n", "b/short.wav.txt": "1 s\n"}
    # What failed is tried again, and nothing else.
    speech(1.0).to_file(sound / "kills.wav")
    (sound / "empty.wav").unlink()
    code, out, err = invoke(*asked)
    told = json.loads(out)
    assert (code, told["skipped"]) == (0, 2), err
    assert [each["file"] for each in told["done"]] == ["kills.wav"]
    assert len(files(texts)) == 3


def test_an_engine_that_takes_too_long_fails_its_file(
    packages: Path, monkeypatch: pytest.MonkeyPatch, sound: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(packages))
    speech(2.0).to_file(sound / "a.wav")
    asked = (sound, "--stt", "told", "-o", tmp_path / "texts", "--timeout", "0.5")
    code, out, _ = invoke(*asked)
    assert code == 1
    assert "a.wav: told: gave nothing within 0.5 s\n" in out


@posix
def test_stopped_by_ctrl_c_it_keeps_what_is_finished_and_goes_on_from_there(
    command: Callable[..., subprocess.Popen[str]], sound: Path, tmp_path: Path
) -> None:
    speech(1.0).to_file(sound / "a.wav")
    speech(2.0).to_file(sound / "b.wav")  # is still under way when it is stopped
    speech(1.0).to_file(sound / "c.wav")
    first = command("sound", "--stt", "told")
    assert first.stderr is not None
    assert first.stderr.readline().startswith("a.wav: 0:01 of sound in ")
    first.send_signal(signal.SIGINT)
    out, err = first.communicate()
    assert (first.returncode, err) == (130, "stopped; the same command goes on from here\n")
    assert out.startswith("transcripts: 1 transcribed, 2 left\n")
    assert files(tmp_path / "transcripts") == {"a.txt": "1 s\n"}
    second = command("sound", "--stt", "told", PATIENT="yes")
    out, err = second.communicate()
    assert (second.returncode, out.partition("\n")[0]) == (
        0,
        "transcripts: 2 transcribed, 1 done before",
    )
    assert files(tmp_path / "transcripts") == {"a.txt": "1 s\n", "b.txt": "2 s\n", "c.txt": "1 s\n"}


@posix
def test_stopped_it_still_says_as_json_what_was_done(
    packages: Path, monkeypatch: pytest.MonkeyPatch, sound: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(packages))
    ended = Watch.ended

    def interrupted(watch: Watch, outcome: Outcome) -> None:
        ended(watch, outcome)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Watch, "ended", interrupted)
    speech(1.0).to_file(sound / "a.wav")
    speech(2.0).to_file(sound / "b.wav")
    texts = tmp_path / "texts"
    code, out, err = invoke(sound, "--stt", "told", "-o", texts, "--json", "-q")
    assert (code, err) == (130, "stopped; the same command goes on from here\n")
    told = json.loads(out)
    assert ([each["file"] for each in told["done"]], told["left"]) == (["a.wav"], 1)


def test_an_engine_that_does_not_take_what_was_asked_for_is_one_line(
    packages: Path, monkeypatch: pytest.MonkeyPatch, sound: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(packages))
    for name in ("a", "b", "c"):
        speech(1.0).to_file(sound / f"{name}.wav")
    asked = (sound, "--stt", "told", "--language", "xx", "-o", tmp_path / "texts")
    assert invoke(*asked, "--workers", "2") == (2, "", "error: it does not hear xx\n")
    assert files(tmp_path / "texts") == {}


def test_a_file_is_transcribed_by_pocketsphinx(sound: Path, tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("espeakng_loader")
    asked = ["say", "good morning", "--voice", "en-us+f3", "-o", str(sound / "one.wav")]
    assert CliRunner().invoke(app, asked).exit_code == 0
    texts = tmp_path / "texts"
    code, out, err = invoke(sound, "-o", texts, "--format", "srt", "--format", "json", "-q")
    assert (code, err) == (0, "")
    assert out.startswith(f"{texts}: 1 transcribed\n")
    assert [*files(texts)] == ["one.json", "one.srt"]
    told = json.loads((texts / "one.json").read_text())
    alone = json.loads(invoke(sound / "one.wav", "--json")[1])
    assert (told["file"], told["engine"]) == ("one.wav", "pocketsphinx")
    assert (told["text"], told["language"]) == (alone["text"], alone["language"])
    assert [(each["text"], each["start"], each["end"]) for each in told["words"]] == [
        (each["text"], each["start"], each["end"]) for each in alone["words"]
    ]
    assert told["duration"] == pytest.approx(alone["duration"], abs=1e-3)
    assert told["text"] in (texts / "one.srt").read_text().replace("\n", " ")
    # Nothing is left to do, and no engine is needed to see that.
    assert invoke(sound, "-o", texts, "--format", "srt")[1] == (
        f"{texts}: 0 transcribed, 1 done before\n"
    )


class TestBeforeItBegins:
    """No engine is loaded for what is decided before."""

    @pytest.fixture(autouse=True)
    def _here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def test_a_folder_without_sound(self, sound: Path) -> None:
        assert invoke("sound") == (
            1,
            "",
            f"error: sound: there is no sound file; looked for {', '.join(SUFFIXES)}\n",
        )
        assert not Path("transcripts").exists()

    def test_nothing_that_matches(self, sound: Path) -> None:
        speech(1.0).to_file(sound / "a.wav")
        code, _, err = invoke("sound", "--pattern", "b*", "--pattern", "c*")
        assert (code, err.partition(";")[0]) == (
            1,
            "error: sound: there is no sound file like b* or c*",
        )

    def test_only_files_that_need_an_extra(
        self, sound: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from realtime_stts.cli import _batch_find

        monkeypatch.setattr(_batch_find, "find_spec", lambda name: None)
        (sound / "a.m4a").write_bytes(b"sound")
        code, _, err = invoke("sound")
        assert code == 1
        assert 'pip install "realtime-stts[av]"' in err
        (sound / "b.wav").write_bytes(b"")  # not sound, but a reason to begin
        assert invoke("sound", "--stt", "nobody")[2].startswith("left out: 1 of .m4a, ")
        assert "left out" not in invoke("sound", "--stt", "nobody", "-q")[2]

    def test_what_would_write_over_another_file_fails(self, sound: Path) -> None:
        speech(1.0).to_file(sound / "a.wav")
        (sound / "a.txt").write_text("my own notes")
        code, out, err = invoke("sound", "-o", "sound")
        assert (code, err) == (1, "")
        assert out == (
            "sound: 0 transcribed, 1 failed\nfailed, and tried again by the next run:\n"
            "  a.wav: a.txt is there already, and was not made from it; move it away\n"
        )
        assert (sound / "a.txt").read_text() == "my own notes"

    def test_a_path_that_is_not_there(self, sound: Path) -> None:
        speech(1.0).to_file(sound / "a.wav")
        assert invoke("sound", "nowhere.wav") == (
            1,
            "",
            "error: nowhere.wav: No such file or directory\n",
        )

    def test_an_engine_that_nobody_knows(self, sound: Path) -> None:
        speech(1.0).to_file(sound / "a.wav")
        speech(1.0).to_file(sound / "b.wav")
        code, out, err = invoke("sound", "--stt", "nobody", "--workers", "2")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "engine is called 'nobody'" in err

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["--format", "doc"], "--format is one of txt, json, srt, vtt, not doc"),
            (["--max-hours", "0"], "--max-hours and --timeout are above 0"),
            (["--timeout", "-1"], "--max-hours and --timeout are above 0"),
            (
                ["--limit", "1", "-"],
                "stdin is one recording; give it alone, without options for many",
            ),
        ],
    )
    def test_a_mistake_is_one_line(self, args: list[str], message: str, sound: Path) -> None:
        assert invoke("sound", *args) == (2, "", f"error: {message}\n")

    @pytest.mark.parametrize("option", [["-o", "texts"], ["--force"], ["--limit", "1"]])
    def test_one_file_with_an_option_for_many_is_a_batch_of_one(
        self, option: list[str], sound: Path
    ) -> None:
        (sound / "a.wav").write_bytes(b"")
        Path("transcripts").mkdir()
        Path("transcripts", "a.txt").write_text("")  # in its way, so that no engine is needed
        Path("texts").mkdir()
        Path("texts", "a.txt").write_text("")
        code, out, _ = invoke(sound / "a.wav", *option)
        assert (code, out.partition(":")[2].partition("\n")[0]) == (1, " 0 transcribed, 1 failed")
