"""From any thread to any task: who is heard, how late, and what is lost."""

from __future__ import annotations

import time
from functools import partial

import anyio
import pytest
from anyio import to_thread

pytest.importorskip("realtime_stts.integrations.discord", exc_type=ImportError)

import anyio.lowlevel

from realtime_stts import AudioData, AudioFormatError, OverloadedError
from realtime_stts.integrations.discord import RoomStream, SpeakerStream, VoiceBridge
from realtime_stts.testing import no_leaks, speech, tone_text

from .people import FRAME, RATE, frames, talk, until

pytestmark = pytest.mark.anyio

ANN, BEN, EVE = 1, 2, 3


def bridge(**options: float) -> VoiceBridge:
    return VoiceBridge(clock=anyio.current_time, **options)  # type: ignore[arg-type]


async def heard(stream: SpeakerStream | RoomStream, into: list[AudioData]) -> None:
    async for audio in stream:
        into.append(audio)  # noqa: PERF401 - it is looked at meanwhile


async def test_what_a_person_says_comes_as_one_stream_without_gaps() -> None:
    voices, chunks = bridge(), list[AudioData]()
    voices.allow(ANN)
    async with no_leaks(), anyio.create_task_group() as tasks:
        tasks.start_soon(heard, voices.speaker(ANN), chunks)
        await talk(voices, ANN, "hello")
        await anyio.sleep(2.0)
        await talk(voices, ANN, "again")
        await anyio.sleep(1.0)
        lasted = sum(chunk.duration_seconds for chunk in chunks)
        voices.forget(ANN)  # which ends the stream, and so the task
    assert tone_text(AudioData.concat(chunks)) == "hello again"
    assert {(chunk.sample_rate, chunk.channels) for chunk in chunks} == {(RATE, 1)}
    spoken = 2 * len(frames(AudioData.silence(5 * 0.06, RATE))) * FRAME
    assert lasted >= 3.0 + spoken - 0.2


async def test_two_people_at_once_are_two_streams_and_never_mixed() -> None:
    voices = bridge()
    ann, ben = list[AudioData](), list[AudioData]()
    async with no_leaks(), anyio.create_task_group() as tasks:
        for user, into in ((ANN, ann), (BEN, ben)):
            voices.allow(user)
            tasks.start_soon(heard, voices.speaker(user), into)
        async with anyio.create_task_group() as talking:
            talking.start_soon(talk, voices, ANN, "one two three")
            talking.start_soon(talk, voices, BEN, "red green blue", 1)
        await anyio.sleep(0.5)
        voices.close()
    assert tone_text(AudioData.concat(ann)) == "one two three"
    assert tone_text(AudioData.concat(ben)) == "red green blue"


async def test_a_room_hears_all_who_are_allowed_one_after_the_other() -> None:
    voices, chunks = bridge(), list[AudioData]()
    voices.allow(ANN)
    async with no_leaks(), anyio.create_task_group() as tasks:
        room = voices.room()
        tasks.start_soon(heard, room, chunks)
        voices.allow(BEN)  # later than the room
        await talk(voices, ANN, "knock knock")
        await talk(voices, EVE, "nobody hears me", 2)
        await anyio.sleep(0.2)
        await talk(voices, BEN, "who is there", 1)
        await anyio.sleep(0.5)
        with pytest.raises(anyio.BusyResourceError):
            voices.room()
        voices.close()
    assert tone_text(AudioData.concat(chunks)) == "knock knock who is there"


async def test_nothing_is_kept_of_whom_nobody_allowed() -> None:
    voices = bridge()
    packet = frames(speech(0.1))[0]
    voices.write(EVE, packet)
    voices.allow(EVE)
    stream = voices.speaker(EVE)
    with anyio.move_on_after(1.0):
        await anext(stream)
        raise AssertionError("what was said before consent was heard")
    assert voices.refused == 1
    voices.write(EVE, packet)
    assert (await anext(stream)).data.strip(b"\0")
    voices.forget(EVE)
    voices.write(EVE, packet)
    assert voices.refused == 2
    assert [chunk async for chunk in stream] == []
    assert voices.allowed == frozenset()
    assert not voices.is_allowed(EVE)
    voices.forget(EVE)  # again does nothing


async def test_sound_that_nobody_reads_is_dropped_and_counted_and_loses_no_time() -> None:
    voices = bridge(max_waiting=0.5)
    voices.allow(ANN)
    voices.allow(ANN)
    for packet in frames(speech(3.0)):
        await anyio.sleep(FRAME)
        voices.write(ANN, packet)
    assert voices.dropped == voices.dropped_of(ANN) == pytest.approx(2.5, abs=0.03)
    stream, seconds = voices.speaker(ANN), 0.0
    while seconds < 3.0:
        audio = await anext(stream)
        assert audio.duration_seconds <= 1.0
        seconds += audio.duration_seconds
    assert seconds == pytest.approx(3.0, abs=0.03)
    voices.forget(ANN)
    assert voices.dropped == pytest.approx(2.5, abs=0.03)
    assert voices.dropped_of(ANN) == 0.0


async def test_a_read_that_is_cancelled_loses_no_sound() -> None:
    voices, chunks = bridge(), list[AudioData]()
    voices.allow(ANN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(talk, voices, ANN, "nothing is lost")
        stream = voices.speaker(ANN)
        for _ in range(400):
            with anyio.move_on_after(0.007):
                chunks.append(await anext(stream))
    assert tone_text(AudioData.concat(chunks)) == "nothing is lost"


async def test_one_stream_has_one_reader() -> None:
    voices = bridge()
    voices.allow(ANN)
    async with anyio.create_task_group() as tasks:
        stream = voices.speaker(ANN)
        tasks.start_soon(heard, stream, [])
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await anext(stream)
        tasks.cancel_scope.cancel()


async def test_only_so_many_are_heard_at_a_time() -> None:
    voices = bridge(max_speakers=1)
    voices.allow(ANN)
    with pytest.raises(OverloadedError, match="1 people are listened to already"):
        voices.allow(BEN)
    voices.forget(ANN)
    voices.allow(BEN)
    voices.close()
    with pytest.raises(anyio.ClosedResourceError):
        voices.allow(ANN)


async def test_half_a_sample_is_refused_and_nothing_is_nothing() -> None:
    voices = bridge()
    voices.allow(ANN)
    with pytest.raises(AudioFormatError, match="3 bytes"):
        voices.write(ANN, b"123")
    voices.write(ANN, b"")
    with anyio.move_on_after(1.0) as scope:
        await anext(voices.speaker(ANN))
    assert scope.cancelled_caught


@pytest.mark.parametrize("name", ["max_waiting", "max_speakers", "patience"])
async def test_numbers_must_be_over_zero(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        bridge(**{name: 0})


async def test_it_is_written_from_a_thread_while_the_loop_is_busy() -> None:
    """The bridge's own clock is real, so the loop is too busy for real, for a moment."""
    voices = VoiceBridge(max_waiting=60.0)
    voices.allow(ANN)
    packets = frames(speech(1.0))

    def receive() -> None:
        for packet in packets:
            voices.write(ANN, packet)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, receive)
        await anyio.lowlevel.checkpoint()
        time.sleep(0.05)  # noqa: ASYNC251 - a busy loop is what it is about
        chunks = list[AudioData]()
        tasks.start_soon(heard, voices.speaker(ANN), chunks)
        await until(lambda: sum(chunk.duration_seconds for chunk in chunks) >= 1.0)
        voices.close()
    assert voices.dropped == 0.0


async def test_many_threads_may_write_forget_and_allow_at_once() -> None:
    voices = VoiceBridge(max_speakers=4)
    packet = frames(speech(0.02))[0]

    def receive(user: int) -> None:
        for i in range(300):
            voices.allow(user)
            voices.write(user, packet)
            if i % 3 == 0:
                voices.forget(user)

    async with no_leaks(), anyio.create_task_group() as tasks:
        for user in range(4):
            tasks.start_soon(to_thread.run_sync, partial(receive, user))
    assert voices.refused == 0
    assert voices.allowed == {0, 1, 2, 3}
