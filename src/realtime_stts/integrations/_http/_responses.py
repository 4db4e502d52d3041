"""A `Problem` as a Starlette response."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from ._problems import Problem

__all__ = ["AsciiJSONResponse", "problem_response"]


class AsciiJSONResponse(JSONResponse):
    """JSON that can hold any text, also a half of a surrogate pair that a client has sent."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def problem_response(
    problem: Problem, request_id: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The answer to a request, or to a socket that is not let in."""
    return AsciiJSONResponse(
        problem.body(request_id), problem.status, {**problem.headers, **(headers or {})}
    )
