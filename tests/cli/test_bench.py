"""realtime-stts bench: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("matplotlib")
pytest.importorskip("pocketsphinx")
pytest.importorskip("espeakng_loader")

from rich.console import Console
from typer.testing import CliRunner

from realtime_stts.benchmark import CheckError, Figure, Job, read
from realtime_stts.cli import _bench
from realtime_stts.cli._app import app


def run(*args: str) -> tuple[int, str, str]:
    runner = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"})
    result = runner.invoke(app, ["bench", *args], prog_name="realtime-stts")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets text to speech take so many milliseconds, and fail where it is none."""

    def put(delay: float) -> None:
        async def measure(job: Job) -> list[Figure]:
            job.tell("tts: sentence 1 of 1")
            if not delay:
                raise CheckError("it made no sound")
            return [Figure("tts", "time to the first byte", "ms", (delay, delay * 1.1) * 5)]

        module = SimpleNamespace(measure=measure)
        monkeypatch.setitem(sys.modules, "realtime_stts.benchmark._tts", module)  # type: ignore[arg-type]

    return put


def test_it_prints_a_table_and_leaves_files(slow: Any, tmp_path: Path) -> None:
    slow(20.0)
    code, out, err = run("tts", "--quick", "--seed", "4")
    assert code == 0, err
    assert "| time to the first byte | median         | 20.0 ms |" in out
    assert "bench.json, bench.md, bench-tts.png" in out
    assert err.split() == ["tts"]
    report = read(tmp_path / "out/bench/bench.json")
    assert (report.options.quick, report.options.seed) == (True, 4)


def test_it_compares_with_the_file_that_it_writes_anew(slow: Any, tmp_path: Path) -> None:
    slow(20.0)
    assert run("tts", "--quick")[0] == 0
    slow(10.0)
    code, out, err = run("tts", "--quick", "--compare", "out/bench/bench.json")
    assert code == 0, err
    assert "compared, new to old" in out
    assert "| better" in out
    assert (tmp_path / "out/bench/bench-compared.png").exists()
    assert "## Compared" in (tmp_path / "out/bench/bench.md").read_text()


def test_it_compares_two_files_without_measuring(slow: Any, tmp_path: Path) -> None:
    slow(20.0)
    assert run("tts", "--quick", "--out", "monday")[0] == 0
    slow(30.0)
    assert run("tts", "--quick", "--tts", "espeak:en-gb", "--out", "friday")[0] == 0
    slow(0.0)  # nobody measures again
    files = ("--compare", "monday/bench.json", "--read", "friday/bench.json")
    code, out, err = run(*files)
    assert (code, err) == (0, "")
    assert "cannot be compared: the engine was espeak, and is espeak:en-gb" in out
    code, out, _ = run(*files, "--across-engines")
    assert code == 0
    assert "| worse" in out
    assert "note: other engines: " in out
    assert read(tmp_path / "out/bench/bench.json") == read(tmp_path / "friday/bench.json")


def test_it_shows_a_file_and_writes_nothing(slow: Any, tmp_path: Path) -> None:
    slow(20.0)
    assert run("tts", "--quick", "--out", "monday")[0] == 0
    code, out, _ = run("--read", "monday/bench.json")
    assert code == 0
    assert "20.0 ms" in out
    assert not (tmp_path / "out").exists()


def test_a_suite_that_fails_is_one_line_and_the_exit_code(slow: Any, tmp_path: Path) -> None:
    slow(0.0)
    code, _, err = run("tts", "--quick")
    assert code == 1
    assert "error: tts failed: it made no sound" in err
    assert read(tmp_path / "out/bench/bench.json").failures == {"tts": "it made no sound"}


def test_in_a_terminal_one_line_says_what_is_going_on(
    slow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(20.0)
    monkeypatch.setattr(_bench, "err", Console(stderr=True, force_terminal=True))
    assert run("tts", "--quick")[0] == 0


@pytest.mark.parametrize(
    ("args", "code", "why"),
    [
        (["singing"], 2, "there is no suite singing"),
        (["tts", "--language", "de"], 2, "give recordings"),
        (["tts", "--stt", "nobody"], 2, "nobody"),
        (["tts", "--data", "nowhere"], 1, "nowhere: there is no such folder"),
        (["--compare", "none.json"], 1, "none.json: No such file"),
        (["--read", "bad.json"], 1, "bad.json: this is no report"),
        (["tts", "--repeat", "0"], 2, "repeat"),
    ],
)
def test_mistakes_are_one_line(args: list[str], code: int, why: str) -> None:
    Path("bad.json").write_text("{}")
    found, out, err = run(*args)
    assert (found, out) == (code, "")
    assert why in err


def test_its_help_names_the_suites_and_gives_examples() -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "realtime-stts bench --quick" in out
    assert "transcripts.tsv" in out
