"""Analytics: what is counted, in bounded memory, and read without side effects."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_stts.analytics import InMemoryAnalyticsStore, SQLiteAnalyticsStore
from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.middleware import (
    AnalyticsMiddleware,
    AnalyticsStatistics,
    CallNext,
    Chain,
    RequestContext,
)
from realtime_stts.protocols import SynthesisResult, TranscriptionResult
from realtime_stts.testing.suites import MiddlewareSuite

CLIP = AudioData.silence(0.5, 16_000)
HOUR = 3600.0  # s


class Mouth:
    name = "mouth"
    model_loaded = True

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        if not text:
            raise ValueError("blank")
        return SynthesisResult(CLIP, text, "alice") if text != "?" else None

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        yield CLIP
        yield CLIP

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class Ears:
    name = "ears"
    model_loaded = True

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        return TranscriptionResult("bonjour", "fr", [])

    async def is_available(self) -> bool:
        return True


async def spoken(analytics: AnalyticsMiddleware, *texts: str, **config: Any) -> None:
    tts = Chain(analytics).wrap(Mouth())
    for text in texts:
        await tts.synthesize(text, config)


@pytest.mark.anyio
async def test_nothing_is_counted_before_the_first_call() -> None:
    empty = AnalyticsMiddleware().statistics()
    assert empty == AnalyticsStatistics(0, 0, 0, 0.0, 0, {}, {}, {}, {}, {}, {}, {})
    assert empty.error_rate == 0.0


@pytest.mark.anyio
async def test_calls_are_counted_by_what_they_are() -> None:
    analytics = AnalyticsMiddleware()
    await spoken(analytics, "hello", "bye", voice_id="bob", language="de")
    await spoken(analytics, "hi")
    await Chain(analytics).wrap(Ears()).transcribe(CLIP)
    counted = analytics.statistics()
    assert counted.requests == 4
    assert counted.request_types == {"tts": 3, "stt": 1}
    assert counted.engines == {"mouth": 3, "ears": 1}
    assert counted.voices == {"bob": 2, "alice": 1}
    assert counted.languages == {"de": 2, "fr": 1}
    assert counted.formats == {"pcm": 4}
    assert counted.audio_seconds == 2.0
    assert counted.characters == len("hellobyehibonjour")


@pytest.mark.anyio
async def test_errors_are_counted_by_type_and_withdrawn_calls_are_none() -> None:
    analytics = AnalyticsMiddleware()
    tts = Chain(analytics).wrap(Mouth())
    await tts.synthesize("hello", {})
    with pytest.raises(ValueError, match="blank"):
        await tts.synthesize("", {})
    with pytest.raises(EngineError):
        await tts.synthesize("?", {})
    async with aclosing(tts.stream("hello")) as chunks:
        await anext(chunks)
    counted = analytics.statistics()
    assert (counted.requests, counted.errors, counted.cancelled) == (4, 2, 1)
    assert counted.error_types == {"ValueError": 1, "EngineError": 1}
    assert counted.error_rate == 50.0
    assert counted.audio_seconds == 1.0


@pytest.mark.anyio
async def test_the_contracts_names() -> None:
    analytics = AnalyticsMiddleware()
    await spoken(analytics, "hello")
    with pytest.raises(ValueError, match="blank"):
        await spoken(analytics, "", language="en")
    summary = analytics.get_statistics()
    (hour,) = summary.pop("hourly_usage")
    assert len(hour) == len("2026-11-23_18")
    assert summary == {
        "total_requests": 2,
        "total_errors": 1,
        "error_rate": 50.0,
        "request_counts": {"tts": 2},
        "error_counts": {"ValueError": 1},
        "voice_usage": {"alice": 1},
        "format_usage": {"pcm": 1},
        "total_cancelled": 0,
        "engine_usage": {"mouth": 2},
        "language_usage": {"en": 1},
        "audio_seconds": 0.5,
        "characters": 5,
    }


@pytest.mark.anyio
async def test_reading_changes_nothing_and_what_is_read_is_a_copy() -> None:
    analytics = AnalyticsMiddleware()
    await spoken(analytics, "hello")
    before = analytics.statistics()
    before.voices["forged"] = 9
    before.hours.clear()
    assert analytics.statistics() == analytics.statistics()
    assert analytics.get_statistics() == analytics.get_statistics()
    assert analytics.statistics().voices == {"alice": 1}
    await spoken(analytics, "hello")
    assert analytics.statistics().voices == {"alice": 2}
    assert analytics.failures == 0


@pytest.mark.anyio
async def test_keys_over_the_bound_are_counted_together() -> None:
    analytics = AnalyticsMiddleware(max_keys=2)
    for voice in ("a", "b", "c", "d", "a"):
        await spoken(analytics, "hello", voice_id=voice)
    assert analytics.statistics().voices == {"a": 2, "b": 1, "other": 2}


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.none()
        | st.text(max_size=200)
        | st.integers()
        | st.lists(st.integers(), max_size=2)
        | st.just("\x1b[2J\n" * 50),
        max_size=30,
    )
)
def test_whatever_a_client_sends_memory_is_bounded(voices: list[Any]) -> None:
    analytics = AnalyticsMiddleware(max_keys=5)

    async def call() -> None:
        tts = Chain(analytics).wrap(Mouth())
        for voice in voices:
            await tts.synthesize("hello", {"voice_id": voice, "language": voice})

    anyio.run(call)
    counted = analytics.statistics()
    assert analytics.failures == 0
    assert counted.requests == len(voices)
    assert sum(counted.voices.values()) == len(voices)  # without a voice it is "alice"
    for counts in (counted.voices, counted.languages):
        assert len(counts) <= 6
        assert all(len(key) <= 64 and key.isprintable() for key in counts)


@pytest.mark.anyio
async def test_calls_are_counted_by_the_hour_for_the_last_hours_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    analytics = AnalyticsMiddleware(hours=2)
    original = AnalyticsMiddleware._add

    async def at(now: float) -> None:
        def dated(self: AnalyticsMiddleware, context: Any, *rest: Any) -> None:
            context.start_time = now
            original(self, context, *rest)

        monkeypatch.setattr(AnalyticsMiddleware, "_add", dated)
        await spoken(analytics, "hello")

    for now in (0.0, 5 * HOUR - 1, 5 * HOUR, 5.9 * HOUR, 0.5 * HOUR):
        await at(now)
    hours = analytics.statistics().hours
    assert hours == {"1970-01-01_04": 1, "1970-01-01_05": 2}
    assert list(hours) == sorted(hours)


def test_one_instance_serves_event_loops_in_several_threads() -> None:
    analytics = AnalyticsMiddleware()

    def many() -> None:
        anyio.run(lambda: spoken(analytics, *["hello"] * 200))

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = analytics.statistics()
    assert (counted.requests, counted.voices) == (800, {"alice": 800})


class TestAnalyticsPromises(MiddlewareSuite):
    def middleware(self) -> AnalyticsMiddleware:
        return AnalyticsMiddleware()


class TestAnalyticsPromisesWithAStore(MiddlewareSuite):
    def middleware(self) -> AnalyticsMiddleware:
        return AnalyticsMiddleware(store=InMemoryAnalyticsStore())


@pytest.mark.parametrize("option", ["max_keys", "hours"])
def test_bounds_without_sense_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        AnalyticsMiddleware(**{option: 0})  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_a_store_is_told_of_what_is_counted() -> None:
    store = InMemoryAnalyticsStore(identifiers=True)
    analytics = AnalyticsMiddleware(store=store)
    tts = Chain(analytics).wrap(Mouth())
    await tts.synthesize("hello", {})
    with pytest.raises(ValueError, match="blank"):
        await tts.synthesize("", {})
    async with aclosing(tts.stream("hi")) as chunks:
        await anext(chunks)
    withdrawn, failed, done = await store.recent()
    assert (withdrawn.outcome, withdrawn.streaming, withdrawn.n_results) == ("cancelled", True, 1)
    assert (failed.outcome, failed.error_type) == ("error", "ValueError")
    assert (done.outcome, done.voice, done.audio_seconds) == ("completed", "alice", 0.5)
    assert done.engine == "mouth"
    assert done.time_to_first_result is not None
    counted, usage = analytics.statistics(), await store.usage()
    assert (usage.calls, usage.errors, usage.cancelled) == (3, 1, 1)
    assert (counted.requests, counted.errors, counted.cancelled) == (3, 1, 1)
    assert (usage.characters, usage.audio_seconds) == (
        counted.characters,
        counted.audio_seconds,
    )


@pytest.mark.anyio
async def test_a_store_in_a_file_outlasts_the_chain(tmp_path: Path) -> None:
    async with SQLiteAnalyticsStore(tmp_path / "analytics.db") as store:
        analytics = AnalyticsMiddleware(store=store)
        await spoken(analytics, "hello", "bye", voice_id="bob")
    async with SQLiteAnalyticsStore(tmp_path / "analytics.db") as store:
        assert [(each.name, each.usage.calls) for each in await store.voices()] == [("bob", 2)]
    await spoken(analytics, "a closed store fails no call")
    assert analytics.failures == 0
    assert store.statistics().failed == 0


@pytest.mark.anyio
async def test_a_store_that_fails_breaks_no_call_and_no_count() -> None:
    class Broken(InMemoryAnalyticsStore):
        def __call__(self, details: object, /) -> None:
            raise RuntimeError("broken")

    analytics = AnalyticsMiddleware(store=Broken())
    await spoken(analytics, "hello")
    assert analytics.statistics().requests == 1
    assert analytics.failures == 1


@pytest.mark.anyio
async def test_voices_are_called_what_others_may_see() -> None:
    def hidden(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.pseudonym = lambda name: f"<{len(name)}>"
        return call_next(context)

    store = InMemoryAnalyticsStore()
    analytics = AnalyticsMiddleware(store=store)
    tts = Chain(hidden, analytics).wrap(Mouth())
    await tts.synthesize("hello", {})
    await tts.synthesize("hello", {"voice_id": 5})
    assert analytics.statistics().voices == {"<5>": 1, "int": 1}
    assert {each.name for each in await store.voices()} == {"<5>", "<3>"}

    named = AnalyticsMiddleware(store=(own := InMemoryAnalyticsStore()), pseudonymous=False)
    await Chain(hidden, named).wrap(Mouth()).synthesize("hello", {})
    assert named.statistics().voices == {"alice": 1}
    assert {each.name for each in await own.voices()} == {"alice"}


@pytest.mark.anyio
async def test_a_call_without_a_voice_has_none() -> None:
    def hidden(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.pseudonym = str.upper
        return call_next(context)

    analytics = AnalyticsMiddleware()
    await Chain(hidden, analytics).wrap(Ears()).transcribe(CLIP)
    assert analytics.statistics().voices == {}
