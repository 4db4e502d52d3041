"""The tables of README.md and of the docs are those of the committed benchmark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from realtime_stts.benchmark import SUITES, Figure, Report, read
from tools.bench_tables import PAGES, RESULTS, filled, main

PAGE = "Before.\n\n<!-- bench:begin{} -->\nold\n<!-- bench:end -->\n\nAfter.\n"


@pytest.fixture(scope="module")
def committed() -> Report:
    return read(RESULTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_agrees_with_the_committed_benchmark(page: Path, committed: Report) -> None:
    """If not: python -m tools.bench_tables"""
    text = page.read_text(encoding="utf-8")
    assert filled(text, committed) == text


def test_the_committed_benchmark_is_whole(committed: Report) -> None:
    assert {figure.suite for figure in committed.figures} == {suite.name for suite in SUITES}
    assert not committed.failures


def small(*figures: Figure) -> Report:
    return replace(read(RESULTS), figures=figures)


def test_a_page_is_filled_with_all_suites_or_with_those_it_names() -> None:
    report = small(Figure("stt", "one", "ms", (1.0,)), Figure("tts", "other", "ms", (2.0,)))
    page = filled(PAGE.format(""), report)
    assert page.startswith("Before.\n\n<!-- bench:begin -->\n\n**stt**\n\n| what")
    assert page.endswith("\n\n<!-- bench:end -->\n\nAfter.\n")
    assert "**tts**" in page
    assert "old" not in page
    assert filled(page, report) == page
    assert "**stt**" not in filled(PAGE.format(" tts"), report)


@pytest.mark.parametrize(("page", "why"), [("", "no <!-- bench"), (PAGE.format(" x"), "of x")])
def test_what_cannot_be_filled_says_why(page: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        filled(page, small(Figure("stt", "one", "ms", (1.0,))))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, report = tmp_path / "page.md", tmp_path / "bench.json"
    page.write_text(PAGE.format(""))
    report.write_text(small(Figure("stt", "one", "ms", (1.0,))).to_json())
    to_these = ["--report", str(report), str(page)]
    assert main(["--check", *to_these]) == 1
    assert "old" in page.read_text()
    assert main(to_these) == 0
    assert main(["--check", *to_these]) == 0
    page.write_text("no place")
    assert main(to_these) == 2
    assert "page.md: there is no" in capsys.readouterr().err
