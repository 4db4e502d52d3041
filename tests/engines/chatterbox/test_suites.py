"""Chatterbox keeps every promise of its Protocol, however it makes sound of its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

pytest.importorskip("chatterbox")

from realtime_stts.audio import AudioData
from realtime_stts.engines.chatterbox import ChatterboxTTSEngine, Manner, VoiceRegistry
from realtime_stts.testing import StreamingTextToSpeechSuite, virtual_time
from tools.random_chatterbox import small


def on(backend: str) -> list[pytest.MarkDecorator]:
    """The marks of a suite that is held on one event loop."""
    one = pytest.mark.parametrize("anyio_backend", [virtual_time(backend)], ids=[backend])
    return [pytest.mark.anyio, one]


class ChatterboxSuite(StreamingTextToSpeechSuite):
    """Of a small model, which solves its flow in one step and is heard by nobody.

    It speaks with numbers whose last digits depend on who else speaks at the time.
    """

    max_stall = 0.5
    kind: ClassVar[str] = "standard"
    manner: ClassVar[Manner]

    @pytest.fixture(autouse=True)
    def _with_a_small_model(
        self, checkpoint: Callable[[str], Path], two_voices: VoiceRegistry
    ) -> Iterator[None]:
        self._model, self._voices = checkpoint(self.kind), two_voices
        with small(self.kind):
            yield

    def engine(self) -> ChatterboxTTSEngine:
        return ChatterboxTTSEngine(
            "cpu",
            model=self._model,
            voices=self._voices,
            manner=self.manner,
            seed=5,
            watermark=False,
        )

    def same(self, one: Any, other: Any) -> bool:
        """To the sample."""
        if not isinstance(one, AudioData):
            return bool(one == other)
        if one.samples.shape != other.samples.shape:
            return False
        return float(np.abs(one.samples - other.samples).max()) < 2e-3


class TestCached(ChatterboxSuite):
    pytestmark = on("asyncio")

    manner: ClassVar = Manner(mode="cached", prompt_seconds=3.0, steps=1, rerolls=0)


class TestInWindows(ChatterboxSuite):
    pytestmark = on("trio")

    kind: ClassVar[str] = "turbo"
    manner: ClassVar = Manner(steps=1, rerolls=0)

    def same(self, one: Any, other: Any) -> bool:
        """As long, and nearly as loud: a window hears less of a sentence than the whole does."""
        if not isinstance(one, AudioData):
            return bool(one == other)
        if one.samples.shape != other.samples.shape:
            return False
        loudness = [float(np.sqrt(np.mean(each.samples**2))) for each in (one, other)]
        return 0.7 < loudness[0] / loudness[1] < 1.4
