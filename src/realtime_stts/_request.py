"""Who and what an engine call is made for: its request, its session, and who asks.

A host that already has an id (a web framework's, a caller's) makes it current around its
calls; log lines, statistics and errors of those calls then carry it. It follows tasks as
any context variable does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from os import urandom
from typing import Final, NamedTuple

__all__ = [
    "Origin",
    "current_origin",
    "current_request_id",
    "current_token",
    "new_request_id",
    "request_scope",
]

_MAX_LENGTH: Final = 128  # characters; a UUID has 36, a W3C trace context 55


class Origin(NamedTuple):
    """What the calls made inside a `request_scope` have in common."""

    request_id: str | None = None
    session_id: str | None = None
    token: str | None = None

    def __repr__(self) -> str:  # a token is nobody else's business
        return f"Origin({self.request_id!r}, {self.session_id!r})"


_NOWHERE: Final = Origin()
_current: ContextVar[Origin] = ContextVar("realtime_stts_origin", default=_NOWHERE)


def new_request_id() -> str:
    """A random id of 32 hexadecimal digits."""
    # Like a UUID's, at a quarter of its cost; unlike a seeded generator or a counter it
    # never repeats in a forked process.
    return urandom(16).hex()


def current_origin() -> Origin:
    """What the innermost `request_scope` says."""
    return _current.get()


def current_request_id() -> str:
    """The id of the enclosing `request_scope`; outside of one, a new id."""
    return _current.get().request_id or new_request_id()


def current_token() -> str | None:
    """The token of the enclosing `request_scope`s, which says who asks."""
    return _current.get().token


@contextmanager
def request_scope(
    id: str | None = None, *, session_id: str | None = None, token: str | None = None
) -> Iterator[str]:
    """Engine calls that begin inside carry this request id, in this task and its children.

        with request_scope(id=request.headers["x-request-id"], token=bearer):
            result = await stt.transcribe(audio)

    Args:
        id: 1 to 128 printable ASCII characters; None makes a new one.
        session_id: What several requests of one conversation have in common, which is what
            limits are fair between; like an id. None keeps that of the enclosing scope. A
            `Session` sets its own.
        token: What the `AuthenticationMiddleware` knows the caller by; it is in no log and
            no representation. None keeps that of the enclosing scope.

    Raises:
        ValueError: An id is longer, empty or not printable ASCII: ids are written into
            logs and headers.
    """
    outer = _current.get()
    id = new_request_id() if id is None else _checked(id)
    session_id = outer.session_id if session_id is None else _checked(session_id)
    reset = _current.set(Origin(id, session_id, outer.token if token is None else token))
    try:
        yield id
    finally:
        _current.reset(reset)


def _checked(id: str) -> str:
    if not (0 < len(id) <= _MAX_LENGTH and id.isascii() and id.isprintable()):
        raise ValueError(f"an id is 1 to {_MAX_LENGTH} printable ASCII characters")
    return id
