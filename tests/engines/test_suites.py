"""The embedded engines that speak and listen keep every promise of their Protocols.

The pause detectors are held to their suite beside their own tests.
"""

from __future__ import annotations

import anyio
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import MissingExtraError
from realtime_stts.protocols import TranscriptionResult
from realtime_stts.testing import StreamingSpeechToTextSuite, StreamingTextToSpeechSuite

pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
pytest.importorskip("realtime_stts.engines.pocketsphinx", exc_type=MissingExtraError)

from realtime_stts.engines.espeak import ESpeakTTSEngine
from realtime_stts.engines.pocketsphinx import PocketSphinxSTTEngine

PHRASES = ["what is the weather", "turn the lights on", "never mind"]


async def spoken(text: str) -> AudioData:
    async with ESpeakTTSEngine("en-us+f3", rate=150) as engine:
        return (await engine.synthesize(text)).audio_data


CLIP = anyio.run(spoken, "Turn the lights on.")


class TestESpeak(StreamingTextToSpeechSuite):
    def engine(self) -> ESpeakTTSEngine:
        return ESpeakTTSEngine()

    def same(self, one: AudioData, other: AudioData) -> bool:
        """The library varies its voice by chance, and with it the length a little."""
        return abs(one.duration_seconds / other.duration_seconds - 1) < 0.01


class TestPocketSphinx(StreamingSpeechToTextSuite):
    """Free speech, of which it gets some words wrong, but always the same ones.

    Their probabilities are sums over a lattice whose order is that of the memory, in
    logarithms to the base of 1.0001: the fourth digit is chance.
    """

    streams_as_it_transcribes = True

    def engine(self) -> PocketSphinxSTTEngine:
        return PocketSphinxSTTEngine()

    def clip(self) -> AudioData:
        return CLIP

    def same(self, one: TranscriptionResult, other: TranscriptionResult) -> bool:
        def rounded(result: TranscriptionResult) -> list[object]:
            return [(word.text, word.start, word.end) for word in result.words]

        return (one.text, rounded(one)) == (
            other.text,
            rounded(other),
        ) and one.confidence == pytest.approx(other.confidence, abs=0.01)


class TestPocketSphinxWithPhrases(StreamingSpeechToTextSuite):
    text = "turn the lights on"
    streams_as_it_transcribes = True

    def engine(self) -> PocketSphinxSTTEngine:
        return PocketSphinxSTTEngine(phrases=PHRASES)

    def clip(self) -> AudioData:
        return CLIP
