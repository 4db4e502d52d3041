"""How a blocking model runs off the event loop: one step of it at a time.

Models are not re-entrant: two threads in one Whisper decode give wrong text. So the guard
is a lock that the *thread* holds, and not a limiter around the thread, which asyncio gives
back as soon as a call is abandoned, while its thread still runs. A call that was withdrawn
while it waited for the lock does no work at all. All have it in the order in which they
asked for it.

Threads wait for nothing that a caller could fail to give: a caller that is cancelled, or
closes its stream, releases the thread at once and is itself released at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from threading import Condition, Lock, Thread
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

__all__ = ["Job", "StreamJob", "Withdrawn", "Worker"]

T = TypeVar("T")

_MAX_THREADS = 64  # calls that wait for a model on one event loop; more wait without a thread
_MAX_AHEAD = 8  # items a stream may be ahead of its reader before its next step


class Withdrawn(Exception):
    """The caller is gone: raised inside the work by `Job.check`, and never seen outside."""


class Job:
    """What blocking work may ask while it runs."""

    def __init__(self) -> None:
        self._withdrawn = False

    @property
    def withdrawn(self) -> bool:
        """Whether the caller is gone. Work asks as often as it can, and then ends."""
        return self._withdrawn

    def check(self) -> None:
        """Raise `Withdrawn` if the caller is gone."""
        if self.withdrawn:
            raise Withdrawn

    def withdraw(self) -> None:
        """Nobody wants the result any more."""
        self._withdrawn = True


class StreamJob(Job, Generic[T]):
    """Blocking work whose results are wanted one by one."""

    def __init__(self) -> None:
        super().__init__()
        self._items: deque[T] = deque()
        self._changed = Condition()
        self._ended = False
        self._error: BaseException | None = None

    # -- the working thread's side

    def emit(self, item: T) -> None:
        """Hand over the next item. Never blocks: a model must not wait for a reader."""
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def wait_for_reader(self) -> None:
        """Block while the reader is too far behind."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_ahead or self._withdrawn)

    @property
    def is_ahead(self) -> bool:
        """Whether the reader is too far behind."""
        return len(self._items) >= _MAX_AHEAD

    def end(self, error: BaseException | None) -> None:
        """There are no more items."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    # -- the reader's side

    def withdraw(self) -> None:
        with self._changed:
            super().withdraw()
            self._changed.notify_all()

    @property
    def ready(self) -> bool:
        """Whether `take` has an answer now."""
        return bool(self._items) or self._ended

    def wait(self) -> None:
        """Block until `ready`, or withdrawn."""
        with self._changed:
            self._changed.wait_for(lambda: self.ready or self._withdrawn)

    def take(self) -> T:
        """The next item.

        Raises:
            StopIteration: There are no more.
            BaseException: What the work raised, after its items.
        """
        with self._changed:
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
        if self._error is not None:
            raise self._error
        raise StopIteration

    async def results(self) -> AsyncGenerator[T]:
        """The items, as they come; closing this withdraws the job.

        Raises:
            BaseException: What the work raised, after its items.
        """
        try:
            while True:
                if not self.ready:
                    await to_thread.run_sync(self.wait, abandon_on_cancel=True, limiter=_limiter())
                try:
                    item = self.take()
                except StopIteration:
                    return
                yield item
        finally:
            self.withdraw()


class _FairLock:
    """A lock that is handed to those who wait for it in the order in which they came.

    A `threading.Lock` often goes to the thread that just let it go and asks again: the next
    step of a stream or the next batch would keep whoever waits to unload waiting for ever.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._held = False
        self._waiting: deque[tuple[Lock, bool]] = deque()

    @property
    def wanted(self) -> bool:
        """Whether anybody waits who is not patient."""
        with self._guard:
            return not all(patient for _, patient in self._waiting)

    @contextmanager
    def held(self, *, patient: bool = False) -> Iterator[None]:
        self._acquire(patient)
        try:
            yield
        finally:
            self._release()

    def _acquire(self, patient: bool) -> None:
        with self._guard:
            if not self._held:
                self._held = True
                return
            turn = Lock()
            turn.acquire()
            self._waiting.append((turn, patient))
        turn.acquire()  # until it is handed over, and never free in between

    def _release(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft()[0].release()
            else:
                self._held = False


class Worker:
    """Runs the steps of one model, never two at a time, whatever event loops they are for.

    Args:
        name: What its threads are called.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = _FairLock()

    @contextmanager
    def exclusive(self, *, patient: bool = False) -> Iterator[None]:
        """Hold the model in a thread of one's own; blocks until it is free.

        Args:
            patient: Whether that can wait for as long as the model is in use: it is not
                `wanted` then.
        """
        with self._lock.held(patient=patient):
            yield

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for the model; who holds it for long asks."""
        return self._lock.wanted

    async def run(self, work: Callable[[Job], T]) -> T:
        """Run ``work`` in a thread, alone; return what it returns.

        Cancelling releases the caller at once and withdraws the job, which frees the model
        as soon as the work asks for it.
        """
        job = Job()

        def alone() -> T:
            with self._lock.held():
                job.check()
                return work(job)

        try:
            return await to_thread.run_sync(alone, abandon_on_cancel=True, limiter=_limiter())
        finally:
            job.withdraw()

    async def stream(self, work: Callable[[StreamJob[T]], Iterator[None]]) -> AsyncGenerator[T]:
        """Run a blocking generator in a thread and yield what it emits, as it emits it.

        The model is held only during each step of the generator. Between steps others have
        their turn, and a stream that is ahead of its reader waits there. Closing this
        generator ends the work at its next check or step.
        """
        job = StreamJob[T]()
        thread = Thread(target=self._produce, args=(work, job), name=self._name, daemon=True)
        thread.start()
        async with aclosing(job.results()) as items:
            async for item in items:
                yield item

    def _produce(self, work: Callable[[StreamJob[T]], Iterator[None]], job: StreamJob[T]) -> None:
        error: BaseException | None = None
        try:
            steps = work(job)
            while True:
                job.wait_for_reader()
                with self._lock.held():
                    job.check()
                    next(steps)
        except (StopIteration, Withdrawn):
            pass
        except BaseException as exc:  # noqa: BLE001 - it is raised again where it is awaited
            error = exc
        job.end(error)


_limiters = RunVar[CapacityLimiter]("realtime_stts_engine_threads")


def _limiter() -> CapacityLimiter:
    """The engines' own: their calls wait long, and must not use up everybody's threads."""
    limiter = _limiters.get(None)
    if limiter is None:
        limiter = CapacityLimiter(_MAX_THREADS)
        _limiters.set(limiter)
    return limiter
