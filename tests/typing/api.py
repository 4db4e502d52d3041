"""The public names as a type checker sees them: checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

from realtime_stts import (
    AudioData,
    ConfigurationProvider,
    ConversationContext,
    ConversationEvent,
    ConversationMiddleware,
    ConversationState,
    EngineError,
    EventBus,
    EventHandler,
    Exchange,
    Lifecycle,
    ManagedSTTEngine,
    ManagedTTSEngine,
    MissingExtraError,
    PauseDetector,
    ResponseGenerator,
    StreamingResponseGenerator,
    StreamingSTTEngine,
    StreamingTTSEngine,
    StreamResampler,
    STTEngine,
    SynthesisResult,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
    TTSEngine,
    UnknownEngineError,
    WebSocketAdapter,
)

# -- audio -------------------------------------------------------------------------------


def audio(audio: AudioData, path: Path, file: BytesIO, wave: NDArray[np.int16]) -> None:
    assert_type(audio.data, bytes)
    assert_type(audio.sample_rate, int)
    assert_type(audio.channels, int)
    assert_type(audio.format, str)
    assert_type(audio.n_frames, int)
    assert_type(audio.duration_seconds, float)
    assert_type(audio.duration_ms, int)
    assert_type(audio.samples, NDArray[np.float32])
    assert_type(AudioData(b"", 16_000), AudioData)
    assert_type(AudioData.from_samples(wave, 16_000), AudioData)
    assert_type(AudioData.from_samples(audio.samples, 16_000, "pcm_f32le"), AudioData)
    assert_type(AudioData.silence(1, 16_000), AudioData)
    assert_type(AudioData.from_file("speech.flac"), AudioData)
    assert_type(AudioData.from_file(path, max_seconds=60, max_bytes=1 << 20), AudioData)
    assert_type(AudioData.from_file(b""), AudioData)
    assert_type(AudioData.from_file(file), AudioData)
    assert_type(AudioData.concat([audio, audio]), AudioData)
    assert_type(audio.decoded(), AudioData)
    assert_type(audio.converted("pcm_s24le"), AudioData)
    assert_type(audio.mono(), AudioData)
    assert_type(audio.resampled(16_000), AudioData)
    assert_type(audio.sliced(0.5), AudioData)
    assert_type(audio.encode("opus"), bytes)
    assert_type(audio.to_file("speech.wav"), Path)


def resampling(resampler: StreamResampler, audio: AudioData) -> None:
    assert_type(StreamResampler(), StreamResampler)
    assert_type(resampler.sample_rate, int)
    assert_type(resampler.push(audio), AudioData)
    assert_type(resampler.flush(), AudioData)


# -- values ------------------------------------------------------------------------------


def values(result: TranscriptionResult, spoken: SynthesisResult, exchange: Exchange) -> None:
    assert_type(result.text, str)
    assert_type(result.language, str)
    assert_type(result.segments, list[TranscriptionSegment])
    assert_type(result.words, list[TranscriptionWord])
    assert_type(result.confidence, float | None)
    assert_type(result.partial, bool)
    assert_type(result.duration, float)
    assert_type(result.segments[0].confidence, float | None)
    assert_type(result.words[0].start, float)
    assert_type(spoken.audio_data, AudioData)
    assert_type(spoken.voice_id, str)
    assert_type(spoken.synthesis_time, float | None)
    assert_type((exchange.turn, exchange.user, exchange.heard), tuple[int, str, str])


def context(context: ConversationContext, event: ConversationEvent) -> None:
    assert_type(ConversationContext(), ConversationContext)
    assert_type(context.audio_input, AudioData | None)
    assert_type(context.transcription, TranscriptionResult | None)
    assert_type(context.response_text, str | None)
    assert_type(context.synthesis_result, SynthesisResult | None)
    assert_type(context.state, ConversationState)
    assert_type(context.metadata, dict[str, Any])
    assert_type(context.user_data, dict[str, Any])
    assert_type(context.error, Exception | None)
    assert_type(context.history, tuple[Exchange, ...])
    assert_type(event.event_type, str)
    assert_type(event.data, dict[str, Any])
    assert_type(event.timestamp, float)


def errors(error: EngineError, missing: MissingExtraError, unknown: UnknownEngineError) -> None:
    assert_type(error.engine, str)
    assert_type(error.request_id, str | None)
    assert_type(missing.extra, str)
    assert_type(unknown.known, tuple[str, ...])
    caught: ImportError = missing
    looked_up: LookupError = unknown
    del caught, looked_up


# -- calls -------------------------------------------------------------------------------


async def stt(stt: ManagedSTTEngine, audio: AudioData, chunks: AsyncIterable[AudioData]) -> None:
    assert_type(await stt.transcribe(audio), TranscriptionResult | None)
    assert_type(await stt.transcribe(audio, language="en"), TranscriptionResult | None)
    assert_type(stt.stream(chunks, "en"), AsyncGenerator[TranscriptionResult])
    assert_type(await stt.is_available(), bool)
    assert_type(stt.model_loaded, bool)
    await stt.load()
    await stt.warmup()
    await stt.unload()
    async with stt as loaded:
        assert_type(loaded, ManagedSTTEngine)


async def tts(tts: ManagedTTSEngine) -> None:
    assert_type(await tts.synthesize("hello", {"voice_id": "en"}), SynthesisResult | None)
    assert_type(tts.stream("hello"), AsyncGenerator[AudioData])
    assert_type(await tts.list_voices(), list[dict[str, Any]])
    async with tts as loaded:
        assert_type(loaded, ManagedTTSEngine)
        async for chunk in loaded.stream("hello", {"speed_factor": 1.5}):
            assert_type(chunk, AudioData)


async def pauses(detector: PauseDetector, audio: AudioData) -> None:
    assert_type(await detector.process_chunk(audio), dict[str, Any])
    assert_type(detector.is_speaking, bool)
    detector.reset()


async def responding(
    responder: StreamingResponseGenerator, said: TranscriptionResult, context: ConversationContext
) -> None:
    assert_type(await responder.generate_response(said, context), str)
    assert_type(responder.stream_response(said, context), AsyncGenerator[str])


async def hosting(adapter: WebSocketAdapter, bus: EventBus, handler: EventHandler) -> None:
    assert_type(await adapter.receive_audio(), AudioData | None)
    assert_type(await adapter.receive_command(), dict[str, Any] | None)
    assert_type(adapter.is_connected, bool)
    await adapter.close()
    bus.subscribe("turn_ended", handler)
    await bus.publish(ConversationEvent("turn_ended"))


def wider(stt: ManagedSTTEngine, tts: ManagedTTSEngine) -> None:
    streaming_stt: StreamingSTTEngine = stt
    one_shot_stt: STTEngine = streaming_stt
    streaming_tts: StreamingTTSEngine = tts
    one_shot_tts: TTSEngine = streaming_tts
    with_a_model: list[Lifecycle] = [stt, tts]
    del one_shot_stt, one_shot_tts, with_a_model


# -- classes that know the contract's text and nothing else ------------------------------


class ForeignSTT:
    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        return None

    async def is_available(self) -> bool:
        return True

    @property
    def model_loaded(self) -> bool:
        return True


class ForeignTTS:
    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        return None

    async def list_voices(self) -> list[dict[str, Any]]:
        return []

    @property
    def model_loaded(self) -> bool:
        return True


class ForeignPauseDetector:
    is_speaking = False  # an attribute does where the contract has a property

    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        return {}

    def reset(self) -> None: ...


class ForeignResponseGenerator:
    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        return ""

    def set_response_mode(self, mode: str) -> None: ...

    def clear_history(self) -> None: ...


class ForeignWebSocketAdapter:
    async def accept_connection(self) -> None: ...

    async def receive_audio(self) -> AudioData | None: ...

    async def receive_command(self) -> dict[str, Any] | None: ...

    async def send_json(self, data: dict[str, Any]) -> None: ...

    async def send_audio(self, audio: AudioData) -> None: ...

    async def close(self, code: int = 1000) -> None: ...

    @property
    def is_connected(self) -> bool:
        return False


class ForeignMiddleware:
    async def process(
        self,
        context: ConversationContext,
        next_middleware: Callable[[ConversationContext], Awaitable[ConversationContext]],
    ) -> ConversationContext:
        return await next_middleware(context)


class ForeignConfiguration:
    def get_stt_config(self) -> dict[str, Any]:
        return {}

    def get_tts_config(self) -> dict[str, Any]:
        return {}

    def get_conversation_config(self) -> dict[str, Any]:
        return {}

    def get_pause_detection_config(self) -> dict[str, Any]:
        return {}

    def get_audio_config(self) -> dict[str, Any]:
        return {}


class ForeignHandler:
    async def handle(self, event: ConversationEvent) -> None: ...


class ForeignBus:
    async def publish(self, event: ConversationEvent) -> None: ...

    def subscribe(self, event_type: str, handler: EventHandler) -> None: ...

    def unsubscribe(self, event_type: str, handler: EventHandler) -> None: ...


def foreign() -> None:
    stt: STTEngine = ForeignSTT()
    tts: TTSEngine = ForeignTTS()
    pauses: PauseDetector = ForeignPauseDetector()
    responder: ResponseGenerator = ForeignResponseGenerator()
    adapter: WebSocketAdapter = ForeignWebSocketAdapter()
    middleware: ConversationMiddleware = ForeignMiddleware()
    configuration: ConfigurationProvider = ForeignConfiguration()
    handler: EventHandler = ForeignHandler()
    bus: EventBus = ForeignBus()
    del stt, tts, pauses, responder, adapter, middleware, configuration, handler, bus
