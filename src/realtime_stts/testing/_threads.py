"""Which threads are at work: the pools keep idle ones for later, and those harm nobody."""

from __future__ import annotations

import asyncio
import threading

# anyio has no public word for this, but it lists a worker among its pool's idle ones from
# the moment the event loop has its result.
from anyio._backends._asyncio import WorkerThread

__all__ = ["threads_at_work", "workers_at_work"]


def threads_at_work() -> set[threading.Thread]:
    """Every live thread that is not waiting in a thread pool of anyio or trio."""
    return {thread for thread in threading.enumerate() if not _is_idle(thread)}


def workers_at_work(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether `anyio.to_thread` runs anything for an asyncio loop, abandoned or not."""
    return any(
        isinstance(thread, WorkerThread) and thread.loop is loop and not _is_idle(thread)
        for thread in threading.enumerate()
    )


def _is_idle(thread: threading.Thread) -> bool:
    if isinstance(thread, WorkerThread):
        return thread.stopping or thread in thread.idle_workers
    return thread.name.startswith("Trio thread ")  # at work it has the name of its job
