"""Environments for engines: made whole or not at all, listed, used, and removed."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import replace
from importlib.metadata import PathDistribution, version
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from rich.console import Console
from typer.testing import CliRunner

from realtime_stts.cli import _doctor, _env
from realtime_stts.cli._app import app
from realtime_stts.engines import _environments, _inspection
from realtime_stts.engines._inspection import Inspection
from realtime_stts.engines.isolated import IsolatedTTSEngine


def run(*args: str) -> tuple[int, str, str]:
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    result = runner.invoke(app, ["env", *args], prog_name="realtime-stts")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REALTIME_STTS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def made(home: Path, name: str) -> Path:
    """An environment in which this very Python is."""
    folder = home / "environments" / name
    python = _environments.interpreter(folder)
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return folder


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A uv that does what a script in the place of it says."""
    uv = tmp_path / "tools" / "uv"
    uv.parent.mkdir()
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
    return uv


def acts(uv: Path, install: str) -> None:
    uv.write_text(
        f"""#!/bin/sh
echo "$@" >> {uv}.log
for folder; do :; done  # the last argument
if [ "$1" = venv ]; then
    mkdir -p "$folder/bin"
    printf '#!/bin/sh\\nexec {sys.executable} "$@"\\n' > "$folder/bin/python"
    chmod +x "$folder/bin/python"
    exit
fi
{install}
"""
    )
    uv.chmod(0o755)


# -- help and mistakes -------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["create"], ["list"], ["remove"]])
def test_every_level_has_help(command: list[str]) -> None:
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert "Usage: realtime-stts env" in out


def test_without_a_command_it_shows_them_all() -> None:
    _, out, err = run()
    assert all(command in out + err for command in ("create", "list", "remove"))


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "naïve"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    code, out, err = run("create", name)
    assert (code, out) == (2, "")
    assert "is no name" in err


def test_an_extra_that_does_not_exist_is_refused(home: Path) -> None:
    code, out, err = run("create", "no-such-engine")
    assert (code, out) == (2, "")
    assert "no extra 'no-such-engine'; known: " in err
    assert "local" in err
    assert not home.exists()


def test_what_is_there_is_not_overwritten(home: Path) -> None:
    made(home, "local")
    code, _, err = run("create", "local")
    assert code == 1
    assert "env remove local" in err


# -- making one --------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="with a shell script in place of uv")
def test_it_has_uv_install_this_very_version(home: Path, tools: Path) -> None:
    acts(tools, "exit 0")
    code, out, err = run("create", "voices", "--extra", "local", "--extra", "cli")
    assert code == 0, err
    folder = home / "environments" / "voices"
    assert str(folder) in out.replace("\n", "")
    venv, install = Path(f"{tools}.log").read_text().splitlines()
    assert venv.startswith("venv ")
    assert install.startswith("pip install ")
    assert "[local,cli]" in install
    assert [path.name for path in folder.parent.iterdir()] == ["voices"]


@pytest.mark.skipif(sys.platform == "win32", reason="with a shell script in place of uv")
@pytest.mark.parametrize("end", ["exit 7", "kill -TERM $$"])
def test_what_fails_leaves_nothing_behind(home: Path, tools: Path, end: str) -> None:
    acts(tools, end)
    code, out, err = run("create", "local")
    assert (code, out) == (1, "")
    assert "uv failed with exit code" in err
    assert [*(home / "environments").iterdir()] == []


def test_an_interruption_leaves_nothing_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(command: list[str]) -> None:
        Path(command[-1]).mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(_env, "_run", interrupted)
    assert run("create", "local")[0] == 130
    assert [*(home / "environments").iterdir()] == []


class _Installed(PathDistribution):
    """A distribution that came from somewhere."""

    def __init__(self, origin: dict[str, Any] | None) -> None:
        self._origin = origin

    @property
    def metadata(self) -> Any:
        from email.message import Message

        message = Message()
        message["Version"] = "1.2.3"
        message["Provides-Extra"] = "local"
        return message

    def read_text(self, filename: str | os.PathLike[str]) -> str | None:
        return None if self._origin is None else json.dumps(self._origin)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, ["realtime-stts[local]==1.2.3"]),
        (
            {"url": "file:///src/my%20stts", "dir_info": {"editable": True}},
            ["-e", "/src/my stts[local]"],
        ),
        ({"url": "file:///src/stts", "dir_info": {}}, ["/src/stts[local]"]),
        (
            {"url": "https://host/stts.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            ["realtime-stts[local] @ git+https://host/stts.git@abc"],
        ),
        (
            {"url": "https://host/stts.zip", "archive_info": {}},
            ["realtime-stts[local] @ https://host/stts.zip"],
        ),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
def test_the_environment_gets_what_is_installed_here(
    monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None, expected: list[str]
) -> None:
    monkeypatch.setattr(_env, "distribution", lambda _: _Installed(origin))
    assert _env.requirement(["local"]) == expected


@pytest.mark.timeout(300)
@pytest.mark.skipif("REALTIME_STTS_SLOW" not in os.environ, reason="downloads 100 MB")
@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_real_one_speaks(home: Path, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import anyio

    if tool == "pip":
        monkeypatch.setattr(_env.shutil, "which", lambda *args, **kwargs: None)
    code, _, err = run("create", "local")
    assert code == 0, err

    async def speak() -> float:
        async with IsolatedTTSEngine("espeak", python="local") as engine:
            assert engine._launch.python.is_relative_to(home)
            return (await engine.synthesize("hello")).audio_data.duration_seconds

    assert anyio.run(speak) > 0.2
    assert run("remove", "local")[0] == 0
    assert [*(home / "environments").iterdir()] == []


# -- those that are there ----------------------------------------------------------------


def test_there_are_none_at_first(home: Path) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert f"no environment in {home}" in out.replace("\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="with a shell script in place of Python")
def test_they_are_listed_with_their_versions_and_can_be_removed(home: Path) -> None:
    made(home, "local")
    broken = made(home, "broken")
    _environments.interpreter(broken).write_text("#!/bin/sh\necho >&2 out of order; exit 1\n")
    (home / "environments" / ".half.1234.partial").mkdir()
    code, out, _ = run("list")
    rows = {words[0]: words[1:] for line in out.splitlines() if (words := line.split())}
    assert code == 0
    assert rows["local"][1] == version("realtime-stts")
    assert rows["broken"][:4] == ["broken", "out", "of", "order"]
    assert len(rows) == 3  # with the head
    assert run("remove", "broken")[:2] == (0, "broken is gone\n")
    assert run("remove", "half")[:2] == (0, "half is gone\n")
    assert [path.name for path in (home / "environments").iterdir()] == ["local"]
    code, out, err = run("remove", "broken")
    assert (code, out) == (2, "")
    assert "there are: local" in err


@pytest.mark.skipif(sys.platform == "win32", reason="with a shell script in place of Python")
def test_an_engine_is_run_in_the_one_that_has_its_name(home: Path) -> None:
    folder = made(home, "espeak")
    inside = _environments.interpreter(folder)
    assert IsolatedTTSEngine("espeak:en-gb")._launch.python == inside
    assert IsolatedTTSEngine("other", python="espeak")._launch.python == inside
    assert IsolatedTTSEngine("espeak", python=None)._launch.python == Path(sys.executable)
    assert IsolatedTTSEngine("other")._launch.python == Path(sys.executable)


def test_the_folder_is_where_the_system_keeps_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REALTIME_STTS_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    for platform, folder in (
        ("linux", Path("/data/realtime-stts/environments")),
        ("darwin", Path.home() / "Library/Application Support/realtime-stts/environments"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        assert _environments.environments_folder() == folder


# -- the doctor --------------------------------------------------------------------------


def examination(monkeypatch: pytest.MonkeyPatch, here: Inspection) -> list[str]:
    monkeypatch.setattr(_doctor, "inspect", lambda: here)
    file = io.StringIO()
    _doctor.examine(Console(file=file, width=200))
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


HERE = Inspection("3.11.7", version("realtime-stts"), None, None)


def test_the_doctor_tells_of_torch_and_perth(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = examination(monkeypatch, HERE)
    assert {"torch not installed", "perth not installed"} <= {*lines}
    silent = replace(HERE, torch="2.6.0, on cpu", perth='pip install "x"', broken=("perth",))
    lines = examination(monkeypatch, silent)
    assert {"torch 2.6.0, on cpu", 'perth pip install "x"'} <= {*lines}


@pytest.mark.skipif(sys.platform == "win32", reason="with a shell script in place of Python")
def test_the_doctor_tells_of_the_environments(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(home, "local")
    broken = made(home, "broken")
    _environments.interpreter(broken).write_text("#!/bin/sh\necho >&2 out of order; exit 1\n")
    lines = examination(monkeypatch, HERE)
    assert any(line.startswith("local Python 3") for line in lines)
    assert "broken broken: out of order; make it again" in lines


def test_a_watermark_that_is_silently_none_has_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Perth leaves it where pkg_resources is missing."""
    (tmp_path / "perth.py").write_text("PerthImplicitWatermarker = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "perth", raising=False)
    try:
        found = _inspection.inspect()
    finally:
        sys.modules.pop("perth", None)
    assert found.broken == ("perth",)
    assert "setuptools<81" in str(found.perth)


def test_a_real_watermark_is_ready() -> None:
    pytest.importorskip("perth")
    assert _inspection.inspect().perth == "ready"
