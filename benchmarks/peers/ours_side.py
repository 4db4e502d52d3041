"""realtime_stts holding a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from typing import Any

from realtime_stts import (
    AudioData,
    ConversationContext,
    ConversationEngine,
    Interrupted,
    ReplyAudio,
    ReplyPaused,
    Session,
    SynthesisResult,
    TranscriptionResult,
    TurnPolicy,
)

from .call import INTERRUPT, OUT_RATE, RATE, SILENCE, Call, Push, voiced
from .jobs import answering

__all__ = ["answer"]


class _Ears:
    model_loaded = True

    def __init__(self, call: Call) -> None:
        self._call = call

    async def is_available(self) -> bool:
        return True

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return TranscriptionResult(await self._call.recognise(), "en", [], 0.9)

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        chunks = [chunk async for chunk in audio]
        if chunks:
            yield await self.transcribe(chunks[-1])


class _Voice:
    model_loaded = True

    def __init__(self, call: Call) -> None:
        self._call = call

    async def list_voices(self) -> list[dict[str, Any]]:
        return [{"id": "one", "name": "One", "language": "en"}]

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        raise NotImplementedError("a session streams")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        async for chunk in self._call.speak(text):
            yield AudioData(chunk, OUT_RATE)


class _Detector:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.is_speaking = False

    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        was, self.is_speaking = self.is_speaking, voiced(audio.data)
        events = []
        if was != self.is_speaking:
            events = ["speech_start" if self.is_speaking else "speech_end"]
        silent = 0 if self.is_speaking else round(1e3 * audio.duration_seconds)
        return {
            "is_speaking": self.is_speaking,
            "events": events,
            "silence_duration_ms": silent,
        }


@asynccontextmanager
async def _talk(call: Call) -> AsyncGenerator[Push]:
    async def respond(
        result: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        yield call.respond(result.text)

    engine = ConversationEngine(
        stt=_Ears(call),
        tts=_Voice(call),
        responder=respond,
        pause_detector=_Detector,
        policy=TurnPolicy(
            end_of_turn=SILENCE, barge_in=INTERRUPT, min_words=0, speculative=call.eager
        ),
    )

    async def host(session: Session) -> None:
        async for event in session:
            match event:
                case ReplyAudio(audio=sound):
                    call.phone.play(sound.duration_seconds)
                case ReplyPaused() | Interrupted():
                    call.phone.hush()

    async with engine.session() as session:
        listening = asyncio.create_task(host(session))

        async def push(frame: bytes) -> None:
            await session.push(AudioData(frame, RATE))

        try:
            yield push
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


answer = answering(lambda: _talk)
