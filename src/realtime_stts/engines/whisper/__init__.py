"""Whisper: the package openai-whisper, faster than itself, for many sessions at once.

async with WhisperSTTEngine("base.en", word_timestamps=True) as stt:
    result = await stt.transcribe(AudioData.from_file("speech.wav"))
"""

from typing import Any

from ...errors import MissingExtraError

try:
    import torch  # noqa: F401
    import whisper  # noqa: F401
except ImportError as exc:
    raise MissingExtraError("WhisperSTTEngine", "whisper") from exc

from ._options import WhisperOptions
from ._streaming import Streaming
from .engine import WhisperSTTEngine

__all__ = [
    "Streaming",
    "WhisperOptions",
    "WhisperSTTEngine",
    "create_whisper_engine",
    "create_whisper_engine_from_config",
]


def create_whisper_engine(
    model_size: str = "base", device: str = "auto", auto_load: bool = True
) -> WhisperSTTEngine:
    """An engine, loaded unless ``auto_load`` is False; blocks while it loads."""
    engine = WhisperSTTEngine(model_size, device)
    if auto_load:
        engine.load_model()
    return engine


def create_whisper_engine_from_config(config: dict[str, Any]) -> WhisperSTTEngine:
    """An engine of a configuration's ``model_size``, ``device`` and so on.

    Its other keys are those of `WhisperSTTEngine`, and ``auto_load``, which is True.

    Raises:
        TypeError: A key is not known.
    """
    rest = dict(config)
    auto_load = rest.pop("auto_load", True)
    engine = WhisperSTTEngine(**rest)
    if auto_load:
        engine.load_model()
    return engine
