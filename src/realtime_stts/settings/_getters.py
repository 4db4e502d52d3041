"""The contract's getters, over sections by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

__all__ = ["Getters"]


class Getters(ABC):
    """A `ConfigurationProvider` of whatever has sections. Each answer belongs to the caller."""

    @abstractmethod
    def _section(self, name: str) -> dict[str, Any]:
        """The options of a section; none of one that is not there."""

    def get_stt_config(self) -> dict[str, Any]:
        return self._section("stt_engine")

    def get_tts_config(self) -> dict[str, Any]:
        return self._section("tts_engine")

    def get_conversation_config(self) -> dict[str, Any]:
        return self._section("conversation")

    def get_pause_detection_config(self) -> dict[str, Any]:
        return self._section("pause_detection")

    def get_audio_config(self) -> dict[str, Any]:
        return self._section("audio")
