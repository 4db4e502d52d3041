"""A report: kept, read again, shown, compared with another, and written whole or not at all."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime_stts import MissingExtraError
from realtime_stts.benchmark import (
    Comparison,
    Figure,
    Options,
    Report,
    ReportError,
    Workload,
    changes_table,
    compare,
    draw,
    draw_comparison,
    figures_table,
    from_json,
    markdown,
    read,
    save,
)
from realtime_stts.benchmark._table import number, quantity

PNG = b"\x89PNG\r\n\x1a\n"


def samples(middle: float, seed: int = 0) -> tuple[float, ...]:
    return tuple(np.random.default_rng(seed).normal(middle, middle / 20, 30).tolist())


STT = Figure("stt", "time to the final segment", "ms", samples(50), note="a | b")
RATE = Figure("stt", "word error rate", "%", (0.0, 100.0), (4.0, 6.0), "ratio")
TTS = Figure("tts", "time to the first byte", "ms", samples(20))
LAYER = Figure("middleware", "a layer", "us", samples(3))
OPTIONS = Options(("stt", "tts", "middleware"), "pocketsphinx", "espeak", True, 0, 1, "en")
REPORT = Report(
    (STT, RATE, TTS, LAYER),
    OPTIONS,
    Workload("sentences by eSpeak", ("one", "two"), 5.0, "abc"),
    {"cpu": "Abacus", "cores": 2, "load": 0.1, "gpu": None, "python": "3.11.2", "date": "now"},
    {"numpy": "2.0"},
)


def faster(report: Report = REPORT) -> Report:
    figures = tuple(
        replace(each, samples=tuple(x / 2 for x in each.samples)) for each in report.figures
    )
    return replace(report, figures=figures)


def verdicts(found: Comparison) -> dict[str, str]:
    return {each.case: f"{each.verdict} {each.why}".strip() for each in found.changes}


class TestTheFile:
    def test_it_is_read_as_it_was_written(self) -> None:
        assert from_json(REPORT.to_json()) == REPORT

    def test_it_names_its_format_and_version(self) -> None:
        fields = json.loads(REPORT.to_json())
        assert (fields["format"], fields["version"]) == ("realtime-stts bench", 1)
        assert fields["figures"][0]["samples"] == list(STT.samples)

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"\xff", "no JSON"),
            (b"{", "no JSON"),
            (b"[]", "no report of realtime-stts bench"),
            (b'{"benchmark": "chain"}', "no report of realtime-stts bench"),
            (b'{"format": "realtime-stts bench", "version": 2}', "version is 2"),
            (b'{"format": "realtime-stts bench"}', "version is None"),
            (b'{"format": "realtime-stts bench", "version": 1}', "damaged: figures"),
        ],
    )
    def test_what_is_no_report_says_so_and_which_file_it_is(
        self, tmp_path: Path, content: bytes, why: str
    ) -> None:
        file = tmp_path / "old.json"
        file.write_bytes(content)
        with pytest.raises(ReportError, match=r"old\.json: ") as caught:
            read(file)
        assert why in str(caught.value)

    def test_a_figure_that_has_no_value_is_damage(self) -> None:
        fields = json.loads(REPORT.to_json())
        fields["figures"][1]["per"] = [0.0, 0.0]
        with pytest.raises(ReportError, match=r"damaged: figures\.1"):
            from_json(json.dumps(fields))

    def test_what_is_not_there_or_without_end(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none.json")
        with (tmp_path / "large.json").open("wb") as file:
            file.truncate((256 << 20) + 1)
        with pytest.raises(ReportError, match="which no report is"):
            read(tmp_path / "large.json")

    def test_a_figure_by_its_name(self) -> None:
        assert REPORT.figure("tts", TTS.case) is TTS
        assert REPORT.figure("stt", TTS.case) is None


class TestComparing:
    def test_what_took_half_as_long_is_better(self) -> None:
        found = compare(REPORT, faster())
        assert verdicts(found)[STT.case] == "better"
        assert verdicts(found)[RATE.case] == "cannot be compared fewer than 5 samples"
        assert (found.warnings, found.worse) == ((), ())
        assert [each.case for each in compare(faster(), REPORT).worse] == [
            STT.case,
            TTS.case,
            LAYER.case,
        ]

    def test_a_figure_of_another_engine_cannot_be_compared_and_others_can(self) -> None:
        other = replace(faster(), options=replace(OPTIONS, stt="whisper:base"))
        found = verdicts(compare(REPORT, other))
        assert found[STT.case] == (
            "cannot be compared the engine was pocketsphinx, and is whisper:base"
        )
        assert found[TTS.case] == found[LAYER.case] == "better"
        found = verdicts(compare(REPORT, replace(faster(), options=replace(OPTIONS, tts="x"))))
        assert found[TTS.case] == "cannot be compared the engine was espeak, and is x"

    def test_unless_that_is_the_question(self) -> None:
        other = replace(faster(), options=replace(OPTIONS, stt="whisper:base"))
        found = compare(REPORT, other, across_engines=True)
        assert verdicts(found)[STT.case] == "better"
        assert found.warnings == (
            "other engines: pocketsphinx and espeak, then whisper:base and espeak",
        )

    def test_where_other_things_were_said_only_layers_can_be_compared(self) -> None:
        other = replace(faster(), workload=replace(REPORT.workload, hash="xyz"))
        found = verdicts(compare(REPORT, other))
        assert found[STT.case] == found[TTS.case] == "cannot be compared other things were said"
        assert found[LAYER.case] == "better"

    @pytest.mark.parametrize("other", [{"seed": 1}, {"quick": False}, {"language": "de"}])
    def test_where_it_was_asked_for_otherwise(self, other: dict[str, Any]) -> None:
        found = verdicts(compare(REPORT, replace(faster(), options=replace(OPTIONS, **other))))
        assert "quick, the seed or the language" in found[STT.case]

    def test_a_suite_of_a_later_version_depends_on_everything(self) -> None:
        later = replace(REPORT, figures=(replace(STT, suite="singing"),))
        other = replace(later, workload=replace(REPORT.workload, hash="xyz"))
        assert "other things" in verdicts(compare(later, other))[STT.case]

    def test_figures_of_one_report_only(self) -> None:
        old, new = replace(REPORT, figures=(STT, TTS)), replace(REPORT, figures=(TTS, LAYER))
        assert verdicts(compare(old, new)) == {
            TTS.case: "no difference shown",
            LAYER.case: "cannot be compared it is in the new report only",
            STT.case: "cannot be compared it is in the old report only",
        }

    def test_suites_that_were_not_run_again_are_one_line(self) -> None:
        new = replace(REPORT, figures=(TTS,), options=replace(OPTIONS, suites=("tts",)))
        found = compare(REPORT, new)
        assert [*verdicts(found)] == [TTS.case]
        assert found.warnings == ("only the old report has stt, middleware",)

    def test_what_a_reader_has_to_know_first(self) -> None:
        other = replace(
            REPORT,
            machine={**REPORT.machine, "cpu": "Babbage", "load": 1.5},
            packages={"numpy": "2.1", "torch": "2.6"},
            failures={"sessions": "too slow"},
        )
        assert compare(REPORT, other).warnings == (
            "another machine: cpu was Abacus, and is Babbage",
            "the new report: the machine was busy: 1.5 of 2 cores' worth of work",
            "the new report: sessions failed: too slow",
            "numpy was 2.0, and is 2.1",
            "torch was not there, and is 2.6",
        )


class TestShowing:
    def test_numbers_have_three_digits(self) -> None:
        assert [number(x) for x in (0.0, 0.00123, 1.0, 12.34, 99.96, 12_345.6)] == [
            "0",
            "0.00123",
            "1.00",
            "12.3",
            "100",
            "12,346",
        ]

    def test_units(self) -> None:
        assert [quantity(5.0, unit) for unit in ("ms", "%", "x", "")] == [
            "5.00 ms",
            "5.00%",
            "5.00x",
            "5.00",
        ]
        assert quantity(None, "ms") == "-"

    def test_a_table_of_figures(self) -> None:
        head, rule, first, second = figures_table([STT, RATE]).splitlines()
        assert len({len(head), len(rule), len(first), len(second)}) == 1
        assert "median" in first
        assert " ms | " in first
        assert r"a \| b" in first
        assert "10.0%" in second

    def test_a_percentile_of_the_same_samples_has_no_line_of_its_own(self) -> None:
        tail = replace(STT, case="the same, p95", statistic="p95")
        assert figures_table([STT, tail]) == figures_table([STT])
        assert "the same, p95" in figures_table([tail])

    def test_a_table_of_changes(self) -> None:
        lines = changes_table(compare(REPORT, faster()).changes).splitlines()
        assert "| 0.500 | 0.485 to" in " ".join(lines[2].split())
        assert "better" in lines[2]
        assert "cannot be compared: fewer than 5 samples" in lines[3]

    def test_a_page(self) -> None:
        page = markdown(REPORT)
        assert page.startswith("# Benchmark\n\nAbacus, 2 cores, load 0.1; Python 3.11.2")
        assert "Said: 2 sentences by eSpeak, 5.0 s (abc)." in page
        assert "Quick, seed 0, once." in page
        assert page.index("## stt") < page.index("## tts") < page.index("## middleware")
        assert "busy" not in page

    def test_a_page_that_warns(self) -> None:
        report = replace(
            REPORT,
            machine={**REPORT.machine, "load": 1.9, "gpu": "H100"},
            failures={"sessions": "too slow"},
            options=replace(OPTIONS, quick=False, repeat=3),
        )
        page = markdown(report, compare(REPORT, report))
        assert "The machine was busy: 1.9 of 2 cores' worth of work. Measure again" in page
        assert "**sessions failed**: too slow" in page
        assert ", H100;" in page
        assert "Full, seed 0, 3 times." in page
        assert "## Compared\n\n* another machine: gpu was None, and is H100" in page

    def test_a_comparison_without_warnings_begins_with_its_table(self) -> None:
        assert "## Compared\n\n| suite" in markdown(REPORT, compare(REPORT, REPORT))


class TestPictures:
    @pytest.fixture(autouse=True)
    def _drawn(self) -> None:
        pytest.importorskip("matplotlib")

    def test_a_picture_of_a_suite(self) -> None:
        assert draw(REPORT, "stt").startswith(PNG)

    @pytest.mark.parametrize(
        "figure",
        [
            Figure("odd", "one", "", (0.0,)),
            Figure("odd", "below zero", "ms", (-5.0, -3.0, 2.0)),
            Figure("odd", "nothing but", "%", (0.0,) * 9, statistic="mean"),
            Figure("odd", "very many", "ms", tuple(float(x) for x in range(1, 5000))),
            Figure("odd", "weightless", "%", (0.0, 1.0), (0.0, 2.0), "ratio"),
            Figure("odd", "only below zero", "ms", (-5.0,) * 6),
        ],
        ids=lambda figure: figure.case,
    )
    def test_whatever_the_samples_are(self, figure: Figure) -> None:
        assert draw(replace(REPORT, figures=(figure, STT)), "odd").startswith(PNG)

    def test_without_the_package_that_draws(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(MissingExtraError, match=r"realtime-stts\[bench\]"):
            draw(REPORT, "stt")

    def test_a_suite_that_is_not_there(self) -> None:
        with pytest.raises(ValueError, match="no figure of 'barge-in'"):
            draw(REPORT, "barge-in")

    def test_a_picture_of_what_changed(self) -> None:
        assert draw_comparison(compare(REPORT, faster())).startswith(PNG)
        none = replace(LAYER, samples=(0.0,) * 9)
        before, after = (replace(REPORT, figures=(each,)) for each in (none, LAYER))
        assert draw_comparison(compare(before, after)).startswith(PNG)  # a ratio without end

    def test_where_nothing_can_be_compared_there_is_no_picture(self, tmp_path: Path) -> None:
        nothing = compare(REPORT, replace(REPORT, figures=()))
        with pytest.raises(ValueError, match="no figure of these reports"):
            draw_comparison(nothing)
        assert "bench-compared.png" not in {file.name for file in save(REPORT, tmp_path, nothing)}

    def test_the_files(self, tmp_path: Path) -> None:
        folder = tmp_path / "new" / "bench"
        files = save(REPORT, folder, compare(REPORT, faster()))
        assert sorted(file.name for file in files) == sorted(path.name for path in folder.iterdir())
        assert {file.name for file in files} == {
            "bench.json",
            "bench.md",
            "bench-stt.png",
            "bench-tts.png",
            "bench-middleware.png",
            "bench-compared.png",
        }
        assert read(folder / "bench.json") == REPORT

    def test_what_cannot_be_written_leaves_what_was_there(self, tmp_path: Path) -> None:
        (tmp_path / "bench.json").write_text("before")
        (tmp_path / "bench.md").mkdir()
        with pytest.raises(OSError, match=r"bench\.md"):
            save(REPORT, tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "bench.md"}
