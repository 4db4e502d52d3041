"""What is kept of a talk: both voices, as they were heard, and all events."""

from __future__ import annotations

from typing import Final

from ..audio import AudioData
from ._recording import Moment, Playout, Recording, record

__all__ = ["Tape"]

_LENGTH: Final = 3600.0  # s


class Tape:
    """Runs for an hour and then stops, since all of it is kept in memory.

    The user's sound tells the time; the bot's is placed where it was played.
    """

    def __init__(self, length: float = _LENGTH) -> None:
        self._length = length
        self._heard: list[AudioData] = []
        self._duration = 0.0
        self._playout = Playout()
        self._moments: list[Moment] = []

    @property
    def is_full(self) -> bool:
        """Whether it has run out."""
        return self._duration >= self._length

    def hear(self, audio: AudioData) -> None:
        """The user's next sound; 16-bit mono of one rate."""
        if not self.is_full:
            self._heard.append(audio)
            self._duration += audio.duration_seconds

    def tell(self, moment: Moment) -> None:
        """The next event."""
        if not self.is_full:
            self._moments.append(moment)
            self._playout.tell(moment)

    @property
    def recording(self) -> Recording:
        """All of it."""
        caller = AudioData.concat(self._heard or [AudioData.silence(0.1, 16_000)])
        return record(caller, self._playout, self._moments, [], {})
