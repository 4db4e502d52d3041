"""Real-time speech for Python: typed engines, middleware and conversations.

    from realtime_stts import AudioData, ConversationEngine
    from realtime_stts.engines import load_stt, load_tts
    from realtime_stts.middleware import Chain, TimingMiddleware

Importing this loads no model and no engine's package, and each part only once one of its
names is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._request import request_scope
    from .audio import AudioData, StreamResampler
    from .conversation import (
        AdaptiveEndOfTurn,
        CallableResponseGenerator,
        ConversationEngine,
        EchoResponseGenerator,
        EndOfTurnDetector,
        Event,
        FinalTranscript,
        Interrupted,
        PartialTranscript,
        ReplyAudio,
        ReplyPaused,
        ReplyResumed,
        ReplyText,
        SentenceSpoken,
        Session,
        SessionEnded,
        SessionLimits,
        SessionStatistics,
        SpeechStarted,
        SpeechStopped,
        StateChanged,
        TemplateResponseGenerator,
        TurnEnded,
        TurnFailed,
        TurnMetrics,
        TurnPolicy,
        Uninterruptible,
        UserIdle,
    )
    from .errors import (
        AudioContainerError,
        AudioDeviceError,
        AudioError,
        AudioFormatError,
        AudioLimitError,
        AuditError,
        AuthenticationError,
        CircuitOpenError,
        EngineCrashedError,
        EngineError,
        EngineLoadError,
        EngineMemoryError,
        EngineRefusedError,
        EngineTimeoutError,
        EngineUnavailableError,
        ImplausibleSpeechError,
        MissingExtraError,
        OverloadedError,
        PermissionDeniedError,
        RateLimitError,
        RealtimeSTTSError,
        SessionClosedError,
        SettingsError,
        TurnError,
        UnknownEngineError,
        UnknownVoiceError,
        VoiceError,
    )
    from .protocols import (
        ConfigurationProvider,
        ConversationContext,
        ConversationEvent,
        ConversationMiddleware,
        ConversationState,
        EventBus,
        EventHandler,
        Exchange,
        Lifecycle,
        ManagedSTTEngine,
        ManagedTTSEngine,
        PauseDetector,
        ResponseGenerator,
        StreamingResponseGenerator,
        StreamingSTTEngine,
        StreamingTTSEngine,
        STTEngine,
        SynthesisResult,
        TranscriptionResult,
        TranscriptionSegment,
        TranscriptionWord,
        TTSEngine,
        WebSocketAdapter,
    )

__all__ = [
    "AdaptiveEndOfTurn",
    "AudioContainerError",
    "AudioData",
    "AudioDeviceError",
    "AudioError",
    "AudioFormatError",
    "AudioLimitError",
    "AuditError",
    "AuthenticationError",
    "CallableResponseGenerator",
    "CircuitOpenError",
    "ConfigurationProvider",
    "ConversationContext",
    "ConversationEngine",
    "ConversationEvent",
    "ConversationMiddleware",
    "ConversationState",
    "EchoResponseGenerator",
    "EndOfTurnDetector",
    "EngineCrashedError",
    "EngineError",
    "EngineLoadError",
    "EngineMemoryError",
    "EngineRefusedError",
    "EngineTimeoutError",
    "EngineUnavailableError",
    "Event",
    "EventBus",
    "EventHandler",
    "Exchange",
    "FinalTranscript",
    "ImplausibleSpeechError",
    "Interrupted",
    "Lifecycle",
    "ManagedSTTEngine",
    "ManagedTTSEngine",
    "MissingExtraError",
    "OverloadedError",
    "PartialTranscript",
    "PauseDetector",
    "PermissionDeniedError",
    "RateLimitError",
    "RealtimeSTTSError",
    "ReplyAudio",
    "ReplyPaused",
    "ReplyResumed",
    "ReplyText",
    "ResponseGenerator",
    "STTEngine",
    "SentenceSpoken",
    "Session",
    "SessionClosedError",
    "SessionEnded",
    "SessionLimits",
    "SessionStatistics",
    "SettingsError",
    "SpeechStarted",
    "SpeechStopped",
    "StateChanged",
    "StreamResampler",
    "StreamingResponseGenerator",
    "StreamingSTTEngine",
    "StreamingTTSEngine",
    "SynthesisResult",
    "TTSEngine",
    "TemplateResponseGenerator",
    "TranscriptionResult",
    "TranscriptionSegment",
    "TranscriptionWord",
    "TurnEnded",
    "TurnError",
    "TurnFailed",
    "TurnMetrics",
    "TurnPolicy",
    "Uninterruptible",
    "UnknownEngineError",
    "UnknownVoiceError",
    "UserIdle",
    "VoiceError",
    "WebSocketAdapter",
    "request_scope",
]

_PARTS = ("errors", "_request", "audio", "protocols", "conversation")  # the lightest first


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("realtime-stts")
    if name in __all__:
        for part in _PARTS:
            module = import_module(f".{part}", __name__)
            if name in module.__all__:
                value = globals()[name] = getattr(module, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
