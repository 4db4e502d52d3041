"""``Chain.wrap`` gives back the most capable Protocol that the engine has."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from typing_extensions import assert_type

from realtime_stts.middleware import (
    AnalyticsMiddleware,
    CallNext,
    Chain,
    ContextMiddleware,
    LoggingMiddleware,
    Middleware,
    ProcessMiddleware,
    RequestContext,
    TimingMiddleware,
)
from realtime_stts.protocols import (
    ManagedSTTEngine,
    ManagedTTSEngine,
    ResponseGenerator,
    StreamingResponseGenerator,
    StreamingSTTEngine,
    StreamingTTSEngine,
    STTEngine,
    TranscriptionResult,
    TTSEngine,
)


class Shout:
    async def __call__(
        self, context: RequestContext, call_next: CallNext
    ) -> AsyncGenerator[TranscriptionResult]:
        async for result in call_next(context):
            yield replace(result, text=result.text.upper())


async def through(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
    async for result in call_next(context):
        yield result


def wrap_keeps_the_kind_of_engine(
    managed_stt: ManagedSTTEngine,
    streaming_stt: StreamingSTTEngine,
    stt: STTEngine,
    managed_tts: ManagedTTSEngine,
    streaming_tts: StreamingTTSEngine,
    tts: TTSEngine,
    streaming_responder: StreamingResponseGenerator,
    responder: ResponseGenerator,
) -> None:
    chain = Chain(TimingMiddleware(), LoggingMiddleware(), AnalyticsMiddleware(), Shout(), through)
    assert_type(chain.wrap(managed_stt), ManagedSTTEngine)
    assert_type(chain.wrap(streaming_stt), StreamingSTTEngine)
    assert_type(chain.wrap(stt), STTEngine)
    assert_type(chain.wrap(managed_tts), ManagedTTSEngine)
    assert_type(chain.wrap(streaming_tts), StreamingTTSEngine)
    assert_type(chain.wrap(tts), TTSEngine)
    assert_type(chain.wrap(streaming_responder), StreamingResponseGenerator)
    assert_type(chain.wrap(responder), ResponseGenerator)
    assert_type(chain.wrap(chain.wrap(managed_stt)), ManagedSTTEngine)


def chains_are_values(processing: ProcessMiddleware) -> None:
    chain = Chain(ContextMiddleware(processing)) + Chain(through)
    assert_type(chain, Chain)
    assert_type(chain.then(Shout()), Chain)
    assert_type(list(chain), list[Middleware])
    assert_type(chain.names, tuple[str, ...])


def what_is_no_engine_or_no_middleware_is_refused() -> None:
    Chain().wrap(object())  # type: ignore[call-overload]  # pyright: ignore
    Chain("through")  # type: ignore[arg-type]  # pyright: ignore
