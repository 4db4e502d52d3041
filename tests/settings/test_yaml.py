"""YAML files: read strictly, and written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from realtime_stts.errors import SettingsError
from realtime_stts.settings import _yaml

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes and links are POSIX's")


def problem(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        _yaml.parse(text, "f.yaml")
    return caught.value.problems["f.yaml"]


class TestReading:
    def test_a_mapping(self) -> None:
        assert _yaml.parse("a: {b: 1}\nc: x", "f") == {"a": {"b": 1}, "c": "x"}

    def test_an_empty_text_is_an_empty_mapping(self) -> None:
        assert _yaml.parse("# nothing\n", "f") == {}

    def test_a_syntax_error_has_its_line_and_column_and_quotes_nothing(self) -> None:
        said = problem("server:\n  auth_password: hunter2\n  port: [1\n")
        assert said.startswith("line 4, column 1: ")
        assert "hunter2" not in said

    def test_what_is_no_text_is_said_too(self) -> None:
        assert "special characters" in problem("a: \x00")

    def test_a_key_that_is_there_twice(self) -> None:
        assert problem("a: 1\nb: 2\na: 3") == "line 3, column 1: the key 'a' is there twice"

    def test_a_merged_key_may_be_overridden(self) -> None:
        text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, a: 3}\n[1, 2]: x"
        with pytest.raises(SettingsError):
            _yaml.parse(text, "f")  # a list is no key
        assert _yaml.parse(text.partition("\n[")[0], "f")["more"] == {"a": 3, "b": 2}

    @pytest.mark.parametrize("text", ["- 1\n- 2", "just words", "3"])
    def test_something_else_than_a_mapping(self, text: str) -> None:
        assert "no mapping" in problem(text)

    def test_it_makes_no_objects(self) -> None:
        assert "could not determine a constructor" in problem("a: !!python/object:os.x {}")

    def test_it_does_not_sink(self) -> None:
        assert problem("[" * 5_000) != ""

    def test_a_file_that_is_not_there_is_none(self, tmp_path: Path) -> None:
        assert _yaml.read(tmp_path / "no.yaml") is None

    def test_a_byte_order_mark_is_no_content(self, tmp_path: Path) -> None:
        (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfa: \xc3\xa4")
        assert _yaml.read(tmp_path / "f.yaml") == {"a": "ä"}

    def test_a_file_in_another_encoding(self, tmp_path: Path) -> None:
        (tmp_path / "f.yaml").write_bytes(b"a: \xe4")
        with pytest.raises(SettingsError, match=r"is no UTF-8 \(byte 3\)"):
            _yaml.read(tmp_path / "f.yaml")


class TestWriting:
    def test_what_is_dumped_is_read_again(self) -> None:
        data = {"b": {"x": None, "y": [1, 2.5, "ä"]}, "a": "no", "z": {}}
        assert _yaml.parse(_yaml.dump(data), "f") == data
        assert [*yaml.safe_load(_yaml.dump(data))] == ["b", "a", "z"]

    def test_nothing_is_an_empty_file(self) -> None:
        assert _yaml.dump({}) == ""

    def test_makes_the_file_and_its_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "f.yaml"
        _yaml.write(path, "a: 1\n")
        assert path.read_text() == "a: 1\n"
        assert [each.name for each in path.parent.iterdir()] == ["f.yaml"]

    def test_keeps_what_was_there(self, tmp_path: Path) -> None:
        path = tmp_path / "f.yaml"
        path.write_text("a: 1\n")
        _yaml.write(path, "a: 2\n")
        assert (path.read_text(), (tmp_path / "f.yaml.bak").read_text()) == ("a: 2\n", "a: 1\n")

    @POSIX
    def test_keeps_the_mode_and_a_new_file_is_private(self, tmp_path: Path) -> None:
        path = tmp_path / "f.yaml"
        _yaml.write(path, "a: 1\n")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o640)
        _yaml.write(path, "a: 2\n")
        modes = {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
        assert modes == {0o640}

    @POSIX
    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        real, link = tmp_path / "real" / "f.yaml", tmp_path / "f.yaml"
        real.write_text("a: 1\n")
        link.symlink_to(real)
        _yaml.write(link, "a: 2\n")
        assert link.is_symlink()
        assert real.read_text() == "a: 2\n"

    def test_what_a_killed_process_left_is_in_nobodys_way(self, tmp_path: Path) -> None:
        (tmp_path / ".f.yaml.x.part").write_text("half")
        _yaml.write(tmp_path / "f.yaml", "a: 1\n")
        assert (tmp_path / "f.yaml").read_text() == "a: 1\n"

    @pytest.mark.parametrize("there", [True, False])
    @pytest.mark.parametrize("step", range(12))
    def test_wherever_it_fails_the_file_is_whole(
        self, step: int, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each call of the system fails in its turn: a full disk, a dying one, a lost folder."""
        path = tmp_path / "f.yaml"
        if there:
            path.write_text("a: 1\n")
        steps = Steps(step)
        for name in ("open", "fsync", "chmod", "replace"):
            monkeypatch.setattr(_yaml.os, name, steps.counting(getattr(os, name)))
        with suppress(OSError):
            _yaml.write(path, "a: 2\n")
        monkeypatch.undo()
        whole = ("a: 1\n", "a: 2\n") if there else (None, "a: 2\n")
        assert (path.read_text() if path.exists() else None) in whole
        assert not [*tmp_path.glob(".*")]
        if there and (tmp_path / "f.yaml.bak").exists():
            assert (tmp_path / "f.yaml.bak").read_text() == "a: 1\n"

    def test_there_are_no_more_steps_than_were_tried(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "f.yaml").write_text("a: 1\n")
        steps = Steps(-1)
        for name in ("open", "fsync", "chmod", "replace"):
            monkeypatch.setattr(_yaml.os, name, steps.counting(getattr(os, name)))
        _yaml.write(tmp_path / "f.yaml", "a: 2\n")
        assert steps.n == 12

    def test_where_folders_cannot_be_opened_they_are_not_synced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps = Steps(-1)
        monkeypatch.setattr(_yaml.os, "name", "nt")
        monkeypatch.setattr(_yaml.os, "fsync", steps.counting(os.fsync))
        _yaml._sync_folder(tmp_path)
        assert steps.n == 0


class Steps:
    """Counts calls, and lets the one of that number fail."""

    def __init__(self, failing: int) -> None:
        self.n, self._failing = 0, failing

    def counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.n += 1
            if self.n - 1 == self._failing:
                raise OSError(errno.ENOSPC, "no space left on device")
            return function(*args, **kwargs)

        return counted
