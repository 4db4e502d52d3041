"""What a replica does with a call, without the cluster around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Any

import pytest

pytest.importorskip("ray.serve")

import anyio
from ray import cloudpickle

from realtime_stts.audio import AudioData
from realtime_stts.engines._isolated_frames import Message
from realtime_stts.engines._isolated_values import unpacked_error, unpacked_result
from realtime_stts.errors import EngineCrashedError, EngineLoadError
from realtime_stts.integrations._ray import _replica, _replica_call
from realtime_stts.integrations._ray._messages import (
    PROTOCOL,
    WINDOW,
    joined_sound,
    packed,
    unpacked,
)
from realtime_stts.integrations._ray._replica import Replica, steer
from realtime_stts.protocols import TranscriptionResult
from realtime_stts.testing import ScriptedTTSEngine

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

CHUNK = AudioData.silence(0.01, 16_000)


class Told:
    """An engine that does as the text says, and counts what it made."""

    name = "told"
    model_loaded = True

    def __init__(self) -> None:
        self.made = 0
        self.withdrawn = 0
        self.available = True

    async def load(self) -> None: ...

    async def warmup(self) -> None: ...

    async def is_available(self) -> bool:
        return self.available

    async def list_voices(self) -> list[dict[str, Any]]:
        return [{"id": "ada", "name": "Ada", "language": "en"}]

    async def stream(
        self, asked: str | AsyncIterable[AudioData], how: object = None
    ) -> AsyncGenerator[Any]:
        try:
            if not isinstance(asked, str):
                async for _ in asked:
                    self.made += 1
                    yield TranscriptionResult(str(self.made), "en", [], partial=True)
                return
            if asked == "crash":
                raise EngineCrashedError("told", "it crashed")
            if asked == "sleep":
                await anyio.sleep_forever()
            while True:
                self.made += 1
                yield CHUNK
        finally:
            self.withdrawn += 1


async def replica(monkeypatch: pytest.MonkeyPatch, engine: Any) -> Replica:
    monkeypatch.setattr(_replica, "_here", lambda: "the actor")
    monkeypatch.setattr(_replica_call, "SILENCE", 60.0)
    monkeypatch.setattr(_replica.cloudpickle, "loads", lambda _: lambda: engine)
    made = object.__new__(Replica)
    await Replica.__init__(made, "mouth", "tts", b"", 2, 4)  # type: ignore[misc]
    return made


def asked(method: str, *, remaining: float | None = None, **arguments: Any) -> str:
    origin = ["request", "session"]
    header = {"method": method, "voice": "", "remaining": remaining, "origin": origin, **arguments}
    return packed(Message(header))[0]


async def said(replica: Replica, header: str, payload: bytes = b"") -> list[Message]:
    async with aclosing(replica.call("1", header, payload)) as items:
        return [unpacked(text, data) async for text, data, _ in items]


async def test_it_first_says_what_it_is_and_then_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    there = await replica(monkeypatch, Told())
    begin, item, end = await said(there, asked("list_voices"))
    about = {"name": "mouth", "kind": "tts", "slots": 2, "protocol": PROTOCOL}
    assert begin.header == {"do": "begin", **about}
    assert unpacked_result(item)[0]["id"] == "ada"
    assert end.header == {"do": "end", "error": None, "expired": False}
    assert [message.header["do"] for message in await said(there, asked("hello"))] == [
        "begin",
        "end",
    ]


async def test_it_is_ahead_of_its_reader_by_the_window_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Serve takes all that it is given at once: what bounds it are the reader's words."""
    engine = Told()
    there = await replica(monkeypatch, engine)
    items: list[str] = []

    async def take() -> None:
        async with aclosing(there.call("1", asked("speak", text="x", voice_config={}), b"")) as all:
            async for header, _, _ in all:
                items.append(header)

    task = asyncio.create_task(take())
    await anyio.wait_all_tasks_blocked()
    assert len(items) == 1 + WINDOW
    assert engine.made == WINDOW + 1  # one is in its hand
    assert steer("the actor", "1", *packed(Message({"taken": 3})))
    await anyio.wait_all_tasks_blocked()
    await anyio.wait_all_tasks_blocked()
    assert len(items) == 1 + WINDOW + 3
    task.cancel()
    await asyncio.wait([task])
    assert engine.withdrawn == 1
    assert not steer("the actor", "1", *packed(Message({})))


async def test_sound_is_taken_as_it_comes_and_the_edge_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = await replica(monkeypatch, Told())
    heard: list[Message] = []

    async def take() -> None:
        heard.extend(await said(there, asked("listen", language=None)))

    task = asyncio.create_task(take())
    await anyio.wait_all_tasks_blocked()
    for parcel in ([CHUNK, CHUNK], [CHUNK]):
        assert steer("the actor", "1", *packed(joined_sound(parcel)))
        await anyio.wait_all_tasks_blocked()
    assert steer("the actor", "1", *packed(Message({"end": True})))
    await task
    texts = [unpacked_result(each).text for each in heard if each.header["do"] == "item"]
    assert texts == ["1", "2", "3"]
    assert sum(each.header["n"] for each in heard if each.header["do"] == "taken") == 2


@pytest.mark.parametrize("remaining", [-1.0, 0.05])
async def test_work_ends_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch, remaining: float
) -> None:
    engine = Told()
    there = await replica(monkeypatch, engine)
    header = asked("speak", remaining=remaining, text="sleep", voice_config={})
    *_, end = await said(there, header)
    assert end.header == {"do": "end", "error": None, "expired": True}
    assert engine.withdrawn == (remaining > 0.0)  # what is over already is not begun


async def test_an_edge_that_is_not_heard_of_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Told()
    there = await replica(monkeypatch, engine)
    monkeypatch.setattr(_replica_call, "SILENCE", 0.1)
    (begin,) = await said(there, asked("speak", text="sleep", voice_config={}))
    assert begin.header["do"] == "begin"
    assert engine.withdrawn == 1


async def test_what_the_engine_raises_is_told_with_where(monkeypatch: pytest.MonkeyPatch) -> None:
    there = await replica(monkeypatch, Told())
    *_, end = await said(there, asked("speak", text="crash", voice_config={}))
    error = unpacked_error(end.header["error"], "mouth")
    assert isinstance(error, EngineCrashedError)
    assert "test_replica.py" in str(error.__cause__)


async def test_an_engine_that_crashes_again_and_again_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Told()
    there = await replica(monkeypatch, engine)
    crash = asked("speak", text="crash", voice_config={})
    for _ in range(2):
        await said(there, crash)
    await said(there, asked("list_voices"))  # which it survives
    for _ in range(2):
        await said(there, crash)
    await there.check_health()
    await said(there, crash)
    with pytest.raises(RuntimeError, match="crashed 3 times in a row"):
        await there.check_health()


async def test_an_engine_that_is_not_available_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Told()
    there = await replica(monkeypatch, engine)
    await there.check_health()
    engine.available = False
    with pytest.raises(RuntimeError, match="not available"):
        await there.check_health()


async def test_an_engine_need_not_say_whether_it_is_available(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = await replica(monkeypatch, ScriptedTTSEngine(latency=0.0))
    await there.check_health()
    header = asked("synthesize", text="hello", voice_config={})
    _, item, _ = await said(there, header)
    assert unpacked_result(item).text == "hello"


async def test_the_factory_is_unpacked_where_its_engine_is() -> None:
    def fails() -> None:
        raise EngineLoadError("told", "no such file")

    made = object.__new__(Replica)
    factory = cloudpickle.dumps(fails)  # type: ignore[no-untyped-call]
    with pytest.raises(EngineLoadError, match="no such file"):
        await Replica.__init__(made, "mouth", "tts", factory, 1, 1)  # type: ignore[misc]
