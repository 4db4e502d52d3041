from __future__ import annotations

import anyio
import pytest

from realtime_stts.conversation._change import Change

pytestmark = pytest.mark.anyio


async def test_all_who_wait_are_woken_at_each_change_and_by_none_before() -> None:
    change, woken = Change(), list[str]()

    async def wait(name: str) -> None:
        for _ in range(2):
            await change.wait()
            woken.append(name)

    change.tell()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "a")
        tasks.start_soon(wait, "b")
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        change.tell()
        await anyio.wait_all_tasks_blocked()
        assert sorted(woken) == ["a", "b"]
        change.tell()
    assert sorted(woken) == ["a", "a", "b", "b"]
