"""The fakes keep every promise that a real engine has to keep."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import repeat
from typing import Any

from realtime_stts.audio import AudioData
from realtime_stts.protocols import (
    ConversationContext,
    TranscriptionResult,
)
from realtime_stts.testing import (
    PauseDetectorSuite,
    ResponseGeneratorSuite,
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    SpeechToTextSuite,
    StreamingSpeechToTextSuite,
    StreamingTextToSpeechSuite,
)


class TestScriptedSTTEngine(StreamingSpeechToTextSuite):
    text = "hello there"
    streams_as_it_transcribes = True

    def engine(self) -> ScriptedSTTEngine:
        return ScriptedSTTEngine(repeat("Hello there!"), load_time=1.0)


class TestScriptedTTSEngine(StreamingTextToSpeechSuite):
    def engine(self) -> ScriptedTTSEngine:
        return ScriptedTTSEngine(voices=["ada", "grace"], load_time=1.0)


class TestScriptedResponseGenerator(ResponseGeneratorSuite):
    def engine(self) -> ScriptedResponseGenerator:
        return ScriptedResponseGenerator(repeat("It will be sunny, I think."))


class TestScriptedPauseDetector(PauseDetectorSuite):
    def engine(self) -> ScriptedPauseDetector:
        return ScriptedPauseDetector([(1.0, 2.0), (2.5, 2.75)], delay=0.1)

    async def test_hears_nothing_in_silence(self) -> None:
        """It does not listen: what it hears is its script, here that of a silence."""
        assert await self._listen(ScriptedPauseDetector(), [self._scene()]) == ([], [])


# -- engines that promise less -----------------------------------------------------------


def some_words() -> Iterator[str]:
    """Never the same twice, as from a model that samples."""
    chance = random.Random(0)
    while True:
        yield " ".join(chance.choices(["yes", "no", "well", "perhaps"], k=4))


class TestSamplingSTTEngine(StreamingSpeechToTextSuite):
    """Any words will do: checks that compare results compare their times."""

    def same(self, one: TranscriptionResult, other: TranscriptionResult) -> bool:
        return one.duration == other.duration

    def engine(self) -> ScriptedSTTEngine:
        return ScriptedSTTEngine(some_words())


class SamplingTTSEngine(ScriptedTTSEngine):
    """Speaks at a pace of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._chance = random.Random(0)

    def _sound(self, text: str, voice_config: dict[str, Any]) -> AudioData:
        pace = self._chance.uniform(0.95, 1.05)
        speed = voice_config.get("speed_factor", 1.0) * pace
        return super()._sound(text, {**voice_config, "speed_factor": speed})


class TestSamplingTTSEngine(StreamingTextToSpeechSuite):
    def same(self, one: AudioData, other: AudioData) -> bool:
        return 0.9 < one.duration_seconds / other.duration_seconds < 1.11

    def engine(self) -> SamplingTTSEngine:
        return SamplingTTSEngine()


class TestSamplingResponseGenerator(ResponseGeneratorSuite):
    def same(self, one: str, other: str) -> bool:
        return True

    def engine(self) -> ScriptedResponseGenerator:
        return ScriptedResponseGenerator(some_words())


class OneShotEngine:
    """The contract and no more: it neither streams nor has a life cycle."""

    model_loaded = True

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        heard = "hello" if audio.samples.any() else ""
        return TranscriptionResult(heard, language or "en", [])

    async def is_available(self) -> bool:
        return True


class TestOneShotEngine(SpeechToTextSuite):
    def engine(self) -> OneShotEngine:
        return OneShotEngine()


class WholeAnswers:
    """A responder of the contract: it does not stream."""

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        return f"You said: {transcription.text}"

    def set_response_mode(self, mode: str) -> None:
        raise ValueError(f"there are no modes, so no {mode!r}")

    def clear_history(self) -> None:
        pass


class TestWholeAnswers(ResponseGeneratorSuite):
    def engine(self) -> WholeAnswers:
        return WholeAnswers()


class HearsOnceAndForAll:
    """A detector of the contract: no clone, no times."""

    def __init__(self) -> None:
        self._inner = ScriptedPauseDetector([(1.1, 2.0)])
        self.reset = self._inner.reset

    @property
    def is_speaking(self) -> bool:
        return self._inner.is_speaking

    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        result = await self._inner.process_chunk(audio)
        return {"is_speaking": result["is_speaking"], "events": result["events"]}


class TestHearsOnceAndForAll(PauseDetectorSuite):
    def engine(self) -> HearsOnceAndForAll:
        return HearsOnceAndForAll()
