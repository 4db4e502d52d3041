"""Concurrency limit: who runs, who waits, who is refused, and that no slot is ever lost."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_stts import request_scope
from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError, OverloadedError
from realtime_stts.middleware import CallNext, Chain, ConcurrencyLimitMiddleware, RequestContext
from realtime_stts.protocols import SynthesisResult
from realtime_stts.testing import MiddlewareSuite, virtual_time

pytestmark = pytest.mark.anyio

CLIP = AudioData.silence(0.1, 16_000)


class Mouth:
    """Speaks for a second, or for as long as the text says; notes who spoke, and how many."""

    model_loaded = True

    def __init__(self) -> None:
        self.spoken: list[str] = []
        self.speaking = 0
        self.most = 0

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        async with aclosing(self.stream(text, voice_config)) as chunks:
            async for chunk in chunks:
                last = chunk
        return SynthesisResult(last, text, "")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        self.speaking += 1
        self.most = max(self.most, self.speaking)
        try:
            self.spoken.append(text)
            for _ in range(2):
                await anyio.sleep((voice_config or {}).get("takes", 1.0) / 2)
                if text == "fail":
                    raise EngineError("mouth", "hoarse")
                yield CLIP
        finally:
            self.speaking -= 1

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


def numbers(limit: ConcurrencyLimitMiddleware) -> tuple[int, int, int, int]:
    now = limit.statistics()
    return now.running, now.waiting, now.admitted, now.refused


async def say(tts: Any, text: str, session: str | None = None, takes: float = 1.0) -> None:
    with request_scope(session_id=session):
        await tts.synthesize(text, {"takes": takes})


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots": 0},
        {"slots": 1, "waiting": -1},
        {"slots": 1, "max_wait": 0.0},
        {"slots": 1, "max_wait": float("nan")},
    ],
)
def test_impossible_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=list(wrong)[-1]):
        ConcurrencyLimitMiddleware(**wrong)


async def test_so_many_run_and_as_many_wait() -> None:
    mouth, limit = Mouth(), ConcurrencyLimitMiddleware(2)
    tts = Chain(limit).wrap(mouth)
    refused: list[OverloadedError] = []

    async def ask(text: str) -> None:
        try:
            await say(tts, text)
        except OverloadedError as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(ask, str(number))
        await anyio.sleep(0.5)
        assert numbers(limit) == (2, 2, 2, 1)
    assert sorted(mouth.spoken) == sorted(set(mouth.spoken))
    assert (len(mouth.spoken), mouth.most) == (4, 2)
    assert numbers(limit) == (0, 0, 4, 1)
    assert str(refused[0]) == (
        "concurrency_limit: 2 calls run and 2 wait: no more room; try again in 1.5 s"
    )
    assert limit.statistics().longest_wait == pytest.approx(1.0)
    assert limit.statistics().average_held == pytest.approx(1.0)


async def test_the_time_in_the_queue_is_noted() -> None:
    waits: list[float] = []

    async def watch(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async for result in call_next(context):
            yield result
        waits.append(context.metrics["queue_wait"])

    tts = Chain(watch, ConcurrencyLimitMiddleware(2), ConcurrencyLimitMiddleware(1)).wrap(Mouth())
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(say, tts, str(number))
    assert waits == [pytest.approx(0.0), pytest.approx(1.0), pytest.approx(2.0)]


async def in_turns(limit: ConcurrencyLimitMiddleware, asked: list[tuple[str | None, str]]) -> str:
    mouth = Mouth()
    tts = Chain(limit).wrap(mouth)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(say, tts, "-")
        for session, text in asked:
            await anyio.sleep(0.01)
            tasks.start_soon(say, tts, text, session)
    return "".join(mouth.spoken)


async def test_sessions_take_turns() -> None:
    asked = [("x", "1"), ("x", "2"), ("x", "3"), ("y", "4"), (None, "5"), (None, "6"), ("y", "7")]
    limit = ConcurrencyLimitMiddleware(1, waiting=9)
    assert await in_turns(limit, asked) == "-1456273"


async def test_whose_turn_it_is_can_be_said_otherwise() -> None:
    asked = [("x", "1"), ("x", "2"), ("y", "3")]
    limit = ConcurrencyLimitMiddleware(1, waiting=9, key=lambda context: "all the same")
    assert await in_turns(limit, asked) == "-123"


async def test_one_session_cannot_keep_the_others_out() -> None:
    asked = [("greedy", "1"), ("greedy", "2"), ("modest", "3")]
    mouth, limit = Mouth(), ConcurrencyLimitMiddleware(1, waiting=2)
    tts = Chain(limit).wrap(mouth)
    refused: dict[str, OverloadedError] = {}

    async def ask(text: str, session: str) -> None:
        try:
            await say(tts, text, session)
        except OverloadedError as error:
            refused[text] = error

    async with anyio.create_task_group() as tasks:
        for session, text in [("greedy", "0"), *asked]:
            tasks.start_soon(ask, text, session)
            await anyio.sleep(0.01)
        assert [*refused] == ["2"]  # at once
    assert "session with fewer calls" in refused["2"].message
    assert refused["2"].retry_after == pytest.approx(3.0)
    assert mouth.spoken == ["0", "1", "3"]
    assert numbers(limit) == (0, 0, 3, 1)


async def busy(limit: ConcurrencyLimitMiddleware, tasks: Any, seconds: float = 10.0) -> Any:
    """The engine behind ``limit``, busy with a call of ``seconds``."""
    tts = Chain(limit).wrap(Mouth())
    tasks.start_soon(say, tts, "busy", None, seconds)
    await anyio.sleep(0.001)
    return tts


async def test_a_call_waits_no_longer_than_max_wait() -> None:
    limit = ConcurrencyLimitMiddleware(1, max_wait=3.0)
    async with anyio.create_task_group() as tasks:
        tts = await busy(limit, tasks)
        began = anyio.current_time()
        with pytest.raises(OverloadedError, match=r"no slot came free within 3 s"):
            await tts.synthesize("late", {})
        assert anyio.current_time() - began == pytest.approx(3.0)
        assert numbers(limit) == (1, 0, 1, 1)


async def test_a_call_that_gets_its_slot_within_max_wait_runs() -> None:
    limit = ConcurrencyLimitMiddleware(1, max_wait=20.0)
    async with anyio.create_task_group() as tasks:
        tts = await busy(limit, tasks)
        assert (await tts.synthesize("in time", {})).text == "in time"


def due_in(seconds: float) -> Any:
    async def due(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.deadline = anyio.current_time() + seconds
        async with aclosing(call_next(context)) as results:
            async for result in results:
                yield result

    return due


@pytest.mark.parametrize("seconds", [2.0, 0.0, -1.0])
async def test_no_call_waits_beyond_its_deadline(seconds: float) -> None:
    limit = ConcurrencyLimitMiddleware(1, max_wait=5.0)
    async with anyio.create_task_group() as tasks:
        tts = await busy(limit, tasks)
        began = anyio.current_time()
        with pytest.raises(OverloadedError) as refused:
            await Chain(due_in(seconds)).wrap(tts).synthesize("late", {})
        assert anyio.current_time() - began == pytest.approx(max(seconds, 0.0))
        assert refused.value.retry_after is not None
        assert numbers(limit) == (1, 0, 1, 1)


async def test_a_slot_is_held_until_the_stream_is_closed() -> None:
    limit = ConcurrencyLimitMiddleware(1, waiting=0)
    tts = Chain(limit).wrap(Mouth())
    unread = tts.stream("never begun")
    async with aclosing(tts.stream("read")) as chunks:
        assert numbers(limit) == (0, 0, 0, 0)  # nothing runs until it is asked for
        await anext(chunks)
        await anyio.sleep(100.0)
        assert numbers(limit) == (1, 0, 1, 0)
        with pytest.raises(OverloadedError):
            await tts.synthesize("no", {})
    assert numbers(limit) == (0, 0, 1, 1)
    await unread.aclose()
    assert numbers(limit) == (0, 0, 1, 1)


async def test_a_call_that_fails_gives_its_slot_back() -> None:
    limit = ConcurrencyLimitMiddleware(1, waiting=0)
    tts = Chain(limit).wrap(Mouth())
    for _ in range(3):
        with pytest.raises(EngineError, match="hoarse"):
            await tts.synthesize("fail", {})
    assert numbers(limit) == (0, 0, 3, 0)


async def test_a_call_withdrawn_while_it_waits_leaves_its_place() -> None:
    limit = ConcurrencyLimitMiddleware(1)
    async with anyio.create_task_group() as tasks:
        tts = await busy(limit, tasks)
        with anyio.move_on_after(1.0) as withdrawn:
            await tts.synthesize("late", {})
        assert withdrawn.cancelled_caught
        assert numbers(limit) == (1, 0, 1, 0)


@pytest.mark.parametrize("withdrawn_first", [True, False])
async def test_a_call_withdrawn_as_it_is_handed_a_slot_hands_it_on(withdrawn_first: bool) -> None:
    """Both happen before the one who waits can wake, in either order."""
    mouth, limit = Mouth(), ConcurrencyLimitMiddleware(1, waiting=2)
    tts = Chain(limit).wrap(mouth)
    first = tts.stream("first")
    await anext(first)
    withdrawn = anyio.CancelScope()

    async def second() -> None:
        with withdrawn:
            await say(tts, "second")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(second)
        await anyio.sleep(0.1)
        tasks.start_soon(say, tts, "third")
        await anyio.sleep(0.1)
        assert numbers(limit) == (1, 2, 1, 0)
        if withdrawn_first:
            withdrawn.cancel()
        await first.aclose()
        assert numbers(limit) == (1, 1, 2, 0)
        withdrawn.cancel()
    # An event loop that has begun to wake somebody tells them of the cancellation later.
    assert mouth.spoken == ["first", *([] if withdrawn_first else ["second"]), "third"]
    assert numbers(limit)[2] == len(mouth.spoken)
    assert numbers(limit)[:2] == (0, 0)


async def test_the_engine_is_limited_whatever_the_calls_are() -> None:
    """A limit around several engines is one for their sum."""
    mouths, limit = (Mouth(), Mouth()), ConcurrencyLimitMiddleware(1, waiting=9)
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for mouth in mouths:
            tasks.start_soon(say, Chain(limit).wrap(mouth), "hello")
    assert anyio.current_time() - began == pytest.approx(2.0)


@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.5, 1.0]),  # when it comes, after the one before
            st.sampled_from(["whole", "cancelled", "closed", "fail"]),
            st.sampled_from([0.0, 0.25, 0.5, 1.0]),  # when it is cancelled
        ),
        max_size=8,
    ),
    slots=st.integers(1, 2),
)
@settings(max_examples=60)
def test_no_slot_is_lost_or_given_twice(calls: list[tuple[float, str, float]], slots: int) -> None:
    mouth, limit = Mouth(), ConcurrencyLimitMiddleware(slots, waiting=3, max_wait=1.5)
    tts = Chain(limit).wrap(mouth)

    async def whole(after: float) -> None:
        await say(tts, "whole")

    async def fail(after: float) -> None:
        with pytest.raises(EngineError):
            await say(tts, "fail")

    async def cancelled(after: float) -> None:
        with anyio.move_on_after(after):
            await say(tts, "cancelled")

    async def closed(after: float) -> None:
        async with aclosing(tts.stream("closed")) as chunks:
            await anext(chunks)
            await anyio.sleep(after)

    outcomes: dict[str, Callable[[float], Any]]
    outcomes = {"whole": whole, "fail": fail, "cancelled": cancelled, "closed": closed}

    async def call(kind: str, after: float) -> None:
        with suppress(OverloadedError):
            await outcomes[kind](after)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for gap, kind, after in calls:
                await anyio.sleep(gap)
                tasks.start_soon(call, kind, after)

    backend, options = virtual_time()
    anyio.run(main, backend=backend, backend_options=options)
    assert mouth.most <= slots
    assert numbers(limit)[:2] == (0, 0)


class TestConcurrencyLimitPromises(MiddlewareSuite):
    def middleware(self) -> ConcurrencyLimitMiddleware:
        return ConcurrencyLimitMiddleware(2, waiting=200)
