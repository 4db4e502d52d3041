"""The responder that asks a language model."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final

import anyio
from openai import AsyncOpenAI
from typing_extensions import Self

from ...engines._http_client import Connections, media_type, pieces_of
from ...errors import EngineError, OverloadedError, RealtimeSTTSError
from ...protocols import ConversationContext, TranscriptionResult
from ._answer import ModelAnswer
from ._events import EventReader
from ._messages import conversation
from ._tools import Toolbox, ToolFunction

__all__ = ["ChatResponseGenerator"]

_log = logging.getLogger(__name__)

_INSTRUCTIONS: Final = (
    "You are on the phone: what you write is spoken aloud, and what you read was heard by a "
    "speech recogniser, which makes mistakes. Answer in one to three short sentences, in the "
    "user's language. Write plain words only: no lists, no Markdown, no emoji, no stage directions."
)
_OURS: Final = frozenset(
    ("messages", "model", "n", "stream", "tools", "temperature", "timeout", "functions")
)
_DRAINING: Final = 0.2  # s for the end of a body, so that its connection serves the next call


class ChatResponseGenerator:
    """Answers of a language model, streamed, from a server of OpenAI's chat API.

    The model is told what was said and what of its answers was really heard; it may call
    ``tools`` before and between what it says. What it says before a call is spoken while
    the tool is at work. It keeps nothing of a conversation, and serves any number at once.

    An answer that is longer than the server allows ends there. One that the server's filter
    stops, that breaks off, or that wants tools again and again, fails with `EngineError` after
    what came before. A refusal is spoken. A model's thoughts are not. Calls of tools and
    their results are not remembered beyond their turn: what was said of them is.

    Close it with ``async with`` or `aclose`. It belongs to the event loop of its first call.

    Args:
        model: As the server calls it.
        client: A client to use and never close, instead of an address and key. Set its
            ``max_retries``: by default it repeats a request that fails.
        base_url: Where the API begins, such as ``http://localhost:11434/v1``; by default
            ``OPENAI_BASE_URL``, or OpenAI's own.
        api_key: By default ``OPENAI_API_KEY``; servers of one's own may need none.
        instructions: The system message; "" for none.
        session_instructions: Whether a client's own (``context.metadata["instructions"]``,
            of ``/v1/realtime``) are added to them.
        tools: Async functions with annotated parameters; see `Toolbox`.
        max_history: Exchanges that the model is told of, at most.
        max_history_characters: Characters of them, at most; about four are a token.
        max_tool_rounds: How often an answer may call tools; then it has to do without.
        tool_timeout: Seconds that a tool may take.
        temperature: None for the server's own.
        timeout: Seconds for which the server may send nothing.
        options: Further options of the request, such as ``max_completion_tokens``,
            ``reasoning_effort`` or ``extra_body``.

    Raises:
        TypeError: A tool is no such function, or an option is this class's business.
        ValueError: A value is out of range, or OpenAI's server is meant and there is no key.
    """

    def __init__(
        self,
        model: str,
        *,
        client: AsyncOpenAI | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        instructions: str = _INSTRUCTIONS,
        session_instructions: bool = False,
        tools: Sequence[ToolFunction] = (),
        max_history: int = 20,
        max_history_characters: int = 16_000,
        max_tool_rounds: int = 5,
        tool_timeout: float = 10.0,
        temperature: float | None = None,
        timeout: float = 30.0,
        **options: Any,
    ) -> None:
        if refused := _OURS & options.keys():
            raise TypeError(f"not an option of a request here: {', '.join(sorted(refused))}")
        if min(max_history, max_history_characters, max_tool_rounds) < 0:
            raise ValueError("a history's length, and a number of rounds, is 0 or more")
        self.name = f"chat:{model}"
        self._connections = Connections(
            self.name, client=client, base_url=base_url, api_key=api_key, timeout=timeout
        )
        self._instructions = instructions.strip()
        self._session_instructions = session_instructions
        self._bounds = {"max_history": max_history, "max_characters": max_history_characters}
        self._tools = Toolbox(tools, tool_timeout)
        self._max_rounds = max_tool_rounds
        self._request: dict[str, Any] = {
            **options,
            "model": model,
            "stream": True,
            "timeout": self._connections.timeout,
        }
        if temperature is not None:
            self._request["temperature"] = temperature
        if self._tools.schemas:
            self._request["tools"] = self._tools.schemas

    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        """The answer, token by token. Closing it closes the connection.

        Raises:
            OverloadedError: The server has too much to do.
            EngineError: It failed; of these, `EngineLoadError` where it always will,
                `EngineRefusedError` where it will not do this, and `EngineTimeoutError` where
                it said nothing. Pieces already yielded stand.
        """
        said = transcription.text.strip()
        if not said:
            return
        messages = conversation(self._system(context), context.history, said, **self._bounds)
        rounds_left = self._max_rounds
        while True:
            answer = ModelAnswer()
            async with aclosing(self._ask(messages, answer, rounds_left)) as pieces:
                async for piece in pieces:
                    yield piece
            if not answer.calls:
                return
            if not rounds_left:
                raise EngineError(self.name, "the model went on calling tools, and gave no answer")
            rounds_left -= 1
            if answer.text and not answer.text[-1].isspace():
                yield "\n"  # the sentence is whole, and can be spoken now
            messages.append(answer.message())
            messages += await self._tools.run(answer.calls, context)

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        """The whole answer; raises what `stream_response` does."""
        async with aclosing(self.stream_response(transcription, context)) as pieces:
            return "".join([piece async for piece in pieces])

    def set_response_mode(self, mode: str) -> None:
        """Accept the one mode there is, ``chat``.

        Raises:
            ValueError: It is another one.
        """
        if mode != "chat":
            raise ValueError(f"this responder's only mode is 'chat', not {mode!r}")

    def clear_history(self) -> None:
        """Nothing to do: the history is the session's."""

    async def aclose(self) -> None:
        """Wait for answers under way, then close the connections. The next call opens others."""
        await self._connections.close()

    async def __aenter__(self) -> Self:
        await self._connections.open()  # so that the first answer does not wait for it
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _system(self, context: ConversationContext) -> str:
        told = context.metadata.get("instructions") if self._session_instructions else None
        if not isinstance(told, str) or not told.strip():
            return self._instructions
        return f"{self._instructions}\n\n{told.strip()}".strip()

    async def _ask(
        self, messages: list[dict[str, Any]], answer: ModelAnswer, rounds_left: int
    ) -> AsyncGenerator[str]:
        """One request: yields what is to be spoken, and leaves the rest in ``answer``."""
        request = {**self._request, "messages": messages}
        if not rounds_left and self._tools.schemas:
            request["tool_choice"] = "none"
        async with (
            self._connections.use() as client,
            client.chat.completions.with_streaming_response.create(**request) as response,
        ):
            if (kind := media_type(response)) not in ("text/event-stream", ""):
                raise EngineError(
                    self.name, f"the server answers with {kind}, and not with a stream of events"
                )
            async with aclosing(self._events(pieces_of(response), answer)) as events:
                async for chunk in events:
                    if piece := self._taken(answer, chunk):
                        yield piece
        if rest := answer.finish():
            yield rest
        self._check(answer)

    async def _events(
        self, body: AsyncGenerator[bytes], answer: ModelAnswer
    ) -> AsyncGenerator[Any]:
        """What the events of a body hold, up to the one that says that it was the last."""
        reader = EventReader()
        async with aclosing(body) as pieces:
            async for piece in pieces:
                try:
                    for data in reader.push(piece):
                        if data.strip() == "[DONE]":
                            answer.finish_reason = answer.finish_reason or "stop"
                            with anyio.move_on_after(_DRAINING):
                                async for _ in pieces:
                                    pass
                            return
                        yield json.loads(data)
                except (ValueError, RecursionError) as exc:
                    raise EngineError(self.name, "the server's answer cannot be read") from exc

    def _taken(self, answer: ModelAnswer, chunk: Any) -> str:
        if isinstance(chunk, dict) and chunk.get("error"):
            raise self._told(chunk["error"])
        try:
            return answer.take(chunk)
        except ValueError as exc:
            raise EngineError(self.name, f"the server's answer {exc}") from exc

    def _told(self, error: object) -> RealtimeSTTSError:
        """An error that comes in the place of the rest of an answer."""
        kind = f"{error.get('type')} {error.get('code')}" if isinstance(error, dict) else ""
        if "rate_limit" in kind or "overloaded" in kind or "429" in kind:
            return OverloadedError(f"{self.name}: the server has too much to do")
        return EngineError(self.name, "the server failed while it answered")

    def _check(self, answer: ModelAnswer) -> None:
        match answer.finish_reason:
            case None:
                raise EngineError(self.name, "the server's answer broke off")
            case "content_filter":
                raise EngineError(self.name, "the server's filter stopped the answer")
            case "length":
                _log.info("an answer of %s is as long as the server allows, and cut", self.name)
