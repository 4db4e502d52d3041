"""Conversations: turn-taking, transcription, answers and speech, without any transport."""

from ._end_of_turn import AdaptiveEndOfTurn, EndOfTurnDetector
from ._events import (
    Event,
    FinalTranscript,
    Interrupted,
    PartialTranscript,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    ReplyText,
    SentenceSpoken,
    SessionEnded,
    SpeechStarted,
    SpeechStopped,
    StateChanged,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
    UserIdle,
)
from ._limits import SessionLimits
from ._session import Session, SessionStatistics
from ._turns import TurnPolicy
from .engine import ConversationEngine
from .responders import (
    CallableResponseGenerator,
    EchoResponseGenerator,
    TemplateResponseGenerator,
    Uninterruptible,
)

__all__ = [
    "AdaptiveEndOfTurn",
    "CallableResponseGenerator",
    "ConversationEngine",
    "EchoResponseGenerator",
    "EndOfTurnDetector",
    "Event",
    "FinalTranscript",
    "Interrupted",
    "PartialTranscript",
    "ReplyAudio",
    "ReplyPaused",
    "ReplyResumed",
    "ReplyText",
    "SentenceSpoken",
    "Session",
    "SessionEnded",
    "SessionLimits",
    "SessionStatistics",
    "SpeechStarted",
    "SpeechStopped",
    "StateChanged",
    "TemplateResponseGenerator",
    "TurnEnded",
    "TurnFailed",
    "TurnMetrics",
    "TurnPolicy",
    "Uninterruptible",
    "UserIdle",
]
