"""What the tests of Chatterbox speak with: small models with random weights, loaded from files.

Without chatterbox-tts the tests are skipped, and nothing of it is imported here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import MissingExtraError

if TYPE_CHECKING:
    from realtime_stts.engines.chatterbox import ChatterboxTTSEngine, VoiceRegistry


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The last bit of a sum depends on how many threads added it up."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a small model of a kind."""
    from tools.random_chatterbox import small, write

    @cache
    def checkpoint(kind: str) -> Path:
        with small(kind):
            return write(tmp_path_factory.mktemp("chatterbox") / kind, kind)

    return checkpoint


@pytest.fixture
def engine(checkpoint: Callable[[str], Path]) -> Callable[..., ChatterboxTTSEngine]:
    """Makes an engine of a small model, loaded, that says the same each time."""
    from realtime_stts.engines.chatterbox import ChatterboxTTSEngine
    from tools.random_chatterbox import small

    def engine(kind: str = "standard", **options: Any) -> ChatterboxTTSEngine:
        options = {"seed": 1, "watermark": False, **options}
        made = ChatterboxTTSEngine("cpu", model=checkpoint(kind), **options)
        with small(kind):
            made.load_model()
        return made

    return engine


@pytest.fixture(scope="session")
def recording() -> Callable[..., AudioData]:
    """Six seconds of somebody's voice."""
    pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
    from realtime_stts.engines.espeak import ESpeakTTSEngine

    @cache
    def recording(voice: str = "en-us+f3") -> AudioData:
        text = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all, now."
        said = asyncio.run(ESpeakTTSEngine(voice, rate=140).synthesize(text)).audio_data
        noise = np.random.default_rng(0).standard_normal(said.samples.shape) * 1e-3
        return AudioData.from_samples(said.samples + noise.astype(np.float32), said.sample_rate)

    return recording


@pytest.fixture
def two_voices(recording: Callable[..., AudioData]) -> VoiceRegistry:
    """A registry with a man's and a woman's voice."""
    from realtime_stts.engines.chatterbox import Consent, VoiceRegistry

    voices = VoiceRegistry(max_bytes=1 << 30)
    consent = Consent("eSpeak", "Use it for tests.", datetime(2026, 1, 1, tzinfo=timezone.utc))
    for voice_id, voice in (("ada", "en-us+f3"), ("bob", "en-us+m3")):
        voices.register(voice_id, recording(voice), consent=consent)
    return voices
