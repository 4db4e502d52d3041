"""Concurrent calls of many sessions become one batch of one model (dynamic batching).

An idle model begins at once with whatever there is: a lone session never waits for company.
While it is busy, calls gather by themselves, and the next batch takes what waits when this
one ends. Only then may a wait of `max_wait` pay, if fewer wait than fit: the sessions that
just had their results are likely to call again within milliseconds, and would else miss the
batch for as long as it takes. Servers that gather before every batch, idle or not, make each
lone call wait for nothing. When nobody waits the model is idle again.

Interactive calls go before background ones. A background batch is suspended between two of
its steps, the interactive ones run to their end, and then it goes on; so at most one batch
of each kind is in progress. Which calls make up a batch is decided in `_schedule`.

One thread does the work, and is there only while there is work. It holds the model's
`Worker` from a batch's first step until nothing is in progress, and lets go after each, so
that loading and unloading come between batches, never into one. Callers wait in a thread
too, one for all those of an event loop, as the clock of `testing.virtual_time` stands still
while such a thread is at work.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from threading import Condition, Lock, Thread
from typing import Generic, Literal, TypeVar, cast

from anyio import lowlevel

from ..errors import EngineError, EngineMemoryError, OverloadedError
from ._failures import let_go, own_copy
from ._lookout import lookout
from ._schedule import Batch, Schedule
from ._worker import Worker

__all__ = ["Batcher", "BatcherStatistics", "Entry", "OutOfMemory"]

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


class OutOfMemory(Exception):
    """The batch did not fit: raised by the work, and never seen outside."""


class Entry(Generic[RequestT, ResultT]):
    """One call, as the work sees it. Its methods may be called in any thread.

    Only the first outcome counts: what comes after it changes nothing.
    """

    def __init__(self, request: RequestT, on_done: Callable[[], None]) -> None:
        self.request = request
        self._on_done = on_done
        self._lock = Lock()
        self._outcome: Literal["delivered", "failed", "withdrawn"] | None = None
        self._result: ResultT | None = None
        self._error: BaseException | None = None

    @property
    def withdrawn(self) -> bool:
        """Whether the caller is gone: nothing more is to be done for it."""
        return self._outcome == "withdrawn"

    @property
    def done(self) -> bool:
        """Whether it was delivered, failed or withdrawn."""
        return self._outcome is not None

    def deliver(self, result: ResultT) -> None:
        """Wake the caller with its result, at once."""
        self._end("delivered", result=result)

    def fail(self, error: BaseException) -> None:
        """Wake the caller with an error, which is to be its own: raising it changes it."""
        self._end("failed", error=error)

    def withdraw(self) -> None:
        """The caller is gone."""
        self._end("withdrawn")

    def take(self) -> ResultT:
        """What was delivered, for the caller; to be asked once, when it is done.

        Raises:
            BaseException: It failed.
        """
        result, error = self._result, self._error
        # Held here, an error and the frames it was raised in would hold each other.
        self._result = self._error = None
        if error is not None:
            try:
                raise error
            finally:
                del error
        return cast("ResultT", result)

    def _end(
        self,
        outcome: Literal["delivered", "failed", "withdrawn"],
        *,
        result: ResultT | None = None,
        error: BaseException | None = None,
    ) -> None:
        with self._lock:
            if self._outcome is not None:
                return
            self._result, self._error = result, error
            self._outcome = outcome
        self._on_done()


@dataclass(frozen=True, slots=True)
class BatcherStatistics:
    """What a batcher has done so far. Entries over batches is how well it batches."""

    n_batches: int
    n_entries: int  # that were in them
    largest_batch: int
    n_waiting: int  # now
    n_retries: int  # parts of batches that did not fit and were run again


class Batcher(Generic[RequestT, ResultT]):
    """Gathers calls from any number of tasks and event loops for one model.

    ``run`` is a blocking generator over the entries of a batch. It delivers each entry as
    soon as that one is finished, asks which were withdrawn as often as it can, and yields
    where others may have their turn. It is closed when all its entries are done. What it
    raises fails those that are not; so does its end, as that is a bug of the engine.

    An `OutOfMemory` it raises is the end of that run only: entries not done are run again in
    two halves, one after the other, and fail if their half does not fit either. Where a
    background batch was suspended meanwhile it is finished first: it holds memory too.

    Args:
        engine: Whose name its errors and its thread have.
        worker: Guards the model.
        max_batch: Entries in a batch, at most.
        max_wait: How long a batch that follows another one may wait to be full; seconds.
        max_waiting: Interactive calls that wait, at most, and as many background ones.
    """

    def __init__(
        self,
        engine: str,
        run: Callable[[Sequence[Entry[RequestT, ResultT]]], Iterator[None]],
        worker: Worker,
        *,
        max_batch: int = 16,
        max_wait: float = 0.003,
        max_waiting: int = 256,
    ) -> None:
        if not max_wait >= 0:
            raise ValueError(f"max_wait must not be negative, but is {max_wait}")
        self._engine = engine
        self._run = run
        self._worker = worker
        self._max_wait = max_wait
        self._max_waiting = max_waiting
        self._changed = Condition()  # guards all below
        self._schedule = Schedule[Entry[RequestT, ResultT]](max_batch, max_waiting)
        self._serving = False
        self._n_batches = self._n_entries = self._largest = self._n_retries = 0

    @property
    def statistics(self) -> BatcherStatistics:
        with self._changed:
            return BatcherStatistics(
                n_batches=self._n_batches,
                n_entries=self._n_entries,
                largest_batch=self._largest,
                n_waiting=len(self._schedule),
                n_retries=self._n_retries,
            )

    async def submit(
        self,
        request: RequestT,
        *,
        group: Hashable = None,
        session: Hashable = None,
        background: bool = False,
    ) -> ResultT:
        """Have ``request`` run in a batch and return its result.

        Cancelling releases the caller at once. Its entry then never runs, if it was not
        begun, and is withdrawn from its batch if it was.

        Args:
            group: Only equal ones share a batch: the options that cannot be mixed.
            session: Who asks; sessions take turns. None is a session of its own.
            background: Whether it can wait for all that cannot.

        Raises:
            OverloadedError: As many wait as may.
            EngineMemoryError: It did not fit into memory, and not in half a batch either.
            EngineError: The work left it unfinished.
            Exception: What the work raised: the very exception if it failed only this call;
                if it failed several, a copy with the same traceback for each of them, or an
                `EngineError` caused by it where it cannot be copied.
        """
        await lowlevel.checkpoint()  # a result that is there at once must not starve others
        watch = lookout()
        entry = Entry[RequestT, ResultT](request, watch.ring)
        try:
            self._add(entry, group, session, background)
            await watch.wait(lambda: entry.done)
            return entry.take()
        finally:
            self._release(entry)

    def _add(
        self,
        entry: Entry[RequestT, ResultT],
        group: Hashable,
        session: Hashable,
        background: bool,
    ) -> None:
        with self._changed:
            if not self._schedule.add(entry, group=group, session=session, background=background):
                raise OverloadedError(f"{self._max_waiting} calls of {self._engine} wait already")
            if not self._serving:
                # No daemon: the interpreter waits until a model's code, which would abort the
                # process when it is torn from it, has ended.
                Thread(target=self._serve, name=self._engine).start()
                self._serving = True
            self._changed.notify_all()

    def _release(self, entry: Entry[RequestT, ResultT]) -> None:
        if not entry.done:
            entry.withdraw()
            with self._changed:
                self._schedule.discard(entry)
                self._changed.notify_all()

    # -- the working thread's side

    def _serve(self) -> None:
        max_wait = 0.0
        while self._gather(max_wait):
            with self._worker.exclusive():
                self._work()
            max_wait = self._max_wait

    def _gather(self, max_wait: float) -> bool:
        """Wait for a full batch, but not for long; return whether there is any.

        If there is none the thread ends, and the next call starts another.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: not self._schedule or self._schedule.fills_a_batch, max_wait
            )
            self._serving = len(self._schedule) > 0
            return self._serving

    def _work(self) -> None:
        """Run the next batch, and until it ends those that may not wait for it."""
        batch = self._take()
        if batch is None:  # all were withdrawn while the model was another's
            return
        postponed: Sequence[Entry[RequestT, ResultT]] = ()
        for _ in self._finish(batch.calls):
            while (
                batch.background
                and not postponed
                and (urgent := self._take(interactive_only=True)) is not None
            ):
                postponed = self._hurry(urgent.calls)
        _exhaust(self._retry(postponed))

    def _take(self, *, interactive_only: bool = False) -> Batch[Entry[RequestT, ResultT]] | None:
        """The batch to run next, if anything waits."""
        with self._changed:
            batch = self._schedule.take(interactive_only=interactive_only)
            if batch is not None:
                self._n_batches += 1
                self._n_entries += len(batch.calls)
                self._largest = max(self._largest, len(batch.calls))
            return batch

    def _hurry(
        self, entries: Sequence[Entry[RequestT, ResultT]]
    ) -> Sequence[Entry[RequestT, ResultT]]:
        """Run a batch while another is suspended; return it if there is no memory for both."""
        try:
            _exhaust(self._attempt(entries))
        except OutOfMemory:
            return entries
        return ()

    def _finish(self, entries: Sequence[Entry[RequestT, ResultT]]) -> Iterator[None]:
        """Run a batch, step by step, until every entry is done."""
        try:
            yield from self._attempt(entries)
        except OutOfMemory:
            pass  # and let go of it: its frames hold what was computed
        else:
            return
        yield from self._retry(entries)

    def _retry(self, entries: Sequence[Entry[RequestT, ResultT]]) -> Iterator[None]:
        """Run what is not done of a batch that did not fit, one half after the other."""
        left = _not_done(entries)
        middle = (len(left) + 1) // 2
        for half in (left[:middle], left[middle:]):
            half = _not_done(half)
            if not half:
                continue
            with self._changed:
                self._n_retries += 1
            try:
                yield from self._attempt(half)
            except OutOfMemory as exc:
                for entry in half:
                    message = f"out of memory twice, at last with a batch of {len(half)}: {exc}"
                    entry.fail(EngineMemoryError(self._engine, message))

    def _attempt(self, entries: Sequence[Entry[RequestT, ResultT]]) -> Iterator[None]:
        """The steps of one run. Then every entry is done, unless it raises `OutOfMemory`."""
        try:
            yield from _steps(self._run, entries)
        except OutOfMemory:
            raise
        except BaseException as exc:  # noqa: BLE001 - it is raised again where it is awaited
            self._fail(entries, exc)
        else:
            self._fail(entries, EngineError(self._engine, "ended without a result for this call"))

    def _fail(self, entries: Sequence[Entry[RequestT, ResultT]], error: BaseException) -> None:
        let_go(error)
        left = _not_done(entries)
        for entry in left:
            entry.fail(error if len(left) == 1 else own_copy(error, self._engine))


def _steps(
    run: Callable[[Sequence[Entry[RequestT, ResultT]]], Iterator[None]],
    entries: Sequence[Entry[RequestT, ResultT]],
) -> Iterator[None]:
    """The steps of the work, as long as anybody wants them."""
    steps = run(entries)
    try:
        while _not_done(entries):
            try:
                next(steps)
            except StopIteration:
                return
            if _not_done(entries):
                yield
    finally:
        if isinstance(steps, Generator):
            steps.close()


def _not_done(entries: Sequence[Entry[RequestT, ResultT]]) -> list[Entry[RequestT, ResultT]]:
    return [entry for entry in entries if not entry.done]


def _exhaust(steps: Iterator[None]) -> None:
    for _ in steps:
        pass
