"""When a circuit breaker lets calls through: a pure state machine on seconds.

The breaker of M. Nygard, *Release It!* (2007), chapter 5. Closed, it counts failures in a
row; open, it refuses; half open, it lets a few calls try. Every change of state has a
number, its generation, and what a call reports counts only in the generation that it was
admitted in: a call that was under way when the circuit opened says nothing about now.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from math import inf

__all__ = ["Closed", "HalfOpen", "Open", "Permit", "Policy", "Refusal", "Report", "State"]
__all__ += ["admit", "record"]


@dataclass(frozen=True, slots=True)
class Policy:
    """When a circuit opens and closes.

    Args:
        failures: In a row, this many open it; at least 1.
        window: Seconds in which they must lie, over 0.
        open_for: Seconds that it stays open, over 0 and finite.
        probes: Calls that may try at the same time then, and that must succeed to close it;
            at least 1.

    Raises:
        ValueError: A value is out of range.
    """

    failures: int = 5
    window: float = 60.0
    open_for: float = 30.0
    probes: int = 1

    def __post_init__(self) -> None:
        if self.failures < 1 or self.probes < 1:
            raise ValueError(
                f"a breaker needs at least 1 failure and 1 probe, "
                f"not {self.failures} and {self.probes}"
            )
        if not self.window > 0.0:
            raise ValueError(f"failures are counted over more than 0 seconds, not {self.window}")
        if not 0.0 < self.open_for < inf:
            raise ValueError(f"a circuit is open for a number of seconds, not {self.open_for}")


@dataclass(frozen=True, slots=True)
class Closed:
    """Calls go through."""

    generation: int = 0
    failed: tuple[float, ...] = ()  # when, since the last success; fewer than the policy's


@dataclass(frozen=True, slots=True)
class Open:
    """Calls are refused."""

    generation: int
    until: float


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """A few calls try whether it works again."""

    generation: int
    until: float  # when one more may try, should those that do neither succeed nor fail
    trying: int = 0
    passed: int = 0


State = Closed | Open | HalfOpen


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to go through, to be given back with the call's outcome."""

    generation: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Ask again in so many seconds."""

    retry_after: float


class Report(Enum):
    """How a call ended, for a breaker."""

    SUCCESS = auto()
    FAILURE = auto()
    NEITHER = auto()  # withdrawn, or the caller's own mistake: it says nothing


def admit(state: State, now: float, policy: Policy) -> tuple[State, Permit | Refusal]:
    """Whether a call may go through."""
    match state:
        case Closed():
            return state, Permit(state.generation)
        case Open(generation, until):
            if now < until:
                return state, Refusal(until - now)
            half_open = HalfOpen(generation + 1, now + policy.open_for, trying=1)
            return half_open, Permit(half_open.generation)
    # A call that hangs, or a stream that goes on and on, keeps its place no longer than a
    # circuit is open.
    if state.trying + state.passed < policy.probes or now >= state.until:
        until = now + policy.open_for
        return replace(state, until=until, trying=state.trying + 1), Permit(state.generation)
    return state, Refusal(state.until - now)


def record(state: State, permit: Permit, report: Report, now: float, policy: Policy) -> State:
    """What a call that was admitted has shown. Each permit is given back once."""
    if permit.generation != state.generation:
        return state
    match state:
        case Open():  # nobody was admitted
            return state
        case Closed(generation, failed):
            if report is Report.FAILURE:
                failed = (*(time for time in failed if time > now - policy.window), now)
                if len(failed) >= policy.failures:
                    return Open(generation + 1, now + policy.open_for)
                return Closed(generation, failed)
            return Closed(generation) if failed and report is Report.SUCCESS else state
    if report is Report.FAILURE:
        return Open(state.generation + 1, now + policy.open_for)
    passed = state.passed + (report is Report.SUCCESS)
    if passed >= policy.probes:
        return Closed(state.generation + 1)
    return replace(state, trying=state.trying - 1, passed=passed)
