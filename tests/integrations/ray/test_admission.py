"""Who may call the replicas: a burst that fits is never refused, and nothing is lost."""

from __future__ import annotations

import anyio
import pytest

from realtime_stts import request_scope
from realtime_stts.errors import OverloadedError
from realtime_stts.integrations._ray._admission import Admission, Slot

pytestmark = pytest.mark.anyio


async def entered(admission: Admission) -> Slot:
    slot = await admission.enter(None)
    assert slot is not None
    return slot


async def test_a_burst_as_large_as_slots_and_places_is_taken_and_one_more_is_not() -> None:
    admission = Admission("ears", 2, 3)
    done, end = 0, anyio.Event()

    async def call() -> None:
        nonlocal done
        with await entered(admission):
            await end.wait()
        done += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert (admission.running, admission.waiting) == (2, 3)
        with pytest.raises(OverloadedError, match="ears: 2 calls run and 3 wait") as caught:
            await admission.enter(None)
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 0.0
        end.set()
    assert (done, admission.running, admission.waiting, admission.refused) == (5, 0, 0, 1)


async def test_who_has_waited_long_enough_goes_without_a_slot() -> None:
    admission = Admission("ears", 1, 1)
    with await entered(admission):
        began = anyio.current_time()
        assert await admission.enter(0.1) is None
        assert anyio.current_time() - began > 0.09
    assert (admission.running, admission.waiting) == (0, 0)


async def test_who_is_cancelled_while_it_waits_takes_nothing_with_it() -> None:
    admission = Admission("ears", 1, 1)
    slot = await entered(admission)
    with anyio.move_on_after(0.1):
        await admission.enter(None)
    assert admission.waiting == 0
    slot.give_back()
    assert admission.running == 0


async def test_a_slot_is_free_once_all_who_took_it_have_given_it_back() -> None:
    admission = Admission("ears", 1, 0)
    with await entered(admission) as slot:
        slot.take()
    assert admission.running == 1
    slot.give_back()
    assert admission.running == 0


async def test_sessions_take_turns() -> None:
    admission = Admission("ears", 1, 4)
    served: list[str] = []

    async def call(session: str) -> None:
        with request_scope(session_id=session), await entered(admission):
            served.append(session)

    async with anyio.create_task_group() as tasks:
        with await entered(admission):
            for session in ("busy", "busy", "busy", "other"):
                tasks.start_soon(call, session)
                await anyio.wait_all_tasks_blocked()
    assert served == ["busy", "other", "busy", "busy"]


async def test_a_session_with_many_calls_makes_room_for_one_with_fewer() -> None:
    admission = Admission("ears", 1, 2)
    outcomes: list[str] = []

    async def call(session: str) -> None:
        try:
            with request_scope(session_id=session), await entered(admission):
                outcomes.append(session)
        except OverloadedError as exc:
            outcomes.append(f"{session}: {'fewer calls' in str(exc)}")

    async with anyio.create_task_group() as tasks:
        with await entered(admission):
            for session in ("busy", "busy", "other"):
                tasks.start_soon(call, session)
                await anyio.wait_all_tasks_blocked()
    assert sorted(outcomes) == ["busy", "busy: True", "other"]
    assert admission.refused == 1


async def test_more_replicas_let_in_who_waits() -> None:
    admission = Admission("ears", 1, 4)
    async with anyio.create_task_group() as tasks:
        with await entered(admission):
            tasks.start_soon(entered, admission)
            await anyio.wait_all_tasks_blocked()
            assert admission.waiting == 1
            admission.resize(2, 4)
            assert (admission.slots, admission.running, admission.waiting) == (2, 2, 0)
