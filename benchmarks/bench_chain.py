"""What the middleware chain costs around an engine that does nothing.

The peer of every row is the same engine without a chain, so the difference of the two
columns is what the chain adds; ``added by ...`` rows are that difference beside the 5 ms
that were promised for a request.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

import anyio

from realtime_stts.audio import AudioData
from realtime_stts.middleware import (
    AnalyticsMiddleware,
    CallNext,
    Chain,
    LoggingMiddleware,
    RequestContext,
    TimingMiddleware,
)
from realtime_stts.protocols import StreamingSTTEngine, TranscriptionResult

from ._report import Round, Row, interleaved, timed_async

_CALLS = 100  # of a round: short, so that few are interrupted by other processes
_ITEMS = 500  # of a streamed round
_ROUNDS = 101
_PROMISE = 5000.0  # us
_CLIP = AudioData.silence(1.0, 16_000)


class _NoOpEngine:
    """Answers at once: what is left is the chain."""

    def __init__(self, items: int) -> None:
        self._results = [TranscriptionResult(str(n), "en", [], partial=True) for n in range(items)]
        self._result = TranscriptionResult("hello", "en", [])

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return self._result

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        for result in self._results:
            yield result

    async def is_available(self) -> bool:
        return True

    @property
    def model_loaded(self) -> bool:
        return True


async def _no_op(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
    async for result in call_next(context):
        yield result


async def _nothing() -> AsyncGenerator[AudioData]:
    if False:
        yield _CLIP


def _three(logger: logging.Logger | None = None) -> Chain:
    return Chain(TimingMiddleware(), LoggingMiddleware(logger=logger), AnalyticsMiddleware())


def run() -> list[Row]:
    to_nowhere = logging.Logger("benchmark", logging.INFO)
    to_nowhere.addHandler(logging.NullHandler())
    engine = _NoOpEngine(_ITEMS)
    chains = {
        "chain of 0": Chain(),
        "timing": Chain(TimingMiddleware()),
        "logging, as installed (INFO off)": Chain(LoggingMiddleware()),
        "logging, INFO to a NullHandler": Chain(LoggingMiddleware(logger=to_nowhere)),
        "analytics": Chain(AnalyticsMiddleware()),
        "the three, as installed (INFO off)": _three(),
        "the three, INFO to a NullHandler": _three(to_nowhere),
        "10 no-op layers": Chain(*[_no_op] * 10),
    }
    rows = _one_shot(engine, chains)
    rows += [
        Row(
            f"added by {row.case} / promised",
            ours=row.ours - row.peer,
            peer=_PROMISE,
            unit="us",
            equal=row.equal,
            n=row.n,
            ours_min=row.ours_min - row.peer_min,
        )
        for row in rows
        if row.case.startswith("the three") and row.peer and row.ours_min and row.peer_min
    ]
    streamed = ("chain of 0", "the three, as installed (INFO off)", "10 no-op layers")
    return rows + _streamed(engine, {name: chains[name] for name in streamed})


def _one_shot(engine: _NoOpEngine, chains: dict[str, Chain]) -> list[Row]:
    engines: dict[str, StreamingSTTEngine] = {"bare engine call": engine}
    engines |= {name: chain.wrap(engine) for name, chain in chains.items()}
    expected = anyio.run(engine.transcribe, _CLIP)

    def calls(of: StreamingSTTEngine) -> Round:
        return timed_async(lambda: of.transcribe(_CLIP), _CALLS)

    samples = interleaved(*map(calls, engines.values()), rounds=_ROUNDS)
    return [
        Row.of(
            name,
            sample,
            samples[0] if of is not engine else None,
            equal=anyio.run(of.transcribe, _CLIP) == expected,
        )
        for (name, of), sample in zip(engines.items(), samples, strict=True)
    ]


def _streamed(engine: _NoOpEngine, chains: dict[str, Chain]) -> list[Row]:
    engines: dict[str, StreamingSTTEngine] = {"bare engine": engine}
    engines |= {name: chain.wrap(engine) for name, chain in chains.items()}

    async def results(of: StreamingSTTEngine) -> list[TranscriptionResult]:
        return [result async for result in of.stream(_nothing())]

    async def exhaust(of: StreamingSTTEngine) -> None:
        async for _ in of.stream(_nothing()):
            pass

    def items(of: StreamingSTTEngine) -> Round:
        return timed_async(lambda: exhaust(of), scale=1e6 / _ITEMS)

    expected = anyio.run(results, engine)
    samples = interleaved(*map(items, engines.values()), rounds=_ROUNDS)
    return [
        Row.of(
            f"each streamed result, {name}",
            sample,
            samples[0] if of is not engine else None,
            equal=anyio.run(results, of) == expected,
        )
        for (name, of), sample in zip(engines.items(), samples, strict=True)
    ]
