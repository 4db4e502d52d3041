"""ASGI layers around a whole application: ids, limits and headers of every answer.

They are plain ASGI, so that streams and sockets pass through them unbuffered.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable
from time import perf_counter
from typing import Final

from anyio.lowlevel import checkpoint
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from ..._request import request_scope
from ._body_limit import BodyLimitMiddleware
from ._identity import bearer_token, client_of, header, request_id_of
from ._problems import INTERNAL, Problem
from ._responses import problem_response

try:
    import sniffio
except ImportError:  # anyio does not need it since 4.12, and is quick without it
    sniffio = None  # type: ignore[assignment]

__all__ = ["BodyLimitMiddleware", "RequestMiddleware", "protect"]

_log = logging.getLogger(__name__)

_CLIENTS_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_CLIENTS_HEADERS: Final = ("Authorization", "Content-Type", "X-Request-ID")
_OUR_HEADERS: Final = ("X-Request-ID", "X-Processing-Time", "Content-Disposition", "Retry-After")

_ALWAYS: Final = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
# A page's own scripts, sockets and sounds; nobody else's, and in no other page's frame.
_PAGES: Final = (
    (
        b"content-security-policy",
        (
            b"default-src 'self'; connect-src 'self'; img-src 'self' data:; "
            b"media-src 'self' blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
            b"form-action 'self'; frame-ancestors 'none'"
        ),
    ),
    (b"permissions-policy", b"microphone=(self)"),
)


def protect(
    app: Starlette,
    *,
    max_body_bytes: int = 100_000_000,
    max_body_seconds: float = 30.0,
    allowed_hosts: Collection[str] = ("*",),
    cors_origins: Collection[str] = (),
    cors_allow_credentials: bool = False,
) -> None:
    """Put the layers around an application, before it serves.

    Answers get ``X-Request-ID``, ``X-Processing-Time`` and headers that browsers keep pages
    safe by; an answer's own headers stay as they are. An error that nobody handled is logged
    with the request's id, and answered without a word of its own.

    Args:
        max_body_bytes: Of a request; a larger one is answered with 413.
        max_body_seconds: From one piece of a request's body to the next; then 408.
        allowed_hosts: Names that the server is called by in ``Host``: ``example.org``,
            ``*.example.org`` for every name below it, or ``*`` for any. Without the port.
        cors_origins: Pages of other origins that may read answers, as ``https://example.org``;
            ``*`` is any.
        cors_allow_credentials: Whether they may do so with the user's cookies.

    Raises:
        ValueError: A limit is not positive, a host's pattern is none, or any page may read
            answers with the user's cookies.
    """
    hosts = frozenset(name.lower() for name in allowed_hosts)
    if any("*" in name.removeprefix("*.") for name in hosts - {"*"}):
        raise ValueError("a host is example.org, *.example.org or *")
    if "*" in cors_origins and cors_allow_credentials:
        raise ValueError("any page could act as the user: name the origins, or no credentials")
    # The last that is added is the outermost.
    app.add_middleware(_Failures)
    app.add_middleware(BodyLimitMiddleware, max_bytes=max_body_bytes, max_seconds=max_body_seconds)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[*cors_origins],
            allow_credentials=cors_allow_credentials,
            allow_methods=_CLIENTS_METHODS,
            allow_headers=_CLIENTS_HEADERS,
            expose_headers=_OUR_HEADERS,
        )
    if "*" not in hosts:
        app.add_middleware(_Hosts, allowed=hosts)
    app.add_middleware(RequestMiddleware)


class RequestMiddleware:
    """Gives each request an id and a `request_scope`, and each answer its headers.

    The id is the client's ``X-Request-ID``, if it is 1 to 128 visible ASCII characters. The
    scope's session is the client's address, its token that of ``Authorization: Bearer``. The
    id is also in ``request.state.request_id``. ``X-Processing-Time`` is in seconds, until the
    answer begins.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        request_id = request_id_of(scope)
        _know_the_loop()

        async def with_headers(message: Message) -> None:
            kind = message["type"]
            if kind.endswith("http.response.start"):
                ours = (
                    (b"x-request-id", request_id.encode()),
                    (b"x-processing-time", b"%.6f" % (perf_counter() - began)),
                )
                given = [*message.get("headers", ())]
                message = {**message, "headers": [*given, *ours, *_missing(given)]}
            elif kind == "websocket.accept":
                given = [*(message.get("headers") or ())]
                message = {**message, "headers": [*given, (b"x-request-id", request_id.encode())]}
            await send(message)
            if kind == "websocket.http.response.body":
                # Uvicorn takes a refusal for none until it has closed the connection, and then
                # logs an error: it gets the time to do that.
                await checkpoint()

        with request_scope(request_id, session_id=client_of(scope), token=bearer_token(scope)):
            await self._app(scope, receive, with_headers)


def _know_the_loop() -> None:
    """Say once which event loop this is, for this request's calls of anyio.

    Each of them finds it out anew otherwise, by asking for the current task: 1.3 of the 1.9 us
    of `anyio.current_time`, and a sixth of what a conversation costs.
    """
    if sniffio is not None and sniffio.current_async_library_cvar.get() is None:
        sniffio.current_async_library_cvar.set(sniffio.current_async_library())


_NO_HOST: Final = Problem(400, "unknown_host", "There is no such host here.")


class _Hosts:
    """Answers only to its own names, so that no other name can be pointed at it."""

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._names = frozenset(name for name in allowed if not name.startswith("*."))
        self._suffixes = tuple(name[1:] for name in allowed if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._is_ours(header(scope, b"host")):
            await self._app(scope, receive, send)
        else:
            await problem_response(_NO_HOST, request_id_of(scope))(scope, receive, send)

    def _is_ours(self, host: str | None) -> bool:
        name = (host or "").lower()
        # An IPv6 address is in brackets, which its port follows.
        name = name[: name.find("]") + 1] if name.startswith("[") else name.partition(":")[0]
        return name in self._names or (
            name.endswith(self._suffixes) and re.fullmatch(r"[a-z0-9.-]+", name) is not None
        )


class _Failures:
    """Answers for an application that has failed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        last = ""

        async def noted(message: Message) -> None:
            nonlocal last
            last = message["type"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except (ClientDisconnect, WebSocketDisconnect):
            pass  # nobody is there to be answered
        except Exception:
            if scope["type"] not in ("http", "websocket"):
                raise
            request_id = request_id_of(scope)
            _log.exception("request %s failed", request_id)
            if last == "":
                await problem_response(INTERNAL, request_id)(scope, receive, send)
            elif last in ("websocket.accept", "websocket.send"):
                await send({"type": "websocket.close", "code": 1011, "reason": "internal error"})
            elif scope["type"] == "http":
                raise  # the server breaks the connection off: the client sees half an answer


def _missing(given: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    """The headers that keep pages safe, of those that an answer has not got."""
    has = {name.lower(): value for name, value in given}
    is_page = has.get(b"content-type", b"").startswith(b"text/html")
    return [each for each in (_ALWAYS + _PAGES if is_page else _ALWAYS) if each[0] not in has]
