"""A model's life: loaded once, whoever asks, and released when asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, TypeVar

from typing_extensions import Self

from ..errors import EngineLoadError, RealtimeSTTSError
from ._worker import Job, Worker

__all__ = ["LocalEngine"]

ModelT = TypeVar("ModelT")


class LocalEngine(ABC, Generic[ModelT]):
    """An engine whose model lives in this process, behind a worker.

    A subclass says how the model is loaded and warmed up, and asks for `_model` inside of
    the worker's threads only: there it is loaded if need be, once, since the worker lets
    one thread in at a time. Those who waited for a load that failed get its error, and the
    next one tries again.
    """

    name: str

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._loaded: ModelT | None = None
        self._n_attempts = 0
        self._failure: EngineLoadError | None = None

    @abstractmethod
    def _load(self) -> ModelT:
        """Load the model; blocks."""

    @abstractmethod
    def _warm_up(self, model: ModelT) -> None:
        """Make one small call; blocks."""

    def _release(self, model: ModelT) -> None:
        """Give back what garbage collection does not."""

    @property
    def model_loaded(self) -> bool:
        return self._loaded is not None

    async def load(self) -> None:
        seen = self._n_attempts

        def load(job: Job) -> None:
            # Who began to wait before an attempt that failed shares its failure.
            if self._failure is not None and self._n_attempts > seen:
                raise self._failure
            self._model()

        await self._worker.run(load)

    async def unload(self) -> None:
        await self._worker.run(lambda job: self._unload())

    async def warmup(self) -> None:
        await self._worker.run(lambda job: self._warm_up(self._model()))

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

    def _model(self) -> ModelT:
        """The model, loaded now if it was not; for the worker's threads."""
        if self._loaded is None:
            self._n_attempts += 1
            self._failure = None
            try:
                self._loaded = self._load()
            except RealtimeSTTSError:
                raise
            except Exception as exc:
                self._failure = EngineLoadError(self.name, f"cannot be loaded: {exc}")
                raise self._failure from exc
        return self._loaded

    def _unload(self) -> None:
        model, self._loaded = self._loaded, None
        if model is not None:
            self._release(model)
