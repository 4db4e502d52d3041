"""PURE: voices' ids, made of the names that files had."""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Final, Literal

__all__ = ["VoiceType", "stem", "type_of", "voice_id_of", "without_ending"]

VoiceType = Literal["predefined", "reference"]

_REFERENCE: Final = "ref-"  # what the id of an uploaded reference begins with
_MAX_ID: Final = 56  # characters; the registry takes 64, and a prefix must fit
_ENDINGS: Final = (".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus")


def voice_id_of(filename: str, type: VoiceType) -> str:
    """A voice's id, of the name of its file: ``Emily Rose.wav`` is ``emily-rose``.

    Any text makes one, and the same text the same; what is no letter or digit of ASCII, nor
    like one, is left out.
    """
    name = stem(filename)
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    word = re.sub("[^a-z0-9]+", "-", plain)[:_MAX_ID].strip("-")
    if not word:
        word = f"voice-{sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"
    if type == "reference":
        return f"{_REFERENCE}{word}"
    # The prefix says which kind a voice is: nobody shall choose it by the name of a file.
    return f"voice-{word}" if word.startswith(_REFERENCE) else word


def type_of(voice_id: str) -> VoiceType:
    """Which kind an uploaded voice is."""
    return "reference" if voice_id.startswith(_REFERENCE) else "predefined"


def without_ending(name: str) -> str:
    """A name without the ending of an audio file's."""
    for ending in _ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def stem(filename: str) -> str:
    """The name without folders and without its ending."""
    last = filename.replace("\\", "/").rpartition("/")[2]
    return PurePosixPath(last).stem.strip(". ") if last.strip(". ") else ""
