"""Transcription over a WebSocket, while it is being spoken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from math import inf
from typing import Any, Final

import anyio
from fastapi import APIRouter, HTTPException, WebSocket

from ..._edge import streaming_stt
from ..._registry import load_pause_detector
from ...audio import AudioData
from ...conversation import TurnPolicy
from ...errors import AudioError, MissingExtraError, RealtimeSTTSError, SessionClosedError
from ...protocols import PauseDetector, STTEngine
from ._adapter import StarletteWebSocketAdapter
from ._gate import Gate, deny
from ._problems import Problem, problem_of
from ._query import QueryError, language, whole
from ._refusing import refusal
from ._transcribing import Failed, Transcribed, Transcriber

__all__ = ["transcription_router"]

_NORMAL, _FAULT = 1000, 1011  # RFC 6455, section 7.4.1
_LAST_WORD: Final = 1.0  # s for a client to take its close frame
_NOT_TAKEN: Final = Problem(
    422, "invalid_option", "The engine does not take this: perhaps it does not know the language."
)
_ACTIONS: Final = ("clear", "ping", "stop", "finish")


def transcription_router(
    stt: STTEngine | Callable[[], STTEngine],
    *,
    gate: Gate | None = None,
    pause_detector: Callable[[], PauseDetector] | None = None,
    policy: TurnPolicy | Callable[[], TurnPolicy] | None = None,
    partial_interval: float | None = 1.0,
    patience: float | None = 10.0,
    send_timeout: float | None = 10.0,
    max_message_bytes: int = 1 << 20,
) -> APIRouter:
    """The socket ``/transcribe``: speech in, what is said out.

    Binary messages are 16-bit PCM of one channel, of the rate that ``sample_rate`` in the
    address says (Hz, by default 16,000); ``language`` there is a code such as ``en``. Each
    utterance gets partial ``transcription`` messages, each in the place of the one before, and
    one that is final, all with its number as their ``id``; times are seconds of the stream.
    ``{"action": "clear"}`` forgets what is being said, ``ping`` is answered, and ``stop`` or
    ``finish`` gets the rest and closes the socket.

    Args:
        stt: Or a function that is asked for it by each client.
        gate: Who is let in, and how many; by default whoever comes from no other's web page.
        pause_detector: Makes each client's. Default: Silero if the ``local`` extra is
            installed, else the energy detector.
        policy: Its ``end_of_turn`` is the silence that ends an utterance; ``pre_roll`` and
            ``max_turn`` count as well. Or a function that is asked for it by each client.
        partial_interval: Seconds of speech from one partial result to the next, where the
            engine takes only whole clips; None has only final ones.
        patience: Seconds from an utterance's end to its transcript; then it has failed.
        send_timeout: Seconds for a client to take a message; then it counts as gone.
        max_message_bytes: A client that sends a longer message is closed with 1009.
    """
    router, door = APIRouter(), gate or Gate()
    new_detector = pause_detector or _default_detector

    @router.websocket("/transcribe")
    async def transcribe(websocket: WebSocket) -> None:
        async with door.admit(websocket) as admitted:
            if admitted is None:
                return
            try:
                query = websocket.query_params
                spoken = language(query)
                sample_rate = whole(query, "sample_rate", 8_000, 48_000) or 16_000
                chosen = stt if isinstance(stt, STTEngine) else stt()
                transcriber = Transcriber(
                    streaming_stt(chosen, partial_interval),
                    new_detector(),
                    language=spoken,
                    policy=policy() if callable(policy) else policy,
                    patience=patience,
                )
            except (RealtimeSTTSError, HTTPException, QueryError) as exc:
                await deny(websocket, refusal(exc), admitted.request_id)
                return
            adapter = StarletteWebSocketAdapter(
                websocket,
                sample_rate=sample_rate,
                max_message_bytes=max_message_bytes,
                max_idle_seconds=door.max_idle_seconds,
            )
            await adapter.accept_connection()
            code = _FAULT
            try:
                await _Client(adapter, transcriber, send_timeout).serve()
                code = _NORMAL
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(_LAST_WORD):
                    await adapter.close(code)

    return router


class _Client:
    """One client's stream, until either side ends it."""

    def __init__(
        self, adapter: StarletteWebSocketAdapter, transcriber: Transcriber, patience: float | None
    ) -> None:
        self._adapter = adapter
        self._transcriber = transcriber
        self._patience = inf if patience is None else patience
        self._sending = anyio.Lock()

    async def serve(self) -> None:
        async with anyio.create_task_group() as tasks:
            self._all = tasks.cancel_scope
            await self._send({"type": "ready", "message": "Ready to listen"})
            tasks.start_soon(self._listen)
            async with aclosing(self._transcriber.results()) as results:
                async for result in results:
                    await self._send(_message(result))
            self._all.cancel()

    async def _listen(self) -> None:
        while (message := await self._adapter.receive()) is not None:
            if isinstance(message, AudioData):
                await self._hear(message)
            else:
                await self._obey(message)
        self._all.cancel()

    async def _hear(self, audio: AudioData) -> None:
        try:
            await self._transcriber.push(audio)
        except AudioError as exc:
            await self._send(_error(exc))
        except SessionClosedError:
            pass  # sound after "stop"; the socket is about to be closed

    async def _obey(self, command: Mapping[str, Any]) -> None:
        match command:
            case {"action": "ping"}:
                await self._send({"type": "pong", "message": "pong"})
            case {"action": "clear"}:
                self._transcriber.clear()
                await self._send({"type": "cleared", "message": "What was said is forgotten"})
            case {"action": "stop" | "finish"}:
                await self._transcriber.finish()
            case {"action": str(action)}:
                known = ", ".join(_ACTIONS)
                await self._refuse(f"unknown action {action[:40]!r}; known: {known}")
            case {"action": _}:
                await self._refuse("the 'action' of a command is a string")
            case {"problem": str(problem)}:  # of what the adapter could not read
                await self._refuse(problem)
            case _:
                await self._refuse("a command has an 'action'")

    async def _refuse(self, message: str) -> None:
        await self._send({"type": "error", "message": message, "error_code": "invalid_request"})

    async def _send(self, message: dict[str, Any]) -> None:
        async with self._sending:
            with anyio.move_on_after(self._patience):
                await self._adapter.send_json(message)
                return
            self._all.cancel()


def _message(told: Transcribed | Failed) -> dict[str, Any]:
    if isinstance(told, Failed):
        return {**_error(told.error), "id": told.utterance}
    result = told.result
    start, end = told.start, told.end
    if result.segments:
        start, end = result.segments[0].start, result.segments[-1].end
    return {
        "type": "transcription",
        "id": told.utterance,
        "text": result.text,
        "language": result.language,
        "partial": result.partial,
        "final": not result.partial,
        "timing": {"start": start, "end": end, "duration": end - start},
        "segments": [
            {"text": each.text, "start": each.start, "end": each.end} for each in result.segments
        ],
    }


def _error(error: Exception) -> dict[str, Any]:
    # What an engine says of a language that it has not learnt; the text may be a foreign one's.
    problem = _NOT_TAKEN if type(error) is ValueError else problem_of(error)
    return {"type": "error", "message": problem.detail, "error_code": problem.code}


def _default_detector() -> PauseDetector:
    try:
        return load_pause_detector("silero")
    except MissingExtraError:
        return load_pause_detector("energy")
