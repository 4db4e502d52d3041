"""What a client is told whose socket is refused before it is open."""

from __future__ import annotations

from fastapi import HTTPException

from ...errors import RealtimeSTTSError
from ._problems import Problem, code_of, problem_of
from ._query import QueryError

__all__ = ["refusal"]


def refusal(error: RealtimeSTTSError | HTTPException | QueryError) -> Problem:
    """What a client is told that is not let in because of ``error``."""
    match error:
        case QueryError():
            return error.problem
        case HTTPException(detail={"detail": str(detail), "error_code": str(code)}):
            return Problem(error.status_code, code, detail)
        case HTTPException():
            return Problem(error.status_code, code_of(error.status_code), str(error.detail))
        case _:
            return problem_of(error)
