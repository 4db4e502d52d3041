"""Who may call the replicas now, who waits, and who is refused; for all event loops together."""

from __future__ import annotations

from math import inf
from threading import Lock
from time import monotonic
from types import TracebackType

from anyio import move_on_after
from typing_extensions import Self

from ..._request import current_origin, new_request_id
from ...engines._lookout import lookout
from ...errors import OverloadedError
from ...middleware._waiting_room import Ticket, TicketState, WaitingRoom

__all__ = ["Admission", "Slot"]


class Slot:
    """The right to one call at a time, until all who took it have given it back.

    That is its caller, as a context, and each attempt until its replica was told of its end.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._since = monotonic()
        self._lock = Lock()
        self._n_holders = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.give_back()

    def take(self) -> None:
        with self._lock:
            self._n_holders += 1

    def give_back(self) -> None:
        """From any thread."""
        with self._lock:
            self._n_holders -= 1
            if self._n_holders:
                return
        self._admission.leave(monotonic() - self._since)


class Admission:
    """In front of the replicas: sessions take turns, as in `ConcurrencyLimitMiddleware`.

    Serve's own limit counts by caller and refuses bursts while slots are free.
    """

    def __init__(self, name: str, slots: int, places: int) -> None:
        self._name = name
        self._lock = Lock()
        self._room = WaitingRoom(slots, places)
        self.refused = 0

    @property
    def slots(self) -> int:
        return self._room.slots

    @property
    def running(self) -> int:
        return self._room.running

    @property
    def waiting(self) -> int:
        return self._room.waiting

    def resize(self, slots: int, places: int) -> None:
        with self._lock:
            self._room.resize(slots, places, monotonic())

    def leave(self, held: float) -> None:
        """Give back a slot, after so many seconds."""
        with self._lock:
            self._room.leave(monotonic(), held)

    async def enter(self, patience: float | None) -> Slot | None:
        """Wait for a slot; None if ``patience`` seconds did not bring one.

        Raises:
            OverloadedError: There is no room to wait, or it went to a session with less.
        """
        room, waiting = self._room, lookout()
        key = current_origin().session_id or new_request_id()
        with self._lock:
            if room.enter():
                return Slot(self)
            ticket = room.wait(key, monotonic(), waiting.ring)
            if ticket is None:
                raise self._refusal(f"{room.running} calls run and {room.waiting} wait")
        try:
            with move_on_after(inf if patience is None else patience):
                await waiting.wait(lambda: ticket.state is not TicketState.WAITING)
        except BaseException:  # withdrawn, perhaps in the moment in which it was let in
            self._give_up(ticket)
            raise
        with self._lock:
            if ticket.state is TicketState.ADMITTED:
                return Slot(self)
            if ticket.state is TicketState.REFUSED:
                raise self._refusal("its place went to a session with fewer calls that wait")
            room.give_up(ticket, monotonic())
            return None

    def _give_up(self, ticket: Ticket) -> None:
        with self._lock:
            self._room.give_up(ticket, monotonic())

    def _refusal(self, why: str) -> OverloadedError:
        self.refused += 1
        return OverloadedError(f"{self._name}: {why}", retry_after=self._room.retry_after())
