"""What a program is told of the work that was done: the source of metrics, traces and analytics.

Each piece of work that ends is one frozen value, given to every `Instrumentation`. New facts
become new fields. Each field says how private it is, because a voice, a person and what was
said are nobody's business but theirs; what was said is in none of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Final, Literal, Protocol

__all__ = [
    "TURN_STAGES",
    "CallDetails",
    "Details",
    "Instrumentation",
    "LoadDetails",
    "Outcome",
    "Sensitivity",
    "SessionDetails",
    "TurnDetails",
    "operational",
    "sensitivity",
]

# "cancelled": the caller withdrew the call, by cancelling it or by closing its stream.
Outcome = Literal["completed", "error", "cancelled"]


class Sensitivity(Enum):
    """Who may read a fact."""

    OPERATIONAL = "operational"  # whoever runs the system: it is about no person
    IDENTIFIER = "identifier"  # who may look up a single request: logs and traces, no metric
    PERSONAL = "personal"  # nobody, unless they were told to: it is about a person


_KEY: Final = "sensitivity"
_OPERATIONAL: Final = {_KEY: Sensitivity.OPERATIONAL}
_IDENTIFIER: Final = {_KEY: Sensitivity.IDENTIFIER}
_PERSONAL: Final = {_KEY: Sensitivity.PERSONAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDetails:
    """One engine call that has ended, as seen from where the instrumentation stands."""

    request_type: str = field(metadata=_OPERATIONAL)  # "stt", "tts" or "response"
    engine: str = field(metadata=_OPERATIONAL)  # the name of the one that answered
    streaming: bool = field(metadata=_OPERATIONAL)
    outcome: Outcome = field(metadata=_OPERATIONAL)
    started_at: float = field(metadata=_OPERATIONAL)  # s since the epoch
    duration: float = field(metadata=_OPERATIONAL)  # s from the call until all of it is closed
    request_id: str = field(metadata=_IDENTIFIER)
    session_id: str | None = field(metadata=_IDENTIFIER, default=None)
    subject: str | None = field(metadata=_PERSONAL, default=None)  # who asked, if that is known
    # the class of the error, never its message
    error_type: str | None = field(metadata=_OPERATIONAL, default=None)
    # s from the call
    time_to_first_result: float | None = field(metadata=_OPERATIONAL, default=None)
    engine_time: float = field(metadata=_OPERATIONAL, default=0.0)  # s of waiting for the engine
    consumer_time: float = field(
        metadata=_OPERATIONAL, default=0.0
    )  # s that the caller took between results
    audio_seconds: float = field(metadata=_OPERATIONAL, default=0.0)  # heard by STT or made by TTS
    characters: int = field(
        metadata=_OPERATIONAL, default=0
    )  # written by STT, spoken by TTS or answered
    n_results: int = field(metadata=_OPERATIONAL, default=0)
    voice: str | None = field(metadata=_PERSONAL, default=None)
    language: str | None = field(metadata=_OPERATIONAL, default=None)
    audio_format: str | None = field(metadata=_OPERATIONAL, default=None)
    # s in a waiting room, if there was one
    queue_wait: float | None = field(metadata=_OPERATIONAL, default=None)
    attempts: int = field(metadata=_OPERATIONAL, default=1)
    # "hit", "joined" (another's call) or "miss"
    cache: str | None = field(metadata=_OPERATIONAL, default=None)

    @property
    def rtf(self) -> float | None:
        """The real-time factor: seconds of the engine for a second of audio, if there was any."""
        return self.engine_time / self.audio_seconds if self.audio_seconds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadDetails:
    """A model was loaded, or could not be."""

    engine: str = field(metadata=_OPERATIONAL)
    outcome: Outcome = field(metadata=_OPERATIONAL)
    started_at: float = field(metadata=_OPERATIONAL)  # s since the epoch
    duration: float = field(metadata=_OPERATIONAL)  # s
    error_type: str | None = field(metadata=_OPERATIONAL, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnDetails:
    """A turn of a conversation is over. Its delays add up to ``time_to_first_audio``."""

    session_id: str = field(metadata=_IDENTIFIER)
    request_id: str = field(metadata=_IDENTIFIER)
    turn: int = field(metadata=_IDENTIFIER)
    # As in `TurnEnded`; or "failed", or "closed": the session was left meanwhile.
    outcome: str = field(metadata=_OPERATIONAL)
    ended_at: float = field(metadata=_OPERATIONAL)  # s since the epoch
    # s since the user was heard to speak
    duration: float = field(metadata=_OPERATIONAL, default=0.0)
    error_type: str | None = field(metadata=_OPERATIONAL, default=None)
    # s from the user's last sound
    time_to_first_audio: float | None = field(metadata=_OPERATIONAL, default=None)
    end_of_turn_delay: float | None = field(metadata=_OPERATIONAL, default=None)
    transcription_delay: float | None = field(metadata=_OPERATIONAL, default=None)
    time_to_first_text: float | None = field(metadata=_OPERATIONAL, default=None)
    tts_time_to_first_byte: float | None = field(metadata=_OPERATIONAL, default=None)
    handover_delay: float | None = field(metadata=_OPERATIONAL, default=None)
    interruptions: int = field(metadata=_OPERATIONAL, default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDetails:
    """A conversation is over."""

    session_id: str = field(metadata=_IDENTIFIER)
    reason: str = field(metadata=_OPERATIONAL)  # as in `SessionEnded`
    ended_at: float = field(metadata=_OPERATIONAL)  # s since the epoch
    duration: float = field(metadata=_OPERATIONAL, default=0.0)  # s
    audio_seconds: float = field(metadata=_OPERATIONAL)  # heard
    turns: int = field(metadata=_OPERATIONAL)
    dropped_turns: int = field(metadata=_OPERATIONAL)  # given up because too many waited
    undelivered_events: int = field(metadata=_OPERATIONAL)


TURN_STAGES: Final = (
    "end_of_turn_delay",
    "transcription_delay",
    "time_to_first_text",
    "tts_time_to_first_byte",
    "handover_delay",
)
"""The delays of a turn, in their order: fields of `TurnDetails`."""


Details = CallDetails | LoadDetails | TurnDetails | SessionDetails


class Instrumentation(Protocol):
    """Told of everything that ends. It may not wait: it runs where the work ran."""

    def __call__(self, details: Details, /) -> None: ...


def sensitivity(of: type[Details], name: str) -> Sensitivity:
    """How private a field is.

    Raises:
        KeyError: There is no such field, or nobody has said.
    """
    found: Sensitivity = {each.name: each for each in fields(of)}[name].metadata[_KEY]
    return found


def operational(details: Details, *also: Sensitivity) -> dict[str, Any]:
    """The facts about no person, by name; and those ``also`` asked for."""
    allowed = {Sensitivity.OPERATIONAL, *also}
    return {
        each.name: getattr(details, each.name)
        for each in fields(details)
        if each.metadata[_KEY] in allowed
    }
