"""The id that ties together everything done for one request.

A host that already has an id (a web framework's, a caller's) makes it current around its
calls; log lines, statistics and errors of those calls then carry it. It follows tasks as
any context variable does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import uuid4

__all__ = ["current_request_id", "new_request_id", "request_scope"]

_current: ContextVar[str | None] = ContextVar("realtime_stts_request_id", default=None)

_MAX_LENGTH = 128  # as many as a W3C trace id and a UUID together, and room to spare


def new_request_id() -> str:
    """A random id of 32 hexadecimal digits."""
    return uuid4().hex


def current_request_id() -> str | None:
    """The id that the host gave, or None."""
    return _current.get()


@contextmanager
def request_scope(request_id: str) -> Iterator[None]:
    """Make ``request_id`` the id of every engine call in the block.

    Raises:
        ValueError: It is empty, longer than 128 characters or not printable ASCII: an id
            is written into logs and headers.
    """
    if not (
        0 < len(request_id) <= _MAX_LENGTH and request_id.isascii() and request_id.isprintable()
    ):
        raise ValueError(f"not a request id: {request_id[:_MAX_LENGTH]!r}")
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)
