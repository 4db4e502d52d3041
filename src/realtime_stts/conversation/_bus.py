"""Named events for whoever subscribed, in this process."""

from __future__ import annotations

import logging

from .._failures import content_free
from ..protocols import ConversationEvent, EventHandler

__all__ = ["InProcessEventBus"]

_logger = logging.getLogger(__name__)


class InProcessEventBus:
    """Calls each handler in the order in which it subscribed.

    A handler that raises is logged and disturbs nobody: neither the other handlers nor
    whoever published.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, list[EventHandler]] = {}

    def subscribe(self, event_type: str, handler: EventHandler) -> None:
        """Tell ``handler`` of every event of that type; subscribing twice counts once."""
        handlers = self._handlers.setdefault(event_type, [])
        if handler not in handlers:
            handlers.append(handler)

    def unsubscribe(self, event_type: str, handler: EventHandler) -> None:
        """Tell it no more; nothing happens if it had not subscribed."""
        handlers = self._handlers.get(event_type, [])
        if handler in handlers:
            handlers.remove(handler)

    @property
    def has_handlers(self) -> bool:
        """Whether anybody is subscribed to anything."""
        return any(self._handlers.values())

    async def publish(self, event: ConversationEvent) -> None:
        """Tell every subscriber, and return when all have been told."""
        for handler in tuple(self._handlers.get(event.event_type, ())):
            await _tell(handler, event)


async def _tell(handler: EventHandler, event: ConversationEvent) -> None:
    try:
        await handler.handle(event)
    except Exception as failure:
        shown = content_free(failure)
        _logger.error("a handler of %r failed", event.event_type, exc_info=shown)  # noqa: TRY400
