"""PURE: what a client is told of an error of the library, over whatever protocol.

A client is told whose fault it is, in words of our own: an error's own text may hold a path,
a setting or what somebody said, and goes to the log.
"""

from __future__ import annotations

from typing import Final

from ..errors import (
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
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    MissingExtraError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    SettingsError,
    UnknownEngineError,
    UnknownVoiceError,
    VoiceError,
)

__all__ = ["SOMETHING", "told"]

SOMETHING: Final = "Something went wrong here. It has been logged."

# The first that fits: what is derived stands before what it derives from. The text of those
# marked True is about the caller's own input, and quotes nobody else.
_TABLE: Final[tuple[tuple[type[Exception], str, str | bool], ...]] = (
    (AudioContainerError, "unsupported_audio", True),
    (AudioLimitError, "audio_too_long", True),
    (AudioFormatError, "unusable_audio", True),
    (UnknownVoiceError, "unknown_voice", "There is no such voice."),
    (VoiceError, "unusable_voice", True),
    (SettingsError, "invalid_settings", True),
    (PermissionDeniedError, "not_permitted", "This is not permitted."),
    (AuthenticationError, "not_authenticated", "Show who you are: send a valid token."),
    (RateLimitError, "too_many_requests", "Too many requests."),
    (OverloadedError, "overloaded", "Too much is going on here at the moment."),
    (CircuitOpenError, "engine_unavailable", "The engine has failed and is being left alone."),
    (EngineTimeoutError, "engine_timeout", "The engine took too long."),
    (EngineLoadError, "engine_unavailable", "The engine cannot be loaded."),
    (EngineMemoryError, "engine_unavailable", "The engine is out of memory."),
    (EngineCrashedError, "engine_unavailable", "The engine crashed. Please try again."),
    (EngineUnavailableError, "engine_unavailable", "The engine cannot be reached at the moment."),
    (EngineRefusedError, "engine_refused", "The engine does not take this request."),
    (EngineError, "engine_failed", "The engine failed."),
    (UnknownEngineError, "engine_unavailable", "The engine that is set is not installed."),
    (MissingExtraError, "engine_unavailable", "A package that this needs is not installed."),
    (AuditError, "audit_unavailable", "The call could not be recorded, so it was not made."),
)


def told(error: Exception) -> tuple[str, str] | None:
    """A code for programs, which never changes for the same error, and a text for people.

    None, if the error is none of the library's, or can be nobody's request's.
    """
    for kind, code, said in _TABLE:
        if isinstance(error, kind):
            return code, said if isinstance(said, str) else str(error)
    return None
