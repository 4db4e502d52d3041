"""A simulated caller's voice: utterances that were made before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..audio import AudioData
from ..protocols import SynthesisResult
from ._figures import Utterance

__all__ = ["Recordings", "shortest"]


def shortest(utterances: Sequence[Utterance], n: int) -> list[Utterance]:
    """The ``n`` shortest of them, in their order; fewer if there are not so many.

    Raises:
        ValueError: There is none.
    """
    if not utterances:
        raise ValueError("a caller has to have something to say: there is no utterance")
    by_length = sorted(utterances, key=lambda each: each.audio.duration_seconds)[:n]
    return [each for each in utterances if each in by_length]


class Recordings:
    """Says what it is given by playing the recording of that name."""

    model_loaded = True

    def __init__(self, recordings: Mapping[str, AudioData]) -> None:
        self._recordings = dict(recordings)

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return SynthesisResult(self._recordings[text], text, "recording", 0.0)

    async def list_voices(self) -> list[dict[str, Any]]:
        return [{"id": "recording", "name": "Recording", "language": "en"}]
