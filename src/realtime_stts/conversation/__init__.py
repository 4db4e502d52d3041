"""Conversations: turn-taking, transcription, answers and speech, without any transport."""

from ._events import (
    Event,
    FinalTranscript,
    PartialTranscript,
    ReplyAudio,
    ReplyText,
    SentenceSpoken,
    SpeechStarted,
    SpeechStopped,
    StateChanged,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
)
from ._session import Session
from ._turns import TurnPolicy
from .engine import ConversationEngine
from .responders import (
    CallableResponseGenerator,
    EchoResponseGenerator,
    TemplateResponseGenerator,
)

__all__ = [
    "CallableResponseGenerator",
    "ConversationEngine",
    "EchoResponseGenerator",
    "Event",
    "FinalTranscript",
    "PartialTranscript",
    "ReplyAudio",
    "ReplyText",
    "SentenceSpoken",
    "Session",
    "SpeechStarted",
    "SpeechStopped",
    "StateChanged",
    "TemplateResponseGenerator",
    "TurnEnded",
    "TurnFailed",
    "TurnMetrics",
    "TurnPolicy",
]
