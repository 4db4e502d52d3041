"""Who may open a socket, and for how long."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ..._request import request_scope
from ...errors import (
    AuthenticationError,
    OverloadedError,
    PermissionDeniedError,
    RealtimeSTTSError,
)
from ...middleware import Principal
from ._identity import as_id, bearer_token, client_of, request_id_of
from ._origins import is_own_origin
from ._problems import Problem, problem_of
from ._responses import problem_response
from ._seats import Seats
from ._tickets import Bearer, Tickets

__all__ = ["Admitted", "Gate", "deny"]

_log = logging.getLogger(__name__)

_POLICY: Final = 1008  # RFC 6455, section 7.4.1
_LAST_WORD: Final = 1.0  # s for a client to take its close frame

_FOREIGN: Final = Problem(403, "foreign_origin", "Pages of that origin may not connect.")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A client that was let in.

    Attributes:
        client: Its subject, or its address if nobody asked who it is.
        principal: Who it is.
        request_id: Of the request that asked for the socket.
    """

    client: str
    principal: Principal | None
    request_id: str


class Gate:
    """Says who may open a socket. What it refuses is answered over HTTP, before the socket.

    A page shows a ticket in the query, ``?ticket=``; a program a token in ``Authorization:
    Bearer``. A browser's page must be of this server or of ``origins``, whatever it shows.

    Args:
        origins: Of other pages that may connect; see `is_own_origin`.
        seats: For how many at a time there is room.
        tickets: Those that are let in by one, on the clock of `time.monotonic`.
        authenticate: Who shows a token, or none, from which address; None if that need not be
            known. It refuses with an `AuthenticationError`, or a `RateLimitError`.
        permission: What whoever is known needs.
        max_seconds: After which a socket is closed with 1008; None for no limit.
        max_idle_seconds: For the socket's adapter: the gate itself reads nothing.
        is_draining: Whether the server lets nobody in any more.

    Raises:
        ValueError: A limit is not positive.
    """

    def __init__(
        self,
        *,
        origins: Collection[str] = (),
        seats: Seats | None = None,
        tickets: Tickets | None = None,
        authenticate: Callable[[str | None, str], Principal | None] | None = None,
        permission: str = "response",
        max_seconds: float | None = None,
        max_idle_seconds: float | None = None,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        for limit in (max_seconds, max_idle_seconds):
            if limit is not None and not limit > 0:
                raise ValueError(f"a socket's time is more than 0 seconds, not {limit}")
        self.max_seconds = max_seconds
        self.max_idle_seconds = max_idle_seconds
        self._origins = origins
        self._seats = seats
        self._tickets = tickets
        self._authenticate = authenticate
        self._permission = permission
        self._is_draining = is_draining

    @asynccontextmanager
    async def admit(self, websocket: WebSocket) -> AsyncGenerator[Admitted | None]:
        """Let a client in for as long as the block lasts; None if it was refused.

            async with gate.admit(websocket) as admitted:
                if admitted is not None:
                    await engine.handle_conversation(StarletteWebSocketAdapter(websocket))

        The block is cancelled once its time is over. It holds a seat and a `request_scope`.
        """
        request_id, headers = request_id_of(websocket.scope), websocket.headers
        if not is_own_origin(headers.get("origin"), headers.get("host"), self._origins):
            await deny(websocket, _FOREIGN, request_id)
            yield None
            return
        with ExitStack() as stack:
            try:
                principal, token = self._who(websocket)
                client = client_of(websocket.scope) if principal is None else principal.subject
                if self._seats is not None:
                    stack.enter_context(self._seats.seat(client))
            except RealtimeSTTSError as exc:
                await deny(websocket, problem_of(exc), request_id)
                yield None
                return
            stack.enter_context(request_scope(request_id, session_id=as_id(client), token=token))
            failure: Exception | None = None
            async with anyio.create_task_group() as tasks:
                if self.max_seconds is not None:
                    tasks.start_soon(_end, websocket, self.max_seconds, tasks.cancel_scope)
                try:
                    yield Admitted(client, principal, request_id)
                except Exception as exc:  # noqa: BLE001 - raised below, not in a group
                    failure = exc
                tasks.cancel_scope.cancel()
            if failure is not None:
                raise failure

    def _who(self, websocket: WebSocket) -> Bearer:
        """Who asks.

        Raises:
            OverloadedError: Nobody is let in any more.
            AuthenticationError: It is not known, and must be.
            PermissionDeniedError: They may not do this.
        """
        if self._is_draining():
            raise OverloadedError("the server is being stopped")
        ticket = websocket.query_params.get("ticket")
        if ticket is not None and self._tickets is not None:
            bearer = self._tickets.redeem(ticket, monotonic())
            if bearer is None:
                raise AuthenticationError("the ticket is not good any more")
        else:
            token, ask = bearer_token(websocket.scope), self._authenticate
            bearer = Bearer(ask(token, client_of(websocket.scope)) if ask else None, token)
        if (who := bearer.principal) is not None and self._permission not in who.permissions:
            raise PermissionDeniedError(f"{self._permission} is not permitted")
        return bearer


async def deny(websocket: WebSocket, problem: Problem, request_id: str) -> None:
    """Answer a request for a socket that is not open yet with ``problem``."""
    _log.info("request %s: a socket was refused: %s", request_id, problem.code)
    with suppress(OSError):  # it has left meanwhile
        if "websocket.http.response" in websocket.scope.get("extensions", {}):
            await websocket.send_denial_response(problem_response(problem, request_id))
        else:
            await websocket.close(_POLICY)  # the server makes a 403 of it


async def _end(websocket: WebSocket, seconds: float, block: anyio.CancelScope) -> None:
    """Close the socket in time, and then end what uses it: who closes first gives the reason."""
    await anyio.sleep(seconds)
    if websocket.application_state is not WebSocketState.DISCONNECTED:
        # It may have left meanwhile, or take nothing any more.
        with anyio.move_on_after(_LAST_WORD):
            with suppress(OSError, RuntimeError, WebSocketDisconnect):
                await websocket.close(_POLICY, "session limit")
    block.cancel()
