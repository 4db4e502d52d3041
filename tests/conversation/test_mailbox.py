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
