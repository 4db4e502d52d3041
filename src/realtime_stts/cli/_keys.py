"""The Enter key, as an event loop can wait for it."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

from anyio import to_thread

__all__ = ["enter_pressed", "unechoed"]


async def enter_pressed() -> AsyncGenerator[None]:
    """Yields each time that a line comes from stdin, until it ends.

    Nothing interrupts a thread that reads from a terminal. This one is a daemon, which the
    process does not wait for when it exits; it reads one line more than anybody asks for.
    """
    presses: SimpleQueue[bool] = SimpleQueue()

    def read() -> None:
        for _ in sys.stdin:
            presses.put(True)
        presses.put(False)

    Thread(target=read, daemon=True).start()
    try:
        while await to_thread.run_sync(presses.get, abandon_on_cancel=True):
            yield
    finally:
        presses.put(False)  # for a thread that was abandoned while it waits


@contextmanager
def unechoed() -> Iterator[None]:
    """Keys leave no trace on the screen, where the system can do that and stdin is a terminal."""
    try:
        import termios
    except ImportError:  # on Windows
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(sys.stdin, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
