"""How tasks wait for what threads do: one thread waits for all the tasks of an event loop.

A thread for each would be hundreds under load, or else a limit on threads would decide who
is woken. And as it is a thread of the event loop's own pool, the clock of
`testing.virtual_time` stands still while anybody waits.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from threading import Condition

from anyio import CapacityLimiter, Event, lowlevel, to_thread

__all__ = ["Lookout", "lookout"]


class Lookout:
    """Wakes the tasks of one event loop when what they wait for is so.

    The task that comes first waits in the thread for any of them, wakes those that have
    waited long enough, and goes on until it has so itself, or is cancelled. Then another
    takes over.
    """

    def __init__(self) -> None:
        self._waiting: dict[object, tuple[Callable[[], bool], Event]] = {}
        self._watched = False  # whether one of them waits in the thread
        self._rung = Condition()
        self._n_rings = 0
        self._n_heard = 0  # rings before the last look
        # Its own, and no limit: an abandoned thread ends at once, and nobody waits for that.
        self._limiter = CapacityLimiter(inf)

    def ring(self) -> None:
        """Something has changed; from any thread."""
        with self._rung:
            self._n_rings += 1
            self._rung.notify_all()

    async def wait(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready`` says so; it is asked again after each `ring`."""
        waiting = object()
        try:
            while not ready():
                woken = Event()
                self._waiting[waiting] = (ready, woken)
                if self._watched:
                    await woken.wait()
                else:
                    await self._watch()
        finally:
            self._waiting.pop(waiting, None)
            if not self._watched and self._waiting:
                _, woken = next(iter(self._waiting.values()))
                woken.set()

    async def _watch(self) -> None:
        self._watched = True
        try:
            await to_thread.run_sync(
                self._listen, self._n_heard, abandon_on_cancel=True, limiter=self._limiter
            )
        finally:
            self._watched = False
            self.ring()  # an abandoned thread ends
            self._n_heard = self._n_rings  # before looking: what changes later will ring
            for ready, woken in self._waiting.values():
                if ready():
                    woken.set()

    def _listen(self, n_heard: int) -> None:
        with self._rung:
            self._rung.wait_for(lambda: self._n_rings != n_heard)


_lookouts = lowlevel.RunVar[Lookout]("realtime_stts_engine_lookout")


def lookout() -> Lookout:
    """That of the running event loop."""
    found = _lookouts.get(None)
    if found is None:
        found = Lookout()
        _lookouts.set(found)
    return found
