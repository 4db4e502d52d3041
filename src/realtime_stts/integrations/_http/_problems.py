"""PURE: what an error of the library is to a client over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from ...errors import SettingsError
from .._told import SOMETHING, told

__all__ = ["INTERNAL", "Problem", "code_of", "problem_of"]


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as an answer.

    Attributes:
        status: HTTP's.
        code: For programs: it never changes for the same error.
        detail: For people; or of settings, what is wrong with each by its path.
        retry_after: Seconds after which it may be worth asking again; None if unknown.
    """

    status: int
    code: str
    detail: str | Mapping[str, str]
    retry_after: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        if self.retry_after is not None:
            return {"Retry-After": str(max(1, ceil(self.retry_after)))}
        return {}

    def body(self, request_id: str) -> dict[str, Any]:
        """The answer's JSON."""
        detail = self.detail if isinstance(self.detail, str) else dict(self.detail)
        return {"detail": detail, "error_code": self.code, "request_id": request_id}


INTERNAL: Final = Problem(500, "internal_error", SOMETHING)

_SOON: Final = 1.0  # s; a place or a process is free again within a sentence

_STATUSES: Final = {
    "unsupported_audio": 415,
    "audio_too_long": 413,
    "unusable_audio": 422,
    "unknown_voice": 404,
    "unusable_voice": 422,
    "invalid_settings": 422,
    "not_permitted": 403,
    "not_authenticated": 401,
    "too_many_requests": 429,
    "overloaded": 503,
    "engine_unavailable": 503,
    "engine_timeout": 503,
    "engine_refused": 422,
    "engine_failed": 500,
    "audit_unavailable": 503,
}

_CODES: Final = {
    400: "bad_request",
    401: "not_authenticated",
    403: "not_permitted",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "too_many_requests",
    503: "unavailable",
}


def problem_of(error: Exception) -> Problem:
    """What a client is told of ``error``: `INTERNAL`, if it is none of the library's."""
    found = told(error)
    if found is None:
        return INTERNAL
    code, detail = found
    status = _STATUSES[code]
    if isinstance(error, SettingsError):
        return Problem(status, code, error.problems)
    return Problem(status, code, detail, _retry_after(error, status))


def code_of(status: int) -> str:
    """The error code of an answer that has only a status."""
    return _CODES.get(status, "internal_error" if status >= 500 else "bad_request")


def _retry_after(error: Exception, status: int) -> float | None:
    given = getattr(error, "retry_after", None)
    if isinstance(given, float | int):
        return float(given)
    return _SOON if status in (429, 503) else None
