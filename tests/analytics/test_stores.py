"""What every analytics store keeps, and how it answers: in memory and in a file alike."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_stts.analytics import (
    AnalyticsStore,
    ErrorCount,
    InMemoryAnalyticsStore,
    Percentiles,
    Period,
    SQLiteAnalyticsStore,
    Trend,
    Usage,
    UsageOf,
)
from realtime_stts.instrumentation import CallDetails, LoadDetails, Sensitivity, sensitivity
from realtime_stts.testing import no_leaks

pytestmark = pytest.mark.anyio

HOUR = 3600.0  # s
DAY = 24 * HOUR
NOW = 20_000 * DAY + 18 * HOUR  # s since the epoch: six in the evening, UTC

Store = InMemoryAnalyticsStore | SQLiteAnalyticsStore
Make = Callable[..., Store]


@pytest.fixture(params=["in memory", "SQLite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def made(**options: Any) -> Store:
        options = {"clock": lambda: NOW, **options}
        if request.param == "in memory":
            return InMemoryAnalyticsStore(**options)
        return SQLiteAnalyticsStore(tmp_path / "analytics.db", **options)

    return made


def call(**facts: Any) -> CallDetails:
    """Half a second of speech, made without trouble an hour ago."""
    usual: dict[str, Any] = {
        "request_type": "tts",
        "engine": "mouth",
        "streaming": False,
        "outcome": "completed",
        "started_at": NOW - HOUR,
        "duration": 0.25,
        "request_id": "r1",
        "audio_seconds": 0.5,
        "characters": 10,
    }
    return CallDetails(**usual | facts)


def failed(error_type: str, **facts: Any) -> CallDetails:
    return call(outcome="error", error_type=error_type, audio_seconds=0.0, **facts)


async def told(store: Store, *calls: CallDetails) -> None:
    for each in calls:
        store(each)
    await store.flush()


async def test_a_store_is_one(make: Make) -> None:
    assert isinstance(make(), AnalyticsStore)


async def test_an_empty_store_answers_with_nothing(make: Make) -> None:
    async with no_leaks(), make() as store:
        assert await store.usage() == Usage()
        assert Usage().error_rate == 0.0
        assert await store.voices() == await store.errors() == await store.daily() == ()
        assert await store.recent() == ()
        assert await store.percentiles() == Percentiles("duration", 0, None, None, None, {})
        trend = await store.trend(days=2)
        assert trend.change() is None
        assert [day.usage for day in trend.days] == [Usage(), Usage()]


async def test_usage_is_what_was_asked_for_and_how_it_ended(make: Make) -> None:
    async with make() as store:
        await told(
            store,
            call(),
            failed("EngineError"),
            call(outcome="cancelled", audio_seconds=0.25),
            call(request_type="stt", engine="ears", audio_seconds=2.0, characters=5),
        )
        assert await store.usage() == Usage(
            calls=4, errors=1, cancelled=1, audio_seconds=2.75, characters=35
        )
        assert (await store.usage()).error_rate == 25.0
        assert (await store.usage(request_type="stt")).calls == 1
        assert (await store.usage(engine="mouth")).calls == 3
        assert await store.usage(engine="mouth", request_type="stt") == Usage()
        assert (await store.usage(engine=None, since=None)).calls == 4


async def test_a_time_has_a_beginning_that_is_in_it_and_an_end_that_is_not(make: Make) -> None:
    async with make() as store:
        await told(store, *[call(started_at=NOW - n * HOUR) for n in (1, 2, 3)])
        assert (await store.usage(since=NOW - 2 * HOUR)).calls == 2
        assert (await store.usage(until=NOW - 2 * HOUR)).calls == 1
        assert (await store.usage(since=NOW - 3 * HOUR, until=NOW - HOUR)).calls == 2


async def test_engines_voices_formats_and_languages_the_most_used_first(make: Make) -> None:
    async with make() as store:
        await told(
            store,
            call(voice="zoe", language="de", audio_format="pcm"),
            call(voice="bob", language="en", audio_format="pcm", engine="other"),
            call(voice="bob", language="en", audio_format="wav"),
            call(voice="amy"),
        )
        assert [(each.name, each.usage.calls) for each in await store.voices()] == [
            ("bob", 2),
            ("amy", 1),
            ("zoe", 1),
        ]
        assert await store.languages(limit=1) == (UsageOf("en", Usage(2, 0, 0, 1.0, 20)),)
        assert [each.name for each in await store.formats()] == ["pcm", "wav"]
        assert [each.name for each in await store.engines()] == ["mouth", "other"]
        assert [each.name for each in await store.voices(engine="other")] == ["bob"]


async def test_errors_by_class_the_most_frequent_first(make: Make) -> None:
    async with make() as store:
        await told(
            store,
            failed("EngineTimeoutError", started_at=NOW - 9 * HOUR),
            failed("ValueError", started_at=NOW - 1 * HOUR),
            failed("EngineTimeoutError", started_at=NOW - 5 * HOUR),
            failed("EngineTimeoutError", started_at=NOW - 7 * HOUR),
            call(),
        )
        assert await store.errors() == (
            ErrorCount("EngineTimeoutError", 3, NOW - 5 * HOUR),
            ErrorCount("ValueError", 1, NOW - 1 * HOUR),
        )
        assert len(await store.errors(limit=1)) == 1


async def test_hours_and_days_are_those_of_utc(make: Make) -> None:
    async with make() as store:
        midnight = 20_000 * DAY
        starts = (midnight - 1.0, midnight, midnight + 59.0, midnight + HOUR)
        await told(store, *[call(started_at=start) for start in starts])
        assert [(hour.start, hour.usage.calls) for hour in await store.hourly()] == [
            (midnight - HOUR, 1),
            (midnight, 2),
            (midnight + HOUR, 1),
        ]
        yesterday, today = await store.daily()
        assert (yesterday.usage.calls, today.usage.calls) == (1, 3)
        assert today.date == datetime(2024, 10, 4, tzinfo=timezone.utc)
        assert await store.daily(limit=1) == (today,)


async def test_percentiles_are_measured_values_by_nearest_rank(make: Make) -> None:
    async with make() as store:
        await told(store, *[call(duration=n / 4) for n in range(100, 0, -1)])
        found = await store.percentiles("duration", ranks=(1, 50, 99.5, 100))
        assert found == Percentiles(
            "duration", 100, 12.625, 0.25, 25.0, {1: 0.25, 50: 12.5, 99.5: 25.0, 100: 25.0}
        )
        assert (await store.percentiles("queue_wait")).calls == 0


async def test_only_calls_that_have_a_measure_are_in_its_percentiles(make: Make) -> None:
    async with make() as store:
        await told(
            store,
            call(time_to_first_result=0.125, engine_time=1.0, queue_wait=2.0),
            call(audio_seconds=0.0),
        )
        for measure, value in (("time_to_first_result", 0.125), ("rtf", 2.0), ("queue_wait", 2.0)):
            found = await store.percentiles(measure, ranks=[50])  # type: ignore[arg-type]
            assert (found.calls, found.values) == (1, {50: value})


async def test_a_trend_is_whole_days_beside_as_many_before(make: Make) -> None:
    async with make() as store:
        midnight = 20_000 * DAY
        days = [0.5, 0.5, 0.5, -0.5, -1.1, -1.5, -3.0]  # by how many they are after midnight
        await told(store, *[call(started_at=midnight + day * DAY) for day in days])
        trend = await store.trend(days=2)
        # The last day ends at six in the evening; so does the last one of the span before.
        assert trend == Trend(
            days=(
                Period(midnight - DAY, Usage(1, 0, 0, 0.5, 10)),
                Period(midnight, Usage(3, 0, 0, 1.5, 30)),
            ),
            usage=Usage(4, 0, 0, 2.0, 40),
            previous=Usage(2, 0, 0, 1.0, 20),
        )
        assert trend.change() == 100.0
        assert trend.change("errors") is None
        earlier = await store.trend(days=1, until=midnight - DAY, engine="mouth")
        assert [day.start for day in earlier.days] == [midnight - 2 * DAY]
        assert (earlier.usage.calls, earlier.previous.calls) == (2, 1)
        assert earlier.change("characters") == 100.0


async def test_recent_calls_are_as_they_were_told(make: Make) -> None:
    first = call(
        streaming=True,
        time_to_first_result=0.1,
        consumer_time=1.0,
        n_results=7,
        queue_wait=0.5,
        attempts=3,
        cache="miss",
        voice="bob",
        language="de",
        audio_format="pcm",
    )
    second = failed("EngineError", started_at=NOW - 2 * HOUR)
    async with make(identifiers=True) as store:
        await told(store, first, second)
        assert await store.recent() == (second, first)
        assert await store.recent(limit=1) == (second,)
        assert await store.recent(since=NOW - HOUR) == (first,)
        assert (await store.recent())[1].streaming is True


async def test_persons_are_kept_only_on_request(make: Make) -> None:
    whole = call(voice="bob", session_id="s1", subject="alice")
    store = make()
    await told(store, whole)
    assert await store.recent() == (replace(whole, request_id="", session_id=None, subject=None),)
    await store.aclose()


async def test_or_everything_or_nothing_about_them(tmp_path: Path) -> None:
    whole = call(voice="bob", session_id="s1", subject="alice")
    everything = {"identifiers": True, "subjects": True}
    for store in (
        InMemoryAnalyticsStore(**everything, clock=lambda: NOW),
        SQLiteAnalyticsStore(tmp_path / "all.db", **everything, clock=lambda: NOW),
    ):
        await told(store, whole)
        assert await store.recent() == (whole,)
        await store.aclose()
    nothing = InMemoryAnalyticsStore(voices=False, clock=lambda: NOW)
    await told(nothing, whole)
    assert await nothing.voices() == ()


async def test_every_fact_is_kept_as_its_sensitivity_says() -> None:
    """A new fact about a person is not kept without a decision; another is not forgotten."""
    facts = {each.name: f"a {each.name}" for each in fields(CallDetails)}
    numbers = {name for name, value in vars_of(call()).items() if isinstance(value, (int, float))}
    facts |= dict.fromkeys(numbers | {"time_to_first_result", "queue_wait"}, 1.0)  # type: ignore[arg-type]
    store = InMemoryAnalyticsStore(retention_days=None)
    await told(store, CallDetails(**facts))  # type: ignore[arg-type]
    (kept,) = await store.recent()
    lost = {name for name, value in vars_of(kept).items() if value != facts[name]}
    personal = {
        each.name
        for each in fields(CallDetails)
        if sensitivity(CallDetails, each.name) is not Sensitivity.OPERATIONAL
    }
    assert lost == personal - {"voice"}


def vars_of(details: CallDetails) -> dict[str, Any]:
    return {each.name: getattr(details, each.name) for each in fields(details)}


async def test_reading_changes_nothing_and_answers_are_values(make: Make) -> None:
    async with make() as store:
        await told(store, call(voice="bob"), failed("ValueError"))

        async def everything() -> list[Any]:
            return [
                await store.usage(),
                await store.voices(),
                await store.errors(),
                await store.hourly(),
                await store.percentiles(),
                await store.trend(),
                await store.recent(),
            ]

        assert await everything() == await everything()
        with pytest.raises(FrozenInstanceError):
            (await store.usage()).calls = 9  # type: ignore[misc]


async def test_what_is_too_old_is_in_no_answer(make: Make) -> None:
    async with make(retention_days=1) as store:
        await told(store, call(started_at=NOW - DAY - 1, voice="old"), call(voice="new"))
        assert (await store.usage()).calls == 1
        assert [each.name for each in await store.voices(since=0.0)] == ["new"]
        assert len(await store.recent()) == 1


async def test_without_a_limit_everything_is_kept(make: Make) -> None:
    async with make(retention_days=None) as store:
        await told(store, call(started_at=0.0))
        assert (await store.usage()).calls == 1


async def test_only_calls_are_kept(make: Make) -> None:
    async with make() as store:
        store(LoadDetails(engine="ears", outcome="completed", started_at=NOW, duration=1.0))
        await told(store, call())
        assert (await store.usage()).calls == 1
        assert store.statistics().written == 1


@pytest.mark.parametrize(
    "facts",
    [
        {"duration": math.nan},
        {"duration": None},
        {"duration": "long"},
        {"engine": None},
        {"voice": 5},
        {"characters": 2**63},
        {"queue_wait": [1]},
        {"started_at": -1.0},
        {"audio_seconds": "long"},
    ],
    ids=repr,
)
async def test_what_cannot_be_kept_is_counted_and_the_rest_goes_on(
    make: Make, facts: dict[str, Any]
) -> None:
    async with make() as store:
        await told(store, call(**facts))
        await told(store, call(), call(**facts), call())
        assert (await store.usage()).calls == 2
        statistics = store.statistics()
        assert (statistics.written, statistics.failed, statistics.dropped) == (2, 2, 0)


async def test_what_clients_choose_is_short_and_printable(make: Make) -> None:
    async with make() as store:
        await told(
            store,
            call(voice="a" * 1000),
            call(voice="\x1b[2J\n"),
            call(voice="\ud800\0"),
            call(voice="", queue_wait=math.inf),
            call(engine="two\nlines"),
        )
        names = [each.name for each in await store.voices()]
        assert names == [r"\ud800\x00", r"\x1b[2J\n", "a" * 128]
        assert (await store.usage(engine="two\nlines")).calls == 1


async def test_a_closed_store_takes_no_more_and_still_answers(make: Make) -> None:
    async with make() as store:
        store(call())
    store(call())
    await store.flush()
    await store.aclose()
    assert (await store.usage()).calls == 1
    assert (store.statistics().written, store.statistics().dropped) == (1, 1)
    with pytest.raises(RuntimeError, match="closed"):
        async with store:
            pass


async def test_a_store_serves_threads_and_event_loops(make: Make) -> None:
    store = make()

    async def client() -> None:
        for _ in range(100):
            store(call())
        await store.flush()
        assert (await store.usage()).calls >= 100

    threads = [threading.Thread(target=anyio.run, args=(client,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (await store.usage()).calls == 400
    await store.aclose()


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.usage(since=math.nan),
        lambda store: store.usage(until="today"),
        lambda store: store.usage(engine=5),
        lambda store: store.voices(limit=0),
        lambda store: store.errors(limit=-1),
        lambda store: store.hourly(limit=0),
        lambda store: store.recent(limit=0),
        lambda store: store.percentiles("text"),
        lambda store: store.percentiles(ranks=(0,)),
        lambda store: store.percentiles(ranks=(50, 101)),
        lambda store: store.trend(days=0),
        lambda store: store.trend(until=math.inf),
        lambda store: store.trend(since=0.0),
    ],
)
async def test_questions_without_sense_are_refused(make: Make, ask: Callable[[Any], Any]) -> None:
    async with make() as store:
        with pytest.raises(ValueError, match=r"must be|one of|rank is|trend"):
            await ask(store)
        with pytest.raises(TypeError, match="voice"):
            await store.usage(voice="bob")  # type: ignore[call-arg]


@pytest.mark.parametrize("days", [0, -1, math.nan, math.inf])
async def test_a_retention_without_sense_is_refused(make: Make, days: float) -> None:
    with pytest.raises(ValueError, match="retention_days"):
        make(retention_days=days)


async def test_memory_holds_the_last_events_only() -> None:
    store = InMemoryAnalyticsStore(max_events=3, clock=lambda: NOW)
    await told(store, *[call(voice=str(n)) for n in range(5)])
    assert [each.voice for each in await store.recent()] == ["4", "3", "2"]
    with pytest.raises(ValueError, match="max_events"):
        InMemoryAnalyticsStore(max_events=0)


# Amounts are eighths, so that sums of them are the same in any order.
EIGHTHS = st.integers(0, 80).map(lambda n: n / 8)
TIMES = st.integers(0, 8 * 24 * 4).map(lambda n: NOW - n * HOUR / 4) | st.just(NOW + DAY)
NAMES = st.sampled_from(["a", "b", "\u00e9", "\U0001f600", "z\n"])
CALLS = st.builds(
    call,
    request_type=st.sampled_from(["stt", "tts", "response"]),
    engine=NAMES | st.just(""),
    streaming=st.booleans(),
    outcome=st.sampled_from(["completed", "cancelled"]),
    started_at=TIMES,
    duration=EIGHTHS,
    time_to_first_result=st.none() | EIGHTHS,
    engine_time=EIGHTHS,
    audio_seconds=st.sampled_from([0.0, 0.25, 1.0, 2.0]),
    characters=st.integers(0, 100),
    voice=st.none() | NAMES,
    language=st.none() | NAMES | st.text(max_size=200),
    audio_format=st.none() | NAMES,
    queue_wait=st.none() | EIGHTHS,
    attempts=st.integers(1, 3),
    cache=st.none() | st.just("hit"),
) | st.builds(failed, NAMES, started_at=TIMES)
SELECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "since": st.none() | TIMES,
        "until": st.none() | TIMES,
        "request_type": st.none() | st.sampled_from(["stt", "tts"]),
        "engine": st.none() | NAMES,
    },
)


@settings(max_examples=60)
@given(
    calls=st.lists(CALLS, max_size=25),
    selections=st.lists(SELECTIONS, min_size=1, max_size=4),
    limit=st.integers(1, 5),
    days=st.integers(1, 4),
    measure=st.sampled_from(["duration", "time_to_first_result", "queue_wait", "rtf"]),
    ranks=st.lists(st.floats(0.1, 100.0), max_size=3),
)
def test_in_memory_and_in_a_file_the_answers_are_the_same(
    calls: list[CallDetails],
    selections: list[dict[str, Any]],
    limit: int,
    days: int,
    measure: Any,
    ranks: list[float],
) -> None:
    async def answers(store: AnalyticsStore, only: dict[str, Any]) -> list[Any]:
        until = {name: value for name, value in only.items() if name != "since"}
        return [
            await store.usage(**only),
            await store.engines(limit, **only),
            await store.voices(limit, **only),
            await store.formats(limit, **only),
            await store.languages(limit, **only),
            await store.errors(limit, **only),
            await store.hourly(limit, **only),
            await store.daily(limit, **only),
            await store.percentiles(measure, ranks, **only),
            await store.trend(days, **until),
            await store.recent(limit, **only),
        ]

    async def compare() -> None:
        in_memory = InMemoryAnalyticsStore(clock=lambda: NOW, retention_days=7)
        with tempfile.TemporaryDirectory() as folder:
            in_file = SQLiteAnalyticsStore(
                Path(folder, "analytics.db"), clock=lambda: NOW, retention_days=7
            )
            async with in_memory, in_file:
                await told(in_memory, *calls)
                await told(in_file, *calls)
                for only in selections:
                    assert await answers(in_memory, only) == await answers(in_file, only)

    anyio.run(compare)
