"""The layers around an application, on a real server: ids, limits, hosts, headers."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")
pytest.importorskip("websockets")

import anyio
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from realtime_stts._request import current_origin, current_token
from realtime_stts.integrations._http._identity import client_of, request_id_of
from realtime_stts.integrations.starlette import BodyLimitMiddleware, RequestMiddleware, protect
from tests.servers import serving

LIMIT = 10.0  # s, for what takes milliseconds
BYTES = 100_000  # that a body may have


async def origin(request: Request) -> JSONResponse:
    origin = current_origin()
    return JSONResponse(
        {
            "request_id": origin.request_id,
            "session_id": origin.session_id,
            "token": current_token(),
            "state": request.state.request_id,
        }
    )


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse("<p>hello", headers=dict(request.query_params))


async def count(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def careless(request: Request) -> PlainTextResponse:
    """Answers whatever happens to it."""
    with suppress(Exception):
        await request.body()
    return PlainTextResponse("fine")


async def broken(request: Request) -> PlainTextResponse:
    raise ZeroDivisionError("a secret")


async def breaking(request: Request) -> StreamingResponse:
    async def half() -> AsyncGenerator[bytes]:
        yield b"half"
        raise ZeroDivisionError("a secret")

    return StreamingResponse(half(), headers={"Content-Length": "8"})


async def ws_echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json({"request_id": current_origin().request_id})
    await websocket.receive_text()  # raises when the client leaves


async def ws_broken(websocket: WebSocket) -> None:
    raise ZeroDivisionError("a secret")


async def ws_breaking(websocket: WebSocket) -> None:
    await websocket.accept()
    raise ZeroDivisionError("a secret")


async def ws_closed(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(4000)
    raise ZeroDivisionError("a secret")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    yield


def application() -> Starlette:
    http = [origin, page, count, careless, broken, breaking]
    sockets = [ws_echo, ws_broken, ws_breaking, ws_closed]
    return Starlette(
        routes=[
            *(Route(f"/{each.__name__}", each, methods=["GET", "POST"]) for each in http),
            *(WebSocketRoute(f"/{each.__name__}", each) for each in sockets),
        ],
        lifespan=lifespan,
    )


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = application()
    protect(
        app,
        max_body_bytes=BYTES,
        allowed_hosts=("127.0.0.1", "[::1]", "*.example.org"),
        cors_origins=("https://app.example",),
        cors_allow_credentials=True,
    )
    with serving(app) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=LIMIT) as client:
        yield client


def raw(url: str, *pieces: bytes) -> bytes:
    """What a server answers to bytes of ours, until it closes."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=LIMIT) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return b"".join(iter(lambda: connection.recv(4096), b""))


# -- ids and headers ---------------------------------------------------------------------


def test_an_answer_has_the_id_that_the_client_gave(client: httpx.Client) -> None:
    answer = client.get("/origin", headers={"X-Request-ID": "from-the-client"})
    assert answer.headers["X-Request-ID"] == "from-the-client"
    assert answer.json()["request_id"] == answer.json()["state"] == "from-the-client"


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\tb", "ä".encode("latin-1")])
def test_without_a_usable_one_it_gets_its_own(
    client: httpx.Client, given: str | bytes | None
) -> None:
    headers: Any = {} if given is None else {"X-Request-ID": given}
    first, second = (client.get("/origin", headers=headers) for _ in range(2))
    ids = {first.headers["X-Request-ID"], second.headers["X-Request-ID"]}
    assert len(ids) == 2
    assert all(len(each) == 32 for each in ids)
    assert first.json()["request_id"] in ids


def test_engine_calls_know_who_asked(client: httpx.Client) -> None:
    answer = client.get("/origin", headers={"Authorization": "bearer  s3cret"}).json()
    assert (answer["session_id"], answer["token"]) == ("127.0.0.1", "s3cret")
    for header in ({}, {"Authorization": "Basic s3cret"}, {"Authorization": "Bearer"}):
        assert client.get("/origin", headers=header).json()["token"] is None


def test_every_answer_says_how_long_it_took(client: httpx.Client) -> None:
    for path in ("/origin", "/nowhere", "/broken"):
        seconds = client.get(path).headers["X-Processing-Time"]
        assert 0.0 <= float(seconds) < LIMIT
        assert len(seconds.partition(".")[2]) == 6


def test_every_answer_is_safe_in_a_browser(client: httpx.Client) -> None:
    for path in ("/origin", "/page", "/nowhere", "/broken"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    assert "Content-Security-Policy" not in client.get("/origin").headers


def test_a_page_may_use_only_what_is_its_own(client: httpx.Client) -> None:
    headers = client.get("/page").headers
    policy = dict(each.split(maxsplit=1) for each in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Permissions-Policy"] == "microphone=(self)"


def test_an_answers_own_headers_stay(client: httpx.Client) -> None:
    answer = client.get("/page", params={"Content-Security-Policy": "default-src 'none'"})
    assert answer.headers.get_list("Content-Security-Policy") == ["default-src 'none'"]


# -- bodies ------------------------------------------------------------------------------


def pieces(n_bytes: int) -> Iterator[bytes]:
    """A body in chunks, of which no header tells the length."""
    for at in range(0, n_bytes, 4096):
        yield bytes(min(4096, n_bytes - at))


@pytest.mark.parametrize("body", [bytes, pieces])
@pytest.mark.parametrize("path", ["/count", "/careless"])
def test_a_body_may_have_so_many_bytes_and_no_more(
    client: httpx.Client, path: str, body: Any
) -> None:
    answer = client.post(path, content=body(BYTES))
    assert answer.status_code == 200
    answer = client.post(path, content=body(BYTES + 1), headers={"X-Request-ID": "big"})
    assert answer.status_code == 413
    assert answer.json() == {
        "detail": "The request is too large.",
        "error_code": "too_large",
        "request_id": "big",
    }
    assert answer.headers["X-Request-ID"] == "big"


def test_what_is_declared_too_large_is_not_asked_for(url: str) -> None:
    answer = raw(
        url,
        b"POST /count HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000000\r\n"
        b"Expect: 100-continue\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_sends_on_and_on_is_cut_off(client: httpx.Client) -> None:
    """It gets its answer if it looks for one; else the connection is closed under it."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1 << 30:
            yield bytes(1 << 20)
            sent += 1 << 20

    with suppress(httpx.TransportError):
        assert client.post("/count", content=endless()).status_code == 413
    assert sent < 1 << 27


def test_a_body_that_comes_too_slowly_is_not_waited_for() -> None:
    app = application()
    protect(app, max_body_seconds=0.1)
    head = b"POST /count HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n"
    with serving(app) as url:
        answer = raw(url, head, b"12345")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"error_code":"too_slow"' in answer


def test_a_client_that_leaves_while_it_sends_is_no_failure(
    url: str, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = b"POST /count HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n12"
        connection.sendall(head)
    assert client.get("/origin").status_code == 200
    assert "failed" not in caplog.text


# -- hosts and origins -------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:80", "[::1]:8004", "a.example.org", "A.Example.ORG:1"]
)
def test_its_own_names_are_answered(client: httpx.Client, host: str) -> None:
    assert client.get("/origin", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "example.org",
        "",
        "[::2]",
        "[",
        "127.0.0.1.evil.example",
        "evil/.example.org",
    ],
)
def test_other_names_are_not(client: httpx.Client, host: str) -> None:
    answer = client.get("/origin", headers={"Host": host, "X-Request-ID": "h"})
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "unknown_host"
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "h"


def test_a_socket_must_be_asked_for_by_its_name_too(url: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(url.replace("http://127.0.0.1", "ws://localhost") + "/ws_echo")
    assert refused.value.response.status_code == 400
    assert b"unknown_host" in refused.value.response.body


def test_only_pages_of_named_origins_read_answers(client: httpx.Client) -> None:
    answer = client.get("/broken", headers={"Origin": "https://app.example"})
    assert answer.status_code == 500
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
    answer = client.get("/origin", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_they_may_use_every_method(client: httpx.Client) -> None:
    answer = client.options(
        "/origin",
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "DELETE",
            "Access-Control-Request-Headers": "authorization",
        },
    )
    assert answer.status_code == 200


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if each.name.startswith("realtime_stts")]


# -- failures ----------------------------------------------------------------------------


def test_a_failure_is_logged_and_answered_without_a_word_of_it(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.get("/broken", headers={"X-Request-ID": "b1"})
    assert answer.status_code == 500
    assert answer.json()["error_code"] == "internal_error"
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == "b1"
    assert "secret" not in answer.text
    (record,) = ours(caplog)
    assert record.levelno == logging.ERROR
    assert "b1" in record.getMessage()
    assert record.exc_info is not None


def test_half_an_answer_is_broken_off(client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/breaking")


def test_a_socket_that_fails_before_it_is_accepted_is_refused(url: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(url.replace("http", "ws") + "/ws_broken")
    assert refused.value.response.status_code == 500
    assert b"internal_error" in refused.value.response.body


@pytest.mark.parametrize(("path", "code"), [("/ws_breaking", 1011), ("/ws_closed", 4000)])
def test_one_that_fails_later_is_closed(url: str, path: str, code: int) -> None:
    with connect(url.replace("http", "ws") + path) as socket_:
        with pytest.raises(ConnectionClosed) as closed:
            socket_.recv(LIMIT)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code


def test_a_socket_has_an_id_and_may_be_left(
    url: str, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"X-Request-ID": "ws1"}
    with connect(url.replace("http", "ws") + "/ws_echo", additional_headers=headers) as socket_:
        assert socket_.response is not None
        assert socket_.response.headers["X-Request-ID"] == "ws1"
        assert socket_.recv(LIMIT) == '{"request_id":"ws1"}'
    client.get("/origin")
    assert not ours(caplog)


# -- how it is put together --------------------------------------------------------------


def test_by_default_every_host_is_answered_and_no_origin_reads() -> None:
    app = application()
    protect(app)
    with serving(app) as url:
        answer = httpx.get(
            url + "/origin", headers={"Host": "any.example", "Origin": "https://app.example"}
        )
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"allowed_hosts": ("exa*mple.org",)}, "a host is"),
        ({"allowed_hosts": ("*example.org",)}, "a host is"),
        ({"cors_origins": ("*",), "cors_allow_credentials": True}, "any page could act"),
    ],
)
def test_what_would_protect_nothing_is_refused(options: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        protect(Starlette(), **options)


@pytest.mark.parametrize("limits", [(0, 1.0), (1, 0.0)])
def test_limits_are_positive(limits: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        BodyLimitMiddleware(Starlette(), *limits)


@pytest.mark.anyio
async def test_each_layer_leaves_other_kinds_of_scopes_alone() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        raise LookupError

    protected = Starlette()
    protect(protected, allowed_hosts=("a",))
    layers: Any = app
    for layer in reversed(protected.user_middleware):
        layers = layer.cls(layers, *layer.args, **layer.kwargs)
    assert isinstance(layers, RequestMiddleware)
    with pytest.raises(LookupError):
        await layers({"type": "lifespan"}, None, None)
    assert seen == [{"type": "lifespan"}]


# -- one layer, on virtual time ----------------------------------------------------------


async def limited(app: Any, *body: bytes, **limits: float) -> list[dict[str, Any]]:
    """What is answered to a body, after whose pieces nothing more comes."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            await anyio.sleep_forever()
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    layer = BodyLimitMiddleware(app, **{"max_bytes": 10, **limits})  # type: ignore[arg-type]
    await layer({"type": "http", "headers": [(b"x-request-id", b"r")]}, receive, send)
    return sent


@pytest.mark.anyio
async def test_a_client_that_is_refused_is_gone_however_often_one_asks() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        assert await receive() == {"type": "http.disconnect"}
        raise LookupError("that was not expected")

    start, body = await limited(app, bytes(11))
    assert start["status"] == 413
    assert b'"request_id":"r"' in body["body"]


@pytest.mark.anyio
async def test_after_the_answer_has_begun_only_the_body_is_cut_off() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b"so far"})

    start, body = await limited(app, bytes(10), b"1")
    assert (start["status"], body["body"]) == (200, b"so far")


@pytest.mark.anyio
async def test_and_a_failure_of_it_is_its_own() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert (await receive())["type"] == "http.disconnect"
        raise LookupError

    with pytest.raises(LookupError):
        await limited(app, bytes(11))


@pytest.mark.anyio
async def test_a_body_may_take_long_if_it_keeps_coming() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(5):
            await anyio.sleep(29.0)  # the application's own time does not count
            assert (await receive())["type"] == "http.request"
        began = anyio.current_time()
        assert (await receive())["type"] == "http.disconnect"
        assert anyio.current_time() - began == pytest.approx(30.0)

    start, _ = await limited(app, *[b"1"] * 5)
    assert start["status"] == 408


@pytest.mark.anyio
async def test_a_client_that_sends_without_end_is_given_up() -> None:
    """What it still sends is read for two seconds; then the connection may break."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    began = anyio.current_time()
    start, _ = await limited(app, bytes(11), bytes(100))
    assert start["status"] == 413
    assert (b"connection", b"close") in start["headers"]
    assert anyio.current_time() - began == pytest.approx(2.0)


def test_an_id_is_that_of_the_client_even_without_the_layer() -> None:
    scope: Any = {"headers": [(b"x-request-id", b"r")]}
    assert request_id_of(scope) == request_id_of(scope) == "r"
    scope = {"headers": []}
    assert request_id_of(scope) == request_id_of(scope) != "r"


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (None, "unknown"),
        (("", 0), "unknown"),
        (("192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1), "192.0.2.1"),
        (("::1", 1), "::1"),
        (("2a01:4f8:1:2:3:4:5:6", 1), "2a01:4f8:1:2::/64"),  # all of which is one client's
        (("no:address", 1), "no:address"),
        (("/run/an ä", 0), None),
    ],
)
def test_a_client_is_called_by_its_address(client: Any, name: str | None) -> None:
    shown = client_of({"client": client})
    assert shown == name if name else len(shown) == 64
