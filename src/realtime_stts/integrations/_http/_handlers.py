"""Errors of a FastAPI application as answers of one shape."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import isfinite
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from ...errors import OverloadedError, RealtimeSTTSError
from ._identity import request_id_of
from ._problems import Problem, code_of, problem_of
from ._responses import AsciiJSONResponse, problem_response

__all__ = ["install_error_handlers"]

_log = logging.getLogger(__name__)

_MAX_ERRORS: Final = 20  # of one request: more help nobody
_MAX_TEXT: Final = 200  # characters of what the client sent that come back
_SECRETS: Final = ("authorization", "key", "password", "secret", "ticket", "token")
_FULL: Final = Problem(507, "storage_failed", "There is no room here to keep the upload.")
_EMPTY: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)  # have no body: RFC 9110


def install_error_handlers(app: FastAPI) -> None:
    """Answer errors with ``{"detail", "error_code", "request_id"}``, and the right status.

    An error of the library is what `problem_of` says. An ``HTTPException`` keeps its detail
    and headers; its detail may be a dict of ``detail`` and ``error_code``. A request that does
    not fit is a 422 whose ``detail`` lists what is wrong where, without repeating secrets.
    Anything else is a 500 that is logged, and says nothing of itself. A socket that is not
    accepted yet is refused with the same body; one that is, is closed.
    """
    handlers: dict[type[Exception], Any] = {
        RealtimeSTTSError: _library_error,
        HTTPException: _http_exception,
        RequestValidationError: _invalid_request,
        WebSocketRequestValidationError: _invalid_request,
        Exception: _anything_else,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _library_error(connection: HTTPConnection, exc: Exception) -> Response | None:
    problem, request_id = problem_of(exc), request_id_of(connection.scope)
    if isinstance(exc, OverloadedError):
        # No failure, and it would fill the log just when there is no time for that.
        _log.warning("request %s: %s", request_id, exc)
    elif problem.status >= 500:
        _log.error("request %s failed", request_id, exc_info=exc)
    else:
        _log.info("request %s: %s: %s", request_id, type(exc).__name__, exc)
    return await _answer(connection, problem_response(problem, request_id), problem)


async def _http_exception(connection: HTTPConnection, exc: Exception) -> Response | None:
    assert isinstance(exc, HTTPException)
    if exc.status_code in _EMPTY or exc.status_code < 200:
        return Response(status_code=exc.status_code, headers=exc.headers)
    if isinstance(exc.__cause__, OSError) and not isinstance(exc.__cause__, RealtimeSTTSError):
        # FastAPI takes a full disk, as it keeps a large upload, for a form that is no form.
        request_id = request_id_of(connection.scope)
        _log.error("request %s: its body cannot be kept", request_id, exc_info=exc)
        return await _answer(connection, problem_response(_FULL, request_id), _FULL)
    detail: Any = exc.detail
    code = code_of(exc.status_code)
    if isinstance(detail, Mapping) and detail.keys() == {"detail", "error_code"}:
        detail, code = detail["detail"], detail["error_code"]
    problem = Problem(exc.status_code, code, detail)
    response = problem_response(problem, request_id_of(connection.scope), exc.headers)
    return await _answer(connection, response, problem)


async def _invalid_request(connection: HTTPConnection, exc: Exception) -> Response | None:
    assert isinstance(exc, RequestValidationError | WebSocketRequestValidationError)
    problem = Problem(422, "invalid_request", "The request does not fit.")
    body = {
        **problem.body(request_id_of(connection.scope)),
        "detail": [_told(error) for error in exc.errors()[:_MAX_ERRORS]],
    }
    return await _answer(connection, AsciiJSONResponse(body, problem.status), problem)


async def _anything_else(connection: HTTPConnection, exc: Exception) -> Response:
    # Starlette raises the error again after the answer, and so the server logs it.
    return problem_response(problem_of(exc), request_id_of(connection.scope))


async def _answer(
    connection: HTTPConnection, response: Response, problem: Problem
) -> Response | None:
    """``response``, if there can be one; an open socket is closed."""
    if not isinstance(connection, WebSocket):
        return response
    if connection.application_state is WebSocketState.CONNECTED:
        code = 1011 if problem.status == 500 else 1013 if problem.status == 503 else 1008
        await connection.close(code, problem.code)
        return None
    return response if connection.application_state is WebSocketState.CONNECTING else None


def _told(error: Mapping[str, Any]) -> dict[str, Any]:
    """What is wrong with a part of a request, for whoever sent it."""
    where: Sequence[Any] = error.get("loc", ())
    secret = any(word in str(part).lower() for part in where for word in _SECRETS)
    return {
        "type": error.get("type", "value_error"),
        "loc": [part if isinstance(part, int) else str(part)[:_MAX_TEXT] for part in where],
        "msg": str(error.get("msg", ""))[:_MAX_TEXT],
        "input": None if secret else _shown(error.get("input")),
    }


def _shown(value: object) -> str | int | float | bool | None:
    """A single value, cut to a length; whole bodies hold other fields' values."""
    match value:
        case str():
            return value[:_MAX_TEXT]
        case bool() | None:
            return value
        case int():
            return value if abs(value) < 1 << 53 else None
        case float() if isfinite(value):
            return value
        case _:
            return None
