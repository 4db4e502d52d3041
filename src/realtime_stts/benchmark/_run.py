"""Running suites, and putting what they found into a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import anyio

from ..engines import load_stt, load_tts
from ..errors import MissingExtraError, RealtimeSTTSError, UnknownEngineError
from ..protocols import ManagedSTTEngine, ManagedTTSEngine
from ._figures import Figure, Job, Utterance
from ._machine import machine, packages
from ._report import Options, Report, Workload
from ._suites import Suite, chosen
from ._workload import fingerprint, recorded, spoken

__all__ = ["run"]

_FEW = 8  # recordings, where less is measured


async def run(
    suites: Iterable[str] = (),
    *,
    stt: str | Callable[[], ManagedSTTEngine] = "pocketsphinx",
    tts: str | Callable[[], ManagedTTSEngine] = "espeak",
    data: str | PathLike[str] | None = None,
    language: str = "en",
    quick: bool = False,
    seed: int = 0,
    repeat: int = 1,
    tell: Callable[[str], None] = lambda text: None,
) -> Report:
    """Measure, on the real clock: some suites take as long as their speech lasts.

    A suite that fails, because an engine does or its own check fails, is in the report's
    `failures`; the others are run none the less.

    Args:
        suites: Their names; all for none.
        stt: An engine's name as `load_stt` takes it, or what makes one.
        tts: Likewise.
        data: A folder of recordings with transcripts; None for sentences of this project's,
            which eSpeak speaks.
        language: What is spoken there; told to the engine, and decides how errors are
            counted.
        quick: Measure less: all suites in under three minutes on two cores, if the engines
            are pocketsphinx and espeak.
        seed: Of whatever is random.
        repeat: How often each suite is run, each time with the next seed: its samples are joined.
        tell: Told now and then what is going on, in a few words.

    Raises:
        ValueError: There is no such suite; ``repeat`` is less than 1; or a language other
            than English without ``data``.
        UnknownEngineError: There is no such engine.
        MissingExtraError: A package is not installed.
        WorkloadError: The recordings cannot be used.
    """
    todo = chosen(suites)
    if repeat < 1:
        raise ValueError(f"repeat is at least 1, not {repeat}")
    if data is None and language.lower()[:2] != "en":
        raise ValueError(
            f"the benchmark's own sentences are English, not {language!r}: give recordings"
        )
    make_stt = partial(load_stt, stt) if isinstance(stt, str) else stt
    make_tts = partial(load_tts, tts) if isinstance(tts, str) else tts
    for make in (make_stt, make_tts):
        make()  # a wrong name shows now, not after minutes
    tell("preparing what is said")
    utterances = await _utterances(data, tell, seed=seed, quick=quick)
    where = machine()  # before the work, which is a load of its own
    job = Job(
        stt=make_stt,
        tts=make_tts,
        utterances=utterances,
        quick=quick,
        seed=seed,
        tell=tell,
        language=language,
    )
    figures, failures = await _measured(todo, job, repeat)
    return Report(
        figures=figures,
        options=Options(
            suites=tuple(suite.name for suite in todo),
            stt=_named(stt),
            tts=_named(tts),
            quick=quick,
            seed=seed,
            repeat=repeat,
            language=language,
        ),
        workload=Workload(
            "sentences by eSpeak" if data is None else f"recordings of {Path(data).name}",
            tuple(each.name for each in utterances),
            sum(each.audio.duration_seconds for each in utterances),
            fingerprint(utterances, recorded=data is not None),
        ),
        machine={**where, "gpu": machine()["gpu"]},  # known once an engine has loaded torch
        packages=packages(),
        failures=failures,
    )


async def _utterances(
    data: str | PathLike[str] | None, tell: Callable[[str], None], *, seed: int, quick: bool
) -> Sequence[Utterance]:
    if data is None:
        return await spoken(seed, few=quick)
    few = _FEW if quick else None
    return await anyio.to_thread.run_sync(partial(recorded, Path(data), tell, few=few))


async def _measured(
    todo: Sequence[Suite], job: Job, repeat: int
) -> tuple[tuple[Figure, ...], dict[str, str]]:
    figures: dict[tuple[str, str], Figure] = {}
    failures: dict[str, str] = {}
    for suite in todo:
        for i in range(repeat):
            job.tell(suite.name)
            try:
                # What only chance decides would be the same each time, and count as new samples.
                found = await suite.measure(replace(job, seed=job.seed + i))
            except Exception as exc:  # noqa: BLE001 - what is no failure of a suite is raised
                failures[suite.name] = _failure(exc)
                break
            for each in found:
                before = figures.get((each.suite, each.case))
                figures[each.suite, each.case] = _joined(before, each) if before else each
    return tuple(figures.values()), failures


def _failure(exc: BaseException) -> str:
    """What was wrong, of an error that is a suite's or an engine's; any other is raised."""
    inner: tuple[BaseException, ...] = getattr(exc, "exceptions", ())
    if len(inner) == 1:  # a task group's
        return _failure(inner[0])
    if not isinstance(exc, RealtimeSTTSError) or isinstance(
        exc, MissingExtraError | UnknownEngineError
    ):
        raise exc
    return str(exc)


def _joined(one: Figure, other: Figure) -> Figure:
    per = None if one.per is None or other.per is None else one.per + other.per
    return replace(other, samples=one.samples + other.samples, per=per)


def _named(engine: str | Callable[[], Any]) -> str:
    return engine if isinstance(engine, str) else getattr(engine, "__name__", repr(engine))
