"""What each middleware costs a call that goes well, beside what one would use instead.

The engine does nothing, so all that is measured is what stands around it. ``ours`` is a
wrapped engine's call and ``peer`` the same engine's call inside the public alternative for
that job: `anyio.fail_after`, stamina's and tenacity's retry, purgatory's circuit breaker,
asyncio's semaphore, a cachetools cache, Starlette's ``BaseHTTPMiddleware`` for an onion of
three. A row whose peer is not installed here stands alone.

``production chain`` is Timeout, Retry, ConcurrencyLimit, CircuitBreaker, Timing, Logging and
Analytics. Rows that begin with ``added by`` are what it adds beside what was promised.

Equal means that the call has the engine's own result through either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from importlib.util import find_spec
from typing import Any

import anyio

from realtime_stts.audio import AudioData
from realtime_stts.middleware import (
    AnalyticsMiddleware,
    AuthenticationMiddleware,
    CacheMiddleware,
    CallNext,
    Chain,
    CircuitBreakerMiddleware,
    ConcurrencyLimitMiddleware,
    FallbackMiddleware,
    HallucinationGuardMiddleware,
    InstrumentationMiddleware,
    LoadShedMiddleware,
    LoggingMiddleware,
    RateLimitMiddleware,
    RedactionMiddleware,
    RequestContext,
    RetryMiddleware,
    TimeoutMiddleware,
    TimingMiddleware,
)
from realtime_stts.protocols import SynthesisResult, TranscriptionResult

from ._report import Round, Row, interleaved, timed_async

__all__ = ["run"]

_CALLS = 100  # of a round: short, so that few are interrupted by other processes
_ITEMS = 500  # of a streamed round
_ROUNDS = 101
_CHAIN_LIMIT, _EMPTY_LIMIT, _ITEM_LIMIT = 60.0, 1.0, 3.0  # us, as promised
_CLIP = AudioData.silence(1.0, 16_000)

_Call = Callable[[], Awaitable[object]]


class _Engine:
    """Answers at once, to everything."""

    model_loaded = True

    def __init__(self) -> None:
        self.heard = TranscriptionResult("hello", "en", [], 0.9)
        self.partial = TranscriptionResult("hell", "en", [], 0.9, partial=True)

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return self.heard

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        for _ in range(_ITEMS - 1):
            yield self.partial
        yield self.heard

    async def is_available(self) -> bool:
        return True


class _Voice:
    model_loaded = True

    def __init__(self) -> None:
        self.said = SynthesisResult(_CLIP, "a second of words", "alice")

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return self.said

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


async def _nothing() -> AsyncGenerator[AudioData]:
    if False:
        yield _CLIP


async def _no_op(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
    async for result in call_next(context):
        yield result


def _production(logger: logging.Logger | None = None, **timeout: float) -> Chain:
    return Chain(
        TimingMiddleware(),
        LoggingMiddleware(logger=logger),
        AnalyticsMiddleware(),
        TimeoutMiddleware(**(timeout or {"first": 5.0, "total": 30.0})),
        ConcurrencyLimitMiddleware(64, waiting=64),
        CircuitBreakerMiddleware(),
        RetryMiddleware(),
    )


def run() -> list[Row]:
    return [*_alone(), *_cached(), *_onion(), *_whole(), *_streamed()]


# -- one middleware ------------------------------------------------------------------------


def _alone() -> list[Row]:
    engine = _Engine()
    layers: dict[str, Any] = {
        "timeout (total), beside anyio.fail_after": TimeoutMiddleware(total=30.0),
        "retry, beside stamina": RetryMiddleware(),
        "retry, beside tenacity": RetryMiddleware(),
        "circuit breaker, beside purgatory": CircuitBreakerMiddleware(),
        "concurrency limit, beside asyncio.Semaphore": ConcurrencyLimitMiddleware(4),
        "rate limit": RateLimitMiddleware(1e9, burst=1e9),
        "fallback": FallbackMiddleware(_Engine()),
        "load shedding": LoadShedMiddleware(),
        "hallucination guard (of a second of silence)": HallucinationGuardMiddleware(),
        "authentication (anonymous)": AuthenticationMiddleware(
            {}, allow_anonymous=True, anonymous_permissions={"stt"}
        ),
        "redaction": RedactionMiddleware(),
        "instrumentation": InstrumentationMiddleware(lambda details: None),
        "timing": TimingMiddleware(),
        "logging (INFO off)": LoggingMiddleware(),
        "analytics": AnalyticsMiddleware(),
    }
    peers = {
        "timeout (total), beside anyio.fail_after": _with_fail_after(engine),
        "retry, beside stamina": _with_stamina(engine),
        "retry, beside tenacity": _with_tenacity(engine),
        "circuit breaker, beside purgatory": _with_purgatory(engine),
        "concurrency limit, beside asyncio.Semaphore": _with_semaphore(engine),
    }
    rows = []
    for name, layer in layers.items():
        wrapped = Chain(layer).wrap(engine)
        rows.append(_row(name, lambda w=wrapped: w.transcribe(_CLIP), peers.get(name)))
    return rows


def _row(name: str, ours: _Call, peer: _Call | None) -> Row:
    expected = anyio.run(_result, ours)
    equal = peer is None or anyio.run(_result, peer) == expected
    sides = [ours] if peer is None else [ours, peer]
    return Row.of(name, *interleaved(*map(_round, sides), rounds=_ROUNDS), equal=equal)


async def _result(call: _Call) -> object:
    return await call()


def _round(call: _Call) -> Round:
    return timed_async(call, _CALLS)


def _with_fail_after(engine: _Engine) -> _Call:
    async def call() -> object:
        with anyio.fail_after(30.0):
            return await engine.transcribe(_CLIP)

    return call


def _with_stamina(engine: _Engine) -> _Call | None:
    if not find_spec("stamina"):
        return None
    import stamina

    @stamina.retry(on=ConnectionError, attempts=3)
    async def call() -> object:
        return await engine.transcribe(_CLIP)

    return call


def _with_tenacity(engine: _Engine) -> _Call | None:
    if not find_spec("tenacity"):
        return None
    import tenacity

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(ConnectionError),
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_exponential_jitter(0.1, 5.0),
    )
    async def call() -> object:
        return await engine.transcribe(_CLIP)

    return call


def _with_purgatory(engine: _Engine) -> _Call | None:
    if not find_spec("purgatory"):
        return None
    from purgatory import AsyncCircuitBreakerFactory

    breakers = AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=30)

    @breakers("engine")
    async def call() -> object:
        return await engine.transcribe(_CLIP)

    return call


def _with_semaphore(engine: _Engine) -> _Call:
    semaphore = asyncio.Semaphore(4)

    async def call() -> object:
        async with semaphore:
            return await engine.transcribe(_CLIP)

    return call


def _cached() -> list[Row]:
    """A call whose result is known, beside a dictionary that knows it by text and settings."""
    from cachetools import LRUCache
    from cachetools.keys import hashkey

    voice = _Voice()
    text, config = "a second of words", {"voice_id": "alice", "seed": 7}
    wrapped = Chain(CacheMiddleware()).wrap(voice)
    known: LRUCache[Any, Any] = LRUCache(1000)

    async def peer() -> object:
        key = hashkey(text, **config)
        if key not in known:
            known[key] = await voice.synthesize(text, config)
        return known[key]

    return [_row("cache hit, beside cachetools", lambda: wrapped.synthesize(text, config), peer)]


def _onion() -> list[Row]:
    """Three layers that do nothing, beside three of Starlette's around a response."""
    wrapped = Chain(_no_op, _no_op, _no_op).wrap(_Engine())
    if not find_spec("starlette"):
        return [_row("3 no-op layers", lambda: wrapped.transcribe(_CLIP), None)]
    layers, plain = _starlette(3), _starlette(0)
    samples = interleaved(
        _round(lambda: wrapped.transcribe(_CLIP)), _round(layers), _round(plain), rounds=_ROUNDS
    )
    equal = anyio.run(_result, layers) == anyio.run(_result, plain) == 200
    rows = [Row.of("3 no-op layers, beside 3 BaseHTTPMiddleware", *samples[:2], equal=equal)]
    return [*rows, Row.of("(Starlette's response without them)", samples[2], equal=equal)]


def _starlette(layers: int) -> _Call:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    class NoOp(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            return await call_next(request)

    async def answer(request: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", answer)], middleware=[Middleware(NoOp)] * layers)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
    }

    async def call() -> object:
        status = 0

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)

        await app(dict(scope), receive, send)
        return status

    return call


# -- the chain -----------------------------------------------------------------------------


def _whole() -> list[Row]:
    engine = _Engine()
    to_nowhere = logging.Logger("benchmark", logging.INFO)
    to_nowhere.addHandler(logging.NullHandler())
    chains = {
        "empty chain": (Chain(), _EMPTY_LIMIT),
        "production chain (INFO off)": (_production(), _CHAIN_LIMIT),
        "production chain, INFO to a NullHandler": (_production(to_nowhere), _CHAIN_LIMIT),
    }
    engines = [engine, *(chain.wrap(engine) for chain, _ in chains.values())]
    equal = [anyio.run(each.transcribe, _CLIP) == engine.heard for each in engines]
    bare, *samples = interleaved(
        *(_round(lambda e=each: e.transcribe(_CLIP)) for each in engines), rounds=_ROUNDS
    )
    rows = [Row.of("bare engine call", bare)]
    for (name, (_, limit)), sample, same in zip(chains.items(), samples, equal[1:], strict=True):
        rows.append(Row.of(name, sample, bare, equal=same))
        rows.append(_added(name, sample.median - bare.median, limit))
    return rows


def _streamed() -> list[Row]:
    engine = _Engine()
    chains = {
        "production chain, first result within 5 s": _production(first=5.0),
        "production chain, and all within 30 s": _production(first=5.0, total=30.0),
    }
    engines: list[Any] = [engine, *(chain.wrap(engine) for chain in chains.values())]

    async def results(of: Any) -> list[object]:
        return [result async for result in of.stream(_nothing())]

    async def exhaust(of: Any) -> None:
        async for _ in of.stream(_nothing()):
            pass

    expected = anyio.run(results, engine)
    equal = [anyio.run(results, each) == expected for each in engines]
    bare, *samples = interleaved(
        *(timed_async(lambda e=each: exhaust(e), scale=1e6 / _ITEMS) for each in engines),
        rounds=_ROUNDS,
    )
    rows = [Row.of("each streamed result, bare engine", bare)]
    for name, sample, same in zip(chains, samples, equal[1:], strict=True):
        rows.append(Row.of(f"each streamed result, {name}", sample, bare, equal=same))
        rows.append(_added(f"each result, {name}", sample.median - bare.median, _ITEM_LIMIT))
    return rows


def _added(what: str, ours: float, promised: float) -> Row:
    return Row(f"added by {what} / promised", ours=ours, peer=promised, unit="us", n=_ROUNDS)
