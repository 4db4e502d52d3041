"""Analytics in a SQLite file: they outlast the process."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from math import inf
from pathlib import Path
from threading import Event as Flag
from time import time
from typing import Final, TypeVar

from anyio import CancelScope, to_thread
from typing_extensions import Self

from ..instrumentation import CallDetails, Details
from ._answers import StoreStatistics
from ._event import recorder
from ._queries import SQLAnswers
from ._schema import open_for_reading, prepare, transaction
from ._store import Answers, Queries, limiter
from ._writer import Writer

__all__ = ["SQLiteAnalyticsStore"]

T = TypeVar("T")

_CLOSE_TIMEOUT: Final = 10.0  # s: twice what another process may hold the database
_STEPS_BETWEEN_CHECKS: Final = 10_000  # of SQLite's machine, well under 1 ms


class SQLiteAnalyticsStore(Queries):
    """An `AnalyticsStore` in a file.

    Told of a call, it puts it in a queue, from which a thread of its own writes, some
    hundred in a transaction. So an event is in answers and safe from a crash of the process
    at most ``flush_interval`` seconds later, plus the time of writing; `flush` waits for it.
    Questions have connections of their own, which can only read: they and the writer never
    wait for each other. Several processes may share a file on a local disk; they take turns
    with writing.

    ``async with`` opens the file, and raises SettingsError if that cannot be. Without it the
    first event or question does; then events that cannot be written are counted as failed,
    and that is logged. Questions that cannot be answered raise SettingsError if the file is
    none of this library, OSError if it cannot be read. `aclose` writes what is queued, and
    so does the normal end of the process; one that is killed loses that.

    One instance may serve any number of event loops and threads, and may be told of calls
    from any thread. It is not for the child of a fork.

    Args:
        path: The file; it and its folder are made if they are missing, the file readable by
            its owner only.
        retention_days: Events that started longer ago are deleted; None to keep all.
        max_queue: Events that wait to be written. Those beyond are dropped, and counted.
        flush_interval: Seconds that events wait for others to be written with them.
        batch: Events that are written in one transaction, at most.
        voices: Whether voices are kept. They are personal data: see `RedactionMiddleware`.
        identifiers: Whether requests' and sessions' ids are kept.
        subjects: Whether it is kept who asked.
        clock: Seconds since the epoch, for retention and trends.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        retention_days: float | None = 30.0,
        max_queue: int = 10_000,
        flush_interval: float = 0.5,
        batch: int = 500,
        voices: bool = True,
        identifiers: bool = False,
        subjects: bool = False,
        clock: Callable[[], float] = time,
    ) -> None:
        super().__init__(retention_days, clock)
        if not str(path) or str(path) == ":memory:":
            raise ValueError("path must name a file; InMemoryAnalyticsStore needs none")
        if max_queue < 1 or batch < 1:
            raise ValueError(f"max_queue and batch must be at least 1, not {max_queue}, {batch}")
        if not 0 <= flush_interval < inf:
            raise ValueError(f"flush_interval must be at least 0 seconds, not {flush_interval!r}")
        self.path = Path(path).absolute()
        self._is_prepared = False
        self._writer = Writer(
            self.path,
            recorder(voices=voices, identifiers=identifiers, subjects=subjects),
            self._oldest,
            max_queue=max_queue,
            flush_interval=flush_interval,
            batch=batch,
        )

    def __call__(self, details: Details, /) -> None:
        if isinstance(details, CallDetails):
            self._writer.put(details)

    def statistics(self) -> StoreStatistics:
        """What became of the events until now."""
        return self._writer.statistics()

    async def flush(self) -> None:
        await to_thread.run_sync(self._writer.flush, abandon_on_cancel=True, limiter=limiter())

    async def aclose(self) -> None:
        """Write what is queued, within 10 s, and take no more; also when cancelled."""
        self._closed = True
        with CancelScope(shield=True):
            await to_thread.run_sync(self._writer.close, _CLOSE_TIMEOUT, limiter=limiter())

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await to_thread.run_sync(self._prepare, limiter=limiter())
        return self

    def _prepare(self) -> None:
        if not self._is_prepared:
            prepare(self.path)
            self._is_prepared = True

    async def _ask(self, question: Callable[[Answers], T]) -> T:
        withdrawn = Flag()

        def answer() -> T:
            self._prepare()
            try:
                with closing(open_for_reading(self.path)) as connection:
                    connection.set_progress_handler(withdrawn.is_set, _STEPS_BETWEEN_CHECKS)
                    with transaction(connection, "DEFERRED"):  # all parts see the same state
                        return question(SQLAnswers(connection))
            except sqlite3.Error as error:
                raise OSError(f"the analytics in {self.path} cannot be read: {error}") from error

        try:
            return await to_thread.run_sync(answer, abandon_on_cancel=True, limiter=limiter())
        finally:
            withdrawn.set()  # a question that nobody waits for any more ends soon
