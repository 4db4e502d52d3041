"""How many conversations one core holds in real time.

The engines are scripted: they take their time and none of the processor's, so that what is
measured is the session and not a model. As many conversations are held at a time as keep
95 % of their frames within the budget; the number is found by halving what lies between
one that does and one that does not. An event loop runs on one core, however many there are.

Where there is time for it, the same is asked of the job's engines on this machine: how many
conversations at a time still have their answers soon, with all its cores.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, Final

import anyio
import numpy as np

from ..audio import AudioData
from ..conversation import ConversationEngine
from ..protocols import ConversationContext, ManagedSTTEngine, ManagedTTSEngine, TranscriptionResult
from ..testing import (
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    speech,
)
from ._check import CheckError
from ._figures import Figure, Job
from ._load import FRAME, RATE, Line, Trial, hold
from ._onsets import trimmed

__all__ = ["FULL", "QUICK", "Plan", "largest", "measure", "real", "scripted", "scripted_line"]

_BUDGET: Final = 0.02  # s of lateness: the next frame is due by then
_LATER: Final = 0.5  # s by which answers may be later than those to a single caller

_PERIOD: Final = 15.0  # s from one utterance of a user to their next
_SPEECH: Final = 4.0  # s of it
_TAIL: Final = 3.0  # s in which who has spoken last is answered
_SPREAD: Final = (5**0.5 - 1) / 2  # multiples of the golden ratio lie evenly, however many
_SAID: Final = "could you tell me when the last train to the coast leaves"
_REPLY: Final = "It leaves at ten past nine, from the second platform."
_SHORT_REPLY: Final = "Here is an answer."


@dataclass(frozen=True, slots=True)
class Plan:
    """How thoroughly it is searched."""

    first: int  # conversations of the first trial
    most: int  # and at most
    settle: float  # s of a trial, unmeasured
    window: float  # s of it, measured
    searches: int
    within: float  # the largest that holds and the smallest that does not differ by this share


QUICK: Final = Plan(first=40, most=4000, settle=0.5, window=2.0, searches=1, within=0.1)
FULL: Final = Plan(first=40, most=4000, settle=2.0, window=5.0, searches=3, within=0.03)


async def measure(job: Job) -> list[Figure]:
    """Sessions a core holds and what one takes; in full, sessions with the job's engines.

    Raises:
        CheckError: A turn failed.
        ValueError: There is no utterance, and it is to be measured in full.
    """
    figures = await scripted(job, QUICK if job.quick else FULL)
    if job.quick:
        return figures
    async with job.stt() as stt, job.tts() as tts:
        await stt.warmup()
        await tts.warmup()
        return figures + await real(job, stt, tts)


async def largest(
    holds: Callable[[int], Awaitable[bool]], first: int, most: int, within: float
) -> int:
    """The largest number that holds, as if all below it did; 0 if not even 1 does.

    It is right to a share of ``within``.
    """
    low, high = 0, first
    while high <= most and await holds(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > max(1, within * low):
        middle = (low + high) // 2
        if await holds(middle):
            low = middle
        else:
            high = middle
    return low


# -- without a model ---------------------------------------------------------------------


async def scripted(job: Job, plan: Plan) -> list[Figure]:
    """What is found with scripted engines."""
    trials: list[Trial] = []

    async def holds(n: int) -> bool:
        job.tell(f"{n} conversations at a time")
        trial = await hold(scripted_line, n, plan.settle, plan.window)
        trials.append(trial)
        return _p95(trial.lateness) <= _BUDGET

    if not await holds(plan.first):
        raise CheckError(
            f"{plan.first} conversations already fall behind: is the machine busy otherwise?"
        )
    few = trials[0]
    # Few of them cost more each than many do, so this is less than what a core holds.
    start = max(plan.first, min(plan.most, round(0.8 * few.n / max(few.cpu, 1e-6))))
    sizes = [await largest(holds, start, plan.most, plan.within) for _ in range(plan.searches)]
    held = [trial for trial in trials if trial.n in sizes and trial is not few] or [few]
    return [
        Figure(
            "sessions",
            "sessions a core holds",
            "",
            tuple(map(float, sizes)),
            better="higher",
            note=f"95 % of frames at most {1e3 * _BUDGET:g} ms late; without a model",
        ),
        Figure(
            "sessions",
            "CPU time of a session",
            "%",
            tuple(100 * trial.cpu / trial.n for trial in held),
            note=f"of a core, with so many; each user speaks {_SPEECH:g} s in {_PERIOD:g}",
        ),
        _late("lateness of frames with so many, p95", held),
        _late(f"lateness of frames with {few.n}, p95", [few]),
    ]


def _late(case: str, trials: Sequence[Trial]) -> Figure:
    return Figure("sessions", case, "ms", tuple(1e3 * _p95(trial.lateness) for trial in trials))


def _p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95, method="inverted_cdf"))


def scripted_line(number: int) -> Line:
    """A user who speaks once a period, each at another moment of it."""
    phase = number * _SPREAD % 1.0
    starts = [(phase + i) * _PERIOD for i in range(-1, 8)]
    spans = [(max(0.0, at), at + _SPEECH) for at in starts if at + _SPEECH > FRAME]
    engine = ConversationEngine(
        stt=ScriptedSTTEngine(repeat(_SAID)),
        tts=_Voice(),
        responder=ScriptedResponseGenerator(repeat(_REPLY)),
        pause_detector=lambda: ScriptedPauseDetector(spans),
    )
    return Line(engine, _NOISE)


_CHUNK: Final = speech(0.106)  # what it takes to say two characters: 2.8 s of an answer
_NOISE: Final = tuple(
    frame.tobytes()
    for frame in np.random.default_rng(1).integers(-3_000, 3_000, (50, round(FRAME * RATE)), "<i2")
)


class _Voice(ScriptedTTSEngine):
    """Has its sound at hand: computing it is no work of a session's."""

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        await anyio.sleep(self.latency)
        for _ in range(0, len(text), 2):
            await anyio.sleep(self.real_time_factor * _CHUNK.duration_seconds)
            yield _CHUNK


# -- with the job's engines --------------------------------------------------------------


async def real(
    job: Job, stt: ManagedSTTEngine, tts: ManagedTTSEngine, most: int = 64
) -> list[Figure]:
    """What is found with these engines, which all sessions share."""
    line = partial(_real_line, job, stt, tts)
    window = _PERIOD + _TAIL  # in which every user has been answered

    async def hold_(n: int) -> Trial:
        job.tell(f"{n} conversations at a time with the engines")
        return await hold(line, n, 0.0, window)

    alone = await hold_(1)
    if not alone.waits:
        raise CheckError("what the only caller said was not answered: nobody heard a word in it")
    allowed = max(alone.waits) + _LATER
    waits: dict[int, float] = {1: _p95(alone.waits)}

    async def holds(n: int) -> bool:
        if n == 1:
            return True
        trial = await hold_(n)
        waits[n] = _p95(trial.waits) if trial.waits else float("inf")
        return trial.n_ended >= n and waits[n] <= allowed

    n = await largest(holds, 2, most, 0.15)
    return [
        Figure(
            "sessions",
            "sessions with the engines",
            "",
            (float(n),),
            better="higher",
            note=f"95 % of answers at most {1e3 * _LATER:g} ms later than to one; all cores",
        ),
        *(
            Figure(
                "sessions", f"end of turn to first audio, p95, {what}", "ms", (1e3 * waits[size],)
            )
            for what, size in (("of one session", 1), ("with so many", n))
        ),
    ]


def _real_line(job: Job, stt: ManagedSTTEngine, tts: ManagedTTSEngine, number: int) -> Line:
    """A user who says one utterance, or as much of it as there is room for, at some moment."""
    if not job.utterances:
        raise ValueError("a caller has to have something to say: there is no utterance")
    said = trimmed(job.utterances[number % len(job.utterances)].audio.mono().resampled(RATE))
    said = said.converted().sliced(0.0, _PERIOD - 2.0)
    before = (number * _SPREAD % 1.0) * (_PERIOD - 1.0 - said.duration_seconds) + 0.5
    audio = AudioData.concat([AudioData.silence(before, RATE), said]).data
    size = 2 * round(FRAME * RATE)
    audio = audio.ljust(size * round((_PERIOD + _TAIL) / FRAME), b"\0")
    engine = ConversationEngine(stt=stt, tts=tts, responder=_answer, language=job.language)
    return Line(engine, tuple(audio[i : i + size] for i in range(0, len(audio), size)))


async def _answer(said: TranscriptionResult, context: ConversationContext) -> str:
    return _SHORT_REPLY
