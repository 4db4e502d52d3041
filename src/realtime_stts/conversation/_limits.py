"""How long a session waits for whom: what hangs ends in an error, and not in silence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from typing import TypeVar

import anyio

from .._edge import engine_name
from ..errors import EngineTimeoutError

__all__ = ["SessionLimits", "next_within"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Seconds of the event loop's clock; None is no limit.

    An engine that takes longer fails its turn with `EngineTimeoutError`; the session goes on.
    """

    transcription: float | None = 10.0  # from the end of a turn to its final transcript
    response: float | None = 30.0  # for a responder's next piece
    synthesis: float | None = 15.0  # for a sentence's next sound
    send: float | None = 10.0  # for a client to take a message; then it counts as gone
    duration: float | None = None  # of the session
    input_gap: float | None = None  # without any audio; a live line that is silent still has some

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value is not None and not value > 0:
                raise ValueError(f"the limit {limit.name} must be positive, but is {value}")


async def next_within(items: AsyncIterator[T], seconds: float | None, engine: object) -> T:
    """The next item.

    Raises:
        StopAsyncIteration: There are no more.
        EngineTimeoutError: It did not come in time. The iterator has been cancelled.
    """
    if seconds is None:
        return await anext(items)
    with anyio.move_on_after(seconds):
        return await anext(items)
    raise EngineTimeoutError(engine_name(engine), seconds)
