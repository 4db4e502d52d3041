"""Timeouts, to the moment: on virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from math import nan
from typing import Any

import anyio
import pytest

from realtime_stts import request_scope
from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineTimeoutError
from realtime_stts.middleware import CallNext, Chain, Middleware, RequestContext, TimeoutMiddleware
from realtime_stts.protocols import SynthesisResult, TranscriptionResult
from realtime_stts.testing.suites import MiddlewareSuite

from .tools import Given

pytestmark = pytest.mark.anyio

CLIP = AudioData.silence(0.1, 16_000)


def said(text: str) -> TranscriptionResult:
    return TranscriptionResult(text, "en", [])


class Mouth:
    """TTS that takes so many seconds for each chunk."""

    model_loaded = True
    name = "mouth"

    def __init__(self, *takes: float, then: Exception | None = None) -> None:
        self._takes, self._then = takes, then
        self.calls = self.closed = 0

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        self.calls += 1
        await anyio.sleep(self._takes[0])
        if self._then is not None:
            raise self._then
        return SynthesisResult(CLIP, text, "alice")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        self.calls += 1
        try:
            for takes in self._takes:
                await anyio.sleep(takes)
                yield CLIP
        finally:
            self.closed += 1

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class Ears:
    """STT that takes so many seconds for each result, once it has heard all."""

    model_loaded = True
    name = "ears"

    def __init__(self, *takes: float, partials: bool = False) -> None:
        self._takes, self._partials = takes, partials

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        await anyio.sleep(self._takes[0])
        return said("all")

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async for _ in audio:
            if self._partials:
                yield said("partial")
        for takes in self._takes:
            await anyio.sleep(takes)
            yield said("all")

    async def is_available(self) -> bool:
        return True


class Ahead(Ears):
    """Has heard all before anybody asks for the second result."""

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        chunks = aiter(audio)
        await anext(chunks)
        yield said("partial")
        async for _ in chunks:
            pass
        with pytest.raises(StopAsyncIteration):  # asking again begins nothing anew
            await anext(chunks)
        await anyio.sleep(self._takes[0])
        yield said("all")


def speech(*pauses: float) -> Given:
    return Given(*[CLIP] * len(pauses), pauses=pauses)


async def spoken(chunks: AsyncGenerator[Any], pause: float = 0.0) -> int:
    """How many results came, taking some time over each."""
    count = 0
    async with aclosing(chunks):
        async for _ in chunks:
            count += 1
            await anyio.sleep(pause)
    return count


async def late(call: Any, within: float) -> EngineTimeoutError:
    """Its timeout, which came exactly in time."""
    begun = anyio.current_time()
    with pytest.raises(EngineTimeoutError) as timed_out:
        await call
    assert anyio.current_time() - begun == pytest.approx(within)
    return timed_out.value


# -- one result --------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"first": 2.0}, {"total": 2.0}, {"first": 2.0, "total": 9.0}])
async def test_a_call_that_takes_too_long_ends_at_its_time(limits: dict[str, Any]) -> None:
    timeout = TimeoutMiddleware(**limits)
    with request_scope(id="r1"):
        error = await late(Chain(timeout).wrap(Mouth(2.5)).synthesize("hi", {}), 2.0)
    assert (error.engine, error.seconds, error.request_id) == ("mouth", 2.0, "r1")
    statistics = timeout.statistics()
    assert (statistics.calls, statistics.timed_out) == (1, 1)


async def test_the_sooner_of_two_limits_holds() -> None:
    tts = Chain(TimeoutMiddleware(first=3.0, total=2.0)).wrap(Mouth(5.0))
    assert (await late(tts.synthesize("hi", {}), 2.0)).seconds == 2.0


async def test_a_call_that_is_in_time_is_as_before() -> None:
    timeout = TimeoutMiddleware(first=2.0, total=2.0)
    chain = Chain(timeout)
    assert await chain.wrap(Mouth(1.9)).synthesize("hi", {})
    assert (await chain.wrap(Ears(1.9)).transcribe(CLIP)) == said("all")
    assert timeout.statistics().timed_out == 0


async def test_a_time_between_results_means_nothing_to_a_single_one() -> None:
    assert await Chain(TimeoutMiddleware(between=1.0)).wrap(Mouth(9.0)).synthesize("hi", {})


@pytest.mark.parametrize("limits", [{"first": 1.0}, {"between": 1.0}])
async def test_a_call_without_a_result_is_left_to_the_chain(limits: dict[str, Any]) -> None:
    async def nothing(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        if False:
            yield

    with pytest.raises(RuntimeError, match="0 results"):
        await Chain(TimeoutMiddleware(**limits), nothing).wrap(Mouth()).synthesize("hi", {})


# -- streams -----------------------------------------------------------------------------


async def test_the_first_result_has_its_own_limit() -> None:
    tts = Chain(TimeoutMiddleware(first=1.0)).wrap(Mouth(0.9, 60.0))
    assert await spoken(tts.stream("hi")) == 2
    mouth = Mouth(1.1)
    await late(spoken(Chain(TimeoutMiddleware(first=1.0)).wrap(mouth).stream("hi")), 1.0)
    assert mouth.closed == 1


async def test_the_time_between_results_is_counted_from_asking_for_the_next() -> None:
    timeout = TimeoutMiddleware(between=1.0)
    assert await spoken(Chain(timeout).wrap(Mouth(60.0, 0.9, 0.9)).stream("hi"), pause=5.0) == 3
    mouth = Mouth(0.0, 0.0, 1.1)
    error = await late(spoken(Chain(timeout).wrap(mouth).stream("hi")), 1.0)
    assert (error.seconds, mouth.closed) == (1.0, 1)


async def test_the_total_counts_the_consumer_too() -> None:
    tts = Chain(TimeoutMiddleware(total=4.0)).wrap(Mouth(0.5, 0.5, 0.5))
    assert await spoken(tts.stream("hi"), pause=1.0) == 3
    error = await late(spoken(tts.stream("hi"), pause=2.0), 5.0)  # when it comes back
    assert error.seconds == 4.0


async def test_a_stream_without_results_ends_in_time_too() -> None:
    assert await spoken(Chain(TimeoutMiddleware(first=1.0)).wrap(Mouth()).stream("hi")) == 0


async def test_a_listener_who_leaves_closes_the_engine() -> None:
    mouth = Mouth(0.0, 0.0)
    async with aclosing(Chain(TimeoutMiddleware(total=9.0)).wrap(mouth).stream("hi")) as chunks:
        await anext(chunks)
    assert mouth.closed == 1


# -- streams of audio: the speaker takes as long as they take ------------------------------


@pytest.mark.parametrize("limits", [{"first": 1.0}, {"total": 1.0}])
async def test_the_clocks_begin_when_the_audio_ends(limits: dict[str, Any]) -> None:
    chain = Chain(TimeoutMiddleware(**limits))
    assert await spoken(chain.wrap(Ears(0.9)).stream(speech(30.0, 30.0))) == 1
    await late(spoken(chain.wrap(Ears(1.1)).stream(speech(30.0, 30.0))), 61.0)


async def test_a_partial_result_is_a_first_result() -> None:
    stt = Chain(TimeoutMiddleware(first=1.0)).wrap(Ears(60.0, partials=True))
    assert await spoken(stt.stream(speech(5.0, 5.0))) == 3


async def test_between_partial_results_the_speaker_has_their_time() -> None:
    chain = Chain(TimeoutMiddleware(between=1.0))
    assert await spoken(chain.wrap(Ears(0.9, partials=True)).stream(speech(0.0, 60.0))) == 3
    await late(spoken(chain.wrap(Ears(1.1, partials=True)).stream(speech(0.0, 60.0))), 61.0)


async def test_audio_that_has_ended_before_a_result_is_asked_for() -> None:
    await late(spoken(Chain(TimeoutMiddleware(total=1.0)).wrap(Ahead(2.0)).stream(speech(0, 5))), 6)


async def test_a_clip_is_all_there_from_the_beginning() -> None:
    await late(Chain(TimeoutMiddleware(first=1.0)).wrap(Ears(2.0)).transcribe(CLIP), 1.0)


# -- deadlines ---------------------------------------------------------------------------


class Deadline:
    """A layer that sets one, so many seconds from now, and notes what is left of it inside."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self.remaining = nan
        self.after = nan

    async def __call__(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        if self._seconds is not None:
            context.deadline = anyio.current_time() + self._seconds
        self.remaining = context.remaining()
        try:
            async for result in call_next(context):
                yield result
        finally:
            self.after = context.remaining()


async def test_layers_inside_know_how_much_time_is_left() -> None:
    outer, inner = Deadline(), Deadline()
    chain = Chain(outer, TimeoutMiddleware(total=4.0), inner)
    await chain.wrap(Mouth(1.0)).synthesize("hi", {})
    assert (inner.remaining, inner.after) == (4.0, 3.0)
    assert outer.after == float("inf")  # a layer outside may ask again, with new time


async def test_an_earlier_deadline_from_outside_holds() -> None:
    inner = Deadline()
    tts = Chain(Deadline(1.0), TimeoutMiddleware(first=2.0, total=4.0), inner).wrap(Mouth(9.0))
    error = await late(tts.synthesize("hi", {}), 1.0)
    assert (error.seconds, inner.remaining) == (1.0, 1.0)


async def test_one_from_outside_holds_while_somebody_speaks_too() -> None:
    stt = Chain(Deadline(10.0), TimeoutMiddleware(total=1.0)).wrap(Ears(0.0))
    await late(spoken(stt.stream(speech(60.0))), 10.0)


async def test_when_it_has_passed_nobody_is_asked() -> None:
    mouth = Mouth(0.0)
    tts = Chain(Deadline(0.0), TimeoutMiddleware(first=1.0)).wrap(mouth)
    await late(tts.synthesize("hi", {}), 0.0)
    await late(spoken(tts.stream("hi")), 0.0)
    assert mouth.calls == 0


# -- whose it is -------------------------------------------------------------------------


async def test_a_timeout_of_the_engines_own_is_an_error_like_any_other() -> None:
    timeout = TimeoutMiddleware(total=5.0)
    with pytest.raises(TimeoutError, match="the server's"):
        await Chain(timeout).wrap(Mouth(1.0, then=TimeoutError("the server's"))).synthesize("", {})
    assert timeout.statistics().timed_out == 0


@pytest.mark.parametrize("outer", [1.0, 2.0])
async def test_a_caller_who_cancels_gets_no_timeout(outer: float) -> None:
    timeout = TimeoutMiddleware(total=2.0)
    with anyio.move_on_after(outer) as scope:
        await Chain(timeout).wrap(Mouth(9.0)).synthesize("hi", {})
    assert scope.cancelled_caught
    assert timeout.statistics().timed_out == 0


async def test_one_inside_another_says_so_itself() -> None:
    inner, outer = TimeoutMiddleware(first=1.0), TimeoutMiddleware(total=5.0)
    error = await late(Chain(outer, inner).wrap(Mouth(9.0)).synthesize("hi", {}), 1.0)
    assert error.seconds == 1.0
    assert (inner.statistics().timed_out, outer.statistics().timed_out) == (1, 0)


@pytest.mark.parametrize("wrong", [{}, {"first": 0.0}, {"total": -1.0}, {"between": nan}])
async def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="timeout"):
        TimeoutMiddleware(**wrong)


class TestTimeoutPromises(MiddlewareSuite):
    def middleware(self) -> Middleware:
        return TimeoutMiddleware(first=3600.0)


class TestTimeoutPromisesWithEveryLimit(MiddlewareSuite):
    def middleware(self) -> Middleware:
        return TimeoutMiddleware(first=3600.0, between=3600.0, total=7200.0)
