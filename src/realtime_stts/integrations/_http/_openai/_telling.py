"""PURE: the messages of the Realtime API, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._config import RealtimeConfig

__all__ = ["Message", "Telling", "item_of"]

Message = dict[str, Any]


class Telling:
    """What all that one client is told hangs together by.

    Attributes:
        config: What is in force.
        make_id: Makes an id that begins as it is told.
        origin: Seconds heard by the sessions before this one.
    """

    def __init__(self, config: RealtimeConfig, make_id: Callable[[str], str]) -> None:
        self.config = config
        self.make_id = make_id
        self.origin = 0.0
        self._last_item: str | None = None

    def event(self, type: str, **fields: Any) -> Message:
        return {"type": type, "event_id": self.make_id("event"), **fields}

    def follow(self, item_id: str) -> str | None:
        """The item that the new one comes after."""
        previous, self._last_item = self._last_item, item_id
        return previous

    def ms(self, at: float) -> int:
        """A moment of this session as the client counts."""
        return round((self.origin + at) * 1000)


def item_of(id: str, role: str, status: str, content: list[Message]) -> Message:
    """A part of the conversation."""
    return {
        "id": id,
        "object": "realtime.item",
        "type": "message",
        "role": role,
        "status": status,
        "content": content,
    }
