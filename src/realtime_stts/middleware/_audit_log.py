"""Where audit records are kept: what one is, and a file of them that shows tampering."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import IO, Any, Final, Protocol

from anyio import Lock as AsyncLock
from anyio import to_thread
from typing_extensions import Self

from ..errors import AuditError
from ..instrumentation import Sensitivity

__all__ = ["AuditLog", "AuditRecord", "FileAuditLog", "Verification"]

_PATIENCE: Final = 2.0  # s; a disk that takes longer is not well
_TAIL: Final = 1 << 16  # bytes; over a hundred records, of which one is needed
_NOTHING: Final[str] = "0" * 64  # the digest before the first record

_OPERATIONAL: Final = {"sensitivity": Sensitivity.OPERATIONAL}
_IDENTIFIER: Final = {"sensitivity": Sensitivity.IDENTIFIER}
_PERSONAL: Final = {"sensitivity": Sensitivity.PERSONAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One call that has ended."""

    at: float = field(metadata=_OPERATIONAL)  # s since the epoch, when it began
    duration: float = field(metadata=_OPERATIONAL)  # s
    request_type: str = field(metadata=_OPERATIONAL)
    engine: str = field(metadata=_OPERATIONAL)
    outcome: str = field(metadata=_OPERATIONAL)
    error_type: str | None = field(metadata=_OPERATIONAL)
    request_id: str = field(metadata=_IDENTIFIER)
    session_id: str | None = field(metadata=_IDENTIFIER)
    subject: str | None = field(metadata=_PERSONAL)  # to say who is what an audit is for


class AuditLog(Protocol):
    """Where records go. It only ever grows."""

    async def append(self, record: AuditRecord, /) -> None:
        """Return once the record is kept.

        Raises:
            OSError: It could not be.
        """
        ...


@dataclass(frozen=True, slots=True)
class Verification:
    """What a file was found to be."""

    records: int  # up to the first that does not fit, if one does not
    torn: int  # lines that a crash or a full disk cut off while they were written
    head: str  # the digest of the last one: keep it elsewhere, to notice a shortened file
    problem: str | None  # why the file cannot be what was written; None if it can

    @property
    def ok(self) -> bool:
        return self.problem is None


class FileAuditLog:
    """Records as lines of JSON, each with the digest of the line before.

    The file is opened for appending at the first record and each is one write. Who changes,
    removes or inserts a record breaks the chain of SHA-256 digests, which `verify` finds; but
    who may write the file may write a whole other one, or leave out its end. Against that,
    keep `head` in another place from time to time, and compare.

    After a crash the last line may be cut off. It is left there, and the next record begins
    a new line, with the digest of what is left of it.

    One process writes a file at a time, on one event loop; a second one is found out by
    the file's size, and its record refused.

    Args:
        path: Of the file; its folder must exist. A new file can be read by its owner only.
        fsync: Whether each record is on the disk before the call goes on, so that it
            outlives a power cut too; that takes milliseconds.
    """

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool = False) -> None:
        self.path = Path(path)
        self._fsync = fsync
        self._file: IO[bytes] | None = None
        self._head = _NOTHING
        self._size = 0
        self._turn = AsyncLock()
        self._lock = Lock()  # held in the thread that writes, even if nobody waits for it

    @property
    def head(self) -> str:
        """The digest of the last record written here; zeros before the first."""
        return self._head

    async def append(self, record: AuditRecord, /) -> None:
        """Write ``record``.

        Cancelled, it returns at once, and the record may be written all the same.

        Raises:
            OSError: It could not be written, another process writes the file, or a write
                that nobody waits for any more still hangs.
        """
        async with self._turn:
            await to_thread.run_sync(self._append, record, abandon_on_cancel=True)

    def close(self) -> None:
        """Close the file; another record opens it again."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @staticmethod
    def verify(path: str | os.PathLike[str], *, head: str | None = None) -> Verification:
        """Read a file and check that every record is as it was written, and follows the other.

        With ``head``, as it was kept elsewhere, also that the record with that digest is
        still there. It reads the whole file, in the thread that calls it.

        Raises:
            OSError: There is no such file, or it cannot be read.
        """
        n_records = n_torn = 0
        digest = _NOTHING
        seen = head in (None, digest)
        with open(path, "rb") as file:
            for line in file:
                record = _parsed(line)
                if record is None:
                    n_torn += 1
                elif record.get("previous") != digest:
                    problem = f"record {n_records + 1} does not follow the one before it"
                    return Verification(n_records, n_torn, digest, problem)
                else:
                    n_records += 1
                digest = _next_digest(digest, line, torn=record is None)
                seen |= digest == head
        missing = None if seen else "the record that was the last one is not there any more"
        return Verification(n_records, n_torn, digest, missing)

    def _append(self, record: AuditRecord) -> None:
        if not self._lock.acquire(timeout=_PATIENCE):
            raise AuditError("the disk does not answer")
        try:
            file = self._file or self._open()
            if os.fstat(file.fileno()).st_size != self._size:
                raise AuditError("somebody else writes the audit log too")  # noqa: TRY301
            given = {"previous": self._head, **asdict(record)}
            line = json.dumps(given, separators=(",", ":")).encode() + b"\n"
            if file.write(line) != len(line):
                raise AuditError("there was no room for the whole record")  # noqa: TRY301
            if self._fsync:
                os.fsync(file.fileno())
            self._size += len(line)
            self._head = _next_digest(self._head, line, torn=False)
        except BaseException:
            self.close()  # what is there now is found out when it is opened again
            raise
        finally:
            self._lock.release()

    def _open(self) -> IO[bytes]:
        file = open(self.path, "ab+", buffering=0, opener=_only_owner)  # noqa: SIM115 - kept
        self._file = file
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":  # the last line is torn: it stays, on a line of its own
                file.write(b"\n")
        self._head = _NOTHING
        for line in _last_lines(file):
            self._head = _next_digest(self._head, line, torn=_parsed(line) is None)
        self._size = os.fstat(file.fileno()).st_size
        return file


def _only_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _last_lines(file: IO[bytes]) -> list[bytes]:
    """The last whole record and what was torn after it, or else all lines."""
    start = max(file.seek(0, os.SEEK_END) - _TAIL, 0)
    while True:
        file.seek(start)
        lines = [line + b"\n" for line in file.read().split(b"\n")[:-1]]
        if start:
            del lines[0]  # most likely, only a part of it
        whole = [place for place, line in enumerate(lines) if _parsed(line) is not None]
        if whole or not start:
            return lines[whole[-1] if whole else 0 :]
        start = 0


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A record; None for a line that is none, or not the whole of one."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _next_digest(before: str, line: bytes, *, torn: bool) -> str:
    # A torn line has no digest of its own in it that would hold it to the one before.
    return sha256((before.encode() if torn else b"") + line.rstrip(b"\n")).hexdigest()
