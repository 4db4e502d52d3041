"""Answers that take a while: withdrawn when the client leaves, or written while they are made."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from anyio import CancelScope, create_task_group
from anyio.to_thread import run_sync
from fastapi import HTTPException, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from starlette.types import Send

from realtime_stts import AudioData
from realtime_stts.encoding import MEDIA_TYPES

from ..services import Services
from .schemas import AudioFormat, RecordingForm

__all__ = [
    "AUDIO",
    "BINARY",
    "Live",
    "Put",
    "audio_file",
    "audio_headers",
    "audio_rate",
    "callers_fault",
    "decoded",
    "event",
    "refusal",
    "while_connected",
]

T = TypeVar("T")
Put = Callable[[bytes], Awaitable[None]]

_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)  # Hz
_MAX_MP3_RATE = 48_000  # Hz
_MAX_WORDS = 500  # characters of an engine's own explanation

BINARY = {"schema": {"type": "string", "format": "binary"}}

# For the documentation of an endpoint that answers with audio.
AUDIO: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The audio. `Content-Disposition` names the file, `X-Sample-Rate` its "
        "rate in Hz and `X-Duration` its length in seconds.",
        "content": dict.fromkeys(sorted({*MEDIA_TYPES.values()}), BINARY),
    }
}


# -- errors


def refusal(status: int, code: str, detail: str) -> HTTPException:
    """An error whose code for programs is not simply that of its status."""
    return HTTPException(status, {"detail": detail, "error_code": code})


@contextmanager
def callers_fault() -> Iterator[None]:
    """Around an engine's call: a `ValueError` is about what the caller gave, and in its words.

    That is what the engines' Protocols say. Errors derived from it are something else.
    """
    try:
        yield
    except ValueError as exc:
        if type(exc) is not ValueError:
            raise
        raise refusal(422, "invalid_option", str(exc)[:_MAX_WORDS]) from exc


# -- clients that leave


async def while_connected(request: Request, work: Callable[[], Awaitable[T]]) -> T:
    """What ``work`` comes to. It is cancelled when the client leaves: nobody wants it then.

    The request's body must have been read.
    """
    results: list[T] = []
    failure: Exception | None = None
    async with create_task_group() as tasks:
        watching = CancelScope()

        async def watch() -> None:
            with watching:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        try:
            results.append(await work())
        except Exception as exc:  # noqa: BLE001 - raised below, outside of the group
            failure = exc
        watching.cancel()
    if failure is not None:
        raise failure
    if not results:
        raise HTTPException(499, "The client has left.")  # nobody reads it; the log does
    return results[0]


# -- recordings that come in


async def decoded(services: Services, form: RecordingForm) -> AudioData:
    """The form's recording, as PCM."""
    file: UploadFile | None = form.audio_file or form.file
    if file is None:
        raise refusal(400, "no_file", "Send a recording as `audio_file`.")
    if not file.size:
        raise refusal(400, "empty_file", "The recording is an empty file.")
    return await services.decoder.decode(file.file)


# -- audio that goes out


def audio_rate(services: Services, format: AudioFormat) -> int:
    """Hz that answers have: what the settings say, or the nearest that the format can have."""
    rate = services.settings.audio_output.sample_rate
    if format == "opus" and rate not in _OPUS_RATES:
        return 48_000
    return min(rate, _MAX_MP3_RATE) if format == "mp3" else rate


def audio_headers(format: AudioFormat, sample_rate: int, name: str) -> dict[str, str]:
    """Of an answer that is audio; ``name`` is what its file's name begins with."""
    media_type = MEDIA_TYPES[format]
    if format == "pcm":  # nothing in it says what it is
        media_type += f";rate={sample_rate};channels=1"
    extension = "raw" if format == "pcm" else format
    now = datetime.now().astimezone()
    return {
        "Content-Type": media_type,
        "Content-Disposition": f'attachment; filename="{name}_{now:%Y%m%d_%H%M%S}.{extension}"',
        "X-Sample-Rate": str(sample_rate),
    }


async def audio_file(
    services: Services,
    audio: AudioData,
    format: AudioFormat,
    name: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The audio as a whole file."""
    rate = audio_rate(services, format)

    def encode() -> tuple[bytes, float]:
        mono = audio.mono().resampled(rate).converted("pcm")
        return mono.data if format == "pcm" else mono.encode(format), mono.duration_seconds

    content, duration = await run_sync(encode)
    ours = {**audio_headers(format, rate, name), "X-Duration": f"{duration:.3f}"}
    return Response(content, headers={**ours, **(headers or {})})


# -- answers written while they are made


class Live(StreamingResponse):
    """An answer that ``write`` puts out piece by piece; nothing is sent before the first.

    An error before that is answered like any other. One after that cuts the connection, so
    that nobody takes a part for the whole. If the client leaves, ``write`` is cancelled.
    """

    def __init__(self, write: Callable[[Put], Awaitable[None]], **options: Any) -> None:
        super().__init__((), **options)
        self.begun = False  # once it is, nothing can be said by a status any more
        self._write = write

    async def stream_response(self, send: Send) -> None:
        async def put(piece: bytes) -> None:
            if piece:
                await self._begin(send)
                await send({"type": "http.response.body", "body": piece, "more_body": True})

        await self._write(put)
        await self._begin(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, send: Send) -> None:
        if not self.begun:
            self.begun = True
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
