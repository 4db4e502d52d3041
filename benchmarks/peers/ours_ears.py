"""realtime_stts hearing with Whisper, beside RealtimeSTT with the same weights."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from realtime_stts import (
    AudioData,
    ConversationContext,
    ConversationEngine,
    FinalTranscript,
    TranscriptionResult,
    TurnPolicy,
)
from realtime_stts.engines import load_pause_detector
from realtime_stts.engines.whisper import WhisperSTTEngine
from realtime_stts.testing import ScriptedTTSEngine
from tools.whisper_fixture import expand

from .call import RATE, SILENCE, Feeder
from .faster_whisper_client import export

__all__ = ["answer"]

_engine: WhisperSTTEngine | None = None


async def _respond(result: TranscriptionResult, context: ConversationContext) -> str:
    return ""


def answer(until_the_end: ExitStack, *, job: str, **options: Any) -> dict[str, Any]:
    """``export`` writes the fixture's weights for CTranslate2; ``heard`` takes a round.

    Its seconds are from the last sample of the clip to its final transcript.
    """
    global _engine
    match job:
        case "export":
            checkpoint = expand(Path(options["folder"], "words.pt"))
            export(checkpoint, Path(options["folder"], "weights.npz"))
            return {}
        case "heard":
            if _engine is None:
                _engine = WhisperSTTEngine(str(Path(options["folder"], "words.pt")), "cpu")
                _engine.load_model()
                until_the_end.callback(_engine.unload_model)
            clip = np.load(options["clip"])
            return asyncio.run(_heard(_engine, clip, eager=options.get("eager", False)))
        case _:
            raise ValueError(f"no such job: {job}")


async def _heard(stt: WhisperSTTEngine, clip: np.ndarray, *, eager: bool) -> dict[str, Any]:
    engine = ConversationEngine(
        stt=stt,
        tts=ScriptedTTSEngine(),
        responder=_respond,
        pause_detector=lambda: load_pause_detector("silero"),
        policy=TurnPolicy(end_of_turn=SILENCE, speculative=eager),
        language="en",
    )
    heard: list[tuple[str, float]] = []
    async with engine.session() as session:

        async def listen() -> None:
            async for event in session:
                if isinstance(event, FinalTranscript):
                    heard.append((event.text, monotonic()))
                    break

        async def push(frame: bytes) -> None:
            await session.push(AudioData(frame, RATE))

        listening = asyncio.create_task(listen())
        line = Feeder(push)
        await line.silence(0.5)
        await line.sound(clip)
        last = line.now
        await line.silence_until(lambda: bool(heard), 10.0)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return {"seconds": [heard[0][1] - last], "text": heard[0][0]}
