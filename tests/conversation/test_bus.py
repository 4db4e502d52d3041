from __future__ import annotations

import logging

import pytest

from realtime_stts import ConversationEvent, EventBus
from realtime_stts.conversation._bus import InProcessEventBus

pytestmark = pytest.mark.anyio


class Note:
    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    async def handle(self, event: ConversationEvent) -> None:
        self.notes.append(f"{self.name} {event.event_type} {event.data['n']}")


class Broken:
    async def handle(self, event: ConversationEvent) -> None:
        raise OSError


async def test_subscribers_are_told_in_order_of_what_they_subscribed_to() -> None:
    bus, notes = InProcessEventBus(), list[str]()
    first, second = Note("first", notes), Note("second", notes)
    assert isinstance(bus, EventBus)
    assert not bus.has_handlers
    bus.subscribe("a", first)
    bus.subscribe("a", second)
    bus.subscribe("a", first)
    assert bus.has_handlers
    await bus.publish(ConversationEvent("a", {"n": 1}))
    await bus.publish(ConversationEvent("b", {"n": 2}))
    bus.unsubscribe("a", first)
    bus.unsubscribe("a", first)
    bus.unsubscribe("never", first)
    await bus.publish(ConversationEvent("a", {"n": 3}))
    assert notes == ["first a 1", "second a 1", "second a 3"]


async def test_a_handler_that_fails_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    bus, notes = InProcessEventBus(), list[str]()
    bus.subscribe("a", Broken())
    bus.subscribe("a", Note("after", notes))
    with caplog.at_level(logging.ERROR):
        await bus.publish(ConversationEvent("a", {"n": 1}))
    assert notes == ["after a 1"]
    assert "a handler of 'a' failed" in caplog.text
