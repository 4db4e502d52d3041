"""PURE: what an error is to a Wyoming client."""

from __future__ import annotations

from typing import Final

from ...errors import SettingsError
from .._told import SOMETHING, told
from ._framing import MalformedError
from ._requests import RefusedError

__all__ = ["INTERNAL", "problem_of"]

INTERNAL: Final = "internal_error"


def problem_of(error: Exception) -> tuple[str, str]:
    """The code, for programs, and the text, for people, that a client is told of ``error``."""
    if isinstance(error, RefusedError):
        return error.code, error.text
    if isinstance(error, MalformedError):
        return "malformed", str(error)
    if isinstance(error, SettingsError):  # the server's own, and none of a client's
        return INTERNAL, SOMETHING
    if (found := told(error)) is not None:
        return found
    if isinstance(error, ValueError):
        # By the contract an engine's is about what it was asked for.
        return "invalid_request", "The engine does not take this text, voice or language."
    return INTERNAL, SOMETHING
