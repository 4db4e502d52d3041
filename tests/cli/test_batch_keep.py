"""Outputs, whole or not there, and the manifest that knows them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from realtime_stts.cli._batch_keep import MANIFEST, Keep, record_of
from realtime_stts.cli._batch_plan import Job, Record, Source, Wanted

JOB = Job(Source(Path("/sound/a/b.wav"), "a/b.wav", 10, 1), "a/b", ("txt", "srt"), ("vtt",))
RECORD = record_of(JOB, Wanted("scripted", None, ("txt", "srt")))
CONTENTS = {"txt": "hello\n", "srt": "1\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "texts"


def kept(folder: Path) -> Keep:
    keep = Keep(folder)
    keep.prepare()
    return keep


def events(records: list[Record]) -> list[str]:
    return [record.event for record in records]


def files(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def test_a_folder_that_is_not_there_yet_holds_nothing(folder: Path) -> None:
    keep = Keep(folder)
    assert keep.records() == []
    assert not keep.exists("a/b.txt")
    assert not folder.exists()


def test_outputs_and_what_is_known_of_them(folder: Path) -> None:
    keep = kept(folder)
    keep.write(RECORD, CONTENTS)
    assert files(folder) == [MANIFEST, "a/b.srt", "a/b.txt"]
    assert (folder / "a/b.txt").read_bytes() == b"hello\n"
    assert keep.exists("a/b.txt")
    again = Keep(folder).records()
    assert events(again) == ["begun", "done"]
    assert again[1].formats == ("txt", "srt", "vtt")


def test_a_failure_is_noted_with_its_reason(folder: Path) -> None:
    keep = kept(folder)
    keep.failed(RECORD, "no sound")
    (record,) = keep.records()
    assert (record.event, record.error) == ("failed", "no sound")


def test_outputs_that_cannot_be_written_leave_nothing(folder: Path) -> None:
    keep = kept(folder)
    (folder / "a" / "b.srt").mkdir(parents=True)  # a file cannot replace it
    with pytest.raises(OSError, match=r"b\.srt"):
        keep.write(RECORD, CONTENTS)
    assert files(folder) == [MANIFEST, "a/b.txt"]
    assert events(keep.records()) == ["begun"]


def test_a_line_that_was_cut_short_is_no_neighbour_of_the_next(folder: Path) -> None:
    folder.mkdir()
    (folder / MANIFEST).write_text('{"event": "do')
    keep = kept(folder)
    keep.failed(RECORD, "no sound")
    assert events(keep.records()) == ["failed"]


def test_a_manifest_of_bytes_is_no_error(folder: Path) -> None:
    folder.mkdir()
    (folder / MANIFEST).write_bytes(b"\xff\xfe\n")
    assert Keep(folder).records() == []


def test_a_text_that_no_file_can_hold_loses_a_letter_only(folder: Path) -> None:
    kept(folder).write(RECORD, {"txt": "so \ud800 it is\n"})
    assert (folder / "a/b.txt").read_text() == "so ? it is\n"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_to_nowhere_is_something_that_is_there(folder: Path) -> None:
    keep = kept(folder)
    (folder / "c.txt").symlink_to(folder / "gone")
    assert keep.exists("c.txt")


def test_a_folder_that_is_a_file_is_an_error(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(OSError, match="texts"):
        Keep(folder).prepare()
