"""Engines by name, from the entry points of installed packages."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from .errors import UnknownEngineError
from .protocols import PauseDetector

__all__ = ["load_pause_detector"]


def load_pause_detector(spec: str, **options: Any) -> PauseDetector:
    name, _, argument = spec.partition(":")
    found = entry_points(group="realtime_stts.pause_detection")
    if name not in found.names:
        raise UnknownEngineError("pause detection", name, found.names)
    engine = found[name].load()
    made: PauseDetector = engine(argument, **options) if argument else engine(**options)
    return made
