"""The database: how it is opened, and how an older one becomes one of today.

A database says by its ``application_id`` that it is one of ours and by its ``user_version``
which schema it has. Each step to the next schema is one transaction: it is there or it is not.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from ..errors import SettingsError
from ._event import Event

__all__ = [
    "ROWS_AT_ONCE",
    "VERSION",
    "insert",
    "open_for_reading",
    "open_for_writing",
    "prepare",
    "transaction",
]

_APPLICATION: Final = 0x52545354  # "RTST"
_PATIENCE: Final = 5.0  # s that another process may hold the database
_MAX_WAL: Final = 4 * 2**20  # bytes of the write-ahead log that are kept once it is empty
_PRIVATE: Final = 0o600  # voices are personal data: the file is its owner's

# What leads from each version to the next, beginning with an empty database.
_STEPS: Final = (
    (
        f"PRAGMA application_id = {_APPLICATION}",
        """
        CREATE TABLE calls (
            id INTEGER PRIMARY KEY,
            request_type TEXT NOT NULL,
            engine TEXT NOT NULL,
            streaming INTEGER NOT NULL,
            outcome TEXT NOT NULL,
            started_at REAL NOT NULL, -- s since the epoch
            duration REAL NOT NULL, -- s, as all times
            engine_time REAL NOT NULL,
            consumer_time REAL NOT NULL,
            audio_seconds REAL NOT NULL,
            characters INTEGER NOT NULL,
            n_results INTEGER NOT NULL,
            error_type TEXT,
            time_to_first_result REAL,
            language TEXT,
            audio_format TEXT,
            voice TEXT,
            request_id TEXT,
            session_id TEXT,
            subject TEXT
        )
        """,
        "CREATE INDEX calls_started_at ON calls (started_at)",
    ),
    (
        "ALTER TABLE calls ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE calls ADD COLUMN queue_wait REAL",
        "ALTER TABLE calls ADD COLUMN cache TEXT",
        "ALTER TABLE calls ADD COLUMN rtf REAL",
        "UPDATE calls SET rtf = engine_time / audio_seconds WHERE audio_seconds > 0",
    ),
)
VERSION: Final = len(_STEPS)

# Rows of one statement. Between two statements a writer has to get Python's lock again, which
# takes 5 ms while another thread computes: with one row each, that leaves it 200 rows/s.
# Older SQLites take at most 999 parameters.
ROWS_AT_ONCE: Final = 999 // len(Event._fields)


@cache
def insert(n_rows: int) -> str:
    """What writes so many events; its parameters are their facts, one event after the other."""
    row = f"({', '.join('?' * len(Event._fields))})"
    return f"INSERT INTO calls ({', '.join(Event._fields)}) VALUES {', '.join([row] * n_rows)}"


def prepare(path: Path) -> None:
    """Make sure that there is a database of today's schema at ``path``.

    Raises:
        SettingsError: As of `open_for_writing`.
    """
    open_for_writing(path).close()


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The database at ``path``, for the thread that calls this; made if there is none.

    Raises:
        SettingsError: It cannot be opened, is something else, or comes from a newer version
            of this library. What is there is left as it is.
    """
    try:
        _create(path)
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=rw", uri=True, timeout=_PATIENCE, isolation_level=None
        )
        try:
            _set_up(connection, path)
        except BaseException:
            connection.close()
            raise
    except (OSError, sqlite3.Error) as error:
        raise SettingsError({"path": f"{path} cannot be used: {error}"}) from error
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """The database at ``path``, so that nothing can be changed.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    return sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE, isolation_level=None
    )


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Generator[None]:
    """All that happens inside, or nothing of it."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # some errors have ended it
            connection.execute("ROLLBACK")


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    with transaction(connection, "DEFERRED"):  # not half of what another process just makes
        version = _version(connection, path)
    _write_ahead(connection)
    # A killed process loses nothing that is committed; with the power, the last commits may go.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {_MAX_WAL}")
    while version < VERSION:
        with transaction(connection):
            version = _version(connection, path)  # another process may have been faster
            if version < VERSION:
                for statement in _STEPS[version]:
                    connection.execute(statement)
                version += 1
                connection.execute(f"PRAGMA user_version = {version}")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version: int
    application, version, tables = [
        _value(connection, sql)
        for sql in (
            "PRAGMA application_id",
            "PRAGMA user_version",
            "SELECT COUNT(*) FROM sqlite_master",
        )
    ]
    if not application and not version and not tables:
        return 0
    if application != _APPLICATION:
        raise SettingsError({"path": f"{path} is a database of something else"})
    if version > VERSION:
        raise SettingsError(
            {
                "path": f"{path} was written by a newer version of this library: its schema is "
                f"{version}, and {VERSION} is the newest known here"
            }
        )
    return version


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers read while one writes. The mode lasts; only the first opening sets it."""
    limit = monotonic() + _PATIENCE
    while _value(connection, "PRAGMA journal_mode") != "wal":
        # While another process does the same it fails: for that SQLite does not wait itself.
        last = monotonic() >= limit
        with nullcontext() if last else suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
            return
        sleep(0.01)  # s


def _value(connection: sqlite3.Connection, sql: str) -> Any:
    with closing(connection.execute(sql)) as cursor:
        return cursor.fetchone()[0]
