"""What is under way over HTTP and WebSockets, and an end for clients that do not take answers."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from realtime_stts.integrations.starlette import BodyLimitMiddleware

__all__ = ["Connections", "ConnectionsMiddleware", "SmallBodies"]

_SENDING = 30.0  # s for a client to take what it is sent; sessions give up sooner by themselves
_QUIET = 1.0  # s without a message, after which a conversation is between two turns
_CLOSING = 2.0  # s for all sockets to take the message that they are closed


class Connections:
    """The requests and the sockets that are open."""

    def __init__(self) -> None:
        self.requests = 0
        self.sockets: set[_Socket] = set()

    @property
    def is_busy(self) -> bool:
        """Whether anybody is being answered."""
        now = monotonic()
        return self.requests > 0 or any(now - each.sent_at < _QUIET for each in self.sockets)

    async def close(self, code: int, reason: str) -> None:
        """Close all sockets: their conversations end as if the clients had gone."""
        with anyio.move_on_after(_CLOSING):
            async with anyio.create_task_group() as tasks:
                for socket in tuple(self.sockets):
                    tasks.start_soon(socket.close, code, reason)


class ConnectionsMiddleware:
    """Counts in `Connections`, and gives up on clients that take nothing."""

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._app, self._connections = app, connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            socket = _Socket(send)
            self._connections.sockets.add(socket)
            try:
                await self._app(scope, receive, socket.send)
            finally:
                self._connections.sockets.discard(socket)
        elif scope["type"] == "http":
            self._connections.requests += 1
            try:
                await self._app(scope, receive, _patient(send))
            finally:
                self._connections.requests -= 1
        else:
            await self._app(scope, receive, send)


class SmallBodies:
    """Lets only uploads be large, of those who may: a body is read before anybody is asked.

    Args:
        may_upload: Whether whoever sends this path, and this header ``Authorization``, may.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, may_upload: Callable[[str, str | None], bool]
    ) -> None:
        self._app = app
        self._limited = BodyLimitMiddleware(app, max_bytes)
        self._may_upload = may_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        may_be_large = False
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            kind = headers.get("content-type", "").lower()
            may_be_large = kind.startswith("multipart/form-data") and self._may_upload(
                scope["path"], headers.get("authorization")
            )
        await (self._app if may_be_large else self._limited)(scope, receive, send)


class _Socket:
    """One socket, as seen from the side of the server."""

    def __init__(self, send: Send) -> None:
        self._send = _patient(send)
        self._is_open = self._is_closed = False
        self.sent_at = -_QUIET

    async def send(self, message: Message) -> None:
        if self._is_closed:
            raise OSError("the server has closed this socket")  # what a client's going is, too
        self._is_open = self._is_open or message["type"] == "websocket.accept"
        self.sent_at = monotonic()
        await self._send(message)

    async def close(self, code: int, reason: str) -> None:
        if not self._is_open or self._is_closed:
            return
        self._is_closed = True
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except (OSError, RuntimeError):  # it has gone by itself
            return


def _patient(send: Send) -> Send:
    async def sent(message: Message) -> None:
        with anyio.move_on_after(_SENDING) as scope:
            await send(message)
        if scope.cancelled_caught:
            raise OSError("the client does not take what it is sent")

    return sent
