"""Interruptions: how soon the bot is silent, and how soon its engines are free again.

The stop is heard in the recorded streams of one call on the real clock, with the job's
engines: a caller asks, and speaks over each long answer once it has been playing for half
a second. From the first sound of what they say to the bot's last there lies the policy's
time: so much speech has to be heard until it counts. What the library adds is what still
sounds after the decision.

That the engines are free is asked of them: the next call, made at once, has to wait for
whatever the interruption left running, and is held against the same call of an idle engine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, repeat
from math import inf
from typing import Final

import anyio

from ..audio import AudioData
from ..conversation import (
    ConversationEngine,
    Event,
    Interrupted,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    TurnEnded,
    TurnFailed,
    TurnPolicy,
)
from ..errors import RealtimeSTTSError
from ..protocols import (
    ConversationContext,
    ManagedSTTEngine,
    ManagedTTSEngine,
    PauseDetector,
    TranscriptionResult,
)
from ..testing import (
    Call,
    Caller,
    ScriptedPauseDetector,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    speech,
)
from ._check import CheckError
from ._figures import Figure, Job, Utterance
from ._onsets import last_sound, spans_of_sound, trimmed
from ._recordings import Recordings, shortest

__all__ = ["Stop", "interrupt", "measure", "next_syntheses", "next_transcriptions", "stops"]

_INTERRUPTIONS, _INTERRUPTIONS_QUICK = 20, 4
_ROUNDS, _ROUNDS_QUICK = 15, 5
_AFTER: Final = 0.5  # s of an answer that have been heard when it is interrupted
_SAID: Final = 1.5  # s of an utterance, at most: enough for a word
_MIDDLE: Final = 0.05  # s; by then a recogniser is in the middle of what it was given
_RATE: Final = 16_000  # Hz
_BREATH: Final = 0.8  # s; longer pauses of a caller are between two things that they say
_STORY: Final = "Once upon a time there was a king who had three sons."


@dataclass(frozen=True, slots=True)
class Stop:
    """How one answer was stopped; seconds of the call."""

    onset: float  # of what was said over it
    decided: float  # when the host was told to be silent
    silent: float  # when its last sound ended
    n_late: int  # of its sounds, those that came after the host was told


async def measure(job: Job) -> list[Figure]:
    """The stop, and both engines' next calls.

    Raises:
        CheckError: A turn failed, nothing was answered, or no answer was stopped.
        ValueError: There is no utterance.
    """
    async with job.stt() as stt, job.tts() as tts:
        await stt.warmup()
        await tts.warmup()
        figures = _stopped(stops(await interrupt(job, stt, tts)))
        n = _ROUNDS_QUICK if job.quick else _ROUNDS
        job.tell("the voice after an interruption")
        figures += _freed("the voice", *await next_syntheses(tts, n))
        job.tell("the recogniser after an interruption")
        said = shortest(job.utterances, 1)[0]
        figures += _freed("the recogniser", *await next_transcriptions(stt, said, n, job.language))
    return figures


def _stopped(found: Sequence[Stop]) -> list[Figure]:
    if not found:
        raise CheckError("nothing that was said over an answer stopped it")
    policy = TurnPolicy()
    note = f"{policy.barge_in or 0.0:g} s of speech count as an interruption"
    silent = tuple(1e3 * max(0.0, stop.silent - stop.onset) for stop in found)
    decided = tuple(1e3 * (stop.decided - stop.onset) for stop in found)
    late = tuple(float(stop.n_late) for stop in found)
    return [
        _figure("voice onset to the bot's last sound", silent, note),
        Figure("barge-in", "the same, p95", "ms", silent, statistic="p95", note=note),
        _figure("voice onset to the decision", decided, note),
        Figure("barge-in", "sounds of the old answer after it", "", late, statistic="max"),
    ]


def _freed(whose: str, waits: Sequence[float], idle: Sequence[float]) -> list[Figure]:
    after = tuple(1e3 * each for each in waits)
    before = tuple(1e3 * each for each in idle)
    note = "a short call, made at once; who takes several at a time has room for it"
    return [
        Figure("barge-in", f"{whose} is free again after", "ms", after, statistic="max", note=note),
        _figure(f"{whose}, the same call when idle", before),
    ]


def _figure(case: str, samples: tuple[float, ...], note: str = "") -> Figure:
    return Figure("barge-in", case, "ms", samples, note=note)


# -- the stop ----------------------------------------------------------------------------


async def interrupt(
    job: Job, stt: ManagedSTTEngine, tts: ManagedTTSEngine, detector: PauseDetector | None = None
) -> Call:
    """The call: one question, and so many interruptions.

    Raises:
        CheckError: There was no answer to interrupt.
    """
    n = _INTERRUPTIONS_QUICK if job.quick else _INTERRUPTIONS
    few = shortest(job.utterances, max(2, n) if job.quick else len(job.utterances))
    said = {f"{i}": each for i, each in enumerate(islice(cycle(few), n + 1))}
    engine = ConversationEngine(
        stt=stt, tts=tts, responder=_story, pause_detector=detector, language=job.language
    )
    voice = Recordings(
        {name: trimmed(each.audio).sliced(0.0, _SAID) for name, each in said.items()}
    )
    question, *interruptions = said
    caller = Caller(engine, voice=voice).says(question)
    for name in interruptions:
        caller = caller.interrupts(name, after=_AFTER)
    job.tell(f"{n} interruptions, in real time")
    try:
        return await caller.hangs_up().run()
    except AssertionError as exc:
        raise CheckError(f"there was no answer to interrupt: {exc}") from exc


async def _story(said: TranscriptionResult, context: ConversationContext) -> str:
    return _STORY


async def _long_story(said: TranscriptionResult, context: ConversationContext) -> str:
    return " ".join(8 * [_STORY])


def stops(call: Call) -> list[Stop]:
    """How the bot was first stopped by each thing that was said over it.

    An answer that was held, resumed because no words were heard, and stopped after all by
    late ones was stopped the first time.

    Raises:
        CheckError: A turn failed.
    """
    if failed := call.of(TurnFailed):
        raise CheckError(f"a turn failed: {failed[0].error}") from failed[0].error
    spoken, bot = spans_of_sound(call.caller, _BREATH), call.bot
    found: dict[float, Stop] = {}
    for i, (moment, event) in enumerate(call.events):
        if not isinstance(event, ReplyPaused | Interrupted) or _told(call.events[:i], event.turn):
            continue
        onset = max((start for start, _ in spoken if start < moment), default=None)
        until, n_late = _afterwards(call.events[i + 1 :], event.turn)
        silent = last_sound(bot, min(until, call.duration))
        if onset is not None and silent is not None:
            found.setdefault(onset, Stop(onset, moment, silent, n_late))
    return [*found.values()]


def _told(before: Sequence[tuple[float, Event]], turn: int) -> bool:
    """Whether the host has been told to be silent about that answer."""
    for _, event in reversed(before):
        match event:
            case ReplyPaused(number) | Interrupted(number) if number == turn:
                return True
            case ReplyResumed(number) if number == turn:
                return False
    return False


def _afterwards(events: Sequence[tuple[float, Event]], turn: int) -> tuple[float, int]:
    """When the bot may sound again, and how many sounds of that answer come before."""
    n_late = 0
    for moment, event in events:
        match event:
            case ReplyResumed(number) if number == turn:
                return moment, n_late
            case ReplyAudio(number) if number != turn:
                return moment, n_late
            case ReplyAudio():
                n_late += 1
    return inf, n_late


# -- the engines -------------------------------------------------------------------------


async def next_syntheses(tts: ManagedTTSEngine, n: int) -> tuple[list[float], list[float]]:
    """Seconds that a short call takes right after an interruption, and of an idle engine.

    Raises:
        CheckError: An answer could not be interrupted.
    """
    waits: list[float] = []
    idle: list[float] = []
    engine = ConversationEngine(
        stt=ScriptedSTTEngine(repeat("a story"), latency=0.0),
        tts=tts,
        responder=_long_story,
        pause_detector=lambda: ScriptedPauseDetector([(0.0, 1.0)]),
        policy=TurnPolicy(end_of_turn=0.0),
    )
    asked = AudioData.concat([speech(1.0, _RATE), AudioData.silence(0.5, _RATE)])
    for _ in range(n):
        idle.append(await _timed(tts.synthesize("yes", {})))
        waited: float | Exception | None = None
        async with engine.session() as session:
            await session.push(asked)
            async for event in session:
                if isinstance(event, ReplyAudio):
                    await session.interrupt()
                elif isinstance(event, Interrupted):
                    waited = await _timed_or_failed(tts.synthesize("yes", {}))
                    break
                elif isinstance(event, TurnEnded | TurnFailed):
                    waited = event.error if isinstance(event, TurnFailed) else None
                    break
        waits.append(_checked(waited, "an answer could not be interrupted"))
    return waits, idle


async def next_transcriptions(
    stt: ManagedSTTEngine, said: Utterance, n: int, language: str
) -> tuple[list[float], list[float]]:
    """The same of an engine that transcribes when its session is left.

    Raises:
        CheckError: It was not transcribing.
    """
    waits: list[float] = []
    idle: list[float] = []
    clip = AudioData.silence(0.05, _RATE)
    audio = said.audio.mono().resampled(_RATE)
    engine = ConversationEngine(
        stt=stt,
        tts=ScriptedTTSEngine(),
        responder=_story,
        pause_detector=lambda: ScriptedPauseDetector([(0.0, inf)]),
        language=language,
    )
    for _ in range(n):
        idle.append(await _timed(stt.transcribe(clip, language)))
        async with engine.session() as session:
            await session.push(audio)
            await anyio.sleep(_MIDDLE)
            busy = session.turns_under_way == 1
        waited = await _timed_or_failed(stt.transcribe(clip, language)) if busy else None
        waits.append(_checked(waited, "the recogniser was not at work when its session was left"))
    return waits, idle


def _checked(waited: float | Exception | None, problem: str) -> float:
    if isinstance(waited, Exception):
        raise CheckError(f"{problem}: {waited}") from waited
    if waited is None:
        raise CheckError(problem)
    return waited


async def _timed_or_failed(call: Awaitable[object]) -> float | Exception:
    """An error inside a session would come out of it as a group."""
    try:
        return await _timed(call)
    except RealtimeSTTSError as exc:
        return exc


async def _timed(call: Awaitable[object]) -> float:
    began = anyio.current_time()
    await call
    return anyio.current_time() - began
