"""A model is loaded once, whoever asks, and again after it was released."""

from __future__ import annotations

import threading

import anyio
import pytest

from realtime_stts import EngineLoadError, Lifecycle, MissingExtraError
from realtime_stts.engines._lifecycle import LocalEngine
from realtime_stts.engines._worker import Job, Worker

pytestmark = pytest.mark.anyio


class Engine(LocalEngine[object]):
    name = "test"

    def __init__(self, *failures: Exception | None) -> None:
        super().__init__(Worker("test"))
        self.failures = list(failures)
        self.may_load = threading.Event()
        self.may_load.set()
        self.loading = threading.Event()
        self.log: list[str] = []

    def _load(self) -> object:
        self.loading.set()
        self.may_load.wait()
        self.log.append("load")
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        return object()

    def _warm_up(self, model: object) -> None:
        self.log.append("warm up")

    def _release(self, model: object) -> None:
        self.log.append("release")

    async def use(self) -> object:
        return await self._worker.run(lambda job: self._model())


async def test_a_block_loads_and_releases() -> None:
    engine = Engine()
    assert isinstance(engine, Lifecycle)
    async with engine as entered:
        assert entered is engine
        assert engine.model_loaded
        await engine.load()
    assert not engine.model_loaded
    assert engine.log == ["load", "release"]


async def test_using_it_loads_it_and_it_can_be_loaded_again() -> None:
    engine = Engine()
    first = await engine.use()
    assert await engine.use() is first
    await engine.unload()
    await engine.unload()
    assert await engine.use() is not first
    assert engine.log == ["load", "release", "load"]


async def test_warming_up_loads_first() -> None:
    engine = Engine()
    await engine.warmup()
    assert engine.log == ["load", "warm up"]


async def test_many_at_once_load_it_once() -> None:
    engine = Engine()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(engine.load)
    assert engine.log == ["load"]


async def test_a_failed_load_reaches_all_who_waited_and_a_later_call_tries_again() -> None:
    engine = Engine(OSError("no file"))
    engine.may_load.clear()
    errors: list[str] = []

    async def load() -> None:
        try:
            await engine.load()
        except EngineLoadError as exc:
            errors.append(str(exc))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(load)
        await anyio.to_thread.run_sync(engine.loading.wait)
        await anyio.wait_all_tasks_blocked()
        engine.may_load.set()
    assert errors == ["test: cannot be loaded: no file"] * 3
    assert engine.log == ["load"]
    await engine.load()
    assert engine.model_loaded


async def test_our_own_errors_are_not_wrapped() -> None:
    with pytest.raises(MissingExtraError):
        await Engine(MissingExtraError("Test", "local")).load()


async def test_a_waiter_that_gives_up_does_not_spoil_it_for_others() -> None:
    engine, scope = Engine(), anyio.CancelScope()
    engine.may_load.clear()

    async def impatient() -> None:
        with scope:
            await engine.load()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(impatient)
        await anyio.to_thread.run_sync(engine.loading.wait)
        tasks.start_soon(engine.load)
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        engine.may_load.set()
    assert engine.model_loaded
    assert engine.log == ["load"]


async def test_a_model_in_use_is_not_released() -> None:
    engine = Engine()
    began, may_end = threading.Event(), threading.Event()

    def use(job: Job) -> None:
        engine._model()
        began.set()
        may_end.wait()
        engine.log.append("used")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine._worker.run, use)
        await anyio.to_thread.run_sync(began.wait)
        tasks.start_soon(engine.unload)
        await anyio.wait_all_tasks_blocked()
        may_end.set()
    assert engine.log == ["load", "used", "release"]
