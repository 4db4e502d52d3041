"""A model's life: loaded once, whoever asks, and released when asked, or when nobody does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import TIMEOUT_MAX, Event, Thread
from types import TracebackType
from typing import Generic, TypeVar

from typing_extensions import Self

from ..errors import EngineLoadError, RealtimeSTTSError
from ._worker import Job, Withdrawn, Worker

__all__ = ["LocalEngine"]

ModelT = TypeVar("ModelT")


class LocalEngine(ABC, Generic[ModelT]):
    """An engine whose model lives in this process, behind a worker.

    A subclass says how the model is loaded and warmed up, and asks for `_model` inside of
    the worker's threads, or while it holds the worker, only: there it is loaded if need be,
    once, since the worker lets one thread in at a time. Those who waited for a load that
    failed get its error, and the next one tries again.

    Args:
        idle_ttl: Seconds after which a model that nobody uses is released; the next call
            loads it again. None keeps it. It is used from a call of `_model` until the worker
            is given back, so work of several steps asks for it in each of them.
        wait: Waits for an event for so many seconds, and says whether it came.

    Raises:
        ValueError: ``idle_ttl`` is not over 0.
    """

    name: str

    def __init__(
        self,
        worker: Worker,
        idle_ttl: float | None = None,
        *,
        wait: Callable[[Event, float], bool] = Event.wait,
    ) -> None:
        if idle_ttl is not None and not 0.0 < idle_ttl <= TIMEOUT_MAX:
            raise ValueError(f"idle_ttl is over 0 seconds, or None, not {idle_ttl}")
        self._worker = worker
        self._idle_ttl = idle_ttl
        self._wait = wait
        self._watch: _IdleWatch | None = None
        self._loaded: ModelT | None = None
        self._n_attempts = 0
        self._failure: RealtimeSTTSError | None = None

    def _fetch(self, check: Callable[[], None]) -> None:
        """Bring here what `_load` needs; blocks. ``check`` raises when nobody waits any more."""

    @abstractmethod
    def _load(self) -> ModelT:
        """Load the model; blocks."""

    @abstractmethod
    def _warm_up(self, model: ModelT) -> None:
        """Make one small call; blocks."""

    def _release(self, model: ModelT) -> None:
        """Give back what garbage collection does not."""

    def _released(self) -> None:
        """Give back what was the model's, which is gone."""

    @property
    def model_loaded(self) -> bool:
        return self._loaded is not None

    async def load(self) -> None:
        seen = self._n_attempts

        def load(job: Job) -> None:
            # Who began to wait before an attempt that failed shares its failure.
            if self._failure is not None and self._n_attempts > seen:
                raise self._failure
            self._model(job.check)

        await self._worker.run(load)

    async def unload(self) -> None:
        await self._worker.run(lambda job: self._unload())

    async def warmup(self) -> None:
        await self._worker.run(lambda job: self._warm_up(self._model(job.check)))

    def load_model(self) -> bool:
        """`load`, for a program without an event loop; blocks.

        Raises:
            EngineLoadError: It cannot be loaded.
        """
        with self._worker.exclusive():
            self._model()
        return True

    def unload_model(self) -> None:
        """`unload`, for a program without an event loop; blocks."""
        with self._worker.exclusive():
            self._unload()

    async def _loaded_model(self) -> ModelT:
        loaded = self._loaded
        if loaded is not None:
            return loaded
        return await self._worker.run(lambda job: self._model(job.check))

    async def __aenter__(self) -> Self:
        await self.load()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.unload()

    def _model(self, check: Callable[[], None] = lambda: None) -> ModelT:
        """The model, loaded now if it was not; for the worker's threads.

        Args:
            check: Ends, by what it raises, the wait for what has to be fetched.
        """
        if self._loaded is None:
            self._n_attempts += 1
            self._failure = None
            try:
                self._fetch(check)
                self._loaded = self._load()
            except Withdrawn:  # which is no failure: whoever comes next wants it
                raise
            except RealtimeSTTSError as exc:
                self._failure = exc
                raise
            except Exception as exc:
                self._failure = EngineLoadError(self.name, f"cannot be loaded: {exc}")
                raise self._failure from exc
            if self._idle_ttl is not None:
                self._watch = _IdleWatch(self._worker, self._idle_ttl, self._wait, self._unload)
        if self._watch is not None:
            self._watch.touch()
        return self._loaded

    def _unload(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        model, self._loaded = self._loaded, None
        if model is not None:
            self._release(model)
            del model  # the last reference: a device gives memory back only after that
            self._released()


class _IdleWatch:
    """Waits beside one loaded model, and has it released when it has been idle for long.

    It stands in the worker's line behind the use that called `touch`, so it gets its turn as
    that use ends: idle time counts from there, and a release can fall into no use at all.
    """

    def __init__(
        self,
        worker: Worker,
        ttl: float,
        wait: Callable[[Event, float], bool],
        release: Callable[[], None],
    ) -> None:
        self._worker, self._ttl, self._wait, self._release = worker, ttl, wait, release
        self._used = Event()
        self._stopped = False
        Thread(target=self._run, name="idle model", daemon=True).start()

    # Both by whoever holds the worker.

    def touch(self) -> None:
        self._used.set()

    def stop(self) -> None:
        self._stopped = True
        self._used.set()

    def _run(self) -> None:
        while True:
            with self._worker.exclusive(patient=True):
                if self._stopped:
                    return
                self._used.clear()
            if not self._wait(self._used, self._ttl):
                with self._worker.exclusive(patient=True):
                    if not self._used.is_set():
                        self._release()
                        return
