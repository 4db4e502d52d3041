"""An edge and its replicas in one process, where each can be told what goes wrong.

Between them stands what Serve does in a cluster: a call runs in a task of its own, which
gives whatever it can, and may die at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import pytest

pytest.importorskip("ray.serve")

import anyio

from realtime_stts.audio import AudioData
from realtime_stts.errors import (
    EngineCrashedError,
    EngineError,
    EngineUnavailableError,
    OverloadedError,
)
from realtime_stts.integrations._ray import _connection, _replica
from realtime_stts.integrations._ray._connection import Connection
from realtime_stts.integrations._ray._replica import Replica
from realtime_stts.integrations.ray import RaySTTEngine, RayTTSEngine
from realtime_stts.testing import ScriptedTTSEngine, ToneSTTEngine, no_leaks, speak_tones

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"]),
]

TEXT = "turn the lights on"
CLIP = speak_tones(TEXT)
N_PIECES = int(CLIP.duration_seconds / 0.2) + 1
PIECES = [CLIP.sliced(i * 0.2, (i + 1) * 0.2) for i in range(N_PIECES)]

ActorDiedError = type("ActorDiedError", (Exception,), {})  # known by its name
FOREVER = 10**6


class Stream:
    """What a handle gives for a call: as Serve's, it takes all that the replica gives."""

    def __init__(self, items: AsyncGenerator[Any], n_items: int, error: Exception | None) -> None:
        self._queue = asyncio.Queue[Any]()
        self._task = asyncio.create_task(self._run(items, n_items, error))

    async def _run(self, items: AsyncGenerator[Any], n_items: int, error: Exception | None) -> None:
        try:
            async with aclosing(items):
                n_given = 0
                while n_given < n_items and (item := await anext(items, None)) is not None:
                    self._queue.put_nowait(item)
                    n_given += '"do":"taken"' not in item[0]
        except Exception as exc:  # noqa: BLE001 - it is raised where it is read
            error = exc
        self._queue.put_nowait(error or StopAsyncIteration())

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        item = await self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def cancel(self) -> None:
        self._task.cancel()


class Actor:
    """A replica's actor: what is told to it is done at once."""

    @property
    def __ray_call__(self) -> Actor:
        return self

    async def remote(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self, *arguments)


class Cluster:
    """Replicas of an engine, and what goes wrong with each call in turn.

    That is after how many items, of which the first says who works on the call, and what is
    raised then. The first call of an edge asks what is there.
    """

    def __init__(self, kind: str, engine: Any) -> None:
        self.kind, self.engine = kind, engine
        self.n_replicas = 2
        self.slots = 2
        self.troubles: list[tuple[int, Exception | None]] = []
        self.headers: list[str] = []
        self._replica: Replica | None = None

    def options(self, **_: Any) -> Cluster:
        return self

    @property
    def call(self) -> Cluster:
        return self

    def remote(self, id: str, header: str, payload: bytes) -> Stream:
        self.headers.append(header)
        trouble = self.troubles.pop(0) if self.troubles else (FOREVER, None)
        return Stream(self._items(id, header, payload), *trouble)

    async def _items(self, id: str, header: str, payload: bytes) -> AsyncGenerator[Any]:
        replica = object.__new__(Replica)
        asking: Any = Replica.__init__
        await asking(replica, "there", self.kind, b"", self.slots, 4)
        async with aclosing(replica.call(id, header, payload)) as items:
            async for item in items:
                yield item


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], Cluster]:
    def up(kind: str, engine: Any) -> Cluster:
        made = Cluster(kind, engine)
        monkeypatch.setattr(_replica, "_here", Actor)
        monkeypatch.setattr(_replica.cloudpickle, "loads", lambda _: made.engine)
        monkeypatch.setattr(Connection, "_find", lambda self: made)
        monkeypatch.setattr(Connection, "_n_replicas", lambda self: made.n_replicas)
        monkeypatch.setattr(_connection, "_REST", 0.01)
        return made

    return up


Up = Callable[[str, Any], Cluster]


async def said(*pieces: AudioData) -> AsyncGenerator[AudioData]:
    for piece in pieces:
        yield piece


async def heard(engine: RaySTTEngine, *pieces: AudioData) -> list[str]:
    async with aclosing(engine.stream(said(*pieces))) as results:
        return [result.text async for result in results]


async def test_calls_go_there_and_back_and_leave_nothing_behind(cluster: Up) -> None:
    there = cluster("stt", lambda: ToneSTTEngine(latency=0.0))
    async with no_leaks(), RaySTTEngine("ears") as engine:
        assert (await engine.transcribe(CLIP)).text == TEXT
        assert (await heard(engine, *PIECES))[-1] == TEXT
        await engine.warmup()
        assert await engine.is_available()
        there.n_replicas = 0
        assert not await engine.is_available()


async def test_speech_arrives_whole_with_a_slow_reader_too(cluster: Up) -> None:
    cluster("tts", lambda: ScriptedTTSEngine(latency=0.0, chunk=0.05))
    async with no_leaks(), RayTTSEngine("mouth") as engine:
        whole = await engine.synthesize(TEXT)
        async with aclosing(engine.stream(TEXT)) as chunks:
            pieces = []
            async for chunk in chunks:
                pieces.append(chunk)
                await anyio.sleep(0.001)
        assert AudioData.concat(pieces) == whole.audio_data
        assert await engine.list_voices()


@pytest.mark.parametrize("n_items", [0, 1])
async def test_a_replica_that_dies_before_its_first_result_is_not_noticed(
    cluster: Up, n_items: int
) -> None:
    there = cluster("stt", lambda: ToneSTTEngine(latency=0.0))
    async with RaySTTEngine("ears") as engine:
        there.troubles = [(n_items, ActorDiedError())]
        assert (await engine.transcribe(CLIP)).text == TEXT
        assert engine.statistics().retried == 1
        there.troubles = [(n_items, ActorDiedError())]
        assert (await heard(engine, *PIECES))[-1] == TEXT
        assert engine.statistics().retried == 2


async def test_it_is_not_tried_for_ever(cluster: Up) -> None:
    there = cluster("stt", lambda: ToneSTTEngine(latency=0.0))
    async with RaySTTEngine("ears", retries=1) as engine:
        there.troubles = [(1, ActorDiedError())] * 2
        with pytest.raises(EngineCrashedError, match="its replica is gone"):
            await engine.transcribe(CLIP)
        statistics = engine.statistics()
        assert (statistics.retried, statistics.running) == (1, 0)
        assert (await engine.transcribe(CLIP)).text == TEXT


async def test_a_replica_that_dies_after_its_first_result_fails_the_stream(cluster: Up) -> None:
    there = cluster("tts", lambda: ScriptedTTSEngine(latency=0.0, chunk=0.05))
    async with RayTTSEngine("mouth") as engine:
        there.troubles = [(3, ActorDiedError())]
        n_chunks = 0
        async with aclosing(engine.stream(TEXT)) as chunks:
            with pytest.raises(EngineCrashedError):  # noqa: PT012
                async for _ in chunks:
                    n_chunks += 1
        assert n_chunks == 2  # the first of three says who works on it
        assert engine.statistics().retried == 0


async def test_a_replica_that_leaves_a_call_unfinished_is_gone(cluster: Up) -> None:
    there = cluster("stt", lambda: ToneSTTEngine(latency=0.0))
    async with RaySTTEngine("ears", retries=0) as engine:
        there.troubles = [(1, None)]
        with pytest.raises(EngineCrashedError, match="ended in the middle of it"):
            await engine.transcribe(CLIP)


async def test_sound_that_is_too_long_to_be_kept_is_not_said_again(cluster: Up) -> None:
    there = cluster("stt", lambda: ToneSTTEngine(latency=0.0))
    async with RaySTTEngine("ears") as engine:
        there.troubles = [(1, ActorDiedError())]
        with pytest.raises(EngineCrashedError):
            await heard(engine, AudioData.silence(61.0, 8_000), AudioData.silence(0.1, 8_000))


async def test_no_result_is_heard_twice(cluster: Up) -> None:
    """A stream that has given one fails; what was said before it is not said again."""
    there = cluster("stt", lambda: ToneSTTEngine(latency=0.0))
    async with RaySTTEngine("ears", batch=0.0) as engine:
        there.troubles = [(2, ActorDiedError())]
        texts: list[str] = []

        async def without_end() -> AsyncGenerator[AudioData]:
            for piece in PIECES:
                yield piece
            while True:
                await anyio.sleep(0.01)
                yield AudioData.silence(0.01, CLIP.sample_rate)

        async with aclosing(engine.stream(without_end())) as results:
            with pytest.raises(EngineCrashedError):  # noqa: PT012
                async for result in results:
                    texts.append(result.text)  # noqa: PERF401 - it ends with an error
        assert len(texts) == 1
        assert engine.statistics().retried == 0


async def test_where_no_replica_runs_a_call_has_patience_and_then_fails(cluster: Up) -> None:
    class Stuck(ToneSTTEngine):
        async def load(self) -> None:
            await asyncio.sleep(60)

    there = cluster("stt", lambda: ToneSTTEngine(latency=0.0))
    async with RaySTTEngine("ears", patience=0.05) as engine:
        there.engine, there.n_replicas = Stuck, 0
        with pytest.raises(EngineUnavailableError, match=r"no replica has come up for 0\.05 s"):
            await engine.transcribe(CLIP)
        there.n_replicas = 1  # one that is busy may take longer
        with pytest.raises(TimeoutError), anyio.fail_after(0.3):
            await engine.transcribe(CLIP)


async def test_a_deadline_ends_the_work_there_and_is_the_callers_here(cluster: Up) -> None:
    cluster("stt", lambda: ToneSTTEngine(latency=60.0))
    async with no_leaks(), RaySTTEngine("ears") as engine:
        with pytest.raises(TimeoutError), anyio.fail_after(0.2):
            await engine.transcribe(CLIP)


async def test_what_has_no_room_is_refused(cluster: Up) -> None:
    there = cluster("stt", lambda: ToneSTTEngine(latency=60.0))
    there.n_replicas, there.slots = 1, 1
    async with (
        RaySTTEngine("ears", max_waiting=0) as engine,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(engine.transcribe, CLIP)
        while not engine.statistics().running:  # noqa: ASYNC110 - nothing rings then
            await anyio.sleep(0.01)
        with pytest.raises(OverloadedError):
            await engine.transcribe(CLIP)
        assert engine.statistics().refused == 1
        tasks.cancel_scope.cancel()


async def test_a_replica_is_asked_again_when_the_first_one_goes_while_it_is_loaded(
    cluster: Up,
) -> None:
    there = cluster("stt", lambda: ToneSTTEngine(latency=0.0))
    there.troubles = [(0, ActorDiedError())]
    async with RaySTTEngine("ears") as engine:
        assert engine.model_loaded
    there.troubles = [(0, ActorDiedError())] * 3
    with pytest.raises(EngineCrashedError):
        await engine.load()
    there.troubles = []
    await engine.load()
    await engine.unload()


async def test_loading_that_fails_in_a_way_that_nobody_knows_is_told(
    cluster: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster("stt", lambda: ToneSTTEngine(latency=0.0))

    def broken(self: Connection) -> int:
        raise KeyError("status")

    monkeypatch.setattr(Connection, "_n_replicas", broken)
    engine = RaySTTEngine("ears")
    with pytest.raises(EngineError, match="KeyError"):
        await engine.load()
    await engine.unload()


async def test_a_look_that_fails_harms_no_call(
    cluster: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster("stt", lambda: ToneSTTEngine(latency=0.0))
    async with RaySTTEngine("ears") as engine:

        def broken(self: Connection) -> int:
            raise KeyError("status")

        monkeypatch.setattr(Connection, "_n_replicas", broken)
        assert (await engine.transcribe(CLIP)).text == TEXT
