"""Engines and detectors of this library fit their Protocols: type-checked, never run."""

from __future__ import annotations

from realtime_stts import (
    EventBus,
    ManagedSTTEngine,
    ManagedTTSEngine,
    PauseDetector,
    ResponseGenerator,
)
from realtime_stts.conversation import EchoResponseGenerator, TemplateResponseGenerator
from realtime_stts.conversation._bus import InProcessEventBus
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.engines.espeak import ESpeakTTSEngine
from realtime_stts.engines.isolated import IsolatedSTTEngine, IsolatedTTSEngine
from realtime_stts.engines.pocketsphinx import PocketSphinxSTTEngine
from realtime_stts.engines.silero import SileroPauseDetector
from realtime_stts.engines.webrtc import WebRTCPauseDetector
from realtime_stts.testing import (
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
)


def stt() -> list[ManagedSTTEngine]:
    return [
        PocketSphinxSTTEngine(),
        IsolatedSTTEngine("pocketsphinx"),
        ScriptedSTTEngine(["hello"]),
    ]


def tts() -> list[ManagedTTSEngine]:
    return [ESpeakTTSEngine(), IsolatedTTSEngine("espeak"), ScriptedTTSEngine()]


def pause_detection() -> list[PauseDetector]:
    return [
        EnergyPauseDetector(),
        SileroPauseDetector(),
        WebRTCPauseDetector(),
        ScriptedPauseDetector(),
    ]


def responders() -> list[ResponseGenerator]:
    return [
        EchoResponseGenerator(),
        TemplateResponseGenerator(),
        ScriptedResponseGenerator(["hello"]),
    ]


def events() -> EventBus:
    return InProcessEventBus()
