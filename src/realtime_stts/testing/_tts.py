"""A text-to-speech engine that speaks in tones."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import anyio

from ..audio import AudioData
from ..protocols import SynthesisResult
from ._audio import chunked
from ._script import Failure, Model
from ._tones import SECONDS_PER_CHARACTER, speak_tones

__all__ = ["ScriptedTTSEngine", "TTSCall"]


@dataclass(slots=True)
class TTSCall:
    """One text, spoken by `synthesize` or `stream`."""

    text: str
    voice_config: dict[str, Any]
    streamed: bool
    delivered: float = 0.0  # s of audio given so far
    finished: bool = False  # all of it was given


class ScriptedTTSEngine(Model):
    """Speaks a tone for each character, so that the sound holds the text.

    `tone_text` and a `ToneSTTEngine` read it again. The same text in the same voice is
    always the same samples; another voice, or a text with another `tone_spelling`, is
    other samples. White space is silent.

    Args:
        seconds_per_character: Pace at a ``speed_factor`` of 1.
        latency: Seconds before the first chunk is begun.
        real_time_factor: Seconds of computing for each second of audio.
        chunk: Seconds of audio in a chunk of a stream.
        sample_rate: Hz.
        voices: Ids of the voices; the first is the default.
        failures: How each call fails, in order: None for a call that does not. Calls past
            the end succeed. A bare exception is raised before any audio.
        load_time: Seconds that loading takes.
    """

    def __init__(
        self,
        *,
        seconds_per_character: float = SECONDS_PER_CHARACTER,
        latency: float = 0.1,
        real_time_factor: float = 0.1,
        chunk: float = 0.1,
        sample_rate: int = 24_000,
        voices: Sequence[str] = ("scripted",),
        failures: Iterable[Exception | Failure | None] = (),
        load_time: float = 0.0,
    ) -> None:
        super().__init__(load_time)
        self.seconds_per_character = seconds_per_character
        self.latency = latency
        self.real_time_factor = real_time_factor
        self.chunk = chunk
        self.sample_rate = sample_rate
        self.voices = tuple(voices)
        self.calls: list[TTSCall] = []
        self._failures = iter(failures)

    async def list_voices(self) -> list[dict[str, Any]]:
        return [{"id": voice, "name": voice.title(), "language": "en"} for voice in self.voices]

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        began = anyio.current_time()
        call = TTSCall(text, dict(voice_config), streamed=False)
        async with aclosing(self._speak(call)) as chunks:
            audio = AudioData.concat([chunk async for chunk in chunks])
        voice = voice_config.get("voice_id", self.voices[0])
        return SynthesisResult(audio, text, voice, anyio.current_time() - began)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        call = TTSCall(text, dict(voice_config or {}), streamed=True)
        async with aclosing(self._speak(call)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _speak(self, call: TTSCall) -> AsyncGenerator[AudioData]:
        self.calls.append(call)
        audio = self._sound(call.text, call.voice_config)
        planned = next(self._failures, None)
        failure = Failure(planned) if isinstance(planned, Exception) else planned
        n_chunks = 0
        async with self._call():
            await anyio.sleep(self.latency)
            async with aclosing(chunked(audio, self.chunk)) as chunks:
                async for chunk in chunks:
                    if failure is not None and failure.after == n_chunks:
                        break
                    await anyio.sleep(self.real_time_factor * chunk.duration_seconds)
                    n_chunks += 1
                    call.delivered = min(n_chunks * self.chunk, audio.duration_seconds)
                    call.finished = failure is None and call.delivered == audio.duration_seconds
                    yield chunk
            if failure is not None:
                raise failure.error

    def _sound(self, text: str, voice_config: dict[str, Any]) -> AudioData:
        if not text.strip():
            raise ValueError("there is nothing to say: the text is blank")
        voice = voice_config.get("voice_id", self.voices[0])
        if voice not in self.voices:
            raise ValueError(f"no voice is called {voice!r}; known: {', '.join(self.voices)}")
        speed = voice_config.get("speed_factor", 1.0)
        if not (isinstance(speed, int | float) and 0 < speed < math.inf):
            raise ValueError(f"speed_factor is a positive number, not {speed!r}")
        return speak_tones(
            text,
            self.sample_rate,
            seconds_per_character=self.seconds_per_character / speed,
            voice=self.voices.index(voice),
        )
