"""What a middleware is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol

from ._context import RequestContext

__all__ = ["CallNext", "CallOnce", "Middleware"]

CallNext = Callable[[RequestContext], AsyncGenerator[Any]]  # the rest of a chain
CallOnce = Callable[[RequestContext], Awaitable[Any]]  # the same, where there is one result


class Middleware(Protocol):
    """Code around an engine call: an async generator function, or an object called like one.

        async def shout(context, call_next):
            async for result in call_next(context):
                yield replace(result, text=result.text.upper())

    STT gives `TranscriptionResult`, a responder `str`, TTS `SynthesisResult` or, where
    ``context.streaming``, `AudioData`. A one-shot call is a stream of exactly one. A
    middleware forwards results as they come and holds no cancel scope or task group open
    across a ``yield``. What it leaves open of ``call_next``, the chain closes when the call
    ends.
    """

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        """Serve one call; ``call_next`` is the rest of the chain."""
        ...
