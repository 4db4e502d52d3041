"""Virtual time passes at once, in order, and never ahead of a worker thread."""

from __future__ import annotations

import asyncio
import time
from threading import Event
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from realtime_stts.errors import MissingExtraError
from realtime_stts.testing import virtual_time

BACKENDS = [pytest.param("asyncio", id="asyncio"), pytest.param("trio", id="trio")]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A clock of its own for each test, so that each starts at 0."""
    if request.param == "trio":
        pytest.importorskip("trio")
    return virtual_time(request.param)


@pytest.fixture
def anyio_backend_name(anyio_backend: tuple[str, dict[str, Any]]) -> str:
    return anyio_backend[0]


@pytest.mark.anyio
class TestTheClock:
    async def test_starts_at_zero(self) -> None:
        assert anyio.current_time() == pytest.approx(0.0, abs=1e-6)

    async def test_jumps_to_the_next_timer(self) -> None:
        """A day is over at once: the suite's own time limit would end a real one."""
        began = anyio.current_time()
        await anyio.sleep(86_400)
        assert anyio.current_time() - began == pytest.approx(86_400)

    async def test_outlives_the_longest_wait_of_a_selector(self) -> None:
        """asyncio never waits for more than a day at a time."""
        began = anyio.current_time()
        await anyio.sleep_until(began + 100_000)
        assert anyio.current_time() - began == pytest.approx(100_000)

    async def test_wakes_tasks_in_the_order_of_their_timers(self) -> None:
        woken: list[tuple[float, float]] = []

        async def wake_after(seconds: float) -> None:
            await anyio.sleep(seconds)
            woken.append((seconds, anyio.current_time() - began))

        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for seconds in (30.0, 0.001, 7.5, 3600.0, 0.25):
                tasks.start_soon(wake_after, seconds)

        planned, happened = zip(*woken, strict=True)
        assert list(planned) == [0.001, 0.25, 7.5, 30.0, 3600.0]
        assert happened == pytest.approx(planned)

    async def test_stands_still_while_tasks_run(self) -> None:
        began = anyio.current_time()
        for _ in range(1000):
            await anyio.lowlevel.checkpoint()
        assert anyio.current_time() == began

    async def test_lets_blocked_tasks_be_awaited(self) -> None:
        """`wait_all_tasks_blocked` answers before the next timer is jumped to."""
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 60)
            await anyio.wait_all_tasks_blocked()
            assert anyio.current_time() - began < 60

    async def test_deadlines_are_virtual(self) -> None:
        with pytest.raises(TimeoutError):
            with anyio.fail_after(3600):
                await anyio.sleep_forever()


@pytest.mark.anyio
class TestWorkerThreads:
    @pytest.mark.parametrize("abandon", [False, True])
    async def test_are_waited_for(self, abandon: bool) -> None:
        """A job of 0.2 real seconds is well inside a deadline of 1 virtual second."""
        with anyio.fail_after(1.0):
            await anyio.to_thread.run_sync(time.sleep, 0.2, abandon_on_cancel=abandon)

    async def test_take_no_virtual_time(self) -> None:
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 10)
            await anyio.to_thread.run_sync(time.sleep, 0.05)
            assert anyio.current_time() == began

    async def test_hold_the_clock_only_while_they_work(self) -> None:
        await anyio.to_thread.run_sync(time.sleep, 0.01)
        began = anyio.current_time()
        await anyio.sleep(3600)
        assert anyio.current_time() - began == pytest.approx(3600)

    async def test_may_be_several(self) -> None:
        limiter = anyio.CapacityLimiter(2)

        async def work() -> None:
            await anyio.to_thread.run_sync(time.sleep, 0.05, limiter=limiter)

        with anyio.fail_after(0.5):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(work)

    async def test_that_wait_for_a_timer_get_it(self) -> None:
        """A thread may call back into the loop and sleep there: nothing dead-locks."""

        def work() -> float:
            return anyio.from_thread.run(sleep)

        async def sleep() -> float:
            await anyio.sleep(0.05)
            return anyio.current_time()

        began = anyio.current_time()
        woken = await anyio.to_thread.run_sync(work)
        assert woken - began == pytest.approx(0.05)

    async def test_do_not_hold_up_a_deadline_that_is_past(self) -> None:
        release = Event()

        async def miss_it() -> None:
            with anyio.CancelScope(deadline=anyio.current_time() - 1):
                await anyio.sleep_forever()
            release.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(miss_it)
            assert await anyio.to_thread.run_sync(release.wait, 30)

    async def test_that_never_report_do_not_stop_the_clock_for_ever(self) -> None:
        """A timer that is really due is served, whatever a thread does."""
        release = Event()

        async def free_it() -> None:
            await anyio.sleep(0.05)
            release.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(free_it)
            assert await anyio.to_thread.run_sync(release.wait, 30)


def test_asyncios_own_threads_are_waited_for() -> None:
    async def main() -> None:
        await asyncio.wait_for(asyncio.to_thread(time.sleep, 0.2), timeout=1.0)

    backend, options = virtual_time("asyncio")
    anyio.run(main, backend=backend, backend_options=options)


def test_the_loop_waits_for_sockets_as_ever() -> None:
    async def main() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"heard\n")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return line

    backend, options = virtual_time("asyncio")
    assert anyio.run(main, backend=backend, backend_options=options) == b"heard\n"


def test_an_unknown_backend_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="not 'curio'"):
        virtual_time("curio")


def test_trio_is_asked_for_by_name_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trio", None)
    with pytest.raises(MissingExtraError, match=r"realtime-stts\[testing\]"):
        virtual_time("trio")


@pytest.mark.anyio
async def test_two_that_wait_for_moments_a_rounding_error_apart_both_get_there() -> None:
    ended = []

    async def wait(due: float) -> None:
        # As whoever looks at the clock again after sleeping does.
        while anyio.current_time() < due:  # noqa: ASYNC110
            await anyio.sleep_until(due)
        ended.append(due)

    async with anyio.create_task_group() as tasks:
        for due in (34.350000000000016, 34.35000000000008):
            tasks.start_soon(wait, due)
    assert len(ended) == 2
