"""What it costs to keep analytics: on the event loop, in the writer and in the reader.

100,000 calls are told to a store in a file as fast as one loop can, in slices between which
others have their turn, while questions are asked all the time and a task that ticks notes how
late it is. The queue holds all of them, as nothing may be lost; a real loop has no 100,000
calls a second, so that the usual 10,000 are for a disk that hesitates.

The peer of a stall is the 20 ms that were promised. A busy machine stalls a loop by itself, so
the same is told of a loop that only ticks, and without the time in which the loop's thread got
no core. The peer of the writing is the same rows by ``executemany`` into the same table,
alone, without a queue, a thread or readers.
"""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from time import perf_counter

import anyio
from anyio.lowlevel import checkpoint

from realtime_stts.analytics import InMemoryAnalyticsStore, SQLiteAnalyticsStore
from realtime_stts.analytics._event import Event, recorder
from realtime_stts.analytics._schema import insert, open_for_writing, transaction
from realtime_stts.instrumentation import CallDetails

from ._report import Row, compare, timed

_EVENTS = 100_000
_SLICE = 100  # events between two turns of the others
_TICK = 1e-3  # s
_PROMISE = 20.0  # ms
_ROUNDS = 3
_IDLE = 1.5  # s; about as long as the events take
_SCHEDULER = Path("/proc/thread-self/schedstat")
_START = 1.8e9  # s since the epoch
_SPAN = 7 * 24 * 3600.0  # s over which the calls are spread


def _call(n: int) -> CallDetails:
    return CallDetails(
        request_type="tts",
        engine="chatterbox",
        streaming=True,
        outcome="completed",
        started_at=_START + n * _SPAN / _EVENTS,
        duration=n * 7919 % 1000 / 100,
        request_id=f"r{n}",
        time_to_first_result=n * 104729 % 1000 / 1000,
        engine_time=0.5,
        audio_seconds=2.0,
        characters=40,
        n_results=10,
        voice=f"voice {n % 20}",
        language="en",
        audio_format="pcm",
    )


def run() -> list[Row]:
    calls = [_call(n) for n in range(_EVENTS)]
    gc.collect()
    gc.freeze()  # the calls are this benchmark's: a server has no 100,000 of them alive
    try:
        with tempfile.TemporaryDirectory() as folder:
            return [
                *_told(calls, Path(folder)),
                *_written_while_reading(calls, Path(folder)),
                *_asked(Path(folder, "round 0.db")),
            ]
    finally:
        gc.unfreeze()


def _told(calls: list[CallDetails], folder: Path) -> list[Row]:
    """What one call pays on the event loop."""
    in_file = SQLiteAnalyticsStore(folder / "told.db", max_queue=1, flush_interval=3600.0)
    in_memory = InMemoryAnalyticsStore()
    in_file(calls[0])  # from now on the queue is full
    rows = []
    for name, store in (("a file, queue full", in_file), ("memory", in_memory)):
        told = timed(lambda store=store: [store(call) for call in calls[:1000]], scale=1e3)
        rows.append(compare(f"telling a store in {name}", told))
    anyio.run(in_file.aclose)
    return rows


def _written_while_reading(calls: list[CallDetails], folder: Path) -> list[Row]:
    figures = [
        anyio.run(_one_round, calls, folder / f"round {number}.db") for number in range(_ROUNDS)
    ]
    alone = [_alone(calls, folder / f"alone {number}.db") for number in range(_ROUNDS)]
    late, blocked, written, putting, answers, lost = zip(*figures, strict=True)
    nothing_lost = not any(lost)
    ticking = [anyio.run(_only_ticking) for _ in range(_ROUNDS)]
    return [
        Row(
            "longest stall of a loop that only ticks: the machine's own / promised",
            ours=max(ticking),
            peer=_PROMISE,
            unit="ms",
            n=_ROUNDS,
            ours_min=min(ticking),
        ),
        Row(
            f"longest stall of the loop, {_EVENTS:,} events while reading / promised",
            ours=max(late),
            peer=_PROMISE,
            unit="ms",
            equal=nothing_lost,
            n=_ROUNDS,
            ours_min=min(late),
        ),
        Row(
            "the same without waits for a core, where the system tells / promised",
            ours=max(blocked),
            peer=_PROMISE,
            unit="ms",
            equal=nothing_lost,
            n=_ROUNDS,
            ours_min=min(blocked),
        ),
        Row("events lost", ours=sum(lost), unit="events", equal=nothing_lost, n=_ROUNDS),
        Row("telling one, turns of others included", ours=min(putting), unit="us", n=_ROUNDS),
        Row(
            "an event, until it is written / executemany alone",
            ours=sorted(written)[_ROUNDS // 2],
            peer=sorted(alone)[_ROUNDS // 2],
            unit="us",
            equal=nothing_lost,
            n=_ROUNDS,
            ours_min=min(written),
            peer_min=min(alone),
        ),
        Row("questions answered meanwhile", ours=sum(answers), unit="answers", n=_ROUNDS),
    ]


class _Ticker:
    """Notes how late an event loop is, at the worst, in ms."""

    def __init__(self) -> None:
        self.late = self.blocked = 0.0
        self.done = False

    async def tick(self) -> None:
        while not self.done:
            waited, before = _waited_for_a_core(), perf_counter()
            await anyio.sleep(_TICK)
            late = (perf_counter() - before - _TICK) * 1e3
            self.late = max(self.late, late)
            self.blocked = max(self.blocked, late - (_waited_for_a_core() - waited))


def _waited_for_a_core() -> float:
    """How long this thread could have run and was not let to, in ms. Linux counts it."""
    if not _SCHEDULER.exists():
        return 0.0
    return int(_SCHEDULER.read_text(encoding="ascii").split()[1]) / 1e6


async def _one_round(
    calls: list[CallDetails], path: Path
) -> tuple[float, float, float, float, int, int]:
    """The longest stalls in ms, us of writing and of telling for each, answers, lost events."""
    ticker, answers = _Ticker(), 0

    async def read() -> None:
        nonlocal answers
        while not ticker.done:
            await store.usage()
            await store.percentiles()
            answers += 2

    async with (
        SQLiteAnalyticsStore(path, max_queue=_EVENTS, retention_days=None) as store,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(ticker.tick)
        tasks.start_soon(read)
        start = perf_counter()
        for first in range(0, _EVENTS, _SLICE):
            for call in calls[first : first + _SLICE]:
                store(call)
            await checkpoint()
        told = perf_counter() - start
        await store.flush()
        written = perf_counter() - start
        ticker.done = True
    lost = _EVENTS - (await store.usage()).calls
    each = 1e6 / _EVENTS  # us for each event
    return ticker.late, ticker.blocked, written * each, told * each, answers, lost


async def _only_ticking() -> float:
    """The longest stall, in ms, of a loop in which nothing else happens: the machine's own."""
    ticker = _Ticker()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker.tick)
        await anyio.sleep(_IDLE)
        ticker.done = True
    return ticker.late


def _alone(calls: list[CallDetails], path: Path) -> float:
    record = recorder(voices=True, identifiers=False, subjects=False)
    connection = open_for_writing(path)
    start = perf_counter()
    for first in range(0, _EVENTS, 500):
        events: list[Event] = [record(call) for call in calls[first : first + 500]]
        with transaction(connection):
            connection.executemany(insert(1), events)
    took = perf_counter() - start
    connection.close()
    return took / _EVENTS * 1e6


def _asked(path: Path) -> list[Row]:
    """How long answers about 100,000 calls take."""
    store = SQLiteAnalyticsStore(path, retention_days=None)
    questions = {
        "usage": store.usage,
        "voices": store.voices,
        "daily": store.daily,
        "percentiles, 4 ranks": store.percentiles,
        "trend over 7 days": lambda: store.trend(until=_START + _SPAN),
        "percentiles of one day": lambda: store.percentiles(since=_START, until=_START + _SPAN / 7),
        "the last 100 calls": store.recent,
    }
    return [
        compare(
            f"{name}, of {_EVENTS:,} calls",
            timed(lambda ask=ask: anyio.run(ask), scale=1e3),
            unit="ms",
            rounds=5,
        )
        for name, ask in questions.items()
    ]
