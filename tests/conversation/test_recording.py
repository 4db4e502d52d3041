from __future__ import annotations

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import AudioData
from realtime_stts.conversation._recording import SAMPLE_RATE, Recent, Utterance

pytestmark = pytest.mark.anyio


def samples(n: int, first: int = 0) -> bytes:
    return np.arange(first, first + n).astype("<i2").tobytes()


def test_recent_sound_is_addressed_by_time() -> None:
    recent = Recent()
    recent.append(samples(SAMPLE_RATE))
    recent.append(samples(SAMPLE_RATE, SAMPLE_RATE))
    assert recent.end == 2.0
    assert recent.between(0.5, 0.5 + 2 / SAMPLE_RATE) == samples(2, SAMPLE_RATE // 2)
    assert recent.between(1.0, 99.0) == samples(SAMPLE_RATE, SAMPLE_RATE)
    assert recent.between(-1.0, 0.0) == b""


@given(st.lists(st.floats(0.0, 20.0), max_size=5), st.floats(0.0, 20.0), st.floats(0.0, 5.0))
def test_forgetting_never_moves_what_is_kept(
    forgotten: list[float], start: float, length: float
) -> None:
    whole, recent = Recent(), Recent()
    sound = samples(20 * SAMPLE_RATE)
    whole.append(sound)
    recent.append(sound)
    for before in forgotten:
        recent.forget(before)
    start = max(start, *forgotten, 0.0)
    assert recent.end == whole.end
    assert recent.between(start, start + length) == whole.between(start, start + length)


def test_memory_does_not_grow_with_the_session() -> None:
    recent = Recent()
    for second in range(100):
        recent.append(samples(SAMPLE_RATE))
        recent.forget(second - 2.0)
    assert len(recent._data) < 5 * 2 * SAMPLE_RATE


async def test_an_utterance_is_read_while_it_is_written() -> None:
    utterance = Utterance()
    read: list[AudioData] = []

    async def reader() -> None:
        read.extend([chunk async for chunk in utterance.chunks()])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        utterance.write(samples(10))
        await anyio.wait_all_tasks_blocked()
        utterance.write(samples(10))
        utterance.write(samples(10))
        await anyio.wait_all_tasks_blocked()
        utterance.close()
    assert utterance.closed
    # What waited while the reader was busy comes as one piece.
    assert [chunk.n_frames for chunk in read] == [10, 20]
    assert AudioData.concat(read) == utterance.audio


async def test_who_stops_waiting_for_a_piece_can_go_on_later_and_has_missed_none() -> None:
    utterance = Utterance()
    chunks = utterance.chunks()
    with anyio.move_on_after(1.0) as waiting:
        await anext(chunks)
    assert waiting.cancelled_caught
    utterance.write(samples(10))
    assert (await anext(chunks)).n_frames == 10
    utterance.close()
    assert [chunk async for chunk in chunks] == []


async def test_an_empty_utterance_has_no_chunks() -> None:
    utterance = Utterance()
    utterance.close()
    assert [chunk async for chunk in utterance.chunks()] == []
