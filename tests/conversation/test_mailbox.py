from __future__ import annotations

import anyio
import pytest

from realtime_stts.conversation._mailbox import Mailbox

pytestmark = pytest.mark.anyio


async def test_items_come_out_in_the_order_they_were_posted() -> None:
    mailbox = Mailbox[int](10)
    for item in range(3):
        mailbox.post(item)
    mailbox.close()
    assert [item async for item in mailbox] == [0, 1, 2]


async def test_a_reader_waits_for_the_next_item() -> None:
    mailbox = Mailbox[str](10)
    read = []

    async def reader() -> None:
        read.extend([item async for item in mailbox])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await anyio.wait_all_tasks_blocked()
        mailbox.post("late")
        await anyio.wait_all_tasks_blocked()
        assert read == []
        mailbox.close()
    assert read == ["late"]


async def test_a_writer_waits_for_room() -> None:
    mailbox = Mailbox[int](2)
    mailbox.post(1)
    await mailbox.room()
    mailbox.post(2)
    with anyio.move_on_after(1) as scope:
        await mailbox.room()
    assert scope.cancelled_caught
    assert await anext(mailbox) == 1
    await mailbox.room()


async def test_closing_releases_writers_and_drops_what_comes_after() -> None:
    mailbox = Mailbox[int](1)
    mailbox.post(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mailbox.room)
        await anyio.wait_all_tasks_blocked()
        mailbox.close()
    mailbox.post(2)
    assert [item async for item in mailbox] == [1]


async def test_a_delivery_is_over_when_the_reader_has_it() -> None:
    mailbox, told = Mailbox[str](10), list[str]()

    async def deliver() -> None:
        taken = await mailbox.deliver("sound", lambda: told.append("at that moment"))
        told.append(f"taken: {taken}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliver)
        await anyio.wait_all_tasks_blocked()
        assert told == []
        assert await anext(mailbox) == "sound"
        assert told == ["at that moment"]
    assert told[1:] == ["taken: True"]


async def test_what_the_reader_does_not_have_can_be_taken_back() -> None:
    mailbox, taken = Mailbox[str](10), list[bool]()

    async def deliver() -> None:
        taken.append(await mailbox.deliver("sound", lambda: None))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliver)
        await anyio.wait_all_tasks_blocked()
        mailbox.post("other")
        mailbox.take_back()
        mailbox.take_back()
    assert taken == [False]
    assert len(mailbox) == 1
    assert await anext(mailbox) == "other"


async def test_a_delivery_that_is_cancelled_is_taken_back() -> None:
    mailbox = Mailbox[str](10)
    with anyio.move_on_after(1):
        await mailbox.deliver("sound", lambda: None)
    assert len(mailbox) == 0


async def test_nothing_is_delivered_to_a_closed_mailbox() -> None:
    mailbox, taken = Mailbox[str](10), list[bool]()

    async def deliver() -> None:
        taken.append(await mailbox.deliver("sound", lambda: None))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliver)
        await anyio.wait_all_tasks_blocked()
        mailbox.close()
    assert not await mailbox.deliver("late", lambda: None)
    assert taken == [False]
    assert [item async for item in mailbox] == []
