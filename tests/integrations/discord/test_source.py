"""What a voice client plays: frames of one size, silence while it waits, and never an error."""

from __future__ import annotations

import anyio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("realtime_stts.integrations.discord", exc_type=ImportError)

from realtime_stts import AudioData, AudioFormatError
from realtime_stts.integrations.discord import SpeechSource
from realtime_stts.testing import no_leaks, speak_tones, speech, tone_text

from .people import FRAME, RATE, Client

pytestmark = pytest.mark.anyio

SILENCE = bytes(3840)


def frames(source: SpeechSource, seconds: float) -> list[bytes]:
    return [source.read() for _ in range(round(seconds / FRAME))]


def audible(frame: bytes) -> bool:
    return frame != SILENCE


async def test_it_is_silent_while_there_is_nothing_to_say() -> None:
    source = SpeechSource()
    assert frames(source, 1.0) == [SILENCE] * 50
    assert source.is_idle
    assert source.played == 0.0
    assert not source.is_opus()


async def test_what_is_written_is_played_in_frames_of_one_size_on_both_channels() -> None:
    source = SpeechSource()
    await source.write(speak_tones("hello", 22_050))
    assert not source.is_idle
    played = frames(source, 1.0)
    assert {len(frame) for frame in played} == {3840}
    samples = np.frombuffer(b"".join(played), "<i2").reshape(-1, 2)
    assert np.array_equal(samples[:, 0], samples[:, 1])
    assert tone_text(AudioData(b"".join(played), RATE, 2).mono()) == "hello"
    assert source.played == pytest.approx(5 * 0.06, abs=0.001)
    assert source.is_idle


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=12))
def test_however_it_is_cut_the_same_is_played(sizes: list[int]) -> None:
    audio = speech(0.8, 24_000)

    async def played(pieces: list[AudioData]) -> bytes:
        source = SpeechSource()
        for piece in pieces:
            await source.write(piece)
        return b"".join(frames(source, 1.2))

    pieces, start = [], 0
    for size in sizes:
        pieces.append(AudioData(audio.data[2 * start : 2 * (start + size)], 24_000))
        start += size
    pieces.append(AudioData(audio.data[2 * start :], 24_000))

    async def main() -> None:
        assert await played(pieces) == await played([audio])

    anyio.run(main)


async def test_an_encoded_file_is_decoded_elsewhere_and_played() -> None:
    source = SpeechSource()
    audio = speech(0.3, RATE)
    await source.write(AudioData(audio.encode("flac"), RATE, 1, "flac"))
    assert sum(map(audible, frames(source, 0.4))) in (15, 16)  # the last one fades
    with pytest.raises(AudioFormatError):
        await source.write(AudioData(b"no file at all", RATE, 1, "flac"))


async def test_a_writer_waits_while_much_is_unplayed() -> None:
    source, client = SpeechSource(max_buffered=1.0), Client()
    client.play(source)
    began = anyio.current_time()
    async with no_leaks(), anyio.create_task_group() as tasks:
        tasks.start_soon(client.run)
        await source.write(speech(5.0, RATE))
        assert anyio.current_time() - began == pytest.approx(3.5, abs=0.6)
        assert source.buffered <= 1.5
        await source.drain()
        assert anyio.current_time() - began == pytest.approx(5.0, abs=0.1)
        tasks.cancel_scope.cancel()
    assert source.underruns == 0
    audible_frames = [audible(frame) for frame in client.played]
    assert sum(audible_frames) in (250, 251)


async def test_two_writers_take_turns_and_do_not_interleave() -> None:
    source, client = SpeechSource(max_buffered=0.1), Client()
    client.play(source)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.run)
        async with anyio.create_task_group() as writers:
            writers.start_soon(source.write, speak_tones("first comes first", RATE))
            writers.start_soon(source.write, speak_tones("then comes the second", RATE))
        await source.drain()
        tasks.cancel_scope.cancel()
    one, other = "first comes first", "then comes the second"
    assert tone_text(client.heard()) in (f"{one} {other}", f"{other} {one}")


async def test_a_flush_silences_the_next_frame_and_ends_the_writes_that_wait() -> None:
    source, client = SpeechSource(max_buffered=1.0), Client()
    client.play(source)
    async with no_leaks(), anyio.create_task_group() as tasks:
        tasks.start_soon(client.run)
        tasks.start_soon(source.write, speech(10.0, RATE))
        tasks.start_soon(source.write, speech(10.0, RATE))
        await anyio.sleep(2.01)
        n_played = len(client.played)
        assert all(map(audible, client.played[1:]))
        assert 1.0 <= source.flush() <= 1.5
        await anyio.sleep(1.0)
        assert source.is_idle
        tasks.cancel_scope.cancel()
    first, *rest = client.played[n_played:]
    assert not np.frombuffer(first, "<i2")[2 * 240 :].any()  # it fades for 5 ms
    assert not any(map(audible, rest))
    assert source.flush() == 0.0


async def test_what_comes_after_a_flush_is_played() -> None:
    source = SpeechSource()
    await source.write(speech(1.0, RATE))
    source.flush()
    await source.write(speak_tones("again", RATE))
    played = AudioData(b"".join(frames(source, 1.0)), RATE, 2).mono()
    assert tone_text(played) == "again"


async def test_closed_it_plays_what_waits_and_ends() -> None:
    source = SpeechSource()
    await source.write(speech(0.1, 16_000))
    source.close()
    assert source.is_closed
    played = frames(source, 1.0)
    end = played.index(b"")
    assert 5 <= end <= 8
    assert played[end:] == [b""] * (50 - end)
    with pytest.raises(anyio.ClosedResourceError):
        await source.write(speech(0.1))
    assert SpeechSource().read() == SILENCE


async def test_nobody_waits_for_a_player_that_has_ended() -> None:
    source = SpeechSource(max_buffered=0.5)
    async with no_leaks(), anyio.create_task_group() as tasks:

        async def write() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await source.write(speech(5.0))

        tasks.start_soon(write)
        await anyio.sleep(1.0)
        assert not source.is_over
        source.cleanup()
    assert source.is_over
    with pytest.raises(anyio.ClosedResourceError):
        await source.drain()


async def test_a_loop_that_is_late_within_what_is_buffered_makes_no_gap() -> None:
    """Sound comes in real time, 0.2 s ahead, in frames of 20 ms, now and then 0.15 s late."""
    source, client = SpeechSource(), Client()
    client.play(source)
    audio = speech(20.0, 24_000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.run)
        began = anyio.current_time()
        for i in range(1000):
            due = began + i * FRAME - 0.2
            late = 0.15 if i % 40 == 0 else 0.0
            await anyio.sleep_until(due + late)
            await source.write(audio.sliced(i * FRAME, (i + 1) * FRAME))
        await source.drain()
        tasks.cancel_scope.cancel()
    flags = [audible(frame) for frame in client.played]
    first, last = flags.index(True), len(flags) - flags[::-1].index(True)
    assert all(flags[first:last])
    assert source.underruns == 0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
async def test_what_may_wait_is_a_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="over 0 seconds"):
        SpeechSource(max_buffered=seconds)
