"""The contract's middleware, ``process(context, next_middleware)``, in a chain."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol

from .._edge import engine_name
from ._context import RequestContext
from ._middleware import CallNext

__all__ = ["ContextMiddleware", "ProcessMiddleware"]


class ProcessMiddleware(Protocol):
    """Code around a call that is awaited as a whole."""

    async def process(
        self,
        context: RequestContext,
        next_middleware: Callable[[RequestContext], Awaitable[RequestContext]],
    ) -> RequestContext:
        """Await ``next_middleware`` for the rest of the chain and return its context.

        The result is in ``output_data["result"]``, and the one left there is returned.
        """
        ...


class ContextMiddleware:
    """A `ProcessMiddleware` as a layer of a chain, for one-shot calls.

    It awaits the whole call, with whatever time limit it holds meanwhile. Results that are
    forwarded as they come cannot pass through that without being buffered, or consumed
    inside somebody else's time limit; so a streaming call raises TypeError. One whose
    ``enabled`` is false is passed by, as in the contract.
    """

    def __init__(self, middleware: ProcessMiddleware) -> None:
        self._middleware = middleware
        self.name = engine_name(middleware)

    async def __call__(
        self, context: RequestContext, call_next: CallNext, /
    ) -> AsyncGenerator[Any]:
        if not getattr(self._middleware, "enabled", True):
            async with aclosing(call_next(context)) as results:
                async for result in results:
                    yield result
            return
        if context.streaming:
            raise TypeError(f"{self.name} awaits whole calls: it cannot be around a stream")

        async def next_middleware(given: RequestContext) -> RequestContext:
            async with aclosing(call_next(given)) as results:
                async for result in results:
                    given.output_data["result"] = result
            return given

        processed = await self._middleware.process(context, next_middleware)
        # The contract lets a middleware store a failure instead of raising it.
        if processed.error is not None:
            raise processed.error
        if "result" not in processed.output_data:
            raise RuntimeError(f"{self.name} neither called the next middleware nor answered")
        yield processed.output_data["result"]
