"""The one thread that writes: from a bounded queue, in batches."""

from __future__ import annotations

import atexit
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from threading import Condition, Lock, Thread
from time import monotonic
from typing import Final

from ..instrumentation import CallDetails
from ._answers import StoreStatistics
from ._event import Event
from ._schema import ROWS_AT_ONCE, insert, open_for_writing, transaction

__all__ = ["Writer"]

_DELETED_AT_ONCE: Final = 1000  # events: some ms, in which nothing else is written
_SWEEP_INTERVAL: Final = 3600.0  # s between looking for events that are too old
_EXIT_TIMEOUT: Final = 2.0  # s; longer, and somebody thinks that the program hangs
_LOG_INTERVAL: Final = 60.0  # s: a disk that is full stays so for a while

_log = logging.getLogger(__name__)


class Writer:
    """Writes what it is given, in the order in which it was given.

    Its thread starts with the first event and ends with `close`, which the end of the process
    calls too, so that nobody who forgets it loses the last events. Only that thread touches
    the connection.

    Args:
        oldest: From when on events are kept, in seconds since the epoch; minus infinity for
            all.
    """

    def __init__(
        self,
        path: Path,
        record: Callable[[CallDetails], Event],
        oldest: Callable[[], float],
        *,
        max_queue: int,
        flush_interval: float,
        batch: int,
    ) -> None:
        self._path = path
        self._record = record
        self._oldest = oldest
        self._max_queue = max_queue
        self._flush_interval = flush_interval
        self._batch = batch
        self._lock = Lock()
        self._work = Condition(self._lock)
        self._progress = Condition(self._lock)
        # What follows is guarded by the lock.
        self._queue: deque[CallDetails] = deque()
        self._thread: Thread | None = None
        self._closing = self._given_up = False
        self._taken = self._wanted = 0  # events out of the queue; those to write at once
        self._written = self._dropped = self._failed = 0
        # And this is the thread's own.
        self._connection: sqlite3.Connection | None = None
        self._next_sweep = 0.0
        self._next_log = 0.0

    def put(self, details: CallDetails) -> None:
        """Queue an event, or count it as dropped where there is no room. Never blocks."""
        with self._lock:
            if self._closing or len(self._queue) >= self._max_queue:
                self._dropped += 1
                return
            self._queue.append(details)
            if self._thread is None:
                try:
                    self._start()
                except RuntimeError as error:  # the next event tries again
                    self._complain(error)
            elif len(self._queue) in (1, self._batch):  # it waits for the first, or for a batch
                self._work.notify()

    def statistics(self) -> StoreStatistics:
        with self._lock:
            return StoreStatistics(
                len(self._queue) + self._taken - self._written - self._failed,
                self._written,
                self._dropped,
                self._failed,
            )

    def flush(self) -> None:
        """Block until what was put so far is written, or has failed to be.

        Raises:
            RuntimeError: The system has no thread to write with.
        """
        with self._lock:
            wanted = self._taken + len(self._queue)
            if self._queue and self._thread is None:
                self._start()
            self._wanted = max(self._wanted, wanted)
            self._work.notify()
            self._progress.wait_for(
                lambda: self._written + self._failed >= wanted or self._given_up
            )

    def close(self, timeout: float) -> None:
        """Take no more, write what is queued and end the thread; within ``timeout`` seconds.

        What is not written by then is dropped.
        """
        atexit.unregister(self._close_at_exit)
        with self._lock:
            self._closing = True
            self._work.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        with self._lock:
            self._given_up = True
            self._progress.notify_all()
            if self._queue:
                _log.warning("%d analytics events were not written in time", len(self._queue))
                self._dropped += len(self._queue)
                self._queue.clear()

    def _start(self) -> None:
        thread = Thread(target=self._run, name="realtime_stts analytics writer", daemon=True)
        thread.start()
        self._thread = thread
        atexit.register(self._close_at_exit)

    def _close_at_exit(self) -> None:
        self.close(_EXIT_TIMEOUT)

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._write(batch)
            self._forget()
        self._disconnect()

    def _next_batch(self) -> Sequence[CallDetails] | None:
        """Events, none when it is time to sweep, or None at the end."""
        with self._lock:
            self._work.wait_for(lambda: self._queue or self._closing, self._until_sweep())
            if self._queue:
                self._work.wait_for(self._is_urgent, self._flush_interval)
            elif self._closing:
                return None
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._batch))]
            self._taken += len(batch)
            return batch

    def _is_urgent(self) -> bool:
        return len(self._queue) >= self._batch or self._wanted > self._taken or self._closing

    def _write(self, batch: Sequence[CallDetails]) -> None:
        written = 0
        if batch:
            try:
                connection = self._connected()
                with transaction(connection):
                    written = self._insert(connection, batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next are to be written
                self._complain(error)
                self._disconnect()
                written = 0
        with self._lock:
            self._written += written
            self._failed += len(batch) - written
            self._progress.notify_all()

    def _insert(self, connection: sqlite3.Connection, batch: Sequence[CallDetails]) -> int:
        """Write what can be kept of a batch; how many that is."""
        written = 0
        for start in range(0, len(batch), ROWS_AT_ONCE):
            # Events are made bit by bit, so that event loops never wait for Python's lock while
            # a whole batch is made: SQLite works without it.
            some = batch[start : start + ROWS_AT_ONCE]
            rows = [event for each in some if (event := self._recorded(each))]
            if rows:
                connection.execute(insert(len(rows)), [*chain.from_iterable(rows)])
            written += len(rows)
        return written

    def _recorded(self, details: CallDetails) -> Event | None:
        try:
            return self._record(details)
        except ValueError as error:
            self._complain(error)
            return None

    def _forget(self) -> None:
        """Delete some of what is too old; the rest after the next batch."""
        if self._until_sweep() > 0.0 or self._closing:
            return
        deleted = 0
        try:
            connection = self._connected()
            with transaction(connection):
                deleted = connection.execute(
                    "DELETE FROM calls WHERE id IN "
                    "(SELECT id FROM calls WHERE started_at < ? LIMIT ?)",
                    (self._oldest(), _DELETED_AT_ONCE),
                ).rowcount
        except Exception as error:  # noqa: BLE001 - as above
            self._complain(error)
            self._disconnect()
        if deleted < _DELETED_AT_ONCE:
            self._next_sweep = monotonic() + _SWEEP_INTERVAL

    def _until_sweep(self) -> float:
        return max(self._next_sweep - monotonic(), 0.0)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_for_writing(self._path)
        return self._connection

    def _disconnect(self) -> None:
        """Close the connection: what is wrong with it may be right with the next."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _complain(self, error: Exception) -> None:
        now = monotonic()
        if now >= self._next_log:
            self._next_log = now + _LOG_INTERVAL
            _log.warning(
                "analytics cannot be written to %s and are lost (%s: %s)",
                self._path,
                type(error).__name__,
                error,
            )
