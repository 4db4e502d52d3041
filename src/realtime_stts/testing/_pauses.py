"""A pause detector that hears speech when a script says so."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from .._endpoint import SpeechEvent, SpeechStarted, SpeechStopped
from ..audio import AudioData
from ._script import same_layout

__all__ = ["ScriptedPauseDetector"]


class ScriptedPauseDetector:
    """Hears speech in the spans it is told, whatever the audio holds.

    Args:
        spans: Start and end of each stretch of speech, in seconds of audio since the
            first chunk.
        delay: Seconds of audio from a start or an end until it is certain.

    Raises:
        ValueError: The spans are empty, overlap or are out of order.
    """

    def __init__(self, spans: Iterable[tuple[float, float]] = (), *, delay: float = 0.0) -> None:
        self.spans = tuple(spans)
        self.delay = delay
        edges = [edge for span in self.spans for edge in span]
        if any(later <= earlier for earlier, later in pairwise(edges)):
            raise ValueError(f"spans follow one another and have a length, unlike {self.spans}")
        self._script: tuple[SpeechEvent, ...] = tuple(
            SpeechStopped(at, at + delay) if i % 2 else SpeechStarted(at, at + delay)
            for i, at in enumerate(edges)
        )
        self.reset()

    def reset(self) -> None:
        self._layout: tuple[int, int] | None = None
        self._n_frames = 0
        self._n_events = 0

    def clone(self) -> ScriptedPauseDetector:
        """A fresh detector with the same spans, for another stream."""
        return ScriptedPauseDetector(self.spans, delay=self.delay)

    @property
    def is_speaking(self) -> bool:
        return self._n_events % 2 == 1

    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        self._layout = same_layout(self._layout, audio)
        self._n_frames += audio.n_frames
        now = self._n_frames / audio.sample_rate
        first = self._n_events
        while self._n_events < len(self._script) and self._script[self._n_events].decided <= now:
            self._n_events += 1
        news = self._script[first : self._n_events]
        return {
            "is_speaking": self.is_speaking,
            "events": [
                "speech_start" if isinstance(event, SpeechStarted) else "speech_end"
                for event in news
            ],
            "speech_events": list(news),
        }
