"""A model is loaded once, whoever asks, and again after it was released."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from math import inf, nan
from queue import SimpleQueue

import anyio
import pytest

from realtime_stts import EngineLoadError, Lifecycle, MissingExtraError, RealtimeSTTSError
from realtime_stts.engines._lifecycle import LocalEngine
from realtime_stts.engines._worker import Job, Worker
from realtime_stts.testing import no_leaks

pytestmark = pytest.mark.anyio


class Model:
    pass


class Hourglass:
    """Idle time that passes when the test turns it."""

    def __init__(self) -> None:
        self.waits: SimpleQueue[float] = SimpleQueue()
        self.answers: SimpleQueue[bool] = SimpleQueue()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.put(seconds)
        return self.answers.get()

    async def waiting(self) -> float:
        """How long it is waited from now on; returns when the model is idle."""
        return await anyio.to_thread.run_sync(self.waits.get)

    def interrupt(self) -> None:
        """What the event does when it is set."""
        self.answers.put(True)

    def run_out(self) -> None:
        self.answers.put(False)


class Engine(LocalEngine[Model]):
    name = "test"

    def __init__(
        self,
        *failures: Exception | None,
        idle_ttl: float | None = None,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        super().__init__(Worker("test"), idle_ttl, wait=wait)
        self.failures = list(failures)
        self.may_load = threading.Event()
        self.may_load.set()
        self.loading = threading.Event()
        self.gone = threading.Event()
        self.log: list[str] = []

    def _load(self) -> Model:
        self.loading.set()
        self.may_load.wait()
        self.log.append("load")
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        return Model()

    def _warm_up(self, model: Model) -> None:
        self.log.append("warm up")

    def _release(self, model: Model) -> None:
        self.log.append("release")

    def _released(self) -> None:
        self.gone.set()

    async def use(self) -> Model:
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


async def test_an_error_of_ours_is_shared_likewise() -> None:
    engine = Engine(EngineLoadError("test", "no network"))
    engine.may_load.clear()
    errors: list[RealtimeSTTSError] = []

    async def load() -> None:
        try:
            await engine.load()
        except EngineLoadError as exc:
            errors.append(exc)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(load)
        await anyio.to_thread.run_sync(engine.loading.wait)
        await anyio.wait_all_tasks_blocked()
        engine.may_load.set()
    assert [str(error) for error in errors] == ["test: no network"] * 3
    assert engine.log == ["load"]


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


async def test_the_model_is_gone_before_its_memory_is_given_back() -> None:
    class Checked(Engine):
        def _released(self) -> None:
            gc.collect()
            self.log.append("memory" if left() is None else "still there")

    engine = Checked()
    left = weakref.ref(await engine.use())
    await engine.unload()
    assert engine.log == ["load", "release", "memory"]


class Fetching(Engine):
    """Waits for a file that takes as long as the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.fetching = threading.Event()
        self.may_look: SimpleQueue[None] = SimpleQueue()

    def _fetch(self, check: Callable[[], None]) -> None:
        self.fetching.set()
        self.may_look.get()
        check()
        self.log.append("fetch")


async def test_what_the_model_needs_is_fetched_before_it_is_loaded() -> None:
    engine = Fetching()
    engine.may_look.put(None)
    await engine.load()
    await engine.warmup()
    assert engine.log == ["fetch", "load", "warm up"]


@pytest.mark.parametrize("call", [Fetching.load, Fetching.warmup])
async def test_fetching_ends_when_its_caller_gives_up_and_the_next_one_fetches(
    call: Callable[[Fetching], object],
) -> None:
    engine, scope = Fetching(), anyio.CancelScope()

    async def impatient() -> None:
        with scope:
            await call(engine)  # type: ignore[misc]

    async with no_leaks():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(impatient)
            await anyio.to_thread.run_sync(engine.fetching.wait)
            scope.cancel()
        assert engine.log == []
        engine.may_look.put(None)  # for the one that gave up
        engine.may_look.put(None)
        await engine.load()
    assert engine.log == ["fetch", "load"]


class TestIdle:
    async def test_a_model_that_nobody_uses_is_released_and_loaded_again_by_the_next_call(
        self,
    ) -> None:
        glass = Hourglass()
        engine = Engine(idle_ttl=300.0, wait=glass.wait)
        async with no_leaks():
            for _ in range(2):
                await engine.use()
                assert await glass.waiting() == 300.0
                glass.run_out()
                await anyio.to_thread.run_sync(engine.gone.wait)
                assert not engine.model_loaded
                engine.gone.clear()
        assert engine.log == ["load", "release"] * 2

    async def test_each_use_begins_the_wait_anew(self) -> None:
        glass = Hourglass()
        engine = Engine(idle_ttl=300.0, wait=glass.wait)
        model = await engine.use()
        for _ in range(3):
            await glass.waiting()
            assert await engine.use() is model
            glass.interrupt()
        await glass.waiting()
        glass.run_out()
        await anyio.to_thread.run_sync(engine.gone.wait)
        assert engine.log == ["load", "release"]

    async def test_idle_time_counts_from_the_end_of_a_use(self) -> None:
        glass = Hourglass()
        engine = Engine(idle_ttl=300.0, wait=glass.wait)

        def use(job: Job) -> bool:
            engine._model()
            for _ in range(1000):
                time.sleep(0)  # lets any thread that is ready run
            return glass.waits.empty()

        assert await engine._worker.run(use)
        assert await glass.waiting() == 300.0
        await self.end(engine, glass)

    async def test_a_use_that_begins_as_time_runs_out_keeps_the_model(self) -> None:
        glass = Hourglass()
        engine = Engine(idle_ttl=300.0, wait=glass.wait)
        model = await engine.use()
        await glass.waiting()
        began, may_end = threading.Event(), threading.Event()

        def use(job: Job) -> Model:
            model = engine._model()
            began.set()
            may_end.wait()
            return model

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine._worker.run, use)
            await anyio.to_thread.run_sync(began.wait)
            glass.run_out()
            may_end.set()
        await glass.waiting()
        assert await engine.use() is model
        glass.interrupt()
        await glass.waiting()
        await self.end(engine, glass)
        assert engine.log == ["load", "release"]

    async def test_unloading_ends_the_wait_and_leaves_no_thread(self) -> None:
        glass = Hourglass()
        async with no_leaks():
            async with Engine(idle_ttl=300.0, wait=glass.wait) as engine:
                await glass.waiting()
            glass.interrupt()
        assert engine.log == ["load", "release"]

    async def test_by_default_it_waits_for_the_event(self) -> None:
        async with no_leaks(), Engine(idle_ttl=threading.TIMEOUT_MAX):
            pass

    async def test_without_a_limit_nothing_waits(self) -> None:
        engine = Engine()
        async with no_leaks():
            await engine.load()
        assert engine.model_loaded

    @pytest.mark.parametrize("idle_ttl", [0.0, -1.0, nan, inf])
    def test_a_time_that_is_none_is_refused(self, idle_ttl: float) -> None:
        with pytest.raises(ValueError, match="idle_ttl is over 0 seconds"):
            Engine(idle_ttl=idle_ttl)

    async def end(self, engine: Engine, glass: Hourglass) -> None:
        async with no_leaks():
            await engine.unload()
            glass.interrupt()
