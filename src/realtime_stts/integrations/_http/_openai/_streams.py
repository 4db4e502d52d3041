"""An answer that leaves while it is being made, and whose errors are errors.

Until the first piece exists nothing has been sent, and a failure is an answer of its own
with its own status. Later ones cut the connection: what ended well would be taken for the
whole.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ._errors import error_response, problem_with
from ._results import error_fields

__all__ = [
    "EVENT_STREAM",
    "StreamCutError",
    "Streamed",
    "server_sent",
    "server_sent_error",
    "unless_gone",
]

EVENT_STREAM = "text/event-stream"


class StreamCutError(RuntimeError):
    """An answer failed after it had begun. Raised into the server, it closes the connection."""


class Streamed(Response):
    """An answer of the pieces that a generator yields.

    The generator runs in one task from its beginning to its end, and is closed when the
    client leaves.

    Args:
        make: Makes the generator.
        farewell: Makes the last piece after a failure, for formats that can tell of one;
            without it the connection is cut.
    """

    def __init__(
        self,
        make: Callable[[], AsyncGenerator[bytes]],
        media_type: str,
        *,
        farewell: Callable[[Exception], bytes] | None = None,
    ) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]  # nobody knows it yet
        self._make, self._farewell = make, farewell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        failure: Exception | None = None
        begun = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_departure, receive, tasks.cancel_scope)
            try:
                async with aclosing(self._make()) as pieces:
                    async for piece in pieces:
                        if not begun:
                            begun = True
                            await self._start(send)
                        await _more(send, piece)
            except Exception as error:  # noqa: BLE001 - engines of others run in there
                failure = error
            if failure is None or (begun and self._farewell is not None):
                await self._finish(send, failure)
            elif not begun:
                await error_response(failure)(scope, receive, send)
            tasks.cancel_scope.cancel()
        if failure is not None and begun and self._farewell is None:
            problem_with(failure)  # which logs it
            raise StreamCutError("the answer failed after it had begun")

    async def _start(self, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )

    async def _finish(self, send: Send, failure: Exception | None) -> None:
        if failure is not None and self._farewell is not None:
            await _more(send, self._farewell(failure))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_gone(request: Request, call: Callable[[], Awaitable[Response]]) -> Response:
    """What ``call`` answers; it is cancelled if the client leaves, who is not waiting for it."""
    answer: Response = Response(status_code=499)  # as servers log it; nobody gets it
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_on_departure, request.receive, tasks.cancel_scope)
        try:
            answer = await call()
        except Exception as error:  # noqa: BLE001 - raised below, not in a group
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return answer


def server_sent(event: Mapping[str, Any]) -> bytes:
    """An event of a `EVENT_STREAM`: its data only, as OpenAI's audio events are sent."""
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def server_sent_error(error: Exception) -> bytes:
    """The event that OpenAI's clients raise an error for."""
    fields = error_fields(*problem_with(error))
    return b"event: error\n" + server_sent({"error": fields})


async def _more(send: Send, piece: bytes) -> None:
    if piece:  # an empty one would be the end, to some servers
        await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _cancel_on_departure(receive: Receive, answering: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answering.cancel()
