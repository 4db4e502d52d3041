"""Who gets a socket, on a real server: origins, tickets, tokens, seats and time."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from threading import Event
from time import monotonic, sleep
from typing import Any

import anyio
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from realtime_stts import ConversationEngine
from realtime_stts._request import current_origin
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.errors import AuthenticationError
from realtime_stts.integrations.starlette import (
    Gate,
    Seats,
    StarletteWebSocketAdapter,
    Tickets,
    protect,
)
from realtime_stts.middleware import Principal
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine
from tests.servers import serving

LIMIT = 10.0  # s, for what takes milliseconds

ANNA = Principal("anna", {"response"})
BEN = Principal("ben", {"stt"})  # and no conversations
ZOË = Principal("zoë", {"response"})  # whose name no header could hold


def authenticate(token: str | None, client: str) -> Principal | None:
    known = {"annas": ANNA, "bens": BEN, "zoes": ZOË}
    if token not in known:
        raise AuthenticationError("not known")
    return known[token]


class House:
    """A server with gates of several kinds."""

    def __init__(self) -> None:
        self.tickets = Tickets()
        self.seats = Seats(total=3, per_client=2)
        self.draining = False
        self.left = Event()
        engine = ConversationEngine(
            stt=ScriptedSTTEngine([]), tts=ScriptedTTSEngine(), pause_detector=EnergyPauseDetector
        )
        anybody = Gate(seats=self.seats, is_draining=lambda: self.draining)
        known = Gate(authenticate=authenticate, tickets=self.tickets, seats=self.seats)
        brief = Gate(max_seconds=0.5, seats=self.seats)

        async def hello(websocket: WebSocket, gate: Gate) -> None:
            async with gate.admit(websocket) as admitted:
                if admitted is None:
                    return
                await websocket.accept()
                origin = current_origin()
                who = admitted.principal and admitted.principal.subject
                told = {"client": admitted.client, "principal": who}
                ids = [admitted.request_id, origin.request_id, origin.session_id]
                await websocket.send_json({**told, "ids": ids, "token": origin.token})
                await websocket.receive()
            self.left.set()

        async def for_anybody(websocket: WebSocket) -> None:
            await hello(websocket, anybody)

        async def for_known(websocket: WebSocket) -> None:
            await hello(websocket, known)

        async def for_pages(websocket: WebSocket) -> None:
            await hello(websocket, Gate(origins=("https://app.example",)))

        async def conversation(websocket: WebSocket) -> None:
            async with brief.admit(websocket) as admitted:
                assert admitted is not None
                await engine.handle_conversation(StarletteWebSocketAdapter(websocket))
            self.left.set()

        async def stuck(websocket: WebSocket) -> None:
            async with brief.admit(websocket):
                await anyio.sleep_forever()  # not even accepted

        async def broken(websocket: WebSocket) -> None:
            async with anybody.admit(websocket):
                raise LookupError("the endpoint's")

        async def plain(websocket: WebSocket) -> None:
            """As on a server that can only refuse, and not say why."""
            del websocket.scope["extensions"]
            async with known.admit(websocket) as admitted:
                assert admitted is None

        endpoints = [for_anybody, for_known, for_pages, conversation, stuck, broken, plain]
        self.app = Starlette(
            routes=[WebSocketRoute(f"/{each.__name__}", each) for each in endpoints]
        )
        protect(self.app)


@pytest.fixture(scope="module")
def house() -> Iterator[tuple[House, str]]:
    house = House()
    with serving(house.app) as url:
        yield house, url.replace("http", "ws")


def hello(url: str, **headers: str) -> dict[str, Any]:
    with connect(url, additional_headers=headers) as client:
        told: dict[str, Any] = json.loads(client.recv(LIMIT))
        return told


def refusal(url: str, **headers: str) -> tuple[int, str]:
    """Status and error code."""
    with pytest.raises(InvalidStatus) as refused:
        connect(url, additional_headers=headers)
    response = refused.value.response
    body = json.loads(response.body)
    assert body["request_id"] == response.headers["X-Request-ID"]
    return response.status_code, body["error_code"]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# -- origins -----------------------------------------------------------------------------


def test_a_page_of_another_site_is_refused(house: tuple[House, str]) -> None:
    url = house[1]
    assert refusal(f"{url}/for_anybody", Origin="https://evil.example") == (403, "foreign_origin")
    assert refusal(f"{url}/for_pages", Origin="https://evil.example") == (403, "foreign_origin")


def test_a_refusal_is_no_error_of_the_servers(
    house: tuple[House, str], caplog: pytest.LogCaptureFixture
) -> None:
    refusal(f"{house[1]}/for_anybody", Origin="https://evil.example")
    hello(f"{house[1]}/for_anybody")
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_pages_of_its_own_and_of_named_origins_are_let_in(house: tuple[House, str]) -> None:
    url = house[1]
    hello(f"{url}/for_anybody", Origin=url.replace("ws", "http"))
    hello(f"{url}/for_pages", Origin="https://app.example")


def test_a_ticket_does_not_help_a_page_of_another_site(house: tuple[House, str]) -> None:
    house_, url = house
    ticket = house_.tickets.issue(ANNA, monotonic())
    address = f"{url}/for_known?ticket={ticket}"
    assert refusal(address, Origin="https://evil.example") == (403, "foreign_origin")
    assert hello(address)["principal"] == "anna", "and it is not used up"


# -- tickets and tokens ------------------------------------------------------------------


def test_whoever_shows_a_token_is_known(house: tuple[House, str]) -> None:
    told = hello(f"{house[1]}/for_known", **bearer("annas"), **{"X-Request-ID": "r1"})
    assert told == {
        "client": "anna",
        "principal": "anna",
        "ids": ["r1", "r1", "anna"],
        "token": "annas",
    }


def test_whoever_is_not_known_is_an_address(house: tuple[House, str]) -> None:
    told = hello(f"{house[1]}/for_anybody")
    assert (told["client"], told["principal"]) == ("127.0.0.1", None)


def test_a_name_that_no_log_could_hold_is_a_digest_there(house: tuple[House, str]) -> None:
    told = hello(f"{house[1]}/for_known", **bearer("zoes"))
    assert told["client"] == "zoë"
    assert len(told["ids"][2]) == 64


@pytest.mark.parametrize("headers", [{}, bearer("nobodys"), {"Authorization": "Basic annas"}])
def test_whoever_shows_none_is_refused(house: tuple[House, str], headers: dict[str, str]) -> None:
    assert refusal(f"{house[1]}/for_known", **headers) == (401, "not_authenticated")


def test_to_be_known_is_not_to_be_permitted(house: tuple[House, str]) -> None:
    assert refusal(f"{house[1]}/for_known", **bearer("bens")) == (403, "not_permitted")
    ticket = house[0].tickets.issue(BEN, monotonic())
    assert refusal(f"{house[1]}/for_known?ticket={ticket}") == (403, "not_permitted")


def test_a_ticket_lets_in_once(house: tuple[House, str]) -> None:
    ticket = house[0].tickets.issue(ANNA, monotonic())
    address = f"{house[1]}/for_known?ticket={ticket}"
    assert hello(address)["client"] == "anna"
    assert refusal(address) == (401, "not_authenticated")
    assert refusal(address, **bearer("annas")) == (401, "not_authenticated")


def test_a_ticket_may_be_nobodys(house: tuple[House, str]) -> None:
    ticket = house[0].tickets.issue(None, monotonic())
    assert hello(f"{house[1]}/for_known?ticket={ticket}")["principal"] is None


def test_a_gate_without_tickets_does_not_look_at_them(house: tuple[House, str]) -> None:
    hello(f"{house[1]}/for_anybody?ticket=x")


# -- seats and time ----------------------------------------------------------------------


def test_a_client_has_so_many_seats_and_all_have_so_many(house: tuple[House, str]) -> None:
    house_, url = house
    known = f"{url}/for_known"
    with connect(f"{url}/for_anybody") as first, connect(f"{url}/for_anybody") as second:
        first.recv(LIMIT)
        second.recv(LIMIT)
        assert refusal(f"{url}/for_anybody") == (429, "too_many_requests")
        with connect(known, additional_headers=bearer("annas")) as third:
            third.recv(LIMIT)
            with pytest.raises(InvalidStatus) as refused:
                connect(known, additional_headers=bearer("annas"))
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"] == "1"
    assert_empty(house_)


def assert_empty(house: House) -> None:
    deadline = monotonic() + LIMIT
    while house.seats.taken:
        assert monotonic() < deadline, "a seat is still taken"
        sleep(0.01)


def test_a_server_that_is_being_stopped_lets_nobody_in(house: tuple[House, str]) -> None:
    house[0].draining = True
    try:
        assert refusal(f"{house[1]}/for_anybody") == (503, "overloaded")
    finally:
        house[0].draining = False


def test_a_session_ends_in_time_and_is_told_why(house: tuple[House, str]) -> None:
    house_, url = house
    house_.left.clear()
    with connect(f"{url}/conversation") as client:
        assert json.loads(client.recv(LIMIT))["type"] == "ready"
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(LIMIT)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "session limit")
    assert house_.left.wait(LIMIT), "the endpoint goes on after the block"
    assert_empty(house_)


def test_a_session_may_end_before(house: tuple[House, str]) -> None:
    house_, url = house
    house_.left.clear()
    with connect(f"{url}/conversation") as client:
        client.send('{"action": "stop"}')
    assert house_.left.wait(LIMIT)
    assert_empty(house_)


def test_a_socket_that_was_never_accepted_is_refused_in_time(house: tuple[House, str]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{house[1]}/stuck")
    assert refused.value.response.status_code == 403
    assert_empty(house[0])


def test_an_endpoints_own_error_stays_what_it_is(
    house: tuple[House, str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidStatus):
        connect(f"{house[1]}/broken")
    assert_empty(house[0])
    (failed,) = [each for each in caplog.records if each.exc_info]
    assert failed.exc_info is not None
    assert failed.exc_info[0] is LookupError, "and not a group of them"


def test_a_server_that_cannot_say_why_refuses_all_the_same(house: tuple[House, str]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{house[1]}/plain")
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("option", ["max_seconds", "max_idle_seconds"])
def test_times_are_positive(option: str) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Gate(**{option: 0.0})  # type: ignore[arg-type]
    gate = Gate(max_seconds=1.0, max_idle_seconds=2.0)
    assert (gate.max_seconds, gate.max_idle_seconds) == (1.0, 2.0)


# -- on virtual time ---------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("closing", ["closed already", "takes nothing", "has left"])
async def test_a_session_ends_in_time_whatever_the_client_does(closing: str) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        if message["type"] == "websocket.close":
            if closing == "takes nothing":
                await anyio.sleep_forever()
            if closing == "has left":
                raise OSError("gone")

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "client": None}
    websocket = WebSocket(scope, receive, send)
    seats = Seats(1, 1)
    with anyio.fail_after(5.0):
        async with Gate(max_seconds=3.0, seats=seats).admit(websocket) as admitted:
            assert admitted is not None
            assert admitted.client == "unknown"
            await websocket.accept()
            if closing == "closed already":
                await websocket.close()
            await anyio.sleep_forever()
    assert seats.taken == 0


@pytest.mark.anyio
async def test_a_host_that_is_cancelled_frees_the_seat() -> None:
    async def nothing(*_: Any) -> Any:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "client": None}
    seats = Seats(1, 1)
    with anyio.move_on_after(1.0) as host:
        async with Gate(seats=seats).admit(WebSocket(scope, nothing, nothing)):
            assert seats.taken == 1
            await anyio.sleep_forever()
    assert host.cancelled_caught
    assert seats.taken == 0
