"""OpenAI-compatible speech: whatever is written for OpenAI's API talks to this server.

`/v1/audio/speech`, `/v1/audio/transcriptions`, `/v1/models`, and the WebSocket `/v1/realtime`.
`/tts/v1/audio/speech` is where earlier versions of this server had the first: it answers with
a WAV file unless another format is asked for.
"""

from __future__ import annotations

from fastapi import APIRouter

from realtime_stts.integrations.fastapi import openai_router

from ..security import gate, requires
from ..services import Services

__all__ = ["router"]


def router(services: Services) -> APIRouter:
    """All of it. The engines are asked for at each request: a reload replaces them."""
    everything = APIRouter()
    everything.include_router(_speech(services, "mp3"))
    everything.include_router(_speech(services, "wav"), prefix="/tts", include_in_schema=False)
    everything.include_router(
        openai_router(
            stt=lambda: services.stt,
            decoder=services.decoder,
            dependencies=[requires("stt")],
            model_names=(),
        )
    )
    everything.include_router(
        openai_router(
            engine=lambda: services.conversation,
            resolve_voice=services.catalogue.resolve,
            gate=gate(services, "response"),
            model_names=(),
        )
    )
    everything.include_router(openai_router(model_names=lambda: _names(services)))
    return everything


def _speech(services: Services, default_format: str) -> APIRouter:
    return openai_router(
        tts=lambda: services.tts,
        resolve_voice=services.catalogue.resolve,
        dependencies=[requires("tts")],
        max_text=services.settings.limits.max_text_length,
        speech_format=default_format,
        model_names=(),
    )


def _names(services: Services) -> list[str]:
    """The engines', and those that programs ask for which were written for OpenAI."""
    return [services.stt.name, services.tts.name, "whisper-1", "tts-1", "gpt-realtime"]
