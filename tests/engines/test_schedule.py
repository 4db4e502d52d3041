"""Who is in the next batch: sessions take turns, groups stay apart, nobody starves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from realtime_stts.engines._schedule import Batch, Schedule


def waiting(*calls: str, max_batch: int = 4, max_waiting: int = 100) -> Schedule[str]:
    """Calls written session first, then group, then anything: "aX1"."""
    schedule = Schedule[str](max_batch, max_waiting)
    for call in calls:
        assert schedule.add(call, session=call[0], group=call[1])
    return schedule


def batches(schedule: Schedule[str]) -> list[str]:
    taken: list[str] = []
    while (batch := schedule.take()) is not None:
        taken.append(" ".join(batch.calls))
    return taken


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        pytest.param("", [], id="nothing waits"),
        pytest.param("aX bX cX", ["aX bX cX"], id="one each, in order of arrival"),
        pytest.param("aX bX cX dX eX", ["aX bX cX dX", "eX"], id="no more than fit"),
        pytest.param(
            "aX1 aX2 aX3 aX4 aX5 bX", ["aX1 bX aX2 aX3", "aX4 aX5"],
            id="each session gives one in a round",
        ),
        pytest.param(
            "aX1 aX2 aX3 bX1 bX2 bX3 cX1 cX2", ["aX1 bX1 cX1 aX2", "bX2 cX2 aX3 bX3"],
            id="the next batch goes on where the last one ended",
        ),
        pytest.param(
            "aX bY cX dY", ["aX cX", "bY dY"],
            id="groups do not mix, and the oldest call's is first",
        ),
        pytest.param(
            "aX1 aX2 aX3 aX4 aX5 aX6 aX7 bY", ["aX1 aX2 aX3 aX4", "bY", "aX5 aX6 aX7"],
            id="a session's many of one group do not delay another's of another group",
        ),
        pytest.param("aX1 aY1 aX2 aY2", ["aX1 aX2", "aY1 aY2"], id="a session may mix groups"),
    ],
)  # fmt: skip
def test_batches(calls: str, expected: list[str]) -> None:
    assert batches(waiting(*calls.split())) == expected


def test_a_call_without_a_session_is_one_of_its_own() -> None:
    schedule = Schedule[str](max_batch=3, max_waiting=10)
    for call in ("a", "b"):
        schedule.add(call, session="chatty")
    for call in ("c", "d"):
        schedule.add(call)
    assert batches(schedule) == ["a c d", "b"]


def test_interactive_calls_go_first_and_never_mix_with_background_ones() -> None:
    schedule = Schedule[str](max_batch=3, max_waiting=10)
    schedule.add("late", background=True)
    schedule.add("soon")
    assert schedule.take() == Batch(("soon",), background=False)
    assert schedule.take(interactive_only=True) is None
    assert schedule.take() == Batch(("late",), background=True)
    assert schedule.take() is None


def test_no_more_wait_than_may_and_background_calls_take_nobodys_place() -> None:
    schedule = Schedule[str](max_batch=3, max_waiting=2)
    assert [schedule.add(call, background=True) for call in "abc"] == [True, True, False]
    assert [schedule.add(call) for call in "def"] == [True, True, False]
    assert len(schedule) == 4
    schedule.discard("d")
    assert schedule.add("g")
    assert batches(schedule) == ["e g", "a b"]


def test_a_discarded_call_is_never_taken() -> None:
    schedule = waiting("aX1", "aX2", "bX")
    schedule.discard("aX1")
    schedule.discard("bX")
    schedule.discard("unknown")
    assert batches(schedule) == ["aX2"]


def test_a_batch_is_full_when_as_many_of_the_next_group_wait() -> None:
    schedule = waiting(max_batch=2)
    seen: list[bool] = []
    for call in ("aX", "bY", "cX"):
        seen.append(schedule.fills_a_batch)
        schedule.add(call, group=call[1])
    assert [*seen, schedule.fills_a_batch] == [False, False, False, True]
    schedule.take()
    assert not schedule.fills_a_batch
    schedule.add("dZ", background=True)
    schedule.add("eY", group="Y")
    assert schedule.fills_a_batch  # of those that go first


@pytest.mark.parametrize(("max_batch", "max_waiting"), [(0, 1), (1, 0)])
def test_limits_are_at_least_one(max_batch: int, max_waiting: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Schedule[str](max_batch, max_waiting)


def test_a_session_of_many_never_delays_another_by_more_than_a_batch() -> None:
    schedule = waiting(*(f"aX{n}" for n in range(90)))
    for n in range(20):
        schedule.add(f"b{n}", session="b", group="X" if n % 2 else "Y")
        taken = [schedule.take(), schedule.take()]
        assert any(batch is not None and f"b{n}" in batch.calls for batch in taken)


@dataclass(frozen=True, eq=False)
class Call:
    session: int
    group: int
    background: bool
    may_see: int  # batches of its kind until it is in one, at the latest


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes, goes and is taken, in any order."""

    MAX_BATCH, MAX_WAITING = 3, 8

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule[Call](self.MAX_BATCH, self.MAX_WAITING)
        self.waiting: list[Call] = []
        self.seen: dict[Call, int] = defaultdict(int)

    def alike(self, background: bool) -> list[Call]:
        return [call for call in self.waiting if call.background == background]

    @rule(session=st.integers(0, 4), group=st.integers(0, 2), background=st.booleans())
    def add(self, session: int, group: int, background: bool) -> None:
        others = self.alike(background)
        # Each batch brings its session nearer to the head of the line, where its first call
        # is taken; no more sessions than calls can be before it, whoever comes.
        before = sum(call.session == session for call in others)
        call = Call(session, group, background, (before + 1) * self.MAX_WAITING)
        added = self.schedule.add(call, session=session, group=group, background=background)
        assert added == (len(others) < self.MAX_WAITING)
        if added:
            self.waiting.append(call)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.waiting))
        self.schedule.discard(call)
        self.waiting.remove(call)

    @rule(interactive_only=st.booleans())
    def take(self, interactive_only: bool) -> None:
        interactive = self.alike(False)
        full = self.schedule.fills_a_batch
        batch = self.schedule.take(interactive_only=interactive_only)
        if batch is None:
            assert not (interactive if interactive_only else self.waiting)
            return
        calls = list(batch.calls)
        assert batch.background == (not interactive)
        assert 1 <= len(calls) <= self.MAX_BATCH
        assert full == (len(calls) == self.MAX_BATCH)
        assert len({(call.group, call.background) for call in calls}) == 1

        eligible = [
            call
            for call in self.alike(batch.background)
            if call.group == calls[0].group
        ]  # fmt: skip
        assert len(calls) == min(len(eligible), self.MAX_BATCH)
        n_taken: dict[int, int] = {}
        for session in {call.session for call in eligible}:
            own = [call for call in eligible if call.session == session]
            taken = [call for call in calls if call.session == session]
            assert taken == own[: len(taken)], "the calls of a session keep their order"
            if len(taken) < len(own):
                n_taken[session] = len(taken)
        for fewest in n_taken.values():
            for session in {call.session for call in calls}:
                n = sum(call.session == session for call in calls)
                assert n <= fewest + 1, "who has calls left gave as many as others, but one"

        for call in calls:
            self.waiting.remove(call)
        for call in self.alike(batch.background):
            self.seen[call] += 1
            assert self.seen[call] < call.may_see, "nobody waits for ever"

    @invariant()
    def as_many_wait_as_came_and_did_not_go(self) -> None:
        assert len(self.schedule) == len(self.waiting)


TestAnyOrder = AnyOrder.TestCase
