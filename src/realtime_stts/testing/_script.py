"""What every fake shares: a script of lines, planned failures, the life of a model.

The fakes are whole implementations of the Protocols, held to the same suites as real
engines, with no model, no chance and, on virtual time, no waiting. A test decides what
they say, how long they take and when they fail; it reads ``calls`` and ``open_streams``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

import anyio
from typing_extensions import Self

from ..audio import AudioData
from ..errors import AudioFormatError

__all__ = ["Failure", "Model", "Script", "ScriptExhausted", "same_layout"]

LineT = TypeVar("LineT")


class ScriptExhausted(AssertionError):
    """A fake was called more often than its script has lines.

    It is a test's failure and not an engine's, so nothing that handles an `EngineError`
    hides it.
    """

    def __init__(self, engine: object, n_calls: int) -> None:
        self.n_calls = n_calls
        super().__init__(f"{type(engine).__name__} has no line for call {n_calls}")


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that fails with ``error`` once it has delivered ``after`` results.

    ``text`` is where the delivered results come from: what is being heard or answered.
    """

    error: Exception
    after: int = 0
    text: str = ""


class Script(Generic[LineT]):
    """Lines, taken one a call; an endless iterable never runs out."""

    def __init__(self, lines: Iterable[LineT]) -> None:
        self._lines: Iterator[LineT] = iter(lines)
        self._taken = 0

    def take(self, engine: object) -> LineT:
        self._taken += 1
        try:
            return next(self._lines)
        except StopIteration:
            raise ScriptExhausted(engine, self._taken) from None


class Model:
    """The life cycle of a model that is not there.

    Attributes:
        loads: How often it was loaded.
        open_streams: Calls, streamed or not, that have begun and not ended: 0 once every
            generator is closed.
    """

    def __init__(self, load_time: float) -> None:
        self.load_time = load_time
        self.loads = 0
        self.open_streams = 0
        self._loaded = False
        self._loading = anyio.Lock()
        self._ended = anyio.Event()

    @property
    def model_loaded(self) -> bool:
        """Whether the next call starts at once, without loading first."""
        return self._loaded

    async def load(self) -> None:
        """Take ``load_time``, once."""
        async with self._loading:
            if not self._loaded:
                await anyio.sleep(self.load_time)
                self._loaded = True
                self.loads += 1

    async def unload(self) -> None:
        """Wait for calls in flight; the next one loads again."""
        async with self._loading:
            self._loaded = False
            while self.open_streams:
                self._ended = anyio.Event()
                await self._ended.wait()

    async def warmup(self) -> None:
        """Load: there is nothing else to warm."""
        await self.load()

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

    @asynccontextmanager
    async def _call(self) -> AsyncGenerator[None]:
        while not self._loaded:
            await self.load()
        self.open_streams += 1
        try:
            yield
        finally:
            self.open_streams -= 1
            self._ended.set()


def same_layout(layout: tuple[int, int] | None, chunk: AudioData) -> tuple[int, int]:
    """The layout of a stream's chunks, which must not change."""
    found = (chunk.sample_rate, chunk.channels)
    if layout not in (None, found):
        raise AudioFormatError(f"the stream changes from {layout} to {found} (Hz, channels)")
    return found
