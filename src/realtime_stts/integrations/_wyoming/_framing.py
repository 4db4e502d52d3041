"""PURE: Wyoming's events as bytes, with a limit on each of their three parts.

An event is a line of JSON, perhaps more JSON, and perhaps a payload, whose lengths the line
tells (https://github.com/OHF-Voice/wyoming, "Format"). The package's own reader believes any
length; here one that is over a limit is refused before anything of that part is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from wyoming.event import Event, Eventable, write_event

__all__ = [
    "MAX_DATA",
    "MAX_LINE",
    "MAX_PAYLOAD",
    "Header",
    "MalformedError",
    "encoded",
    "parsed_data",
    "parsed_header",
]

MAX_LINE: Final = 1 << 16  # bytes; what asyncio's streams, and so the package, take of a line
MAX_DATA: Final = 1 << 18  # bytes; the longest text that may be spoken, four times
MAX_PAYLOAD: Final = 1 << 20  # bytes; half a minute of 16 kHz and 16 bit, in one chunk


class MalformedError(ValueError):
    """These bytes are no event, or a part is too long. What follows them cannot be read."""


@dataclass(frozen=True, slots=True)
class Header:
    """An event's line: its lengths are those of what follows, in bytes, each in its limit."""

    type: str
    data: dict[str, Any]
    data_length: int
    payload_length: int


def parsed_header(line: bytes) -> Header:
    """The line that an event begins with.

    Raises:
        MalformedError: It is not one, or announces too much.
    """
    fields = _object(line, "a line")
    type_, data = fields.get("type"), fields.get("data")
    if not isinstance(type_, str):
        raise MalformedError("an event has a type, which is a string")
    if not isinstance(data, dict | None):
        raise MalformedError("an event's data are an object")
    return Header(
        type_,
        data or {},
        _length(fields, "data_length", MAX_DATA),
        _length(fields, "payload_length", MAX_PAYLOAD),
    )


def parsed_data(raw: bytes) -> dict[str, Any]:
    """The data that follow a line.

    Raises:
        MalformedError: They are not an object.
    """
    return _object(raw, "an event's data")


def encoded(event: Event | Eventable) -> bytes:
    """An event, as it is sent."""
    buffer = BytesIO()
    write_event(event if isinstance(event, Event) else event.event(), buffer)
    return buffer.getvalue()


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as exc:  # the latter of "[[[[..."
        raise MalformedError(f"{what} is JSON in UTF-8") from exc
    if not isinstance(found, dict):
        raise MalformedError(f"{what} is a JSON object")
    return found


def _length(fields: dict[str, Any], name: str, limit: int) -> int:
    length = fields.get(name)
    if length is None:
        return 0
    if type(length) is not int or length < 0:  # a bool is an int, too
        raise MalformedError(f"{name} is a number of bytes")
    if length > limit:
        raise MalformedError(f"{name} is at most {limit} bytes here")
    return length
