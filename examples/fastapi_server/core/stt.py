"""Speech to text."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import pairwise
from math import ceil
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from realtime_stts import AudioData, RealtimeSTTSError, StreamingSTTEngine, TranscriptionResult
from realtime_stts.integrations.starlette import problem_of

from ..security import ServicesOf, requires
from ..services import Services
from .answers import Live, Put, callers_fault, decoded, event, while_connected
from .schemas import RecordingForm, Transcript, errors
from .statuses import STTConfig, STTModels, STTReloaded, STTStatus

__all__ = ["language_of", "router"]

router = APIRouter(prefix="/stt", tags=["Speech to text"])

_KINDS = (".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".webm")

_Recording = Annotated[RecordingForm, Form(media_type="multipart/form-data")]


# -- transcribing


@router.post(
    "",
    dependencies=[requires("stt")],
    responses=errors(400, 413, 415),
    summary="Transcribe a recording",
)
@router.post("/legacy", dependencies=[requires("stt")], include_in_schema=False)
async def transcribe(form: _Recording, request: Request, services: ServicesOf) -> Transcript:
    """What is said in it."""

    async def work() -> Transcript:
        audio = await decoded(services, form)
        with callers_fault():
            result = await services.stt.transcribe(audio, language_of(form))
        return Transcript.of(result, audio.duration_seconds)

    return await while_connected(request, work)


@router.post(
    "/stream",
    dependencies=[requires("stt")],
    response_class=Response,
    responses={
        200: {
            "description": "Events: `progress` with `seconds_done` of `seconds_total`, `partial` "
            "with the `text` so far and the beginning of it that is `committed`, at last `final` "
            "with the whole transcript; or `error`.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **errors(400, 413, 415),
    },
    summary="Transcribe a recording, and tell how it goes on",
)
async def transcribe_live(form: _Recording, request: Request, services: ServicesOf) -> Response:
    """Server-sent events, as the engine works its way through the recording."""
    audio = await while_connected(request, lambda: decoded(services, form))

    async def write(put: Put) -> None:
        try:
            await _tell(put, services, audio, language_of(form))
        except RealtimeSTTSError as exc:
            if not answer.begun:
                raise  # to be answered as any error
            request_id = getattr(request.state, "request_id", "")
            await put(event("error", problem_of(exc).body(request_id)))

    answer = Live(write, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    return answer


def language_of(form: RecordingForm) -> str | None:
    """What the request says is spoken; None to have it detected."""
    language = form.language or form.lang
    return None if language == "auto" else language


async def _tell(put: Put, services: Services, audio: AudioData, language: str | None) -> None:
    total = audio.duration_seconds

    # An engine that hears clips as they grow decodes anew with each piece: a hundred tell enough.
    n_pieces = min(max(ceil(total), 1), 100)

    async def tell_progress(done: float) -> None:
        of = {"seconds_done": round(done, 3), "seconds_total": round(total, 3)}
        await put(event("progress", of))

    async def played() -> AsyncGenerator[AudioData]:
        ends = [total * n / n_pieces for n in range(n_pieces + 1)]
        for start, end in pairwise(ends):
            yield audio.sliced(start, end)
            await tell_progress(end)  # the engine is done with it: it asks for more

    result = TranscriptionResult("", language or "", [])
    engine = services.stt
    with callers_fault():
        if isinstance(engine, StreamingSTTEngine):
            async with (
                aclosing(played()) as source,
                aclosing(engine.stream(source, language)) as results,
            ):
                async for result in results:
                    if result.partial:
                        said = {"text": result.text, "committed": result.committed}
                        await put(event("partial", said))
        else:
            result = await engine.transcribe(audio, language)
            await tell_progress(total)
    await put(event("final", Transcript.of(result, total).model_dump()))


# -- the engine


@router.get(
    "/models",
    dependencies=[requires("stt")],
    responses=errors(),
    summary="The models of the engine in use",
)
async def list_models(services: ServicesOf) -> STTModels:
    """Which there are, and which is in use."""
    model = _model(services)
    known = getattr(services.stt, "get_available_models", None)
    return STTModels(
        available_models=known() if known else [model],
        current_model=model,
        current_device=_device(services),
        adapter_type=services.stt.name,
    )


@router.get(
    "/status",
    dependencies=[requires("stt")],
    responses=errors(),
    summary="Whether recordings can be transcribed",
)
async def status(services: ServicesOf) -> STTStatus:
    """Of the engine in use."""
    engine = services.stt
    return STTStatus(
        available=await engine.is_available(),
        model_loaded=engine.model_loaded,
        adapter_type=engine.name,
        engine_type=engine.name,
        model_info={"model": _model(services), "device": _device(services)},
    )


@router.get(
    "/config",
    dependencies=[requires("stt")],
    responses=errors(),
    summary="How recordings are transcribed",
)
async def config(services: ServicesOf) -> STTConfig:
    """What a client may want to know of the settings."""
    settings = services.settings
    return STTConfig(
        engine=services.stt.name,
        model=_model(services),
        device=_device(services),
        language=settings.stt_engine.language,
        streaming=isinstance(services.stt, StreamingSTTEngine),
        supported_formats=list(_KINDS),
        max_upload_mb=settings.limits.max_upload_mb,
        max_audio_seconds=settings.limits.max_audio_seconds,
    )


@router.post(
    "/reload",
    dependencies=[requires("manage")],
    responses=errors(),
    summary="Make the engines anew",
)
async def reload(services: ServicesOf) -> STTReloaded:
    """As the settings are now. Calls under way end as they began."""
    await services.reload()
    return STTReloaded(
        message="The engines are as the settings have them.",
        model_loaded=services.stt.model_loaded,
    )


def _model(services: Services) -> str:
    """What the model is called; never where it is."""
    settings = services.settings.stt_engine
    name, _, argument = settings.engine.partition(":")
    if services.stt.name != name:  # another engine was put in its place
        return str(services.stt.name)
    if name != "whisper":
        return argument or name
    return "custom" if settings.model_path and not argument else argument or settings.model_size


def _device(services: Services) -> str:
    return str(getattr(services.stt, "device", None) or "cpu")
