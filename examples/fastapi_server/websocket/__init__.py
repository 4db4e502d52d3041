"""The sockets, and what HTTP says of them."""

from __future__ import annotations

from fastapi import APIRouter

from realtime_stts.integrations.fastapi import conversation_router, transcription_router

from ..security import gate
from ..services import Services
from . import about, custom, trial

__all__ = ["routers"]


def routers(services: Services) -> list[APIRouter]:
    """All of them."""
    settings = services.settings
    sessions = settings.conversation.limits
    max_message_bytes = settings.limits.max_message_kb << 10
    talk = gate(services, "response")
    sockets = APIRouter(prefix="/ws")
    sockets.include_router(
        transcription_router(
            lambda: services.stt,
            gate=gate(services, "stt"),
            pause_detector=lambda: services.parts.assembly.pause_detector(),
            policy=lambda: services.conversation.policy,
            partial_interval=settings.conversation.partial_interval,
            patience=sessions.transcription,
            send_timeout=sessions.send,
            max_message_bytes=max_message_bytes,
        )
    )
    sockets.include_router(
        conversation_router(
            lambda: services.conversation,
            gate=talk,
            voices=services.catalogue.resolve,
            max_message_bytes=max_message_bytes,
        )
    )
    sockets.include_router(custom.router(services, talk, max_message_bytes))
    sockets.include_router(trial.router(talk))
    sockets.include_router(about.router)
    return [sockets]
