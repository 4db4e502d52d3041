"""Voices taken from recordings, for the engines that can speak in them.

    voices = VoiceRegistry("voices")
    voices.register("anna", AudioData.from_file("anna.flac"), consent=Consent(...))
    tts = ChatterboxTTSEngine(voices=voices)

A registry knows no engine: what an engine derives from a recording is the engine's affair,
and the registry keeps it for as long as there is the voice.
"""

from ._reference import Reference, checked, read
from ._registry import Consent, Derived, VoiceInfo, VoiceRegistry

__all__ = [
    "Consent",
    "Derived",
    "Reference",
    "VoiceInfo",
    "VoiceRegistry",
    "checked",
    "read",
]
