"""What serves over HTTP as a type checker sees it: checked by mypy and pyright, never run."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, WebSocket
from typing_extensions import assert_type

from realtime_stts import AudioData, ConversationEngine, WebSocketAdapter
from realtime_stts.encoding import MEDIA_TYPES, StreamEncoder
from realtime_stts.integrations.fastapi import (
    FastAPIWebSocketAdapter,
    conversation_router,
    install_error_handlers,
    openai_router,
    protect,
    transcription_router,
)
from realtime_stts.integrations.starlette import (
    Admitted,
    AudioDecoder,
    Bearer,
    Gate,
    Problem,
    Seats,
    Tickets,
    problem_of,
)
from realtime_stts.middleware import Principal
from realtime_stts.protocols import ManagedSTTEngine, ManagedTTSEngine
from realtime_stts.voices import VoiceRegistry


def encoding(encoder: StreamEncoder, audio: AudioData) -> None:
    assert_type(StreamEncoder("opus", 24_000), StreamEncoder)
    assert_type(encoder.media_type, str)
    assert_type(encoder.sample_rate, int | None)
    assert_type(encoder.push(audio), bytes)
    assert_type(encoder.flush(), bytes)
    assert_type(MEDIA_TYPES["wav"], str)


def routers(
    app: FastAPI, engine: ConversationEngine, stt: ManagedSTTEngine, tts: ManagedTTSEngine
) -> None:
    gate = Gate(seats=Seats(total=50, per_client=4), tickets=Tickets(ttl=30.0))
    assert_type(conversation_router(engine, gate=gate), APIRouter)
    assert_type(conversation_router(lambda: engine), APIRouter)
    assert_type(transcription_router(stt, gate=gate), APIRouter)
    assert_type(transcription_router(lambda: stt), APIRouter)
    assert_type(openai_router(stt=stt, tts=tts, engine=engine), APIRouter)
    install_error_handlers(app)
    protect(app, max_body_bytes=1)


async def sockets(websocket: WebSocket, gate: Gate) -> None:
    adapter: WebSocketAdapter = FastAPIWebSocketAdapter(websocket, audio="binary")
    del adapter
    async with gate.admit(websocket) as admitted:
        assert_type(admitted, Admitted | None)


async def uploads(decoder: AudioDecoder, tickets: Tickets, voices: VoiceRegistry) -> None:
    async with decoder:
        assert_type(await decoder.decode(b""), AudioData)
    assert_type(tickets.issue(Principal("anna", {"stt"}), 0.0), str)
    assert_type(tickets.redeem("x", 0.0), Bearer | None)
    assert_type(problem_of(ValueError()), Problem)
    assert_type(voices.recording("anna"), AudioData)
