"""PURE: where in a stream utterances begin and end, from speech that starts and stops.

However the stream is cut into chunks, the utterances are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..._endpoint import SpeechStarted, SpeechStopped
from ...conversation._turns import TurnPolicy

__all__ = [
    "Action",
    "Begin",
    "End",
    "InputEnded",
    "Paused",
    "Quiet",
    "Signal",
    "Speaking",
    "State",
    "Tick",
    "step",
]


@dataclass(frozen=True, slots=True)
class Tick:
    """Audio up to ``at`` has been heard."""

    at: float


@dataclass(frozen=True, slots=True)
class InputEnded:
    """There is no audio after ``at``."""

    at: float


@dataclass(frozen=True, slots=True)
class Begin:
    """An utterance begins: the sound from ``at`` on is its."""

    at: float


@dataclass(frozen=True, slots=True)
class End:
    """It is over: the sound up to ``at`` was its."""

    at: float


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nobody speaks. The sound before ``since`` was another utterance's."""

    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Speaking:
    """Somebody speaks, since ``since``."""

    since: float


@dataclass(frozen=True, slots=True)
class Paused:
    """They fell silent at ``at``, which was certain at ``decided``."""

    since: float
    at: float
    decided: float


_SHORTEST_CUT: Final = 1.0  # s; each piece costs a call, and holds words

State = Quiet | Speaking | Paused
Signal = SpeechStarted | SpeechStopped | Tick | InputEnded
Action = Begin | End


def step(state: State, signal: Signal, policy: TurnPolicy) -> tuple[State, list[Action]]:
    """What is due by the time of ``signal``, and then what follows from it.

    Of the policy, ``end_of_turn``, ``pre_roll`` and ``max_turn`` count.
    """
    now = signal.decided if isinstance(signal, SpeechStarted | SpeechStopped) else signal.at
    actions: list[Action] = []
    if isinstance(state, Paused) and now - state.at >= policy.end_of_turn:
        actions.append(End(state.decided))
        state = Quiet(state.decided)
    longest = max(policy.max_turn, _SHORTEST_CUT)
    while isinstance(state, Speaking) and now - state.since > longest:
        state = Speaking(state.since + longest)
        actions += [End(state.since), Begin(state.since)]
    match state, signal:
        case Quiet(since), SpeechStarted(at):
            state = Speaking(max(since, at - policy.pre_roll))
            actions.append(Begin(state.since))
        case Paused(since), SpeechStarted():
            state = Speaking(since)
        case Speaking(since), SpeechStopped(at, decided):
            state = Paused(since, at, decided)
        case Speaking() | Paused(), InputEnded(at):
            end = state.decided if isinstance(state, Paused) else at
            actions.append(End(end))
            state = Quiet(end)
    return state, actions
