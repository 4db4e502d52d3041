"""Slots, and the room where calls wait for them: who runs, who waits, who is turned away.

Sessions take turns (round robin): one that asks often waits behind its own calls, not
others behind it. Room is made for who waits least, too: where it is full, a newcomer takes
the place of the last call of the session with the most (longest queue drop: McKenney,
Stochastic Fairness Queueing, 1990).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Final

__all__ = ["Ticket", "TicketState", "WaitingRoom"]

# s; how long a slot is held, for all that is known before the first is given back: a sentence
# takes about that long to speak or to understand.
_FIRST_GUESS: Final = 1.0
# The share of the last call in the average. The last 10 or so count: enough to smooth single
# long calls, few enough to follow a change of load within seconds.
_WEIGHT: Final = 0.1


class TicketState(Enum):
    """What has become of a call that had to wait."""

    WAITING = "waiting"
    ADMITTED = "admitted"  # it holds a slot
    REFUSED = "refused"  # its place went to another session
    LEFT = "left"  # it no longer waits


class Ticket:
    """A call in the room. ``wake`` is called once, when it is admitted or refused."""

    __slots__ = ("key", "since", "state", "wake")

    def __init__(self, key: Hashable, since: float, wake: Callable[[], None]) -> None:
        self.key = key
        self.since = since
        self.state = TicketState.WAITING
        self.wake = wake


class WaitingRoom:
    """At most ``slots`` calls run and at most ``places`` wait.

    A slot that is given back goes straight to who is next, so nobody who comes meanwhile
    can overtake. Memory is bounded by the places. Times are seconds on any clock.
    """

    def __init__(self, slots: int, places: int) -> None:
        self.slots = slots
        self.places = places
        self.running = 0
        self.waiting = 0
        self.admitted = 0
        self.longest_wait = 0.0  # s, of those that were admitted
        self.held: float | None = None  # s, a moving average; None before the first
        self._queues: dict[Hashable, deque[Ticket]] = {}  # in the order of their turns

    def enter(self) -> bool:
        """Take a free slot, if there is one; then nobody waits."""
        if self.running >= self.slots:
            return False
        self.running += 1
        self.admitted += 1
        return True

    def wait(self, key: Hashable, now: float, wake: Callable[[], None]) -> Ticket | None:
        """Wait for a slot, all of which are taken; None if there is no place."""
        if self.waiting >= self.places and not self._make_room(key):
            return None
        ticket = Ticket(key, now, wake)
        self._queues.setdefault(key, deque()).append(ticket)
        self.waiting += 1
        return ticket

    def leave(self, now: float, held: float) -> None:
        """Give back a slot after ``held`` seconds; it goes to who is next."""
        if self.held is None:
            self.held = held
        else:
            self.held += (held - self.held) * _WEIGHT
        self._free(now)

    def resize(self, slots: int, places: int, now: float) -> None:
        """Have so many slots and places from now on.

        New slots go to who waits. Of those that are fewer, the taken ones go as their calls
        end; nobody who waits is sent away.
        """
        self.slots, self.places = slots, places
        while self.running < slots and self._queues:
            self.running += 1
            self._admit_next(now)

    def give_up(self, ticket: Ticket, now: float) -> None:
        """Wait no longer; a slot that the ticket was just handed goes to who is next."""
        if ticket.state is TicketState.WAITING:
            self._take_out(ticket)
        elif ticket.state is TicketState.ADMITTED:
            self.admitted -= 1
            self._free(now)
        ticket.state = TicketState.LEFT

    def retry_after(self) -> float:
        """Seconds until those waiting now are served, as far as the last calls tell."""
        held = _FIRST_GUESS if self.held is None else self.held
        return held * (self.waiting + 1) / self.slots

    def _free(self, now: float) -> None:
        if self.running > self.slots or not self._queues:
            self.running -= 1
        else:
            self._admit_next(now)

    def _admit_next(self, now: float) -> None:
        key = next(iter(self._queues))
        queue = self._queues.pop(key)
        ticket = queue.popleft()
        if queue:
            self._queues[key] = queue  # behind all others
        self.waiting -= 1
        self.admitted += 1
        self.longest_wait = max(self.longest_wait, now - ticket.since)
        ticket.state = TicketState.ADMITTED
        ticket.wake()

    def _make_room(self, key: Hashable) -> bool:
        """Refuse the last call of the session with the most, if that makes it fairer."""
        longest = max(self._queues.values(), key=len, default=None)
        own = self._queues.get(key, ())
        if longest is None or len(longest) <= len(own) + 1:
            return False
        ticket = longest[-1]
        self._take_out(ticket)
        ticket.state = TicketState.REFUSED
        ticket.wake()
        return True

    def _take_out(self, ticket: Ticket) -> None:
        queue = self._queues[ticket.key]
        queue.remove(ticket)
        if not queue:
            del self._queues[ticket.key]
        self.waiting -= 1
