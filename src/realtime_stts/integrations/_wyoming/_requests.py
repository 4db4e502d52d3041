"""PURE: what clients ask for, read from the data of their events.

The package's own classes take values of any type, and raise a `KeyError` where one is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...audio import AudioData

__all__ = ["RefusedError", "VoiceWish", "audio_of", "language_of", "text_of", "voice_of"]

_MAX_NAME: Final = 200  # characters
_LANGUAGE: Final = re.compile("[a-z]{2,3}")
_FORMATS: Final = {1: "pcm_u8", 2: "pcm", 3: "pcm_s24le", 4: "pcm_s32le"}  # by bytes a sample


class RefusedError(Exception):
    """A request that cannot be met; the text is for the client, and quotes nobody else.

    Args:
        code: For programs: it never changes for the same problem.
        text: For people.
    """

    def __init__(self, code: str, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(code, text)


@dataclass(frozen=True, slots=True)
class VoiceWish:
    """Which voice is to speak; the name counts for more than the language."""

    name: str | None = None
    language: str | None = None
    speaker: str | None = None


def text_of(data: Mapping[str, Any]) -> str:
    """What is to be spoken.

    Raises:
        RefusedError: There is no text.
    """
    text = data.get("text")
    if not isinstance(text, str):
        raise RefusedError("invalid_request", "The event needs a text.")
    return text


def voice_of(data: Mapping[str, Any]) -> VoiceWish:
    """The voice that is to speak, and that it is to speak plain text.

    Raises:
        RefusedError: The fields are no strings, or the text is to be read as something else.
    """
    format_ = data.get("text_format")
    if format_ not in (None, "text"):
        raise RefusedError("unsupported_format", "Only plain text is spoken here, no markup.")
    voice = data.get("voice")
    if voice is None:
        return VoiceWish()
    if not isinstance(voice, Mapping):
        raise RefusedError("invalid_request", "A voice is an object with a name or a language.")
    return VoiceWish(*(_name(voice, key) for key in ("name", "language", "speaker")))


def language_of(data: Mapping[str, Any]) -> str | None:
    """The language that is spoken, in ISO 639: ``en`` for ``en-US``. None: detect it.

    Raises:
        RefusedError: It is no language.
    """
    name = _name(data, "language")
    if name is None or name.lower() == "auto":
        return None
    code = re.split("[-_]", name.lower())[0]
    if not _LANGUAGE.fullmatch(code):
        raise RefusedError("invalid_request", "A language is a code such as en or en-US.")
    return code


def audio_of(data: Mapping[str, Any], payload: bytes) -> AudioData:
    """A chunk of sound.

    Raises:
        RefusedError: Its width is that of no format.
        AudioFormatError: Its values or bytes are not usable audio.
    """
    width = data.get("width")
    if type(width) is not int or width not in _FORMATS:
        raise RefusedError("unusable_audio", "A sample has a width of 1, 2, 3 or 4 bytes.")
    # AudioData judges the rest, whatever its type.
    rate, channels = data.get("rate"), data.get("channels")
    return AudioData(payload, rate, channels, _FORMATS[width])  # type: ignore[arg-type]


def _name(data: Mapping[str, Any], key: str) -> str | None:
    name = data.get(key)
    if name is None or name == "":
        return None
    if not isinstance(name, str) or len(name) > _MAX_NAME:
        raise RefusedError(
            "invalid_request", f"A {key} is a string of at most {_MAX_NAME} characters."
        )
    return name
