"""Audio to give to a streaming call, whatever becomes of the call."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from realtime_stts.audio import AudioData

__all__ = ["Given"]


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
