"""PURE: what a socket's address asks for, checked before it is let in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from ._problems import Problem

__all__ = ["QueryError", "choice", "language", "name", "whole"]

_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_MAX_NAME: Final = 200  # characters; no id of a voice or a mode is longer


class QueryError(ValueError):
    """A parameter is not what it must be; the text can be shown to the client."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"The parameter {parameter} {message}.")

    @property
    def problem(self) -> Problem:
        return Problem(422, "invalid_request", str(self))


def language(query: Mapping[str, str]) -> str | None:
    """A language's code; None for "auto" and where it is not said."""
    given = query.get("language") or "auto"
    if given == "auto":
        return None
    if not _LANGUAGE.fullmatch(given):
        raise QueryError("language", "is a code such as en, or auto")
    return given


def whole(query: Mapping[str, str], parameter: str, low: int, high: int) -> int | None:
    """A whole number between two, both included."""
    given = query.get(parameter)
    if given is None:
        return None
    # As text first: int() takes "1_0" and other scripts' digits, and any length.
    if re.fullmatch(r"[0-9]{1,9}", given) and low <= int(given) <= high:
        return int(given)
    raise QueryError(parameter, f"is a whole number from {low} to {high}")


def choice(query: Mapping[str, str], parameter: str, known: Sequence[str]) -> str:
    """One of the known, the first where it is not said."""
    given = query.get(parameter, known[0])
    if given not in known:
        raise QueryError(parameter, f"is one of {', '.join(known)}")
    return given


def name(query: Mapping[str, str], parameter: str) -> str | None:
    """What something is called; None where it is not said, or empty."""
    given = query.get(parameter) or None
    if given is not None and not (len(given) <= _MAX_NAME and given.isprintable()):
        raise QueryError(parameter, f"is a name of at most {_MAX_NAME} characters")
    return given
