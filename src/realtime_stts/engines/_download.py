"""A model's file, fetched once by however many ask, and whole or not there at all.

Whoever needs it first downloads it beside its place and moves it there when its checksum is
right. Others, threads or processes, wait for that. What a killed process leaves behind is
overwritten by the next attempt.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256 as new_sha256
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import build_opener

from ..errors import EngineLoadError, MissingExtraError

try:
    from filelock import FileLock, Timeout
except ImportError as exc:
    raise MissingExtraError("Downloading a model", "whisper") from exc

__all__ = ["Progress", "download"]

Progress = Callable[[int, "int | None"], None]
"""Told of bytes that have come, and of how many there will be, if the server says so."""

_PIECE: Final = 1 << 18  # bytes read at once, at most: what has come is not waited with
_PATIENCE: Final = 10.0  # s, for a server that says nothing
_LOOK: Final = 0.2  # s between two looks at whether a waiter is still wanted

# What a file was when it had that checksum: hashing gigabytes takes seconds.
_Seen = tuple[str, int, int]  # checksum, size, time of the last change in ns
_seen: dict[Path, _Seen] = {}


def download(
    url: str,
    to: Path,
    *,
    sha256: str,
    engine: str,
    otherwise: str = "",
    progress: Progress | None = None,
    check: Callable[[], None] = lambda: None,
) -> Path:
    """Return ``to`` once it is a file of that checksum; blocks.

    A file that is there and right is used as it is, and read only once per process as long as
    it does not change. One that is wrong is replaced.

    Args:
        url: Where it is; proxies are those that the environment names now.
        sha256: In hexadecimal digits.
        engine: Whom errors are of.
        otherwise: What else a user can do if it cannot be downloaded: the end of a sentence.
        progress: Called in this thread, first with 0 bytes; not at all if nothing is downloaded.
        check: Called as bytes come, and several times a second while somebody else downloads
            it. What it raises ends the download, or the wait.

    Raises:
        EngineLoadError: It cannot be downloaded or written, or has another checksum. Nothing
            is left of it.
    """
    failed = _Failures(url, to, engine, otherwise)
    with failed.on_disk():
        if _is_right(to, sha256, check):
            return to
        to.parent.mkdir(parents=True, exist_ok=True)
    with _alone(to, failed, check):
        with failed.on_disk():
            brought_by_another = _is_right(to, sha256, check)
        if not brought_by_another:
            _fetch(url, to, sha256, failed, progress, check)
    return to


class _Failures:
    """Says what went wrong, and what to do."""

    def __init__(self, url: str, to: Path, engine: str, otherwise: str) -> None:
        self._url, self._to, self._engine = url, to, engine
        self._or = f", or {otherwise}" if otherwise else ""

    def download(self, why: str) -> EngineLoadError:
        return EngineLoadError(
            self._engine,
            f"{self._to.name} cannot be downloaded ({why}). "
            f"Put the file from {self._url} into {self._to.parent}{self._or}",
        )

    @contextmanager
    def on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise EngineLoadError(
                self._engine,
                f"{self._to.name} cannot be kept in {self._to.parent} ({_why(exc)}). "
                "Make that possible, or choose another folder for it",
            ) from exc


def _is_right(file: Path, sha256: str, check: Callable[[], None]) -> bool:
    """Whether it is there and has that checksum."""
    try:
        state = _state(file, sha256)
    except FileNotFoundError:
        return False
    if _seen.get(file) == state:
        return True
    digest = new_sha256()
    with file.open("rb") as content:
        while piece := content.read(_PIECE):
            check()
            digest.update(piece)
    if digest.hexdigest() != sha256:
        return False
    _seen[file] = state
    return True


def _state(file: Path, sha256: str) -> _Seen:
    status = file.stat()
    return sha256, status.st_size, status.st_mtime_ns


@contextmanager
def _alone(to: Path, failed: _Failures, check: Callable[[], None]) -> Iterator[None]:
    """Let one thread of all processes in; the lock's file stays."""
    lock = FileLock(to.with_name(f".{to.name}.lock"))
    while True:
        check()
        with failed.on_disk():
            try:
                lock.acquire(timeout=_LOOK)
            except Timeout:
                continue
        break
    try:
        yield
    finally:
        lock.release()


def _fetch(
    url: str,
    to: Path,
    sha256: str,
    failed: _Failures,
    progress: Progress | None,
    check: Callable[[], None],
) -> None:
    part = to.with_name(f".{to.name}.part")  # of the lock's holder
    tell = progress or (lambda done, total: None)
    digest, done = new_sha256(), 0
    try:
        with failed.on_disk():
            file = part.open("wb", buffering=0)
        # `urlopen` would keep to the proxies of the process's first call.
        with file, build_opener().open(url, timeout=_PATIENCE) as source:
            length = source.headers["Content-Length"] or ""
            total = int(length) if length.isdecimal() else None
            tell(0, total)
            while piece := source.read1(_PIECE):
                check()
                with failed.on_disk():
                    file.write(piece)
                digest.update(piece)
                done += len(piece)
                tell(done, total)
        if total is not None and done < total:
            raise failed.download(f"the connection broke after {done} of {total} bytes")
        if digest.hexdigest() != sha256:
            raise failed.download("what came has another checksum")
        with failed.on_disk():
            os.replace(part, to)
            _seen[to] = _state(to, sha256)
    except (OSError, HTTPException) as exc:
        if isinstance(exc, HTTPError):
            exc.close()  # it holds the server's page
        raise failed.download(_why(exc)) from exc
    finally:
        part.unlink(missing_ok=True)


def _why(exc: BaseException) -> str:
    match exc:
        case HTTPError():
            return str(exc)
        case URLError(reason=BaseException() as reason):
            return _why(reason)
        case OSError(strerror=str(reason)) if reason:
            return reason
        case _:
            return str(exc) or type(exc).__name__
