"""Uvicorn as this server needs it: one that drains, and closes what is held open against it."""

from __future__ import annotations

import asyncio
import gc
import logging
from types import FrameType
from typing import Any

import anyio
import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from realtime_stts.settings import Settings

from .services import Services

__all__ = ["Server", "options_of", "server_of"]

_log = logging.getLogger(__name__)

_HEADERS = 10.0  # s for the headers of a request, beginning when the connection waits for one
_ABORT = 10.0  # s for a client to take what was left when its connection was closed
_HEADER_BYTES = 32 * 1024
_CONNECTIONS = 1000  # more get 503 at once


class _Requests(H11Protocol):
    """HTTP that waits for headers, and for its client to take the end of an answer, so long."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.transport.is_closing():  # of a client that takes nothing it is never closed
            self._forget()
            self.loop.call_later(_ABORT, self.transport.abort)
        elif self.conn.their_state is not h11.IDLE:
            self._forget()
        elif self._late is None:
            self._late = self.loop.call_later(_HEADERS, self.transport.abort)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Sockets(WebSocketsSansIOProtocol):
    """WebSockets whose connection ends when their conversation has, whatever the client does.

    Of those that uvicorn has, this implementation waits with a message until all but 64 KiB of
    those before it were taken: a client that reads nothing holds no more memory than that.
    """

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True  # a refusal is an end of it: no error to be logged

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.loop.call_later(_ABORT, self.transport.abort)


class Server(uvicorn.Server):
    """Ends with 0 when it is told to: the first time it drains, the second time at once."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services
        self._settling: asyncio.Task[None] | None = None

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._settling = asyncio.create_task(self._settle())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        _log.info(
            "stopping: what is under way has %g s", self._services.settings.server.drain_seconds
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._unless_forced, tasks.cancel_scope)
            await self._services.drain()
            tasks.cancel_scope.cancel()
        if self._settling is not None:
            self._settling.cancel()
        await super().shutdown(sockets)

    async def _settle(self) -> None:
        """Spare the garbage collection what is loaded and stays.

        Looking through it took 0.1 to 0.3 s again and again, in which nobody was served.
        """
        while self._services.state == "starting":  # noqa: ASYNC110 - it takes seconds, once
            await asyncio.sleep(0.1)
        gc.collect()
        gc.freeze()

    async def _unless_forced(self, scope: anyio.CancelScope) -> None:
        while not self.force_exit:  # noqa: ASYNC110 - a signal's handler sets it
            await anyio.sleep(0.05)
        scope.cancel()


def options_of(settings: Settings) -> dict[str, Any]:
    """The options of `uvicorn.Config` that these settings ask for."""
    return {
        "host": settings.server.host,
        "port": settings.server.port,
        "http": _Requests,
        "h11_max_incomplete_event_size": _HEADER_BYTES,
        "ws": _Sockets,
        "ws_max_size": settings.limits.max_message_kb * 1024,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "timeout_keep_alive": 5,
        "timeout_graceful_shutdown": 1,  # after ours, for what has not ended
        "limit_concurrency": _CONNECTIONS,
        "server_header": False,
        "log_config": None,
    }


def server_of(app: FastAPI) -> Server:
    """The server of an app that `create_app` made."""
    services: Services = app.state.services
    return Server(uvicorn.Config(app, **options_of(services.settings)), services)
