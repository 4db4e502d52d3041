"""Files to texts: several at a time, one for each engine."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Final, Protocol

import anyio
from anyio.to_thread import run_sync

from ..audio import AudioData
from ..errors import EngineError, MissingExtraError, RealtimeSTTSError, UnknownEngineError
from ..protocols import ManagedSTTEngine, TranscriptionResult
from ._batch_cuts import joined, rendered
from ._batch_keep import Keep, record_of
from ._batch_plan import Job, Wanted, output_name
from ._batch_sound import LONGEST, parts

__all__ = ["Outcome", "Watcher", "loaded", "transcribe_files"]

_Read = Callable[[Path], Generator["AudioData | None"]]

# What is wrong with them, is wrong with every file.
_HOPELESS: Final = (MissingExtraError, UnknownEngineError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file."""

    job: Job
    outputs: tuple[str, ...]  # names; none if it failed
    duration: float | None  # s of sound; None if it was not read to its end
    elapsed: float  # s
    error: str | None  # None if all went well
    kind: str | None = None  # the error's class


class Watcher(Protocol):
    """Told in the event loop what happens."""

    def heard(self, job: Job, seconds: float) -> None:
        """So much more of a file's sound is text."""
        ...

    def ended(self, outcome: Outcome) -> None: ...


@asynccontextmanager
async def loaded(engines: Sequence[ManagedSTTEngine]) -> AsyncGenerator[None]:
    """Load them at the same time; unload them at the end, also of a load that failed.

    Raises:
        RealtimeSTTSError: One cannot be loaded.
    """
    try:
        await _together([engine.load for engine in engines])
        yield
    finally:
        # Cancelled, this does not wait; the engines end nevertheless.
        await _together([engine.unload for engine in engines])


async def transcribe_files(
    jobs: Sequence[Job],
    engines: Sequence[ManagedSTTEngine],
    wanted: Wanted,
    keep: Keep,
    watcher: Watcher,
    *,
    max_seconds: float,
    longest: float = LONGEST,
) -> None:
    """Transcribe ``jobs`` in their order; each engine has one file at a time.

    A file that fails is noted, and the others go on. Cancelled, what is finished stays, and
    what is under way leaves nothing.

    Args:
        max_seconds: More sound than that in a file fails it.
        longest: Seconds of sound that an engine is given at once, at most.

    Raises:
        MissingExtraError: The engine cannot be used at all.
        UnknownEngineError: Likewise.
        ValueError: The engine does not take what was asked for, such as the language.
        OSError: The manifest cannot be written.
    """
    files = iter(jobs)
    read = partial(parts, max_seconds=max_seconds, longest=longest)
    workers = [_Worker(engine, wanted, keep, watcher, read) for engine in engines]
    await _together([partial(worker.run, files) for worker in workers])


async def _together(calls: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Make these calls at the same time; the first one's failure ends the others.

    What fails in one of them may well fail in each, and is told once.
    """
    failures: list[Exception] = []

    async def attempt(call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except Exception as exc:  # noqa: BLE001 - it is raised below
            failures.append(exc)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(attempt, call)
    if failures:
        raise failures[0]


class _Worker:
    """One engine, and the file it has."""

    def __init__(
        self,
        engine: ManagedSTTEngine,
        wanted: Wanted,
        keep: Keep,
        watcher: Watcher,
        read: _Read,
    ) -> None:
        self._engine = engine
        self._wanted = wanted
        self._keep = keep
        self._watcher = watcher
        self._read = read

    async def run(self, jobs: Iterator[Job]) -> None:
        for job in jobs:
            self._watcher.ended(await self._outcome(job))

    async def _outcome(self, job: Job) -> Outcome:
        began = perf_counter()
        record = record_of(job, self._wanted)
        try:
            result, duration = await self._heard(job)
            elapsed = perf_counter() - began
            about = {
                "duration": duration,
                "file": job.source.name,
                "engine": self._wanted.engine,
            }
            record = replace(record, duration=duration, elapsed=elapsed)
            contents = {each: rendered(result, each, about) for each in job.formats}
            await run_sync(self._keep.write, record, contents)
        except _HOPELESS:
            raise
        except (RealtimeSTTSError, OSError) as exc:
            elapsed, error = perf_counter() - began, _told(exc)
            failed = partial(self._keep.failed, replace(record, elapsed=elapsed), error)
            await run_sync(failed)
            return Outcome(job, (), None, elapsed, error, type(exc).__name__)
        outputs = tuple(output_name(job.stem, each) for each in job.formats)
        return Outcome(job, outputs, duration, elapsed, None)

    async def _heard(self, job: Job) -> tuple[TranscriptionResult, float]:
        """The text of a file, and how long it is."""
        language = self._wanted.language
        texts: list[tuple[float, float, TranscriptionResult]] = []
        at = 0.0
        async with aclosing(_in_threads(self._read(job.source.path))) as sound:
            async for part in sound:
                result = await self._engine.transcribe(part, language)
                if result is None:
                    raise EngineError(self._wanted.engine, "gave no result")
                end = at + part.duration_seconds
                texts.append((at, end, result))
                at = end
                if result.text.strip():  # the language of a file is that of its beginning
                    language = language or result.language or None
                self._watcher.heard(job, part.duration_seconds)
        return joined(texts), at


async def _in_threads(parts: Generator[AudioData | None]) -> AsyncGenerator[AudioData]:
    """The parts of a file, read outside the event loop."""
    with closing(parts):
        ended = object()
        while (part := await run_sync(next, parts, ended)) is not ended:
            if isinstance(part, AudioData):
                yield part


def _told(exc: Exception) -> str:
    """What went wrong, in one line."""
    text = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    return " ".join((text or type(exc).__name__).split())
