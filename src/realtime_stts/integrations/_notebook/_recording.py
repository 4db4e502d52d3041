"""PURE: what a call left behind, both sides on one timeline, as a value.

Every moment is in seconds since the call began. The caller's line is gapless, so that a
moment on the session's audio clock is the same moment on this timeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from ...audio import AudioData
from ...conversation import (
    Event,
    FinalTranscript,
    Interrupted,
    PartialTranscript,
    ReplyPaused,
    ReplyResumed,
    SpeechStarted,
    SpeechStopped,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
)
from ...conversation._events import Outcome
from ...testing import Call
from ...testing._line import Moment, Playout

__all__ = ["Moment", "Playout", "Recording", "Turn", "of_call", "of_events", "record"]


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
            case TurnEnded(_, transcript, reply, metrics, spoken, outcome):
                turn = replace(
                    turn,
                    heard=turn.heard or transcript,
                    reply=reply,
                    spoken=spoken,
                    outcome=outcome,
                    metrics=metrics,
                )
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


def of_call(call: Call) -> Recording:
    """A call of the testing package."""
    moments = [Moment(t, event) for t, event in call.events]
    return record(call.caller, call._bot, moments, [], {})


def of_events(
    events: Iterable[Event | tuple[float, Event]], caller: AudioData | None = None
) -> Recording:
    """A call from what a session told its host, and the caller's sound if it was kept.

    Args:
        events: Each with the seconds since the call began, or all without. Without them
            nobody knows when the bot was heard: it is taken to have begun each answer when
            its turn's metrics say so, and to have played it without a break.
        caller: The line from the call's beginning.

    Raises:
        ValueError: Nothing happened: there is nothing to draw.
        TypeError: Some have a time and some do not.
    """
    told = [*events]
    timed = [each for each in told if isinstance(each, tuple)]
    if timed and len(timed) < len(told):
        raise TypeError("either all events come with their time, or none does")
    if timed:
        moments = [Moment(t, event) for t, event in timed]
        playout = Playout()
        for moment in moments:
            playout.tell(moment)
    else:
        bare = [event for event in told if not isinstance(event, tuple)]
        playout = Playout(spans={e.turn: _reply(e, bare) for e in bare if isinstance(e, TurnEnded)})
        # Nobody knows when partial transcripts came: they have no time of their own.
        moments = [
            Moment(getattr(event, "at", 0.0), event)
            for event in bare
            if not isinstance(event, PartialTranscript)
        ]
    duration = _end(moments, playout, caller)
    if not duration:
        raise ValueError("there is nothing to draw: no turn, no speech and no sound")
    recording = record(_line(caller, duration), playout, moments, [], {})
    if recording.speech:
        return recording
    return replace(recording, speech=tuple((turn.start, turn.end) for turn in recording.turns))


def _end(moments: Iterable[Moment], playout: Playout, caller: AudioData | None) -> float:
    ends = [0.0 if caller is None else caller.duration_seconds, playout.end]
    ends += [end for spans in playout.spans.values() for _, end in spans]
    for moment in moments:
        ends.append(moment.t)
        if isinstance(moment.event, TurnEnded | TurnFailed):
            ends.append(moment.event.speech[1])
    return max(ends)


def _line(caller: AudioData | None, duration: float) -> AudioData:
    if caller is None:
        return AudioData.silence(duration, 16_000)
    voice = caller.mono().converted()
    silence = AudioData.silence(duration - voice.duration_seconds, voice.sample_rate)
    return AudioData.concat([voice, replace(silence, format=voice.format)])


def _reply(ended: TurnEnded, events: Iterable[Event]) -> list[tuple[float, float]]:
    """When that answer was heard, as far as its metrics and pauses tell."""
    metrics = ended.metrics
    if metrics.time_to_first_audio is None or not metrics.playout:
        return []
    since, before = ended.speech[1] + metrics.time_to_first_audio, 0.0
    spans = []
    for event in events:
        match event:
            case ReplyPaused(turn, at, played) if turn == ended.turn:
                spans.append((since, at))
                before = played
            case ReplyResumed(turn, at) if turn == ended.turn:
                since = at
    held = any(isinstance(e, Interrupted) and e.turn == ended.turn for e in events)
    if not (held and spans):
        spans.append((since, since + metrics.playout - before))
    return [(start, end) for start, end in spans if start < end]
