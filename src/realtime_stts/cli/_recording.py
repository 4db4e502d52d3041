"""PURE: what a call left behind, both sides on one timeline, as a value.

Every moment is in seconds since the call began. The caller's line is gapless, so that a
moment on the session's audio clock is the same moment on this timeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from ..audio import AudioData
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
from ..conversation._events import Outcome
from ..testing._line import Moment, Playout

__all__ = ["Moment", "Playout", "Recording", "Turn", "event_fields", "record"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn, as it can be heard and read."""

    number: int
    start: float  # the caller's first sound
    end: float  # and their last
    phrase: int | None = None  # which of the caller's phrases, from 0; None if not transcribed
    said: str | None = None  # its words; None where nobody knows
    heard: str = ""
    reply: str = ""
    spoken: str = ""  # what was heard of it
    replies: tuple[tuple[float, float], ...] = ()  # when the bot was heard; a hold divides it
    outcome: Outcome = "answered"
    metrics: TurnMetrics | None = None
    error: str | None = None

    @property
    def reply_start(self) -> float | None:
        """The bot's first sound."""
        return self.replies[0][0] if self.replies else None

    @property
    def reply_end(self) -> float | None:
        """And its last."""
        return self.replies[-1][1] if self.replies else None

    @property
    def latency(self) -> float | None:
        """From the caller's last sound to the bot's first; None if there was none."""
        if self.reply_start is None:
            return None
        measured = self.metrics.time_to_first_audio if self.metrics else None
        return self.reply_start - self.end if measured is None else measured


@dataclass(frozen=True, slots=True)
class Recording:
    """One call."""

    caller: AudioData
    bot: AudioData
    speech: tuple[tuple[float, float], ...]  # where the detector heard the caller speak
    turns: tuple[Turn, ...]
    moments: tuple[Moment, ...] = ()

    @property
    def duration(self) -> float:
        return self.caller.duration_seconds

    @property
    def median_latency(self) -> float | None:
        """Of the turns that were answered; None if none was."""
        latencies = [turn.latency for turn in self.turns if turn.latency is not None]
        return median(latencies) if latencies else None

    def stereo(self) -> AudioData:
        """The caller on the left, the bot on the right, at the better of their rates."""
        rate = max(self.caller.sample_rate, self.bot.sample_rate)
        sides = [side.resampled(rate).samples[:, 0] for side in (self.caller, self.bot)]
        n_frames = min(map(len, sides))  # their rounding may differ by a frame
        return AudioData.from_samples(np.stack([s[:n_frames] for s in sides], axis=1), rate)


def record(
    caller: AudioData,
    playout: Playout,
    moments: Sequence[Moment],
    texts: Sequence[str | None],
    phrases: Mapping[int, int],
) -> Recording:
    """A call from what was sent, played and told.

    Args:
        caller: The whole line, as it was sent.
        playout: What the bot was heard to say.
        moments: What the session told, in order.
        texts: The words of each of the caller's phrases; None where nobody knows.
        phrases: Which phrase each turn was about.
    """
    events = [moment.event for moment in moments]
    heard = {event.turn: event.text for event in events if isinstance(event, FinalTranscript)}
    turns = []
    for event in events:
        if not isinstance(event, TurnEnded | TurnFailed):
            continue
        phrase = phrases.get(event.turn)
        turn = Turn(
            event.turn,
            *event.speech,
            phrase=phrase,
            said=None if phrase is None else texts[phrase],
            heard=heard.get(event.turn, ""),
            replies=tuple(playout.spans.get(event.turn, ())),
        )
        match event:
            case TurnEnded(reply=reply, metrics=metrics, heard=spoken, outcome=outcome):
                turn = replace(turn, reply=reply, spoken=spoken, outcome=outcome, metrics=metrics)
            case TurnFailed(error=error):
                turn = replace(turn, error=str(error))
        turns.append(turn)
    return Recording(
        caller,
        playout.mixed(caller.duration_seconds),
        tuple(_speech(events, caller.duration_seconds)),
        tuple(sorted(turns, key=lambda turn: turn.number)),
        tuple(moments),
    )


def _speech(events: Iterable[Event], duration: float) -> Iterable[tuple[float, float]]:
    start: float | None = None
    for event in events:
        match event:
            case SpeechStarted(at):
                start = at
            case SpeechStopped(at) if start is not None:
                yield start, at
                start = None
    if start is not None:
        yield start, duration


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
