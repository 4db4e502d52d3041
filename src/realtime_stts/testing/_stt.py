"""A speech-to-text engine that hears what a script says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise

import anyio

from ..audio import AudioData
from ..protocols import TranscriptionResult, TranscriptionSegment, TranscriptionWord
from ._script import Failure, Model, Script, same_layout

__all__ = ["CONFIDENCE", "STTCall", "ScriptedSTTEngine"]

CONFIDENCE = 0.9  # a script is sure of itself, but a probability of 1 invites special cases


@dataclass(slots=True)
class STTCall:
    """One transcription, asked for by `transcribe` or `stream`."""

    language: str | None
    streamed: bool
    heard: float = 0.0  # s of audio taken so far
    result: TranscriptionResult | None = None  # the final one, once delivered


class ScriptedSTTEngine(Model):
    """Hears what its script says, in any sound.

    The first sound of a call takes the next line; a call without a sound in it is silence,
    whose text is "", and takes none. The words of a final result are spread evenly over
    the audio.

    Args:
        script: What each call hears: a text; a whole result, delivered as it is; an
            exception, raised as the first thing; or a `Failure`.
        latency: Seconds from the end of the audio to the final result, or from the first
            sound to a failure.
        partials: Whether a stream has partial results: one a word, as its audio arrives.
        seconds_per_word: Pace of the words of partial results.
        language: The language of what is heard, unless the call names one.
        load_time: Seconds that loading takes.
    """

    def __init__(
        self,
        script: Iterable[str | TranscriptionResult | Exception | Failure],
        *,
        latency: float = 0.2,
        partials: bool = True,
        seconds_per_word: float = 0.3,
        language: str = "en",
        load_time: float = 0.0,
    ) -> None:
        super().__init__(load_time)
        self.latency = latency
        self.partials = partials
        self.seconds_per_word = seconds_per_word
        self.language = language
        self.calls: list[STTCall] = []
        self._script = Script(script)

    async def is_available(self) -> bool:
        return True

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        async def whole() -> AsyncGenerator[AudioData]:
            yield audio

        call = STTCall(language, streamed=False)
        async with aclosing(whole()) as source, aclosing(self._hear(source, call)) as results:
            return [result async for result in results][-1]

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async with aclosing(self._hear(audio, STTCall(language, streamed=True))) as results:
            async for result in results:
                if self.partials or not result.partial:
                    yield result

    async def _hear(
        self, audio: AsyncIterable[AudioData], call: STTCall
    ) -> AsyncGenerator[TranscriptionResult]:
        self.calls.append(call)
        language = call.language or self.language
        line: str | TranscriptionResult | Failure | None = None
        layout: tuple[int, int] | None = None
        n_frames = 0
        words: list[str] = []
        n_words = 0
        async with self._call():
            async for chunk in audio:
                layout = same_layout(layout, chunk)
                n_frames += chunk.n_frames
                call.heard = n_frames / chunk.sample_rate
                if line is None:
                    if not chunk.samples.any():
                        continue
                    line = self._next_line()
                    words = (line if isinstance(line, str) else line.text).split()
                while True:
                    if isinstance(line, Failure) and line.after == n_words:
                        await anyio.sleep(self.latency)
                        raise line.error
                    end = (n_words + 1) * self.seconds_per_word
                    if n_words == len(words) or end > call.heard:
                        break
                    n_words += 1
                    yield _result(words[:n_words], language, end, partial=True)
            await anyio.sleep(self.latency)
            match line:
                case Failure():
                    raise line.error
                case TranscriptionResult():
                    result = line
                case _:
                    result = _result(words, language, call.heard)
            call.result = result
            yield result

    def _next_line(self) -> str | TranscriptionResult | Failure:
        line = self._script.take(self)
        return Failure(line) if isinstance(line, Exception) else line


def _result(
    words: list[str], language: str, seconds: float, *, partial: bool = False
) -> TranscriptionResult:
    """Words, spread evenly over so many seconds."""
    text = " ".join(words)
    edges = [seconds * i / len(words) for i in range(len(words))] + [seconds]
    return TranscriptionResult(
        text,
        language,
        [TranscriptionSegment(text, 0.0, seconds, CONFIDENCE)] if words else [],
        CONFIDENCE if words else None,
        partial,
        [
            TranscriptionWord(word, start, end, CONFIDENCE)
            for word, (start, end) in zip(words, pairwise(edges), strict=True)
        ],
    )
