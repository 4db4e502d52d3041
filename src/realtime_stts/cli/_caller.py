"""Who calls: eSpeak with a few phrases, or a person's recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._edge import not_none
from ..protocols import TTSEngine
from ._call import LINE_RATE, Phrase
from ._console import read_audio

__all__ = ["CALLER_VOICE", "PHRASES", "rehearse", "replay"]

PHRASES = (
    "hello there",
    "how is the weather today",
    "what time is it",
    "tell me a joke",
    "thank you very much",
    "good bye",
)

# Of eSpeak's voices the one that PocketSphinx understands best, at 150 words a minute.
CALLER_VOICE = {"voice_id": "en-us+f3", "rate": 150}


async def rehearse(voice: TTSEngine, texts: Sequence[str]) -> list[Phrase]:
    """The texts, spoken, as they go over the line."""
    phrases = []
    for text in texts:
        result = not_none(await voice.synthesize(text, dict(CALLER_VOICE)), voice)
        phrases.append(Phrase(result.audio_data.mono().resampled(LINE_RATE), text))
    return phrases


def replay(path: Path) -> Phrase:
    """A recording, as one phrase of unknown words.

    Raises:
        AudioError: It is not usable audio.
        OSError: It cannot be read.
    """
    return Phrase(read_audio(path).mono().resampled(LINE_RATE))
