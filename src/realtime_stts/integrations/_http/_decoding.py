"""Files that strangers send, decoded where they can do no harm."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from math import inf
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from anyio import CancelScope, CapacityLimiter, Semaphore, create_task_group, sleep
from anyio.lowlevel import checkpoint_if_cancelled
from anyio.to_thread import run_sync
from typing_extensions import Self

from ...audio import AudioData
from ...errors import OverloadedError
from ._decoding_process import DecodingProcess, NotReadyError
from ._decoding_wire import Limits

__all__ = ["AudioDecoder"]

_SOON: Final = 2.0  # s; most files that people send are decoded by then


class AudioDecoder:
    """Decodes wav, flac, ogg, opus and mp3 files, and M4A/MP4 and WebM with the extra ``av``.

    Each file is decoded in a process of its own, which ends with it: the decoders are
    written in C, and a file may be made to break them. The process has none of this one's
    environment, and on Linux it can open no file and no connection, and is killed if it
    takes more memory or processor time than it may. macOS does not limit the memory;
    Windows limits only the time and the size of the result. A process takes a fifth of a
    second to start, so that inside ``async with`` a spare one (50 MB) stands ready.

        async with AudioDecoder() as decoder:
            audio = await decoder.decode(upload)

    Works on asyncio and trio, in one event loop.

    Args:
        max_seconds: The longest audio that is taken.
        max_bytes: The most bytes that it may decode to, as 16-bit PCM.
        cpu_seconds: Processor time that a file may take.
        timeout: Seconds that a file may take, by the clock.
        max_memory: Bytes of memory that a file may take, in its process.
        max_processes: How many files are decoded at once.
        max_waiting: How many more may wait for that.

    Raises:
        ValueError: A limit is not above 0, or ``max_waiting`` is negative.
    """

    def __init__(
        self,
        *,
        max_seconds: float = 3600.0,
        max_bytes: int = 1 << 30,
        cpu_seconds: float = 60.0,
        timeout: float = 120.0,
        max_memory: int = 1 << 30,
        max_processes: int = 2,
        max_waiting: int = 16,
    ) -> None:
        for limit in (max_seconds, max_bytes, cpu_seconds, timeout, max_memory, max_processes):
            if not 0 < limit < inf:
                raise ValueError(f"a limit is above 0, and finite, not {limit!r}")
        if max_waiting < 0:
            raise ValueError(f"0 or more may wait, not {max_waiting!r}")
        self._limits = Limits(max_seconds, max_bytes, max_memory, cpu_seconds)
        self._timeout = timeout
        self._places = Semaphore(max_processes)
        self._max_waiting = max_waiting
        self._threads = CapacityLimiter(2 * max_processes + 2)  # never the one to wait for
        self._running: set[DecodingProcess] = set()
        self._spare: DecodingProcess | None = None
        self._open = self._closed = False

    async def __aenter__(self) -> Self:
        self._open = True
        await self._restock()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every process. Whoever still waits for one gets an `OverloadedError`."""
        self._open, self._closed = False, True
        left = [*self._running, *([self._spare] if self._spare else [])]
        self._spare = None
        with CancelScope(shield=True):
            for process in left:
                await run_sync(process.end, limiter=self._threads)

    async def decode(
        self,
        file: bytes | str | os.PathLike[str] | BinaryIO,
        *,
        max_seconds: float | None = None,
    ) -> AudioData:
        """The sound in a file, as 16-bit PCM of its own rate and channels.

        What the file is, its content says and not its name. Of one that is cut short, the
        part that can be decoded is returned. When this returns, raises or is cancelled, the
        file's process has ended.

        Args:
            file: A whole file's bytes, a path, or a binary file, which is read from where
                it stands and left open. Reading it must not wait for a network.
            max_seconds: The longest audio to take, in place of the decoder's own limit.

        Raises:
            AudioContainerError: It is no audio file of these kinds.
            AudioFormatError: It is damaged, or its audio cannot be used.
            AudioLimitError: It is too long, or takes too much time or memory.
            OverloadedError: Too many files wait already, or the decoder is closed.
            OSError: The file cannot be read.
        """
        seconds = self._limits.seconds if max_seconds is None else max_seconds
        if not 0 < seconds < inf:
            raise ValueError(f"a limit is above 0, and finite, not {seconds!r}")
        waiting = self._places.statistics().tasks_waiting
        if self._places.value == 0 and waiting >= self._max_waiting:
            raise OverloadedError("too many files wait to be decoded", retry_after=_SOON)
        async with self._places:
            limits = replace(self._limits, seconds=seconds)
            try:
                outcome = await self._in_process(self._taken(), file, limits)
                if isinstance(outcome, NotReadyError):  # what killed a spare one is over
                    outcome = await self._in_process(self._taken(), file, limits)
            finally:
                await self._restock()
        if isinstance(outcome, AudioData):
            return outcome
        raise outcome

    def _taken(self) -> DecodingProcess:
        if self._closed:
            raise _closed()
        process, self._spare = self._spare or DecodingProcess(), None
        return process

    async def _restock(self) -> None:
        """Start a spare process, if there is none. It loads its libraries meanwhile."""
        if self._open and self._spare is None:
            self._spare = spare = DecodingProcess()
            await run_sync(_prepare, spare, limiter=self._threads)

    async def _in_process(
        self,
        process: DecodingProcess,
        file: bytes | str | os.PathLike[str] | BinaryIO,
        limits: Limits,
    ) -> AudioData | Exception:
        outcome: AudioData | Exception = _closed()
        self._running.add(process)
        try:
            async with create_task_group() as tasks:
                tasks.start_soon(_kill_later, process, self._timeout)
                outcome = await run_sync(_attempt, process, file, limits, limiter=self._threads)
                tasks.cancel_scope.cancel()
        finally:
            process.kill()
            with CancelScope(shield=True):
                await run_sync(process.end, limiter=self._threads)
            self._running.discard(process)
        await checkpoint_if_cancelled()  # then the outcome is only that it was killed
        if self._closed and isinstance(outcome, Exception):
            return _closed()
        return outcome


async def _kill_later(process: DecodingProcess, seconds: float) -> None:
    """Kill it after so long, or as soon as nobody wants its answer any more.

    It is what ends the thread that waits for the answer, as that cannot be cancelled.
    """
    try:
        await sleep(seconds)
    finally:
        process.kill()


def _attempt(
    process: DecodingProcess,
    file: bytes | str | os.PathLike[str] | BinaryIO,
    limits: Limits,
) -> AudioData | Exception:
    """What came of it; an error is no exception of the task group."""
    try:
        if isinstance(file, str | os.PathLike):
            with Path(file).open("rb") as opened:
                return process.ask(opened, limits)
        return process.ask(file, limits)
    except Exception as exc:  # noqa: BLE001  # it is raised by who called
        return exc


def _prepare(spare: DecodingProcess) -> None:
    with suppress(OverloadedError):  # it is tried again when there is a file
        spare.start()


def _closed() -> OverloadedError:
    return OverloadedError("the decoder is closed")
