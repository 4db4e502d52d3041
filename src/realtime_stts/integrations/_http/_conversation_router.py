"""Conversations over WebSockets, in either version of their messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from fastapi import APIRouter, HTTPException, WebSocket
from starlette.websockets import WebSocketState

from ...conversation import ConversationEngine
from ...conversation.engine import own_detector
from ...errors import RealtimeSTTSError, UnknownVoiceError
from ...protocols import PauseDetector
from ._adapter import FastAPIWebSocketAdapter
from ._gate import Gate, deny
from ._problems import Problem
from ._query import QueryError, choice, language, name, whole
from ._refusing import refusal

__all__ = ["VoiceOf", "conversation_router"]

_NO_ENGINES = Problem(503, "engine_unavailable", "The server has no engines to talk with.")


class VoiceOf(Protocol):
    """Finds the voice that a client means."""

    def __call__(self, voice_id: str | None, /, *, mode: str) -> Awaitable[str | None]:
        """The engine's id for it; None for the engine's default.

        Args:
            voice_id: What the client calls it; None if it names none.
            mode: ``predefined`` or ``clone``.

        Raises:
            UnknownVoiceError: There is no such voice.
            HTTPException: It cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the address asks for."""

    language: str | None
    voice_mode: str
    voice_id: str | None
    response_mode: str | None
    aggressiveness: int | None
    audio: Literal["files", "stream"]
    sample_rate: int

    @classmethod
    def of(cls, query: Mapping[str, str], version: Literal[1, 2]) -> _Wanted:
        """
        Raises:
            QueryError: A parameter is not what it must be.
        """
        voice_mode = choice(query, "voice_mode", ("predefined", "clone"))
        predefined = name(query, "predefined_voice_id")
        reference = name(query, "reference_audio_filename")
        if voice_mode == "clone" and reference is None:
            raise QueryError("reference_audio_filename", "is needed to clone a voice")
        deliveries = ("files",) if version == 1 else ("files", "stream")
        return cls(
            language(query),
            voice_mode,
            reference if voice_mode == "clone" else predefined,
            name(query, "response_mode"),
            whole(query, "pause_aggressiveness", 0, 3),
            cast(Literal["files", "stream"], choice(query, "audio", deliveries)),
            whole(query, "sample_rate", 8_000, 48_000) or 16_000,
        )


class _FirstVersion(FastAPIWebSocketAdapter):
    """Its ``ready`` also says what the session was asked for, as version 1 has it."""

    wanted: _Wanted

    async def send_json(self, data: dict[str, Any]) -> None:
        if data["type"] == "ready":
            wanted = self.wanted
            config = {
                "voice_mode": wanted.voice_mode,
                "response_mode": wanted.response_mode,
                "language": wanted.language,
                "pause_aggressiveness": wanted.aggressiveness,
            }
            data = {**data, "config": {**data["config"], **config}}
        await super().send_json(data)


def conversation_router(
    engine: ConversationEngine | Callable[[], ConversationEngine],
    *,
    gate: Gate | None = None,
    voices: VoiceOf | None = None,
    max_message_bytes: int = 1 << 20,
) -> APIRouter:
    """The sockets ``/conversation`` (version 1) and ``/conversation/v2``.

    Binary messages are 16-bit PCM of one channel. The address may say

    * ``language``, a code such as ``en``; by default the engine's,
    * ``voice_mode``, ``predefined`` (the default) or ``clone``, with ``predefined_voice_id``
      or ``reference_audio_filename``,
    * ``response_mode``, one of the engine's modes,
    * ``pause_aggressiveness``, 0 to 3, how readily sound is taken for noise; WebRTC's
      detector follows it, others have no such setting,
    * ``sample_rate``, Hz of the binary messages, 8,000 to 48,000; by default 16,000,
    * ``audio=stream``, in version 2: the answers come as binary messages of such PCM, too.

    What makes no sense is refused before the socket is open: 422, and which parameter it is.

    Args:
        engine: Or a function that is asked for it by each client.
        gate: Who is let in, and how many; by default whoever comes from no other's web page.
        voices: Finds what clients call a voice; by default among the TTS engine's ids.
        max_message_bytes: A client that sends a longer message is closed with 1009.
    """
    router, door = APIRouter(), gate or Gate()

    async def converse(websocket: WebSocket, version: Literal[1, 2]) -> None:
        async with door.admit(websocket) as admitted:
            if admitted is None:
                return
            try:
                wanted = _Wanted.of(websocket.query_params, version)
                chosen = engine if isinstance(engine, ConversationEngine) else engine()
                if chosen.stt_engine is None or chosen.tts_engine is None:
                    await deny(websocket, _NO_ENGINES, admitted.request_id)
                    return
                find = voices or _among(chosen)
                voice = await find(wanted.voice_id, mode=wanted.voice_mode)
            except (RealtimeSTTSError, HTTPException, QueryError) as exc:
                await deny(websocket, refusal(exc), admitted.request_id)
                return
            adapter = (FastAPIWebSocketAdapter if version == 2 else _FirstVersion)(
                websocket,
                sample_rate=wanted.sample_rate,
                audio="binary" if wanted.audio == "stream" else "json",
                max_message_bytes=max_message_bytes,
                max_idle_seconds=door.max_idle_seconds,
            )
            if isinstance(adapter, _FirstVersion):
                adapter.wanted = wanted
            try:
                await chosen.handle_conversation(
                    adapter,
                    version=version,
                    audio=wanted.audio,
                    mode=wanted.response_mode,
                    language=wanted.language,
                    voice_config=None if voice is None else {"voice_id": voice},
                    pause_detector=_detector(chosen, wanted.aggressiveness),
                )
            except ValueError as exc:
                if websocket.application_state is not WebSocketState.CONNECTING:
                    raise
                problem = QueryError("response_mode", f"is wrong: {exc}").problem
                await deny(websocket, problem, admitted.request_id)

    @router.websocket("/conversation")
    async def first_version(websocket: WebSocket) -> None:
        await converse(websocket, 1)

    @router.websocket("/conversation/v2")
    async def second_version(websocket: WebSocket) -> None:
        await converse(websocket, 2)

    return router


def _among(engine: ConversationEngine) -> VoiceOf:
    """The TTS engine's own voices, by their ids."""

    async def find(voice_id: str | None, /, *, mode: str) -> str | None:
        if voice_id is not None and engine.tts_engine is not None:
            known = [str(voice["id"]) for voice in await engine.tts_engine.list_voices()]
            if voice_id not in known:
                raise UnknownVoiceError(voice_id, known)
        return voice_id

    return find


def _detector(engine: ConversationEngine, aggressiveness: int | None) -> PauseDetector | None:
    """A detector that is so strict, of the engine's kind; None if that has no such setting."""
    if aggressiveness is None:
        return None
    own: Any = own_detector(engine.pause_detector)
    if not hasattr(own, "set_aggressiveness"):
        return None
    own.set_aggressiveness(aggressiveness)
    return cast(PauseDetector, own)
