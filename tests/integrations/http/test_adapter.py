"""A socket of Starlette's as an adapter: the suite, and what it does at its limits."""

from __future__ import annotations

import json
import socket
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from threading import Event
from time import monotonic
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets import exceptions
from websockets.asyncio import client as async_client
from websockets.client import ClientProtocol
from websockets.sync import client as sync_client
from websockets.uri import parse_uri

from realtime_stts import AudioData, ConversationEngine
from realtime_stts.conversation import SessionLimits
from realtime_stts.errors import AudioFormatError
from realtime_stts.integrations._http._incoming import parsed
from realtime_stts.integrations.fastapi import (
    FastAPIWebSocketAdapter,
    FastAPIWebSocketAdapterFactory,
)
from realtime_stts.integrations.starlette import StarletteWebSocketAdapter
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine
from realtime_stts.testing._virtual_time import virtual_time
from realtime_stts.testing.suites import WebSocketAdapterSuite
from tests.servers import serving

LIMIT = 10.0  # s, for what takes milliseconds


class Client:
    """A real WebSocket client, as the suite holds one."""

    def __init__(self) -> None:
        self._ready = anyio.Event()
        self._socket: Any = None

    async def connect(self, url: str) -> None:
        with suppress(exceptions.InvalidStatus):  # the server would not have it
            self._socket = await async_client.connect(url)
        self._ready.set()

    async def end(self) -> None:
        await self._ready.wait()
        if self._socket is not None:
            await self._socket.close()

    async def send_audio(self, audio: AudioData) -> None:
        await self._send(audio.data)

    async def send_command(self, command: dict[str, Any]) -> None:
        await self._send(json.dumps(command))

    async def receive(self) -> dict[str, Any] | AudioData | None:
        await self._ready.wait()
        try:
            message = await self._socket.recv()
        except exceptions.ConnectionClosed:
            return None
        if isinstance(message, bytes):
            return AudioData(message, 16_000)
        decoded: dict[str, Any] = json.loads(message)
        if decoded.get("type") == "audio_response":
            return AudioData.from_file(b64decode(decoded["audio_data"]))
        return decoded

    async def leave(self) -> None:
        await self._ready.wait()
        await self._socket.close()

    @property
    def close_code(self) -> int | None:
        code: int | None = None if self._socket is None else self._socket.close_code
        return code

    async def _send(self, data: str | bytes) -> None:
        await self._ready.wait()
        await self._socket.send(data)


class OverSockets(WebSocketAdapterSuite):
    """The suite, over real sockets, in a server on the test's own event loop."""

    def adapt(self, websocket: WebSocket) -> StarletteWebSocketAdapter:
        raise NotImplementedError

    # Uvicorn's, and on the real clock.
    pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])

    @asynccontextmanager
    async def connection(  # type: ignore[override]  # of its members one is read-only
        self,
    ) -> AsyncGenerator[tuple[StarletteWebSocketAdapter, Client]]:
        adapters: list[StarletteWebSocketAdapter] = []
        asked, over = anyio.Event(), anyio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            adapters.append(self.adapt(WebSocket(scope, receive, send)))
            asked.set()
            await over.wait()

        config = uvicorn.Config(app, lifespan="off", log_level="error")
        server, client = uvicorn.Server(config), Client()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server._serve, [listening])
                tasks.start_soon(client.connect, f"ws://127.0.0.1:{listening.getsockname()[1]}")
                await asked.wait()
                try:
                    yield adapters[0], client
                finally:
                    over.set()
                    server.should_exit = True
                    await client.end()


class TestAudioInJson(OverSockets):
    def adapt(self, websocket: WebSocket) -> StarletteWebSocketAdapter:
        return StarletteWebSocketAdapter(websocket)


class TestAudioInBinary(OverSockets):
    def adapt(self, websocket: WebSocket) -> StarletteWebSocketAdapter:
        return FastAPIWebSocketAdapter(websocket, audio="binary")


# -- over real sockets, from another thread ----------------------------------------------


class Endpoints:
    """What the tests talk to; what became of a connection is in ``left``."""

    def __init__(self) -> None:
        self.left = Event()

    def routes(self) -> Starlette:
        paths = ("report", "small", "idle", "info", "converse")
        return Starlette(routes=[WebSocketRoute(f"/{each}", getattr(self, each)) for each in paths])

    async def report(self, websocket: WebSocket, **options: Any) -> None:
        """Tells the client what came of each message."""
        adapter = StarletteWebSocketAdapter(websocket, **options)
        await adapter.accept_connection()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._report_audio, adapter)
            while adapter.is_connected:
                if (command := await adapter.receive_command()) is not None:
                    await adapter.send_json({"command": command})
        self.left.set()

    async def _report_audio(self, adapter: StarletteWebSocketAdapter) -> None:
        while (audio := await adapter.receive_audio()) is not None:
            data = b64encode(audio.data).decode()
            layout = [audio.sample_rate, audio.channels, audio.format]
            await adapter.send_json({"audio": data, "layout": layout})

    async def small(self, websocket: WebSocket) -> None:
        await self.report(websocket, max_message_bytes=1000, sample_rate=8000, format="pcm_f32le")

    async def idle(self, websocket: WebSocket) -> None:
        await self.report(websocket, max_idle_seconds=0.2)

    async def info(self, websocket: WebSocket) -> None:
        adapter = FastAPIWebSocketAdapterFactory.create(websocket)
        await adapter.accept_connection()
        await adapter.accept_connection()  # it is, already
        await adapter.send_text(json.dumps(adapter.get_client_info()))
        await adapter.send_bytes(b"\x00")
        await adapter.close(1001, "that was all")

    async def converse(self, websocket: WebSocket) -> None:
        """A conversation whose answer does not fit into any buffers: three minutes."""
        engine = ConversationEngine(
            stt=ScriptedSTTEngine(["long"]),
            tts=ScriptedTTSEngine(real_time_factor=0.0, latency=0.0, seconds_per_character=0.8),
            responder=_long_answer,
            end_of_turn=None,
            limits=SessionLimits(send=0.2),
        )
        await engine.handle_conversation(StarletteWebSocketAdapter(websocket))
        assert not engine.is_running
        self.left.set()


async def _long_answer(*_: Any) -> AsyncGenerator[str]:
    yield "word " * 40


@pytest.fixture(scope="module")
def endpoints() -> Iterator[tuple[str, Endpoints]]:
    endpoints = Endpoints()
    with serving(endpoints.routes()) as url:
        yield url.replace("http", "ws"), endpoints


def connect(endpoints: tuple[str, Endpoints], path: str, **options: Any) -> Any:
    endpoints[1].left.clear()
    return sync_client.connect(endpoints[0] + path, **options)


def exchange(client: Any, message: str | bytes) -> Any:
    client.send(message)
    return json.loads(client.recv(LIMIT))


def exhaust(client: Any) -> None:
    while True:
        client.recv(LIMIT)


def end_of(client: Any) -> tuple[int, str]:
    with pytest.raises(exceptions.ConnectionClosed) as closed:
        exhaust(client)
    received = closed.value.rcvd
    assert received is not None, "the connection was cut, not closed"
    return received.code, received.reason


def test_audio_may_come_as_json(endpoints: tuple[str, Endpoints]) -> None:
    with connect(endpoints, "/report") as client:
        message = {"type": "audio", "audio_data": b64encode(b"\x01\x02").decode()}
        assert exchange(client, json.dumps(message)) == {
            "audio": "AQI=",
            "layout": [16_000, 1, "pcm"],
        }
        message |= {"sample_rate": 8000, "channels": 2, "format": "pcm_u8"}
        assert exchange(client, json.dumps(message))["layout"] == [8000, 2, "pcm_u8"]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("{", "this is not JSON"),
        ("[" * 100_000, "this is not JSON"),
        ("", "this is not JSON"),
        ("[1]", "a message is a JSON object"),
        ("null", "a message is a JSON object"),
        ('{"a": NaN}', "this is not JSON"),
        ('{"audio_data": 5}', "audio_data is not base64"),
        ('{"audio_data": "?"}', "audio_data is not base64"),
        ('{"audio_data": "AAA=", "format": "mp3"}', "audio in a message is one of"),
        ('{"audio_data": "AAA=", "format": []}', "audio in a message is one of"),
        ('{"audio_data": "AAA=", "sample_rate": "16000"}', "are whole numbers"),
        ('{"audio_data": "AAA=", "sample_rate": 1}', "the sample rate is"),
        ('{"audio_data": "AAA=", "channels": true}', "audio has 1 to 8 channels"),
        ('{"audio_data": "AA=="}', "not a whole number of"),
    ],
)
def test_what_cannot_be_read_is_a_command_that_is_none(
    endpoints: tuple[str, Endpoints], message: str, problem: str
) -> None:
    with connect(endpoints, "/report") as client:
        answer = exchange(client, message)["command"]
        assert answer.keys() == {"problem"}
        assert problem in answer["problem"]
        ping = {"action": "ping"}
        assert exchange(client, json.dumps(ping)) == {"command": ping}, "the session goes on"


def test_samples_that_are_no_numbers_are_refused(endpoints: tuple[str, Endpoints]) -> None:
    with connect(endpoints, "/small") as client:
        assert "NaN" in exchange(client, b"\xff\xff\xff\xff")["command"]["problem"]
        assert exchange(client, b"\0\0\0\0")["layout"] == [8000, 1, "pcm_f32le"]


@pytest.mark.parametrize("message", ["x" * 1001, "é" * 501, b"\0" * 1001])
def test_a_message_that_is_too_large_ends_the_connection(
    endpoints: tuple[str, Endpoints], message: str | bytes
) -> None:
    with connect(endpoints, "/small") as client:
        exchange(client, b"\0" * 1000)
        client.send(message)
        assert end_of(client) == (1009, "message too big")
    assert endpoints[1].left.wait(LIMIT)


def test_a_client_that_says_nothing_is_left(endpoints: tuple[str, Endpoints]) -> None:
    with connect(endpoints, "/idle") as client:
        assert end_of(client) == (1008, "idle")
    assert endpoints[1].left.wait(LIMIT)


def test_a_client_that_is_cut_off_is_noticed(endpoints: tuple[str, Endpoints]) -> None:
    with connect(endpoints, "/report") as client:
        exchange(client, '{"action": "ping"}')
        client.socket.shutdown(socket.SHUT_RDWR)  # no closing handshake
        assert endpoints[1].left.wait(LIMIT)


def test_it_tells_who_is_connected(endpoints: tuple[str, Endpoints]) -> None:
    with connect(endpoints, "/info?mode=echo", additional_headers={"X-A": "b"}) as client:
        told = json.loads(client.recv(LIMIT))
        assert told["client"].startswith("127.0.0.1:")
        assert told["url"].endswith("/info?mode=echo")
        assert told["headers"]["x-a"] == "b"
        assert told["query_params"] == {"mode": "echo"}
        assert client.recv(LIMIT) == b"\x00"
        assert end_of(client) == (1001, "that was all")


def test_a_client_that_takes_nothing_is_left(endpoints: tuple[str, Endpoints]) -> None:
    """It goes on talking, but does not read: everything would have to be kept for it."""
    url, left = endpoints[0] + "/converse", endpoints[1].left
    left.clear()
    protocol = ClientProtocol(parse_uri(url))
    with socket.create_connection(("127.0.0.1", protocol.uri.port)) as connection:
        protocol.send_request(protocol.connect())
        connection.sendall(b"".join(protocol.data_to_send()))
        protocol.receive_data(connection.recv(4096))
        protocol.send_text(b'{"action": "begin_turn"}')
        protocol.send_binary(b"\x00\x40" * 16_000)
        protocol.send_text(b'{"action": "commit"}')
        deadline = monotonic() + LIMIT
        while not left.wait(0.01):
            protocol.send_text(b'{"action": "ping"}')
            connection.sendall(b"".join(protocol.data_to_send()))
            assert monotonic() < deadline, "the conversation goes on"


# -- on virtual time ---------------------------------------------------------------------


class Wire:
    """The server's side of a socket, in memory: counts what is read of it."""

    def __init__(self, messages: list[dict[str, Any]], *, then: str = "wait") -> None:
        self.messages = [{"type": "websocket.connect"}, *messages]
        self.then = then
        self.n_read = -1  # the connection itself is no message
        self.sent: list[dict[str, Any]] = []
        self.fails = False

    def websocket(self) -> WebSocket:
        scope = {"type": "websocket", "headers": [], "query_string": b"", "client": None}
        return WebSocket({**scope, "path": "/"}, self.receive, self.send)

    async def receive(self) -> dict[str, Any]:
        if not self.messages and self.then == "wait":
            await anyio.sleep_forever()
        if not self.messages:
            raise OSError("the server is being stopped")
        self.n_read += 1
        return self.messages.pop(0)

    async def send(self, message: Any) -> None:
        if self.fails:
            raise OSError("gone")
        self.sent.append(message)


@asynccontextmanager
async def accepted(
    wire: Wire, **options: Any
) -> AsyncGenerator[tuple[StarletteWebSocketAdapter, Wire]]:
    adapter = StarletteWebSocketAdapter(wire.websocket(), **options)
    await adapter.accept_connection()
    yield adapter, wire
    await adapter.close()


def binary(data: bytes) -> dict[str, Any]:
    return {"type": "websocket.receive", "bytes": data, "text": None}


def text(content: str) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": content, "bytes": None}


PING = text('{"action":"ping"}')


@pytest.mark.anyio
@pytest.mark.parametrize("options", [{"max_waiting": 5}, {"max_message_bytes": 5}])
async def test_a_flood_of_one_kind_is_not_read_before_it_is_received(
    options: dict[str, Any],
) -> None:
    flood = [binary(bytes([n, 0, n, 0])) for n in range(50)]
    async with accepted(Wire([*flood, text("{}")]), **options) as (adapter, wire):
        with anyio.move_on_after(1.0) as waiting:
            await adapter.receive_command()
        assert waiting.cancelled_caught
        assert wire.n_read == 5
        received = []
        commands: list[Any] = []

        async def receive_command() -> None:
            commands.append(await adapter.receive_command())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive_command)
            while len(received) < 50:
                audio = await adapter.receive_audio()
                assert audio is not None
                received.append(audio.data[0])
        assert received == [*range(50)]
        assert commands == [{}]


@pytest.mark.anyio
async def test_who_waits_for_room_reads_on_once_there_is_some() -> None:
    flood = [binary(b"\0\0")] * 5
    async with (
        accepted(Wire([*flood, PING]), max_waiting=5) as (adapter, _),
        anyio.create_task_group() as tasks,
    ):

        async def receive_audio() -> None:
            await anyio.sleep(1.0)
            await adapter.receive_audio()

        tasks.start_soon(receive_audio)
        assert await adapter.receive_command() == {"action": "ping"}


@pytest.mark.anyio
async def test_only_time_in_which_it_waits_for_the_client_counts_as_idle() -> None:
    async with accepted(Wire([PING]), max_idle_seconds=1.0) as (adapter, wire):
        await anyio.sleep(10.0)  # the host had other things to do
        assert await adapter.receive_command() is not None
        for _ in range(3):
            await anyio.sleep(10.0)
            with anyio.move_on_after(0.3):
                await adapter.receive_command()
        assert adapter.is_connected
        assert await adapter.receive_command() is None
        assert not adapter.is_connected
        assert wire.sent[-1] == {"type": "websocket.close", "code": 1008, "reason": "idle"}


@pytest.mark.anyio
async def test_a_client_that_leaves_before_it_is_accepted_is_no_error() -> None:
    wire = Wire([])
    wire.fails = True
    adapter = StarletteWebSocketAdapter(wire.websocket())
    await adapter.accept_connection()
    assert not adapter.is_connected
    assert await adapter.receive_audio() is None
    await adapter.close()


@pytest.mark.anyio
async def test_a_server_that_is_stopped_ends_the_connection() -> None:
    async with accepted(Wire([], then="fail")) as (adapter, _):
        assert await adapter.receive_command() is None
        assert not adapter.is_connected


@pytest.mark.anyio
async def test_what_cannot_be_sent_is_dropped() -> None:
    async with accepted(Wire([])) as (adapter, wire):
        wire.fails = True
        await adapter.send_json({})
        assert not adapter.is_connected


@pytest.mark.anyio
async def test_a_message_of_nothing_is_not_json() -> None:
    async with accepted(Wire([{"type": "websocket.receive"}])) as (adapter, _):
        assert await adapter.receive_command() == {"problem": "this is not JSON"}


@given(
    data=st.binary(max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=8),
    channels=st.integers(1, 2),
    format=st.sampled_from(["pcm", "pcm_s24le", "pcm_u8"]),
)
def test_binary_audio_may_be_cut_anywhere(
    data: bytes, cuts: list[int], channels: int, format: str
) -> None:
    async def main() -> None:
        edges = [0, *sorted(cuts), len(data)]
        pieces = [data[a:b] for a, b in pairwise(edges)]
        layout: Any = {"channels": channels, "format": format}
        wire = Wire([*map(binary, pieces)], then="fail")
        async with accepted(wire, **layout) as (adapter, _):
            received = b""
            while (audio := await adapter.receive_audio()) is not None:
                received += audio.data
        width = channels * {"pcm": 2, "pcm_s24le": 3, "pcm_u8": 1}[format]
        assert received == data[: len(data) - len(data) % width]

    anyio.run(main)


@settings(max_examples=30)
@given(
    kinds=st.lists(st.sampled_from(["audio", "command"]), max_size=20),
    pauses=st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=3, max_size=5),
    patience=st.sampled_from([0.3, 1.0, 100.0]),
    backend=st.sampled_from(["asyncio", "trio"]),
)
def test_nothing_is_lost_or_moved_however_receivers_come_and_go(
    kinds: list[str], pauses: list[float], patience: float, backend: str
) -> None:
    """Two tasks give up and ask again at odd times; a queue is full now and then."""
    pytest.importorskip(backend)
    numbered = [*enumerate(kinds)]
    messages = [
        text(json.dumps({"n": n})) if kind == "command" else binary(bytes([n, 0]))
        for n, kind in numbered
    ]
    received: dict[str, list[int]] = {"audio": [], "command": []}

    class Slow(Wire):
        async def receive(self) -> dict[str, Any]:
            await anyio.sleep(pauses[len(self.messages) % len(pauses)])
            return await super().receive()

    async def receive(kind: str, call: Any) -> None:
        while len(received[kind]) < kinds.count(kind):
            item = None
            with anyio.move_on_after(patience):
                item = await call()
            if item is not None:
                received[kind].append(item["n"] if isinstance(item, dict) else item.data[0])
            await anyio.sleep(0.25)

    async def main() -> None:
        async with accepted(Slow(messages), max_waiting=3) as (adapter, _):
            with anyio.move_on_after(60.0):  # where each wait is cut off, nothing may come
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(receive, "audio", adapter.receive_audio)
                    tasks.start_soon(receive, "command", adapter.receive_command)

    name, options = virtual_time(backend)
    anyio.run(main, backend=name, backend_options=options)
    for kind, ids in received.items():
        sent = [n for n, each in numbered if each == kind]
        assert ids == sent if patience == 100.0 else ids == sent[: len(ids)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
near_audio = st.fixed_dictionaries(
    {"audio_data": json_values | st.just("AAAA")},
    optional=dict.fromkeys(("sample_rate", "channels", "format", "action"), json_values),
)


@given(st.text() | (json_values | near_audio).map(json.dumps))
def test_whatever_comes_is_a_command_or_audio_or_said_to_be_neither(message: str) -> None:
    with suppress(ValueError):
        read = parsed(message)
        assert isinstance(read, AudioData) == ("audio_data" in json.loads(message))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"audio": "xml"}, ValueError),
        ({"max_message_bytes": 0}, ValueError),
        ({"max_waiting": 0}, ValueError),
        ({"max_idle_seconds": 0}, ValueError),
        ({"format": "mp3"}, AudioFormatError),
        ({"sample_rate": 1}, AudioFormatError),
        ({"volume": 11}, TypeError),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    websocket = Wire([]).websocket()
    with pytest.raises(error):
        FastAPIWebSocketAdapterFactory.create_with_config(websocket, options)
    adapter = FastAPIWebSocketAdapterFactory.create_with_config(websocket, {"channels": 2})
    assert adapter.get_client_info()["client"] is None
