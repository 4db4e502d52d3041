"""Virtual time: when every task waits, the clock jumps to the next timer.

An hour of conversation then takes as long as its computing, and takes the same course on
every machine. Only the event loop's own clock is virtual (`anyio.sleep`, deadlines,
`anyio.current_time`); nothing is patched.

Worker threads compute in real time, so the clock must not run ahead of them. While one
is at work a timer waits until it is really due, and a result that comes sooner comes at
once, in no virtual time at all. That never dead-locks, even where the thread itself waits
for a timer. Processes and sockets are not seen: a test of those belongs on a real clock.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar

import anyio
from anyio import to_thread
from typing_extensions import TypeVarTuple, Unpack

from ..errors import MissingExtraError
from ._threads import workers_at_work

__all__ = ["run_on_virtual_time", "virtual_time"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def virtual_time(backend: str = "asyncio") -> tuple[str, dict[str, Any]]:
    """A backend and its options, on a virtual clock of its own that starts at 0.

    The pair is what anyio's ``anyio_backend`` fixture holds and what `anyio.run` takes:
    ``backend, options = virtual_time("trio")``, then
    ``anyio.run(main, backend=backend, backend_options=options)``.

    Args:
        backend: ``asyncio`` or ``trio``.

    Raises:
        ValueError: There is no such backend.
        MissingExtraError: trio is not installed.
    """
    if backend == "asyncio":
        return backend, {"loop_factory": _VirtualTimeLoop}
    if backend == "trio":
        return backend, _trio_options()
    raise ValueError(f"the backend is asyncio or trio, not {backend!r}")


async def run_on_virtual_time(
    func: Callable[[Unpack[Ts]], Awaitable[T]], *args: Unpack[Ts], backend: str = "asyncio"
) -> T:
    """Await ``func(*args)`` on a virtual clock while an event loop already runs.

        call = await run_on_virtual_time(Caller(engine).says("hello").run)

    A running loop keeps its own clock, so this is another one, in a thread of its own that
    ends with it: what notebooks need, whose cells are in a loop from the beginning. Give it
    what belongs to no loop yet: an engine, not a session under way. It cannot be withdrawn:
    a cancellation takes effect once it has ended.

    Args:
        func: An async function.
        backend: As of `virtual_time`, which also says what is raised.
    """
    name, options = virtual_time(backend)

    def run() -> T:
        return anyio.run(func, *args, backend=name, backend_options=options)

    return await to_thread.run_sync(run)


class _VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock its own selector moves.

    Threads of anyio are asked for; `asyncio.to_thread` passes through `run_in_executor`
    and is counted there.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._executing = 0
        super().__init__(_JumpingSelector(self))
        # asyncio runs timers that are due within one tick of the clock. A tick of the
        # real one can be 16 ms (Windows): this one only forgives rounding.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def round_up(self) -> None:
        """Be at the next timer if it is so near that asyncio will run it now.

        Who waits for it would otherwise be woken a rounding error too early; two that then
        wait again, each keeping the loop from idling, would do so for ever.
        """
        scheduled: list[asyncio.TimerHandle] = vars(self)["_scheduled"]  # the loop's own heap
        if scheduled:
            due = scheduled[0].when()
            if self._now < due < self._now + self._clock_resolution:
                self._now = due

    @property
    def threads_at_work(self) -> bool:
        return self._executing > 0 or workers_at_work(self)

    def run_in_executor(  # type: ignore[override]  # typeshed ties func to args
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self._executing += 1
        future.add_done_callback(self._executed)
        return future

    def _executed(self, _: asyncio.Future[Any]) -> None:
        self._executing -= 1


class _JumpingSelector(selectors.BaseSelector):
    """A real selector that waits for a timer by moving the clock to it."""

    def __init__(self, loop: _VirtualTimeLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            self._loop.round_up()
            return self._real.select(timeout)
        # Asked before polling: threads idle by now have nothing more to report.
        ready = self._real.select(timeout if self._loop.threads_at_work else 0)
        if not ready:
            self._loop.advance(timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


def _trio_options() -> dict[str, Any]:
    try:
        import trio
        import trio.testing
    except ImportError as exc:
        raise MissingExtraError("virtual_time('trio')", "testing") from exc

    clock = trio.testing.MockClock(autojump_threshold=0)

    class HoldForThreads(trio.abc.Instrument):
        """Before the loop can fall idle, says how long idleness must really last."""

        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            threshold = 0.0
            if trio.testing.active_thread_count():
                statistics = trio.lowlevel.current_statistics()
                threshold = max(0.0, statistics.seconds_to_next_deadline)  # it may be past
            if threshold != clock.autojump_threshold:
                clock.autojump_threshold = threshold

    return {"clock": clock, "instruments": [HoldForThreads()]}
