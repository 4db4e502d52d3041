"""Slots and the room for waiting: who runs, who is next, and that nothing is lost."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from realtime_stts.middleware._waiting_room import Ticket, TicketState, WaitingRoom

ADMITTED, REFUSED = TicketState.ADMITTED, TicketState.REFUSED
WAITING, LEFT = TicketState.WAITING, TicketState.LEFT


def nobody() -> None:
    """Wakes nobody."""


def full(slots: int = 1, places: int = 9) -> WaitingRoom:
    room = WaitingRoom(slots, places)
    for _ in range(slots):
        assert room.enter()
    return room


def waits(room: WaitingRoom, key: str, now: float = 0.0) -> Ticket:
    ticket = room.wait(key, now, nobody)
    assert ticket is not None
    return ticket


def order(room: WaitingRoom, tickets: dict[str, Ticket]) -> str:
    """Who is admitted after whom, if one call ends after the other."""
    served = ""
    while room.waiting:
        before = {name for name, ticket in tickets.items() if ticket.state is ADMITTED}
        room.leave(0.0, 1.0)
        served += "".join(n for n, t in tickets.items() if t.state is ADMITTED and n not in before)
    return served


def test_there_are_as_many_slots_as_were_said() -> None:
    room = WaitingRoom(2, 0)
    assert [room.enter() for _ in range(3)] == [True, True, False]
    room.leave(0.0, 1.0)
    assert room.enter()
    assert (room.running, room.admitted) == (2, 3)


def test_sessions_take_turns_and_each_keeps_its_own_order() -> None:
    room = full()
    tickets = {"1": waits(room, "x"), "2": waits(room, "x"), "3": waits(room, "y")} | {
        "4": waits(room, "x"),
        "5": waits(room, "z"),
        "6": waits(room, "y"),
    }
    assert order(room, tickets) == "135264"


def test_a_slot_that_comes_free_goes_to_who_waits_and_not_to_who_comes() -> None:
    room = full()
    first = waits(room, "a")
    room.leave(0.0, 1.0)
    assert first.state is ADMITTED
    assert not room.enter()


def test_more_slots_go_to_who_waits() -> None:
    room = full(slots=1, places=4)
    tickets = [waits(room, key) for key in "aab"]
    room.resize(3, 4, now=2.0)
    assert [ticket.state for ticket in tickets] == [ADMITTED, WAITING, ADMITTED]
    assert (room.running, room.waiting, room.longest_wait) == (3, 1, 2.0)


def test_of_fewer_slots_the_taken_ones_go_as_their_calls_end() -> None:
    room = full(slots=3, places=4)
    ticket = waits(room, "a")
    room.resize(1, 0, now=0.0)
    assert ticket.state is WAITING
    room.leave(0.0, 1.0)
    room.leave(0.0, 1.0)
    assert (ticket.state, room.running) == (WAITING, 1)
    room.leave(0.0, 1.0)
    assert (ticket.state, room.running) == (ADMITTED, 1)
    assert room.wait("b", 0.0, nobody) is None


def test_the_waker_is_called_once_and_when_it_is_over() -> None:
    room, woken = full(), list[str]()
    room.wait("a", 0.0, lambda: woken.append("a"))
    assert woken == []
    room.leave(0.0, 1.0)
    room.leave(0.0, 1.0)
    assert woken == ["a"]


def test_there_is_no_room_for_more() -> None:
    room = full(places=2)
    waits(room, "a")
    waits(room, "b")
    assert room.wait("a", 0.0, nobody) is None
    assert room.wait("c", 0.0, nobody) is None
    assert WaitingRoom(1, 0).wait("a", 0.0, nobody) is None


def test_in_a_full_room_the_greediest_makes_room_for_others() -> None:
    room = full(places=3)
    greedy = [waits(room, "greedy") for _ in range(3)]
    modest = waits(room, "modest")
    assert [ticket.state for ticket in greedy] == [WAITING, WAITING, REFUSED]
    # Two against one is as fair as it gets.
    assert room.wait("modest", 0.0, nobody) is None
    third = waits(room, "third")
    assert [ticket.state for ticket in greedy] == [WAITING, REFUSED, REFUSED]
    assert (modest.state, third.state, room.waiting) == (WAITING, WAITING, 3)
    assert room.wait("fourth", 0.0, nobody) is None


def test_who_gives_up_is_out_and_the_others_move_up() -> None:
    room = full()
    tickets = {name: waits(room, key) for name, key in (("1", "a"), ("2", "a"), ("3", "b"))}
    room.give_up(tickets["1"], 0.0)
    assert tickets["1"].state is LEFT
    assert order(room, tickets) == "23"
    assert room.admitted == 3


def test_who_gives_up_what_they_were_just_handed_hands_it_on() -> None:
    room = full()
    first, second = waits(room, "a"), waits(room, "b")
    room.leave(0.0, 1.0)
    assert first.state is ADMITTED
    room.give_up(first, 0.0)
    assert (first.state, second.state) == (LEFT, ADMITTED)
    assert (room.running, room.waiting, room.admitted) == (1, 0, 2)
    room.give_up(second, 0.0)
    assert (room.running, room.admitted) == (0, 1)  # the one before them was
    others = full(slots=3)
    handed = waits(others, "a")
    others.leave(0.0, 1.0)
    others.give_up(handed, 0.0)
    assert (others.running, others.admitted) == (2, 3)


def test_who_was_refused_has_nothing_to_give_up() -> None:
    room = full(places=2)
    waits(room, "greedy")
    refused = waits(room, "greedy")
    waits(room, "modest")
    room.give_up(refused, 0.0)
    assert (room.running, room.waiting) == (1, 2)


def test_when_to_come_back_is_when_all_who_wait_are_served() -> None:
    room = full(slots=2)
    assert room.retry_after() == 0.5  # a guess of 1 s a call
    room.leave(0.0, 4.0)
    assert room.enter()
    assert room.retry_after() == 2.0
    for _ in range(3):
        waits(room, "a")
    assert room.retry_after() == 8.0


def test_how_long_slots_are_held_follows_the_last_calls() -> None:
    room = full()
    held = [10.0] + [2.0] * 30
    for seconds in held:
        room.leave(0.0, seconds)
        room.enter()
    assert room.held == pytest.approx(2.0, abs=0.5)


def test_the_longest_wait_is_of_those_who_were_admitted() -> None:
    room = full()
    assert room.longest_wait == 0.0
    waits(room, "a", now=1.0)
    given_up = waits(room, "b", now=0.0)
    room.leave(4.0, 1.0)
    room.give_up(given_up, 100.0)
    assert room.longest_wait == 3.0


class AnyOrder(RuleBasedStateMachine):
    """Calls come, end and give up in any order, and the room changes."""

    def __init__(self) -> None:
        super().__init__()
        self.slots, self.places = 2, 4
        self.seen = (0, 0)  # who ran and waited before
        self.room = WaitingRoom(self.slots, self.places)
        self.running: list[Ticket | None] = []  # None: it never waited
        self.waiting: list[Ticket] = []
        # For each session that waits, how often others were served since its last turn.
        self.others: dict[object, Counter[object]] = {}
        self.woken: Counter[int] = Counter()

    def _settle(self) -> None:
        """Note what became of those who waited."""
        for ticket in [*self.waiting]:
            if ticket.state is WAITING:
                continue
            self.waiting.remove(ticket)
            if ticket.state is ADMITTED:
                self.running.append(ticket)
                for served in self.others.values():
                    served[ticket.key] += 1
                self.others.pop(ticket.key)
        present = {ticket.key for ticket in self.waiting}
        self.others = {key: self.others.get(key, Counter()) for key in present}

    @rule(key=st.sampled_from("abcd"))
    def arrive(self, key: str) -> None:
        if self.room.enter():
            assert not self.waiting
            assert len(self.running) < self.slots
            self.running.append(None)
            return
        assert len(self.running) >= self.slots
        number = len(self.woken)
        ticket = self.room.wait(key, 0.0, lambda: self.woken.update([number]))
        self.woken[number] += 0
        if ticket is None:
            assert len(self.waiting) >= self.places
            queued = Counter(each.key for each in self.waiting)
            assert max(queued.values(), default=0) <= queued[key] + 1
        else:
            self.waiting.append(ticket)
        self._settle()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.room.leave(0.0, 1.0)
        self._settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def tire(self, data: st.DataObject) -> None:
        self.room.give_up(data.draw(st.sampled_from(self.waiting)), 0.0)
        self._settle()

    @precondition(lambda self: any(self.running))
    @rule(data=st.data())
    def withdraw_just_handed(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from([each for each in self.running if each is not None]))
        self.running.remove(ticket)
        self.room.give_up(ticket, 0.0)
        self._settle()

    @rule(slots=st.integers(1, 4), places=st.integers(0, 4))
    def resize(self, slots: int, places: int) -> None:
        for each in range(min(self.slots, slots - 1) + 1, slots + 1):  # one by one, to be noted
            self.room.resize(each, places, 0.0)
            self._settle()
        self.slots, self.places = slots, places

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.room.running == len(self.running)
        assert self.room.waiting == len(self.waiting)
        # More than there is room for are only those left from when there was.
        ran, waited = self.seen
        assert self.room.running <= max(self.slots, ran)
        assert self.room.waiting <= max(self.places, waited)
        self.seen = (self.room.running, self.room.waiting)
        # Nobody waits while a slot is free.
        assert not self.waiting or self.room.running >= self.slots
        # Bounded: there is a queue for who waits, and for nobody else.
        assert set(self.room._queues) == {ticket.key for ticket in self.waiting}

    @invariant()
    def nobody_starves(self) -> None:
        """Within one round, every session that waits is served."""
        assert all(max(served.values(), default=0) <= 1 for served in self.others.values())

    @invariant()
    def nobody_is_woken_twice(self) -> None:
        assert max(self.woken.values(), default=0) <= 1

    def teardown(self) -> None:
        while self.running:
            self.running.pop()
            self.room.leave(0.0, 1.0)
            self._settle()
        assert (self.room.running, self.room.waiting, self.waiting) == (0, 0, [])


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40)
