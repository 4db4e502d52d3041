"""PURE: the vocabulary of a conversation.

Three kinds of frozen values. *Events* are facts a host is told, in one ordered stream.
*Signals* are what the turn machine is told, and *actions* what it answers; hosts never
meet those two. Everything that belongs to a turn carries its number, counted from 1, so
that nothing late can be taken for a part of another turn. ``at`` and other moments are
seconds of input audio since the session began; durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from .. import _html
from .._endpoint import SpeechStarted, SpeechStopped
from ..audio import AudioData
from ..protocols import ConversationState, TranscriptionResult

__all__ = [
    "PARTS_OF_LATENCY",
    "Action",
    "Discard",
    "Drop",
    "EndOfTurnJudged",
    "Event",
    "FinalTranscript",
    "HoldReply",
    "InputEnded",
    "Interrupted",
    "JudgePause",
    "ListenTo",
    "PartialTranscript",
    "Recall",
    "Reply",
    "ReplyAudio",
    "ReplyFinished",
    "ReplyPart",
    "ReplyPaused",
    "ReplyResumed",
    "ReplyText",
    "ResumeReply",
    "SentenceSpoken",
    "SessionEnded",
    "Signal",
    "Speculate",
    "SpeechStarted",
    "SpeechStopped",
    "StateChanged",
    "StopReply",
    "StopRequested",
    "TellIdle",
    "Tick",
    "TurnCommitted",
    "TurnEnded",
    "TurnFailed",
    "TurnMetrics",
    "TurnOpened",
    "Understood",
    "UserIdle",
    "UserTurnEnded",
    "Voiced",
]

Outcome = Literal["answered", "interrupted", "silent", "backchannel", "echo", "short"]
EndReason = Literal["input ended", "closed", "duration limit", "no audio came"]


# The parts of `TurnMetrics.time_to_first_audio`, in order, and what a reader calls them.
PARTS_OF_LATENCY: Final = {
    "end_of_turn_delay": "end of turn",
    "transcription_delay": "transcription",
    "time_to_first_text": "answer",
    "tts_time_to_first_byte": "voice",
    "handover_delay": "handover",
}


# -- events: what the host is told ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The conversation now listens, works on an answer, speaks, or has met an error."""

    state: ConversationState


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """What the user seems to be saying; the next one replaces it.

    Of ``result``, the ``committed`` text stays. Its times are the session's.
    """

    turn: int
    text: str
    result: TranscriptionResult = field(repr=False)


@dataclass(frozen=True, slots=True)
class FinalTranscript:
    """What the user said; "" when there were no words in it. Times are the session's."""

    turn: int
    text: str
    result: TranscriptionResult = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReplyText:
    """The next sentence of the answer, about to be spoken."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class ReplyAudio:
    """The next sound of the answer, to be played after the one before.

    A reply's sounds share one rate and layout, in 16-bit PCM.
    """

    turn: int
    audio: AudioData


@dataclass(frozen=True, slots=True)
class SentenceSpoken:
    """All sound of this sentence has been handed over."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class ReplyPaused:
    """The user speaks over the answer: stop playing, and drop what has not been played.

    It comes again if the answer is resumed. ``played`` seconds of it have been heard.
    """

    turn: int
    at: float
    played: float


@dataclass(frozen=True, slots=True)
class ReplyResumed:
    """They said nothing that counts: the answer goes on where it stopped."""

    turn: int
    at: float
    played: float


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The user has taken the floor: stop playing, and drop what has not been played.

    No more sound of this answer comes. ``heard`` is the part of it that was played.
    """

    turn: int
    at: float
    heard: str


@dataclass(frozen=True, slots=True)
class UserIdle:
    """Nobody has spoken since ``since``; told once, until somebody does."""

    since: float
    at: float


@dataclass(frozen=True, slots=True)
class TurnMetrics:
    """Where the time of one turn went, in seconds; None for what did not happen.

    ``time_to_first_audio`` is what a person feels: from their last sound until the host
    took the first sound of the answer. It is the sum of ``end_of_turn_delay``,
    ``transcription_delay``, ``time_to_first_text``, ``tts_time_to_first_byte`` and
    ``handover_delay``. What a speculative start did before the turn was over counts as no
    time.
    """

    end_of_turn_delay: float  # from the user's last sound until the turn was taken to be over
    transcription_delay: float | None = None  # from then until the final transcript
    time_to_first_text: float | None = None  # from then until the first sentence of the answer
    tts_time_to_first_byte: float | None = None  # from then until its first sound was made
    handover_delay: float | None = None  # from then until the host took it
    time_to_first_audio: float | None = None
    time_to_first_token: float | None = None  # from the transcript to the responder's first piece
    audio_duration: float = 0.0  # of the answer, as far as it was made
    playout: float = 0.0  # of it, what was played
    interruptions: int = 0  # how often the user spoke over it, false ones included

    def _repr_html_(self) -> str:
        return _html.never_raising(self._as_html, self)

    def _as_html(self) -> str:
        parts = [(what, getattr(self, name)) for name, what in PARTS_OF_LATENCY.items()]
        bar = _html.share_of_time(parts, self.time_to_first_audio)
        made = _html.duration(self.audio_duration)
        played = f"{_html.duration(self.playout)} of {made} of answer played"
        times = self.interruptions
        spoken_over = f"spoken over {times} time{'' if times == 1 else 's'}" if times else None
        return _html.stack(bar, _html.facts(played if self.audio_duration else None, spoken_over))


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The turn is over.

    ``outcome`` is ``answered``; ``interrupted``, the answer cut off; or why there was none:
    ``silent`` (no words), ``backchannel`` ("mm-hm", while the bot spoke), ``echo`` (the bot
    heard itself) or ``short`` (less speech than a turn needs).
    """

    turn: int
    transcript: str
    reply: str  # as far as it was written
    metrics: TurnMetrics
    heard: str = ""  # the part of it that was played
    outcome: Outcome = "answered"
    speech: tuple[float, float] = (0.0, 0.0)  # when the user spoke, on the audio clock

    def _repr_html_(self) -> str:
        return _html.never_raising(self._as_html, self)

    def _as_html(self) -> str:
        start, end = self.speech
        told = (f"turn {self.turn}", self.outcome, f"spoke from {start:.2f} to {end:.2f} s")
        words = _html.exchange(self.transcript, self.reply, self.heard, *told)
        return _html.stack(words, self.metrics._repr_html_())


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The turn is over because something failed. The session goes on.

    ``request_id`` stands in the log lines of the calls that the turn made.
    """

    turn: int
    error: Exception
    request_id: str
    speech: tuple[float, float] = (0.0, 0.0)  # when the user spoke, on the audio clock

    def _repr_html_(self) -> str:
        return _html.never_raising(self._as_html, self)

    def _as_html(self) -> str:
        why = _html.paragraph(f"{type(self.error).__name__}: {self.error}", "failed")
        start, end = self.speech
        spoken = f"spoke from {start:.2f} to {end:.2f} s"
        told = _html.facts(f"turn {self.turn}", spoken, f"request {self.request_id}")
        return _html.stack(why, told)


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The last event, and why no more come."""

    reason: EndReason


Event = (
    SpeechStarted
    | SpeechStopped
    | StateChanged
    | PartialTranscript
    | FinalTranscript
    | ReplyText
    | ReplyAudio
    | SentenceSpoken
    | ReplyPaused
    | ReplyResumed
    | Interrupted
    | UserIdle
    | TurnEnded
    | TurnFailed
    | SessionEnded
)


# -- signals: what the turn machine is told ------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Audio up to ``at`` has been heard."""

    at: float


@dataclass(frozen=True, slots=True)
class Voiced:
    """The last ``seconds`` before ``at`` were speech."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TurnOpened:
    """The user holds the key to talk: their turn lasts until it is committed."""

    at: float


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """The user says that their turn is over."""

    at: float


@dataclass(frozen=True, slots=True)
class EndOfTurnJudged:
    """The pause in that turn ends it once it has lasted ``silence``."""

    turn: int
    silence: float
    at: float


@dataclass(frozen=True, slots=True)
class Understood:
    """That turn's transcript so far has ``n_words`` that count; ``final``: no more come.

    ``echo`` if it is what the bot itself was saying.
    """

    turn: int
    n_words: int
    final: bool
    at: float
    echo: bool = False


@dataclass(frozen=True, slots=True)
class ReplyPart:
    """From now on the answer may be interrupted, or may not."""

    turn: int
    interruptible: bool
    at: float


@dataclass(frozen=True, slots=True)
class ReplyFinished:
    """That turn needs no answer any more: it was given or cut off, failed, or was not needed."""

    turn: int
    at: float


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The host wants the answer under way to stop."""

    at: float


@dataclass(frozen=True, slots=True)
class InputEnded:
    """No more audio will come."""

    at: float


Signal = (
    SpeechStarted
    | SpeechStopped
    | Tick
    | Voiced
    | TurnOpened
    | TurnCommitted
    | EndOfTurnJudged
    | Understood
    | ReplyPart
    | ReplyFinished
    | StopRequested
    | InputEnded
)


# -- actions: what the turn machine answers ------------------------------------------


@dataclass(frozen=True, slots=True)
class ListenTo:
    """A turn of the user has begun: transcribe what is heard from ``start`` on."""

    turn: int
    start: float


@dataclass(frozen=True, slots=True)
class JudgePause:
    """The user has paused in that turn: say how long the pause may last."""

    turn: int


@dataclass(frozen=True, slots=True)
class Speculate:
    """That turn may be over: begin to answer it, and let nobody hear it yet."""

    turn: int


@dataclass(frozen=True, slots=True)
class Recall:
    """That turn goes on: throw away what was begun."""

    turn: int


@dataclass(frozen=True, slots=True)
class UserTurnEnded:
    """The user's part is over: the sound up to ``audio_end`` belongs to it.

    They were silent from ``end`` on, which ended the turn at ``decided``.
    """

    turn: int
    end: float
    audio_end: float
    decided: float


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer that turn now: no other answer is under way."""

    turn: int


@dataclass(frozen=True, slots=True)
class HoldReply:
    """Let no more of that answer be heard, for now."""

    turn: int
    at: float


@dataclass(frozen=True, slots=True)
class ResumeReply:
    """Let the rest of it be heard."""

    turn: int
    at: float


@dataclass(frozen=True, slots=True)
class StopReply:
    """Give up that answer: the user has the floor."""

    turn: int
    at: float


@dataclass(frozen=True, slots=True)
class Discard:
    """There was too little speech in that turn to answer."""

    turn: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Give up that turn: too many wait for an answer."""

    turn: int


@dataclass(frozen=True, slots=True)
class TellIdle:
    """Nobody has spoken since ``since``."""

    since: float
    at: float


Action = (
    ListenTo
    | JudgePause
    | Speculate
    | Recall
    | UserTurnEnded
    | Reply
    | HoldReply
    | ResumeReply
    | StopReply
    | Discard
    | Drop
    | TellIdle
)
