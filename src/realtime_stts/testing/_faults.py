"""Engines whose calls fail or hang where a test wants it, and which count what is asked of them.

For tests of what stands around an engine. Results look like those of a real engine and
follow from the input alone, so that a second attempt gives the same ones, and a result in
the wrong place is one of another input.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from zlib import crc32

import anyio
import numpy as np
from anyio.lowlevel import checkpoint

from ..audio import AudioData
from ..protocols import (
    ConversationContext,
    SynthesisResult,
    TranscriptionResult,
    TranscriptionSegment,
)
from ._script import Failure

__all__ = [
    "Fault",
    "FaultyCall",
    "FaultyResponseGenerator",
    "FaultySTTEngine",
    "FaultyTTSEngine",
    "Hang",
]

# s; a call that nobody cancels fails in the end, on virtual time at once, and names itself
_FOREVER: Final = 86_400.0
_PACE: Final = 15.0  # characters a second: how fast people speak
_RATE: Final = 16_000  # Hz
_VOICE: Final = "faulty"
_CONFIDENCE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Hang:
    """A call that stops once it has delivered ``after`` results, and neither fails nor ends."""

    after: int = 0


Fault = Failure | Hang


@dataclass(slots=True)
class FaultyCall:
    """One call of an engine, and how it went.

    Attributes:
        given: The clip, the text or the transcription; of a streaming transcription the
            chunks it has taken so far.
        asked: Results that were asked for; one that was not given yet counts.
        hangs: Whether it has come to a `Hang`.
        closed: Whether it is over, and has let go of all it held.
    """

    streamed: bool
    given: Any
    asked: int = 0
    hangs: bool = False
    closed: bool = False
    _fault: Fault | None = field(default=None, repr=False)


class _Faulty:
    """What the three have in common."""

    model_loaded = True

    def __init__(
        self,
        faults: Iterable[Fault | None] = (),
        *,
        results: int = 3,
        latency: float = 0.0,
        name: str = "faulty",
    ) -> None:
        self.name = name
        self.results = results
        self.latency = latency
        self.calls: list[FaultyCall] = []
        self.running = 0
        self.most_running = 0
        self._faults = iter(faults)

    @asynccontextmanager
    async def _begun(self, given: Any, *, streamed: bool) -> AsyncGenerator[FaultyCall]:
        call = FaultyCall(streamed, given, _fault=next(self._faults, None))
        self.calls.append(call)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            yield call
        finally:
            # Closing takes a moment, as that of a real engine does, and is not cut short.
            with anyio.CancelScope(shield=True):
                await checkpoint()
            self.running -= 1
            call.closed = True

    async def _once(self, given: Any) -> None:
        async with self._begun(given, streamed=False) as call:
            await self._ask(call)
            await self._break(call)

    async def _ask(self, call: FaultyCall) -> None:
        call.asked += 1
        await anyio.sleep(self.latency)
        if call._fault is not None and call._fault.after < call.asked:
            await self._break(call)

    async def _break(self, call: FaultyCall) -> None:
        match call._fault:
            case Failure(error):
                raise error
            case Hang():
                call.hangs = True
                await anyio.sleep(_FOREVER)
                raise AssertionError(f"a call of {self.name} hung, and nobody cancelled it")


class FaultySTTEngine(_Faulty):
    """Speech to text with faults: hears who speaks from the sound itself.

    A stream has one partial result for a chunk, and the final one when the audio has ended.

    Args:
        faults: Of each call in turn; None, and the end of them, mean that it is healthy.
            A one-shot call fails or hangs before its result, whatever ``after`` says.
        results: How many results a healthy stream has.
        latency: Seconds before each result.
        name: What it is called in errors and logs.

    Attributes:
        calls: All calls that have begun, in order.
        running: How many have not ended: 0 once every generator is closed.
        most_running: The most there ever were at the same time.
    """

    def answers(self, given: AudioData | Sequence[AudioData]) -> list[TranscriptionResult]:
        """What a healthy call hears in a clip, or a healthy stream in its chunks."""
        if isinstance(given, AudioData):
            return [_heard([given], None, 1, 1)]
        partial = [_heard(given[:n], None, n, self.results) for n in range(1, self.results)]
        return [*partial, _heard(given, None, self.results, self.results)]

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        await self._once(audio)
        return _heard([audio], language, 1, 1)

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        heard: list[AudioData] = []
        chunks = aiter(audio)
        async with self._begun(heard, streamed=True) as call:
            for n in range(1, self.results + 1):
                async for chunk in chunks:
                    heard.append(chunk)
                    if n < self.results:
                        break
                await self._ask(call)
                yield _heard(heard, language, n, self.results)
            await self._break(call)

    async def is_available(self) -> bool:
        return True


class FaultyTTSEngine(_Faulty):
    """Text to speech with faults: hums as long as the text takes to say, on notes of its own.

    Args and attributes are those of `FaultySTTEngine`.
    """

    def answers(self, given: str, *, streamed: bool) -> list[Any]:
        """What a healthy call makes of a text: a `SynthesisResult`, or chunks."""
        chunks = list(_hummed(given, self.results))
        if streamed:
            return chunks
        return [SynthesisResult(AudioData.concat(chunks), given, _VOICE)]

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        await self._once(text)
        result: SynthesisResult = self.answers(text, streamed=False)[0]
        return result

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        async with self._begun(text, streamed=True) as call:
            for chunk in _hummed(text, self.results):
                await self._ask(call)
                yield chunk
            await self._break(call)

    async def list_voices(self) -> list[dict[str, Any]]:
        return [{"id": _VOICE, "name": _VOICE, "language": "en"}]


class FaultyResponseGenerator(_Faulty):
    """A responder with faults: repeats what was said, in so many pieces.

    Args and attributes are those of `FaultySTTEngine`.
    """

    def answers(self, given: TranscriptionResult, *, streamed: bool) -> list[str]:
        """What a healthy call answers: the whole, or its pieces."""
        pieces = _repeated(given.text, self.results)
        return pieces if streamed else ["".join(pieces)]

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        await self._once(transcription)
        return "".join(_repeated(transcription.text, self.results))

    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        async with self._begun(transcription, streamed=True) as call:
            for piece in _repeated(transcription.text, self.results):
                await self._ask(call)
                yield piece
            await self._break(call)

    def set_response_mode(self, mode: str) -> None:
        if mode != self.name:
            raise ValueError(f"no mode is called {mode!r}; known: {self.name}")

    def clear_history(self) -> None: ...


# -- results that look like real ones ------------------------------------------------------


def _heard(
    chunks: Sequence[AudioData], language: str | None, n: int, of: int
) -> TranscriptionResult:
    """The n-th result of a call: so much of what the sound says."""
    sound = crc32(chunks[0].data) if chunks else 0
    words = f"caller {sound % 1_000_000} would like to know the time".split()
    text = " ".join(words[: round(len(words) * n / of)])
    seconds = sum(chunk.duration_seconds for chunk in chunks)
    return TranscriptionResult(
        text,
        language or "en",
        [TranscriptionSegment(text, 0.0, seconds, _CONFIDENCE)],
        _CONFIDENCE,
        partial=n < of,
    )


@lru_cache(maxsize=64)
def _hummed(text: str, n_chunks: int) -> tuple[AudioData, ...]:
    """A note for each chunk: none is silent, and no two texts have the same."""
    n_frames = round(len(text) / _PACE / n_chunks * _RATE)
    time = np.arange(n_frames) / _RATE
    # Hz; a low voice's, and over so wide a range that texts seldom share one.
    lowest = 100.0 + crc32(text.encode()) % 10_000 / 100.0
    return tuple(
        AudioData.from_samples(0.3 * np.sin(2 * np.pi * (lowest + 20.0 * n) * time), _RATE)
        for n in range(n_chunks)
    )


def _repeated(text: str, n_pieces: int) -> list[str]:
    return [f"{n} of {n_pieces}: {text}. " for n in range(1, n_pieces + 1)]
