"""Who calls: eSpeak with a few phrases, or a person's recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .._edge import not_none
from ..protocols import TTSEngine
from ._call import LINE_RATE, Phrase
from ._console import read_audio

__all__ = ["CALLER_VOICE", "PART", "Line", "rehearse", "replay"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the caller's part."""

    text: str
    over: float | None = None  # s into the bot's answer, over it; None: after it
    words: bool = True  # False: it only sounds like speech


PART = (
    Line("hello there"),
    Line("how is the weather today"),
    Line("mm hmm", over=1.2, words=False),  # nothing that the bot need stop for
    Line("tell me a joke"),
    Line("what time is it", over=1.6),  # this is
    Line("thank you very much"),
    Line("good bye"),
)

# Of eSpeak's voices the one that PocketSphinx understands best, at 150 words a minute.
CALLER_VOICE = {"voice_id": "en-us+f3", "rate": 150}


async def rehearse(voice: TTSEngine, lines: Sequence[Line]) -> list[Phrase]:
    """The lines, spoken, as they go over the line."""
    phrases = []
    for line in lines:
        result = not_none(await voice.synthesize(line.text, dict(CALLER_VOICE)), voice)
        sound = result.audio_data.mono().resampled(LINE_RATE)
        phrases.append(Phrase(sound, line.text if line.words else "", line.over))
    return phrases


def replay(path: Path) -> Phrase:
    """A recording, as one phrase of unknown words.

    Raises:
        AudioError: It is not usable audio.
        OSError: It cannot be read.
    """
    return Phrase(read_audio(path).mono().resampled(LINE_RATE))
