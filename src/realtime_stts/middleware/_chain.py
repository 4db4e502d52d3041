"""The chain: middleware around any engine, and an engine again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator
from inspect import iscoroutinefunction
from time import perf_counter, time
from types import TracebackType
from typing import Any, Final, overload

from typing_extensions import Self

from .. import _html
from .._edge import engine_name, not_none
from ..audio import AudioData
from ..instrumentation import LoadDetails
from ..protocols import (
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
from ._call import link, link_once, one_shot, streamed
from ._context import outcome
from ._middleware import Middleware
from ._observer import Observer

__all__ = ["Chain"]


class Chain:
    """Middleware in order, the first listed outermost: an immutable value.

    Raises:
        TypeError: Something listed is not a `Middleware`.
    """

    __slots__ = ("_middleware",)

    def __init__(self, *middleware: Middleware) -> None:
        for each in middleware:
            _check(each)
        self._middleware: Final = middleware

    @overload
    def wrap(self, engine: ManagedSTTEngine) -> ManagedSTTEngine: ...
    @overload
    def wrap(self, engine: StreamingSTTEngine) -> StreamingSTTEngine: ...
    @overload
    def wrap(self, engine: STTEngine) -> STTEngine: ...
    @overload
    def wrap(self, engine: ManagedTTSEngine) -> ManagedTTSEngine: ...
    @overload
    def wrap(self, engine: StreamingTTSEngine) -> StreamingTTSEngine: ...
    @overload
    def wrap(self, engine: TTSEngine) -> TTSEngine: ...
    @overload
    def wrap(self, engine: StreamingResponseGenerator) -> StreamingResponseGenerator: ...
    @overload
    def wrap(self, engine: ResponseGenerator) -> ResponseGenerator: ...
    def wrap(self, engine: object) -> object:
        """Put the chain around an engine; the result is an engine of the same Protocols.

        Its calls go down the chain. All else (voices, life cycle, the engine's own
        attributes) goes straight to the engine. Wrapping a wrapped engine adds the layers
        outside its own: one chain, and one context for each call.

        Raises:
            TypeError: It is not an engine, or is of two kinds at once.
        """
        if isinstance(engine, _Wrapped):
            chain, engine = self + engine._chain, engine._engine
        else:
            chain = self
        is_class = isinstance(engine, type)  # one has its instances' methods too
        kinds = [kind for kind in _WRAPPERS if isinstance(engine, kind) and not is_class]
        if len(kinds) != 1:
            raise TypeError(
                f"a chain wraps an STTEngine, a TTSEngine or a ResponseGenerator; "
                f"{type(engine).__name__} is {' and '.join(map(_name, kinds)) or 'none of them'}"
            )
        wrapper, streaming, streaming_wrapper = _WRAPPERS[kinds[0]]
        if isinstance(engine, streaming):
            wrapper = streaming_wrapper
        if isinstance(engine, Lifecycle):
            wrapper = _MANAGED[wrapper]
        return wrapper(engine, chain)

    def then(self, *middleware: Middleware) -> Chain:
        """This chain with more layers inside it."""
        return Chain(*self._middleware, *middleware)

    def __add__(self, other: Chain) -> Chain:
        return self.then(*other) if isinstance(other, Chain) else NotImplemented

    @property
    def names(self) -> tuple[str, ...]:
        """What the layers are called, outermost first."""
        return tuple(map(_name, self._middleware))

    def __iter__(self) -> Iterator[Middleware]:
        return iter(self._middleware)

    def __len__(self) -> int:
        return len(self._middleware)

    def __eq__(self, other: object) -> bool:
        return self._middleware == other._middleware if isinstance(other, Chain) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._middleware)

    def __repr__(self) -> str:
        return f"Chain({', '.join(self.names)})"

    def _repr_html_(self) -> str:
        return _html.never_raising(lambda: _html.layers(self.names, "an engine"), self)


def _name(middleware: object) -> str:
    name = getattr(middleware, "name", None) or getattr(middleware, "__name__", None)
    return str(name or type(middleware).__name__)


def _check(middleware: object) -> None:
    """Refuse at once what would only fail at the first call."""
    if isinstance(middleware, type):
        wrong = "is a class: give the chain an instance"
    elif not callable(middleware):
        wrong = "cannot be called: an object with `process` goes into a ContextMiddleware"
    elif iscoroutinefunction(middleware) or iscoroutinefunction(type(middleware).__call__):
        wrong = "is a coroutine function: a middleware yields its results"
    else:
        return
    raise TypeError(f"{_name(middleware)} {wrong}")


# -- engines in a chain: a class for each capability, so that isinstance tells the truth ---


class _Wrapped:
    """What wrapped engines share. Everything not defined here is the engine's own."""

    __slots__ = ("_chain", "_engine", "name")

    def __init__(self, engine: Any, chain: Chain) -> None:
        self._engine = engine
        self._chain = chain
        self.name = engine_name(engine)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # never the engine's business, nor that of its chain
            raise AttributeError(attribute)
        return getattr(self._engine, attribute)

    def __repr__(self) -> str:
        return f"{self._chain!r}.wrap({self._engine!r})"

    def _repr_html_(self) -> str:
        return _html.never_raising(lambda: _html.layers(self._chain.names, self.name), self)


class _STT(_Wrapped):
    __slots__ = ("_transcribe",)

    def __init__(self, engine: Any, chain: Chain) -> None:
        super().__init__(engine, chain)
        self._transcribe = link_once(chain._middleware, engine, "stt")

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        result: TranscriptionResult
        if self._transcribe is None:
            result = not_none(await self._engine.transcribe(audio, language), self)
        else:
            result = await one_shot(
                self._transcribe, "stt", self.name, {"audio": audio}, {"language": language}
            )
        return result

    async def is_available(self) -> bool:
        return bool(await self._engine.is_available())

    @property
    def model_loaded(self) -> bool:
        return bool(self._engine.model_loaded)


class _StreamingSTT(_STT):
    __slots__ = ("_stream",)

    def __init__(self, engine: Any, chain: Chain) -> None:
        super().__init__(engine, chain)
        self._stream = link(chain._middleware, engine, "stt")

    def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        if self._stream is None:
            results: AsyncGenerator[TranscriptionResult] = self._engine.stream(audio, language)
            return results
        return streamed(self._stream, "stt", self.name, {"audio": audio}, {"language": language})


class _TTS(_Wrapped):
    __slots__ = ("_synthesize",)

    def __init__(self, engine: Any, chain: Chain) -> None:
        super().__init__(engine, chain)
        self._synthesize = link_once(chain._middleware, engine, "tts")

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        result: SynthesisResult
        if self._synthesize is None:
            result = not_none(await self._engine.synthesize(text, voice_config), self)
        else:
            result = await one_shot(
                self._synthesize, "tts", self.name, {"text": text}, {**voice_config}
            )
        return result

    async def list_voices(self) -> list[dict[str, Any]]:
        voices: list[dict[str, Any]] = await self._engine.list_voices()
        return voices

    @property
    def model_loaded(self) -> bool:
        return bool(self._engine.model_loaded)


class _StreamingTTS(_TTS):
    __slots__ = ("_stream",)

    def __init__(self, engine: Any, chain: Chain) -> None:
        super().__init__(engine, chain)
        self._stream = link(chain._middleware, engine, "tts")

    def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        if self._stream is None:
            results: AsyncGenerator[AudioData] = self._engine.stream(text, voice_config)
            return results
        return streamed(self._stream, "tts", self.name, {"text": text}, {**(voice_config or {})})


class _Responder(_Wrapped):
    __slots__ = ("_generate",)

    def __init__(self, engine: Any, chain: Chain) -> None:
        super().__init__(engine, chain)
        self._generate = link_once(chain._middleware, engine, "response")

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        answer: str
        if self._generate is None:
            answer = not_none(await self._engine.generate_response(transcription, context), self)
        else:
            given = {"transcription": transcription, "context": context}
            answer = await one_shot(self._generate, "response", self.name, given, {})
        return answer

    def set_response_mode(self, mode: str) -> None:
        self._engine.set_response_mode(mode)

    def clear_history(self) -> None:
        self._engine.clear_history()


class _StreamingResponder(_Responder):
    __slots__ = ("_stream",)

    def __init__(self, engine: Any, chain: Chain) -> None:
        super().__init__(engine, chain)
        self._stream = link(chain._middleware, engine, "response")

    def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        if self._stream is None:
            results: AsyncGenerator[str] = self._engine.stream_response(transcription, context)
            return results
        given = {"transcription": transcription, "context": context}
        return streamed(self._stream, "response", self.name, given, {})


class _Managed(_Wrapped):
    __slots__ = ()

    async def load(self) -> None:
        await self._loaded_by(self._engine.load)

    async def unload(self) -> None:
        await self._engine.unload()

    async def warmup(self) -> None:
        await self._loaded_by(self._engine.warmup)

    async def __aenter__(self) -> Self:
        await self._loaded_by(self._engine.__aenter__)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        handled: bool | None = await self._engine.__aexit__(exc_type, exc, traceback)
        return handled

    async def _loaded_by(self, load: Callable[[], Awaitable[object]]) -> None:
        """Load, and tell the observers that want to know of it: those with a ``loaded``."""
        if getattr(self._engine, "model_loaded", False):
            await load()
            return
        started_at, started = time(), perf_counter()
        error: BaseException | None = None
        try:
            await load()
        except BaseException as exc:
            error = exc
            raise
        finally:
            ended = outcome(error)
            details = LoadDetails(
                engine=self.name,
                outcome=ended,
                started_at=started_at,
                duration=perf_counter() - started,
                error_type=type(error).__name__ if ended == "error" else None,
            )
            for layer in self._chain:
                if isinstance(layer, Observer) and (tell := getattr(layer, "loaded", None)):
                    try:
                        tell(details)
                    except Exception as failure:  # noqa: BLE001 - it may fail in any way
                        layer._failed(failure)


class _ManagedSTT(_Managed, _STT):
    __slots__ = ()


class _ManagedStreamingSTT(_Managed, _StreamingSTT):
    __slots__ = ()


class _ManagedTTS(_Managed, _TTS):
    __slots__ = ()


class _ManagedStreamingTTS(_Managed, _StreamingTTS):
    __slots__ = ()


class _ManagedResponder(_Managed, _Responder):
    __slots__ = ()


class _ManagedStreamingResponder(_Managed, _StreamingResponder):
    __slots__ = ()


_WRAPPERS: Final[dict[Any, tuple[type[_Wrapped], Any, type[_Wrapped]]]] = {
    STTEngine: (_STT, StreamingSTTEngine, _StreamingSTT),
    TTSEngine: (_TTS, StreamingTTSEngine, _StreamingTTS),
    ResponseGenerator: (_Responder, StreamingResponseGenerator, _StreamingResponder),
}
_MANAGED: Final[dict[type[_Wrapped], type[_Wrapped]]] = {
    _STT: _ManagedSTT,
    _StreamingSTT: _ManagedStreamingSTT,
    _TTS: _ManagedTTS,
    _StreamingTTS: _ManagedStreamingTTS,
    _Responder: _ManagedResponder,
    _StreamingResponder: _ManagedStreamingResponder,
}
