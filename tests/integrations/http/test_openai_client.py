"""One client of `/v1/realtime`: what it takes, what it does not, and what it may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

pytest.importorskip("fastapi")

from fastapi import HTTPException, WebSocket

from realtime_stts.conversation import TurnPolicy
from realtime_stts.errors import SettingsError
from realtime_stts.integrations._http._openai._client import POLICY, RealtimeClient, show_key
from realtime_stts.integrations._http._openai._config import configured, initial
from realtime_stts.integrations._http._openai._errors import problem_with, refusal
from realtime_stts.integrations._http._openai._models import names_of
from realtime_stts.integrations._http._openai._realtime import RealtimeEvents
from realtime_stts.integrations._http._openai._responder import AskedResponder, Wordless
from realtime_stts.integrations._http._openai._results import error_fields
from realtime_stts.protocols import ConversationContext, TranscriptionResult
from realtime_stts.testing import ScriptedResponseGenerator, ScriptedTTSEngine

KEY = "openai-insecure-api-key."


class Socket:
    """The server's end of a socket, and what was sent through it."""

    def __init__(
        self, *received: dict[str, Any], takes: int | None = None, breaks: bool = False
    ) -> None:
        self.sent: list[dict[str, Any]] = []
        self._received = [{"type": "websocket.connect"}, *received]
        self._takes, self._breaks = takes, breaks

    async def receive(self) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        if not self._received:
            await anyio.sleep_forever()
        return self._received.pop(0)

    async def send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        if self._takes is not None and len(self.sent) > self._takes:
            await anyio.sleep_forever()
        if self._breaks and self.sent:
            raise OSError("the connection is gone")
        self.sent.append(message)

    async def client(self, **options: Any) -> RealtimeClient:
        websocket = WebSocket({"type": "websocket"}, self.receive, self.send)
        await websocket.accept()
        return RealtimeClient(websocket, **{"patience": 5.0, "max_idle": None, **options})


@pytest.mark.anyio
async def test_messages_go_out_in_order() -> None:
    socket = Socket()
    client = await socket.client()
    await client.send({"n": 1}, {"n": 2})
    assert [message["text"] for message in socket.sent[1:]] == ['{"n":1}', '{"n":2}']


@pytest.mark.anyio
async def test_a_client_that_takes_nothing_is_gone() -> None:
    socket = Socket(takes=1)
    client = await socket.client()
    await client.send({"n": 1}, {"n": 2}, {"n": 3})
    assert client.gone.is_set()
    assert len(socket.sent) == 2
    await client.close()  # which it does not take either


@pytest.mark.anyio
async def test_a_client_that_has_left_is_sent_nothing() -> None:
    socket = Socket({"type": "websocket.disconnect", "code": 1001})
    client = await socket.client()
    assert await client.receive() is None
    await client.send({"n": 1})
    await client.close()
    assert len(socket.sent) == 1


@pytest.mark.anyio
async def test_a_connection_that_breaks_is_no_error() -> None:
    client = await Socket(breaks=True).client()
    await client.send({"n": 1})
    assert client.gone.is_set()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("message", "data"),
    [
        ({"text": "{}"}, "{}"),
        ({"text": "{}", "bytes": None}, "{}"),
        ({"text": None, "bytes": b"\0"}, b"\0"),
        ({"text": ""}, ""),
    ],
)
async def test_a_server_may_send_both_keys(message: dict[str, Any], data: str | bytes) -> None:
    client = await Socket({"type": "websocket.receive", **message}).client()
    assert await client.receive() == data


@pytest.mark.anyio
async def test_a_client_that_says_nothing_is_sent_away() -> None:
    socket = Socket()
    client = await socket.client(max_idle=60.0)
    assert await client.receive() is None
    assert socket.sent[-1]["code"] == POLICY


# -- its key


def shown(protocols: Sequence[str], headers: Sequence[tuple[bytes, bytes]] = ()) -> Any:
    async def nothing(*_: Any) -> Any: ...

    scope = {"type": "websocket", "headers": [*headers], "subprotocols": [*protocols]}
    websocket = WebSocket(scope, nothing, nothing)
    websocket.headers.get("origin")  # whoever looked before
    show_key(websocket)
    return websocket.headers.get("authorization")


def test_a_subprotocol_is_as_good_as_a_header() -> None:
    assert shown(["realtime", f"{KEY}abc"]) == "Bearer abc"
    assert shown(["realtime"]) is None
    assert shown([f"{KEY}abc"], [(b"authorization", b"Bearer xyz")]) == "Bearer xyz"


# -- the answers that it asks for


@pytest.mark.anyio
async def test_who_never_asks_is_not_answered() -> None:
    policy = TurnPolicy()
    manual = {"audio": {"input": {"turn_detection": None}}}
    config = configured(initial("model", policy), manual, policy)
    responder = AskedResponder(
        ScriptedResponseGenerator(["hello"]), RealtimeEvents(config, lambda kind: kind)
    )
    context = ConversationContext(metadata={"turn": 1})
    began = anyio.current_time()
    said = TranscriptionResult("hello", "en", [])
    assert [piece async for piece in responder.stream_response(said, context)] == []
    assert 0 < anyio.current_time() - began < 30


@pytest.mark.anyio
async def test_a_session_in_text_has_no_voices() -> None:
    assert await Wordless().list_voices() == []


# -- errors and names


def test_settings_that_cannot_be_used_are_listed() -> None:
    problem, _ = problem_with(SettingsError({"server.port": "is a number", "a": "is not"}))
    assert error_fields(problem)["message"] == "server.port: is a number; a: is not"


@pytest.mark.parametrize("detail", ["Why.", {"detail": "Why.", "error_code": "conflict"}])
def test_a_hosts_own_errors_keep_their_words(detail: Any) -> None:
    problem, param = problem_with(HTTPException(409, detail))
    assert (problem.status, problem.code, problem.detail, param) == (409, "conflict", "Why.", None)


def test_a_refusal_names_its_field() -> None:
    problem, param = problem_with(refusal("Why.", "field"))
    assert (problem.status, problem.code, param) == (400, "invalid_value", "field")


def test_names_are_those_of_the_engines_in_use() -> None:
    assert names_of(stt=None, tts=lambda: ScriptedTTSEngine(), realtime=None)() == [
        "ScriptedTTSEngine",
        "tts-1",
    ]
