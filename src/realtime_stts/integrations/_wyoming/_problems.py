"""PURE: what an error is to a Wyoming client.

A client is told whose fault it is, in words of our own: an error's own text may hold a path,
a setting or what somebody said, and goes to the log.
"""

from __future__ import annotations

from typing import Final

from ...errors import (
    AudioFormatError,
    AuthenticationError,
    CircuitOpenError,
    EngineCrashedError,
    EngineError,
    EngineLoadError,
    EngineMemoryError,
    EngineTimeoutError,
    MissingExtraError,
    OverloadedError,
    RateLimitError,
    SettingsError,
    UnknownEngineError,
    UnknownVoiceError,
    VoiceError,
)
from ._framing import MalformedError
from ._requests import RefusedError

__all__ = ["INTERNAL", "problem_of"]

INTERNAL: Final = "internal_error"

# The first that fits: what is derived stands before what it derives from. The text of those
# marked True is about the client's own input, and quotes nobody else.
_TABLE: Final[tuple[tuple[type[Exception], str, str | bool], ...]] = (
    (MalformedError, "malformed", True),
    (AudioFormatError, "unusable_audio", True),
    (UnknownVoiceError, "unknown_voice", "There is no such voice."),
    (VoiceError, "unusable_voice", "The engine cannot speak with this voice."),
    (AuthenticationError, "not_permitted", "This is not permitted."),
    (RateLimitError, "too_many_requests", "Too many requests."),
    (OverloadedError, "overloaded", "Too much is going on here at the moment."),
    (CircuitOpenError, "engine_unavailable", "The engine has failed and is being left alone."),
    (EngineTimeoutError, "engine_timeout", "The engine took too long."),
    (EngineLoadError, "engine_unavailable", "The engine cannot be loaded."),
    (EngineMemoryError, "engine_unavailable", "The engine is out of memory."),
    (EngineCrashedError, "engine_unavailable", "The engine crashed. Please try again."),
    (EngineError, "engine_failed", "The engine failed."),
    (UnknownEngineError, "engine_unavailable", "The engine that is set is not installed."),
    (MissingExtraError, "engine_unavailable", "A package that this needs is not installed."),
    (SettingsError, INTERNAL, "Something went wrong here. It has been logged."),
    # By the contract an engine's `ValueError` is about what it was asked for.
    (ValueError, "invalid_request", "The engine does not take this text, voice or language."),
)


def problem_of(error: Exception) -> tuple[str, str]:
    """The code, for programs, and the text, for people, that a client is told of ``error``."""
    if isinstance(error, RefusedError):
        return error.code, error.text
    for kind, code, said in _TABLE:
        if isinstance(error, kind):
            return code, said if isinstance(said, str) else str(error)
    return INTERNAL, "Something went wrong here. It has been logged."
