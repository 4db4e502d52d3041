"""Whisper keeps every promise of its Protocol, however it computes and streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("whisper")

from realtime_stts.audio import AudioData
from realtime_stts.engines.whisper import Streaming, WhisperSTTEngine
from realtime_stts.protocols import TranscriptionResult
from realtime_stts.testing import StreamingSpeechToTextSuite


class WhisperSuite(StreamingSpeechToTextSuite):
    """Of the small checkpoint, computing no more of a window than need be.

    In a batch of another size the same sums are done in another order, so the last digits of
    a probability are chance, and a word's end may lie a position of 0.02 s beside.
    """

    text = "hello there how is the weather today"
    options: ClassVar[dict[str, Any]]

    @pytest.fixture(autouse=True)
    def _with_the_small_checkpoint(self, tiny_words: Path, say: Callable[..., AudioData]) -> None:
        self._model, self._clip = tiny_words, say(self.text)

    def engine(self) -> WhisperSTTEngine:
        return WhisperSTTEngine(str(self._model), "cpu", encoder="aggressive", **self.options)

    def clip(self) -> AudioData:
        return self._clip

    def same(self, one: TranscriptionResult, other: TranscriptionResult) -> bool:
        return (
            (one.text, one.language, one.committed) == (other.text, other.language, other.committed)
            and _times(one) == pytest.approx(_times(other), abs=0.021)
            and one.confidence == pytest.approx(other.confidence, abs=1e-3)
        )


class TestByAgreement(WhisperSuite):
    options: ClassVar = {"streaming": Streaming(policy="agreement")}


class TestByAttention(WhisperSuite):
    options: ClassVar = {"streaming": Streaming(policy="attention"), "word_timestamps": True}


def _times(result: TranscriptionResult) -> list[float]:
    pieces = [*result.segments, *result.words]
    return [moment for piece in pieces for moment in (piece.start, piece.end)]
