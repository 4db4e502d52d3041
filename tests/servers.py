"""A real server on a free port of this machine, for tests that talk to one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from time import monotonic, sleep
from typing import Any

import uvicorn

__all__ = ["serving"]

_LIMIT = 30.0  # s for a server to start, or to end


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[str]:
    """``app`` under uvicorn in a thread of its own: the URL it answers at, without a slash.

    It has ended when the block has, with its lifespan.

    Args:
        options: Of `uvicorn.Config`.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, **{"log_level": "warning", "timeout_graceful_shutdown": 5, "lifespan": "on", **options}
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        _wait(lambda: server.started or not thread.is_alive())
        assert server.started, "the server did not start: its log says why"
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_LIMIT)
        listening.close()
        assert not thread.is_alive(), "the server did not end"


def _wait(until: Any) -> None:
    deadline = monotonic() + _LIMIT
    while not until():
        assert monotonic() < deadline
        sleep(0.01)
