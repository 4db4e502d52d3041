"""What HTTP says of the conversation's sockets: how they are, and how they are set up."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from ..core.schemas import errors
from ..security import ServicesOf, requires

__all__ = ["router"]

router = APIRouter(prefix="/conversation", tags=["WebSockets"])


class SocketStatus(BaseModel):
    """The sockets take conversations."""

    status: Literal["ready"] = "ready"
    stt_available: bool
    tts_available: bool
    pause_detection_available: bool = True
    response_generation_available: bool = True
    middleware_count: int = Field(description="Layers around the calls of all engines.")
    conversations: int = Field(description="That are under way.", examples=[3])
    max_conversations: int = Field(description="That may be, at a time.", examples=[100])


class SocketConfig(BaseModel):
    """What a conversation is made of."""

    stt: dict[str, Any] = Field(examples=[{"engine": "pocketsphinx", "language": "auto"}])
    tts: dict[str, Any] = Field(examples=[{"engine": "espeak", "default_voice_id": None}])
    pause_detection: dict[str, Any] = Field(examples=[{"engine": "auto"}])
    response_generation: dict[str, Any] = Field(examples=[{"response_mode": "template"}])
    middleware: list[str] = Field(examples=[["timing", "logging", "analytics"]])


class Reloaded(BaseModel):
    status: Literal["success"] = "success"
    message: str = Field(examples=["The engines have been made anew."])


class MigrationInfo(BaseModel):
    """How version 2 of the messages differs from version 1."""

    endpoints: dict[str, str] = Field(examples=[{"v1": "/ws/conversation"}])
    commands: dict[str, str] = Field(examples=[{"change_response_mode": "change_mode"}])
    messages: dict[str, str] = Field(examples=[{"response_audio": "audio_response"}])
    new: list[str] = Field(examples=[["Sound as binary messages: audio=stream."]])


@router.get(
    "/status",
    dependencies=[requires("response")],
    responses=errors(),
    summary="Whether the sockets take conversations",
)
async def status(services: ServicesOf) -> SocketStatus:
    """503 while they do not; the engines are as they were, whoever asks."""
    if services.state != "ready":
        detail = f"The server takes no conversations: it is {services.state}."
        answer = {"detail": detail, "error_code": "not_ready"}
        raise HTTPException(503, answer, {"Retry-After": "1"})
    return SocketStatus(
        stt_available=await services.stt.is_available(),
        tts_available=services.conversation.tts_engine is not None,
        middleware_count=len(_middleware(services)),
        conversations=services.seats.taken,
        max_conversations=services.seats.total,
    )


@router.get(
    "/config",
    dependencies=[requires("response")],
    responses=errors(),
    summary="What a conversation is made of",
)
async def config(services: ServicesOf) -> SocketConfig:
    """As the settings in force say it, without folders and keys."""
    settings = services.settings
    spoken = settings.generation_defaults.model_dump(mode="json")
    responses = {"response_mode", "max_history_length", "policy"}
    return SocketConfig(
        stt=settings.stt_engine.model_dump(mode="json", include={"engine", "device", "language"}),
        tts={
            **settings.tts_engine.model_dump(
                mode="json", include={"engine", "device", "default_voice_id"}
            ),
            **spoken,
        },
        pause_detection=settings.pause_detection.model_dump(mode="json"),
        response_generation=settings.conversation.model_dump(mode="json", include=responses),
        middleware=_middleware(services),
    )


@router.post(
    "/reload",
    dependencies=[requires("manage")],
    responses=errors(),
    summary="Make the engines anew, of the settings in force",
)
async def reload(services: ServicesOf) -> Reloaded:
    """Conversations under way keep the engines that they began with."""
    await services.reload()
    return Reloaded(message="The engines have been made anew.")


@router.get(
    "/migration-info",
    dependencies=[requires("response")],
    responses=errors(),
    summary="How version 2 of the messages differs from version 1",
)
async def migration_info() -> MigrationInfo:
    return MigrationInfo(
        endpoints={
            "v1": "/ws/conversation",
            "v2": "/ws/conversation/v2",
            "custom": "/ws/conversation/custom",
            "test": "/ws/conversation/test",
        },
        commands={
            "change_response_mode": "change_mode; either name is understood in both versions",
        },
        messages={
            "conversation_state": "speech_event and state_update",
            "response_audio": "response_text, and then audio_response",
            "conversation_stopped": "stopping",
        },
        new=[
            "Sound as binary messages, while it is being made: audio=stream.",
            "interrupted, reply_paused and reply_resumed say what to do with what is not played.",
            "turn_ended says how a turn ended, and where its time went.",
            "begin_turn and commit are for push-to-talk; interrupt stops an answer.",
        ],
    )


def _middleware(services: ServicesOf) -> list[str]:
    """The names of all layers around any engine, each once."""
    assembly = services.parts.assembly
    names = [name for kind in ("stt", "tts", "response") for name in assembly.chain(kind).names]
    return list(dict.fromkeys(names))
