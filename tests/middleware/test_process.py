"""The contract's ``process(context, next_middleware)`` in a chain."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.middleware import Chain, ContextMiddleware, RequestContext
from realtime_stts.protocols import SynthesisResult

pytestmark = pytest.mark.anyio

CLIP = AudioData.silence(0.1, 16_000)
Next = Callable[[RequestContext], Awaitable[RequestContext]]


class Mouth:
    model_loaded = True

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        return SynthesisResult(CLIP, text, "alice") if text else None

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        yield CLIP

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class BaseMiddleware:
    """As in the contract: a name, a switch, and one method."""

    def __init__(self, name: str = "base", *, enabled: bool = True) -> None:
        self.name, self.enabled = name, enabled

    async def process(self, context: RequestContext, next_middleware: Next) -> RequestContext:
        return await next_middleware(context)


class Shout(BaseMiddleware):
    async def process(self, context: RequestContext, next_middleware: Next) -> RequestContext:
        context.input_data["text"] = context.input_data["text"].upper()
        context = await next_middleware(context)
        result = context.output_data["result"]
        context.output_data["result"] = SynthesisResult(result.audio_data, result.text + "!", "bob")
        return context


class Forgiving(BaseMiddleware):
    """Stores the failure in the context instead of raising it, as the contract lets it."""

    async def process(self, context: RequestContext, next_middleware: Next) -> RequestContext:
        try:
            return await next_middleware(context)
        except EngineError as exc:
            context.error = exc
            return context


class Forgetful(BaseMiddleware):
    async def process(self, context: RequestContext, next_middleware: Next) -> RequestContext:
        return context


async def synthesize(middleware: BaseMiddleware, text: str) -> SynthesisResult | None:
    return await Chain(ContextMiddleware(middleware)).wrap(Mouth()).synthesize(text, {})


async def test_it_changes_the_call_and_its_result() -> None:
    assert await synthesize(Shout(), "hi") == SynthesisResult(CLIP, "HI!", "bob")


async def test_layers_of_both_forms_nest() -> None:
    chain = Chain(ContextMiddleware(Shout("outer")), ContextMiddleware(BaseMiddleware("inner")))
    assert chain.names == ("outer", "inner")
    result = await chain.wrap(Mouth()).synthesize("hi", {})
    assert result == SynthesisResult(CLIP, "HI!", "bob")


async def test_an_error_passes_through_it_or_is_raised_from_the_context() -> None:
    for middleware in (BaseMiddleware(), Forgiving()):
        with pytest.raises(EngineError, match="returned None"):
            await synthesize(middleware, "")


async def test_it_has_to_go_on_or_answer() -> None:
    with pytest.raises(RuntimeError, match="base neither called the next middleware nor answered"):
        await synthesize(Forgetful(), "hi")


async def test_a_time_limit_around_the_next_middleware_is_no_problem() -> None:
    class Limited(BaseMiddleware):
        async def process(self, context: RequestContext, next_middleware: Next) -> RequestContext:
            with anyio.fail_after(60):
                return await next_middleware(context)

    assert await synthesize(Limited(), "hi") == SynthesisResult(CLIP, "hi", "alice")


async def test_it_refuses_a_streaming_call_rather_than_buffer_it() -> None:
    tts = Chain(ContextMiddleware(BaseMiddleware("slow"))).wrap(Mouth())
    async with aclosing(tts.stream("hi")) as chunks:
        with pytest.raises(TypeError, match="slow awaits whole calls"):
            await anext(chunks)


async def test_one_that_is_off_is_passed_by_even_by_streams() -> None:
    tts = Chain(ContextMiddleware(Shout(enabled=False))).wrap(Mouth())
    assert await tts.synthesize("hi", {}) == SynthesisResult(CLIP, "hi", "alice")
    async with aclosing(tts.stream("hi")) as chunks:
        assert [chunk async for chunk in chunks] == [CLIP]
