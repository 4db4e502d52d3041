"""Blocking work off the event loop: alone, abandonable, and streaming."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import aclosing

import anyio
import pytest

from realtime_stts.engines._worker import Job, StreamJob, Withdrawn, Worker
from realtime_stts.testing import no_leaks

pytestmark = pytest.mark.anyio


class Gate:
    """Work that waits in its thread until it is let through, and can be seen to have begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.running = self.peak = self.ended = 0

    def __call__(self, job: Job) -> str:
        self.running += 1
        self.peak = max(self.peak, self.running)
        self.begun.set()
        try:
            while not self.open.wait(0.001):
                job.check()
        finally:
            self.running -= 1
            self.ended += 1
        return "done"


async def until(event: threading.Event) -> None:
    await anyio.to_thread.run_sync(event.wait)


async def test_work_runs_in_a_thread_and_its_result_or_error_comes_back() -> None:
    worker = Worker("test")
    assert await worker.run(lambda job: threading.current_thread()) is not threading.main_thread()
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda job: 1 // 0)


async def test_one_at_a_time_whoever_asks() -> None:
    worker, gate = Worker("test"), Gate()
    gate.open.set()
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(worker.run, gate)
    assert (gate.peak, gate.ended) == (1, 8)


async def test_the_loop_goes_on_while_the_work_blocks() -> None:
    worker, gate = Worker("test"), Gate()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run, gate)
        await until(gate.begun)
        gate.open.set()


async def test_cancelling_releases_the_caller_and_stops_the_work_inside() -> None:
    worker, gate = Worker("test"), Gate()
    async with no_leaks():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run, gate)
            await until(gate.begun)
            tasks.cancel_scope.cancel()
        # The next call waits for the abandoned one, which ends by itself.
        assert await worker.run(lambda job: gate.running) == 0
    assert gate.ended == 1


async def test_a_call_cancelled_while_it_waits_does_no_work() -> None:
    worker, gate = Worker("test"), Gate()
    calls: list[Job] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run, gate)
        await until(gate.begun)
        with anyio.move_on_after(0):
            await worker.run(calls.append)
        gate.open.set()
    await worker.run(lambda job: None)
    assert calls == []


def counting(n_items: int, per_step: int = 1, log: list[int] | None = None):  # type: ignore[no-untyped-def]
    def work(job: StreamJob[int]) -> Iterator[None]:
        for item in range(n_items):
            job.emit(item)
            if log is not None:
                log.append(item)
            if item % per_step == per_step - 1:
                yield

    return work


async def test_a_stream_yields_what_the_work_emits() -> None:
    async with no_leaks(), aclosing(Worker("test").stream(counting(100, 7))) as items:
        assert [item async for item in items] == list(range(100))


async def test_the_first_item_does_not_wait_for_the_step_that_emits_it() -> None:
    go_on = threading.Event()

    def work(job: StreamJob[str]) -> Iterator[None]:
        job.emit("early")
        go_on.wait()
        job.emit("late")
        yield

    async with aclosing(Worker("test").stream(work)) as items:
        assert await anext(items) == "early"
        go_on.set()
        assert [item async for item in items] == ["late"]


async def test_an_error_comes_after_the_items_before_it() -> None:
    def work(job: StreamJob[int]) -> Iterator[None]:
        job.emit(1)
        yield
        raise KeyError("broken")

    items = Worker("test").stream(work)
    assert await anext(items) == 1
    with pytest.raises(KeyError, match="broken"):
        await anext(items)


async def test_a_stream_runs_ahead_of_its_reader_by_a_bounded_amount() -> None:
    log: list[int] = []
    worker = Worker("test")
    async with aclosing(worker.stream(counting(1000, log=log))) as items:
        assert await anext(items) == 0
        for _ in range(20):  # others have their turn meanwhile
            await worker.run(lambda job: None)
        assert len(log) < 20
        assert len([item async for item in items]) == 999


async def test_a_stream_that_waits_for_its_reader_does_not_hold_the_model() -> None:
    worker = Worker("test")
    async with aclosing(worker.stream(counting(1000))) as items:
        await anext(items)
        assert await worker.run(lambda job: "free") == "free"


async def test_closing_a_stream_ends_its_work() -> None:
    gate = Gate()

    def work(job: StreamJob[int]) -> Iterator[None]:
        job.emit(1)
        gate(job)
        yield

    worker = Worker("test")
    async with no_leaks():
        async with aclosing(worker.stream(work)) as items:
            await anext(items)
            await until(gate.begun)
        await worker.run(lambda job: None)
    assert gate.ended == 1


async def test_cancelling_a_reader_that_waits_ends_the_work() -> None:
    gate = Gate()

    def work(job: StreamJob[int]) -> Iterator[None]:
        gate(job)
        yield

    async def read(worker: Worker) -> None:
        async with aclosing(worker.stream(work)) as items:
            await anext(items)

    async with no_leaks():
        worker = Worker("test")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, worker)
            await until(gate.begun)
            tasks.cancel_scope.cancel()
        await worker.run(lambda job: None)
    assert gate.ended == 1


def test_a_withdrawn_job_says_so() -> None:
    job = Job()
    job.check()
    job.withdraw()
    assert job.withdrawn
    with pytest.raises(Withdrawn):
        job.check()


def test_one_worker_serves_event_loops_one_after_another() -> None:
    worker = Worker("test")

    async def main() -> list[int]:
        async with aclosing(worker.stream(counting(3))) as items:
            return [item async for item in items]

    for backend in ("asyncio", "trio", "asyncio"):
        assert anyio.run(main, backend=backend) == [0, 1, 2]


async def test_a_thread_of_ones_own_holds_the_model_too() -> None:
    worker, gate = Worker("test"), Gate()
    holding, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with worker.exclusive():
            holding.set()
            let_go.wait()
            assert gate.running == 0

    gate.open.set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, hold)
        await until(holding)
        tasks.start_soon(worker.run, gate)
        await anyio.wait_all_tasks_blocked()
        assert not gate.begun.is_set()
        let_go.set()
    assert gate.ended == 1


async def test_the_model_goes_to_whoever_asked_first() -> None:
    worker, log = Worker("test"), list[str]()
    holding, others_wait = threading.Event(), threading.Event()

    def twice() -> None:
        with worker.exclusive():
            holding.set()
            others_wait.wait()
            log.append("first")
        with worker.exclusive():  # at once, but others wait
            log.append("fourth")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, twice)
        await until(holding)
        for n, name in enumerate(["second", "third"], 1):
            tasks.start_soon(worker.run, lambda job, name=name: log.append(name))
            while len(worker._lock._waiting) < n:
                await anyio.to_thread.run_sync(threading.Event().wait, 0.001)
        others_wait.set()
    assert log == ["first", "second", "third", "fourth"]
