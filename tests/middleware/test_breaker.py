"""The breaker's state machine, against a model that says it in plain words."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from realtime_stts.middleware._breaker import (
    Closed,
    HalfOpen,
    Open,
    Permit,
    Policy,
    Refusal,
    Report,
    State,
    admit,
    record,
)

POLICY = Policy(failures=3, window=60.0, open_for=30.0)
SUCCESS, FAILURE, NEITHER = Report


def after(*failed: float, policy: Policy = POLICY) -> State:
    state: State = Closed()
    for now in failed:
        state = record(state, Permit(state.generation), FAILURE, now, policy)
    return state


# -- examples ----------------------------------------------------------------------------


def test_a_closed_circuit_lets_everybody_through() -> None:
    assert admit(Closed(4), 0.0, POLICY) == (Closed(4), Permit(4))


def test_failures_in_a_row_open_it() -> None:
    assert after(1.0, 2.0) == Closed(0, (1.0, 2.0))
    assert after(1.0, 2.0, 3.0) == Open(1, until=33.0)


def test_a_success_between_them_counts_from_the_beginning() -> None:
    state = record(after(1.0, 2.0), Permit(0), SUCCESS, 3.0, POLICY)
    assert state == Closed(0)


def test_withdrawn_calls_count_for_nothing() -> None:
    assert record(after(1.0, 2.0), Permit(0), NEITHER, 3.0, POLICY) == after(1.0, 2.0)


@pytest.mark.parametrize(("last", "opens"), [(60.9, True), (61.0, False)])
def test_failures_too_far_apart_do_not_open_it(last: float, opens: bool) -> None:
    assert isinstance(after(1.0, 2.0, last), Open) is opens


@pytest.mark.parametrize(("now", "left"), [(3.0, 30.0), (32.5, 0.5)])
def test_an_open_circuit_says_when_to_come_back(now: float, left: float) -> None:
    state = Open(1, until=33.0)
    assert admit(state, now, POLICY) == (state, Refusal(left))


def test_then_one_call_tries_it_and_the_others_wait() -> None:
    state, permit = admit(Open(1, until=33.0), 33.0, POLICY)
    assert (state, permit) == (HalfOpen(2, until=63.0, trying=1), Permit(2))
    assert admit(state, 34.0, POLICY) == (state, Refusal(29.0))


def test_its_success_closes_the_circuit_and_its_failure_opens_it() -> None:
    state = HalfOpen(2, until=63.0, trying=1)
    assert record(state, Permit(2), SUCCESS, 35.0, POLICY) == Closed(3)
    assert record(state, Permit(2), FAILURE, 35.0, POLICY) == Open(3, until=65.0)


def test_a_probe_that_is_withdrawn_gives_its_place_back() -> None:
    state = record(HalfOpen(2, 63.0, trying=1), Permit(2), NEITHER, 35.0, POLICY)
    assert state == HalfOpen(2, 63.0, trying=0)
    assert admit(state, 36.0, POLICY)[1] == Permit(2)


def test_a_probe_that_hangs_keeps_the_circuit_only_so_long() -> None:
    state, permit = admit(HalfOpen(2, until=63.0, trying=1), 63.0, POLICY)
    assert (state, permit) == (HalfOpen(2, until=93.0, trying=2), Permit(2))


def test_several_probes_must_all_succeed() -> None:
    policy = Policy(probes=2)
    state, _ = admit(Open(1, 0.0), 0.0, policy)
    state, permit = admit(state, 0.0, policy)
    assert state == HalfOpen(2, until=30.0, trying=2)
    assert isinstance(permit, Permit)
    state = record(state, permit, SUCCESS, 1.0, policy)
    assert state == HalfOpen(2, until=30.0, trying=1, passed=1)
    assert isinstance(admit(state, 1.0, policy)[1], Refusal)
    assert record(state, permit, SUCCESS, 1.0, policy) == Closed(3)


@pytest.mark.parametrize("report", Report)
@pytest.mark.parametrize("state", [Closed(3, (1.0,)), Open(1, 30.0), HalfOpen(2, 60.0, trying=1)])
def test_what_was_admitted_before_says_nothing_about_now(state: State, report: Report) -> None:
    assert record(state, Permit(0), report, 5.0, Policy(failures=2)) == state


def test_a_report_with_an_open_circuits_number_changes_nothing() -> None:
    assert record(Open(1, 30.0), Permit(1), SUCCESS, 5.0, POLICY) == Open(1, 30.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"failures": 0},
        {"probes": 0},
        {"window": 0.0},
        {"window": nan},
        {"open_for": 0.0},
        {"open_for": inf},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not"):
        Policy(**wrong)  # type: ignore[arg-type]


def test_the_smallest_that_makes_sense_is_taken() -> None:
    policy = Policy(failures=1, window=0.1, open_for=0.1, probes=1)
    assert record(Closed(), Permit(0), FAILURE, 5.0, policy) == Open(1, 5.1)


# -- and the model -----------------------------------------------------------------------


class Breaker(RuleBasedStateMachine):
    """Calls come and go in any order; time passes between."""

    policy = Policy(failures=3, window=20.0, open_for=10.0, probes=2)

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.state: State = Closed()
        self.calls: list[tuple[Permit, int]] = []  # under way, and the model's era of each
        # The model: an era ends whenever the circuit changes.
        self.era = 0
        self.mode = "closed"
        self.in_a_row: list[float] = []
        self.until = 0.0
        self.passed = 0

    def turn(self, mode: str) -> None:
        self.era += 1
        self.mode, self.in_a_row, self.passed = mode, [], 0
        self.until = self.now + self.policy.open_for

    def trying(self) -> int:
        return sum(era == self.era for _, era in self.calls)

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 10.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_call_comes(self) -> None:
        self.state, answer = admit(self.state, self.now, self.policy)
        if self.mode == "open" and self.now >= self.until:
            self.turn("half-open")
            expected = True
        elif self.mode == "half-open":
            room = self.trying() + self.passed < self.policy.probes
            expected = room or self.now >= self.until
        else:
            expected = self.mode == "closed"
        if self.mode == "half-open" and expected:
            self.until = self.now + self.policy.open_for
        if isinstance(answer, Permit):
            assert expected
            self.calls.append((answer, self.era))
        else:
            assert not expected
            assert answer == Refusal(self.until - self.now)

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 1000), report=st.sampled_from(Report))
    def a_call_ends(self, which: int, report: Report) -> None:
        permit, era = self.calls.pop(which % len(self.calls))
        self.state = record(self.state, permit, report, self.now, self.policy)
        if era != self.era or report is Report.NEITHER:
            return
        if report is Report.FAILURE:
            self.in_a_row.append(self.now)
            recent = [at for at in self.in_a_row if at > self.now - self.policy.window]
            if self.mode == "half-open" or len(recent) >= self.policy.failures:
                self.turn("open")
        elif self.mode == "half-open":
            self.passed += 1
            if self.passed >= self.policy.probes:
                self.turn("closed")
        else:
            self.in_a_row.clear()

    @invariant()
    def it_is_what_the_model_says(self) -> None:
        match self.state:
            case Closed(failed=failed):
                assert self.mode == "closed"
                assert len(failed) < self.policy.failures
            case Open(until=until):
                assert (self.mode, self.until) == ("open", until)
            case HalfOpen(trying=trying, passed=passed):
                assert self.mode == "half-open"
                assert (trying, passed) == (self.trying(), self.passed)


TestBreaker = Breaker.TestCase
