"""What a chain of middleware costs around an engine that does nothing.

The figures are what a chain adds: each round of it less the round of the bare engine
beside it, in CPU time. The sides take turns, there and back, so that a busy moment of the
machine hits all of them; the garbage collector is held off within a round. First every
chain has to give what the bare engine gives.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from time import get_clock_info, perf_counter, thread_time
from typing import Final

from anyio.lowlevel import checkpoint

from ..audio import AudioData
from ..middleware import (
    AnalyticsMiddleware,
    Chain,
    CircuitBreakerMiddleware,
    ConcurrencyLimitMiddleware,
    LoggingMiddleware,
    RetryMiddleware,
    TimeoutMiddleware,
    TimingMiddleware,
)
from ..protocols import StreamingSTTEngine, TranscriptionResult
from ..testing import chunked
from ._check import CheckError
from ._figures import Figure, Job

__all__ = ["added", "chains", "measure"]

_CALLS: Final = 100  # of a round: short, so that few are interrupted by other processes
_RESULTS: Final = 500  # of a stream
_ROUNDS, _ROUNDS_QUICK = 151, 51
_CLIP: Final = AudioData.silence(1.0, 16_000)
_NOTHING: Final = AudioData(b"", 16_000)
_BARE: Final = "bare engine"

# Other processes do not lengthen CPU time. Windows counts it in steps of 16 ms.
_clock = thread_time if get_clock_info("thread_time").resolution <= 1e-6 else perf_counter

_Side = Callable[[], Awaitable[object]]


async def measure(job: Job) -> list[Figure]:
    """Microseconds that each chain adds to a call, and to each result of a stream.

    Raises:
        CheckError: A chain changed what the engine gave.
    """
    n_rounds = _ROUNDS_QUICK if job.quick else _ROUNDS
    engine = _NoOpEngine(_RESULTS)
    job.tell("one-shot calls")
    sides = await _checked(engine, chains(first=5.0, total=30.0))
    calls = {name: _calls(side) for name, side in sides.items()}
    figures = await _figures("a call", calls, n_rounds, _CALLS)
    job.tell("streams")
    sides = await _checked(engine, chains(first=5.0))
    streams = {name: _stream(side) for name, side in sides.items()}
    return figures + await _figures("a streamed result", streams, n_rounds, _RESULTS)


def chains(*, first: float, total: float | None = None) -> dict[str, Chain]:
    """What is measured, by name; with the limits of the timeout, in seconds.

    Logging is as installed: INFO is off.
    """
    three = (TimingMiddleware(), LoggingMiddleware(), AnalyticsMiddleware())
    return {
        "no layer": Chain(),
        "one layer": Chain(TimingMiddleware()),
        "three layers": Chain(*three),
        "seven layers": Chain(
            *three,
            TimeoutMiddleware(first=first, total=total),
            ConcurrencyLimitMiddleware(64, waiting=64),
            CircuitBreakerMiddleware(),
            RetryMiddleware(),
        ),
    }


_NOTES: Final = {
    "no layer": "an empty chain",
    "one layer": "timing",
    "three layers": "timing, logging, analytics",
    "seven layers": "those, timeout, concurrency limit, circuit breaker, retry",
}


async def _checked(
    engine: _NoOpEngine, chains: Mapping[str, Chain]
) -> dict[str, StreamingSTTEngine]:
    """The bare engine, and the engine in each chain."""
    sides: dict[str, StreamingSTTEngine] = {_BARE: engine}
    sides |= {name: chain.wrap(engine) for name, chain in chains.items()}
    for name, side in sides.items():
        if await side.transcribe(_CLIP) != engine.result or await _all(side) != engine.results:
            raise CheckError(f"the chain of {name} changed what the engine gave")
    return sides


async def _figures(
    what: str, sides: Mapping[str, _Side], n_rounds: int, per_round: int
) -> list[Figure]:
    rounds = await added(sides, n_rounds)
    bare = tuple(1e6 * seconds / per_round for seconds in rounds.pop(_BARE))
    return [
        Figure("middleware", f"{what}, {_BARE}", "us", bare, better=""),
        *(
            Figure(
                "middleware",
                f"added to {what} by {name}",
                "us",
                tuple(1e6 * seconds / per_round for seconds in samples),
                better="lower" if name != "no layer" else "",  # a few instructions
                note=_NOTES[name],
            )
            for name, samples in rounds.items()
        ),
    ]


async def added(sides: Mapping[str, _Side], n_rounds: int) -> dict[str, list[float]]:
    """Seconds of each round of the first side, and for the others what they took more.

    One unmeasured round of each comes first.
    """
    for side in sides.values():
        await side()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    order = [*sides]
    gc.collect()
    gc.freeze()  # what is there already need not be looked at again before each round
    try:
        for _ in range(n_rounds):
            for name in order:
                taken[name].append(await _round(sides[name]))
            order.reverse()
    finally:
        gc.unfreeze()
    bare, *others = taken
    return {
        bare: taken[bare],
        **{
            name: [ours - theirs for ours, theirs in zip(taken[name], taken[bare], strict=True)]
            for name in others
        },
    }


async def _round(side: _Side) -> float:
    await checkpoint()  # the loop forgets the timers of the round before
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        began = _clock()
        await side()
        return _clock() - began
    finally:
        if enabled:
            gc.enable()


def _calls(engine: StreamingSTTEngine) -> _Side:
    async def calls() -> None:
        for _ in range(_CALLS):
            await engine.transcribe(_CLIP)

    return calls


def _stream(engine: StreamingSTTEngine) -> _Side:
    async def exhaust() -> None:
        async for _ in engine.stream(chunked(_NOTHING)):
            pass

    return exhaust


async def _all(engine: StreamingSTTEngine) -> list[TranscriptionResult]:
    return [result async for result in engine.stream(chunked(_NOTHING))]


class _NoOpEngine:
    """Answers at once: what is left is the chain."""

    model_loaded = True

    def __init__(self, n: int) -> None:
        self.result = TranscriptionResult("hello", "en", [])
        self.results = [TranscriptionResult(str(i), "en", [], partial=True) for i in range(n)]

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return self.result

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        for result in self.results:
            yield result

    async def is_available(self) -> bool:
        return True
