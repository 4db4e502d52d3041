"""A conversation of one turn: a recording in, a spoken answer out."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request, Response

from realtime_stts import ConversationContext

from ..security import ServicesOf, requires
from ..services import Services
from .answers import AUDIO, audio_file, callers_fault, decoded, refusal, while_connected
from .schemas import ConversationForm, errors
from .statuses import ConversationReloaded, ConversationStatus
from .stt import language_of
from .tts import speak, voice_config

__all__ = ["router"]

router = APIRouter(prefix="/conversation", tags=["Conversation"])

_MAX_HEADER = 500  # characters, each of up to 12 bytes; some clients take 16 KB of headers

_Turn = Annotated[ConversationForm, Form(media_type="multipart/form-data")]


@router.post(
    "",
    dependencies=[requires("response")],
    response_class=Response,
    responses={
        **AUDIO,
        204: {"description": "Words were heard, and the answer to them is to say nothing."},
        **errors(400, 404, 409, 413, 415),
    },
    summary="Answer a recording",
)
@router.post("/legacy", dependencies=[requires("response")], include_in_schema=False)
async def answer(form: _Turn, request: Request, services: ServicesOf) -> Response:
    """The answer to what is said in it, as an audio file.

    ``X-Transcription`` is what was heard and ``X-Response-Text`` what was answered: in UTF-8,
    percent-encoded, the first 500 characters of each.
    """
    return await while_connected(request, lambda: _answer(services, form))


async def _answer(services: Services, form: ConversationForm) -> Response:
    language = language_of(form)
    config = await voice_config(services, form)
    if language is not None:
        config["language"] = language.partition("-")[0]
    audio = await decoded(services, form)
    with callers_fault():
        heard = await services.stt.transcribe(audio, language)
    if not heard.text.strip():
        raise refusal(422, "no_speech", "No words were heard in the recording.")
    context = ConversationContext(audio_input=audio, transcription=heard)
    responder = services.conversation.response_generator
    text = await responder.generate_response(heard, context)
    headers = {"X-Transcription": _header(heard.text), "X-Response-Text": _header(text)}
    if not text.strip():
        return Response(status_code=204, headers=headers)
    spoken = await speak(services, text, config)
    format = form.output_format or services.settings.audio_output.format
    return await audio_file(services, spoken, format, "conversation_response", headers)


def _header(text: str) -> str:
    return quote(text[:_MAX_HEADER], safe="", errors="replace")


# -- the engines


@router.get(
    "/status",
    dependencies=[requires("response")],
    responses=errors(),
    summary="Whether recordings can be answered",
)
async def status(services: ServicesOf) -> ConversationStatus:
    """Of the engines in use."""
    chain = services.parts.assembly.chain
    return ConversationStatus(
        stt_available=await services.stt.is_available(),
        tts_available=services.tts.model_loaded,
        middleware_count=len(chain("stt")) + len(chain("response")) + len(chain("tts")),
    )


@router.post(
    "/reload",
    dependencies=[requires("manage")],
    responses=errors(),
    summary="Make the engines anew",
)
async def reload(services: ServicesOf) -> ConversationReloaded:
    """As the settings are now. Conversations under way go on as they began."""
    await services.reload()
    return ConversationReloaded(message="The engines are as the settings have them.")
