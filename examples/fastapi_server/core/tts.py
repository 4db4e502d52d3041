"""Text to speech."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response

from realtime_stts import AudioData, StreamingTTSEngine
from realtime_stts.encoding import StreamEncoder

from ..security import ServicesOf, requires
from ..services import Services
from .answers import (
    AUDIO,
    Live,
    Put,
    audio_file,
    audio_headers,
    audio_rate,
    callers_fault,
    refusal,
    while_connected,
)
from .schemas import Speaking, SpeechRequest, errors

__all__ = ["router", "speak", "voice_config"]

router = APIRouter(prefix="/tts", tags=["Text to speech"])

_GENERATION = {
    "temperature", "exaggeration", "cfg_weight", "seed", "speed_factor", "language",
}  # fmt: skip
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"'”’»)]*\s+|\n+|(?<=[。！？])")  # noqa: RUF001


@router.post(
    "",
    dependencies=[requires("tts")],
    response_class=Response,
    responses={**AUDIO, **errors(400, 404, 409, 413)},
    summary="Speak a text",
)
async def synthesize(given: SpeechRequest, request: Request, services: ServicesOf) -> Response:
    """The text as an audio file: whole, or with ``stream`` as it is made."""
    longest = services.settings.limits.max_text_length
    if len(given.text) > longest:
        raise refusal(413, "text_too_long", f"A text has at most {longest} characters.")
    config = await voice_config(services, given)
    if given.stream:
        return _live(services, given, config)
    audio = await while_connected(request, lambda: speak(services, given.text, config, given))
    return await audio_file(services, audio, _format(services, given), "tts_output")


@router.post(
    "/stream",
    dependencies=[requires("tts")],
    response_class=Response,
    responses={**AUDIO, **errors(400, 404, 409, 413)},
    summary="Speak a text, and send it as it is made",
)
async def synthesize_live(given: SpeechRequest, request: Request, services: ServicesOf) -> Response:
    """As `/tts` with ``stream``."""
    return await synthesize(given.model_copy(update={"stream": True}), request, services)


async def speak(
    services: Services,
    text: str,
    config: dict[str, Any],
    given: SpeechRequest | None = None,
) -> AudioData:
    """A text as sound, whole.

    An engine that streams cuts long text itself. For any other it is cut as the request says,
    since a model that takes a text whole may lose its way in a long one.
    """
    say = services.tts.synthesize
    texts = [text]
    if given and given.split_text and not isinstance(services.tts, StreamingTTSEngine):
        texts = _pieces(text, given.chunk_size)
    with callers_fault():
        spoken: list[AudioData] = [(await say(each, config)).audio_data for each in texts]
    if len(spoken) == 1:
        return spoken[0]
    return await run_sync(lambda: AudioData.concat(each.decoded() for each in spoken))


async def voice_config(services: Services, given: Speaking) -> dict[str, Any]:
    """What the engine is told of how to speak: what was asked for, and nothing else."""
    config: dict[str, Any] = given.model_dump(include=_GENERATION, exclude_none=True)
    wanted = given.predefined_voice_id
    if given.voice_mode == "clone":
        wanted = given.reference_audio_filename
        if not wanted:
            raise refusal(
                400, "no_reference", "To clone a voice, name its `reference_audio_filename`."
            )
    voice = await services.catalogue.resolve(wanted or None, mode=given.voice_mode)
    if voice is not None:
        config["voice_id"] = voice
    return config


def _live(services: Services, given: SpeechRequest, config: dict[str, Any]) -> Response:
    format = _format(services, given)
    rate = audio_rate(services, format)
    engine = services.tts

    async def write(put: Put) -> None:
        if not isinstance(engine, StreamingTTSEngine):
            whole = await speak(services, given.text, config, given)
            await put(await run_sync(encoder.push, whole))
        else:
            with callers_fault():
                async with aclosing(engine.stream(given.text, config)) as chunks:
                    async for chunk in chunks:
                        await put(await run_sync(encoder.push, chunk))
        await put(await run_sync(encoder.flush))

    encoder = StreamEncoder(format, rate)
    return Live(write, headers=audio_headers(format, rate, "tts_output"))


def _format(services: Services, given: Speaking) -> Any:
    return given.output_format or services.settings.audio_output.format


def _pieces(text: str, size: int) -> list[str]:
    """The text cut between sentences into pieces of about ``size`` characters."""
    if len(text) <= 1.5 * size:
        return [text]
    pieces: list[str] = []
    start = end = 0
    for stop in [*(found.end() for found in _SENTENCE_END.finditer(text)), len(text)]:
        if stop - start > size and text[start:end].strip():
            pieces.append(text[start:end])
            start = end
        end = stop
    return [piece for piece in (*pieces, text[start:]) if piece.strip()]
