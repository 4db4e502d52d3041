"""PURE: the vocabulary of a conversation.

Three kinds of frozen values. *Events* are facts a host is told, in one ordered stream.
*Signals* are what the turn machine is told, and *actions* what it answers; hosts never
meet those two. Everything that belongs to a turn carries its number, counted from 1, so
that nothing late can be taken for a part of another turn. ``at`` and other moments are
seconds of input audio since the session began; durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .._endpoint import SpeechStarted, SpeechStopped
from ..audio import AudioData
from ..protocols import ConversationState, TranscriptionResult

__all__ = [
    "Action",
    "Drop",
    "Event",
    "FinalTranscript",
    "InputEnded",
    "ListenTo",
    "PartialTranscript",
    "Reply",
    "ReplyAudio",
    "ReplyFinished",
    "ReplyText",
    "SentenceSpoken",
    "Signal",
    "SpeechStarted",
    "SpeechStopped",
    "StateChanged",
    "Tick",
    "TurnEnded",
    "TurnFailed",
    "TurnMetrics",
    "UserTurnEnded",
]


# -- events: what the host is told ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The conversation now listens, works on an answer, speaks, or has met an error."""

    state: ConversationState


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """What the user seems to be saying; the next one replaces it."""

    turn: int
    text: str
    result: TranscriptionResult = field(repr=False)


@dataclass(frozen=True, slots=True)
class FinalTranscript:
    """What the user said; "" when there were no words in it."""

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
    """The next sound of the answer. A reply's chunks share one rate and format."""

    turn: int
    audio: AudioData


@dataclass(frozen=True, slots=True)
class SentenceSpoken:
    """All sound of this sentence has been handed over."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class TurnMetrics:
    """Where the time of one turn went, in seconds; None for what did not happen.

    ``time_to_first_audio`` is what a person feels: from their last sound to the first
    sound of the answer. It is the sum of the four that stand before it.
    """

    end_of_turn_delay: float  # from the user's last sound until the turn was taken to be over
    transcription_delay: float | None = None  # from then until the final transcript
    time_to_first_text: float | None = None  # from then until the first sentence of the answer
    tts_time_to_first_byte: float | None = None  # from then until its first sound
    time_to_first_audio: float | None = None
    audio_duration: float = 0.0  # of the answer


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The turn is over: answered, or with nothing to answer (then ``reply`` is "")."""

    turn: int
    transcript: str
    reply: str
    metrics: TurnMetrics


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The turn is over because something failed. The session goes on.

    ``request_id`` stands in the log lines of the calls that the turn made.
    """

    turn: int
    error: Exception
    request_id: str


Event = (
    SpeechStarted
    | SpeechStopped
    | StateChanged
    | PartialTranscript
    | FinalTranscript
    | ReplyText
    | ReplyAudio
    | SentenceSpoken
    | TurnEnded
    | TurnFailed
)


# -- signals: what the turn machine is told ------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Audio up to ``at`` has been heard."""

    at: float


@dataclass(frozen=True, slots=True)
class ReplyFinished:
    """That turn needs no more: answered, failed, or nothing to answer."""

    turn: int
    at: float


@dataclass(frozen=True, slots=True)
class InputEnded:
    """No more audio will come."""

    at: float


Signal = SpeechStarted | SpeechStopped | Tick | ReplyFinished | InputEnded


# -- actions: what the turn machine answers ------------------------------------------


@dataclass(frozen=True, slots=True)
class ListenTo:
    """A turn of the user has begun: transcribe what is heard from ``start`` on."""

    turn: int
    start: float


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
class Drop:
    """Give up that turn: too many wait for an answer."""

    turn: int


Action = ListenTo | UserTurnEnded | Reply | Drop
