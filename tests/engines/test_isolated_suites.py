"""The embedded engines keep every promise of their Protocols in a process of their own too.

What differs between event loops is on this side of the pipe and the same for both kinds of
engines, so each kind is held to its suite on one of them.
"""

from __future__ import annotations

import anyio
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import MissingExtraError
from realtime_stts.testing import (
    StreamingSpeechToTextSuite,
    StreamingTextToSpeechSuite,
    virtual_time,
)

pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
pytest.importorskip("realtime_stts.engines.pocketsphinx", exc_type=MissingExtraError)

from realtime_stts.engines.espeak import ESpeakTTSEngine
from realtime_stts.engines.isolated import IsolatedSTTEngine, IsolatedTTSEngine

PHRASES = ["what is the weather", "turn the lights on", "never mind"]


async def spoken(text: str) -> AudioData:
    async with ESpeakTTSEngine("en-us+f3", rate=150) as engine:
        return (await engine.synthesize(text)).audio_data


CLIP = anyio.run(spoken, "Turn the lights on.")


def on(backend: str) -> list[pytest.MarkDecorator]:
    """The marks of a suite that is held on one event loop."""
    one = pytest.mark.parametrize("anyio_backend", [virtual_time(backend)], ids=[backend])
    return [pytest.mark.anyio, one]


class TestESpeak(StreamingTextToSpeechSuite):
    pytestmark = on("asyncio")

    def engine(self) -> IsolatedTTSEngine:
        return IsolatedTTSEngine("espeak")

    def same(self, one: AudioData, other: AudioData) -> bool:
        """The library varies its voice by chance, and with it the length a little."""
        return abs(one.duration_seconds / other.duration_seconds - 1) < 0.01


class TestPocketSphinx(StreamingSpeechToTextSuite):
    text = "turn the lights on"
    streams_as_it_transcribes = True

    pytestmark = on("trio")

    def engine(self) -> IsolatedSTTEngine:
        return IsolatedSTTEngine("pocketsphinx", options={"phrases": PHRASES})

    def clip(self) -> AudioData:
        return CLIP
