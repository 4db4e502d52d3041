"""What a server offers: its engines, and how they are described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wyoming.info import AsrModel, AsrProgram, Attribution, Info, TtsProgram, TtsVoice

from ... import __version__
from ..._edge import engine_name, streaming_stt, streaming_tts
from ...conversation.engine import own_detector
from ...protocols import PauseDetector, StreamingSTTEngine, STTEngine, TTSEngine
from ._requests import RefusedError, VoiceWish

__all__ = ["Offer", "WyomingLimits"]

_ATTRIBUTION: Final = Attribution("realtime-stts", "https://pypi.org/project/realtime-stts/")

# Home Assistant takes no text to speech without a voice; where an engine names none, its own.
_UNNAMED: Final = "default"

_MAX_TOLD: Final = 8  # languages by name, in a line for people


@dataclass(frozen=True, slots=True)
class WyomingLimits:
    """What one server does for its clients at most.

    Attributes:
        max_connections: At a time. Who comes then is told so, and sent away.
        max_audio_seconds: Of one transcription. It fails beyond.
        max_text: Characters of one synthesis. It fails beyond.
        max_idle_seconds: Without a whole event of a client whose turn it is, or without its
            taking what is sent to it. The connection ends.
        patience: Seconds that an engine has for a transcript once the audio has ended, and
            for each next chunk of sound; then the request has failed. None waits for ever.

    Raises:
        ValueError: A number is not over 0.
    """

    max_connections: int = 32
    max_audio_seconds: float = 300.0
    max_text: int = 20_000
    max_idle_seconds: float = 120.0
    patience: float | None = 60.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is over 0, not {value!r}")


class Offer:
    """Two engines, or one, as all connections of a server see them.

    Args:
        stt: Hears. None: nothing is transcribed.
        tts: Speaks. None: nothing is spoken.
        detector: Each transcription listens with a clone of it, or with what it makes.
        languages: Those that ``stt`` hears. None: what its attribute ``languages`` says once
            it is loaded, or English.
    """

    def __init__(
        self,
        stt: STTEngine | None,
        tts: TTSEngine | None,
        detector: PauseDetector | Callable[[], PauseDetector] | None,
        languages: Sequence[str] | None,
    ) -> None:
        self._given = stt, languages
        self.stt = None if stt is None else streaming_stt(stt, None)
        self.tts = None if tts is None else streaming_tts(tts)
        self.streams_transcripts = isinstance(stt, StreamingSTTEngine)
        self._detector = detector
        self._languages: list[str] = []
        self._voices: list[dict[str, Any]] = []
        self.info = Info()

    def detector(self) -> PauseDetector | None:
        """A pause detector that no other transcription listens with.

        Raises:
            TypeError: The one that was given cannot be cloned.
        """
        return None if self._detector is None else own_detector(self._detector)

    async def refresh(self) -> None:
        """Ask for languages and voices, and describe what there is now."""
        stt, languages = self._given
        self._languages = [*(languages or getattr(stt, "languages", None) or ("en",))]
        if self.tts is not None:
            self._voices = await self.tts.list_voices()
        self.info = Info(
            asr=[] if self.stt is None else [self._asr(engine_name(self.stt))],
            tts=[] if self.tts is None else [self._tts(engine_name(self.tts))],
        )

    def lines(self) -> list[str]:
        """A line on each engine, for people."""
        known = self._languages
        told = ", ".join(known) if len(known) <= _MAX_TOLD else f"{len(known)} languages"
        hears = [f"{each.name} hears {told}" for each in self.info.asr]
        return hears + [
            f"{each.name} speaks with {len(each.voices)} voice{'s' * (len(each.voices) != 1)}"
            for each in self.info.tts
        ]

    async def voice(self, wish: VoiceWish) -> dict[str, Any]:
        """The voice configuration that a client wishes for: {} for the engine's own voice.

        Raises:
            RefusedError: There is no such voice, also not since voices were last asked for.
        """
        if wish.name is None and wish.language is None:
            return {}
        found = self._find(wish)
        if found is None:
            await self.refresh()
            found = self._find(wish)
        if found is None and wish.name == _UNNAMED and not self._voices:
            return {}
        if found is None:
            wanted = f"is called {wish.name!r}" if wish.name else f"speaks {wish.language!r}"
            raise RefusedError("unknown_voice", f"No voice {wanted}: describe lists them.")
        if wish.speaker is not None:
            raise RefusedError("unknown_voice", f"The voice {wish.name!r} has no speakers.")
        return {"voice_id": found["id"]}

    def _find(self, wish: VoiceWish) -> dict[str, Any] | None:
        if wish.name is not None:
            return next((v for v in self._voices if v["id"] == wish.name), None)
        assert wish.language is not None
        asked = _tags(wish.language)
        for n_tags in (len(asked), 1):
            for voice in self._voices:
                if any(_tags(language)[:n_tags] == asked[:n_tags] for language in _spoken(voice)):
                    return voice
        return None

    def _asr(self, name: str) -> AsrProgram:
        description = f"{name}, by realtime-stts"
        model = AsrModel(name, _ATTRIBUTION, True, description, __version__, self._languages)
        return AsrProgram(
            name,
            _ATTRIBUTION,
            True,
            description,
            __version__,
            [model],
            supports_transcript_streaming=self.streams_transcripts,
        )

    def _tts(self, name: str) -> TtsProgram:
        voices = [
            TtsVoice(
                voice["id"],
                _ATTRIBUTION,
                True,
                str(voice.get("name") or voice["id"]),
                __version__,
                _spoken(voice) or self._languages,
            )
            for voice in self._voices or ({"id": _UNNAMED},)
        ]
        return TtsProgram(
            name,
            _ATTRIBUTION,
            True,
            f"{name}, by realtime-stts",
            __version__,
            voices,
            supports_synthesize_streaming=True,
        )


def _spoken(voice: dict[str, Any]) -> list[str]:
    language = voice.get("language")
    return [str(language)] if language else []


def _tags(language: str) -> list[str]:
    return language.lower().replace("_", "-").split("-")
