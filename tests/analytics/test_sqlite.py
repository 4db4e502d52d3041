"""Analytics in a file: how it is opened, written, cleaned and read, and what goes wrong."""

from __future__ import annotations

import logging
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from realtime_stts.analytics import SQLiteAnalyticsStore, Usage, _schema, _writer
from realtime_stts.errors import SettingsError
from realtime_stts.instrumentation import CallDetails
from realtime_stts.testing import no_leaks

pytestmark = pytest.mark.anyio

DAY = 24 * 3600.0  # s
NOW = 20_000 * DAY  # s since the epoch

# The schema as version 1 had it.
VERSION_1 = """
    PRAGMA application_id = 0x52545354;
    CREATE TABLE calls (
        id INTEGER PRIMARY KEY, request_type TEXT NOT NULL, engine TEXT NOT NULL,
        streaming INTEGER NOT NULL, outcome TEXT NOT NULL, started_at REAL NOT NULL,
        duration REAL NOT NULL, engine_time REAL NOT NULL, consumer_time REAL NOT NULL,
        audio_seconds REAL NOT NULL, characters INTEGER NOT NULL, n_results INTEGER NOT NULL,
        error_type TEXT, time_to_first_result REAL, language TEXT, audio_format TEXT,
        voice TEXT, request_id TEXT, session_id TEXT, subject TEXT
    );
    CREATE INDEX calls_started_at ON calls (started_at);
    PRAGMA user_version = 1;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "analytics.db"


def store_at(path: Path, **options: Any) -> SQLiteAnalyticsStore:
    return SQLiteAnalyticsStore(path, **{"clock": lambda: NOW, **options})


def call(n: int = 0, started_at: float = NOW - 60.0) -> CallDetails:
    return CallDetails(
        request_type="stt",
        engine="ears",
        streaming=False,
        outcome="completed",
        started_at=started_at,
        duration=0.5,
        request_id=f"r{n}",
        characters=n,
    )


@contextmanager
def database(path: Path) -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def value(path: Path, sql: str) -> Any:
    with database(path) as connection:
        return connection.execute(sql).fetchone()[0]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for the writer without asking it to hurry, as `flush` does."""
    while not is_so():
        await anyio.to_thread.run_sync(time.sleep, 1e-3)  # of real time, as the writer's is


class Stillborn(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't start new thread")


# How it is opened


async def test_opening_makes_the_folder_and_a_file_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "what?#%20.db"
    store = store_at(path)
    assert not path.parent.exists()  # nothing happens before
    async with no_leaks(), store:
        assert path.is_file()
        if sys.platform != "win32":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert value(path, "PRAGMA user_version") == _schema.VERSION
    assert value(path, "PRAGMA journal_mode") == "wal"


async def test_what_was_told_is_there_the_next_time(path: Path) -> None:
    for n in range(3):
        async with store_at(path) as store:
            assert (await store.usage()).calls == n
            store(call())
    assert value(path, "SELECT COUNT(*) FROM calls") == 3


async def test_it_need_not_be_opened_first(path: Path) -> None:
    async with no_leaks():
        store = store_at(path)
        store(call())
        await store.aclose()
    assert (await store_at(path).usage()).calls == 1
    await store_at(path).aclose()  # nor need there have been anything


def no_database(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 500)


def database_of_something_else(path: Path) -> None:
    with database(path) as connection:
        connection.execute("CREATE TABLE diary (entry TEXT)")


def database_of_a_newer_version(path: Path) -> None:
    _schema.prepare(path)
    with database(path) as connection:
        connection.execute(f"PRAGMA user_version = {_schema.VERSION + 7}")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (no_database, "not a database"),
        (database_of_something_else, "something else"),
        (database_of_a_newer_version, "newer version"),
    ],
)
async def test_what_is_no_file_of_ours_is_refused_and_left_as_it_is(
    path: Path, make: Any, says: str
) -> None:
    make(path)
    before = path.read_bytes()  # noqa: ASYNC240
    store = store_at(path)
    with pytest.raises(SettingsError, match=says) as raised:
        async with store:
            pass
    assert list(raised.value.problems) == ["path"]
    with pytest.raises(SettingsError, match=says):
        await store.usage()
    store(call())
    await store.flush()
    await store.aclose()
    assert store.statistics().failed == 1
    assert path.read_bytes() == before  # noqa: ASYNC240


async def test_what_is_no_path_for_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "analytics.db"):
        with pytest.raises(SettingsError, match="cannot be used"):
            async with store_at(path):
                pass


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": ""}, "path"),
        ({"path": ":memory:"}, "InMemoryAnalyticsStore"),
        ({"max_queue": 0}, "max_queue"),
        ({"batch": 0}, "batch"),
        ({"flush_interval": -1.0}, "flush_interval"),
        ({"flush_interval": float("nan")}, "flush_interval"),
    ],
)
async def test_options_without_sense_are_refused(
    path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        SQLiteAnalyticsStore(**{"path": path, **options})


async def test_a_database_of_version_1_becomes_one_of_today(path: Path) -> None:
    with database(path) as connection:
        connection.executescript(VERSION_1)
        connection.executemany(
            "INSERT INTO calls VALUES (NULL, 'tts', 'mouth', 0, 'completed', ?, 1.0, 0.5, 0, ?,"
            " 9, 1, NULL, 0.25, NULL, 'pcm', 'bob', NULL, NULL, NULL)",
            [(NOW - 60.0, 2.0), (NOW - 30.0, 0.0)],
        )
    async with store_at(path) as store:
        store(call())
        await store.flush()
        assert await store.usage(engine="mouth") == Usage(2, 0, 0, 2.0, 18)
        assert (await store.percentiles("rtf", ranks=[50])).values == {50: 0.25}
        assert [details.attempts for details in await store.recent()] == [1, 1, 1]
    assert value(path, "PRAGMA user_version") == 2


async def test_a_step_that_fails_leaves_the_database_at_the_version_before(path: Path) -> None:
    with database(path) as connection:
        connection.executescript(VERSION_1)
        connection.execute("ALTER TABLE calls ADD COLUMN rtf REAL")  # in the step's way
        before = list(connection.iterdump())
    with pytest.raises(SettingsError, match="duplicate column"):
        await store_at(path).usage()
    with database(path) as connection:
        assert list(connection.iterdump()) == before
    assert value(path, "PRAGMA user_version") == 1


def test_any_number_may_open_a_new_file_at_the_same_time(path: Path) -> None:
    problems: list[BaseException] = []
    together = threading.Barrier(6)

    def open_it() -> None:
        together.wait()
        try:
            _schema.prepare(path)
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            problems.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert value(path, "PRAGMA user_version") == _schema.VERSION


def test_opening_waits_while_somebody_reads_a_file_that_is_not_yet_ours_to_share(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database(path) as connection:
        connection.executescript(VERSION_1)
        connection.execute("BEGIN")
        connection.execute("SELECT COUNT(*) FROM calls").fetchone()
        monkeypatch.setattr(_schema, "_PATIENCE", 0.0)
        with pytest.raises(SettingsError, match="locked"):
            _schema.prepare(path)
        monkeypatch.setattr(_schema, "_PATIENCE", 1e-3)
        with pytest.raises(SettingsError, match="locked"):
            _schema.prepare(path)
        moments = iter([0.0, 0.0, 0.0, 0.0])
        monkeypatch.setattr(_schema, "monotonic", lambda: next(moments))
        monkeypatch.setattr(_schema, "sleep", lambda _: connection.execute("COMMIT"))
        _schema.prepare(path)
    assert value(path, "PRAGMA journal_mode") == "wal"


# How it is written


async def test_events_beyond_the_queue_are_dropped_and_counted(path: Path) -> None:
    # The writer waits for a batch that cannot be, or a minute, so the queue fills.
    store = store_at(path, max_queue=10, flush_interval=60.0)
    async with store:
        for n in range(25):
            store(call(n))
        assert (store.statistics().queued, store.statistics().dropped) == (10, 15)
    assert (await store.usage()).characters == sum(range(10))
    statistics = store.statistics()
    assert (statistics.queued, statistics.written, statistics.dropped) == (0, 10, 15)


async def test_a_full_batch_is_written_without_waiting_for_the_time(path: Path) -> None:
    async with store_at(path, batch=5, flush_interval=60.0) as store:
        for n in range(5):
            store(call(n))
        await until(lambda: store.statistics().written == 5)


async def test_and_a_part_of_one_once_the_time_is_over(path: Path) -> None:
    async with store_at(path, flush_interval=0.01) as store:
        for n in range(2):
            store(call(n))
            await until(lambda: store.statistics().queued == 0)
    assert store.statistics().written == 2


async def test_closing_writes_what_is_queued_even_when_it_is_cancelled(path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with no_leaks(), store_at(path, flush_interval=60.0) as store:
            store(call())
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert value(path, "SELECT COUNT(*) FROM calls") == 1


async def test_twenty_thousand_events_while_they_are_read(path: Path) -> None:
    n_events, seen = 20_000, [0]
    async with store_at(path, max_queue=n_events) as store, anyio.create_task_group() as tasks:

        async def read() -> None:
            while seen[-1] < n_events:
                usage = await store.usage()
                assert usage.characters == sum(range(usage.calls))  # whole, and in order
                seen.append(usage.calls)
                await store.percentiles()

        tasks.start_soon(read)
        for n in range(n_events):
            store(call(n))
            if n % 100 == 0:
                await anyio.lowlevel.checkpoint()
        await store.flush()
    assert seen == sorted(seen)
    statistics = store.statistics()
    assert (statistics.written, statistics.dropped, statistics.failed) == (n_events, 0, 0)


async def test_while_another_process_writes_events_wait_and_questions_do_not(path: Path) -> None:
    async with store_at(path) as store:
        store(call())
        await store.flush()
        with database(path) as other:
            other.execute("BEGIN IMMEDIATE")
            store(call())
            assert (await store.usage()).calls == 1
            other.execute("COMMIT")
        await store.flush()
        assert (await store.usage()).calls == 2


async def test_what_cannot_be_written_is_counted_and_logged_once_a_minute(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with store_at(path) as store:
        store(call())
        await store.flush()
        with database(path) as other:
            other.execute("ALTER TABLE calls RENAME TO gone")
        for n in range(3):
            store(call(n))
            await store.flush()
        assert store.statistics().failed == 3
        with database(path) as other:
            other.execute("ALTER TABLE gone RENAME TO calls")
        store(call())
        await store.flush()
    assert store.statistics().written == value(path, "SELECT COUNT(*) FROM calls") == 2
    (record,) = caplog.records
    assert "no such table" in record.getMessage()


async def test_what_is_too_old_is_deleted_bit_by_bit(path: Path) -> None:
    async with store_at(path, retention_days=None) as store:
        for _ in range(2500):
            store(call(started_at=NOW - 2 * DAY))
        store(call())
    async with store_at(path, retention_days=1) as store:
        assert (await store.usage()).calls == 1  # from the beginning
        store(call())
        await until(lambda: value(path, "SELECT COUNT(*) FROM calls") == 2)


async def test_deleting_that_fails_is_tried_again_another_time(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with store_at(path) as store:
        with database(path) as other:
            other.execute("ALTER TABLE calls RENAME TO gone")
        for _ in range(2):
            store(call())
            await store.flush()
    assert store.statistics().failed == 2
    assert len(caplog.records) == 1


async def test_a_thread_that_cannot_start_is_started_with_the_next_event(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with store_at(path) as store:
        with monkeypatch.context() as patched:
            patched.setattr(_writer, "Thread", Stillborn)
            store(call())
            with pytest.raises(RuntimeError, match="start"):
                await store.flush()
        store(call())
        await store.flush()
        assert (await store.usage()).calls == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_or_what_is_queued_is_dropped_at_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "Thread", Stillborn)
    store = store_at(path)
    store(call())
    store._writer.close(timeout=1.0)
    assert store.statistics().dropped == 1


async def test_closing_does_not_wait_for_ever(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = store_at(path, batch=1, flush_interval=0.0)
    async with no_leaks():
        store(call())
        await store.flush()
        with database(path) as other:
            other.execute("BEGIN IMMEDIATE")
            for n in range(3):
                store(call(n))
            store._writer.close(timeout=0.0)
            await store.flush()
            other.execute("COMMIT")
    statistics = store.statistics()
    assert statistics.dropped >= 2  # the writer may hold one of them
    assert statistics.dropped + statistics.written == 4
    assert "not written in time" in caplog.text


# How it is read


async def test_a_question_that_is_withdrawn_ends(path: Path) -> None:
    ended = threading.Event()

    def endless(answers: Any) -> None:
        try:
            answers._connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                " SELECT SUM(i) FROM n"
            ).fetchone()
        finally:
            ended.set()

    async with store_at(path) as store:
        with anyio.move_on_after(0.05) as scope:
            await store._ask(endless)
        assert scope.cancelled_caught
        assert ended.wait(30.0)


async def test_a_file_that_cannot_be_read_is_an_error_of_the_machine(path: Path) -> None:
    async with store_at(path) as store:
        path.unlink()  # noqa: ASYNC240
        with pytest.raises(OSError, match="cannot be read"):
            await store.usage()


# What a crash leaves

WRITES_FOREVER = """
import sys, anyio
from itertools import count
from realtime_stts.analytics import SQLiteAnalyticsStore
from realtime_stts.instrumentation import CallDetails

async def main():
    n = 0
    async with SQLiteAnalyticsStore(sys.argv[1], retention_days=None, batch=50) as store:
        while True:
            for _ in range(37):
                store(CallDetails(request_type="stt", engine="ears", streaming=False,
                                  outcome="completed", started_at=float(n), duration=0.5,
                                  request_id="", characters=n))
                n += 1
            if n % 5:
                await store.flush()
                print(n, flush=True)

anyio.run(main)
"""


FORGETS_TO_CLOSE = """
import sys
from realtime_stts.analytics import SQLiteAnalyticsStore
from realtime_stts.instrumentation import CallDetails

store = SQLiteAnalyticsStore(sys.argv[1], retention_days=None)
for n in range(1200):
    store(CallDetails(request_type="stt", engine="ears", streaming=False, outcome="completed",
                      started_at=float(n), duration=0.5, request_id=""))
"""


def test_a_process_that_ends_without_closing_loses_nothing(path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORGETS_TO_CLOSE, str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("", "")
    assert value(path, "SELECT COUNT(*) FROM calls") == 1200


async def test_the_end_of_the_process_closes_what_nobody_has(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", at_exit.append)
    monkeypatch.setattr("atexit.unregister", at_exit.remove)
    async with no_leaks():
        forgotten, closed = store_at(path), store_at(path)
        assert at_exit == []  # nothing to write yet
        forgotten(call(1))
        closed(call(2))
        await closed.aclose()
        [close] = at_exit
        close()
    assert at_exit == []
    assert value(path, "SELECT COUNT(*) FROM calls") == 2


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_process_loses_nothing_that_was_flushed(path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_FOREVER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            said = [process.stdout.readline() for _ in range(random_.randint(1, 60))]
            for _ in range(random_.randint(0, 100_000)):  # into the middle of something
                pass
        finally:
            process.kill()
        said += process.stdout.read().splitlines()
        process.wait()
    with database(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        there = [n for (n,) in connection.execute("SELECT characters FROM calls ORDER BY id")]
    assert there == list(range(len(there)))  # no hole in it
    assert len(there) >= int(said[-1])

    async def goes_on() -> None:
        async with SQLiteAnalyticsStore(path, retention_days=None) as store:
            store(call())
            await store.flush()
            assert (await store.usage()).calls == len(there) + 1

    anyio.run(goes_on)
