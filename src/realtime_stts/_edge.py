"""The edge where somebody else's engine is called: any engine, as one that streams.

Here, and nowhere else, a contract engine's ``None`` becomes the `EngineError` it means,
and a one-shot engine gets the streaming call that chains and conversations are written
for: one that hears whole clips hears the clip as it grows, again and again. What streams
already is returned as it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self

from ._incremental import incremental
from .audio import AudioData
from .errors import EngineError
from .protocols import (
    ConversationContext,
    Lifecycle,
    ManagedSTTEngine,
    ManagedTTSEngine,
    ResponseGenerator,
    StreamingResponseGenerator,
    StreamingSTTEngine,
    StreamingTTSEngine,
    STTEngine,
    SynthesisResult,
    TranscriptionResult,
    TTSEngine,
)

__all__ = [
    "engine_name",
    "managed_stt",
    "managed_tts",
    "not_none",
    "streaming_responder",
    "streaming_stt",
    "streaming_tts",
]

T = TypeVar("T")


def engine_name(engine: object) -> str:
    """What an engine is called in errors, logs and statistics."""
    return str(getattr(engine, "name", None) or type(engine).__name__)


def not_none(result: T | None, engine: object) -> T:
    """``result``, or the error that ``None`` stands for in the contract.

    Raises:
        EngineError: It is None.
    """
    if result is None:
        raise EngineError(engine_name(engine), "failed without saying why (it returned None)")
    return result


def streaming_stt(engine: STTEngine, partial_interval: float | None = 1.0) -> StreamingSTTEngine:
    """``engine``; if it only takes whole clips, one that decodes what has come so far.

    Args:
        partial_interval: Seconds of new audio from one such decode to the next, at least;
            None to hear the whole stream first and have no partial results.

    Raises:
        ValueError: The interval is not over 0.
    """
    if isinstance(engine, StreamingSTTEngine):
        return engine
    if partial_interval is None:
        return _WholeClip(engine)
    return _GrowingClip(engine, partial_interval)


def streaming_tts(engine: TTSEngine) -> StreamingTTSEngine:
    """``engine``; if it only makes whole clips, one that yields the clip as one chunk."""
    return engine if isinstance(engine, StreamingTTSEngine) else _OneChunk(engine)


def streaming_responder(responder: ResponseGenerator) -> StreamingResponseGenerator:
    """``responder``; if it only makes whole answers, one that yields them as one piece."""
    if isinstance(responder, StreamingResponseGenerator):
        return responder
    return _OnePiece(responder)


def managed_stt(engine: STTEngine) -> ManagedSTTEngine:
    """``engine``; if it lacks streaming or a life cycle, one that has both."""
    return engine if isinstance(engine, ManagedSTTEngine) else _ManagedSTT(engine)


def managed_tts(engine: TTSEngine) -> ManagedTTSEngine:
    """``engine``; if it lacks streaming or a life cycle, one that has both."""
    return engine if isinstance(engine, ManagedTTSEngine) else _ManagedTTS(engine)


class _WholeClip:
    def __init__(self, engine: STTEngine) -> None:
        self._engine = engine
        self.name = engine_name(engine)

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return not_none(await self._engine.transcribe(audio, language), self._engine)

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        chunks = [chunk.decoded() async for chunk in audio]
        if chunks:
            yield await self.transcribe(AudioData.concat(chunks), language)
        else:
            yield TranscriptionResult("", language or "", [])

    async def is_available(self) -> bool:
        return await self._engine.is_available()

    @property
    def model_loaded(self) -> bool:
        return self._engine.model_loaded


class _GrowingClip(_WholeClip):
    def __init__(self, engine: STTEngine, interval: float) -> None:
        if not interval > 0.0:
            raise ValueError(f"partial results are over 0 seconds apart, not {interval}")
        super().__init__(engine)
        self._interval = interval

    def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        return incremental(self.transcribe, audio, language, interval=self._interval)


class _OneChunk:
    def __init__(self, engine: TTSEngine) -> None:
        self._engine = engine
        self.name = engine_name(engine)
        self.list_voices = engine.list_voices

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return not_none(await self._engine.synthesize(text, voice_config), self._engine)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        yield (await self.synthesize(text, voice_config or {})).audio_data

    @property
    def model_loaded(self) -> bool:
        return self._engine.model_loaded


class _OnePiece:
    def __init__(self, responder: ResponseGenerator) -> None:
        self.name = engine_name(responder)
        self.generate_response = responder.generate_response
        self.set_response_mode = responder.set_response_mode
        self.clear_history = responder.clear_history

    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        answer = await self.generate_response(transcription, context)
        if answer:
            yield answer


class _Managed:
    """The life cycle of the engine within; one that has none loads by itself."""

    _lifecycle: Lifecycle | None

    async def load(self) -> None:
        if self._lifecycle is not None:
            await self._lifecycle.load()

    async def unload(self) -> None:
        if self._lifecycle is not None:
            await self._lifecycle.unload()

    async def warmup(self) -> None:
        if self._lifecycle is not None:
            await self._lifecycle.warmup()

    async def __aenter__(self) -> Self:
        if self._lifecycle is not None:
            await self._lifecycle.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if self._lifecycle is not None:
            return await self._lifecycle.__aexit__(exc_type, exc, traceback)
        return None


class _ManagedSTT(_Managed, _WholeClip):
    def __init__(self, engine: STTEngine) -> None:
        super().__init__(engine)
        self._lifecycle = engine if isinstance(engine, Lifecycle) else None
        self.stream = streaming_stt(engine).stream  # type: ignore[method-assign]


class _ManagedTTS(_Managed, _OneChunk):
    def __init__(self, engine: TTSEngine) -> None:
        super().__init__(engine)
        self._lifecycle = engine if isinstance(engine, Lifecycle) else None
        self.stream = streaming_tts(engine).stream  # type: ignore[method-assign]
