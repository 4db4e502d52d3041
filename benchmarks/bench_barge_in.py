"""Interruptions: how soon the bot is silent, and how soon its engines are free again.

The first figure is on virtual time, and exact: sounds of the old answer that reach the host
after the decision. The others are real: a session with the embedded engines is interrupted
while it speaks, or while it transcribes, and the next call of that engine is timed, against
the same call when nothing was going on. Only one utterance at a time fits the engines here,
so that call has to wait for whatever the interruption left running.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from statistics import median
from time import perf_counter

import anyio

from realtime_stts import (
    AudioData,
    ConversationContext,
    ConversationEngine,
    Interrupted,
    ReplyAudio,
    ReplyPaused,
    TranscriptionResult,
    TurnPolicy,
)
from realtime_stts.engines import load_pause_detector, load_stt, load_tts
from realtime_stts.testing import (
    ScriptedTTSEngine,
    ToneSTTEngine,
    chunked,
    speak_tones,
    virtual_time,
)

from ._report import Row

_ROUNDS = 15
_PROMISE = 0.25  # s until the engine is free
_RATE = 16_000
_STORY = "Once upon a time there was a king who had three sons and lived in a castle by the sea, "


async def _story(result: TranscriptionResult, context: ConversationContext) -> AsyncGenerator[str]:
    yield _STORY * 3 if not context.history else "Very well."


def run() -> list[Row]:
    late = anyio.run(_late_frames, backend_options=virtual_time()[1])
    rows = [Row("sounds of the old answer after the decision", late, "frames", peer=1.0)]
    for name, measure in (
        ("the voice, eSpeak, is free again after", _voice),
        ("the ears, PocketSphinx, are free again after", _ears),
    ):
        waits, idle, freed = anyio.run(measure)
        rows.append(
            Row(
                f"{name} / promised",
                ours=1000 * max(waits),
                unit="ms",
                peer=1000 * _PROMISE,
                equal=freed,
                n=len(waits),
                ours_min=1000 * min(waits),
            )
        )
        rows.append(Row(f"{name}, beside an idle engine", 1000 * median(waits), "ms", 1000 * idle))
    return rows


async def _late_frames() -> int:
    """On virtual time, with tones that the bot understands."""
    ask, stop = (speak_tones(text, sample_rate=_RATE) for text in ("a story", "stop it please"))
    quiet = AudioData.silence(4.0, _RATE)
    line = AudioData.concat([AudioData.silence(1.0, _RATE), ask, quiet, stop, quiet])
    engine = ConversationEngine(
        stt=ToneSTTEngine(),
        tts=ScriptedTTSEngine(),
        responder=_story,
        pause_detector=load_pause_detector("energy"),
    )
    late, decided = 0, False
    async with engine.session() as session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.feed, chunked(line, paced=True))
        async for event in session:
            match event:
                case ReplyPaused():
                    decided = True
                case ReplyAudio(turn=1):
                    late += decided
    return late


async def _voice() -> tuple[list[float], float, bool]:
    """Interrupt a session while eSpeak makes its answer, and speak with it at once."""
    waits, idle, freed = [], [], True
    async with load_tts("espeak") as tts:
        await tts.warmup()
        engine = ConversationEngine(
            stt=ToneSTTEngine(latency=0.0),
            tts=tts,
            responder=_story,
            pause_detector=load_pause_detector("energy"),
            policy=TurnPolicy(end_of_turn=0.0),
        )
        ask = AudioData.concat(
            [speak_tones("a story", sample_rate=_RATE), AudioData.silence(0.6, _RATE)]
        )
        for _ in range(_ROUNDS):
            idle.append(await _timed(tts.synthesize("a", {})))
            async with engine.session() as session:
                await session.push(ask)
                async for event in session:
                    if isinstance(event, ReplyAudio):
                        await session.interrupt()
                    if isinstance(event, Interrupted):
                        waits.append(await _timed(tts.synthesize("a", {})))
                        break
                freed = freed and session.statistics.turns_under_way <= 1
    return waits, median(idle), freed


async def _ears() -> tuple[list[float], float, bool]:
    """Leave a session while PocketSphinx transcribes, and transcribe with it at once."""
    waits, idle, freed = [], [], True
    clip = AudioData.silence(0.05, _RATE)
    async with load_tts("espeak:en-us+f3") as voice:
        said = [chunk async for chunk in voice.stream("tell me a very long story about the sea")]
    speech = AudioData.concat(said).resampled(_RATE)
    async with load_stt("pocketsphinx", replicas=1) as stt:
        await stt.warmup()
        engine = ConversationEngine(
            stt=stt,
            tts=ScriptedTTSEngine(),
            responder=_story,
            pause_detector=load_pause_detector("energy"),
        )
        for _ in range(_ROUNDS):
            idle.append(await _timed(stt.transcribe(clip)))
            async with engine.session() as session:
                await session.push(speech)
                await anyio.sleep(0.05)  # it is in the middle of it
                busy = session.statistics.turns_under_way
            waits.append(await _timed(stt.transcribe(clip)))
            freed = freed and busy == 1
    return waits, median(idle), freed


async def _timed(call: object) -> float:
    began = perf_counter()
    await call  # type: ignore[misc]
    return perf_counter() - began
