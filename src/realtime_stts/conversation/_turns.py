"""PURE: who has the floor.

The machine is told what is heard and answers with what to do. It keeps two things apart
that overlap in real talk: what the user is doing (`Idle`, `Speaking`, `Paused`), and the
answers, of which at most one is under way while later turns wait for theirs in order.

Time is an argument, in seconds of input audio. A deadline is derived from the state, never
stored, and is applied before anything at or past it: late or extra ticks change nothing.
A signal that cannot happen raises and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .._endpoint import SpeechStarted, SpeechStopped
from ..errors import TurnError
from ._events import (
    Action,
    Drop,
    InputEnded,
    ListenTo,
    Reply,
    ReplyFinished,
    Signal,
    Tick,
    UserTurnEnded,
)

__all__ = ["Idle", "Paused", "Speaking", "TurnPolicy", "TurnState", "deadline", "step"]


@dataclass(frozen=True, slots=True)
class TurnPolicy:
    """When the user is taken to have finished. Durations are seconds."""

    end_of_turn: float = 0.6  # silence that ends a turn; people pause 0.2 to 0.5 s within one
    pre_roll: float = 0.3  # audio kept from before the onset: detectors miss soft first consonants
    max_turn: float = 60.0  # a longer turn is cut here and goes on as the next one
    max_waiting: int = 8  # turns that wait while another is answered; the oldest is dropped

    def __post_init__(self) -> None:
        if not (self.end_of_turn >= 0 and self.pre_roll >= 0):
            raise ValueError("end_of_turn and pre_roll must not be negative")
        if not (self.max_turn > 0 and self.max_waiting >= 1):
            raise ValueError("max_turn must be positive and max_waiting at least 1")


@dataclass(frozen=True, slots=True)
class Idle:
    """The user is silent."""


@dataclass(frozen=True, slots=True)
class Speaking:
    """The user speaks; their turn began at ``since``."""

    turn: int
    since: float


@dataclass(frozen=True, slots=True)
class Paused:
    """The user fell silent at ``paused_at``, which was certain at ``decided``."""

    turn: int
    since: float
    paused_at: float
    decided: float


@dataclass(frozen=True, slots=True)
class TurnState:
    """The whole state: the user, the answer under way, and the turns waiting for theirs."""

    user: Idle | Speaking | Paused = Idle()
    n_turns: int = 0
    replying: int | None = None
    waiting: tuple[int, ...] = ()


def deadline(state: TurnState, policy: TurnPolicy) -> float | None:
    """When the state changes by itself, or None if only a signal can change it."""
    match state.user:
        case Idle():
            return None
        case Speaking(since=since):
            return since + policy.max_turn
        case Paused(paused_at=at, decided=decided):
            # A detector may need longer to be sure of a pause than the pause may last.
            return max(at + policy.end_of_turn, decided)


def step(
    state: TurnState, signal: Signal, policy: TurnPolicy
) -> tuple[TurnState, tuple[Action, ...]]:
    """Apply every deadline that ``signal`` is at or past, then ``signal`` itself.

    Raises:
        TurnError: ``signal`` cannot happen in ``state``.
    """
    at = signal.decided if isinstance(signal, SpeechStarted | SpeechStopped) else signal.at
    actions: tuple[Action, ...] = ()
    while (due := deadline(state, policy)) is not None and at >= due:
        cut = isinstance(state.user, Speaking)
        state, taken = _end_user_turn(state, due, policy)
        actions += taken
        if cut:
            state, taken = _begin(state, due, due)
            actions += taken
    state, taken = _take(state, signal, policy)
    return state, actions + taken


def _take(
    state: TurnState, signal: Signal, policy: TurnPolicy
) -> tuple[TurnState, tuple[Action, ...]]:
    match state.user, signal:
        case _, Tick():
            return state, ()
        case Idle(), SpeechStarted(at):
            return _begin(state, at, max(0.0, at - policy.pre_roll))
        case Paused(turn, since), SpeechStarted():
            return replace(state, user=Speaking(turn, since)), ()
        case Speaking(turn, since), SpeechStopped(at, decided):
            return replace(state, user=Paused(turn, since, at, decided)), ()
        case _, InputEnded(at):
            return _end_user_turn(state, at, policy)
        case _, ReplyFinished(turn) if turn == state.replying:
            return _reply_to_next(replace(state, replying=None))
        case _:
            raise TurnError(state, signal)


def _begin(state: TurnState, at: float, start: float) -> tuple[TurnState, tuple[Action, ...]]:
    turn = state.n_turns + 1
    return replace(state, user=Speaking(turn, at), n_turns=turn), (ListenTo(turn, start),)


def _end_user_turn(
    state: TurnState, at: float, policy: TurnPolicy
) -> tuple[TurnState, tuple[Action, ...]]:
    match state.user:
        case Paused(turn, _, paused_at, decided):
            ended = UserTurnEnded(turn, end=paused_at, audio_end=decided, decided=at)
        case Speaking(turn):
            ended = UserTurnEnded(turn, end=at, audio_end=at, decided=at)
        case Idle():
            return state, ()
    state = replace(state, user=Idle(), waiting=(*state.waiting, ended.turn))
    state, actions = _reply_to_next(state)
    if len(state.waiting) <= policy.max_waiting:
        return state, (ended, *actions)
    dropped, *waiting = state.waiting
    return replace(state, waiting=tuple(waiting)), (ended, Drop(dropped))


def _reply_to_next(state: TurnState) -> tuple[TurnState, tuple[Action, ...]]:
    if state.replying is not None or not state.waiting:
        return state, ()
    turn, *waiting = state.waiting
    return replace(state, replying=turn, waiting=tuple(waiting)), (Reply(turn),)
