"""A stream of audio as an engine hears it: how much of it, when, and what it was."""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import suppress

import anyio

from ..audio import AudioData
from ..errors import AudioFormatError
from ._sketch import Sketch, Sketcher

__all__ = ["Ear"]


class Ear:
    """Chunks on their way to an engine. A sketch of each tenth of a second is kept.

    Audio that is none passes unheard: refusing it is the engine's business.
    """

    def __init__(self, chunks: AsyncIterable[AudioData]) -> None:
        self.sketches: list[Sketch] = []
        self.seconds = 0.0  # heard so far
        self.ended = False
        self.since = anyio.current_time()  # when the latest of it came
        self._chunks = aiter(chunks)
        self._sketcher = Sketcher()

    def __aiter__(self) -> Ear:
        return self

    async def __anext__(self) -> AudioData:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            if not self.ended:
                self.ended = True
                self.since = anyio.current_time()
                self.sketches += self._sketcher.finish()
            raise
        self.since = anyio.current_time()
        with suppress(AudioFormatError):
            self.sketches += self._sketcher.hear(chunk)
            self.seconds += chunk.duration_seconds
        return chunk
