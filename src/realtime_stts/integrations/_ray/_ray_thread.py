"""The one thread in which everything is said to Ray and heard from it.

Ray's handles want an asyncio loop and may block; callers have loops of any kind, several of
them, and block for nobody. The thread is there as long as somebody holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from threading import Event, Lock, Thread
from typing import Any, TypeVar

from ...engines._lookout import lookout

__all__ = ["RayThread", "current_thread", "hold", "let_go", "outcome"]

T = TypeVar("T")


class RayThread:
    """A thread with an asyncio loop, from the start to `stop`."""

    def __init__(self) -> None:
        self._started = Event()
        self._tasks = set[asyncio.Task[Any]]()
        self.loop: asyncio.AbstractEventLoop
        self._thread = Thread(target=self._run, name="realtime_stts: Ray", daemon=True)
        self._thread.start()
        self._started.wait()

    def start(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> Future[T]:
        """Run a coroutine there; from any thread."""
        future = Future[T]()

        def begin() -> None:
            task = self.loop.create_task(function(*arguments))
            self._tasks.add(task)  # an event loop does not keep them
            task.add_done_callback(end)

        def end(task: asyncio.Task[T]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                future.cancel()
            elif (error := task.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(task.result())

        # Not in the caller's context, which says that the event loop is trio's, perhaps.
        self.loop.call_soon_threadsafe(begin, context=Context())
        return future

    def tell(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function there, soon; from any thread."""
        with suppress(RuntimeError):  # it has ended, and withdrawn everything
            self.loop.call_soon_threadsafe(function, *arguments, context=Context())

    def stop(self) -> None:
        """Withdraw what still runs there, and end. Waits for nobody."""
        self.tell(self.loop.stop)

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        self.loop = loop
        asyncio.set_event_loop(loop)
        loop.call_soon(self._started.set)
        try:
            loop.run_forever()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def outcome(future: Future[T]) -> T:
    """Wait for what the thread does, from any event loop. Being cancelled does not stop it."""
    waiting = lookout()
    future.add_done_callback(lambda _: waiting.ring())
    await waiting.wait(future.done)
    return future.result()


_lock = Lock()
_thread: RayThread | None = None
_n_holders = 0


def current_thread() -> RayThread:
    """The thread, for what runs in it."""
    assert _thread is not None
    return _thread


def hold() -> RayThread:
    """The thread, which stays until as many as held it have called `let_go`."""
    global _thread, _n_holders
    with _lock:
        _n_holders += 1
        if _thread is None:
            _thread = RayThread()
        return _thread


def let_go() -> None:
    global _thread, _n_holders
    with _lock:
        _n_holders -= 1
        if _n_holders == 0 and _thread is not None:
            _thread.stop()
            _thread = None
