"""The voices there are, and what they sound like."""

from __future__ import annotations

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Request, Response

from realtime_stts import UnknownVoiceError

from ..security import ServicesOf, requires
from ..voices import Voice
from .answers import BINARY, while_connected
from .schemas import ValidateVoice, VoiceCheck, VoiceDetails, VoiceEntry, errors
from .tts import speak

__all__ = ["router"]

router = APIRouter(prefix="/tts/voices", tags=["Text to speech"])

_SAMPLE = "This is how I sound."

_Id = Annotated[str, Path(max_length=200, description="A voice's id, or its file's name.")]


@router.get(
    "",
    dependencies=[requires("tts")],
    responses=errors(),
    summary="The voices there are",
)
async def list_voices(services: ServicesOf) -> list[VoiceEntry]:
    """Predefined ones first."""
    voices = await services.catalogue.all()
    return [_entry(each) for each in sorted(voices, key=lambda voice: voice.type)]


@router.post(
    "/validate",
    dependencies=[requires("tts")],
    responses=errors(400),
    summary="Whether a voice can be used",
)
async def validate_voice(given: ValidateVoice, services: ServicesOf) -> VoiceCheck:
    """Never an error: a voice that cannot be used is an answer."""
    kind: Any = {"predefined": "predefined", "clone": "reference"}.get(given.voice_mode or "")
    try:
        return _check(await services.catalogue.find(given.voice_id, kind))
    except UnknownVoiceError:
        return VoiceCheck(is_valid=False, message="There is no such voice.")


@router.get(
    "/{voice_id:path}/preview",
    dependencies=[requires("tts")],
    response_class=Response,
    responses={
        200: {"description": "A WAV file.", "content": {"audio/wav": BINARY}},
        **errors(404),
    },
    summary="What a voice sounds like",
)
async def preview(voice_id: _Id, request: Request, services: ServicesOf) -> Response:
    """A sentence in the voice; or its recording, where the engine cannot speak in it."""
    catalogue = services.catalogue
    voice = await catalogue.find(voice_id)
    wav = catalogue.previews.get(voice)
    if wav is None:
        if voice.usable:
            config = {"voice_id": voice.id}
            audio = await while_connected(request, lambda: speak(services, _SAMPLE, config))
            wav = await run_sync(audio.encode, "wav")
        else:
            wav = await catalogue.recording(voice)
        catalogue.previews.keep(voice, wav)
    return Response(wav, media_type="audio/wav", headers={"Cache-Control": "private, max-age=60"})


@router.get(
    "/{voice_id:path}",
    dependencies=[requires("tts")],
    responses=errors(404),
    summary="A voice",
)
async def get_voice(voice_id: _Id, services: ServicesOf) -> VoiceDetails:
    """What is known of it."""
    voice = await services.catalogue.find(voice_id)
    size = None if voice.built_in else await services.catalogue.size_of(voice)
    return VoiceDetails(**_entry(voice).model_dump(), size_bytes=size, validation=_check(voice))


def _entry(voice: Voice) -> VoiceEntry:
    return VoiceEntry(
        id=voice.id,
        name=voice.name,
        type=voice.type,
        path=voice.filename,
        language=voice.language,
        built_in=voice.built_in,
        usable=voice.usable,
    )


def _check(voice: Voice) -> VoiceCheck:
    if voice.usable:
        return VoiceCheck(is_valid=True, message="The voice can be used.")
    return VoiceCheck(is_valid=False, message="The engine in use cannot speak in uploaded voices.")
