"""Text to speech, as `POST /v1/audio/speech` of OpenAI's API has it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal, TypeVar, cast

from anyio.to_thread import run_sync
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from ...._edge import engine_name, streaming_tts
from ....encoding import MEDIA_TYPES, StreamEncoder
from ....errors import EngineError, UnknownVoiceError
from ....protocols import StreamingTTSEngine, TTSEngine
from ._errors import ERRORS, refusal, takes_values
from ._streams import EVENT_STREAM, Streamed, server_sent, server_sent_error

__all__ = [
    "OPENAI_VOICES",
    "ResolveVoice",
    "SpeechRequest",
    "VoiceReference",
    "add_speech",
    "current",
    "voice_of",
]

T = TypeVar("T")

ResolveVoice = Callable[[str | None], Awaitable[str | None]]
"""From what a client calls a voice to the engine's id; of None, that of the default voice."""

# What every client written for OpenAI asks for: here each is the default voice, unless one
# of that name exists.
OPENAI_VOICES: Final = frozenset(
    (
        *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
        *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
    )
)

_PCM_RATE: Final = 24_000  # Hz; that of OpenAI's pcm, which no header tells the client

_MAX_NAME: Final = 200  # characters


class VoiceReference(BaseModel):
    """A voice by its id."""

    id: Annotated[str, Field(max_length=_MAX_NAME)]


class SpeechRequest(BaseModel):
    """What is to be said, and how. Fields that are not named here are ignored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "tts-1", "input": "Good morning!", "voice": "alloy"},
                {
                    "model": "tts-1",
                    "input": "Raw samples.",
                    "voice": "ash",
                    "response_format": "pcm",
                },
            ]
        }
    )

    input: str = Field(description="The text to say.")
    model: Annotated[
        str, Field(max_length=_MAX_NAME, description="Any name: this server has one engine.")
    ] = "tts-1"
    voice: Annotated[str, Field(max_length=_MAX_NAME)] | VoiceReference | None = Field(
        None, description="A voice's id. OpenAI's own names stand for the default voice."
    )
    response_format: str | None = Field(
        None, description="mp3, opus, flac, wav, ogg, or pcm: 24 kHz, 16 bit, mono, no header."
    )
    speed: float = Field(1.0, ge=0.25, le=4.0, description="1.0 is the voice's own pace.")
    instructions: str | None = Field(None, description="Ignored: no engine takes any.")
    stream_format: Literal["audio", "sse"] = "audio"
    seed: int | None = Field(
        None, ge=0, lt=1 << 32, description="Makes engines that vary repeat themselves. Ours."
    )


def current(given: T | Callable[[], T]) -> T:
    """What was given, or what it says that is now."""
    found: Any = given() if callable(given) else given
    return cast("T", found)


async def voice_of(
    name: str | None, tts: TTSEngine, resolve_voice: ResolveVoice | None
) -> str | None:
    """The engine's id of the voice that a client calls ``name``; None for its default.

    Raises:
        UnknownVoiceError: There is none of that name, and it is not one of OpenAI's.
    """

    async def listed(name: str | None) -> str | None:
        known = [str(voice["id"]) for voice in await tts.list_voices()]
        if name is not None and name not in known:
            raise UnknownVoiceError(name, known)
        return name

    resolve = resolve_voice or listed
    try:
        return await resolve(name or None)
    except UnknownVoiceError:
        if name not in OPENAI_VOICES:
            raise
        return await resolve(None)


def add_speech(
    router: APIRouter,
    tts: TTSEngine | Callable[[], TTSEngine],
    *,
    resolve_voice: ResolveVoice | None,
    dependencies: Sequence[Any],
    max_text: int,
    default_format: str,
) -> None:
    """Add ``/v1/audio/speech`` to ``router``."""

    async def speech(body: SpeechRequest) -> Response:
        format = _format(body.response_format or default_format)
        if not body.input.strip():
            raise refusal("There is nothing to say: the text is blank.", "input")
        if len(body.input) > max_text:
            message = f"The text has {len(body.input)} characters, and may have {max_text}."
            raise refusal(message, "input", code="string_above_max_length")
        engine = current(tts)
        name = body.voice.id if isinstance(body.voice, VoiceReference) else body.voice
        config: dict[str, Any] = {"speed_factor": body.speed}
        if (voice := await voice_of(name, engine, resolve_voice)) is not None:
            config["voice_id"] = voice
        if body.seed is not None:
            config["seed"] = body.seed
        speaking = streaming_tts(engine)
        if body.stream_format == "sse":
            return Streamed(
                lambda: _events(speaking, body.input, config, format),
                EVENT_STREAM,
                farewell=server_sent_error,
            )
        media = MEDIA_TYPES[format]
        if format == "pcm":
            media += f";rate={_PCM_RATE};channels=1"
        return Streamed(lambda: _file(speaking, body.input, config, format), media)

    content = {
        media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA_TYPES.values()
    }
    router.add_api_route(
        "/v1/audio/speech",
        speech,
        methods=["POST"],
        dependencies=dependencies,
        response_class=Response,
        responses={
            **ERRORS,
            200: {
                "description": "The speech, sent as it is made.",
                "content": {**content, EVENT_STREAM: {}},
            },
        },
        summary="Speak a text (OpenAI-compatible)",
    )


def _format(format: str) -> str:
    if format in MEDIA_TYPES:
        return format
    known = ", ".join(MEDIA_TYPES)
    if format == "aac":
        message = f"This server has no AAC encoder: ask for one of {known}."
    else:
        message = f"The response format is one of {known}."
    raise refusal(message, "response_format", code="unsupported_format")


async def _file(
    tts: StreamingTTSEngine, text: str, config: dict[str, Any], format: str
) -> AsyncGenerator[bytes]:
    encoder = StreamEncoder(format, _PCM_RATE if format == "pcm" else None)
    silent = True
    with takes_values():
        async with aclosing(tts.stream(text, config)) as sounds:
            async for sound in sounds:
                silent = False
                # In a thread: a whole text in one chunk takes a while.
                yield await run_sync(encoder.push, sound)
    if silent:
        raise EngineError(engine_name(tts), "made no sound of the text")
    yield await run_sync(encoder.flush)


async def _events(
    tts: StreamingTTSEngine, text: str, config: dict[str, Any], format: str
) -> AsyncGenerator[bytes]:
    async with aclosing(_file(tts, text, config, format)) as pieces:
        async for piece in pieces:
            if piece:
                audio = b64encode(piece).decode()
                yield server_sent({"type": "speech.audio.delta", "audio": audio})
    # Nothing counts tokens here; clients want the fields.
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield server_sent({"type": "speech.audio.done", "usage": usage})
