"""Answers that leave while they are made, as an ASGI server sees them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

pytest.importorskip("fastapi")

from realtime_stts.errors import OverloadedError
from realtime_stts.integrations._http._openai._streams import (
    StreamCutError,
    Streamed,
    server_sent,
    server_sent_error,
)

SCOPE = {"type": "http"}


class Client:
    """Takes what it is sent; leaves once it has taken so many messages."""

    def __init__(self, leaves_after: int | None = None) -> None:
        self.taken: list[dict[str, Any]] = []
        self._leaves_after = leaves_after
        self._left = anyio.Event()
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        self.taken.append(message)
        if len(self.taken) == self._leaves_after:
            self._left.set()

    @property
    def status(self) -> int:
        return int(self.taken[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.taken[1:])

    @property
    def complete(self) -> bool:
        return self.taken[-1].get("more_body") is False


class Made:
    """Makes pieces, and knows when it is closed."""

    def __init__(self, *pieces: bytes | Exception, endless: bool = False) -> None:
        self.closed = False
        self._pieces, self._endless = pieces, endless

    async def __call__(self) -> AsyncGenerator[bytes]:
        try:
            for piece in self._pieces:
                await anyio.lowlevel.checkpoint()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
            if self._endless:
                await anyio.sleep_forever()
        finally:
            self.closed = True


@pytest.mark.anyio
async def test_the_pieces_are_the_answer() -> None:
    client = Client()
    await Streamed(Made(b"one", b"", b"two"), "audio/wav")(SCOPE, client.receive, client.send)
    headers = dict(client.taken[0]["headers"])
    assert client.status == 200
    assert headers == {b"content-type": b"audio/wav"}
    assert client.body == b"onetwo"
    assert client.complete
    assert all(message["body"] for message in client.taken[1:-1])


@pytest.mark.anyio
async def test_a_failure_before_the_first_piece_is_an_answer() -> None:
    client = Client()
    made = Made(OverloadedError("all is full"))
    await Streamed(made, "audio/wav")(SCOPE, client.receive, client.send)
    assert client.status == 503
    assert b"overloaded" in client.body


@pytest.mark.anyio
async def test_a_failure_after_it_cuts_the_answer() -> None:
    client = Client()
    answer = Streamed(Made(b"one", RuntimeError("secret")), "audio/wav")
    with pytest.raises(StreamCutError):
        await answer(SCOPE, client.receive, client.send)
    assert client.body == b"one"
    assert not client.complete


@pytest.mark.anyio
async def test_a_format_that_can_tells_of_the_failure() -> None:
    client = Client()
    answer = Streamed(
        Made(b"one", RuntimeError("secret")), "text/event-stream", farewell=lambda _: b"bye"
    )
    await answer(SCOPE, client.receive, client.send)
    assert client.body == b"onebye"
    assert client.complete


@pytest.mark.anyio
async def test_a_client_that_leaves_closes_what_makes_the_pieces() -> None:
    client, made = Client(leaves_after=2), Made(b"one", endless=True)
    await Streamed(made, "audio/wav")(SCOPE, client.receive, client.send)
    assert made.closed
    assert client.body == b"one"


def test_events_are_lines() -> None:
    assert server_sent({"type": "x", "text": "a\nb"}) == b'data: {"type": "x", "text": "a\\nb"}\n\n'


def test_an_error_is_an_event_of_its_own() -> None:
    event = server_sent_error(RuntimeError("secret"))
    assert event.startswith(b'event: error\ndata: {"error": {')
    assert b"secret" not in event
