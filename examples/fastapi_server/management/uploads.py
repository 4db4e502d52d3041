"""Voices from uploaded recordings: each is checked before it is there for anybody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from fastapi import HTTPException, UploadFile

from realtime_stts.audio import AudioData
from realtime_stts.errors import RealtimeSTTSError, VoiceError
from realtime_stts.integrations.starlette import problem_of
from realtime_stts.voices import Consent

from ..names import VoiceType, stem, voice_id_of
from ..services import Services
from ..voices import Voice

__all__ = ["Refusal", "consent_of", "decoded", "refusal_of", "take"]

_MAX_FILES: Final = 20  # of one upload
_SOON: Final = "2"  # s; a recording is decoded in less
_MAX_SHOWN: Final = 200  # characters of a name that a client chose


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file was not taken."""

    filename: str
    error: str
    error_code: str
    status: int


def consent_of(by: str, statement: str) -> Consent:
    """The consent as of now.

    Raises:
        HTTPException: 400: it does not say whose it is, or to what.
    """
    if not by.strip() or not statement.strip():
        raise HTTPException(
            400,
            {
                "detail": "A voice needs the consent of the person it belongs to: say in "
                "consent_by who gave it, and in consent_statement to what.",
                "error_code": "consent_missing",
            },
        )
    try:
        return Consent(by.strip(), statement.strip(), datetime.now(timezone.utc))
    except VoiceError as exc:
        raise HTTPException(400, {"detail": str(exc), "error_code": "consent_unusable"}) from exc


async def decoded(services: Services, file: UploadFile) -> AudioData:
    """What a voice's file holds.

    Raises:
        HTTPException: 413: it is larger than `limits.max_voice_mb`; 400: it is empty.
        AudioError: It is no audio that is taken, or too long.
    """
    limit = round(services.settings.limits.max_voice_mb * 1e6)
    content = await file.read(limit + 1)
    if len(content) > limit:
        said = f"The file is larger than {services.settings.limits.max_voice_mb:g} MB."
        raise HTTPException(413, {"detail": said, "error_code": "too_large"})
    if not content:
        raise HTTPException(400, {"detail": "The file is empty.", "error_code": "empty_file"})
    seconds = services.settings.audio_output.max_reference_duration_sec
    audio: AudioData = await services.decoder.decode(content, max_seconds=seconds)
    return audio


async def take(
    services: Services, files: list[UploadFile], type: VoiceType, consent: Consent, language: str
) -> tuple[list[Voice], list[Refusal]]:
    """The voices that were made of files, and why others were not.

    Raises:
        HTTPException: None was taken. The status is that of the refusals if they agree,
            otherwise 400.
    """
    if len(files) > _MAX_FILES:
        raise HTTPException(413, f"At most {_MAX_FILES} files can be uploaded at a time.")
    taken: list[Voice] = []
    refused: list[Refusal] = []
    for file in files:
        made = await _taken(services, file, type, consent, language)
        if isinstance(made, Voice):
            taken.append(made)
        else:
            refused.append(made)
    if not taken:
        raise _none_taken(refused)
    return taken, refused


def _none_taken(refused: list[Refusal]) -> HTTPException:
    statuses = {each.status for each in refused}
    codes = {each.error_code for each in refused}
    said = "; ".join(f"{each.filename}: {each.error}" for each in refused)
    status = statuses.pop() if len(statuses) == 1 else 400
    code = codes.pop() if len(codes) == 1 else "no_file_taken"
    return HTTPException(
        status,
        {"detail": f"No file was taken. {said}", "error_code": code},
        {"Retry-After": _SOON} if status == 503 else None,
    )


async def _taken(
    services: Services, file: UploadFile, type: VoiceType, consent: Consent, language: str
) -> Voice | Refusal:
    name = file.filename or ""
    try:
        audio = await decoded(services, file)
        return await services.catalogue.add(
            voice_id_of(name, type), audio, consent=consent, name=stem(name), language=language
        )
    except (HTTPException, RealtimeSTTSError, OSError) as exc:
        return refusal_of(name, exc)


def refusal_of(filename: str, error: Exception) -> Refusal:
    """What a client is told of an error with a file."""
    shown = "".join(char for char in filename if char.isprintable())[:_MAX_SHOWN]
    match error:
        case HTTPException(detail={"detail": str(detail), "error_code": str(code)}):
            return Refusal(shown, detail, code, error.status_code)
        case OSError():
            return Refusal(shown, "It could not be stored.", "storage_failed", 507)
        case _:
            problem = problem_of(error)
            return Refusal(shown, str(problem.detail), problem.code, problem.status)
