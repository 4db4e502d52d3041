"""The circuit breaker around calls."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import (
    CircuitOpenError,
    EngineError,
    EngineRefusedError,
    ImplausibleSpeechError,
)
from realtime_stts.middleware import Chain, CircuitBreakerMiddleware, Middleware
from realtime_stts.protocols import SynthesisResult
from realtime_stts.testing.suites import MiddlewareSuite

pytestmark = pytest.mark.anyio

CLIP = AudioData.silence(0.1, 16_000)
BROKEN = EngineError("mouth", "dumb")


class Mouth:
    """TTS whose calls end as they are told; the last one says how all others do."""

    model_loaded = True
    name = "mouth"

    def __init__(self, *ends: Exception | None) -> None:
        self.calls = 0
        self._ends = [*ends]

    def _end(self) -> None:
        self.calls += 1
        end = self._ends.pop(0) if len(self._ends) > 1 else self._ends[0]
        if end is not None:
            raise end

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        self._end()
        return SynthesisResult(CLIP, text, "alice")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        yield CLIP
        self._end()
        yield CLIP

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


async def fails(tts: Any, with_: type[Exception] = EngineError) -> None:
    with pytest.raises(with_):
        await tts.synthesize("hi", {})


async def test_an_engine_that_keeps_failing_is_left_alone_for_a_while() -> None:
    mouth, breaker = Mouth(BROKEN), CircuitBreakerMiddleware(failures=2, open_for=30.0)
    tts = Chain(breaker).wrap(mouth)
    await fails(tts)
    await fails(tts)
    assert str(breaker.state) == "open"
    await anyio.sleep(10.0)
    with pytest.raises(CircuitOpenError) as refused:
        await tts.synthesize("hi", {})
    assert (refused.value.engine, refused.value.retry_after) == ("mouth", 20.0)
    assert refused.value.request_id
    assert mouth.calls == 2


async def test_then_one_call_tries_it() -> None:
    mouth, breaker = Mouth(BROKEN, BROKEN, None), CircuitBreakerMiddleware(failures=1, open_for=5.0)
    tts = Chain(breaker).wrap(mouth)
    await fails(tts)
    await anyio.sleep(5.0)
    await fails(tts)  # the probe
    assert str(breaker.state) == "open"
    await anyio.sleep(5.0)
    assert await tts.synthesize("hi", {})
    assert str(breaker.state) == "closed"


async def test_a_stream_that_breaks_after_its_first_result_is_a_failure_too() -> None:
    breaker = CircuitBreakerMiddleware(failures=1)
    async with aclosing(Chain(breaker).wrap(Mouth(BROKEN)).stream("hi")) as chunks:
        assert await anext(chunks) == CLIP
        with pytest.raises(EngineError):
            await anext(chunks)
    assert str(breaker.state) == "open"


async def test_a_stream_that_completes_is_a_success() -> None:
    breaker = CircuitBreakerMiddleware()
    async with aclosing(Chain(breaker).wrap(Mouth(None)).stream("hi")) as chunks:
        assert [chunk async for chunk in chunks] == [CLIP, CLIP]
    assert breaker.statistics().succeeded == 1


async def test_a_listener_who_has_heard_enough_says_nothing_about_the_engine() -> None:
    mouth, breaker = Mouth(BROKEN, None), CircuitBreakerMiddleware(failures=1, open_for=5.0)
    tts = Chain(breaker).wrap(mouth)
    await fails(tts)
    await anyio.sleep(5.0)
    async with aclosing(tts.stream("hi")) as chunks:
        await anext(chunks)
        assert str(breaker.state) == "half-open"
        await fails(tts, CircuitOpenError)
    assert str(breaker.state) == "half-open"
    assert await tts.synthesize("hi", {})  # the probe's place is free again
    assert str(breaker.state) == "closed"


async def test_a_call_that_is_cancelled_gives_its_place_back() -> None:
    async def hangs(context: Any, call_next: Any) -> AsyncGenerator[Any]:
        async for result in call_next(context):
            if slow:
                await anyio.sleep_forever()
            yield result

    slow = False
    breaker = CircuitBreakerMiddleware(failures=1, open_for=5.0)
    tts = Chain(breaker, hangs).wrap(Mouth(BROKEN, None))
    await fails(tts)
    await anyio.sleep(5.0)
    slow = True
    with anyio.move_on_after(1.0):
        await tts.synthesize("hi", {})
    slow = False
    assert await tts.synthesize("hi", {})


@pytest.mark.parametrize(
    "error",
    [
        ValueError("blank"),
        CircuitOpenError("another", 1.0),
        EngineRefusedError("mouth", "not this text"),
        ImplausibleSpeechError("mouth", "too long"),
    ],
)
async def test_what_is_not_the_engines_fault_does_not_open_it(error: Exception) -> None:
    breaker = CircuitBreakerMiddleware(failures=1)
    await fails(Chain(breaker).wrap(Mouth(error)), type(error))
    assert str(breaker.state) == "closed"
    assert breaker.statistics().failed == 0


@pytest.mark.parametrize("on", [OSError, (OSError,), lambda error: isinstance(error, OSError)])
async def test_which_errors_count_can_be_said(on: Any) -> None:
    breaker = CircuitBreakerMiddleware(failures=1, on=on)
    await fails(Chain(breaker).wrap(Mouth(BROKEN)))
    assert str(breaker.state) == "closed"
    await fails(Chain(breaker).wrap(Mouth(OSError())), OSError)
    assert str(breaker.state) == "open"


async def test_it_goes_by_the_clock_it_is_given() -> None:
    now = 0.0
    breaker = CircuitBreakerMiddleware(failures=1, open_for=5.0, clock=lambda: now)
    tts = Chain(breaker).wrap(Mouth(BROKEN, None))
    await fails(tts)
    now = 4.9
    await fails(tts, CircuitOpenError)
    now = 5.0
    assert await tts.synthesize("hi", {})


async def test_changes_are_told() -> None:
    changes: list[tuple[str, str]] = []
    breaker = CircuitBreakerMiddleware(
        failures=1, open_for=5.0, on_change=lambda old, new: changes.append((old, new))
    )
    tts = Chain(breaker).wrap(Mouth(BROKEN, None))
    await fails(tts)
    await anyio.sleep(5.0)
    await tts.synthesize("hi", {})
    assert changes == [("closed", "open"), ("open", "half-open"), ("half-open", "closed")]


async def test_whoever_is_told_breaks_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def broken_dashboard(old: str, new: str) -> None:
        raise RuntimeError("no dashboard")

    breaker = CircuitBreakerMiddleware(failures=1, on_change=broken_dashboard)
    tts = Chain(breaker).wrap(Mouth(EngineError("mouth", "cannot say 'secret'")))
    with caplog.at_level(logging.DEBUG):
        await fails(tts)
    assert "circuit_breaker middleware raised RuntimeError" in caplog.text
    assert "secret" not in caplog.text


async def test_statistics() -> None:
    breaker = CircuitBreakerMiddleware(failures=1, name="breaker")
    tts = Chain(breaker).wrap(Mouth(None, BROKEN))
    await tts.synthesize("hi", {})
    await fails(tts)
    await fails(tts, CircuitOpenError)
    assert breaker.name == "breaker"
    statistics = breaker.statistics()
    assert (statistics.state, statistics.succeeded, statistics.failed) == ("open", 1, 1)
    assert (statistics.refused, statistics.opened) == (1, 1)


async def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 failure"):
        CircuitBreakerMiddleware(failures=0)


class TestCircuitBreakerPromises(MiddlewareSuite):
    def middleware(self) -> Middleware:
        return CircuitBreakerMiddleware(failures=1_000_000)


class TestCircuitBreakerPromisesWhileItOpens(MiddlewareSuite):
    translates = (CircuitOpenError,)

    def middleware(self) -> Middleware:
        return CircuitBreakerMiddleware(failures=2, open_for=0.001)
