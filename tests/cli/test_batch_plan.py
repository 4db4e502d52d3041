"""What a batch does, decided from what is there and what the manifest says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")
pytest.importorskip("typer")
pytest.importorskip("rich")

from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.cli._batch_plan import (
    Plan,
    Record,
    Source,
    Wanted,
    output_name,
    planned,
    record_line,
    records_of,
)

WANTED = Wanted("scripted", "en", ("txt",))
A, B = "talks/a.wav", "talks/b.wav"


def source(name: str, folder: str = "/sound", size: int = 10, mtime: int = 1) -> Source:
    return Source(Path(folder, name), name, size, mtime)


def record(of: Source, stem: str, wanted: Wanted = WANTED, event: str = "done") -> Record:
    return Record(
        event,  # type: ignore[arg-type]
        str(of.path),
        of.name,
        of.size,
        of.mtime_ns,
        wanted.engine,
        wanted.language,
        stem,
        wanted.formats,
    )


def plan(
    sources: list[Source],
    records: list[Record] | None = None,
    wanted: Wanted = WANTED,
    there: set[str] | None = None,
    **options: bool,
) -> Plan:
    """With the outputs there that ``records`` tell of, unless others are named."""
    known = {output_name(each.stem, form) for each in records or [] for form in each.formats}
    outputs = known if there is None else there
    return planned(sources, records or [], wanted, outputs.__contains__, **options)


def stems(plan: Plan) -> list[str]:
    return [job.stem for job in plan.jobs]


class TestNames:
    def test_outputs_are_called_like_their_files(self) -> None:
        names = ["a/b.wav", "c.tar.mp3", "d", ".e"]
        assert stems(plan([source(name) for name in names])) == ["a/b", "c.tar", "d", ".e"]

    def test_what_would_be_called_the_same_is_told_apart_whatever_comes_first(self) -> None:
        two = [source("b.mp3"), source("b.wav")]
        assert stems(plan(two)) == ["b.mp3", "b.wav"]
        assert stems(plan(two[::-1])) == ["b.wav", "b.mp3"]

    def test_so_on_a_disk_that_ignores_case(self) -> None:
        assert stems(plan([source("B.wav"), source("b.mp3")])) == ["B.wav", "b.mp3"]

    def test_files_of_one_name_in_two_folders_are_numbered(self) -> None:
        found = [source("b.wav", "/one"), source("b.wav", "/two"), source("b.wav", "/three")]
        assert stems(plan(found)) == ["b.wav", "b.wav.2", "b.wav.3"]

    def test_a_file_keeps_its_name_when_another_comes_beside_it(self) -> None:
        old, new = source("b.wav"), source("b.mp3")
        again = plan([new, old], [record(old, "b")])
        assert (stems(again), again.done) == (["b.mp3"], (old,))

    def test_a_file_at_the_place_of_one_that_moved_gets_another_name(self) -> None:
        first, moved = source("b.wav", "/one"), source("b.wav", "/two")
        history = [record(first, "b"), record(moved, "b")]
        assert stems(plan([replace(first, size=99), moved], history)) == ["b.wav"]

    @given(
        st.lists(
            st.tuples(st.sampled_from("aAb"), st.sampled_from("ab"), st.sampled_from(["w", "m"])),
            unique=True,
        )
    )
    def test_no_two_files_ever_share_outputs_and_the_next_run_has_the_same_names(
        self, parts: list[tuple[str, str, str]]
    ) -> None:
        found = [source(f"{name}.{suffix}", f"/{folder}") for name, folder, suffix in parts]
        first = plan(found)
        assert len({stem.casefold() for stem in stems(first)}) == len(found)
        history = [record(job.source, job.stem) for job in first.jobs]
        again = plan(found[::-1], history, force=True)
        assert {job.source: job.stem for job in again.jobs} == {
            job.source: job.stem for job in first.jobs
        }


class TestWhatIsDone:
    a = source(A)
    made = record(a, "talks/a")

    def test_what_is_done_is_not_done_again(self) -> None:
        assert plan([self.a], [self.made]) == Plan((), (self.a,), ())

    def test_but_by_force(self) -> None:
        assert stems(plan([self.a], [self.made], force=True)) == ["talks/a"]

    @pytest.mark.parametrize("change", [{"size": 11}, {"mtime_ns": 2}])
    def test_a_file_that_changed_is_done_again(self, change: dict[str, int]) -> None:
        assert stems(plan([replace(self.a, **change)], [self.made])) == ["talks/a"]

    @pytest.mark.parametrize("wanted", [{"engine": "other"}, {"language": None}])
    def test_another_engine_or_language_does_it_again(self, wanted: dict[str, str | None]) -> None:
        again = plan([self.a], [self.made], replace(WANTED, **wanted))  # type: ignore[arg-type]
        assert stems(again) == ["talks/a"]

    def test_an_output_that_was_deleted_is_made_again(self) -> None:
        assert stems(plan([self.a], [self.made], there=set())) == ["talks/a"]

    def test_another_format_is_made_and_the_first_one_still_known(self) -> None:
        (job,) = plan([self.a], [self.made], replace(WANTED, formats=("srt",))).jobs
        assert (job.formats, job.kept) == (("srt",), ("txt",))

    def test_what_was_begun_after_it_was_done_is_not_done(self) -> None:
        begun = replace(self.made, event="begun", engine="other")
        assert stems(plan([self.a], [self.made, begun])) == ["talks/a"]

    def test_what_failed_is_tried_again_but_does_not_undo_what_was_done(self) -> None:
        failed = replace(self.made, event="failed", engine="other")
        assert stems(plan([self.a], [failed], there=set())) == ["talks/a"]
        assert plan([self.a], [self.made, failed]).done == (self.a,)

    def test_a_folder_that_moved_is_done_still(self) -> None:
        assert plan([source(A, "/moved")], [self.made]).jobs == ()

    def test_a_copy_is_a_file_of_its_own(self) -> None:
        copy = source(A, "/copy")
        both = plan([copy, self.a], [self.made])
        assert both.done == (self.a,)
        assert stems(both) == ["talks/a.wav"]

    def test_an_output_that_is_not_ours_is_left_alone(self) -> None:
        for force in (False, True):
            refused = plan([self.a, source(B)], there={"talks/a.txt"}, force=force)
            ((job, name),) = refused.in_the_way
            assert (job.source, name) == (self.a, "talks/a.txt")
            assert stems(refused) == ["talks/b"]


class TestTheManifest:
    made = record(source(A), "talks/a")

    @given(
        st.builds(
            Record,
            st.sampled_from(["begun", "done", "failed"]),
            st.text(),
            st.text(),
            st.integers(),
            st.integers(),
            st.text(),
            st.none() | st.text(),
            st.text(min_size=1).filter(lambda stem: "/" not in stem and stem != ".."),
            st.lists(st.text()).map(tuple),
            st.none() | st.floats(allow_nan=False),
            st.none() | st.floats(allow_nan=False),
            st.none() | st.text(),
        )
    )
    def test_a_line_says_all_there_is_to_know(self, made: Record) -> None:
        line = record_line(made)
        assert line.count("\n") == 1
        assert records_of(line) == [made]

    def test_a_name_that_is_no_text_survives(self) -> None:
        odd = replace(self.made, name="\udcff.wav")
        assert records_of(record_line(odd)) == [odd]

    @given(st.integers(min_value=0, max_value=600))
    def test_a_line_that_was_cut_short_harms_no_other(self, length: int) -> None:
        whole = record_line(self.made)
        torn = whole[: min(length, len(whole) - 2)]
        assert records_of(whole + torn) == [self.made]
        assert records_of(torn + "\n" + whole) == [self.made]

    @given(st.text())
    def test_whatever_stands_there_is_no_error(self, text: str) -> None:
        records_of(text)

    @pytest.mark.parametrize(
        "change",
        [
            {"event": "sung"},
            {"size": "10"},
            {"formats": 3},
            {"formats": [3]},
            {"language": 3},
            {"error": 3},
            {"duration": "long"},
            {"elapsed": "long"},
            {"stem": ""},
            {"stem": "/etc/a"},
            {"stem": "../a"},
            {"more": 1},
        ],
    )
    def test_what_is_no_record_is_none(self, change: dict[str, object]) -> None:
        fields = json.loads(record_line(self.made)) | change
        assert records_of(json.dumps(fields)) == []

    @pytest.mark.parametrize("line", ["", "3", "[]", "{}", "nonsense", "[" * 100_000])
    def test_nor_is_other_json(self, line: str) -> None:
        assert records_of(line) == []
