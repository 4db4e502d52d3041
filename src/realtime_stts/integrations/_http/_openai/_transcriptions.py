"""Speech to text, as `POST /v1/audio/transcriptions` of OpenAI's API has it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from ...._captions import srt, vtt
from ...._edge import not_none, streaming_stt
from ....audio import AudioData
from ....errors import EngineError
from ....protocols import StreamingSTTEngine, STTEngine, TranscriptionResult
from .._decoding import AudioDecoder
from ._errors import ERRORS, refusal, takes_values
from ._results import TextGrowth, plain, verbose
from ._speech import current
from ._streams import (
    EVENT_STREAM,
    Streamed,
    server_sent,
    server_sent_error,
    unless_gone,
)

__all__ = ["add_transcriptions", "add_translations"]

_FORMATS: Final = ("json", "text", "srt", "verbose_json", "vtt")
_CHUNK: Final = 0.5  # s of a file that an engine hears at a time

AudioFile = Annotated[
    UploadFile, File(description="wav, flac, ogg, opus or mp3, told by its content.")
]
Model = Annotated[str, Form(max_length=200, description="Any name: this server has one engine.")]
Prompt = Annotated[str | None, Form(description="Ignored: set the engine's own instead.")]
Format = Annotated[str, Form(description="json, text, srt, verbose_json or vtt.")]
Temperature = Annotated[
    float, Form(ge=0.0, le=1.0, description="Ignored: set the engine's own instead.")
]
Language = Annotated[
    str | None, Form(max_length=20, description="ISO 639-1; by default it is detected.")
]
Granularities = Annotated[
    list[Literal["word", "segment"]] | None, Form(alias="timestamp_granularities[]")
]

_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    **ERRORS,
    200: {
        "description": "What was said, in the format that was asked for.",
        "content": {
            "application/json": {
                "example": {"text": "Good morning.", "usage": {"type": "duration", "seconds": 1.2}}
            },
            "text/plain": {"schema": {"type": "string"}},
            "text/vtt": {"schema": {"type": "string"}},
            EVENT_STREAM: {},
        },
    },
}


def add_transcriptions(
    router: APIRouter,
    stt: STTEngine | Callable[[], STTEngine],
    *,
    decoder: AudioDecoder | None,
    dependencies: Sequence[Any],
) -> None:
    """Add ``/v1/audio/transcriptions`` to ``router``."""

    async def transcriptions(
        request: Request,
        file: AudioFile,
        model: Model = "whisper-1",
        language: Language = None,
        prompt: Prompt = None,
        response_format: Format = "json",
        temperature: Temperature = 0.0,
        timestamp_granularities: Granularities = None,
        stream: Annotated[bool, Form(description="Send the text as it grows.")] = False,
    ) -> Response:
        _check(response_format)
        audio = await _decoded(file, decoder)
        engine = current(stt)
        if stream:
            # One that hears whole clips is asked once, not again with each piece.
            hearing = streaming_stt(engine, None)
            return Streamed(
                lambda: _events(hearing, audio, language or None),
                EVENT_STREAM,
                farewell=server_sent_error,
            )

        async def heard() -> Response:
            with takes_values():
                result = not_none(await engine.transcribe(audio, language or None), engine)
            return _answer(result, audio, response_format, timestamp_granularities or ())

        return await unless_gone(request, heard)

    router.add_api_route(
        "/v1/audio/transcriptions",
        transcriptions,
        methods=["POST"],
        dependencies=dependencies,
        response_class=Response,
        responses=_RESPONSES,
        summary="Transcribe a file (OpenAI-compatible)",
    )


def add_translations(
    router: APIRouter,
    translator: STTEngine | Callable[[], STTEngine] | None,
    *,
    decoder: AudioDecoder | None,
    dependencies: Sequence[Any],
) -> None:
    """Add ``/v1/audio/translations`` to ``router``; without a translator it says so."""

    async def translations(
        request: Request,
        file: AudioFile,
        model: Model = "whisper-1",
        prompt: Prompt = None,
        response_format: Format = "json",
        temperature: Temperature = 0.0,
    ) -> Response:
        if translator is None:
            raise refusal(
                "This server does not translate: ask for a transcription.", code="unsupported"
            )
        _check(response_format)
        audio = await _decoded(file, decoder)
        engine = current(translator)

        async def heard() -> Response:
            with takes_values():
                result = not_none(await engine.transcribe(audio), engine)
            return _answer(result, audio, response_format, task="translate")

        return await unless_gone(request, heard)

    router.add_api_route(
        "/v1/audio/translations",
        translations,
        methods=["POST"],
        dependencies=dependencies,
        response_class=Response,
        responses=_RESPONSES,
        summary="Translate a file into English (OpenAI-compatible)",
    )


def _check(format: str) -> None:
    if format not in _FORMATS:
        message = f"The response format is one of {', '.join(_FORMATS)}."
        raise refusal(message, "response_format", code="unsupported_format")


async def _decoded(file: UploadFile, decoder: AudioDecoder | None) -> AudioData:
    data = await file.read()
    if not data:
        raise refusal("The file is empty.", "file", code="unusable_audio")
    if decoder is not None:
        return await decoder.decode(data)
    async with AudioDecoder() as own:
        return await own.decode(data)


def _answer(
    result: TranscriptionResult,
    audio: AudioData,
    format: str,
    granularities: Sequence[str] = (),
    *,
    task: str = "transcribe",
) -> Response:
    match format:
        case "text":
            return PlainTextResponse(result.text + "\n")
        case "srt":
            return PlainTextResponse(srt(result))
        case "vtt":
            return Response(vtt(result), media_type="text/vtt")
        case "verbose_json":
            return JSONResponse(verbose(result, audio.duration_seconds, granularities, task=task))
        case _:
            return JSONResponse(plain(result, audio.duration_seconds))


async def _events(
    stt: StreamingSTTEngine, audio: AudioData, language: str | None
) -> AsyncGenerator[bytes]:
    growth, result = TextGrowth(), None
    with takes_values():
        async with (
            aclosing(_pieces(audio)) as pieces,
            aclosing(stt.stream(pieces, language)) as results,
        ):
            async for result in results:
                if delta := growth.piece(result.committed if result.partial else result.text):
                    yield server_sent({"type": "transcript.text.delta", "delta": delta})
    if result is None or result.partial:
        raise EngineError(type(stt).__name__, "ended without a final result")
    # Nothing counts tokens here; clients want the fields.
    usage = {"type": "tokens", "input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield server_sent({"type": "transcript.text.done", "text": result.text, "usage": usage})


async def _pieces(audio: AudioData) -> AsyncGenerator[AudioData]:
    start = 0.0
    while start < audio.duration_seconds:
        yield audio.sliced(start, start + _CHUNK)
        start += _CHUNK
