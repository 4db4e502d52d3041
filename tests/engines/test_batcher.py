"""Many calls, one model: gathered while it is busy, delivered row by row, and withdrawn."""

from __future__ import annotations

import gc
import random
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup

from realtime_stts import EngineError, EngineMemoryError, OverloadedError
from realtime_stts.engines import _batcher
from realtime_stts.engines._batcher import Batcher, BatcherStatistics, Entry, OutOfMemory
from realtime_stts.engines._worker import Job, Worker
from realtime_stts.testing import no_leaks

pytestmark = pytest.mark.anyio

FOR_EVER = 3600.0  # s; a test that really waits for so long fails


class Model:
    """Work whose steps a test lets happen, and what became of them.

    A request is a letter and the number of steps it takes, one if there is none: "a", "b3".
    Its result is the request in upper case.
    """

    def __init__(self, *, held: bool = True, fits: float = inf, **options: Any) -> None:
        self.log: list[str] = []
        self.fits = fits  # rows a batch may have
        self.worker = Worker("test")
        self.batcher = Batcher[str, str]("test", self.run, self.worker, **options)
        self._allowed = 0 if held else inf
        self._changed = threading.Condition()
        self.results: dict[str, str | Exception] = {}

    # -- the test's side

    def allow(self, n_steps: float = inf) -> None:
        with self._changed:
            self._allowed += n_steps
            self._changed.notify_all()

    async def until(self, event: str) -> None:
        def wait() -> None:
            with self._changed:
                self._changed.wait_for(lambda: event in self.log)

        await anyio.to_thread.run_sync(wait)

    async def call(self, request: str, **options: Any) -> None:
        try:
            self.results[request] = await self.batcher.submit(request, **options)
        except Exception as exc:  # noqa: BLE001 - it is looked at
            self.results[request] = exc
        self._note(f"{request} answered")

    async def calls(self, tasks: TaskGroup, *requests: str, **options: Any) -> None:
        """Begin to make calls, in this order."""
        for request in requests:
            before = self._n_taken_on
            tasks.start_soon(partial(self.call, request, **options))
            while self._n_taken_on == before:
                await anyio.lowlevel.checkpoint()

    @property
    def _n_taken_on(self) -> int:
        statistics = self.batcher.statistics
        return statistics.n_waiting + statistics.n_entries

    @property
    def begun(self) -> list[str]:
        return [event.removesuffix(" begin") for event in self.log if event.endswith(" begin")]

    # -- the model's side

    def run(self, entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        name = " ".join(entry.request for entry in entries)
        self._note(f"{name} begin")
        n_steps = 0
        try:
            while True:
                self._step()
                n_steps += 1
                if len(entries) > self.fits:
                    self._note(f"{name} do not fit")
                    raise OutOfMemory(f"{len(entries)} rows")
                for entry in entries:
                    if entry.withdrawn:
                        continue
                    if n_steps == int(entry.request[1:] or 1):
                        entry.deliver(entry.request.upper())
                self._note(f"{name} step {n_steps}")
                yield
        finally:
            self._note(f"{name} end")

    def _step(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._allowed > 0)
            self._allowed -= 1

    def _note(self, event: str) -> None:
        with self._changed:
            self.log.append(event)
            self._changed.notify_all()


def upper(*requests: str) -> dict[str, str]:
    return {request: request.upper() for request in requests}


# -- batches -----------------------------------------------------------------------------


async def test_an_idle_model_begins_at_once() -> None:
    model = Model(held=False, max_wait=FOR_EVER)
    assert await model.batcher.submit("a") == "A"
    assert await model.batcher.submit("b") == "B"
    assert model.begun == ["a", "b"]


async def test_calls_gather_while_the_model_is_busy() -> None:
    model = Model()
    async with no_leaks(), anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        await model.calls(tasks, "b", "c", "d")
        model.allow()
    assert model.begun == ["a", "b c d"]
    assert model.results == upper("a", "b", "c", "d")


async def test_calls_gather_while_the_model_is_anothers() -> None:
    model = Model(held=False)
    began, may_end = threading.Event(), threading.Event()

    def load(job: Job) -> None:
        began.set()
        may_end.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(model.worker.run, load)
        await anyio.to_thread.run_sync(began.wait)
        await model.calls(tasks, "a", "b")
        assert model.begun == []
        may_end.set()
    assert model.begun == ["a b"]


async def test_each_row_is_delivered_when_it_is_finished() -> None:
    model = Model()
    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        await model.calls(tasks, "b2", "c", "d3")
        model.allow(2)
        await model.until("c answered")
        assert model.results == upper("a", "c")
        model.allow(1)
        await model.until("b2 answered")
        assert model.results == upper("a", "b2", "c")
        model.allow(1)
    assert model.results == upper("a", "b2", "c", "d3")
    assert "b2 c d3 step 3" in model.log
    assert "b2 c d3 step 4" not in model.log


async def test_a_batch_that_follows_another_waits_to_be_full() -> None:
    model = Model(max_batch=2, max_wait=FOR_EVER)
    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        await model.calls(tasks, "b")
        model.allow()
        await model.until("a answered")
        await model.calls(tasks, "c")
    assert model.begun == ["a", "b c"]


async def test_but_not_for_long() -> None:
    model = Model(max_batch=2, max_wait=0.001)
    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        await model.calls(tasks, "b")
        model.allow()
    assert model.begun == ["a", "b"]


async def test_and_not_for_a_call_that_was_withdrawn() -> None:
    model = Model(max_batch=2, max_wait=FOR_EVER)
    async with no_leaks(), anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        await model.calls(tasks, "b")
        model.allow()
        await model.until("a answered")
        tasks.cancel_scope.cancel()
    assert model.begun == ["a"]


async def test_groups_and_sessions_are_kept_to() -> None:
    model = Model(max_batch=3)
    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        await model.calls(tasks, "b", "c", "d", session=1, group="warm")
        await model.calls(tasks, "e", session=2, group="cold")
        await model.calls(tasks, "f", session=3, group="warm")
        model.allow()
    assert model.begun == ["a", "b f c", "e", "d"]


async def test_the_model_is_let_go_between_batches_even_if_calls_keep_coming() -> None:
    model = Model(max_batch=1)

    async def unload() -> None:
        await model.worker.run(lambda job: model._note("unload"))

    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a2", "b", "c", "d")
        await model.until("a2 begin")  # or the model might still be free to be unloaded
        tasks.start_soon(unload)
        while not model.worker._lock._waiting:
            await anyio.to_thread.run_sync(threading.Event().wait, 0.001)
        model.allow(1)
        await model.until("a2 step 1")
        assert "unload" not in model.log
        model.allow()
    at = model.log.index("unload")
    assert model.log[:at].count("a2 end") == 1
    assert "b begin" not in model.log[:at]


async def test_no_thread_stays_when_nothing_is_left() -> None:
    model = Model(held=False)
    for request in "abc":
        async with no_leaks():
            await model.batcher.submit(request)


# -- interactive and background ----------------------------------------------------------


async def test_a_background_batch_is_suspended_for_interactive_calls() -> None:
    model = Model()
    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a3", background=True)
        await model.until("a3 begin")
        await model.calls(tasks, "b2", "c")
        await model.calls(tasks, "d", background=True)
        model.allow()
    steps = [event for event in model.log if " step " in event]
    assert steps == [
        "a3 step 1", "b2 c step 1", "b2 c step 2", "a3 step 2", "a3 step 3", "d step 1"
    ]  # fmt: skip


async def test_an_interactive_batch_is_not() -> None:
    model = Model()
    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a2")
        await model.until("a2 begin")
        await model.calls(tasks, "b", background=True)
        await model.calls(tasks, "c")
        model.allow()
    assert [event for event in model.log if " step " in event] == [
        "a2 step 1", "a2 step 2", "c step 1", "b step 1"
    ]  # fmt: skip


async def test_a_suspended_batch_that_nobody_wants_any_more_ends() -> None:
    model, scope = Model(), anyio.CancelScope()

    async def impatient() -> None:
        with scope:
            await model.batcher.submit("a3", background=True)

    async with no_leaks(), anyio.create_task_group() as tasks:
        tasks.start_soon(impatient)
        await model.until("a3 begin")
        await model.calls(tasks, "b")
        model.allow(1)
        await model.until("b begin")
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        model.allow()
    assert "a3 end" in model.log
    assert "a3 step 2" not in model.log
    assert model.results == upper("b")


# -- cancelling --------------------------------------------------------------------------


async def test_a_call_cancelled_while_it_waits_never_runs() -> None:
    model = Model()
    async with no_leaks(), anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        async with anyio.create_task_group() as others:
            await model.calls(others, "b")
            await model.calls(tasks, "c")
            others.cancel_scope.cancel()
        assert model.batcher.statistics.n_waiting == 1
        model.allow()
    assert model.begun == ["a", "c"]


async def test_a_cancelled_row_is_withdrawn_and_the_others_go_on() -> None:
    model = Model()
    async with no_leaks(), anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        async with anyio.create_task_group() as others:
            await model.calls(others, "b2")
            await model.calls(tasks, "c2")
            model.allow(2)
            await model.until("b2 c2 step 1")
            others.cancel_scope.cancel()
        model.allow()
    assert model.results == upper("a", "c2")


async def test_a_batch_whose_calls_were_all_cancelled_is_closed() -> None:
    model = Model()
    async with no_leaks():
        async with anyio.create_task_group() as tasks:
            await model.calls(tasks, "a9")
            model.allow(1)
            await model.until("a9 step 1")
            tasks.cancel_scope.cancel()
        model.allow(1)
        await model.until("a9 end")
    assert "a9 step 3" not in model.log


async def test_work_is_closed_even_if_it_is_held_elsewhere() -> None:
    kept: list[Iterator[None]] = []
    closed: list[str] = []

    def steps(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        try:
            entries[0].deliver("ok")
            yield
        finally:
            closed.append("closed")

    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        kept.append(steps(entries))
        return kept[-1]

    async with no_leaks():
        await Batcher("test", run, Worker("test")).submit("a")
    assert closed == ["closed"]


async def test_calls_cancelled_while_the_model_is_anothers_do_no_work() -> None:
    model = Model(held=False)
    began, may_end = threading.Event(), threading.Event()

    def load(job: Job) -> None:
        began.set()
        may_end.wait()

    async with no_leaks(), anyio.create_task_group() as tasks:
        tasks.start_soon(model.worker.run, load)
        await anyio.to_thread.run_sync(began.wait)
        async with anyio.create_task_group() as others:
            await model.calls(others, "a", "b")
            others.cancel_scope.cancel()
        may_end.set()
    assert model.begun == []
    assert model.batcher.statistics.n_batches == 0


async def test_who_waits_in_the_thread_for_all_may_leave() -> None:
    model = Model()
    async with no_leaks(), anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as first:
            await model.calls(first, "a2")  # so it is the one that waits in the thread
            await model.until("a2 begin")
            await model.calls(tasks, "b", "c2")
            first.cancel_scope.cancel()
        model.allow(2)
        await model.until("b answered")
        assert model.results == upper("b")
        model.allow()
    assert model.results == upper("b", "c2")


async def test_many_callers_wait_in_one_thread() -> None:
    model = Model(max_batch=100)
    names = [chr(0x100 + n) for n in range(100)]
    async with no_leaks(), anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        before = threading.active_count()
        await model.calls(tasks, *names)
        await anyio.wait_all_tasks_blocked()
        assert threading.active_count() == before
        model.allow()
    assert model.results == upper("a", *names)


# -- memory ------------------------------------------------------------------------------


async def test_a_batch_that_does_not_fit_is_run_again_in_halves() -> None:
    model = Model(fits=2)
    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        await model.calls(tasks, "b", "c", "d")
        model.allow()
    assert model.begun == ["a", "b c d", "b c", "d"]
    assert model.log.index("b c end") < model.log.index("d begin")
    assert model.results == upper("a", "b", "c", "d")
    assert model.batcher.statistics.n_retries == 2


async def test_calls_whose_half_does_not_fit_either_fail_and_the_others_do_not() -> None:
    model = Model(fits=2)
    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        await model.calls(tasks, "b", "c", "d", "e", "f")
        model.allow()
    assert model.begun == ["a", "b c d e f", "b c d", "e f"]
    errors = [model.results[request] for request in "bcd"]
    assert {str(error) for error in errors} == {
        "test: out of memory twice, at last with a batch of 3: 3 rows"
    }
    assert all(isinstance(error, EngineMemoryError) for error in errors)
    assert len({id(error) for error in errors}) == 3
    assert (model.results["e"], model.results["f"]) == ("E", "F")
    assert await model.batcher.submit("g") == "G"


async def test_one_that_does_not_fit_alone_is_tried_once_more() -> None:
    model = Model(held=False, fits=0)
    with pytest.raises(EngineMemoryError):
        await model.batcher.submit("a")
    assert model.begun == ["a", "a"]


async def test_what_is_done_is_not_run_again() -> None:
    runs: list[list[str]] = []
    begun, may_go = threading.Event(), threading.Event()

    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        runs.append([entry.request for entry in entries])
        begun.set()
        may_go.wait()
        entries[0].deliver("ok")
        yield
        if len(entries) > 2:
            raise OutOfMemory
        entries[-1].deliver("ok")

    batcher = Batcher("test", run, Worker("test"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batcher.submit, "a")
        await anyio.to_thread.run_sync(begun.wait)
        for request in "bcdef":
            tasks.start_soon(batcher.submit, request)
            await anyio.wait_all_tasks_blocked()
        may_go.set()
    assert runs == [["a"], ["b", "c", "d", "e", "f"], ["c", "d"], ["e", "f"]]


async def test_a_half_is_not_run_for_calls_that_were_cancelled_meanwhile() -> None:
    model = Model(fits=1)
    async with no_leaks(), anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        await model.calls(tasks, "b")
        async with anyio.create_task_group() as others:
            await model.calls(others, "c")
            model.allow(2)
            await model.until("b begin")
            others.cancel_scope.cancel()
        model.allow()
    assert model.begun == ["a", "b c", "b"]
    assert model.results == upper("a", "b")
    assert model.batcher.statistics.n_retries == 1


async def test_an_interactive_batch_is_tried_again_when_the_suspended_one_has_ended() -> None:
    model = Model()
    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a3", background=True)
        await model.until("a3 begin")
        await model.calls(tasks, "b")
        model.allow(1)
        await model.until("b begin")
        model.fits = 0
        model.allow(1)
        await model.until("b do not fit")
        model.fits = 1
        await model.calls(tasks, "c")
        model.allow()
    assert model.begun == ["a3", "b", "b", "c"]
    assert model.log.index("a3 end") < model.log.index("b step 1")
    assert model.results == upper("a3", "b", "c")


async def test_nothing_of_the_run_that_did_not_fit_is_held_when_it_is_run_again() -> None:
    class Tensor:
        pass

    held: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []

    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        alive.extend(ref() is not None for ref in held)
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        if len(held) == 1:
            raise OutOfMemory
        entries[0].deliver("ok")
        yield

    assert await Batcher("test", run, Worker("test")).submit("a") == "ok"
    assert alive == [False]


# -- errors ------------------------------------------------------------------------------

Failing = Callable[[Sequence[Entry[str, str]]], Iterator[None]]


async def failures(run: Failing, n_calls: int = 3) -> list[BaseException]:
    """What calls of one batch get if ``run`` runs it."""
    may_go, busy = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def first(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        if entries[0].request == "first":
            busy.set()
            may_go.wait()
            entries[0].deliver("ok")
            yield
        elif entries[0].request == "last":
            entries[0].deliver("ok")
        else:
            assert len(entries) == n_calls
            yield from run(entries)

    batcher = Batcher("test", first, Worker("test"))

    async def call() -> None:
        try:
            await batcher.submit("call")
        except Exception as exc:  # noqa: BLE001 - it is looked at
            errors.append(exc)

    async with no_leaks():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(batcher.submit, "first")
            await anyio.to_thread.run_sync(busy.wait)
            for _ in range(n_calls):
                tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            may_go.set()
        assert await batcher.submit("last") == "ok"  # it goes on
    return errors


async def test_the_error_of_one_call_is_the_very_one_that_was_raised() -> None:
    broken = KeyError("broken")

    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        yield
        raise broken

    assert await failures(run, n_calls=1) == [broken]


async def test_several_get_each_their_own() -> None:
    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        yield
        raise EngineError("test", "broken", request_id="7") from ValueError("deep down")

    errors = await failures(run)
    assert [str(error) for error in errors] == ["test: broken (request 7)"] * 3
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, EngineError)
        assert str(error.__cause__) == "deep down"
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names.count("submit") == 1, "its own way up, and nobody else's"
        assert "run" in names


async def test_where_an_error_cannot_be_copied_they_get_one_that_names_it() -> None:
    class Unlike(Exception):
        def __init__(self, code: int) -> None:
            super().__init__(f"code {code}")

    class Needy(Exception):
        def __init__(self, code: int, text: str) -> None:
            super().__init__(text)

    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        yield
        raise error

    for error, message in [
        (Unlike(5), "test: Unlike: code 5"),
        (Needy(5, "broken"), "test: Needy: broken"),
    ]:
        for own in await failures(run):
            assert type(own) is EngineError
            assert str(own) == message
            assert own.__cause__ is error


async def test_what_a_row_failed_with_is_its_callers_alone() -> None:
    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        entries[1].fail(KeyError("broken"))
        for entry in entries:
            entry.deliver("ok")
        yield

    (error,) = await failures(run)
    assert repr(error) == "KeyError('broken')"


async def test_work_that_ends_early_is_a_bug_of_the_engine() -> None:
    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        entries[0].deliver("ok")
        yield

    errors = await failures(run)
    assert [str(error) for error in errors] == ["test: ended without a result for this call"] * 2
    assert all(type(error) is EngineError for error in errors)


async def test_an_error_does_not_keep_what_the_model_computed() -> None:
    class Tensor:
        pass

    held: list[weakref.ref[Tensor]] = []

    def decode() -> None:
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        raise ValueError("deep down")

    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        yield
        try:
            decode()
        except ValueError as exc:
            raise EngineError("test", "broken") from exc

    errors = await failures(run)
    assert len(errors) == 3
    assert [ref() for ref in held] == [None, None]


async def test_an_error_is_gone_when_its_caller_lets_go_of_it() -> None:
    class Broken(Exception):
        pass

    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        yield
        raise Broken

    gc.disable()
    try:
        async with no_leaks():
            try:
                await Batcher("test", run, Worker("test")).submit("a")
            except Broken as exc:
                error = weakref.ref(exc)
        assert error() is None
    finally:
        gc.enable()


async def test_causes_that_go_in_a_circle_do_not_keep_the_thread() -> None:
    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        yield
        one, other = KeyError("one"), KeyError("other")
        one.__cause__, other.__cause__ = other, one
        raise one

    assert len(await failures(run)) == 3


async def test_work_that_fails_when_it_is_called_fails_its_calls() -> None:
    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        await Batcher("test", run, Worker("test")).submit("a")


async def test_work_may_be_any_iterator() -> None:
    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        return iter([entry.deliver("ok") for entry in entries])

    assert await Batcher("test", run, Worker("test")).submit("a") == "ok"


async def test_even_what_is_no_exception_reaches_the_caller() -> None:
    class Fatal(BaseException):
        pass

    def run(entries: Sequence[Entry[str, str]]) -> Iterator[None]:
        yield
        raise Fatal

    with pytest.raises(Fatal):
        await Batcher("test", run, Worker("test")).submit("a")


async def test_more_calls_than_may_wait_are_refused_at_once() -> None:
    model = Model(max_waiting=2)
    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        await model.calls(tasks, "b", "c")
        with pytest.raises(OverloadedError, match="2 calls of test wait already"):
            await model.batcher.submit("d")
        await model.calls(tasks, "e", background=True)
        model.allow()
    assert model.results == upper("a", "b", "c", "e")


async def test_where_no_thread_can_be_started_nothing_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    model = Model(held=False)
    with monkeypatch.context() as patch:
        patch.setattr(_batcher, "Thread", NoThread)
        with pytest.raises(RuntimeError, match="new thread"):
            await model.batcher.submit("a")
    assert model.batcher.statistics.n_waiting == 0
    assert await model.batcher.submit("b") == "B"


@pytest.mark.parametrize(
    "options", [{"max_wait": -1.0}, {"max_wait": float("nan")}, {"max_batch": 0}]
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_"):
        Model(**options)


# -- what it tells -----------------------------------------------------------------------


async def test_statistics() -> None:
    model = Model(max_batch=3)
    assert model.batcher.statistics == BatcherStatistics(0, 0, 0, 0, 0)
    async with anyio.create_task_group() as tasks:
        await model.calls(tasks, "a")
        await model.until("a begin")
        await model.calls(tasks, "b", "c", "d")
        await model.calls(tasks, "e", background=True)
        assert model.batcher.statistics == BatcherStatistics(1, 1, 1, n_waiting=4, n_retries=0)
        model.allow()
    assert model.batcher.statistics == BatcherStatistics(
        n_batches=3, n_entries=5, largest_batch=3, n_waiting=0, n_retries=0
    )


def test_only_the_first_outcome_of_an_entry_counts() -> None:
    rung: list[None] = []
    entry = Entry[str, str]("a", lambda: rung.append(None))
    assert (entry.done, entry.withdrawn) == (False, False)
    entry.deliver("first")
    entry.deliver("second")
    entry.fail(KeyError())
    entry.withdraw()
    assert (entry.done, entry.withdrawn) == (True, False)
    assert entry.take() == "first"
    assert len(rung) == 1
    entry = Entry[str, str]("b", lambda: None)
    entry.withdraw()
    entry.deliver("late")
    assert (entry.done, entry.withdrawn) == (True, True)


# -- event loops, and everything at once -------------------------------------------------


def test_one_batcher_serves_several_event_loops_at_once() -> None:
    model = Model()
    results: list[str] = []

    async def main(request: str) -> None:
        results.append(await model.batcher.submit(request))

    def in_a_loop(request: str, backend: str) -> threading.Thread:
        thread = threading.Thread(target=lambda: anyio.run(main, request, backend=backend))
        thread.start()
        return thread

    def wait_for(n_waiting: int) -> None:
        while model.batcher.statistics.n_waiting < n_waiting:
            threading.Event().wait(0.001)

    threads = [in_a_loop("a", "asyncio")]
    with model._changed:
        model._changed.wait_for(lambda: model.begun == ["a"])
    for n, backend in enumerate(["asyncio", "trio", "trio"], 1):
        threads.append(in_a_loop("bcd"[n - 1], backend))
        wait_for(n)
    model.allow()
    for thread in threads:
        thread.join()
    assert model.begun == ["a", "b c d"]
    assert sorted(results) == ["A", "B", "C", "D"]


def test_one_batcher_serves_event_loops_one_after_another() -> None:
    model = Model(held=False)
    for backend, request in [("asyncio", "a"), ("trio", "b"), ("asyncio", "c")]:
        assert anyio.run(model.batcher.submit, request, backend=backend) == request.upper()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_cancelled_each_of_the_others_gets_exactly_its_own(seed: int) -> None:
    dice = random.Random(seed)
    launched: list[int] = []
    mixed: list[set[int]] = []

    def run(entries: Sequence[Entry[int, int]]) -> Iterator[None]:
        mine = random.Random(len(launched))
        launched.extend(entry.request for entry in entries)
        mixed.append({entry.request % 3 for entry in entries})
        while True:
            if mine.random() < 0.05:
                raise OutOfMemory
            for entry in entries:
                if mine.random() < 0.4:
                    if entry.request % 17 == 0:
                        entry.fail(KeyError(entry.request))
                    else:
                        entry.deliver(-entry.request)
            yield

    batcher = Batcher("test", run, Worker("test"), max_batch=5, max_wait=0.0005)
    results: dict[int, int | str] = {}
    cancelled: set[int] = set()

    async def call(request: int) -> None:
        with anyio.CancelScope() as scope:
            if request in impatient:
                cancelled.add(request)
                tasks.start_soon(cancel_soon, scope, dice.randrange(6))
            try:
                results[request] = await batcher.submit(
                    request,
                    group=request % 3,
                    session=request % 7,
                    background=request % 5 == 0,
                )
            except EngineMemoryError:
                results[request] = "memory"
            except KeyError as exc:
                results[request] = f"failed {exc}"

    async def cancel_soon(scope: anyio.CancelScope, n_ticks: int) -> None:
        for _ in range(n_ticks):
            await anyio.to_thread.run_sync(lambda: None)
        scope.cancel()

    requests = range(1, 201)
    impatient = {request for request in requests if dice.random() < 0.4}
    async with no_leaks(), anyio.create_task_group() as tasks:
        for request in requests:
            tasks.start_soon(call, request)
            if dice.random() < 0.3:
                await anyio.to_thread.run_sync(lambda: None)
    assert set(requests) - impatient <= set(results)
    for request, result in results.items():
        right: int | str = f"failed {request}" if request % 17 == 0 else -request
        assert result in (right, "memory")
    assert all(len(groups) == 1 for groups in mixed)
    assert batcher.statistics.n_waiting == 0
    assert batcher.statistics.largest_batch <= 5
