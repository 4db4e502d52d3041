"""The conversation's own responder, for clients that ask for their answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio

from ...._edge import engine_name
from ....audio import AudioData
from ....protocols import (
    ConversationContext,
    Exchange,
    StreamingResponseGenerator,
    SynthesisResult,
    TranscriptionResult,
)
from ._realtime import RealtimeEvents

__all__ = ["AskedResponder", "Wordless"]

_PATIENCE = 25.0  # s for a client to ask for an answer; less than a session waits for a responder


class AskedResponder:
    """Answers a turn when the client wants it to be, and not if it never says so.

    Args:
        inner: Gives the answers. The context's ``metadata`` has the ``instructions`` that the
            client gave.
        events: Know what the client wants.
        before: Exchanges before this session.
    """

    def __init__(
        self,
        inner: StreamingResponseGenerator,
        events: RealtimeEvents,
        before: Sequence[Exchange] = (),
    ) -> None:
        self.name = engine_name(inner)
        self.generate_response = inner.generate_response
        self.set_response_mode = inner.set_response_mode
        self.clear_history = inner.clear_history
        self._inner, self._events, self._before = inner, events, tuple(before)
        self._changed = anyio.Event()

    def look(self) -> None:
        """What the client wants may have changed."""
        self._changed.set()
        self._changed = anyio.Event()

    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        if not await self._wanted(context.metadata["turn"]):
            return
        metadata = context.metadata
        if self._events.config.instructions:
            metadata = {**metadata, "instructions": self._events.config.instructions}
        history = (*self._before, *self._events.kept(context.history))
        asked = replace(context, history=history, metadata=metadata)
        async with aclosing(self._inner.stream_response(transcription, asked)) as pieces:
            async for piece in pieces:
                yield piece

    async def _wanted(self, turn: int) -> bool:
        with anyio.move_on_after(_PATIENCE):
            while (verdict := self._events.verdict(turn)) is None:
                await self._changed.wait()
            return verdict
        return False


class Wordless:
    """A voice for sessions that want text: a moment of silence for each sentence."""

    name = "none"
    model_loaded = True

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return SynthesisResult(AudioData.silence(0.02, 24_000), text, "")

    async def list_voices(self) -> list[dict[str, Any]]:
        return []
