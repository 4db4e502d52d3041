"""What waits to be written, and who waits for what threads do."""

from __future__ import annotations

import os
from threading import Thread

import anyio
import pytest

from realtime_stts.engines._isolated_frames import FRAGMENT, Message, Unframer
from realtime_stts.engines._isolated_wire import Outbox, read_messages, write_frames
from realtime_stts.engines._lookout import lookout
from realtime_stts.testing import no_leaks


def written(outbox: Outbox) -> list[Message]:
    """What is written now, and in which order."""
    outbox.close()
    unframer, messages = Unframer(), []
    while (frame := outbox.take()) is not None:
        messages += unframer.feed(frame)
    return messages


def test_what_steers_a_call_goes_before_what_it_is_made_of() -> None:
    outbox = Outbox()
    outbox.put({"do": "audio", "id": 1}, b"sound")
    outbox.put({"do": "audio", "id": 2})
    outbox.put_now({"do": "ping"})
    assert [message.header["do"] for message in written(outbox)] == ["ping", "audio", "audio"]


def test_a_long_message_makes_way_at_its_next_fragment() -> None:
    outbox, unframer = Outbox(), Unframer()
    outbox.put({"do": "audio", "id": 1}, bytes(3 * FRAGMENT))
    unframer.feed(outbox.take() or b"")
    outbox.put_now({"do": "ping"})
    assert unframer.feed(outbox.take() or b"") == [Message({"do": "ping"})]


def test_what_is_left_of_a_forgotten_call_is_not_sent() -> None:
    outbox = Outbox()
    outbox.put({"do": "audio", "id": 1}, bytes(3 * FRAGMENT))
    outbox.put({"do": "audio", "id": 2}, b"sound")
    assert outbox.take() is not None
    outbox.forget(1)
    frame = outbox.take()
    assert frame is not None
    assert Unframer().feed(frame) == [Message({"do": "audio", "id": 2}, b"sound")]


def test_what_nobody_reads_is_not_kept() -> None:
    outbox = Outbox()
    outbox.put({"id": 1}, bytes(FRAGMENT))
    outbox.abandon()
    outbox.put({"id": 1}, bytes(FRAGMENT))
    outbox.put_now({"do": "ping"})
    assert outbox.take() is None


def test_through_a_pipe_and_until_its_reader_goes() -> None:
    outbox, (reading, writing) = Outbox(), os.pipe()
    writer = Thread(target=write_frames, args=(outbox, writing), daemon=True)
    writer.start()
    sent = [Message({"id": n}, bytes([n]) * n * FRAGMENT) for n in range(4)]
    for message in sent:
        outbox.put(message.header, message.payload)
    arriving = read_messages(reading)
    assert [next(arriving) for _ in sent] == sent
    os.close(reading)
    outbox.put({"id": 9}, bytes(10 * FRAGMENT))
    writer.join(10.0)
    assert not writer.is_alive()
    os.close(writing)


@pytest.mark.anyio
async def test_many_tasks_wait_for_many_threads_in_one() -> None:
    done: set[int] = set()
    seen: list[int] = []

    async def wait(n: int) -> None:
        await lookout().wait(lambda: n in done)
        seen.append(n)

    def work(ring: object, n: int) -> None:
        done.add(n)
        ring()  # type: ignore[operator]

    async with no_leaks(), anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(wait, n)
        await anyio.wait_all_tasks_blocked()
        for n in reversed(range(20)):
            Thread(target=work, args=(lookout().ring, n)).start()
    assert sorted(seen) == [*range(20)]


@pytest.mark.anyio
async def test_a_task_that_is_cancelled_hands_the_watch_over() -> None:
    ready, first_waits = False, anyio.Event()
    outcomes: list[str] = []

    async def first() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            first_waits.set()
            await lookout().wait(lambda: False)
        outcomes.append("cancelled")

    async def second() -> None:
        await first_waits.wait()
        await lookout().wait(lambda: ready)
        outcomes.append("woken")

    scopes: list[anyio.CancelScope] = []
    async with no_leaks(), anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        tasks.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        ready = True
        lookout().ring()
    assert outcomes == ["cancelled", "woken"]
