"""Which files of a folder are sound."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from realtime_stts.cli import _batch_find
from realtime_stts.cli._batch_find import find

links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "talks"


@pytest.fixture(autouse=True)
def _no_av(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_batch_find, "find_spec", lambda name: None)


def made(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")
    return folder


def names(*paths: Path, patterns: tuple[str, ...] = ()) -> list[str]:
    return [source.name for source in find(paths, patterns).sources]


def test_sound_is_found_at_any_depth_and_sorted(folder: Path) -> None:
    made(folder, "z.wav", "b/a.MP3", "b/c/d.opus", "a.flac", "a.ogg", "notes.txt", "wav")
    assert names(folder) == ["a.flac", "a.ogg", "b/a.MP3", "b/c/d.opus", "z.wav"]


def test_what_is_known_of_a_file(folder: Path) -> None:
    (source,) = find([made(folder, "a.wav")]).sources
    status = (folder / "a.wav").stat()
    assert source.path == folder / "a.wav"
    assert (source.size, source.mtime_ns) == (5, status.st_mtime_ns)


def test_what_is_hidden_is_left_out(folder: Path) -> None:
    assert names(made(folder, ".a.wav", ".cache/b.wav", "c.wav")) == ["c.wav"]


@links
def test_links_are_followed_once_and_loops_end(folder: Path) -> None:
    made(folder, "a.wav", "b/c.wav")
    (folder / "b" / "loop").symlink_to(folder)
    (folder / "loop").symlink_to(folder / "b")
    made(folder, ".elsewhere/d.wav")
    (folder / "there").symlink_to(folder / ".elsewhere")
    (folder / "e.wav").symlink_to(folder / "a.wav")
    (folder / "nowhere.wav").symlink_to(folder / "gone.wav")
    assert names(folder) == ["a.wav", "b/c.wav", "e.wav", "there/d.wav"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are none")
def test_what_is_no_file_is_left_out(folder: Path) -> None:
    made(folder, "a.wav")
    os.mkfifo(folder / "b.wav")
    (folder / "c.wav").mkdir()
    assert names(folder) == ["a.wav"]
    with pytest.raises(OSError, match="neither a file nor a folder"):
        find([folder / "b.wav"])


def test_with_several_folders_their_names_come_first(folder: Path) -> None:
    made(folder, "a.wav")
    other = made(folder.parent / "more", "a.wav")
    assert names(folder, other) == ["more/a.wav", "talks/a.wav"]


def test_a_file_that_is_named_is_taken_whatever_it_is_called(folder: Path) -> None:
    made(folder, "take-1", ".hidden.wav")
    assert names(folder / "take-1", folder / ".hidden.wav") == [".hidden.wav", "take-1"]


def test_a_file_that_is_named_twice_is_one(folder: Path) -> None:
    made(folder, "a.wav")
    assert names(folder, folder / "a.wav", folder) == ["talks/a.wav"]


def test_patterns_are_of_the_name_or_its_last_part(folder: Path) -> None:
    made(folder, "a/1.wav", "a/2.wav", "b/1.wav", "b/3.mp3")
    assert names(folder, patterns=("1.*",)) == ["a/1.wav", "b/1.wav"]
    assert names(folder, patterns=("a/*", "*.mp3")) == ["a/1.wav", "a/2.wav", "b/3.mp3"]
    assert names(folder, patterns=("c/*",)) == []


def test_a_path_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find([made(folder, "a.wav"), folder / "b.wav"])


def test_what_needs_an_extra_is_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(folder, "a.m4a", "b.webm", "c.wav")
    found = find([folder])
    assert ([each.name for each in found.sources], found.n_without_av) == (["c.wav"], 2)
    monkeypatch.setattr(_batch_find, "find_spec", lambda name: object())
    found = find([folder])
    assert (len(found.sources), found.n_without_av) == (3, 0)
