"""PURE: what a call left behind, and its events as JSON can hold them."""

from __future__ import annotations

from typing import Any

from ..conversation import (
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
from ..integrations._notebook._recording import Moment, Playout, Recording, Turn, record

__all__ = ["Moment", "Playout", "Recording", "Turn", "event_fields", "record"]


def event_fields(event: Event) -> dict[str, Any]:
    """An event as JSON can hold it: a sound becomes its length."""
    match event:
        case SpeechStarted(at, decided) | SpeechStopped(at, decided):
            return {"at": at, "decided": decided}
        case StateChanged(state):
            return {"state": state.value}
        case PartialTranscript(turn, text) | ReplyText(turn, text) | SentenceSpoken(turn, text):
            return {"turn": turn, "text": text}
        case FinalTranscript(turn, text, result):
            return {
                "turn": turn,
                "text": text,
                "language": result.language,
                "confidence": result.confidence,
            }
        case ReplyAudio(turn, audio):
            return {"turn": turn, "duration": audio.duration_seconds}
        case ReplyPaused(turn, at, played) | ReplyResumed(turn, at, played):
            return {"turn": turn, "at": at, "played": played}
        case Interrupted(turn, at, heard):
            return {"turn": turn, "at": at, "heard": heard}
        case UserIdle(since, at):
            return {"since": since, "at": at}
        case SessionEnded(reason):
            return {"reason": reason}
        case TurnEnded(turn, transcript, reply, metrics, spoken, outcome, speech):
            return {
                "turn": turn,
                "speech": speech,
                "transcript": transcript,
                "reply": reply,
                "heard": spoken,
                "outcome": outcome,
                "metrics": {name: getattr(metrics, name) for name in TurnMetrics.__slots__},
            }
        case TurnFailed(turn, error, request_id, speech):
            return {"turn": turn, "speech": speech, "error": str(error), "request_id": request_id}
