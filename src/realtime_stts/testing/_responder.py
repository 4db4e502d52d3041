"""A response generator that answers what a script says."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import anyio

from ..protocols import ConversationContext, TranscriptionResult
from ._script import Failure, Script

__all__ = ["ResponseCall", "ScriptedResponseGenerator"]


@dataclass(slots=True)
class ResponseCall:
    """One answer, asked for by `generate_response` or `stream_response`."""

    transcription: TranscriptionResult
    context: ConversationContext
    streamed: bool
    delivered: str = ""
    finished: bool = False  # all of it was given


class ScriptedResponseGenerator:
    """Answers with the next line of its script, a word at a time when streamed.

    Args:
        script: Each answer: a text, "" for none, an exception or a `Failure`.
        latency: Seconds before the first word.
        token_latency: Seconds before each further word.
        modes: The response modes there are; the first is the one to begin with.

    Attributes:
        open_streams: Calls, streamed or not, that have begun and not ended.
        history: The utterances since `clear_history`.
    """

    def __init__(
        self,
        script: Iterable[str | Exception | Failure],
        *,
        latency: float = 0.1,
        token_latency: float = 0.02,
        modes: Sequence[str] = ("scripted",),
    ) -> None:
        self.latency = latency
        self.token_latency = token_latency
        self.modes = tuple(modes)
        self.mode = self.modes[0]
        self.calls: list[ResponseCall] = []
        self.history: list[str] = []
        self.open_streams = 0
        self._script = Script(script)

    def set_response_mode(self, mode: str) -> None:
        if mode not in self.modes:
            raise ValueError(f"no mode is called {mode!r}; known: {', '.join(self.modes)}")
        self.mode = mode

    def clear_history(self) -> None:
        self.history.clear()

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        call = ResponseCall(transcription, context, streamed=False)
        async with aclosing(self._answer(call)) as pieces:
            return "".join([piece async for piece in pieces])

    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        call = ResponseCall(transcription, context, streamed=True)
        async with aclosing(self._answer(call)) as pieces:
            async for piece in pieces:
                yield piece

    async def _answer(self, call: ResponseCall) -> AsyncGenerator[str]:
        self.calls.append(call)
        self.history.append(call.transcription.text)
        line = self._script.take(self)
        if isinstance(line, str):
            text, failure = line, None
        else:
            failure = Failure(line) if isinstance(line, Exception) else line
            text = failure.text
        self.open_streams += 1
        try:
            await anyio.sleep(self.latency)
            for n_words, word in enumerate(re.findall(r"\s*\S+\s*$|\s*\S+", text)):
                if failure is not None and failure.after == n_words:
                    break
                if n_words:
                    await anyio.sleep(self.token_latency)
                call.delivered += word
                call.finished = failure is None and call.delivered == text
                yield word
            if failure is not None:
                raise failure.error
            call.finished = True
        finally:
            self.open_streams -= 1
