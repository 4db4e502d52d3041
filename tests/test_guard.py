"""The regression guard: what it compares, what it refuses, and that it catches a slow-down."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.guard import __main__ as guard
from benchmarks.guard import _counter
from benchmarks.guard._compare import (
    LIMIT,
    Baseline,
    BaselineError,
    changes,
    complaints,
    other_versions,
    read,
    spread,
    table,
    written,
)
from benchmarks.guard._counter import CountError

ROOT = Path(__file__).parents[1]
WORKLOADS = ROOT / "benchmarks" / "guard" / "workloads.py"
NAMES = [*runpy.run_path(str(WORKLOADS))["WORKLOADS"]]
BUILD = "CPython 3.11.7, valgrind-3.19.0"
VERSIONS = {"numpy": "2.4.6", "soxr": "1.1.0"}

names = st.text(min_size=1, max_size=10)
counts = st.dictionaries(names, st.integers(1, 10**12), max_size=5)


# -- the comparison ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "verdict", "complains"),
    [
        (1000, 1000, "same", False),
        (1000, 1100, "same", False),  # a tenth is the limit, and allowed
        (1000, 1101, "rise", True),
        (1000, 900, "same", False),
        (1000, 899, "fall", False),  # good news, and no failure
        (None, 5, "new", True),  # not guarded until the baseline has it
        (5, None, "gone", True),  # nor any more
    ],
)
def test_a_workload_may_take_a_tenth_more_than_in_the_baseline(
    before: int | None, now: int | None, verdict: str, complains: bool
) -> None:
    def side(count: int | None) -> dict[str, int]:
        return {} if count is None else {"calls": count}

    (change,) = found = changes(side(before), side(now))
    assert change.verdict == verdict
    assert bool(complaints(found)) is complains


def test_a_complaint_says_what_rose_and_by_how_much() -> None:
    found = changes(
        {"calls": 1000, "frames": 50, "old": 1}, {"new": 1, "calls": 1234, "frames": 50}
    )
    assert complaints(found) == [
        "new: not in the baseline",
        "calls: +23.4%, from 1,000 to 1,234 instructions",
        "old: in the baseline, but no longer a workload",
    ]


def test_the_table_has_every_workload_of_either_side() -> None:
    found = changes({"calls": 1000, "gone": 20}, {"calls": 1100, "new": 3_000_000})
    assert table(found).splitlines() == [
        "workload  baseline        now  change",
        "calls        1,000      1,100  +10.0%",
        "new              -  3,000,000     new",
        "gone            20          -    gone",
    ]


@given(counts)
def test_what_did_not_change_is_not_complained_of(same: dict[str, int]) -> None:
    assert complaints(changes(same, same)) == []
    assert set(spread(same, same).values()) <= {0.0}


@given(counts.filter(bool), st.floats(LIMIT + 0.01, 10.0))
def test_any_greater_rise_is(before: dict[str, int], share: float) -> None:
    now = {name: int(count * (1 + share)) + 1 for name, count in before.items()}
    assert len(complaints(changes(before, now))) == len(before)


def test_the_spread_is_a_share_of_the_smaller_count() -> None:
    assert spread({"a": 100, "b": 102}, {"a": 101, "b": 100}) == {"a": 0.01, "b": 0.02}


def test_other_versions_are_told_by_name() -> None:
    assert other_versions(VERSIONS, VERSIONS) == []
    assert other_versions({"numpy": "1", "old": "1"}, {"numpy": "2", "new": "3"}) == [
        "numpy 2 (the baseline's: 1)",
        "new 3 (the baseline's: none)",
        "old none (the baseline's: 1)",
    ]


# -- the file ------------------------------------------------------------------------------


@given(st.dictionaries(names, st.builds(Baseline, st.dictionaries(names, names), counts)))
def test_a_file_holds_what_was_written(baselines: dict[str, Baseline]) -> None:
    assert read(written(baselines)) == baselines


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"CPython": 1}',
        '{"CPython": {"versions": {}}}',
        '{"CPython": {"versions": [], "counts": {}}}',
        '{"CPython": {"versions": {}, "counts": {"calls": "1000"}}}',
        '{"CPython": {"versions": {}, "counts": {"calls": true}}}',
        '{"CPython": {"versions": {}, "counts": {"calls": 0}}}',
    ],
)
def test_a_broken_file_is_an_error(text: str) -> None:
    with pytest.raises(BaselineError):
        read(text)


def test_the_stored_baseline_has_the_workloads_that_there_are() -> None:
    stored = read((ROOT / "benchmarks" / "guard" / "baseline.json").read_text("utf-8"))
    assert stored
    for baseline in stored.values():
        assert [*baseline.counts] == NAMES
        assert baseline.versions.keys() == {*_counter.PACKAGES}


# -- the workloads -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workloads() -> Iterator[dict[str, Callable[[], Callable[[], object]]]]:
    module = runpy.run_path(str(WORKLOADS))
    yield module["WORKLOADS"]
    module["_loop"]().close()


@pytest.mark.parametrize("name", NAMES)
def test_a_workload_does_the_same_in_each_round(
    name: str, workloads: dict[str, Callable[[], Callable[[], object]]]
) -> None:
    round_ = workloads[name]()
    first = round_()
    assert first
    assert round_() == first == round_()


# -- the command, without counting ---------------------------------------------------------


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what will be counted, one dictionary after the other."""

    def will_be(*results: dict[str, int] | CountError, used: dict[str, str] = VERSIONS) -> None:
        left = list(results)

        def count(workloads: Path) -> dict[str, int]:
            result = left.pop(0)
            if isinstance(result, CountError):
                raise result
            return result

        monkeypatch.setattr(guard, "count", count)
        monkeypatch.setattr(guard, "versions", lambda: used)
        monkeypatch.setattr(guard, "build", lambda: BUILD)

    return will_be


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    path.write_text(written({BUILD: Baseline(VERSIONS, {"calls": 1000})}), "utf-8")
    return path


def ran(file: Path, *arguments: str) -> int:
    return guard.main(["--baseline", str(file), *arguments])


def test_no_change_passes(
    file: Path, counting: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    counting({"calls": 1001})
    assert ran(file) == 0
    said = capsys.readouterr()
    assert "+0.1%" in said.out
    assert not said.err


def test_a_rise_fails_and_says_how_to_accept_it(
    file: Path, counting: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    counting({"calls": 1200})
    assert ran(file) == 1
    said = capsys.readouterr().err
    assert "FAIL calls: +20.0%, from 1,000 to 1,200 instructions" in said
    assert "python -m benchmarks.guard --update" in said


def test_a_fall_passes_and_asks_for_a_new_baseline(
    file: Path, counting: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    counting({"calls": 500})
    assert ran(file) == 0
    assert "renew the baseline (python -m benchmarks.guard --update): calls" in (
        capsys.readouterr().out
    )


def test_a_python_without_a_baseline_is_told_so_in_a_line(
    file: Path, counting: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    counting()
    file.write_text(written({"CPython 3.99.0": Baseline(VERSIONS, {"calls": 1})}), "utf-8")
    assert ran(file) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "nothing was compared" in said
    assert ran(file, "--required") == 2


@pytest.mark.parametrize("text", [None, "no JSON", "[]"])
def test_without_a_file_of_baselines_nothing_passes(
    text: str | None, file: Path, counting: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    counting()
    file.unlink()
    if text is not None:
        file.write_text(text, "utf-8")
    assert ran(file) == 2
    assert "baseline.json" in capsys.readouterr().err


def test_a_baseline_of_other_versions_proves_nothing(
    file: Path, counting: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    counting({"calls": 1000}, used={**VERSIONS, "numpy": "3.0.0"})
    assert ran(file) == 2
    assert "numpy 3.0.0 (the baseline's: 2.4.6)" in capsys.readouterr().err


def test_what_cannot_be_counted_does_not_pass(
    file: Path, counting: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    counting(CountError("callgrind failed"))
    assert ran(file) == 2
    assert "callgrind failed" in capsys.readouterr().err


def test_an_update_measures_twice_and_leaves_other_builds_alone(
    file: Path, counting: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    other = Baseline({"numpy": "1"}, {"calls": 7})
    file.write_text(written({"another build": other}), "utf-8")
    counting({"calls": 2000, "frames": 10}, {"calls": 1990, "frames": 10})
    assert ran(file, "--update") == 0
    assert read(file.read_text("utf-8")) == {
        "another build": other,
        BUILD: Baseline(VERSIONS, {"calls": 1990, "frames": 10}),
    }
    assert "unchanged, those of another build" in capsys.readouterr().out
    assert os.listdir(file.parent) == [file.name]


def test_the_first_update_makes_the_file(tmp_path: Path, counting: Callable[..., None]) -> None:
    counting({"calls": 2000}, {"calls": 2000})
    file = tmp_path / "new.json"
    assert ran(file, "--update") == 0
    assert [*read(file.read_text("utf-8"))] == [BUILD]


def test_an_update_refuses_measurements_that_differ(
    file: Path, counting: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    before = file.read_bytes()
    counting({"calls": 2000, "frames": 10}, {"calls": 2021, "frames": 10})
    assert ran(file, "--update") == 2
    assert "calls (1.1%)" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_without_valgrind_the_guard_says_what_to_install(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(file.parent))
    assert ran(file) == 2
    assert "apt-get install valgrind" in capsys.readouterr().err


# -- the real counter ----------------------------------------------------------------------

needs_valgrind = pytest.mark.skipif(
    not shutil.which("valgrind"), reason="valgrind, which counts the instructions, is missing"
)

SMALL = """
def prepare(n):
    def work():
        return sum(len(str(i)) for i in range(n))
    return lambda: work

WORKLOADS = {"strings": prepare(%d)}
"""


def counted(tmp_path: Path, source: str) -> dict[str, int]:
    file = tmp_path / "small.py"
    file.write_text(source, "utf-8")
    return _counter.count(file)


@needs_valgrind
@pytest.mark.timeout(120)
def test_a_slow_down_of_15_percent_is_caught(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = counted(tmp_path, SMALL % 2000)
    monkeypatch.setenv("ANOTHER_VARIABLE", "x" * 1000)
    again = counted(tmp_path, SMALL % 2000)
    assert max(spread(before, again).values()) < 0.01
    file.write_text(
        written({_counter.build(): Baseline(_counter.versions(), before)}), encoding="utf-8"
    )

    (tmp_path / "small.py").write_text(SMALL % 2300, "utf-8")
    assert ran(file, "--workloads", str(tmp_path / "small.py")) == 1

    said = capsys.readouterr().err
    (complaint,) = [line for line in said.splitlines() if line.startswith("FAIL")]
    assert complaint.startswith("FAIL strings: +15.")


@needs_valgrind
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('no such file')", "no such file"),
        ("WORKLOADS = {'bad': lambda: lambda: 1 / 0}", "division by zero"),
        (
            "import ctypes; WORKLOADS = {'bad': lambda: lambda: ctypes.CDLL(None).abs(1)}",
            "or a workload uses ctypes",
        ),
    ],
)
def test_workloads_that_cannot_be_counted_are_errors(
    source: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CountError, match=message):
        counted(tmp_path, source)


@needs_valgrind
@pytest.mark.timeout(120)
def test_a_program_that_never_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_counter, "PATIENCE", 0.01)
    with pytest.raises(CountError, match="longer than"):
        counted(tmp_path, "import time\nWORKLOADS = {'bad': lambda: lambda: time.sleep(600)}")


def test_the_program_that_is_counted_names_its_workloads() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.guard.child", str(WORKLOADS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(said.stdout) == NAMES
