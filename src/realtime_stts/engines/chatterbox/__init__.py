"""Chatterbox: the package chatterbox-tts, streaming from inside, for many sessions at once.

async with ChatterboxTTSEngine(model="turbo") as tts:
    async with aclosing(tts.stream("Good morning.")) as chunks:
        async for chunk in chunks:
            play(chunk)
"""

import warnings
from typing import Any

from ...errors import MissingExtraError
from ...voices import Consent, VoiceInfo, VoiceRegistry

try:
    import torch  # noqa: F401

    with warnings.catch_warnings():  # of packages that it uses, about packages that they use
        warnings.simplefilter("ignore")
        import chatterbox  # noqa: F401
except ImportError as exc:
    raise MissingExtraError("ChatterboxTTSEngine", "chatterbox") from exc

from ._model import Manner
from ._settings import ChatterboxSettings
from .engine import ChatterboxTTSEngine

__all__ = [
    "ChatterboxSettings",
    "ChatterboxTTSEngine",
    "Consent",
    "Manner",
    "VoiceInfo",
    "VoiceRegistry",
    "create_chatterbox_engine",
    "create_chatterbox_engine_from_config",
]


def create_chatterbox_engine(device: str = "auto", auto_load: bool = True) -> ChatterboxTTSEngine:
    """An engine, loaded unless ``auto_load`` is False; blocks while it loads."""
    engine = ChatterboxTTSEngine(device)
    if auto_load:
        engine.load_model()
    return engine


def create_chatterbox_engine_from_config(config: dict[str, Any]) -> ChatterboxTTSEngine:
    """An engine of a configuration's ``device``, ``model_cache_path`` and so on.

    Its other keys are those of `ChatterboxTTSEngine`, and ``auto_load``, which is True.

    Raises:
        TypeError: A key is not known.
    """
    rest = dict(config)
    auto_load = rest.pop("auto_load", True)
    engine = ChatterboxTTSEngine(**rest)
    if auto_load:
        engine.load_model()
    return engine
