"""A real server that answers by a script, and keeps what it was asked."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from time import monotonic, sleep
from typing import Any

import anyio
from starlette.requests import Request

from tests.servers import serving

__all__ = [
    "Act",
    "Asked",
    "Exchange",
    "Scripted",
    "calls",
    "chat",
    "event",
    "hangs",
    "refuses",
    "says",
    "scripted",
    "sends",
    "soon",
    "token",
]

_LIMIT = 20.0  # s


@dataclass(slots=True)
class Asked:
    """One request: a JSON body, or the fields of a form, files as bytes."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    port: int  # the client's


@dataclass(slots=True, eq=False)
class Exchange:
    """What an act has: the way back to the client, and whether the client is still there."""

    receive: Callable[[], Awaitable[Any]]
    send: Callable[[Any], Awaitable[None]]
    server: Scripted

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        raw = [(key.encode(), value.encode()) for key, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def body(self, data: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def left(self) -> None:
        """Wait until the client has gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.server.left.set()


Act = Callable[[Exchange], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Scripted:
    """The server: each request takes the next act of its script; without one it is refused."""

    url: str = ""
    script: deque[Act] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    left: Event = field(default_factory=Event)  # a client went before the end

    def will(self, *acts: Act) -> None:
        """Forget what was, and play this."""
        self.script = deque(acts)
        self.asked.clear()
        self.left.clear()

    @property
    def bodies(self) -> list[Any]:
        return [each.body for each in self.asked]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        request = Request(scope, receive)
        headers, body = dict(request.headers), await _read(request)
        port = scope["client"][1]
        self.asked.append(Asked(request.method, request.url.path, headers, body, port))
        act = self.script.popleft() if self.script else refuses(500, "the script is over")
        await act(Exchange(receive, send, self))


async def _read(request: Request) -> Any:
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/"):
        fields: dict[str, Any] = {}
        async with request.form() as form:
            for key, value in form.multi_items():
                read = value if isinstance(value, str) else await value.read()
                fields[key] = [*fields.get(key, []), read] if key.endswith("[]") else read
        return fields
    body = await request.body()
    return json.loads(body) if body else None


@contextmanager
def scripted() -> Iterator[Scripted]:
    """A server on a free port; what it breaks off on purpose is in no log."""
    server = Scripted()
    with serving(server, log_level="critical") as url:
        server.url = f"{url}/v1"
        yield server


def sends(
    *pieces: bytes,
    status: int = 200,
    kind: str = "application/octet-stream",
    ending: str = "whole",
    pause: float = 0.0,
    **headers: str,
) -> Act:
    """An answer in pieces, which is then whole, breaks off (``broken``) or goes on (``open``)."""

    async def act(exchange: Exchange) -> None:
        await exchange.start(status, {"content-type": kind, **headers})
        for piece in pieces:
            await exchange.body(piece)
            if pause:
                await anyio.sleep(pause)
        if ending == "broken":
            raise ConnectionError
        if ending == "open":
            await exchange.left()
        await exchange.body(b"", more=False)

    return act


def says(answer: object, status: int = 200, **headers: str) -> Act:
    """JSON."""
    data = json.dumps(answer).encode()
    return sends(data, status=status, kind="application/json", **headers)


def refuses(
    status: int, message: str = "no", *, headers: Mapping[str, str] | None = None, **fields: Any
) -> Act:
    """An error in OpenAI's shape."""
    return says({"error": {"message": message, **fields}}, status, **dict(headers or {}))


async def hangs(exchange: Exchange) -> None:
    """Nothing comes, until the client leaves."""
    await exchange.left()


def event(data: object) -> bytes:
    """A server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"data: {text}\n\n".encode()


def token(finish: str | None = None, **delta: Any) -> bytes:
    """A chunk of a chat completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"object": "chat.completion.chunk", "choices": [choice]})


def chat(*tokens: str, finish: str = "stop", ending: str = "whole", pause: float = 0.0) -> Act:
    """An answer token by token, with what surrounds it at OpenAI."""
    usage = event({"choices": [], "usage": {"total_tokens": 3}})
    end = [] if ending != "whole" else [token(finish), usage, event("[DONE]")]
    body = [token(role="assistant", content=""), *(token(content=each) for each in tokens), *end]
    return sends(*body, kind="text/event-stream; charset=utf-8", ending=ending, pause=pause)


def calls(
    *functions: tuple[str, str, str], before: Sequence[str] = (), finish: str = "tool_calls"
) -> Act:
    """Calls of tools, ``(id, name, arguments)``, in pieces as OpenAI sends them."""
    body = [token(content=each) for each in before]
    for index, (id, name, arguments) in enumerate(functions):
        function: dict[str, Any] = {"name": name, "arguments": ""}
        call = {"index": index, "id": id, "type": "function", "function": function}
        body.append(token(tool_calls=[call]))
        for start in range(0, len(arguments), 5):
            piece = {"arguments": arguments[start : start + 5]}
            body.append(token(tool_calls=[{"index": index, "function": piece}]))
    return sends(*body, token(finish), event("[DONE]"), kind="text/event-stream")


def soon(condition: Callable[[], Any]) -> None:
    """Wait, outside of any event loop, until it holds."""
    deadline = monotonic() + _LIMIT
    while not condition():
        assert monotonic() < deadline, "it did not come to that"
        sleep(0.01)
