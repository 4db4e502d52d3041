"""Whisper fits its Protocols, and its options are typed: type-checked, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from pathlib import Path

from typing_extensions import assert_type

from realtime_stts import (
    AudioData,
    ManagedSTTEngine,
    StreamingSTTEngine,
    STTEngine,
    TranscriptionResult,
)
from realtime_stts.engines.whisper import (
    Streaming,
    WhisperOptions,
    WhisperSTTEngine,
    create_whisper_engine,
    create_whisper_engine_from_config,
)


def stt() -> list[ManagedSTTEngine]:
    return [WhisperSTTEngine("base.en"), create_whisper_engine("turbo", auto_load=False)]


def streaming() -> StreamingSTTEngine:
    return WhisperSTTEngine(streaming=Streaming(policy="attention", interval=0.5, keep=8.0))


def one_shot() -> STTEngine:
    return create_whisper_engine_from_config({"model_size": "tiny", "device": "cpu"})


def options() -> WhisperSTTEngine:
    how = WhisperOptions(beam_size=5, temperature=(0.0, 0.4), clip=(0.0, None), encoder="balanced")
    return WhisperSTTEngine(
        "tiny",
        "cuda:1",
        model_path=Path("model.pt"),
        options=how,
        dtype="float16",
        quantization=None,
        max_batch=8,
        idle_ttl=600.0,
        word_timestamps=True,
    )


async def use(engine: WhisperSTTEngine, audio: AudioData, chunks: AsyncIterable[AudioData]) -> None:
    async with engine as loaded:
        assert_type(loaded, WhisperSTTEngine)
        result = await engine.transcribe(audio, "de", options=WhisperOptions(task="translate"))
        assert_type(result, TranscriptionResult)
        assert_type(result.language_probability, float | None)
        assert_type(engine.stream(chunks), AsyncGenerator[TranscriptionResult])
    assert_type(engine.device, str)
    assert_type(engine.statistics.largest_batch, int)
    assert_type(await engine.download(), Path)


def without_an_event_loop(engine: WhisperSTTEngine) -> None:
    assert_type(engine.load_model(), bool)
    assert_type(engine.transcribe_file("speech.wav"), TranscriptionResult)
