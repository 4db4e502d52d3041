"""Engines by name: ``load_tts("espeak:en-us+f3")``.

Packages offer engines as entry points of the groups ``realtime_stts.stt``, ``.tts`` and
``.pause_detection``: a name, and the class that is called with what follows the colon and
the options. Looking a name up imports only the engine it names. The registry itself knows
no engine, and so stands below engines and conversations alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ._edge import managed_stt, managed_tts
from .errors import EngineLoadError, MissingExtraError, UnknownEngineError
from .protocols import (
    ManagedSTTEngine,
    ManagedTTSEngine,
    PauseDetector,
    STTEngine,
    TTSEngine,
)

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

__all__ = ["EngineEntry", "Kind", "available", "load_pause_detector", "load_stt", "load_tts"]

Kind = Literal["stt", "tts", "pause_detection"]


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """An engine that some installed package offers."""

    name: str
    kind: Kind
    package: str  # the distribution that offers it
    problem: str | None  # why it cannot be used now, and what mends that; None if it can


def load_stt(spec: str, **options: Any) -> ManagedSTTEngine:
    """A speech-to-text engine, made but not loaded: it loads on demand or by ``async with``.

    Args:
        spec: A name, perhaps with an argument: ``pocketsphinx``, ``whisper:base.en``.
        options: Passed to the engine's class.

    Raises:
        UnknownEngineError: No installed package offers an engine of that name.
        MissingExtraError: It needs a package that is not installed.
        EngineLoadError: What the package offers is no such engine.
        ValueError: The engine refuses the argument or an option.
    """
    engine = _make("stt", spec, options)
    if not isinstance(engine, STTEngine):
        raise EngineLoadError(spec, f"{type(engine).__name__} is not an STTEngine")
    return managed_stt(engine)


def load_tts(spec: str, **options: Any) -> ManagedTTSEngine:
    """A text-to-speech engine, such as ``espeak:en-us+f3``; otherwise as `load_stt`."""
    engine = _make("tts", spec, options)
    if not isinstance(engine, TTSEngine):
        raise EngineLoadError(spec, f"{type(engine).__name__} is not a TTSEngine")
    return managed_tts(engine)


def load_pause_detector(spec: str, **options: Any) -> PauseDetector:
    """A pause detector, such as ``silero``; otherwise as `load_stt`."""
    detector = _make("pause_detection", spec, options)
    if not isinstance(detector, PauseDetector):
        raise EngineLoadError(spec, f"{type(detector).__name__} is not a PauseDetector")
    return detector


def available(kind: Kind) -> list[EngineEntry]:
    """Every engine of a kind that is offered, sorted by name, usable or not."""
    return sorted(
        (
            EngineEntry(entry.name, kind, entry.dist.name if entry.dist else "", _problem(entry))
            for entry in _offered(kind)
        ),
        key=lambda entry: entry.name,
    )


_SPOKEN = {"stt": "speech-to-text", "tts": "text-to-speech", "pause_detection": "pause detection"}


def _offered(kind: Kind) -> EntryPoints:
    from importlib.metadata import entry_points  # here: it takes longer than all else here

    return entry_points(group=f"realtime_stts.{kind}")


def _problem(entry: EntryPoint) -> str | None:
    try:
        entry.load()
    except ImportError as exc:  # MissingExtraError is one
        return str(exc)
    return None


def _make(kind: Kind, spec: str, options: dict[str, Any]) -> object:
    name, _, argument = spec.partition(":")
    offered = _offered(kind)
    if name not in offered.names:
        raise UnknownEngineError(_SPOKEN[kind], name, offered.names)
    try:
        make = offered[name].load()
    except MissingExtraError:
        raise
    except ImportError as exc:
        raise EngineLoadError(name, f"cannot be imported: {exc}") from exc
    return make(*([argument] if argument else []), **options)
