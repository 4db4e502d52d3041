"""A clip to text, and a text to a clip."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ..audio import AudioData
from ..engines import load_stt, load_tts
from ..errors import EngineError
from ..protocols import TranscriptionResult
from ._console import err
from ._download import fetch

__all__ = ["Spoken", "speak", "transcribe", "transcription_fields", "voices"]

_CHUNK = 0.2  # s; a step of the progress bar


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text as sound, and what it took; seconds, the model loaded before."""

    audio: AudioData
    time_to_first_audio: float
    elapsed: float


async def transcribe(clip: AudioData, stt: str, language: str | None) -> TranscriptionResult:
    """The final result of streaming ``clip``, with a progress bar in seconds of audio.

    Raises:
        RealtimeSTTSError: There is no such engine, or it failed.
    """
    made = load_stt(stt)
    await fetch(made, stt)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f} of {task.total:.1f} s"),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(f"loading {stt}", total=clip.duration_seconds)
        async with made as engine:
            await engine.warmup()
            progress.update(task, description="transcribing")
            async with (
                aclosing(_chunks(clip, progress, task)) as chunks,
                aclosing(engine.stream(chunks, language)) as results,
            ):
                async for result in results:
                    if not result.partial:
                        return result
    raise EngineError(stt, "ended without a final result")


async def _chunks(clip: AudioData, progress: Progress, task: TaskID) -> AsyncGenerator[AudioData]:
    rate = clip.sample_rate
    step = round(_CHUNK * rate)
    for first in range(0, clip.n_frames, step):
        yield clip.sliced(first / rate, (first + step) / rate)
        progress.update(task, completed=min((first + step) / rate, clip.duration_seconds))


def transcription_fields(result: TranscriptionResult, clip: AudioData) -> dict[str, Any]:
    """A result as JSON can hold it, and the clip's duration."""
    return {
        "text": result.text,
        "language": result.language,
        "confidence": result.confidence,
        "duration": clip.duration_seconds,
        "segments": [asdict(segment) for segment in result.segments],
        "words": [asdict(word) for word in result.words],
    }


async def speak(text: str, tts: str, voice_config: dict[str, Any]) -> Spoken:
    """``text`` by that engine, timed.

    Raises:
        ValueError: The text is blank, or the voice's values are out of range.
        RealtimeSTTSError: There is no such engine, or it failed.
    """
    made = load_tts(tts)
    await fetch(made, tts)
    with err.status(f"loading {tts}") as status:
        async with made as engine:
            await engine.warmup()
            status.update("speaking")
            began = perf_counter()
            chunks, first = [], 0.0
            async with aclosing(engine.stream(text, voice_config)) as stream:
                async for chunk in stream:
                    first = first or perf_counter() - began
                    chunks.append(chunk)
            elapsed = perf_counter() - began
    if not chunks:
        raise EngineError(tts, "made no sound of this text")
    return Spoken(AudioData.concat(chunks), first, elapsed)


async def voices(tts: str) -> list[dict[str, Any]]:
    """The voices that engine has.

    Raises:
        RealtimeSTTSError: There is no such engine, or it failed.
    """
    async with load_tts(tts) as engine:
        return await engine.list_voices()
