"""Finds what a block of code left running."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread

from ._generators import watched_generators
from ._threads import threads_at_work

__all__ = ["no_leaks"]

_PATIENCE = 5.0  # s of real time: a thread told to stop needs some to do so


@asynccontextmanager
async def no_leaks() -> AsyncGenerator[None]:
    """Assert that the block leaves no task, no thread and no open async generator behind.

    Idle threads of a pool are no leak; a thread that is ending is waited for. A generator
    that was left to the garbage collector was not closed: `contextlib.aclosing` does it.
    Failing blocks are not checked: their own error says more.

    Raises:
        AssertionError: Something still runs; the message names it.
    """
    tasks = {task.id for task in anyio.get_running_tasks()}
    threads = threads_at_work()
    others = tasks - {anyio.get_current_task().id}
    with watched_generators(lambda: anyio.get_current_task().id not in others) as generators:
        yield
        await anyio.wait_all_tasks_blocked()
    left = [task.name for task in anyio.get_running_tasks() if task.id not in tasks]
    assert not left, f"tasks left running: {', '.join(map(str, left))}"
    assert not generators.names, f"async generators left open: {', '.join(generators.names)}"

    # A thread's end wakes nobody, so it is looked for; in a thread, as the clock may be
    # virtual.
    limit = time.monotonic() + _PATIENCE
    while (alive := threads_at_work() - threads) and time.monotonic() < limit:
        await anyio.to_thread.run_sync(time.sleep, 0.01)
    assert not alive, f"threads left running: {', '.join(thread.name for thread in alive)}"
