"""Suites are run, what they found is put into a report, and what fails is told."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("espeakng_loader")

from realtime_stts import EngineError, MissingExtraError, UnknownEngineError
from realtime_stts.benchmark import SUITES, CheckError, Figure, Job, Report, run
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine, speech

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.anyio

Measure = Callable[[Job], Awaitable[list[Figure]]]


def hearing() -> ScriptedSTTEngine:
    return ScriptedSTTEngine(["one"] * 100)


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Measure], None]:
    """Lets a suite be what the test says."""

    def put(name: str, measure: Measure) -> None:
        module = f"realtime_stts.benchmark._{name.replace('-', '_')}"
        monkeypatch.setitem(sys.modules, module, SimpleNamespace(measure=measure))  # type: ignore[arg-type]

    return put


def finding(*figures: Figure) -> Measure:
    async def measure(job: Job) -> list[Figure]:
        return [*figures]

    return measure


def raising(error: Exception) -> Measure:
    async def measure(job: Job) -> list[Figure]:
        raise error

    return measure


async def measured(*names: str, **options: Any) -> Report:
    return await run(names, **{"stt": hearing, "tts": ScriptedTTSEngine, "quick": True, **options})


async def test_every_suite_can_be_measured() -> None:
    assert all(callable(each.measure) for each in SUITES)
    assert all(each.about for each in SUITES)


async def test_suites_run_in_their_order_whatever_was_asked_first(suite: Any) -> None:
    suite("stt", finding(Figure("stt", "a", "ms", (1.0,))))
    suite("tts", finding(Figure("tts", "a", "ms", (2.0,))))
    told: list[str] = []
    report = await measured("tts", "stt", tell=told.append)
    assert [figure.suite for figure in report.figures] == ["stt", "tts"]
    assert report.options.suites == ("stt", "tts")
    assert told == ["preparing what is said", "stt", "tts"]


async def test_a_report_says_what_it_was_measured_with(suite: Any) -> None:
    jobs: list[Job] = []

    async def measure(job: Job) -> list[Figure]:
        jobs.append(job)
        return []

    suite("stt", measure)
    report = await measured("stt", seed=3)
    assert (report.options.stt, report.options.tts) == ("hearing", "ScriptedTTSEngine")
    assert (report.options.quick, report.options.seed) == (True, 3)
    assert report.workload.names == tuple(each.name for each in jobs[0].utterances)
    assert len(report.workload.names) == 8
    assert report.workload.seconds == pytest.approx(
        sum(each.audio.duration_seconds for each in jobs[0].utterances)
    )
    assert report.machine["cpu"]
    assert "numpy" in report.packages
    assert isinstance(jobs[0].stt(), ScriptedSTTEngine)


async def test_engines_by_name(suite: Any) -> None:
    made: list[object] = []

    async def measure(job: Job) -> list[Figure]:
        made.extend([job.stt(), job.tts()])
        return []

    suite("tts", measure)
    pytest.importorskip("pocketsphinx")
    report = await run(["tts"], quick=True)
    assert (report.options.stt, report.options.tts) == ("pocketsphinx", "espeak")
    assert [type(each).__name__ for each in made] == ["PocketSphinxSTTEngine", "ESpeakTTSEngine"]


async def test_samples_of_repeats_are_joined(suite: Any) -> None:
    suite(
        "stt",
        finding(
            Figure("stt", "a", "ms", (1.0, 2.0)), Figure("stt", "b", "%", (1.0,), (2.0,), "ratio")
        ),
    )
    one, other = (await measured("stt", repeat=3)).figures
    assert one.samples == (1.0, 2.0) * 3
    assert (other.samples, other.per) == ((1.0,) * 3, (2.0,) * 3)


async def test_each_repeat_has_a_seed_of_its_own(suite: Any) -> None:
    async def measure(job: Job) -> list[Figure]:
        return [Figure("stt", "a", "ms", (float(job.seed),))]

    suite("stt", measure)
    (figure,) = (await measured("stt", repeat=3, seed=7)).figures
    assert figure.samples == (7.0, 8.0, 9.0)


@pytest.mark.parametrize(
    "error",
    [
        CheckError("these differ"),
        EngineError("pocketsphinx", "the decoder failed"),
        ExceptionGroup("tasks", [ExceptionGroup("more", [CheckError("these differ")])]),
    ],
)
async def test_a_suite_that_fails_is_told_and_the_others_run(suite: Any, error: Exception) -> None:
    suite("stt", raising(error))
    suite("tts", finding(Figure("tts", "a", "ms", (2.0,))))
    report = await measured("stt", "tts", repeat=2)
    assert report.failures.keys() == {"stt"}
    assert any(part in report.failures["stt"] for part in ("these differ", "the decoder failed"))
    assert [figure.suite for figure in report.figures] == ["tts"]


@pytest.mark.parametrize(
    "error", [MissingExtraError("it", "bench"), ZeroDivisionError(), KeyError("x")]
)
async def test_a_bug_and_a_missing_package_end_it(suite: Any, error: Exception) -> None:
    suite("stt", raising(error))
    with pytest.raises(type(error)):
        await measured("stt")


async def test_recordings_of_ones_own(suite: Any, tmp_path: Path) -> None:
    jobs: list[Job] = []

    async def measure(job: Job) -> list[Figure]:
        jobs.append(job)
        return []

    for number in range(9):
        speech(0.2).to_file(tmp_path / f"{number}.wav")
        (tmp_path / f"{number}.txt").write_text("eins")
    suite("stt", measure)
    report = await measured("stt", data=tmp_path, language="de")
    assert report.workload.source == f"recordings of {tmp_path.name}"
    assert len(report.workload.names) == 8  # quick
    await measured("stt", data=tmp_path, language="de", quick=False)
    assert [len(job.utterances) for job in jobs] == [8, 9]
    assert {job.language for job in jobs} == {"de"}


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"suites": ["stt", "singing"]}, ValueError, "no suite singing; there are: stt, tts"),
        ({"repeat": 0}, ValueError, "repeat is at least 1"),
        ({"language": "de"}, ValueError, "give recordings"),
        ({"stt": "nobody"}, UnknownEngineError, "nobody"),
        ({"tts": "nobody"}, UnknownEngineError, "nobody"),
    ],
)
async def test_mistakes_show_before_anything_is_measured(
    options: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        await run(**options, tell=lambda text: pytest.fail("it has begun"))
