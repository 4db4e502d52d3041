"""`settings`: what counts and why, whether a file is right, and what there is to set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from typer.testing import CliRunner

from realtime_stts.cli._app import app
from realtime_stts.settings import Settings, json_schema


def run(*args: str, **environ: str) -> tuple[int, str, str]:
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", **environ})
    result = runner.invoke(app, ["settings", *args], prog_name="realtime-stts")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text("server: {port: 80, auth_password: hunter2 hunter2}\n")
    return path


class TestShow:
    def test_says_what_is_set_and_where_and_hides_secrets(self, path: Path) -> None:
        path.with_name("c.live.yaml").write_text("ui: {title: Live}\n")
        code, out, err = run(
            "show", str(path), "--profile", "live", REALTIME_STTS_UI_STATE__THEME="light"
        )
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            f"server.port = 80  ({path})",
            f'server.auth_password = "**********"  ({path})',
            f'ui.title = "Live"  ({path.with_name("c.live.yaml")})',
            'ui_state.theme = "light"  (REALTIME_STTS_UI_STATE__THEME)',
        ]

    def test_takes_the_file_that_the_environment_names(self, path: Path) -> None:
        _, out, _ = run("show", REALTIME_STTS_CONFIG=str(path))
        assert "server.port = 80" in out

    def test_says_so_if_nothing_is_set(self) -> None:
        assert run("show") == (0, "", "every option has its default; --all shows them\n")

    def test_shows_all_if_asked(self) -> None:
        assert "server.port = 8000  (default)" in run("show", "--all")[1].splitlines()

    def test_as_json(self) -> None:
        assert json.loads(run("show", "--json")[1]) == Settings().masked()


class TestValidate:
    def test_a_file_that_is_right(self, path: Path) -> None:
        path.write_text("server: {port: 8004}\n")
        assert run("validate", str(path), "--strict") == (0, f"{path} can be used\n", "")

    def test_warnings_fail_only_if_asked(self, path: Path) -> None:
        code, out, _ = run("validate", str(path))
        assert code == 0
        assert out.startswith("warning: server.port: below 1024")
        assert run("validate", str(path), "--strict")[0] == 1

    def test_what_is_wrong_is_one_line_and_no_secret(self, path: Path) -> None:
        path.write_text("server: {prot: 1, auth_password: [hunter2]}\n")
        code, out, err = run("validate", str(path))
        assert (code, out) == (1, "")
        assert "server.prot: there is no such setting; is server.port meant?" in err
        assert "hunter2" not in err

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        code, _, err = run("validate", str(tmp_path / "no.yaml"))
        assert (code, err) == (1, f"error: {tmp_path / 'no.yaml'}: there is no such file\n")


def test_schema() -> None:
    assert json.loads(run("schema")[1]) == json_schema()


def test_every_level_has_help() -> None:
    assert "show" in run("--help")[1]
    for command in ("show", "validate", "schema"):
        assert f"realtime-stts settings {command}" in run(command, "--help")[1]
