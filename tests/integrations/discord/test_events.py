"""What a call tells: in order, bounded, to one reader."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

pytest.importorskip("realtime_stts.integrations.discord", exc_type=ImportError)

from realtime_stts.conversation import SpeechStarted
from realtime_stts.integrations._discord._events import EventQueue
from realtime_stts.integrations.discord import CallEnded, CallEvent

pytestmark = pytest.mark.anyio


def event(number: int) -> CallEvent:
    return CallEvent(number, SpeechStarted(float(number), float(number)))


async def test_events_come_in_order_and_then_no_more() -> None:
    queue, read = EventQueue(3), list[CallEvent]()

    async def reading() -> None:
        with suppress(StopAsyncIteration):
            while True:
                read.append(await queue.next())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reading)
        for number in range(6):
            queue.post(event(number))
            await anyio.sleep(0.01)
        with pytest.raises(anyio.BusyResourceError):
            await queue.next()
        queue.end()
    assert read == [event(number) for number in range(6)]
    assert queue.n_dropped == 0


async def test_where_nobody_reads_the_oldest_go_and_are_counted() -> None:
    queue = EventQueue(3)
    for number in range(5):
        queue.post(event(number))
    last = CallEvent(None, CallEnded("closed"))
    queue.post(last)
    queue.end()
    assert queue.n_dropped == 3
    assert [await queue.next() for _ in range(3)] == [event(3), event(4), last]
    with pytest.raises(StopAsyncIteration):
        await queue.next()


async def test_a_read_that_is_cancelled_loses_no_event() -> None:
    queue = EventQueue(3)
    with anyio.move_on_after(1.0):
        await queue.next()
    queue.post(event(1))
    assert await queue.next() == event(1)
