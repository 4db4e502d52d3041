"""Engines and pause detectors by the names that settings give them, with their options."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from .._registry import load_pause_detector, load_stt, load_tts
from ..errors import MissingExtraError
from ..protocols import ManagedSTTEngine, ManagedTTSEngine, PauseDetector
from ..settings import Settings
from ..voices import VoiceRegistry

__all__ = ["chosen_detector", "chosen_stt", "chosen_tts", "load"]

_FRAMES: Final = ("min_speech_frames", "min_pause_frames")
_DETECTORS: Final = {
    "silero": ("start_above", "stop_below", *_FRAMES),
    "webrtc": ("aggressiveness", "frame_duration_ms", *_FRAMES),
    "energy": ("energy_threshold", "frame_duration_ms", *_FRAMES),
}


def load(kind: str, spec: str) -> Any:
    """An engine that stands by: its name and argument are all there is to set."""
    return load_stt(spec) if kind == "stt" else load_tts(spec)


def chosen_stt(settings: Settings) -> ManagedSTTEngine:
    """The engine of `stt_engine`; `load_stt` says what is raised."""
    found = settings.stt_engine
    options = dict(found.options)
    name, _, argument = found.engine.partition(":")
    if name == "whisper":
        known = _chosen(found, ("device", "max_batch", "idle_ttl"))
        known["download_root"] = found.download_root or settings.paths.model_cache
        if not argument:
            known |= _chosen(found, ("model_size", "model_path"))
        options = {**known, **options}
    return load_stt(found.engine, **options)


def chosen_tts(settings: Settings, voices: VoiceRegistry | None = None) -> ManagedTTSEngine:
    """The engine of `tts_engine`; `load_tts` says what is raised.

    Args:
        voices: For Chatterbox, in the place of those in the settings' folder.
    """
    found = settings.tts_engine
    options = dict(found.options)
    name, _, argument = found.engine.partition(":")
    if name == "chatterbox":
        known = _chosen(found, ("device", "watermark", "max_active", "idle_ttl"))
        known["model_cache_path"] = settings.paths.model_cache
        if not argument:
            known["model"] = _chatterbox_model(settings)
        if voices is None and found.predefined_voices_path is not None:
            voices = VoiceRegistry(found.predefined_voices_path)
        if voices is not None:
            known["voices"] = voices
        options = {**known, **options}
    return load_tts(found.engine, **options)


def _chatterbox_model(settings: Settings) -> str:
    model = settings.model
    if model.local_path is not None:
        return str(model.local_path)
    if model.use_multilingual:
        return "multilingual"
    return "turbo" if model.repo_id.endswith("-turbo") else "standard"


def chosen_detector(settings: Settings) -> PauseDetector:
    """A new detector of `pause_detection`; `load_pause_detector` says what is raised."""
    found = settings.pause_detection
    names = ("silero", "energy") if found.engine == "auto" else (found.engine,)
    for name in names[:-1]:
        with suppress(MissingExtraError):
            return load_pause_detector(name, **_chosen(found, _DETECTORS[name]))
    return load_pause_detector(names[-1], **_chosen(found, _DETECTORS[names[-1]]))


def _chosen(section: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(section, name) for name in names}
