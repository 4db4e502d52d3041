"""What a block leaves running is found and named; what ends in time is not."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio.abc import TaskGroup

from realtime_stts.testing import _leaks, no_leaks

pytestmark = pytest.mark.anyio


async def test_a_clean_block_passes() -> None:
    async with no_leaks():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 1)
        await anyio.to_thread.run_sync(time.sleep, 0)


async def test_what_ran_before_is_not_the_blocks() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        async with no_leaks():
            await anyio.sleep(1)
        tasks.cancel_scope.cancel()


async def test_a_task_left_running_is_named() -> None:
    async with anyio.create_task_group() as tasks:
        with pytest.raises(AssertionError, match=r"tasks left running: .*forgotten"):
            async with no_leaks():
                tasks.start_soon(anyio.sleep_forever, name="forgotten")
        tasks.cancel_scope.cancel()


async def test_a_task_that_is_ending_is_no_leak() -> None:
    async with anyio.create_task_group() as tasks, no_leaks():
        tasks.start_soon(anyio.lowlevel.checkpoint)


async def numbers() -> AsyncGenerator[int]:
    for number in range(3):
        await anyio.lowlevel.checkpoint()
        yield number


async def test_generators_that_ended_or_were_closed_are_no_leak() -> None:
    async with no_leaks():
        assert [number async for number in numbers()] == [0, 1, 2]
        async with aclosing(numbers()) as closed:
            await anext(closed)
        never_begun = numbers()
    await never_begun.aclose()


async def test_a_generator_left_open_is_named() -> None:
    forgotten = numbers()
    with pytest.raises(AssertionError, match="async generators left open: numbers"):
        async with no_leaks():
            await anext(forgotten)
    await forgotten.aclose()


async def test_a_generator_left_open_by_a_task_is_named() -> None:
    kept = []

    async def forget() -> None:
        kept.append(numbers())
        await anext(kept[0])

    with pytest.raises(AssertionError, match="async generators left open: numbers"):
        async with no_leaks(), anyio.create_task_group() as tasks:
            tasks.start_soon(forget)
    await kept[0].aclose()


async def test_what_other_tasks_leave_open_is_not_the_blocks() -> None:
    other = numbers()
    begin, begun = anyio.Event(), anyio.Event()

    async def run_on() -> None:
        await begin.wait()
        async with aclosing(other):
            await anext(other)
            begun.set()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_on)
        await anyio.wait_all_tasks_blocked()
        async with no_leaks():
            begin.set()
            await begun.wait()
        tasks.cancel_scope.cancel()


async def test_a_thread_that_is_ending_is_waited_for() -> None:
    async with no_leaks():
        threading.Thread(target=time.sleep, args=(0.05,)).start()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_leaks, "_PATIENCE", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_a_thread_left_running_is_named() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="forgotten")
    with pytest.raises(AssertionError, match="threads left running: forgotten"):
        async with no_leaks():
            thread.start()
    release.set()
    thread.join()


@pytest.mark.usefixtures("impatient")
async def test_an_abandoned_worker_thread_is_a_leak() -> None:
    """The call returned when it was cancelled, its thread did not."""
    release = threading.Event()

    async def abandon() -> None:
        async with no_leaks():
            with anyio.move_on_after(0.01):
                await anyio.to_thread.run_sync(release.wait, abandon_on_cancel=True)

    with pytest.raises(AssertionError, match="threads left running"):
        await abandon()
    release.set()


async def test_a_blocks_own_error_comes_first() -> None:
    async def fail(tasks: TaskGroup) -> None:
        async with no_leaks():
            tasks.start_soon(anyio.sleep_forever)
            raise KeyError

    async with anyio.create_task_group() as tasks:
        with pytest.raises(KeyError):
            await fail(tasks)
        tasks.cancel_scope.cancel()
