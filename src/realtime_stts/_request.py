"""The id that ties together everything done for one request.

A host that already has an id (a web framework's, a caller's) makes it current around its
calls; log lines, statistics and errors of those calls then carry it. It follows tasks as
any context variable does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from os import urandom
from typing import Final

__all__ = ["current_request_id", "new_request_id", "request_scope"]

_MAX_LENGTH: Final = 128  # characters; a UUID has 36, a W3C trace context 55

_current: ContextVar[str | None] = ContextVar("realtime_stts_request_id", default=None)


def new_request_id() -> str:
    """A random id of 32 hexadecimal digits."""
    # Like a UUID's, at a quarter of its cost; unlike a seeded generator or a counter it
    # never repeats in a forked process.
    return urandom(16).hex()


def current_request_id() -> str:
    """The id of the enclosing `request_scope`; outside of one, a new id."""
    return _current.get() or new_request_id()


@contextmanager
def request_scope(id: str | None = None) -> Iterator[str]:
    """Engine calls that begin inside carry this request id, in this task and its children.

        with request_scope(id=request.headers["x-request-id"]):
            result = await stt.transcribe(audio)

    Args:
        id: 1 to 128 printable ASCII characters; None makes a new one.

    Raises:
        ValueError: ``id`` is longer, empty or not printable ASCII: ids are written into
            logs and headers.
    """
    if id is None:
        id = new_request_id()
    elif not (0 < len(id) <= _MAX_LENGTH and id.isascii() and id.isprintable()):
        raise ValueError(f"a request id is 1 to {_MAX_LENGTH} printable ASCII characters")
    token = _current.set(id)
    try:
        yield id
    finally:
        _current.reset(token)
