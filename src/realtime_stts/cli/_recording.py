"""PURE: what a call left behind, both sides on one timeline, as a value.

Every moment is in seconds since the call began. The caller's line is gapless, so that a
moment on the session's audio clock is the same moment on this timeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    TurnPolicy,
    UserIdle,
)
from ..conversation._events import InputEnded, ListenTo, Outcome, UserTurnEnded
from ..conversation._turns import TurnState, step

__all__ = ["Moment", "Playout", "Recording", "Turn", "event_fields", "record"]

_ROUNDING = 1e-6  # s; far under a sample


@dataclass(frozen=True, slots=True)
class Moment:
    """An event, and when it reached the host."""

    t: float
    event: Event


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


@dataclass(slots=True)
class Playout:
    """The bot's loudspeaker: each sound is played when it comes or the last one has ended."""

    end: float = 0.0  # of the last sound
    spans: dict[int, list[tuple[float, float]]] = field(default_factory=dict)  # of each reply
    _sounds: list[tuple[float, AudioData]] = field(default_factory=list)

    def tell(self, moment: Moment) -> None:
        """Play what comes, and drop what is not to be heard any more."""
        match moment.event:
            case ReplyAudio(turn, audio):
                self._play(moment.t, turn, audio.mono().converted())
            case ReplyPaused(turn) | Interrupted(turn):
                self._drop(moment.t, turn)

    def _play(self, t: float, turn: int, audio: AudioData) -> None:
        start = max(self.end, t)
        spans = self.spans.setdefault(turn, [])
        if start > self.end or not spans:
            spans.append((start, start))
        self.end = start + audio.duration_seconds
        spans[-1] = (spans[-1][0], self.end)
        self._sounds.append((start, audio))

    def _drop(self, t: float, turn: int) -> None:
        while self._sounds and self.end > t:
            start, audio = self._sounds.pop()
            if start < t:
                self._sounds.append((start, audio.sliced(0.0, t - start)))
                break
            self.end = start
        self.end = min(self.end, t)
        spans = [(start, min(end, t)) for start, end in self.spans.get(turn, []) if start < t]
        self.spans[turn] = spans

    def mixed(self, duration: float) -> AudioData:
        """The loudspeaker's whole channel, silence included, at the first reply's rate."""
        rate = self._sounds[0][1].sample_rate if self._sounds else 16_000
        channel = np.zeros(round(duration * rate), np.float32)
        for start, chunks in self._runs():
            sound = AudioData.concat(chunks).resampled(rate).samples[:, 0]
            room = channel[round(start * rate) :]
            room[: len(sound)] = sound[: len(room)]
        return AudioData.from_samples(channel, rate)

    def _runs(self) -> list[tuple[float, list[AudioData]]]:
        """What was played without a break is one piece, and resampled as one: no seams."""
        runs: list[tuple[float, list[AudioData]]] = []
        end = 0.0
        for start, audio in self._sounds:
            if not runs or start > end + _ROUNDING:
                runs.append((start, []))
            runs[-1][1].append(audio)
            end = start + audio.duration_seconds
        return runs


def record(
    caller: AudioData,
    playout: Playout,
    moments: Sequence[Moment],
    texts: Sequence[str | None],
    phrases: Mapping[int, int],
    policy: TurnPolicy,
) -> Recording:
    """A call from what was sent, played and told.

    Args:
        caller: The whole line, as it was sent.
        playout: What the bot was heard to say.
        moments: What the session told, in order.
        texts: The words of each of the caller's phrases; None where nobody knows.
        phrases: Which phrase each turn was about.
        policy: What divided the turns.
    """
    duration = caller.duration_seconds
    events = [moment.event for moment in moments]
    turns = {
        number: Turn(number, start, end) for number, start, end in _spoken(events, duration, policy)
    }
    for number, phrase in phrases.items():
        turns[number] = replace(turns[number], phrase=phrase, said=texts[phrase])
    for number, spans in playout.spans.items():
        turns[number] = replace(turns[number], replies=tuple(spans))
    for event in events:
        match event:
            case FinalTranscript(number, text):
                turns[number] = replace(turns[number], heard=text)
            case TurnEnded(number, _, reply, metrics, spoken, outcome):
                turns[number] = replace(
                    turns[number], reply=reply, metrics=metrics, spoken=spoken, outcome=outcome
                )
            case TurnFailed(number, error):
                turns[number] = replace(turns[number], error=str(error))
    return Recording(
        caller,
        playout.mixed(duration),
        tuple(_speech(events, duration)),
        tuple(turns.values()),
        tuple(moments),
    )


def _spoken(
    events: Iterable[Event], duration: float, policy: TurnPolicy
) -> Iterable[tuple[int, float, float]]:
    """Each turn's number and span, decided once more by the machine that decided it live."""
    # The answers' order is not asked for here: let all of them wait.
    policy = replace(policy, pre_roll=0.0, max_waiting=len([*events]) + 1, idle_after=None)
    signals = [event for event in events if isinstance(event, SpeechStarted | SpeechStopped)]
    state, starts = TurnState(), dict[int, float]()
    for signal in (*signals, InputEnded(duration)):
        state, actions = step(state, signal, policy)
        for action in actions:
            match action:
                case ListenTo(number, start):
                    starts[number] = start
                case UserTurnEnded(number, end):
                    yield number, starts[number], end


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
        case TurnEnded(turn, transcript, reply, metrics, spoken, outcome):
            return {
                "turn": turn,
                "transcript": transcript,
                "reply": reply,
                "heard": spoken,
                "outcome": outcome,
                "metrics": {name: getattr(metrics, name) for name in TurnMetrics.__slots__},
            }
        case TurnFailed(turn, error, request_id):
            return {"turn": turn, "error": str(error), "request_id": request_id}
