"""A limit to what a client sends, and to how slowly."""

from __future__ import annotations

from typing import Final

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ._identity import header, request_id_of
from ._problems import Problem
from ._responses import problem_response

__all__ = ["BodyLimitMiddleware"]

_TOO_LARGE: Final = Problem(413, "too_large", "The request is too large.")
_TOO_SLOW: Final = Problem(408, "too_slow", "The request came too slowly. Please send it again.")
_GONE: Final[Message] = {"type": "http.disconnect"}

# A client that has not sent everything may not look for an answer yet, and loses it if the
# connection is closed under what it sends.
_DRAINED_BYTES: Final = 1 << 24
_DRAINED_SECONDS: Final = 2.0


class BodyLimitMiddleware:
    """Refuses what is too large, or comes too slowly, while it is being read.

    To the application such a client has gone; what it answers then is dropped for a 413 or
    408. After its answer has begun, only the rest of the body is cut off.

    Args:
        max_bytes: Of a request's body.
        max_seconds: From one piece of it to the next.

    Raises:
        ValueError: One of them is not positive.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_seconds: float = 30.0) -> None:
        if not (max_bytes > 0 and max_seconds > 0):
            raise ValueError(f"limits are positive, not {max_bytes} bytes and {max_seconds} s")
        self._app = app
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, send, self._max_bytes, self._max_seconds)
        if _declared_length(scope) > self._max_bytes:
            body.problem = _TOO_LARGE
        else:
            try:
                await self._app(scope, body.receive, body.send)
            except Exception:  # the application's, of a client that to it has gone
                if body.problem is None or body.has_begun:
                    raise
        if body.problem is not None and not body.has_begun:
            if header(scope, b"expect") is None:
                await body.drain()
            response = problem_response(body.problem, request_id_of(scope))
            response.headers["Connection"] = "close"  # more of the body may be on its way
            await response(scope, receive, send)


class _Body:
    """One request's body as it comes, and whether it may come any further."""

    def __init__(self, receive: Receive, send: Send, max_bytes: int, max_seconds: float) -> None:
        self._receive, self._send = receive, send
        self._left = max_bytes
        self._max_seconds = max_seconds
        self._is_whole = False
        self.problem: Problem | None = None
        self.has_begun = False  # the answer

    async def receive(self) -> Message:
        if self.problem is not None:
            return _GONE
        if self._is_whole:  # now it waits for the client to leave, which may take long
            return await self._receive()
        with anyio.move_on_after(self._max_seconds):
            message = await self._receive()
            self._is_whole = not message.get("more_body", False)
            self._left -= len(message.get("body", b""))
            if self._left >= 0:
                return message
            self.problem = _TOO_LARGE
            return _GONE
        self.problem = _TOO_SLOW
        return _GONE

    async def send(self, message: Message) -> None:
        if self.problem is None or self.has_begun:
            self.has_begun = True
            await self._send(message)

    async def drain(self) -> None:
        """Read on for a little, for the client to take the answer."""
        left = _DRAINED_BYTES if self.problem is _TOO_LARGE and not self._is_whole else 0
        with anyio.move_on_after(_DRAINED_SECONDS):
            while left > 0:
                message = await self._receive()
                if not message.get("more_body", False):
                    return
                left -= len(message["body"])


def _declared_length(scope: Scope) -> int:
    declared = header(scope, b"content-length") or ""
    # Servers refuse any other; as many digits as this are too large in any case.
    return int(declared[:20]) if declared.isascii() and declared.isdigit() else 0
