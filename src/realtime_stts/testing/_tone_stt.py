"""A speech-to-text engine that understands tones."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import replace

import anyio
from anyio.lowlevel import checkpoint

from ..audio import AudioData
from ..protocols import TranscriptionResult, TranscriptionSegment
from ._audio import chunked
from ._script import Model
from ._stt import CONFIDENCE, STTCall
from ._tone_reader import Reading, ToneReader
from ._tones import SECONDS_PER_CHARACTER

__all__ = ["ToneSTTEngine"]


class ToneSTTEngine(Model):
    """Hears what `speak_tones` and a `ScriptedTTSEngine` say, and when they say each word.

    It needs no script: whatever of a text is in the audio is in the result. Silence, noise
    and voices without tones are heard as "".

    Args:
        latency: Seconds from the end of the audio to the final result.
        partial_every: Whole words from one partial result of a stream to the next; None
            for no partial results.
        seconds_per_character: The pace of texts of one or two characters, which do not
            show it.
        language: The language of what is heard, unless the call names one.
        load_time: Seconds that loading takes.
    """

    def __init__(
        self,
        *,
        latency: float = 0.2,
        partial_every: int | None = 1,
        seconds_per_character: float = SECONDS_PER_CHARACTER,
        language: str = "en",
        load_time: float = 0.0,
    ) -> None:
        super().__init__(load_time)
        self.latency = latency
        self.partial_every = partial_every
        self.seconds_per_character = seconds_per_character
        self.language = language
        self.calls: list[STTCall] = []

    async def is_available(self) -> bool:
        return True

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        call = STTCall(language, streamed=False)
        async with (
            # A second at a time: a long clip must not keep others waiting.
            aclosing(chunked(audio, 1.0)) as source,
            aclosing(self._hear(source, call)) as results,
        ):
            return [result async for result in results][-1]

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async with aclosing(self._hear(audio, STTCall(language, streamed=True))) as results:
            async for result in results:
                yield result

    async def _hear(
        self, audio: AsyncIterable[AudioData], call: STTCall
    ) -> AsyncGenerator[TranscriptionResult]:
        self.calls.append(call)
        language = call.language or self.language
        reader = ToneReader(self.seconds_per_character)
        n_told = 0
        async with self._call():
            async for chunk in audio:
                call.heard += chunk.duration_seconds
                for reading in reader.hear(chunk):
                    every = self.partial_every
                    if every is not None and len(reading.words) >= n_told + every:
                        n_told = len(reading.words)
                        yield _result(reading, language, partial=True)
                await checkpoint()
            await anyio.sleep(self.latency)
            words = reader.finish()
            call.result = _result(Reading(words, len(words)), language)
            yield call.result


def _result(reading: Reading, language: str, *, partial: bool = False) -> TranscriptionResult:
    words = [replace(word, confidence=CONFIDENCE) for word in reading.words]
    if not words:
        return TranscriptionResult("", language, [])
    text = " ".join(word.text for word in words)
    return TranscriptionResult(
        text,
        language,
        [TranscriptionSegment(text, words[0].start, words[-1].end, CONFIDENCE)],
        CONFIDENCE,
        partial,
        words,
        " ".join(word.text for word in words[: reading.n_certain]),
    )
