"""What a session costs per frame, and how many of them one core holds in real time.

A frame is 20 ms of 16 kHz mono, which both sides make from bytes. Ours goes through the
three stages of `Session.push`: pause detector, turn machine and, while somebody speaks,
recogniser. The engines are scripted, so what is measured is the session and not a model.
The peer is pipecat moving the same frames through as many processors that only pass them
on: with what its worker adds by default, and ``bare``, without RTVI, turn tracking and
idle observer.

* In lock-step the next frame follows when the last stage has seen the one before. The
  figure is CPU time, which other processes do not lengthen.
* Paced, each session has a feeder of its own that sends a frame every 20 ms of real time,
  no two of them at the same moment. Ours holds conversations meanwhile: every 15 s each
  user speaks for 4 s and is answered with 2.8 s of speech. The peer's frames take no
  turns. Either side runs as many sessions as take about 75 % of a core; a core holds as
  many as have 50 frames each for every one that went through in a second of CPU time. A
  frame is late by the time from its moment until the last stage has seen it.

Equal means that the last stage saw every frame, in order, that every turn was answered, and
that the paced sides kept up, which they may not on a machine that is busy otherwise.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import repeat
from time import monotonic, process_time  # the first is the clock of asyncio
from typing import Any
from zlib import crc32

import anyio
import numpy as np

from realtime_stts import (
    AudioData,
    ConversationEngine,
    Session,
    TranscriptionResult,
    TurnEnded,
)
from realtime_stts.testing import (
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    speech,
)

from ._report import Round, Row, Sample, interleaved

__all__ = ["run"]

_RATE = 16_000  # Hz
_FRAME = 0.02  # s
_STAGES = 3
_SAID = "could you tell me when the last train to the coast leaves"
_REPLY = "It leaves at ten past nine, from the second platform."
_CHUNK = speech(0.106)  # what it takes to say two characters of it: 2.8 s in all
_SPEECH, _PERIOD = 4.0, 15.0  # s; an utterance, and from one to the next

_LIMIT = 50  # us a frame
_CAPACITY = 300  # sessions on a core

_WARM_UP, _TIMED = 50, 200  # frames of a lock-step round
_ROUNDS = 31
_LOAD = 0.75  # of a core
_SETTLE, _WINDOW = 5.0, _PERIOD  # s of a paced round: unmeasured, then measured
_PACED_ROUNDS = 3
_LATE = 0.5  # s; who falls behind is soon later than a busy moment of the machine lasts

# Noise: no two frames are alike, so the checksum knows their order.
_SOUND = np.random.default_rng(1).integers(-3_000, 3_000, (_WARM_UP + _TIMED, 320), np.int16)
_FRAMES = [frame.tobytes() for frame in _SOUND]


class _Seen:
    """What the last stage of a line saw, and when."""

    def __init__(self) -> None:
        self.moments: list[float] = []  # s, of the event loop's clock; one a frame
        self.faults = 0
        self._n_bytes = 0
        self._checksum = 0
        self._changed = asyncio.Event()

    def sound(self, data: bytes) -> None:
        self._n_bytes += len(data)
        self._checksum = crc32(data, self._checksum)
        self._changed.set()

    def frame(self, data: bytes) -> None:
        self.sound(data)
        self.moments.append(monotonic())

    async def until(self, n_frames: int) -> None:
        while self._n_bytes < n_frames * len(_FRAMES[0]):
            self._changed.clear()
            await self._changed.wait()

    def is_all_of(self, n_frames: int) -> bool:
        """Whether it was so many frames, in order, and nothing went wrong."""
        sent = b"".join(_FRAMES[i % len(_FRAMES)] for i in range(n_frames))
        return (self._n_bytes, self._checksum, self.faults) == (len(sent), crc32(sent), 0)


_Send = Callable[[bytes], Awaitable[None]]
_Line = Callable[[_Seen], AbstractAsyncContextManager[_Send]]  # a session, or a pipeline


def run() -> list[Row]:
    peers: dict[str, _Line] = {}
    if find_spec("pipecat"):
        peers = {"pipecat": _pipeline, "pipecat, bare": partial(_pipeline, bare=True)}
    else:
        print("pipecat is not installed here: `make bench-peers` measures it too")
    return [*_lock_step_rows(peers), *_paced_rows(peers)]


def _beside(
    case: str, ours: Sample, peers: Mapping[str, Sample], *, unit: str, equal: bool
) -> list[Row]:
    if not peers:
        return [Row.of(case, ours, unit=unit, equal=equal)]
    return [
        Row.of(f"{case}, vs. {name}", ours, peer, unit=unit, equal=equal)
        for name, peer in peers.items()
    ]


# -- in lock-step ------------------------------------------------------------------------


def _lock_step_rows(peers: Mapping[str, _Line]) -> Iterator[Row]:
    ours: dict[str, _Line] = {"nobody speaks": _quiet, "somebody speaks": _spoken}
    lines = {**ours, **peers}
    equal = all(anyio.run(_lock_step, line)[1] for line in lines.values())
    samples = interleaved(*map(_per_frame, lines.values()), rounds=_ROUNDS)
    measured = dict(zip(lines, samples, strict=True))
    for name in ours:
        yield from _beside(
            f"a frame while {name} (< {_LIMIT} us)",
            measured[name],
            {peer: measured[peer] for peer in peers},
            unit="us",
            equal=equal,
        )


def _per_frame(line: _Line) -> Round:
    return lambda: anyio.run(_lock_step, line)[0]


async def _lock_step(line: _Line) -> tuple[float, bool]:
    """The CPU time of one frame, in us, and whether all were seen."""
    seen = _Seen()
    start = 0.0
    async with line(seen) as send:
        for number, frame in enumerate(_FRAMES):
            if number == _WARM_UP:
                start = process_time()
            await send(frame)
            await seen.until(number + 1)
        elapsed = process_time() - start
    return elapsed / _TIMED * 1e6, seen.is_all_of(len(_FRAMES))


@asynccontextmanager
async def _quiet(seen: _Seen) -> AsyncGenerator[_Send]:
    detector = _Detector((), seen.sound)
    async with _engine(ScriptedSTTEngine(()), detector).session() as session:
        yield _into(session)


@asynccontextmanager
async def _spoken(seen: _Seen) -> AsyncGenerator[_Send]:
    """The last stage is the recogniser: the utterance lasts from the first frame on."""
    stt, detector = _Recogniser(repeat(_SAID), seen.sound), ScriptedPauseDetector([(0.0, 60.0)])
    async with _engine(stt, detector).session() as session:
        yield _into(session)


# -- paced -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Paced:
    """What so many lines took of a core, and how late their frames were."""

    n: int
    share: float
    capacity: float
    lateness: float  # s; 99 % of the frames were less late
    equal: bool


def _paced_rows(peers: Mapping[str, _Line]) -> Iterator[Row]:
    def alike(line: _Line) -> Callable[[float], _Line]:
        return lambda phase: line

    lines: dict[str, Callable[[float], _Line]] = {"": lambda phase: partial(_conversation, phase)}
    lines |= {name: alike(peer) for name, peer in peers.items()}
    sizes = {name: _size(line) for name, line in lines.items()}
    runs: dict[str, list[_Paced]] = {name: [] for name in lines}
    order = [*lines]
    for _ in range(_PACED_ROUNDS):
        for name in order:
            gc.collect()
            runs[name].append(_kept_up(lines[name], sizes[name]))
        order.reverse()
    equal = all(run.equal for of_line in runs.values() for run in of_line)
    idle = [anyio.run(_paced, alike(_nothing), 1, 0.0, 5.0).lateness for _ in range(3)]
    alone = Sample.of([1e3 * late for late in idle])
    yield Row.of("paced, lateness of a feeder without a session", alone, unit="ms")
    figures: dict[str, tuple[str, Callable[[_Paced], float]]] = {
        "paced, sessions at a time": ("", lambda run: run.n),
        "paced, share of a core": ("%", lambda run: 100 * run.share),
        "paced, a frame's lateness, 99th percentile": ("ms", lambda run: 1e3 * run.lateness),
        f"paced, sessions a core holds (> {_CAPACITY})": ("", lambda run: run.capacity),
    }
    for case, (unit, figure) in figures.items():
        samples = {name: Sample.of([*map(figure, of_line)]) for name, of_line in runs.items()}
        yield from _beside(case, samples.pop(""), samples, unit=unit, equal=equal)


def _kept_up(line: Callable[[float], _Line], n: int) -> _Paced:
    """A run that kept up with the clock, if one of three does."""
    for attempt in range(3):
        run = anyio.run(_paced, line, n, _SETTLE, _WINDOW)
        if run.lateness < _LATE:
            return run
        print(f"{n} sessions fell behind: is the machine busy? (attempt {attempt + 1} of 3)")
    return replace(run, equal=False)


def _size(line: Callable[[float], _Line]) -> int:
    """How many lines take about `_LOAD` of a core; few cost more each than many do."""
    n = 40
    for _ in range(2):
        trial = anyio.run(_paced, line, n, 2.0, 3.0)
        n = max(1, round(_LOAD * trial.capacity))
    return n


async def _paced(line: Callable[[float], _Line], n: int, settle: float, window: float) -> _Paced:
    begin = monotonic() + 1.0  # until then they are opened
    n_frames = round((settle + window) / _FRAME)
    seen = [_Seen() for _ in range(n)]

    async def feed(number: int) -> None:
        async with line(number / n)(seen[number]) as send:
            for i in range(n_frames):
                await anyio.sleep_until(begin + (number / n + i) * _FRAME)
                await send(_FRAMES[i % len(_FRAMES)])
            await seen[number].until(n_frames)

    async with anyio.create_task_group() as tasks:
        for number in range(n):
            tasks.start_soon(feed, number)
        await anyio.sleep_until(begin + settle)
        before, start = process_time(), monotonic()
        await anyio.sleep_until(begin + settle + window)
        computed, end = process_time() - before, monotonic()

    n_through = sum(start <= moment < end for one in seen for moment in one.moments)
    unmeasured = round(settle / _FRAME)
    late = [
        moment - (begin + (number / n + i) * _FRAME)
        for number in range(n)
        for i, moment in enumerate(seen[number].moments)
        if i >= unmeasured
    ]
    lateness = float(np.percentile(late, 99))
    return _Paced(
        n,
        share=computed / (end - start),
        capacity=n_through * _FRAME / computed,
        lateness=lateness,
        equal=all(one.is_all_of(n_frames) for one in seen),
    )


@asynccontextmanager
async def _conversation(phase: float, seen: _Seen) -> AsyncGenerator[_Send]:
    """A session whose user speaks once a period, beginning at that part of the first."""
    starts = [(phase + i) * _PERIOD for i in range(-1, 3)]
    spans = [(max(0.0, start), start + _SPEECH) for start in starts if start + _SPEECH > 0.0]
    engine = _engine(ScriptedSTTEngine(repeat(_SAID)), _Detector(spans, seen.sound))
    n_answered = 0

    async def host(session: Session) -> None:
        nonlocal n_answered
        async for event in session:
            if isinstance(event, TurnEnded):
                n_answered += event.reply == _REPLY

    async with engine.session() as session, anyio.create_task_group() as tasks:
        tasks.start_soon(host, session)

        async def send(frame: bytes) -> None:
            await session.push(AudioData(frame, _RATE))
            seen.moments.append(monotonic())

        yield send
        await session.end_input()
    # The first and the last utterance are cut; they may have been too short for an answer.
    lengths = [min(end, session.clock) - start for start, end in spans if start <= session.clock]
    if not sum(length > 1.0 for length in lengths) <= n_answered <= len(lengths):
        seen.faults += 1


@asynccontextmanager
async def _nothing(seen: _Seen) -> AsyncGenerator[_Send]:
    """Sees each frame at once: how late it is, is the machine's doing."""

    async def send(frame: bytes) -> None:
        seen.frame(frame)

    yield send


# -- the two sides -----------------------------------------------------------------------


class _Detector(ScriptedPauseDetector):
    """Tells what it is given to hear."""

    def __init__(self, spans: Any, seen: Callable[[bytes], None]) -> None:
        super().__init__(spans)
        self._seen = seen

    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        self._seen(audio.data)
        return await super().process_chunk(audio)


class _Recogniser(ScriptedSTTEngine):
    """The same of a recogniser."""

    def __init__(self, script: Any, seen: Callable[[bytes], None]) -> None:
        super().__init__(script)
        self._seen = seen

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async def heard() -> AsyncGenerator[AudioData]:
            async for chunk in audio:
                self._seen(chunk.data)
                yield chunk

        async with (
            aclosing(heard()) as chunks,
            aclosing(super().stream(chunks, language)) as results,
        ):
            async for result in results:
                yield result


class _Voice(ScriptedTTSEngine):
    """Has its sound at hand: computing it is no work of a session's."""

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        await anyio.sleep(self.latency)
        for _ in range(0, len(text), 2):
            await anyio.sleep(self.real_time_factor * _CHUNK.duration_seconds)
            yield _CHUNK


def _engine(stt: ScriptedSTTEngine, detector: ScriptedPauseDetector) -> ConversationEngine:
    return ConversationEngine(
        stt=stt,
        tts=_Voice(),
        responder=ScriptedResponseGenerator(repeat(_REPLY)),
        pause_detector=lambda: detector,
    )


def _into(session: Session) -> _Send:
    async def send(frame: bytes) -> None:
        await session.push(AudioData(frame, _RATE))

    return send


def _pipeline(seen: _Seen, *, bare: bool = False) -> AbstractAsyncContextManager[_Send]:
    from .peers.pipecat_frames import pipeline  # here, because it is not always installed

    return pipeline(_STAGES, seen.frame, bare=bare, sample_rate=_RATE)
