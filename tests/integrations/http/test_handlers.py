"""Errors of a FastAPI application, as its clients get them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from errno import ENOSPC
from typing import Annotated, Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")
pytest.importorskip("websockets")

import httpx
from fastapi import Body, FastAPI, Header, HTTPException, Query, UploadFile, WebSocket
from pydantic import BaseModel, Field
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from realtime_stts.errors import (
    EngineError,
    OverloadedError,
    RateLimitError,
    RealtimeSTTSError,
    SettingsError,
    UnknownVoiceError,
)
from realtime_stts.integrations.fastapi import install_error_handlers, protect
from tests.servers import serving

LIMIT = 10.0  # s, for what takes milliseconds
SECRET = "/home/anna/her secret.wav"

ERRORS: dict[str, Exception] = {
    "engine": EngineError("tts", SECRET),
    "overloaded": OverloadedError("full", retry_after=4.0),
    "limited": RateLimitError("too many", retry_after=7.0),
    "voice": UnknownVoiceError("eve", ["anna"]),
    "settings": SettingsError({"server.port": "is no number"}),
    "root": RealtimeSTTSError(SECRET),
    "other": ZeroDivisionError(SECRET),
    "plain": HTTPException(404, "There is no such file.", {"X-Own": "1"}),
    "coded": HTTPException(409, {"detail": "It is there already.", "error_code": "duplicate"}),
    "other-dict": HTTPException(409, {"detail": "It is there.", "more": 1}),
    "unknown": HTTPException(401),
    "odd": HTTPException(404, "There is no \ud800."),
    "teapot": HTTPException(418),
    "empty": HTTPException(204),
    "unchanged": HTTPException(304, headers={"ETag": "x"}),
}


class Speech(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=20)]
    speed: Annotated[float, Field(ge=0.25, le=4.0)] = 1.0
    token: str = ""


def application() -> FastAPI:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/errors/{name}")
    async def error(name: str) -> None:
        raise ERRORS[name]

    @app.post("/speech")
    async def speech(speech: Speech) -> Speech:
        return speech

    @app.post("/speeches")
    async def speeches(speeches: Annotated[list[Speech], Body()]) -> int:
        return len(speeches)

    @app.post("/upload")
    async def upload(file: UploadFile) -> int:
        return file.size or 0

    @app.get("/things")
    async def things(
        n: Annotated[int, Query(ge=0)], x_api_key: Annotated[int, Header()] = 0
    ) -> int:
        return n

    @app.websocket("/ws/{when}/{name}")
    async def ws_error(websocket: WebSocket, when: str, name: str) -> None:
        if when != "before":
            await websocket.accept()
        if when == "after":
            await websocket.close(4000)
        raise ERRORS[name]

    @app.websocket("/ws-query")
    async def ws_query(websocket: WebSocket, level: Annotated[int, Query(le=3)]) -> None:
        await websocket.accept()

    return app


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = application()
    protect(app)
    with serving(app) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=LIMIT, headers={"X-Request-ID": "r1"}) as client:
        yield client


def body(answer: httpx.Response) -> dict[str, Any]:
    """An error's body without the id, which is the answer's."""
    told: dict[str, Any] = answer.json()
    assert told.pop("request_id") == answer.headers["X-Request-ID"] == "r1"
    return told


# -- errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("engine", 500, "engine_failed"),
        ("overloaded", 503, "overloaded"),
        ("limited", 429, "too_many_requests"),
        ("voice", 404, "unknown_voice"),
        ("settings", 422, "invalid_settings"),
        ("root", 500, "internal_error"),
        ("other", 500, "internal_error"),
    ],
)
def test_an_error_has_its_status_and_code_and_keeps_its_text(
    client: httpx.Client, name: str, status: int, code: str
) -> None:
    answer = client.get(f"/errors/{name}")
    assert (answer.status_code, body(answer)["error_code"]) == (status, code)
    assert SECRET not in answer.text
    assert "anna" not in answer.text


def test_settings_are_told_apart(client: httpx.Client) -> None:
    told = body(client.get("/errors/settings"))
    assert told["detail"] == {"server.port": "is no number"}


def test_who_may_ask_again_is_told_when(client: httpx.Client) -> None:
    assert client.get("/errors/overloaded").headers["Retry-After"] == "4"
    assert client.get("/errors/limited").headers["Retry-After"] == "7"


def test_the_log_has_what_the_client_is_not_told(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "realtime_stts")
    for name, level, failed in [
        ("engine", logging.ERROR, True),
        ("overloaded", logging.WARNING, False),
        ("voice", logging.INFO, False),
    ]:
        caplog.clear()
        client.get(f"/errors/{name}")
        (record,) = (each for each in caplog.records if each.name.startswith("realtime_stts"))
        assert record.levelno == level
        assert "r1" in record.getMessage()
        assert (record.exc_info is not None) == failed


def test_an_http_exception_keeps_its_detail_and_headers(client: httpx.Client) -> None:
    answer = client.get("/errors/plain")
    assert answer.status_code == 404
    assert body(answer) == {"detail": "There is no such file.", "error_code": "not_found"}
    assert answer.headers["X-Own"] == "1"


def test_it_may_bring_its_own_code(client: httpx.Client) -> None:
    told = body(client.get("/errors/coded"))
    assert told == {"detail": "It is there already.", "error_code": "duplicate"}
    told = body(client.get("/errors/other-dict"))
    assert told == {"detail": {"detail": "It is there.", "more": 1}, "error_code": "conflict"}


def test_one_without_a_detail_has_its_statuss(client: httpx.Client) -> None:
    answer = client.get("/errors/unknown")
    assert body(answer) == {"detail": "Unauthorized", "error_code": "not_authenticated"}
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert body(client.get("/errors/teapot"))["error_code"] == "bad_request"


def test_text_that_is_no_unicode_is_still_an_answer(client: httpx.Client) -> None:
    assert body(client.get("/errors/odd"))["detail"] == "There is no \ud800."


@pytest.mark.parametrize(("name", "status"), [("empty", 204), ("unchanged", 304)])
def test_an_answer_that_has_no_body_gets_none(client: httpx.Client, name: str, status: int) -> None:
    answer = client.get(f"/errors/{name}")
    assert (answer.status_code, answer.content) == (status, b"")


def test_an_upload_that_there_is_no_room_for_is_no_fault_of_the_clients(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What python-multipart keeps is in memory up to 1 MB, and then in a file."""

    def full(self: object, data: bytes) -> int:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", full)
    answer = client.post("/upload", files={"file": ("a.wav", bytes(1_000))})
    assert answer.status_code == 507
    assert body(answer)["error_code"] == "storage_failed"


def test_starlettes_own_errors_are_of_the_same_shape(client: httpx.Client) -> None:
    assert body(client.get("/nowhere")) == {"detail": "Not Found", "error_code": "not_found"}
    answer = client.post("/things")
    assert body(answer)["error_code"] == "method_not_allowed"
    assert answer.headers["Allow"] == "GET"


# -- requests that do not fit ------------------------------------------------------------


def test_what_does_not_fit_is_said_for_each_part(client: httpx.Client) -> None:
    answer = client.post("/speech", json={"text": "", "speed": 9})
    assert answer.status_code == 422
    told = body(answer)
    assert told["error_code"] == "invalid_request"
    assert [each["loc"] for each in told["detail"]] == [["body", "text"], ["body", "speed"]]
    assert [each["input"] for each in told["detail"]] == ["", 9]
    assert all(each.keys() == {"type", "loc", "msg", "input"} for each in told["detail"])


def test_a_request_that_is_no_json_is_too(client: httpx.Client) -> None:
    answer = client.post("/speech", content=b"{", headers={"Content-Type": "application/json"})
    assert body(answer)["detail"][0]["type"] == "json_invalid"


@pytest.mark.parametrize("name", ["token", "x-api-key"])
def test_a_secret_is_not_repeated(client: httpx.Client, name: str) -> None:
    if name == "token":
        answer = client.post("/speech", json={"text": "a", "token": 12345})
    else:
        answer = client.get("/things?n=1", headers={name: "s12345"})
    (wrong,) = body(answer)["detail"]
    assert wrong["input"] is None
    assert "12345" not in answer.text


def test_nor_is_the_rest_of_the_body(client: httpx.Client) -> None:
    """Where a field is missing, the input is all that there is."""
    answer = client.post("/speech", json={"token": "s12345"})
    (wrong,) = body(answer)["detail"]
    assert (wrong["type"], wrong["input"]) == ("missing", None)
    assert "12345" not in answer.text


def test_what_is_large_is_cut(client: httpx.Client) -> None:
    answer = client.post("/speech", json={"text": "x" * 10_000})
    assert body(answer)["detail"][0]["input"] == "x" * 200
    answer = client.post("/speeches", json=[{"text": ""}] * 5000)
    assert len(body(answer)["detail"]) == 20


@pytest.mark.parametrize(
    ("speed", "shown"), [("NaN", None), ("1e999", None), ("true", None), ("1" * 100, None)]
)
def test_numbers_that_json_has_not_are_still_an_answer(
    client: httpx.Client, speed: str, shown: Any
) -> None:
    content = f'{{"text": "a", "speed": {speed}}}'.encode()
    answer = client.post("/speech", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 422)
    if answer.status_code == 422:
        assert body(answer)["detail"][0]["input"] == shown


@pytest.mark.parametrize("value", [True, None, 2.5, "\ud800"])
def test_single_values_are_shown(client: httpx.Client, value: Any) -> None:
    content = json.dumps({"text": value if value != "\ud800" else "\ud800" * 21}).encode()
    answer = client.post("/speech", content=content, headers={"Content-Type": "application/json"})
    (wrong,) = body(answer)["detail"]
    assert wrong["input"] == (value if value != "\ud800" else "\ud800" * 21)


# -- sockets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("voice", 404, "unknown_voice"),
        ("coded", 409, "duplicate"),
        ("other", 500, "internal_error"),
    ],
)
def test_a_socket_that_is_not_accepted_is_refused_with_the_same_body(
    url: str, name: str, status: int, code: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(url.replace("http", "ws") + f"/ws/before/{name}")
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body)["error_code"] == code


def test_and_so_is_one_whose_query_does_not_fit(url: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(url.replace("http", "ws") + "/ws-query?level=9")
    assert refused.value.response.status_code == 422
    assert json.loads(refused.value.response.body)["detail"][0]["loc"] == ["query", "level"]


@pytest.mark.parametrize(
    ("when", "name", "code", "reason"),
    [
        ("during", "voice", 1008, "unknown_voice"),
        ("during", "overloaded", 1013, "overloaded"),
        ("during", "engine", 1011, "engine_failed"),
        ("during", "other", 1011, "internal error"),
        ("after", "voice", 4000, ""),
    ],
)
def test_an_open_socket_is_closed(url: str, when: str, name: str, code: int, reason: str) -> None:
    with connect(url.replace("http", "ws") + f"/ws/{when}/{name}") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(LIMIT)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)


# -- without the layers ------------------------------------------------------------------


def test_an_application_without_protection_answers_the_same() -> None:
    with serving(application()) as url:
        answer = httpx.get(f"{url}/errors/other", headers={"X-Request-ID": "r2"})
        assert answer.status_code == 500
        assert answer.json()["request_id"] == "r2"
        assert SECRET not in answer.text
        assert httpx.get(f"{url}/errors/voice").json()["error_code"] == "unknown_voice"
