"""How one call runs: down the layers to the engine, and its results back up.

To a middleware every call is a stream of results, a one-shot call a stream of exactly one.
The layers are linked once, when an engine is wrapped; there is no task, no queue and no
context copy, and where only observers stand around a one-shot call, no generator either.
Both ends are clocked, so that the time of the engine, of the caller and of the layers
between can be told apart.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import groupby
from time import perf_counter
from types import TracebackType
from typing import Any, Final, NamedTuple, cast

from .._edge import not_none, streaming_responder, streaming_stt, streaming_tts
from .._request import current_origin, new_request_id
from ._context import RequestContext
from ._middleware import CallNext, CallOnce, Middleware
from ._observer import Observer, watched, watched_once

__all__ = ["link", "link_once", "one_shot", "serve", "streamed"]

# -- running -----------------------------------------------------------------------------


async def one_shot(
    call: CallOnce,
    request_type: str,
    engine: str,
    input_data: dict[str, Any],
    config: dict[str, Any],
) -> Any:
    """Run a call that has one result."""
    origin = current_origin()
    context = RequestContext(
        origin.request_id or new_request_id(),
        request_type,
        input_data=input_data,
        config=config,
        engine=engine,
        session_id=origin.session_id,
    )
    with _Ending(context):
        try:
            return await call(context)
        finally:
            if context._opened:
                await _close(context._opened)


async def streamed(
    call: CallNext,
    request_type: str,
    engine: str,
    input_data: dict[str, Any],
    config: dict[str, Any],
) -> AsyncGenerator[Any]:
    """Run a call whose results come as they are made."""
    origin = current_origin()
    context = RequestContext(
        origin.request_id or new_request_id(),
        request_type,
        input_data=input_data,
        config=config,
        engine=engine,
        streaming=True,
        session_id=origin.session_id,
    )
    with _Ending(context):
        try:
            async for result in call(context):
                given = perf_counter()
                try:
                    yield result
                finally:
                    context.consumer_time += perf_counter() - given
        finally:
            await _close(context._opened)


class _Ending:
    """Says in the context how the call inside went."""

    __slots__ = ("_context",)

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._context._end(exc)


async def _close(opened: Iterable[AsyncGenerator[Any]]) -> None:
    """Close what a middleware left open: outermost first, and all, whatever one raises."""
    # A generator without a frame has ended, as all have unless a call was cut short.
    left = [results for results in opened if getattr(results, "ag_frame", results) is not None]
    if left:
        async with AsyncExitStack() as stack:
            for results in reversed(left):
                stack.push_async_callback(results.aclose)


# -- linking -----------------------------------------------------------------------------


def link(layers: Sequence[Middleware], engine: object, request_type: str) -> CallNext | None:
    """The layers, outermost first, around the engine's streaming method; None for no layers."""
    if not layers:
        return None
    call = _recorded(_end(engine, request_type))
    for watching, run in groupby(reversed(layers), _only_watches):
        if watching:
            call = _recorded(partial(watched, tuple(cast("Iterable[Observer]", run)), call))
        else:
            call = _around(run, call)
    return call


def link_once(layers: Sequence[Middleware], engine: object, request_type: str) -> CallOnce | None:
    """The layers, outermost first, around the engine's one-shot method; None for no layers."""
    if not layers:
        return None
    call = _end_once(engine, request_type)
    for watching, run in groupby(reversed(layers), _only_watches):
        if watching:
            call = partial(watched_once, tuple(cast("Iterable[Observer]", run)), call)
        else:
            call = _only_result(_around(run, _recorded(_stream_of(call))))
    return call


def serve(engine: object, context: RequestContext) -> AsyncGenerator[Any]:
    """Give a call to ``engine``, as the end of a chain does: for a middleware with its own.

    An engine that does not stream serves a streaming call as well as the edge lets it.
    """
    if context.streaming:
        end = _end(engine, context.request_type)
    else:
        end = _stream_of(_end_once(engine, context.request_type))
    return _recorded(end)(context)


def _only_watches(layer: Middleware) -> bool:
    return isinstance(layer, Observer) and type(layer).__call__ is Observer.__call__


def _around(layers: Iterable[Middleware], call: CallNext) -> CallNext:
    for middleware in layers:
        call = _recorded(_linked(middleware, call))
    return call


def _linked(middleware: Middleware, call_next: CallNext) -> CallNext:
    return lambda context: middleware(context, call_next)


def _recorded(call: CallNext) -> CallNext:
    def recorded(context: RequestContext) -> AsyncGenerator[Any]:
        results = call(context)
        context._opened.append(results)
        return results

    return recorded


def _stream_of(call: CallOnce) -> CallNext:
    async def stream(context: RequestContext) -> AsyncGenerator[Any]:
        yield await call(context)

    return stream


def _only_result(call: CallNext) -> CallOnce:
    async def only_result(context: RequestContext) -> Any:
        results = [result async for result in call(context)]
        if len(results) != 1:
            raise RuntimeError(
                f"a middleware made {len(results)} results of the one that this "
                f"{context.request_type} call has (request {context.request_id})"
            )
        return results[0]

    return only_result


# -- the engine's end --------------------------------------------------------------------


class _Kind(NamedTuple):
    """How a context becomes a call of an engine's method."""

    arguments: Callable[[RequestContext], tuple[Any, ...]]
    once: str  # the method for each
    stream: str
    streaming: Callable[[Any], Any]  # the engine, as one that streams


_KINDS: Final = {
    "stt": _Kind(
        lambda context: (context.input_data["audio"], context.config.get("language")),
        "transcribe",
        "stream",
        streaming_stt,
    ),
    "tts": _Kind(
        lambda context: (context.input_data["text"], context.config),
        "synthesize",
        "stream",
        streaming_tts,
    ),
    "response": _Kind(
        lambda context: (context.input_data["transcription"], context.input_data["context"]),
        "generate_response",
        "stream_response",
        streaming_responder,
    ),
}


def _end_once(engine: object, request_type: str) -> CallOnce:
    kind = _KINDS[request_type]
    arguments, method = kind.arguments, getattr(engine, kind.once)

    async def end(context: RequestContext) -> Any:
        asked = perf_counter()
        try:
            result = await method(*arguments(context))
        finally:
            context.engine_time += perf_counter() - asked
        return not_none(result, engine)

    return end


def _end(engine: object, request_type: str) -> CallNext:
    kind = _KINDS[request_type]
    arguments, method = kind.arguments, getattr(kind.streaming(engine), kind.stream)

    async def end(context: RequestContext) -> AsyncGenerator[Any]:
        results = method(*arguments(context))
        try:
            while True:
                asked = perf_counter()
                try:
                    result = await anext(results)
                except StopAsyncIteration:
                    return
                finally:
                    context.engine_time += perf_counter() - asked
                yield result
        finally:
            asked = perf_counter()
            try:
                await results.aclose()
            finally:
                context.engine_time += perf_counter() - asked

    return end
