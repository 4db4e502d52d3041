"""What engines on Ray cost a call, and what more replicas of them give.

The cluster is this machine's, of one node. The engines are scripted. For throughput their
work is waiting, as that for a GPU is: a call takes 0.2 s of one of a replica's four slots,
and four times as many calls as there are slots come at a time. For the cost of the hop
they do as good as nothing, and the peer is the same engine in this process.

Equal means that every call was answered, and with the same words or samples.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import repeat
from time import perf_counter

import anyio
import ray
from anyio.from_thread import BlockingPortal, start_blocking_portal
from ray import serve

from realtime_stts import (
    AudioData,
    ManagedSTTEngine,
    ManagedTTSEngine,
    StreamingSTTEngine,
    StreamingTTSEngine,
)
from realtime_stts.integrations.ray import RaySTTEngine, RayTTSEngine, deploy_stt, deploy_tts
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine, speak_tones

from ._report import Round, Row, Sample, interleaved

__all__ = ["run"]

_REPLICAS = (1, 2, 4)
_SLOTS = 4
_WORK = 0.2  # s of a call
_WAVES = 4  # calls for each slot
_TEXT = "what is the weather like"
_CALLS = 50  # one-shot calls of a round
_CHUNK = 0.02  # s
_CHUNKS = 250  # of a stream of sound, in either direction

_CLIP = speak_tones(_TEXT, 16_000)
_LONG = "w" * round(_CHUNKS * _CHUNK / 0.06)  # as many chunks of speech


def run() -> list[Row]:
    with _cluster(), start_blocking_portal() as portal:
        return [*_throughput(portal), *_hop(portal)]


@contextmanager
def _cluster() -> Generator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",
        num_cpus=16,  # counted, and not lent
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        serve.start(proxy_location="Disabled")
        yield
        serve.shutdown()
    finally:
        ray.shutdown()


# -- throughput ----------------------------------------------------------------------------


def _throughput(portal: BlockingPortal) -> list[Row]:
    engines = [
        deploy_stt(
            partial(ScriptedSTTEngine, repeat(_TEXT), latency=_WORK),
            name=f"of-{n}",
            replicas=n,
            slots=_SLOTS,
            cpus=0.1,
            max_waiting=_WAVES * _SLOTS * n,
        )
        for n in _REPLICAS
    ]
    right: list[bool] = []
    for engine in engines:
        portal.call(engine.load)
    rounds = [
        partial(portal.call, _calls_per_second, engine, n, right)
        for engine, n in zip(engines, _REPLICAS, strict=True)
    ]
    one, *more = interleaved(*rounds, rounds=5)
    for engine in engines:
        portal.call(engine.unload)
    ideal = Sample(_SLOTS / _WORK, _SLOTS / _WORK, 1)
    equal = all(right)
    rows = [Row.of("1 replica, vs. its slots without a pause", one, ideal, unit="calls/s")]
    rows += [
        Row.of(f"{n} replicas, vs. 1", sample, one, unit="calls/s")
        for n, sample in zip(_REPLICAS[1:], more, strict=True)
    ]
    return [replace(row, equal=equal) for row in rows]


async def _calls_per_second(engine: RaySTTEngine, n_replicas: int, right: list[bool]) -> float:
    n_calls = _WAVES * _SLOTS * n_replicas

    async def call() -> None:
        right.append((await engine.transcribe(_CLIP)).text == _TEXT)

    began = perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(n_calls):
            tasks.start_soon(call)
    return n_calls / (perf_counter() - began)


# -- the hop -------------------------------------------------------------------------------


def _hop(portal: BlockingPortal) -> list[Row]:
    hear = partial(ScriptedSTTEngine, repeat(_TEXT), latency=0.0, partials=False)
    speak = partial(ScriptedTTSEngine, latency=0.0, real_time_factor=0.0, chunk=_CHUNK)
    stt = deploy_stt(hear, name="hop-stt", slots=4, cpus=0.1)
    tts = deploy_tts(speak, name="hop-tts", slots=4, cpus=0.1)
    near_stt, near_tts = hear(), speak()
    engines: list[ManagedSTTEngine | ManagedTTSEngine] = [stt, tts, near_stt, near_tts]
    for engine in engines:
        portal.call(engine.load)
    equal = portal.call(_same, stt, tts, near_stt, near_tts)

    def row(case: str, measure: Callable[..., Awaitable[float]], kind: str, unit: str) -> Row:
        sides = (stt, near_stt) if kind == "stt" else (tts, near_tts)
        rounds: list[Round] = [partial(portal.call, measure, side) for side in sides]
        return Row.of(case, *interleaved(*rounds, rounds=7), unit=unit, equal=equal)

    rows = [
        row(f"one-shot, {_CLIP.duration_seconds:.1f} s of sound", _one_shot, "stt", "ms"),
        row("first chunk of a streamed text", _first_chunk, "tts", "ms"),
        row("each chunk of a streamed text (20 ms)", _each_chunk, "tts", "us"),
        row("each chunk of streamed sound (20 ms)", _each_heard, "stt", "us"),
    ]
    for engine in engines:
        portal.call(engine.unload)
    return rows


async def _same(
    stt: RaySTTEngine, tts: RayTTSEngine, near_stt: ScriptedSTTEngine, near_tts: ScriptedTTSEngine
) -> bool:
    heard = [await engine.transcribe(_CLIP) for engine in (stt, near_stt)]
    spoken = [await engine.synthesize(_TEXT, {}) for engine in (tts, near_tts)]
    return heard[0] == heard[1] and spoken[0].audio_data == spoken[1].audio_data


async def _one_shot(engine: StreamingSTTEngine) -> float:
    began = perf_counter()
    for _ in range(_CALLS):
        await engine.transcribe(_CLIP)
    return (perf_counter() - began) / _CALLS * 1e3


async def _first_chunk(engine: StreamingTTSEngine) -> float:
    taken = []
    for _ in range(_CALLS // 5):
        began = perf_counter()
        async with aclosing(engine.stream(_TEXT)) as chunks:
            await anext(chunks)
            taken.append(perf_counter() - began)
    return sum(taken) / len(taken) * 1e3


async def _each_chunk(engine: StreamingTTSEngine) -> float:
    n = 0
    async with aclosing(engine.stream(_LONG)) as chunks:
        await anext(chunks)
        began = perf_counter()
        async for _ in chunks:
            n += 1
    return (perf_counter() - began) / n * 1e6


async def _each_heard(engine: StreamingSTTEngine) -> float:
    """As fast as it is taken: of a live line there is one chunk each 20 ms."""

    async def sound() -> AsyncGenerator[AudioData]:
        chunk = AudioData(bytes(round(_CHUNK * 16_000) * 2), 16_000)
        for _ in range(_CHUNKS):
            yield chunk

    began = perf_counter()
    async with aclosing(sound()) as audio, aclosing(engine.stream(audio)) as results:
        async for _ in results:
            pass
    return (perf_counter() - began) / _CHUNKS * 1e6
