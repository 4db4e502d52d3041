"""What several tests of middleware give to calls, and keep of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

import anyio

from realtime_stts.audio import AudioData
from realtime_stts.middleware import CallNext, RequestContext

__all__ = ["Given", "Keeper", "results"]


class Given:
    """Chunks, each after a pause in seconds. No generator: nobody has to close it."""

    def __init__(self, *chunks: AudioData, pauses: Iterable[float] | None = None) -> None:
        self._left = list(zip(chunks, pauses or [0.0] * len(chunks), strict=True))

    def __aiter__(self) -> Given:
        return self

    async def __anext__(self) -> AudioData:
        if not self._left:
            raise StopAsyncIteration
        chunk, pause = self._left.pop(0)
        await anyio.sleep(pause)
        return chunk


class Keeper:
    """Keeps the contexts it sees."""

    def __init__(self) -> None:
        self.contexts: list[RequestContext] = []

    async def __call__(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        self.contexts.append(context)
        async for result in call_next(context):
            yield result

    @property
    def last(self) -> RequestContext:
        return self.contexts[-1]

    @property
    def attempts(self) -> list[Any]:
        return [context.metrics.get("attempts") for context in self.contexts]


async def results(stream: AsyncGenerator[Any]) -> list[Any]:
    """All that a stream yields."""
    async with aclosing(stream):
        return [result async for result in stream]
