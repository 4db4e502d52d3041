"""Errors on their way from a model's thread to those who wait for it."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from traceback import clear_frames

from ..errors import EngineError

__all__ = ["let_go", "own_copy"]


def let_go(error: BaseException) -> None:
    """Empty the frames it was raised in: their locals, a model's, would live as long as it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__


def own_copy(error: BaseException, engine: str) -> BaseException:
    """An exception like ``error``: raising one lengthens its traceback for all who have it.

    Where it cannot be copied it is an `EngineError` caused by it.
    """
    with suppress(Exception):  # not all are made of their arguments
        own = copy(error)
        if type(own) is type(error) and str(own) == str(error):
            own.__cause__, own.__context__ = error.__cause__, error.__context__
            own.__suppress_context__ = error.__suppress_context__
            return own.with_traceback(error.__traceback__)
    wrapped = EngineError(engine, f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
