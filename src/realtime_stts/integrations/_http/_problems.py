"""PURE: what an error of the library is to a client over HTTP.

A client is told whose fault it is, in words of our own: an error's own text may hold a path,
a setting or what somebody said, and goes to the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from ...errors import (
    AudioContainerError,
    AudioFormatError,
    AudioLimitError,
    AuditError,
    AuthenticationError,
    CircuitOpenError,
    EngineCrashedError,
    EngineError,
    EngineLoadError,
    EngineMemoryError,
    EngineTimeoutError,
    MissingExtraError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    SettingsError,
    UnknownEngineError,
    UnknownVoiceError,
    VoiceError,
)

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


INTERNAL: Final = Problem(500, "internal_error", "Something went wrong here. It has been logged.")

_SOON: Final = 1.0  # s; a place or a process is free again within a sentence

# The first that fits: what is derived stands before what it derives from. The text of those
# marked True is about the caller's own input, and quotes nobody else.
_TABLE: Final[tuple[tuple[type[Exception], int, str, str | bool], ...]] = (
    (AudioContainerError, 415, "unsupported_audio", True),
    (AudioLimitError, 413, "audio_too_long", True),
    (AudioFormatError, 422, "unusable_audio", True),
    (UnknownVoiceError, 404, "unknown_voice", "There is no such voice."),
    (VoiceError, 422, "unusable_voice", True),
    (SettingsError, 422, "invalid_settings", True),
    (PermissionDeniedError, 403, "not_permitted", "This is not permitted."),
    (AuthenticationError, 401, "not_authenticated", "Show who you are: send a valid token."),
    (RateLimitError, 429, "too_many_requests", "Too many requests."),
    (OverloadedError, 503, "overloaded", "Too much is going on here at the moment."),
    (CircuitOpenError, 503, "engine_unavailable", "The engine has failed and is being left alone."),
    (EngineTimeoutError, 503, "engine_timeout", "The engine took too long."),
    (EngineLoadError, 503, "engine_unavailable", "The engine cannot be loaded."),
    (EngineMemoryError, 503, "engine_unavailable", "The engine is out of memory."),
    (EngineCrashedError, 503, "engine_unavailable", "The engine crashed. Please try again."),
    (EngineError, 500, "engine_failed", "The engine failed."),
    (UnknownEngineError, 503, "engine_unavailable", "The engine that is set is not installed."),
    (MissingExtraError, 503, "engine_unavailable", "A package that this needs is not installed."),
    (AuditError, 503, "audit_unavailable", "The call could not be recorded, so it was not made."),
)

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
    for kind, status, code, said in _TABLE:
        if isinstance(error, kind):
            return Problem(status, code, _detail(error, said), _retry_after(error, status))
    return INTERNAL


def code_of(status: int) -> str:
    """The error code of an answer that has only a status."""
    return _CODES.get(status, "internal_error" if status >= 500 else "bad_request")


def _detail(error: Exception, said: str | bool) -> str | Mapping[str, str]:
    if isinstance(said, str):
        return said
    return error.problems if isinstance(error, SettingsError) else str(error)


def _retry_after(error: Exception, status: int) -> float | None:
    given = getattr(error, "retry_after", None)
    if isinstance(given, float | int):
        return float(given)
    return _SOON if status in (429, 503) else None
