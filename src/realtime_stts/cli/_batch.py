"""Many files to texts: found, planned, transcribed, told of."""

from __future__ import annotations

import json
from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import typer

from ._batch_engines import local, on_ray
from ._batch_find import AV_SUFFIXES, SUFFIXES, Found, find
from ._batch_keep import Keep, record_of
from ._batch_plan import Job, Plan, Wanted, planned
from ._batch_run import Outcome, transcribe_files
from ._batch_show import Summary, Watch
from ._batch_sound import length_of
from ._console import FAILED, INTERRUPTED, err, fail, tell

__all__ = ["Batch", "run_batch"]


@dataclass(frozen=True, slots=True)
class Batch:
    """What was asked for."""

    paths: Sequence[Path]
    output: Path
    wanted: Wanted
    workers: int = 1
    patterns: Sequence[str] = ()
    limit: int | None = None  # files in this run
    max_seconds: float = 43_200.0  # of sound in a file
    timeout: float | None = None  # s for a part of a file
    ray: str | None = None  # the cluster's address
    force: bool = False
    quiet: bool = False
    as_json: bool = False


def run_batch(batch: Batch) -> None:
    """Transcribe what is not transcribed yet, and say what became of it.

    Raises:
        typer.Exit: A file failed, or somebody stopped it.
        RealtimeSTTSError: The engine cannot be used.
        ValueError: It does not take what was asked for.
        OSError: A path is not there, or the folder of outputs cannot be used.
    """
    keep = Keep(batch.output)
    with err.status("looking for files"):
        found = find(batch.paths, batch.patterns)
        if not found.sources:
            raise fail(_nothing(batch, found))
        records = keep.records()
        plan = planned(found.sources, records, batch.wanted, keep.exists, force=batch.force)
        jobs = plan.jobs[: batch.limit]
        lengths = {job.source: length_of(job.source.path) for job in jobs}
    if found.n_without_av and not batch.quiet:
        err.print(_left_out(found), markup=False, soft_wrap=True)
    summary = Summary(
        str(batch.output),
        batch.wanted,
        max(1, min(batch.workers, len(jobs))),
        len(plan.done),
        left=len(plan.jobs) - len(jobs),
    )
    if jobs or plan.in_the_way:
        keep.prepare()
    _refuse(plan, batch.wanted, keep, summary)
    interrupted = False
    if jobs:
        with Watch(summary, jobs, lengths, quiet=batch.quiet) as watch:
            try:
                anyio.run(_transcribe, batch, jobs, keep, watch, summary.workers)
            except (KeyboardInterrupt, CancelledError):  # the latter on Python 3.10
                interrupted = True
    _tell(summary, batch.as_json)
    if interrupted:
        err.print("stopped; the same command goes on from here")
        raise typer.Exit(INTERRUPTED)
    if summary.failed:
        raise typer.Exit(FAILED)


async def _transcribe(
    batch: Batch, jobs: Sequence[Job], keep: Keep, watch: Watch, workers: int
) -> None:
    engine, timeout = batch.wanted.engine, batch.timeout
    engines = (
        local(engine, workers, timeout)
        if batch.ray is None
        else on_ray(engine, workers, timeout, batch.ray)
    )
    async with engines as ready:
        watch.loaded()
        await transcribe_files(
            jobs, ready, batch.wanted, keep, watch, max_seconds=batch.max_seconds
        )


def _refuse(plan: Plan, wanted: Wanted, keep: Keep, summary: Summary) -> None:
    """Note what would write over somebody else's files."""
    for job, name in plan.in_the_way:
        error = f"{name} is there already, and was not made from it; move it away"
        keep.failed(record_of(job, wanted), error)
        summary.outcomes.append(Outcome(job, (), None, 0.0, error, "FileExistsError"))


def _tell(summary: Summary, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary.fields(), ensure_ascii=False, indent=2))
        return
    for line in summary.lines():
        tell(line)


def _nothing(batch: Batch, found: Found) -> str:
    where = ", ".join(map(str, batch.paths))
    if found.n_without_av:
        return f"{where}: {_left_out(found)}"
    like = f" like {' or '.join(batch.patterns)}" if batch.patterns else ""
    return f"{where}: there is no sound file{like}; looked for {', '.join(SUFFIXES)}"


def _left_out(found: Found) -> str:
    return (
        f"left out: {found.n_without_av} of {', '.join(AV_SUFFIXES)}; "
        'to read them: pip install "realtime-stts[av]"'
    )
