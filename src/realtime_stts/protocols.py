"""The contract: the values that travel, and what an engine, a host and a middleware promise.

The names, fields and signatures are those of the public `realtime_conversation`
contract, so that an engine written for it drops in here and the other way round. What
it lacks stands beside it: streaming Protocols and an engine's life cycle.

Two conventions of that contract are kept at the edge only. There, ``None`` from
`transcribe` or `synthesize` means failure; engines of this library raise `EngineError`
instead, and a foreign engine's ``None`` is turned into one. ``language=None`` means that
the engine detects the language.

Seconds are floats counted from the start of the audio they belong to. Cancelling a call
withdraws it: the caller is released at once, the engine stops as soon as it can, and its
next call is unharmed. A generator is closed with `contextlib.aclosing`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from time import time
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from typing_extensions import Self

from . import _html
from .audio import AudioData

__all__ = [
    "AudioData",
    "ConfigurationProvider",
    "ConversationContext",
    "ConversationEvent",
    "ConversationMiddleware",
    "ConversationState",
    "EventBus",
    "EventHandler",
    "Exchange",
    "Lifecycle",
    "ManagedSTTEngine",
    "ManagedTTSEngine",
    "PauseDetector",
    "ResponseGenerator",
    "STTEngine",
    "StreamingResponseGenerator",
    "StreamingSTTEngine",
    "StreamingTTSEngine",
    "SynthesisResult",
    "TTSEngine",
    "TranscriptionResult",
    "TranscriptionSegment",
    "TranscriptionWord",
    "WebSocketAdapter",
]


class ConversationState(str, Enum):
    """What a conversation is doing, as clients are told it."""

    LISTENING = "listening"
    PROCESSING = "processing"
    SPEAKING = "speaking"
    ERROR = "error"

    __str__ = str.__str__  # an f-string gives the value on every Python, not from 3.11 the name


# -- values ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TranscriptionWord:
    """One recognised word and when it was spoken."""

    text: str
    start: float
    end: float
    confidence: float | None = None  # probability in [0, 1]


@dataclass(frozen=True, slots=True)
class TranscriptionSegment:
    """A timed piece of a transcription, usually a phrase."""

    text: str
    start: float
    end: float
    confidence: float | None = None  # probability in [0, 1]


@dataclass(frozen=True, slots=True)
class TranscriptionResult:
    """What was said. A result with ``partial=True`` may be revised by a later one."""

    text: str  # "" when nothing was said: silence is an answer, not an error
    language: str  # ISO 639-1, or "" where the engine cannot tell
    segments: list[TranscriptionSegment]
    confidence: float | None = None  # probability in [0, 1]
    partial: bool = False
    words: list[TranscriptionWord] = field(default_factory=list)
    committed: str = ""  # the beginning of the text that no later result of the stream changes
    language_probability: float | None = None  # in [0, 1], where the engine detected it
    no_speech_probability: float | None = None  # in [0, 1], that there was no speech to hear

    @property
    def duration(self) -> float:
        """Seconds from the first segment's start to the last one's end."""
        return self.segments[-1].end - self.segments[0].start if self.segments else 0.0

    def shifted(self, seconds: float) -> TranscriptionResult:
        """The same, said ``seconds`` later."""
        return replace(
            self,
            segments=[
                replace(each, start=each.start + seconds, end=each.end + seconds)
                for each in self.segments
            ],
            words=[
                replace(each, start=each.start + seconds, end=each.end + seconds)
                for each in self.words
            ],
        )

    def _repr_html_(self) -> str:
        return _html.never_raising(self._as_html, self)

    def _as_html(self) -> str:
        confidence = self.confidence
        told = (
            "partial: may still change" if self.partial else "final",
            self.language or "language unknown",
            _html.duration(self.duration) if self.segments else None,
            None if confidence is None else f"confidence {confidence:.2f}",
        )
        settled = self.committed if self.partial else self.text
        return _html.transcription(self.text, settled, told, self.words or self.segments)


@dataclass(frozen=True, slots=True)
class SynthesisResult:
    """A text, spoken."""

    audio_data: AudioData
    text: str
    voice_id: str
    synthesis_time: float | None = None  # s of computing
    watermarked: bool | None = None  # whether a machine can tell that one spoke, if it is known

    def _repr_html_(self) -> str:
        return _html.never_raising(self._as_html, self)

    def _as_html(self) -> str:
        made = None
        if self.synthesis_time is not None:
            made = f"made in {_html.duration(self.synthesis_time)}"
        marked = {True: "watermarked", False: "not watermarked", None: None}[self.watermarked]
        told = _html.facts(f"voice {self.voice_id}", made, marked)
        return _html.stack(_html.paragraph(self.text), told, self.audio_data._repr_html_())


@dataclass(frozen=True, slots=True)
class Exchange:
    """One turn as the history keeps it."""

    turn: int
    user: str  # what the user said
    reply: str  # what was answered
    heard: str  # the part of the answer that was spoken: all of it, unless something failed

    def _repr_html_(self) -> str:
        build = _html.exchange
        return _html.never_raising(
            lambda: build(self.user, self.reply, self.heard, f"turn {self.turn}"), self
        )


@dataclass(slots=True)
class ConversationContext:
    """One turn, as conversation middleware sees it: filled in from top to bottom."""

    audio_input: AudioData | None = None
    transcription: TranscriptionResult | None = None
    response_text: str | None = None
    synthesis_result: SynthesisResult | None = None
    state: ConversationState = ConversationState.LISTENING
    metadata: dict[str, Any] = None  # type: ignore[assignment]  # None becomes {}
    user_data: dict[str, Any] = None  # type: ignore[assignment]  # None becomes {}
    error: Exception | None = None
    history: tuple[Exchange, ...] = ()  # the exchanges before this turn, oldest first

    def __post_init__(self) -> None:
        self.metadata = {} if self.metadata is None else self.metadata
        self.user_data = {} if self.user_data is None else self.user_data


class ConversationEvent:
    """Something that happened, by name, for an `EventBus`.

    ``timestamp`` is in seconds since the epoch, so that an event can be made anywhere:
    it needs no running event loop.
    """

    def __init__(self, event_type: str, data: dict[str, Any] | None = None) -> None:
        self.event_type = event_type
        self.data = {} if data is None else data
        self.timestamp = time()

    def __repr__(self) -> str:
        return f"ConversationEvent({self.event_type!r}, {self.data!r})"


# -- engines -----------------------------------------------------------------------------


@runtime_checkable
class STTEngine(Protocol):
    """Speech to text."""

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        """Transcribe a whole clip, of any rate, channel count and format.

        Args:
            audio: The clip; resampling is the engine's business.
            language: ISO 639-1, or None to detect it.

        Returns:
            A result that is not partial; its text is "" for a clip without speech.

        Raises:
            AudioFormatError: The clip cannot be decoded.
            EngineError: The model failed.
        """
        ...

    async def is_available(self) -> bool:
        """Whether a call now could succeed: packages and files are in place."""
        ...

    @property
    def model_loaded(self) -> bool:
        """Whether the next call starts at once, without loading first."""
        ...


@runtime_checkable
class StreamingSTTEngine(STTEngine, Protocol):
    """Speech to text that answers while the speech still goes on."""

    def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        """Transcribe chunks as they arrive, however they are cut.

        Yields partial results, each replacing the one before, and exactly one final
        result once ``audio`` ends. Times count from the first chunk. Nothing runs until
        the first result is awaited.

        Raises:
            AudioFormatError: A chunk cannot be decoded, or the rate or channel count
                changes between chunks.
            EngineError: The model failed. Results already yielded stand.
        """
        ...


@runtime_checkable
class TTSEngine(Protocol):
    """Text to speech."""

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        """Speak a whole text.

        Args:
            text: Plain text, with at least one visible character.
            voice_config: The engine's own keys, ``voice_id`` and ``speed_factor`` (1.0
                is normal, 2.0 twice as fast) among them. Keys it does not know are
                ignored, so that one configuration serves several engines.

        Raises:
            ValueError: ``text`` is blank, or a value of a known key is out of range.
            EngineError: The model failed.
        """
        ...

    async def list_voices(self) -> list[dict[str, Any]]:
        """The voices: at least ``id``, ``name`` and ``language`` of each."""
        ...

    @property
    def model_loaded(self) -> bool:
        """Whether the next call starts at once, without loading first."""
        ...


@runtime_checkable
class StreamingTTSEngine(TTSEngine, Protocol):
    """Text to speech whose first sound does not wait for the last."""

    def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        """Speak ``text`` in chunks of one rate, channel count and format.

        The chunks joined are what `synthesize` returns for the same text and voice, as far
        as the engine says the same thing twice in the same way. The
        engine runs ahead of its reader by a bounded amount only. Nothing runs until the
        first chunk is awaited.

        Raises:
            ValueError: ``text`` is blank, or a value of a known key is out of range.
            EngineError: The model failed. Chunks already yielded stand.
        """
        ...


@runtime_checkable
class Lifecycle(Protocol):
    """Loading a model, once, however many ask at the same time.

    Every call loads on demand, so using these is a choice of when to wait. An engine may
    be loaded again after `unload`.
    """

    async def load(self) -> None:
        """Load the model; return when it is loaded. Concurrent calls load it once.

        Raises:
            EngineLoadError: It cannot be loaded. A later call tries again.
        """
        ...

    async def unload(self) -> None:
        """Wait for calls in flight, then release the model. Does nothing if unloaded."""
        ...

    async def warmup(self) -> None:
        """Load, then run one small call, so that the first real one is not the slow one."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None: ...


@runtime_checkable
class ManagedSTTEngine(StreamingSTTEngine, Lifecycle, Protocol):
    """What `load_stt` returns: it transcribes, streams, loads and unloads."""


@runtime_checkable
class ManagedTTSEngine(StreamingTTSEngine, Lifecycle, Protocol):
    """What `load_tts` returns: it speaks, streams, loads and unloads."""


@runtime_checkable
class PauseDetector(Protocol):
    """Finds speech and the pauses in it. One detector listens to one stream."""

    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        """Listen to the next chunk, of any length.

        Returns:
            At least ``is_speaking`` (bool) and ``events``, a list of ``"speech_start"``
            and ``"speech_end"`` in the order in which they happened. Detectors of this
            library add ``speech_events``, the same with times on the audio clock.

        Raises:
            AudioFormatError: The chunk cannot be decoded, or the rate or channel count
                changes between chunks.
        """
        ...

    def reset(self) -> None:
        """Forget everything heard: the next chunk is the first of a new stream."""
        ...

    @property
    def is_speaking(self) -> bool:
        """Whether speech has started and not ended yet."""
        ...


@runtime_checkable
class ResponseGenerator(Protocol):
    """Decides what to answer. One responder may serve many conversations."""

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        """The whole answer to one utterance; "" for none."""
        ...

    def set_response_mode(self, mode: str) -> None:
        """Change how answers are made.

        Raises:
            ValueError: There is no such mode.
        """
        ...

    def clear_history(self) -> None:
        """Forget the utterances so far."""
        ...


@runtime_checkable
class StreamingResponseGenerator(ResponseGenerator, Protocol):
    """A responder whose answer is spoken while the rest of it is still being made."""

    def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        """The answer in pieces of any size; joined, they are the whole text.

        Closing the generator withdraws the question: nobody listens any more.
        """
        ...


# -- hosts -------------------------------------------------------------------------------


@runtime_checkable
class WebSocketAdapter(Protocol):
    """One client's connection, whatever the framework.

    `receive_audio` and `receive_command` are awaited by one task each. None means that
    nothing has come *yet* while `is_connected` is true, and that nothing will once it is
    false. What is sent to a client that has left is dropped, and is no error.
    """

    async def accept_connection(self) -> None: ...

    async def receive_audio(self) -> AudioData | None: ...

    async def receive_command(self) -> dict[str, Any] | None: ...

    async def send_json(self, data: dict[str, Any]) -> None: ...

    async def send_audio(self, audio: AudioData) -> None: ...

    async def close(self, code: int = 1000) -> None: ...

    @property
    def is_connected(self) -> bool: ...


@runtime_checkable
class ConversationMiddleware(Protocol):
    """Code around the answer to a turn, once the user has finished and been understood.

    ``audio_input`` and ``transcription`` are set when it is called; ``response_text`` and
    ``synthesis_result`` once the rest of the turn has returned. Raising ends the turn.
    """

    async def process(
        self,
        context: ConversationContext,
        next_middleware: Callable[[ConversationContext], Awaitable[ConversationContext]],
    ) -> ConversationContext:
        """Call ``next_middleware`` for the rest of the turn and return its context."""
        ...


@runtime_checkable
class ConfigurationProvider(Protocol):
    """Settings of each part, as plain dictionaries that belong to the caller."""

    def get_stt_config(self) -> dict[str, Any]: ...

    def get_tts_config(self) -> dict[str, Any]: ...

    def get_conversation_config(self) -> dict[str, Any]: ...

    def get_pause_detection_config(self) -> dict[str, Any]: ...

    def get_audio_config(self) -> dict[str, Any]: ...


@runtime_checkable
class EventHandler(Protocol):
    """Told of each event it subscribed to."""

    async def handle(self, event: ConversationEvent) -> None: ...


@runtime_checkable
class EventBus(Protocol):
    """Delivers events to those who subscribed. A handler's failure is its own."""

    async def publish(self, event: ConversationEvent) -> None: ...

    def subscribe(self, event_type: str, handler: EventHandler) -> None: ...

    def unsubscribe(self, event_type: str, handler: EventHandler) -> None: ...
