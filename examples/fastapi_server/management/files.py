"""Recordings that voices are taken from: uploaded, listed, heard, deleted."""

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, File, Form, HTTPException, Path, Response, UploadFile

from realtime_stts.errors import RealtimeSTTSError, UnknownVoiceError, VoiceError
from realtime_stts.voices import checked

from ..core.schemas import errors
from ..names import VoiceType
from ..security import ServicesOf, requires
from ..services import Services
from ..voices import Voice
from . import schemas
from .uploads import Refusal, consent_of, decoded, refusal_of, take

__all__ = ["predefined", "references", "router"]

router = APIRouter(prefix="/files", tags=["files"])

_MANAGE: dict[str, Any] = {"dependencies": [requires("manage")]}
_READ: dict[str, Any] = {"dependencies": [requires("tts")]}
_TAKING = {**schemas.STORED, **errors(400, 409, 413, 415)}
_DELETING = {**schemas.STORED, **errors(404, 409)}

Filename = Annotated[
    str, Path(max_length=200, description="A voice's id, or its file's name: emily.wav.")
]
Files = Annotated[
    list[UploadFile], File(description="Recordings of 3 to 30 s of one person's clear speech.")
]
ConsentBy = Annotated[
    str, Form(description="Who consented to the voice's use.", examples=["Emily Rose"])
]
ConsentStatement = Annotated[
    str,
    Form(
        description="What they consented to, in their words.",
        examples=["I agree that this server speaks in my voice."],
    ),
]
Language = Annotated[str, Form(description="Language of the recordings, as en.", max_length=20)]


# -- uploads


@router.post("/reference-audio/upload", responses=_TAKING, **_MANAGE)
async def upload_reference_audio(
    services: ServicesOf,
    files: Files,
    consent_by: ConsentBy = "",
    consent_statement: ConsentStatement = "",
    language: Language = "",
) -> schemas.ReferencesTaken:
    """Take recordings for the voice mode *clone*.

    Each is decoded and checked before it is there for anybody. Files that are not taken are
    listed with the reason; if none is, that is an error.
    """
    consent = consent_of(consent_by, consent_statement)
    taken, refused = await take(services, files, "reference", consent, language)
    return schemas.ReferencesTaken(
        message=_message(taken, refused),
        uploaded_files=[voice.filename for voice in taken],
        all_reference_files=await references(services),
        errors=refused,
    )


@router.post(
    "/predefined-voices/upload",
    responses=_TAKING,
    **_MANAGE,
)
async def upload_predefined_voices(
    services: ServicesOf,
    files: Files,
    consent_by: ConsentBy = "",
    consent_statement: ConsentStatement = "",
    language: Language = "",
) -> schemas.VoicesTaken:
    """Take recordings as voices that anybody may choose; otherwise as for references."""
    consent = consent_of(consent_by, consent_statement)
    taken, refused = await take(services, files, "predefined", consent, language)
    return schemas.VoicesTaken(
        message=_message(taken, refused),
        uploaded_files=[voice.filename for voice in taken],
        all_predefined_voices=await predefined(services),
        errors=refused,
    )


@router.post("/validate", responses=errors(400), **_MANAGE)
async def validate_file(services: ServicesOf, file: UploadFile) -> schemas.Checked:
    """Say whether a voice could be taken from a file, and if not, why. Nothing is kept."""
    name = file.filename or ""
    try:
        audio = await decoded(services, file)
    except (HTTPException, RealtimeSTTSError) as exc:
        return _unusable(refusal_of(name, exc), exc)
    facts: dict[str, Any] = {
        "seconds": audio.duration_seconds,
        "sample_rate": audio.sample_rate,
        "channels": audio.channels,
    }
    try:
        await run_sync(checked, audio)
    except VoiceError as exc:
        return _unusable(refusal_of(name, exc), exc, **facts)
    return schemas.Checked(
        filename=name[:200], **facts, is_valid=True, message="A voice can be taken from this."
    )


@router.get("/supported_formats", responses=errors(), **_READ)
async def supported_formats(services: ServicesOf) -> schemas.Formats:
    """Say what files may be."""
    return schemas.Formats(
        upload=["wav", "mp3", "m4a", "flac", "ogg", "opus"],
        output=["wav", "opus", "mp3", "flac", "pcm"],
        max_size_mb=services.settings.limits.max_voice_mb,
        max_seconds=services.settings.audio_output.max_reference_duration_sec,
    )


# -- what is there


@router.get("/reference-audio", responses=errors(), **_READ)
async def list_reference_audio(services: ServicesOf) -> list[str]:
    """List the uploaded references."""
    return await references(services)


@router.get("/predefined-voices", responses=errors(), **_READ)
async def list_predefined_voices(services: ServicesOf) -> list[schemas.NamedFile]:
    """List the voices that anybody may choose: the engine's own, then the uploaded ones."""
    return await predefined(services)


@router.get(
    "/reference-audio/{filename}",
    response_class=Response,
    responses={
        200: {"content": {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}},
        **errors(404, 409),
    },
    **_MANAGE,
)
async def download_reference_audio(services: ServicesOf, filename: Filename) -> Response:
    """The recording itself."""
    voice = await _uploaded(services, filename, "reference")
    try:
        wav = await services.catalogue.recording(voice)
    except (VoiceError, OSError) as exc:
        if isinstance(exc, UnknownVoiceError):
            raise
        said = {"detail": "The recording was changed or lost.", "error_code": "recording_damaged"}
        raise HTTPException(409, said) from exc
    return Response(
        wav,
        media_type="audio/wav",
        headers={"Content-Disposition": f'attachment; filename="{voice.filename}"'},
    )


@router.get("/reference-audio/{filename}/info", responses=errors(404), **_MANAGE)
async def reference_audio_info(services: ServicesOf, filename: Filename) -> schemas.FileInfo:
    """What is known of a reference, and whether it is whole."""
    return await _info(services, await _uploaded(services, filename, "reference"))


@router.get("/predefined-voices/{filename}/info", responses=errors(404), **_MANAGE)
async def predefined_voice_info(services: ServicesOf, filename: Filename) -> schemas.FileInfo:
    """What is known of a voice, and whether its recording is whole."""
    return await _info(services, await _uploaded(services, filename, "predefined"))


# -- deletion


@router.delete("/reference-audio/{filename}", responses=_DELETING, **_MANAGE)
async def delete_reference_audio(services: ServicesOf, filename: Filename) -> schemas.FileDeleted:
    """Remove a reference and all that was made of it."""
    voice = await _uploaded(services, filename, "reference")
    await _delete(services, voice)
    return schemas.FileDeleted(
        message=f"{voice.name} was deleted.", remaining_files=await references(services)
    )


@router.delete("/predefined-voices/{filename}", responses=_DELETING, **_MANAGE)
async def delete_predefined_voice(services: ServicesOf, filename: Filename) -> schemas.VoiceDeleted:
    """Remove an uploaded voice and all that was made of it."""
    voice = await _uploaded(services, filename, "predefined")
    await _delete(services, voice)
    return schemas.VoiceDeleted(
        message=f"{voice.name} was deleted.", remaining_voices=await predefined(services)
    )


# -- inside


async def references(services: Services) -> list[str]:
    return [voice.filename for voice in await services.catalogue.uploaded("reference")]


async def predefined(services: Services) -> list[schemas.NamedFile]:
    return [
        schemas.NamedFile(display_name=voice.name, filename=voice.filename)
        for voice in await services.catalogue.known()
        if voice.type == "predefined"
    ]


async def _uploaded(services: Services, name: str, type: VoiceType) -> Voice:
    catalogue = services.catalogue
    return await catalogue.find(name, type, among=await catalogue.known())


async def _delete(services: Services, voice: Voice) -> None:
    try:
        await services.catalogue.delete(voice)
    except OSError as exc:
        said = {"detail": "It could not be removed.", "error_code": "storage_failed"}
        raise HTTPException(507, said) from exc


async def _info(services: Services, voice: Voice) -> schemas.FileInfo:
    if voice.built_in:
        return schemas.FileInfo(
            filename=voice.filename,
            path=voice.filename,
            size_bytes=0,
            modified_time=None,
            validation=schemas.Verdict(is_valid=True, message="It comes with the engine."),
            id=voice.id,
            name=voice.name,
            language=voice.language,
            seconds=0.0,
            consent=None,
        )
    info = await run_sync(services.voices.info, voice.id)
    assert info.consent is not None  # it was uploaded
    damage = await services.catalogue.damage(voice)
    return schemas.FileInfo(
        filename=voice.filename,
        path=voice.filename,
        size_bytes=await services.catalogue.size_of(voice),
        modified_time=info.consent.at.timestamp(),
        validation=schemas.Verdict(is_valid=damage is None, message=damage or "It is whole."),
        id=voice.id,
        name=voice.name,
        language=voice.language,
        seconds=info.seconds,
        consent=schemas.ConsentGiven(
            by=info.consent.by, statement=info.consent.statement, at=info.consent.at
        ),
    )


def _unusable(refusal: Refusal, error: Exception, **facts: Any) -> schemas.Checked:
    if refusal.status >= 500:
        raise error  # it says nothing about the file
    return schemas.Checked(
        filename=refusal.filename,
        is_valid=False,
        message=refusal.error,
        error_code=refusal.error_code,
        **facts,
    )


def _message(taken: list[Voice], refused: list[Refusal]) -> str:
    said = f"{len(taken)} taken"
    return f"{said}, {len(refused)} refused." if refused else f"{said}."
