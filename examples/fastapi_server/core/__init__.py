"""What the server is for: speech, transcripts, answers."""

from __future__ import annotations

from fastapi import APIRouter

from ..services import Services
from . import conversation, openai, stt, system, tts, tts_status, tts_voices

__all__ = ["routers"]


def routers(services: Services) -> list[APIRouter]:
    """All of them."""
    return [
        tts.router,
        tts_voices.router,
        tts_status.router,
        stt.router,
        conversation.router,
        openai.router(services),
        system.router(services),
    ]
