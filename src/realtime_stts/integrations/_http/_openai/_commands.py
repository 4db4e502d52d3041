"""PURE: what a client of the Realtime API may say."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from ._config import RealtimeRefusal, is_whole

__all__ = [
    "Append",
    "Cancel",
    "Clear",
    "Command",
    "Commit",
    "Create",
    "Truncate",
    "Update",
    "event_id_of",
    "message_of",
    "parsed",
]

_MAX_ID: Final = 512  # characters
_UNSUPPORTED: Final = frozenset(
    {
        "conversation.item.create",
        "conversation.item.delete",
        "conversation.item.retrieve",
        "output_audio_buffer.clear",
    }
)


@dataclass(frozen=True, slots=True)
class Append:
    """More sound, in 16-bit samples of the session's rate, cut anywhere."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """The user's turn is over."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Forget the sound of the turn that is not over."""


@dataclass(frozen=True, slots=True)
class Update:
    """Hold the session otherwise."""

    session: Any


@dataclass(frozen=True, slots=True)
class Create:
    """Answer."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop answering."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """The user heard so much of that answer."""

    item_id: str
    content_index: int
    audio_end_ms: int


Command = Append | Commit | Clear | Update | Create | Cancel | Truncate


def message_of(data: str | bytes) -> Mapping[str, Any]:
    """The JSON object that a client's message is.

    Raises:
        RealtimeRefusal: It is none.
    """
    message = None
    if isinstance(data, str):
        with suppress(ValueError, RecursionError):
            message = json.loads(data)
    if not isinstance(message, Mapping):
        raise RealtimeRefusal("A message is a JSON object, as text.", code="invalid_json")
    return message


def event_id_of(message: Mapping[str, Any]) -> str | None:
    """What the client calls its message, to tell it what an error is about."""
    id = message.get("event_id")
    return id if isinstance(id, str) and len(id) <= _MAX_ID and is_whole(id) else None


def parsed(message: Mapping[str, Any]) -> Command:
    """What the client wants.

    Raises:
        RealtimeRefusal: It cannot be understood, or done by any server of ours.
    """
    match message.get("type"):
        case "input_audio_buffer.append":
            return Append(_audio(message.get("audio")))
        case "input_audio_buffer.commit":
            return Commit()
        case "input_audio_buffer.clear":
            return Clear()
        case "session.update":
            return Update(message.get("session"))
        case "response.create":
            return Create()
        case "response.cancel":
            return Cancel()
        case "conversation.item.truncate":
            return Truncate(
                _id(message.get("item_id")),
                _count(message.get("content_index"), "content_index"),
                _count(message.get("audio_end_ms"), "audio_end_ms"),
            )
        case str() as kind if kind in _UNSUPPORTED:
            raise RealtimeRefusal(f"This server does not do {kind}.", "type", "unsupported")
        case _:
            raise RealtimeRefusal("There is no such type of message.", "type", "invalid_type")


def _audio(value: Any) -> bytes:
    if not isinstance(value, str):
        raise RealtimeRefusal("audio is base64 in a text.", "audio", "invalid_type")
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise RealtimeRefusal("audio is not valid base64.", "audio") from None


def _id(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID:
        raise RealtimeRefusal("item_id is an item's id.", "item_id", "invalid_type")
    return value


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise RealtimeRefusal(f"{name} is a whole number from 0.", name, "invalid_type")
    return value
