"""Chatterbox fits its Protocol: type-checked, never run."""

from __future__ import annotations

from realtime_stts import ManagedTTSEngine
from realtime_stts.engines.chatterbox import ChatterboxTTSEngine, create_chatterbox_engine


def tts() -> list[ManagedTTSEngine]:
    return [ChatterboxTTSEngine(model="turbo"), create_chatterbox_engine(auto_load=False)]
