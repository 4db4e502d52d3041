"""The part of OpenAI's API that is about speech, on a server of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import APIRouter, WebSocket

from ....conversation import ConversationEngine
from ....protocols import STTEngine, TTSEngine
from .._decoding import AudioDecoder
from .._gate import Gate
from ._errors import OpenAIRoute
from ._models import add_models, names_of
from ._socket import serve_realtime
from ._speech import ResolveVoice, add_speech, current
from ._transcriptions import add_transcriptions, add_translations

__all__ = ["openai_router"]

_MAX_TEXT: Final = 20_000  # characters; half an hour of speech


def openai_router(
    *,
    stt: STTEngine | Callable[[], STTEngine] | None = None,
    tts: TTSEngine | Callable[[], TTSEngine] | None = None,
    engine: ConversationEngine | Callable[[], ConversationEngine] | None = None,
    translator: STTEngine | Callable[[], STTEngine] | None = None,
    decoder: AudioDecoder | None = None,
    gate: Gate | None = None,
    resolve_voice: ResolveVoice | None = None,
    dependencies: Sequence[Any] = (),
    max_text: int = _MAX_TEXT,
    speech_format: str = "mp3",
    model_names: Sequence[str] | Callable[[], Sequence[str]] | None = None,
) -> APIRouter:
    """What OpenAI's clients call, for as much of it as there are engines.

        app.include_router(openai_router(stt=stt, tts=tts, engine=conversation))
        client = openai.OpenAI(base_url="http://localhost:8000/v1", api_key="...")

    An engine may be a function that returns the one in use, and is asked at each request.

    Args:
        stt: Serves ``/v1/audio/transcriptions``, and says at ``/v1/audio/translations`` what
            it lacks.
        tts: Serves ``/v1/audio/speech``.
        engine: Serves the WebSocket ``/v1/realtime``.
        translator: An STT engine that answers in English, as Whisper does where its task is
            ``translate``.
        decoder: Decodes what is uploaded; by default one of its own for each.
        gate: Who may open the socket; by default everybody may.
        resolve_voice: From what a client calls a voice to the engine's id, or
            `UnknownVoiceError`. By default the engine's own ids. Names of OpenAI's that are
            unknown stand for the default voice.
        dependencies: Of FastAPI, for each of the HTTP routes: who may call them.
        max_text: Characters that may be spoken at a time.
        speech_format: Of speech where none is asked for.
        model_names: What ``/v1/models`` lists; by default the engines' names, and the
            aliases ``whisper-1``, ``tts-1`` and ``gpt-realtime``. With none there is no such
            route. Requests may name any model: it is always the engine there is.
    """
    router = APIRouter(route_class=OpenAIRoute, tags=["OpenAI-compatible"])
    if tts is not None:
        add_speech(
            router,
            tts,
            resolve_voice=resolve_voice,
            dependencies=dependencies,
            max_text=max_text,
            default_format=speech_format,
        )
    if stt is not None:
        add_transcriptions(router, stt, decoder=decoder, dependencies=dependencies)
        add_translations(router, translator, decoder=decoder, dependencies=dependencies)
    if engine is not None:

        async def realtime(websocket: WebSocket) -> None:
            await serve_realtime(websocket, current(engine), gate, resolve_voice)

        router.add_api_websocket_route("/v1/realtime", realtime)
    if model_names is None:
        model_names = names_of(stt=stt, tts=tts, realtime=engine)
    if callable(model_names) or model_names:
        add_models(router, model_names, dependencies=dependencies)
    return router
