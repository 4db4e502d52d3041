"""One client's connection: what it asks for is answered in that order, one at a time.

One task reads and never waits for an engine, so it notices at once that the client has left,
and then all that the client asked for is withdrawn. Another one answers.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from math import inf
from typing import Final, Protocol

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from anyio.streams.buffered import BufferedByteReceiveStream
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.info import Describe
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
)

from ..._failures import content_free
from ..._request import new_request_id, request_scope
from ._framing import MAX_LINE, MalformedError, encoded, parsed_data, parsed_header
from ._hearing import Send, Transcription
from ._offer import Offer, WyomingLimits
from ._problems import INTERNAL, problem_of
from ._requests import RefusedError, audio_of, language_of, text_of, voice_of
from ._speaking import Dictation, Speech

__all__ = ["Connection", "part"]

_log = logging.getLogger("realtime_stts.integrations.wyoming")

_MAX_WAITING: Final = 8  # requests of one client; each has its limits
_FAREWELL: Final = 2.0  # s for the client to read why it is sent away

_GONE: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


class _Request(Protocol):
    async def run(self, send: Send) -> None: ...

    async def apologise(self, send: Send) -> bool:
        """End an answer that failed; whether the connection can go on."""
        ...


class _Refused:
    """A request that cannot be met, in its place among the others."""

    def __init__(self, error: RefusedError, last: Eventable) -> None:
        self._error, self._last = error, last

    async def run(self, send: Send) -> None:
        raise self._error

    async def apologise(self, send: Send) -> bool:
        await send(self._last)
        return True


class Connection:
    """A client, and what it has asked for.

    Args:
        stream: Its socket, which stays the caller's to close.
    """

    def __init__(self, stream: ByteStream, offer: Offer, limits: WyomingLimits) -> None:
        self._stream, self._offer, self._limits = stream, offer, limits
        self._reader = BufferedByteReceiveStream(stream)
        self._requests, self._to_answer = anyio.create_memory_object_stream[_Request](_MAX_WAITING)
        self._sending = anyio.Lock()  # an event is sent as a whole
        self._scope = anyio.CancelScope()
        self._reading = anyio.CancelScope()
        self._id = new_request_id()
        self._n_open = 0  # requests that have not been answered
        self._language: str | None = None  # of the transcription to come
        self._hearing: Transcription | None = None  # while its sound comes
        self._dictation: Dictation | None = None  # while its text comes
        self._leaving = False  # once nothing more is taken
        self._parting = False  # whether the client has to be sent away

    async def serve(self) -> None:
        """Answer until the client leaves, or has to."""
        with self._scope, self._requests, self._to_answer:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._answer)
                await self._read()
                self._scope.cancel()
        if self._parting:
            await part(self._stream)

    def leave(self) -> None:
        """Answer what has been asked for, and go."""
        self._leaving = True
        if not self._n_open:
            self._scope.cancel()

    # -- reading

    async def _read(self) -> None:
        try:
            while (event := await self._next_event()) is not None:
                await self._take(event)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other clients go on
            await self._tell(error, self._id)
            self._parting = True

    async def _next_event(self) -> Event | None:
        """The next event; None if the client has left.

        Raises:
            MalformedError: What came is none.
            RefusedError: None came, though it was the client's turn.
        """
        with anyio.CancelScope() as self._reading:
            self._expect()
            try:
                return await self._receive()
            except (*_GONE, anyio.IncompleteRead):
                return None
        limit = f"{self._limits.max_idle_seconds:g} s"
        raise RefusedError("idle", f"No event came for {limit}.")

    async def _receive(self) -> Event:
        try:
            line = await self._reader.receive_until(b"\n", MAX_LINE)
        except anyio.DelimiterNotFound as exc:
            raise MalformedError(f"a line has at most {MAX_LINE} bytes here") from exc
        header = parsed_header(line)
        data = header.data
        if header.data_length:
            data |= parsed_data(await self._reader.receive_exactly(header.data_length))
        payload = b""
        if header.payload_length:
            payload = await self._reader.receive_exactly(header.payload_length)
        return Event(header.type, data, payload)

    def _expect(self) -> None:
        """How long to wait for the next event, which is for ever while it is not due."""
        is_due = not self._n_open or self._hearing or self._dictation
        limit = self._limits.max_idle_seconds
        self._reading.deadline = anyio.current_time() + limit if is_due else inf

    async def _take(self, event: Event) -> None:
        kind = event.type
        if Describe.is_type(kind):
            await self._send(self._offer.info)
        elif Ping.is_type(kind):
            text = event.data.get("text")
            await self._send(Pong(text if isinstance(text, str) else None))
        elif self._leaving and not (self._hearing or self._dictation):
            raise RefusedError("closing", "The server is being stopped.")
        elif Transcribe.is_type(kind) or AudioStart.is_type(kind):
            self._begin_to_hear(event)
        elif AudioChunk.is_type(kind):
            audio = audio_of(event.data, event.payload or b"")
            await self._heard().hear(audio, self._send)
        elif AudioStop.is_type(kind):
            await self._end_hearing()
        elif Synthesize.is_type(kind) or SynthesizeStart.is_type(kind):
            self._begin_to_speak(event, streamed=SynthesizeStart.is_type(kind))
        elif SynthesizeChunk.is_type(kind):
            self._dictated("synthesize-chunk").push(text_of(event.data))
        elif SynthesizeStop.is_type(kind):
            self._dictated("synthesize-stop").end()
            self._dictation = None
        # All else is not for us, or of a later version: the protocol has us ignore it.

    # -- transcriptions

    def _begin_to_hear(self, event: Event) -> None:
        if self._hearing is not None:
            raise _unexpected(event.type, "the sound before it has not ended: send audio-stop")
        if Transcribe.is_type(event.type):
            self._language = language_of(event.data)
        else:
            self._heard()

    def _heard(self) -> Transcription:
        """The transcription whose sound comes now; clients may leave out what begins it."""
        if self._hearing is None:
            offer = self._offer
            if offer.stt is None:
                raise RefusedError("not_offered", "Nothing is transcribed here.")
            self._hearing = Transcription(
                offer.stt,
                self._language,
                offer.detector(),
                self._limits,
                streams=offer.streams_transcripts,
            )
            self._ask(self._hearing)
        return self._hearing

    async def _end_hearing(self) -> None:
        if self._hearing is None:
            raise _unexpected("audio-stop", "no sound has begun")
        hearing, self._hearing, self._language = self._hearing, None, None
        await hearing.end(self._send)

    # -- syntheses

    def _begin_to_speak(self, event: Event, *, streamed: bool) -> None:
        if self._dictation is not None:
            if streamed:
                raise _unexpected(event.type, "the text before it has not ended")
            return  # the whole text once more, for servers that take no streams
        dictation = Dictation(self._limits.max_text)
        if streamed:
            self._dictation = dictation
        try:
            request = self._speech(event, dictation, streamed=streamed)
        except RefusedError as error:
            dictation.drop()
            request = _Refused(error, SynthesizeStopped() if streamed else AudioStop())
        self._ask(request)

    def _speech(self, event: Event, dictation: Dictation, *, streamed: bool) -> _Request:
        offer = self._offer
        if offer.tts is None:
            raise RefusedError("not_offered", "Nothing is spoken here.")
        wish = voice_of(event.data)
        if not streamed:
            dictation.fill(text_of(event.data))
        return Speech(offer.tts, offer, dictation, wish, self._limits, streamed=streamed)

    def _dictated(self, kind: str) -> Dictation:
        if self._dictation is None:
            raise _unexpected(kind, "no text has begun: send synthesize-start")
        return self._dictation

    # -- answering

    def _ask(self, request: _Request) -> None:
        try:
            self._requests.send_nowait(request)
        except anyio.WouldBlock:
            raise RefusedError(
                "overloaded", f"At most {_MAX_WAITING} requests wait here: read the answers first."
            ) from None
        self._n_open += 1

    async def _answer(self) -> None:
        async for request in self._to_answer:
            with request_scope(session_id=self._id) as request_id:
                try:
                    await request.run(self._send)
                except Exception as error:  # noqa: BLE001 - an engine's may be of any kind
                    await self._tell(error, request_id)
                    self._parting = not await request.apologise(self._send)
            self._n_open -= 1
            self._expect()
            if self._parting or (self._leaving and not self._n_open):
                self._parting = True
                self._scope.cancel()

    async def _tell(self, error: Exception, request_id: str) -> None:
        """Log what went wrong, and tell the client of it without a word of ours."""
        code, text = problem_of(error)
        if isinstance(error, RefusedError | MalformedError):
            _log.info("[%s] refused: %s", request_id, code)
        else:
            level = logging.ERROR if code == INTERNAL else logging.WARNING
            _log.log(level, "[%s] failed: %s", request_id, code, exc_info=content_free(error))
            text = f"{text} (request {request_id})"
        await self._send(Error(text, code))

    async def _send(self, event: Eventable) -> None:
        async with self._sending:
            with anyio.move_on_after(self._limits.max_idle_seconds):
                try:
                    return await self._stream.send(encoded(event))
                except _GONE:
                    pass
        # The client has left, or takes nothing.
        self._scope.cancel()
        await checkpoint()


async def part(stream: ByteStream) -> None:
    """Let a client read to the end: closing on what it still sends would lose it the last event."""
    with anyio.move_on_after(_FAREWELL), suppress(*_GONE, OSError):
        await stream.send_eof()
        while True:
            await stream.receive()


def _unexpected(kind: str, why: str) -> RefusedError:
    return RefusedError("unexpected_event", f"{kind} came out of order: {why}.")
