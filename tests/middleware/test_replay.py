"""Asking twice: whatever happens to an attempt, the next one hears the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.audio import AudioData
from realtime_stts.middleware import RequestContext
from realtime_stts.middleware._replay import (
    END,
    Attempts,
    Replay,
    first_result,
    judge,
)

pytestmark = pytest.mark.anyio

RATE = 8_000  # Hz


def chunk(number: int, seconds: float = 0.01) -> AudioData:
    return AudioData(bytes([number % 256]) * (2 * round(seconds * RATE)), RATE)


class Microphone:
    """Chunks, each after a while. Not a generator: a wait that is cancelled harms nothing."""

    def __init__(self, chunks: list[AudioData], fails: Exception | None = None) -> None:
        self._chunks, self._fails = [*chunks], fails
        self.asked_after_the_end = False
        self._over = False

    def __aiter__(self) -> Microphone:
        return self

    async def __anext__(self) -> AudioData:
        self.asked_after_the_end |= self._over
        await anyio.sleep(1.0)
        if self._chunks:
            return self._chunks.pop(0)
        if self._fails is not None:
            raise self._fails
        self._over = True
        raise StopAsyncIteration


async def generated(chunks: list[AudioData]) -> AsyncGenerator[AudioData]:
    for each in chunks:
        await anyio.sleep(1.0)
        yield each


class Around:
    """Something around a generator, as layers outside put it there."""

    def __init__(self, chunks: AsyncIterator[AudioData]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> Around:
        return self

    async def __anext__(self) -> AudioData:
        return await anext(self._chunks)


async def take(audio: AsyncIterator[AudioData], count: int) -> list[AudioData]:
    return [await anext(audio) for _ in range(count)]


async def rest(audio: AsyncIterator[AudioData]) -> list[AudioData]:
    return [each async for each in audio]


async def interrupted(audio: AsyncIterator[AudioData]) -> None:
    """An attempt that is cancelled while it waits for the next chunk."""
    with anyio.move_on_after(0.5):
        await anext(audio)
        raise AssertionError


@given(
    lengths=st.lists(st.floats(0.001, 0.05), max_size=12),
    attempts=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=5),
    let_go_after=st.integers(0, 12),
)
async def test_each_attempt_hears_the_same_audio(
    lengths: list[float], attempts: list[tuple[int, bool]], let_go_after: int
) -> None:
    """However it is cut, however far each attempt came, and how it ended."""
    chunks = [chunk(number, seconds) for number, seconds in enumerate(lengths)]
    microphone = Microphone(chunks)
    replay = Replay(microphone, max_seconds=60.0)
    furthest = 0
    for count, cancelled in attempts:
        audio = replay.attempt()
        heard = await take(audio, min(count, len(chunks)))
        assert heard == chunks[: len(heard)]
        furthest = max(furthest, len(heard))
        # Where no more is to come, the end itself would be in doubt: see below.
        if cancelled and len(heard) == furthest < len(chunks):
            await interrupted(audio)
        assert replay.repeatable
    audio = replay.attempt()
    heard = await take(audio, min(let_go_after, len(chunks)))
    replay.let_go()  # there was a result
    assert not replay.repeatable
    assert heard + await rest(audio) == chunks
    assert replay._kept == []


async def test_nothing_is_kept_once_there_is_a_result() -> None:
    replay = Replay(Microphone([chunk(n) for n in range(5)]), 60.0)
    await take(replay.attempt(), 3)
    audio = replay.attempt()
    await take(audio, 1)
    replay.let_go()
    assert (len(replay._kept), len(replay._ahead)) == (0, 2)
    await take(audio, 3)
    assert (len(replay._kept), len(replay._ahead)) == (0, 0)


async def test_too_much_cannot_be_repeated_and_nothing_of_it_is_kept() -> None:
    replay = Replay(Microphone([chunk(n, 1.0) for n in range(4)]), max_seconds=2.0)
    audio = replay.attempt()
    await take(audio, 2)
    assert replay.repeatable
    await take(audio, 1)
    assert not replay.repeatable
    assert replay._kept == []
    assert len(await rest(audio)) == 1


async def test_audio_that_cannot_be_heard_again_is_given_in_attempts_too() -> None:
    microphone = Microphone([chunk(1), chunk(2)])
    call = RequestContext("r1", "stt", input_data={"audio": microphone}, streaming=True)
    attempts = Attempts(call, replay_seconds=0.015)
    await take(call.input_data["audio"], 1)
    assert attempts.repeatable
    await attempts.again()
    audio = call.input_data["audio"]
    assert await take(audio, 1) == [chunk(1)]
    attempts.delivered()
    assert not attempts.repeatable
    assert await rest(audio) == [chunk(2)]


async def test_an_attempt_that_lacked_audio_says_how_the_earlier_one_failed() -> None:
    source = Around(generated([chunk(1)]))
    call = RequestContext("r1", "stt", input_data={"audio": source}, streaming=True)
    attempts = Attempts(call, 30.0)
    await interrupted(call.input_data["audio"])
    earlier = OSError("the engine crashed")
    await attempts.again()
    with pytest.raises(Exception, match="went with") as lost:
        await anext(call.input_data["audio"])
    assert attempts.failed(lost.value, earlier) is earlier


async def test_encoded_audio_counts_by_its_size() -> None:
    encoded = AudioData(bytes(2 * RATE), RATE, format="opus")  # as much as 1 s of PCM
    replay = Replay(Microphone([encoded] * 3), max_seconds=2.0)
    audio = replay.attempt()
    await take(audio, 2)
    assert replay.repeatable
    await take(audio, 1)
    assert not replay.repeatable


async def test_whoever_reads_for_an_attempt_that_is_over_is_at_its_end() -> None:
    replay = Replay(Microphone([chunk(1), chunk(2)]), 60.0)
    old = replay.attempt()
    await take(old, 1)
    new = replay.attempt()
    assert await rest(old) == []
    assert await rest(new) == [chunk(1), chunk(2)]


async def test_a_source_that_has_ended_is_not_asked_again() -> None:
    microphone = Microphone([chunk(1)])
    replay = Replay(microphone, 60.0)
    assert await rest(replay.attempt()) == [chunk(1)]
    assert await rest(replay.attempt()) == [chunk(1)]
    assert not microphone.asked_after_the_end


async def test_a_source_that_fails_cannot_be_repeated() -> None:
    replay = Replay(Microphone([chunk(1)], fails=OSError("unplugged")), 60.0)
    with pytest.raises(OSError, match="unplugged"):
        await rest(replay.attempt())
    assert not replay.repeatable


async def test_a_cancelled_wait_harms_no_other_source() -> None:
    replay = Replay(Microphone([chunk(1), chunk(2)]), 60.0)
    audio = replay.attempt()
    await take(audio, 1)
    await interrupted(audio)
    assert replay.repeatable
    assert await rest(replay.attempt()) == [chunk(1), chunk(2)]


async def test_a_cancelled_wait_ends_a_generator_which_cannot_be_repeated_then() -> None:
    replay = Replay(generated([chunk(1), chunk(2)]), 60.0)
    audio = replay.attempt()
    await take(audio, 1)
    await interrupted(audio)
    assert not replay.repeatable


async def test_what_went_with_a_hidden_generator_is_an_error_not_an_end() -> None:
    replay = Replay(Around(generated([chunk(1), chunk(2)])), 60.0)
    audio = replay.attempt()
    await take(audio, 1)
    await interrupted(audio)
    assert replay.repeatable  # as far as anybody knows
    audio = replay.attempt()
    assert await take(audio, 1) == [chunk(1)]
    with pytest.raises(Exception, match="went with an earlier attempt"):
        await anext(audio)
    assert replay.lost
    assert not replay.repeatable


async def test_an_engine_that_gives_up_waiting_by_itself_hears_what_it_would_without() -> None:
    audio = Replay(Microphone([chunk(1)]), 60.0).attempt()
    await take(audio, 1)
    await interrupted(audio)
    assert await rest(audio) == []


# -- attempts ----------------------------------------------------------------------------


def context(**given: Any) -> RequestContext:
    return RequestContext("r1", "tts", input_data={"text": "hi"}, engine="mouth", **given)


async def test_what_an_attempt_changed_is_as_it_was_for_the_next() -> None:
    call = context(config={"voice_id": "bob"})
    attempts = Attempts(call, 30.0)
    call.input_data["text"] = "HI"
    call.config.clear()
    call.engine, call.deadline = "another", 5.0
    await attempts.again()
    assert (call.input_data, call.config) == ({"text": "hi"}, {"voice_id": "bob"})
    assert (call.engine, call.deadline) == ("mouth", float("inf"))
    call.input_data["text"] = "HI"
    await attempts.again()
    assert call.input_data == {"text": "hi"}
    attempts.delivered()
    assert attempts.repeatable  # a text can be said as often as anybody likes


async def test_what_an_attempt_left_open_is_closed_before_the_next() -> None:
    closed: list[str] = []

    async def results(name: str) -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            await anyio.lowlevel.checkpoint()
            closed.append(name)

    call = context()
    outside, inside = results("outside"), results("inside")
    await anext(outside)
    await anext(inside)
    call._opened.append(outside)
    attempts = Attempts(call, 30.0)
    call._opened.append(inside)
    await attempts.again()
    assert closed == ["inside"]
    assert call._opened == [outside]
    await outside.aclose()


async def test_earlier_failures_are_in_the_chain_of_the_later() -> None:
    attempts = Attempts(context(), 30.0)
    first, second = ValueError(1), ValueError(2)
    assert attempts.failed(first, None) is first
    assert attempts.failed(second, first) is second
    assert second.__context__ is first
    assert attempts.failed(first, second) is first  # the same again: no circle
    assert first.__context__ is None


async def test_a_failure_with_a_cause_keeps_it() -> None:
    cause, error = OSError(), ValueError()
    error.__context__ = cause
    Attempts(context(), 30.0).failed(error, TypeError())
    assert error.__context__ is cause


async def test_the_first_result_or_none() -> None:
    async def none() -> AsyncGenerator[int]:
        if False:
            yield 1

    async def one() -> AsyncGenerator[int]:
        yield 1

    assert await first_result(none()) is END
    async with aclosing(one()) as results:
        assert await first_result(results) == 1


# -- which errors ------------------------------------------------------------------------


def test_which_errors_can_be_said_in_three_ways() -> None:
    for on in (OSError, (OSError, KeyError), lambda error: isinstance(error, OSError)):
        says = judge(on)
        assert says(OSError())
        assert not says(ValueError())


@pytest.mark.parametrize("wrong", [None, int, (OSError, 3), "OSError"])
def test_anything_else_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="`on`"):
        judge(wrong)
