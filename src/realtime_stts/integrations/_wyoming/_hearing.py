"""A transcription: sound goes in while the engine hears it, and its words go out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from math import inf
from typing import Final

import anyio
from anyio.to_thread import run_sync
from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.event import Eventable
from wyoming.vad import VoiceStarted, VoiceStopped

from ..._edge import engine_name
from ..._endpoint import SpeechStarted
from ...audio import AudioData, StreamResampler
from ...conversation._change import Change
from ...conversation._detection import heard
from ...errors import EngineError, EngineTimeoutError
from ...protocols import PauseDetector, StreamingSTTEngine, TranscriptionResult
from ._offer import WyomingLimits
from ._requests import RefusedError

__all__ = ["Send", "Transcription", "resampled"]

Send = Callable[[Eventable], Awaitable[None]]

_RATE: Final = 16_000  # Hz; that of all recognisers, and of Home Assistant
_PIECE: Final = 2 * _RATE  # bytes: a second


class Transcription:
    """One utterance of a client: `hear` and `end` as its events come, while `run` answers.

    What has come and not been heard is kept as 16 kHz mono, up to the limit of one
    transcription: 10 MB at five minutes. So a slow engine never keeps the reader from
    noticing that the client has left.

    Args:
        detector: Tells the client of speech and pauses, if given.
        streams: Whether the engine hears while it is spoken to, so that words that stay are
            told before the end.
    """

    def __init__(
        self,
        stt: StreamingSTTEngine,
        language: str | None,
        detector: PauseDetector | None,
        limits: WyomingLimits,
        *,
        streams: bool,
    ) -> None:
        self._stt, self._language, self._detector = stt, language, detector
        self._limits, self._streams = limits, streams
        self._resampler = StreamResampler(_RATE)
        self._waiting = bytearray()
        self._n_heard = 0  # samples
        self._ended = False
        self._changed = Change()
        self._in_time = anyio.CancelScope()
        self._told: str | None = None  # None until the transcript is begun

    async def hear(self, audio: AudioData, send: Send) -> None:
        """Take a chunk, and tell of speech that begins or ends in it.

        Raises:
            RefusedError: It is more than is allowed.
            AudioFormatError: Its rate or channel count is not that of the first chunk.
        """
        await self._take(await resampled(self._resampler, audio), send)

    async def end(self, send: Send) -> None:
        """There is no more. From now on the engine's time is counted."""
        await self._take(self._resampler.flush(), send)
        self._ended = True
        self._changed.tell()
        patience = self._limits.patience
        self._in_time.deadline = inf if patience is None else anyio.current_time() + patience

    async def run(self, send: Send) -> None:
        """Transcribe, and tell.

        Raises:
            EngineError: The engine failed, or took too long.
            ValueError: It does not take this language.
        """
        name, final = engine_name(self._stt), None
        with self._in_time:
            async with (
                aclosing(self._chunks()) as chunks,
                aclosing(self._stt.stream(chunks, self._language)) as results,
            ):
                async for result in results:
                    if not result.partial:
                        final = result
                    else:
                        await self._tell(result.committed, result, send)
        if self._in_time.cancelled_caught:
            raise EngineTimeoutError(name, self._limits.patience or inf)
        if final is None:
            raise EngineError(name, "ended without a final result")
        language = final.language or None
        if self._streams:
            await self._tell(final.text, final, send)
        await send(Transcript(final.text, language=language))
        if self._told is not None:
            await send(TranscriptStop())

    async def apologise(self, send: Send) -> bool:
        """No event says that there will be no transcript: what does is the connection's end."""
        return False

    async def _take(self, audio: AudioData, send: Send) -> None:
        n_samples = audio.n_frames
        if not n_samples or self._ended:
            return
        self._n_heard += n_samples
        if self._n_heard > self._limits.max_audio_seconds * _RATE:
            limit = f"{self._limits.max_audio_seconds:g} s"
            raise RefusedError("audio_too_long", f"More than {limit} are not transcribed at once.")
        self._waiting += audio.data
        self._changed.tell()
        if self._detector is not None:
            detection = await self._detector.process_chunk(audio)
            clock = self._n_heard / _RATE
            for event in heard(detection, audio.duration_seconds, clock, lambda: False):
                kind = VoiceStarted if isinstance(event, SpeechStarted) else VoiceStopped
                await send(kind(round(1000 * event.at)))

    async def _chunks(self) -> AsyncGenerator[AudioData]:
        while True:
            if self._waiting:
                piece = bytes(self._waiting[:_PIECE])
                del self._waiting[:_PIECE]
                yield AudioData(piece, _RATE)
            elif self._ended:
                return
            else:
                await self._changed.wait()

    async def _tell(self, text: str, result: TranscriptionResult, send: Send) -> None:
        """Say what has been added to the words that stay."""
        told = self._told or ""
        if text == told or not text.startswith(told):
            return  # an engine that takes back what it committed: the transcript has it right
        if self._told is None:
            await send(TranscriptStart(language=result.language or None))
        self._told = text
        await send(TranscriptChunk(text[len(told) :]))


async def resampled(resampler: StreamResampler, audio: AudioData) -> AudioData:
    """What a chunk completes; made in a thread if it is long."""
    if audio.format.startswith("pcm") and len(audio.data) <= _PIECE:
        return resampler.push(audio)
    return await run_sync(resampler.push, audio)
