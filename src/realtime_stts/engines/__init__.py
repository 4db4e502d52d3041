"""Engines: each in a module of its own, which imports its own packages and no other engine.

Take one by name with `load_stt`, `load_tts` and `load_pause_detector`, or its class from
its module: ``from realtime_stts.engines.espeak import ESpeakTTSEngine``.
"""

from .._registry import EngineEntry, available, load_pause_detector, load_stt, load_tts

__all__ = ["EngineEntry", "available", "load_pause_detector", "load_stt", "load_tts"]
