"""Timing: whose time it is, counted over every kind of call."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Any

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.middleware import (
    CallNext,
    Chain,
    Distribution,
    RequestContext,
    TimingMiddleware,
)
from realtime_stts.protocols import SynthesisResult, TranscriptionResult

CLIP = AudioData.silence(0.1, 16_000)
HELLO = TranscriptionResult("hello", "en", [])


class Clock:
    """The time, in s, moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("realtime_stts.middleware._call.perf_counter", made)
    monkeypatch.setattr("realtime_stts.middleware._context.perf_counter", made)
    original = RequestContext.__init__

    def begun_by_hand(self: RequestContext, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self._started = made.now

    monkeypatch.setattr(RequestContext, "__init__", begun_by_hand)
    return made


class Engine:
    """STT that takes as long as it is told, in s, for each result."""

    model_loaded = True

    def __init__(self, clock: Clock, *takes: float, fails: bool = False) -> None:
        self._clock, self._takes, self._fails = clock, takes, fails

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        self._clock.now += self._takes[0]
        if self._fails:
            raise EngineError("engine", "deaf")
        return HELLO

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        for takes in self._takes:
            self._clock.now += takes
            yield HELLO
        if self._fails:
            raise EngineError("engine", "deaf")

    async def is_available(self) -> bool:
        return True


class Mouth:
    model_loaded = True

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        return SynthesisResult(CLIP, text, "alice")

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class Keeper:
    def __init__(self) -> None:
        self.metrics: dict[str, Any] = {}

    async def __call__(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        self.metrics = context.metrics
        async for result in call_next(context):
            yield result


async def no_audio() -> AsyncGenerator[AudioData]:
    if False:
        yield CLIP


@pytest.mark.anyio
async def test_a_call_leaves_its_times_in_the_context(clock: Clock) -> None:
    keeper, timing = Keeper(), TimingMiddleware()
    await Chain(keeper, timing).wrap(Engine(clock, 0.25)).transcribe(CLIP)
    assert keeper.metrics == {
        "total_duration_ms": 250.0,
        "processing_duration_ms": 250.0,
        "engine_duration_ms": 250.0,
        "time_to_first_result_ms": 250.0,
        "slow_request": False,
    }


@pytest.mark.anyio
async def test_the_consumers_time_is_not_the_engines_nor_the_chains(clock: Clock) -> None:
    async def limiter(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        clock.now += 0.125
        async for result in call_next(context):
            yield result

    keeper, timing = Keeper(), TimingMiddleware()
    stt = Chain(keeper, timing, limiter).wrap(Engine(clock, 0.5, 1.0))
    async with aclosing(stt.stream(no_audio())) as results:
        async for _ in results:
            clock.now += 8.0
    assert keeper.metrics["total_duration_ms"] == 17_625.0
    assert keeper.metrics["processing_duration_ms"] == 1_625.0
    assert keeper.metrics["engine_duration_ms"] == 1_500.0
    assert keeper.metrics["time_to_first_result_ms"] == 625.0
    statistics = timing.statistics()
    assert statistics.total.max == 17_625.0
    assert statistics.processing.max == 1_625.0
    assert statistics.engine.max == 1_500.0
    assert statistics.overhead.max == 125.0
    assert statistics.time_to_first_result.max == 625.0


@pytest.mark.anyio
async def test_failed_calls_are_timed_too(clock: Clock) -> None:
    keeper, timing = Keeper(), TimingMiddleware()
    engine = Engine(clock, 0.5, fails=True)
    with pytest.raises(EngineError):
        await Chain(keeper, timing).wrap(engine).transcribe(CLIP)
    assert keeper.metrics["error_duration_ms"] == 500.0
    assert "time_to_first_result_ms" not in keeper.metrics
    statistics = timing.statistics()
    assert (statistics.count, statistics.errors, statistics.cancelled) == (1, 1, 0)
    assert statistics.processing.average == 500.0
    assert statistics.time_to_first_result == Distribution()


@pytest.mark.anyio
async def test_withdrawn_calls_are_timed_and_are_no_errors(clock: Clock) -> None:
    keeper, timing = Keeper(), TimingMiddleware()
    stt = Chain(keeper, timing).wrap(Engine(clock, 0.5, 0.5))
    async with aclosing(stt.stream(no_audio())) as results:
        await anext(results)
    assert "error_duration_ms" not in keeper.metrics
    statistics = timing.statistics()
    assert (statistics.count, statistics.errors, statistics.cancelled) == (1, 0, 1)
    assert statistics.processing.max == 500.0


@pytest.mark.anyio
async def test_a_cancelled_call_is_timed(clock: Clock) -> None:
    class Stuck(Engine):
        async def transcribe(
            self, audio: AudioData, language: str | None = None
        ) -> TranscriptionResult | None:
            waiting.set()
            await anyio.sleep_forever()
            raise AssertionError

    timing, waiting = TimingMiddleware(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Chain(timing).wrap(Stuck(clock)).transcribe, CLIP)
        await waiting.wait()
        tasks.cancel_scope.cancel()
    assert timing.statistics().cancelled == 1


@pytest.mark.anyio
@pytest.mark.parametrize(("takes", "slow"), [(1.99, False), (2.0, True)])
async def test_a_call_is_slow_from_the_threshold_on(clock: Clock, takes: float, slow: bool) -> None:
    clock.now = 0.0
    keeper, timing = Keeper(), TimingMiddleware(slow_threshold=2.0)
    await Chain(keeper, timing).wrap(Engine(clock, takes)).transcribe(CLIP)
    assert keeper.metrics["slow_request"] is slow
    assert timing.statistics().slow == slow


@pytest.mark.anyio
async def test_statistics_are_of_all_calls_or_of_one_type(clock: Clock) -> None:
    timing = TimingMiddleware()
    chain = Chain(timing)
    await chain.wrap(Engine(clock, 1.0)).transcribe(CLIP)
    await chain.wrap(Mouth()).synthesize("hi", {})
    assert timing.statistics().count == 2
    assert timing.statistics("stt").processing == Distribution(*[1000.0] * 7)
    assert timing.statistics("tts").count == 1
    assert timing.statistics("response").count == 0


@pytest.mark.anyio
async def test_times_are_kept_of_the_last_calls_and_counts_of_all(clock: Clock) -> None:
    timing = TimingMiddleware(history=3)
    for takes in (9.0, 1.0, 2.0, 3.0):
        await Chain(timing).wrap(Engine(clock, takes)).transcribe(CLIP)
    statistics = timing.statistics()
    assert statistics.count == 4
    assert (statistics.processing.min, statistics.processing.max) == (1000.0, 3000.0)


@pytest.mark.anyio
async def test_the_contracts_summaries(clock: Clock) -> None:
    timing = TimingMiddleware()
    assert timing.get_statistics() == {"request_count": 0}
    assert timing.get_percentile_stats() == {"total_requests": 0, "percentiles_ms": {}}
    for takes in (0.0, 3.0, 1.5):
        await Chain(timing).wrap(Engine(clock, takes)).transcribe(CLIP)
    assert timing.get_statistics() == {
        "request_count": 3,
        "average_duration_ms": 1500.0,
        "min_duration_ms": 0.0,
        "max_duration_ms": 3000.0,
        "recent_duration_ms": 1500.0,
    }
    assert timing.get_percentile_stats([50, 99.9]) == {
        "total_requests": 3,
        "percentiles_ms": {"p50": 1500.0, "p99.9": 3000.0},
    }


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=50))
def test_a_distribution_is_what_numpy_says(times: list[float]) -> None:
    found = Distribution.of(times)
    assert (found.min, found.max) == (min(times), max(times))
    assert found.average == pytest.approx(np.mean(times))
    expected = np.percentile(times, [50, 90, 95, 99], method="inverted_cdf")
    assert [found.p50, found.p90, found.p95, found.p99] == list(expected)


def test_it_keeps_at_least_one_call() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        TimingMiddleware(history=0)


def test_one_instance_serves_event_loops_in_several_threads() -> None:
    timing = TimingMiddleware()
    tts = Chain(timing).wrap(Mouth())

    async def many() -> None:
        for _ in range(200):
            await tts.synthesize("hi", {})

    threads = [threading.Thread(target=anyio.run, args=(many,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert timing.statistics("tts").count == 800
