"""Rate limit: whose calls are counted together, what they cost, and what the refused are told."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from realtime_stts import request_scope
from realtime_stts.errors import OverloadedError
from realtime_stts.middleware import CallNext, Chain, RateLimitMiddleware, RequestContext
from realtime_stts.testing import MiddlewareSuite, ScriptedTTSEngine

pytestmark = pytest.mark.anyio


def limited(limit: RateLimitMiddleware, *outer: Any) -> Any:
    return Chain(*outer, limit).wrap(ScriptedTTSEngine(latency=0.0, real_time_factor=0.0))


async def passes(tts: Any, text: str = "hi") -> bool:
    try:
        await tts.synthesize(text, {})
    except OverloadedError:
        return False
    return True


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"rate": 0.0, "burst": 1.0}, "rate"),
        ({"rate": float("inf"), "burst": 1.0}, "rate"),
        ({"rate": float("nan"), "burst": 1.0}, "rate"),
        ({"rate": 1.0, "burst": -1.0}, "burst"),
        ({"rate": 1.0, "burst": 0.5}, "burst of 0.5"),
        ({"rate": 1.0, "burst": 1.0, "max_keys": 0}, "max_keys"),
    ],
)
def test_impossible_limits_are_refused(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        RateLimitMiddleware(**wrong)


async def test_a_burst_passes_and_then_so_many_a_second() -> None:
    limit = RateLimitMiddleware(0.5, burst=3)
    tts = limited(limit)
    assert [await passes(tts) for _ in range(4)] == [True, True, True, False]
    await anyio.sleep(2.1)
    assert [await passes(tts) for _ in range(2)] == [True, False]
    counted = limit.statistics()
    assert (counted.admitted, counted.refused, counted.keys) == (4, 2, 1)


async def test_who_is_refused_is_told_when_to_come_back() -> None:
    tts = limited(RateLimitMiddleware(0.25, burst=1))
    await tts.synthesize("one", {})
    with pytest.raises(OverloadedError, match=r"more than 0\.25 a second and 1 at once") as refused:
        await tts.synthesize("two", {})
    assert refused.value.retry_after is not None
    assert refused.value.retry_after == pytest.approx(4.0)
    await anyio.sleep(refused.value.retry_after / 2)
    assert not await passes(tts)
    await anyio.sleep(refused.value.retry_after / 2 + 0.001)
    assert await passes(tts)


async def test_each_session_has_its_own_bucket_and_calls_of_none_share_one() -> None:
    tts = limited(RateLimitMiddleware(0.1, burst=1))
    for session in ("a", "b"):
        with request_scope(session_id=session):
            assert [await passes(tts), await passes(tts)] == [True, False]
    assert [await passes(tts), await passes(tts)] == [True, False]


async def test_whoever_has_shown_who_they_are_has_one_bucket_for_all_sessions() -> None:
    async def known(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.subject = "ann"
        async with aclosing(call_next(context)) as results:
            async for result in results:
                yield result

    limit = RateLimitMiddleware(0.1, burst=1)
    tts = limited(limit, known)
    with request_scope(session_id="a"):
        assert await passes(tts)
    with request_scope(session_id="b"):
        assert not await passes(tts)
    with request_scope(session_id="ann"):  # a session of that name is somebody else
        assert await passes(limited(limit))


async def test_the_cost_may_be_anything() -> None:
    tts = limited(
        RateLimitMiddleware(
            10.0,
            burst=20.0,
            cost=lambda context: len(context.input_data["text"]),
            key=lambda context: context.config.get("voice_id"),
            name="characters",
        )
    )
    assert [await passes(tts, "x" * 15), await passes(tts, "x" * 6)] == [True, False]
    assert await passes(tts, "x" * 5)
    await anyio.sleep(100.0)
    with pytest.raises(OverloadedError, match="characters: the call costs 21") as refused:
        await tts.synthesize("x" * 21, {})
    assert refused.value.retry_after is None


@pytest.mark.parametrize("cost", [-1.0, float("nan")])
async def test_no_call_costs_less_than_nothing(cost: float) -> None:
    tts = limited(RateLimitMiddleware(1.0, burst=1.0, cost=lambda context: cost))
    with pytest.raises(ValueError, match="the cost of a call is 0 or more"):
        await tts.synthesize("one", {})


async def test_a_stream_costs_once_and_only_when_it_is_read() -> None:
    limit = RateLimitMiddleware(0.1, burst=1)
    tts = limited(limit)
    await tts.stream("never read").aclose()
    async with aclosing(tts.stream("several chunks")) as chunks:
        assert len([chunk async for chunk in chunks]) > 1
    assert limit.statistics().admitted == 1


async def test_the_clock_can_be_another() -> None:
    now = 0.0
    tts = limited(RateLimitMiddleware(1.0, burst=1.0, clock=lambda: now))
    assert [await passes(tts), await passes(tts)] == [True, False]
    now = 1.0
    assert await passes(tts)


class TestRateLimitPromises(MiddlewareSuite):
    def middleware(self) -> RateLimitMiddleware:
        return RateLimitMiddleware(1.0, burst=1000)
