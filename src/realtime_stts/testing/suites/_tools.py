"""How the suites use what they test: at once, in turn, half way, and while looking on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from time import perf_counter
from typing import Any, TypeVar

import anyio
import numpy as np
from anyio.lowlevel import checkpoint

from ...audio import AudioData
from ...protocols import Lifecycle

__all__ = [
    "LIMIT",
    "SOME_REASON",
    "at_once",
    "collect",
    "converted",
    "cut",
    "in_turn",
    "longest_stall",
    "opened",
    "withdraw",
]

T = TypeVar("T")

_TICK = 0.005  # s
SOME_REASON = "."  # whoever refuses says why
LIMIT = 120.0  # s; far over any call here: a hang becomes a failure that names its test


@asynccontextmanager
async def opened(engine: T) -> AsyncGenerator[T]:
    """``engine``, not loaded yet; unloaded afterwards if it knows how."""
    try:
        yield engine
    finally:
        if isinstance(engine, Lifecycle):
            await engine.unload()


async def collect(stream: AsyncGenerator[T]) -> list[T]:
    """All that a stream yields."""
    async with aclosing(stream):
        return [item async for item in stream]


async def in_turn(calls: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """The results of calls made one after the other."""
    return [await call() for call in calls]


async def at_once(calls: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """The results of calls made at the same time, in the order of the calls."""
    results: dict[int, T] = {}
    failures: list[AssertionError] = []

    async def run(index: int, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        try:
            results[index] = await call()
        except AssertionError as failure:  # a group of them would hide what they say
            failures.append(failure)

    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            for index, call in enumerate(calls):
                tasks.start_soon(run, index, call)
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(calls))]


async def withdraw(
    call: Callable[[], Coroutine[Any, Any, object]], ready: anyio.Event | None = None
) -> None:
    """Cancel a call as soon as it waits for anything, once ``ready`` is set."""
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            if ready is not None:
                await ready.wait()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()


async def longest_stall(call: Callable[[], Coroutine[Any, Any, object]]) -> float:
    """Seconds, of real time, for which no other task could run during a call."""
    longest, last = 0.0, perf_counter()

    def look() -> None:
        nonlocal longest, last
        now = perf_counter()
        longest, last = max(longest, now - last), now

    async def tick() -> None:
        while True:
            await anyio.sleep(_TICK)
            look()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await checkpoint()
        look()
        longest = 0.0
        await call()
        look()
        tasks.cancel_scope.cancel()
    return longest


def converted(clip: AudioData, sample_rate: int, channels: int, format: str) -> AudioData:
    """The same sound in every channel of another layout."""
    samples = clip.mono().resampled(sample_rate).samples.repeat(channels, axis=1)
    if format in ("flac", "wav"):
        data = AudioData.from_samples(samples, sample_rate).encode(format)
        return AudioData(data, sample_rate, channels, format)
    return AudioData.from_samples(samples, sample_rate, format)


def cut(clip: AudioData, lengths: Sequence[float]) -> list[AudioData]:
    """A clip in chunks of those lengths in seconds, over and over."""
    frames = np.array([round(length * clip.sample_rate) for length in lengths])
    rounds = -(-clip.n_frames // frames.sum())
    edges = np.minimum(np.cumsum(np.tile(frames, rounds)), clip.n_frames) / clip.sample_rate
    starts = [0.0, *edges[:-1]]
    return [clip.sliced(start, end) for start, end in zip(starts, edges, strict=True)]
