"""Errors in the shape that OpenAI's clients make their exceptions of.

    {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}

What the caller sent and cannot be used is 400 here, files included, and not 415 or 422: of
400 the clients make a ``BadRequestError``, of 415 nothing in particular.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException as AnyHTTPException

from ...._failures import content_free
from ...._request import current_request_id
from ....errors import RealtimeSTTSError
from .._problems import INTERNAL, Problem, code_of, problem_of
from ._results import error_fields

__all__ = [
    "ERRORS",
    "ErrorBody",
    "ErrorFields",
    "OpenAIRoute",
    "error_response",
    "problem_with",
    "refusal",
    "takes_values",
]

_log = logging.getLogger(__name__)


class ErrorFields(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """An error, as OpenAI's clients know it."""

    error: ErrorFields


ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be met as it is."},
    "5XX": {"model": ErrorBody, "description": "The server cannot meet it now."},
}


class OpenAIRoute(APIRoute):
    """A route whose errors are told as OpenAI's are."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets this shape
                return error_response(error)

        return told


def refusal(
    message: str, param: str | None = None, *, code: str = "invalid_value", status: int = 400
) -> HTTPException:
    """The caller's request cannot be met: why, and which field is to be changed."""
    return HTTPException(status, {"detail": message, "error_code": code, "param": param})


def problem_with(error: Exception) -> tuple[Problem, str | None]:
    """What a client is told of ``error``, and of which of its fields. It logs our own faults."""
    param = None
    match error:
        case RequestValidationError():
            problem, param = _invalid(error)
        case AnyHTTPException():
            problem, param = _of_http(error)
        case RealtimeSTTSError():
            problem = problem_of(error)
            if problem.status in (415, 422):
                problem = Problem(400, problem.code, problem.detail)
        case _:
            problem = INTERNAL
    if problem.status >= 500:
        _log.error(
            "[%s] an OpenAI-compatible call failed",
            current_request_id(),
            exc_info=content_free(error),
        )
    return problem, param


def error_response(error: Exception) -> JSONResponse:
    """The answer to a request that failed with ``error``."""
    problem, param = problem_with(error)
    given = dict(error.headers or {}) if isinstance(error, AnyHTTPException) else {}
    return JSONResponse(
        {"error": error_fields(problem, param)}, problem.status, {**problem.headers, **given}
    )


@contextmanager
def takes_values() -> Iterator[None]:
    """Around an engine's call: a `ValueError` of it is about what the caller asked for."""
    try:
        yield
    except RealtimeSTTSError:
        raise
    except ValueError as error:
        _log.info(
            "[%s] an engine did not take a request",
            current_request_id(),
            exc_info=content_free(error),
        )
        raise refusal("The engine does not take this: another text or value may do.") from error


def _invalid(error: RequestValidationError) -> tuple[Problem, str | None]:
    first = error.errors()[0]
    # The first part says where it was looked for: in the body, as all of them are.
    path = ".".join(str(part) for part in first["loc"][1:])
    message = f"{path}: {first['msg']}" if path else str(first["msg"])
    return Problem(400, "invalid_request", message), path or None


def _of_http(error: AnyHTTPException) -> tuple[Problem, str | None]:
    status, code, param = error.status_code, None, None
    detail: object = error.detail  # FastAPI's may be anything
    if isinstance(detail, Mapping):
        code, param = detail.get("error_code"), detail.get("param")
        detail = detail.get("detail", "")
    return Problem(status, code or code_of(status), str(detail)), param
