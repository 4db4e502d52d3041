from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import pytest

from realtime_stts import EngineTimeoutError, SessionLimits
from realtime_stts.conversation._limits import next_within

pytestmark = pytest.mark.anyio


async def slow(*delays: float) -> AsyncGenerator[float]:
    for delay in delays:
        await anyio.sleep(delay)
        yield delay


async def test_what_comes_in_time_comes_through() -> None:
    async with aclosing(slow(1.0, 2.0)) as items:
        assert await next_within(items, 1.5, items) == 1.0
        assert await next_within(items, None, items) == 2.0
        with pytest.raises(StopAsyncIteration):
            await next_within(items, 1.5, items)


async def test_what_does_not_is_the_engines_failure() -> None:
    async with aclosing(slow(3.0)) as items:
        with pytest.raises(EngineTimeoutError, match=r"async_generator: .* within 1.5 s"):
            await next_within(items, 1.5, items)


@pytest.mark.parametrize("name", ["transcription", "response", "synthesis", "send", "duration"])
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SessionLimits(**{name: 0.0})
