"""What is kept of a talk: both voices, as they were heard, and all events."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from ..audio import AudioData
from ._recording import Moment, Playout, Recording, event_fields

__all__ = ["FILES", "Tape"]

FILES: Final = {
    "conversation.wav": "stereo: you left, the bot right",
    "caller.wav": "what the microphone heard",
    "reply.wav": "the bot alone",
    "events.jsonl": "everything the session told its host",
}

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

    def save(self, folder: Path) -> None:
        """Write the files into ``folder``: all of them, or none.

        Raises:
            OSError: They cannot be written.
        """
        recording = self._recording()
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".unfinished-") as stage:
            recording.caller.to_file(Path(stage, "caller.wav"))
            recording.bot.to_file(Path(stage, "reply.wav"))
            recording.stereo().to_file(Path(stage, "conversation.wav"))
            lines = [_line(moment) for moment in self._moments]
            Path(stage, "events.jsonl").write_text("".join(lines), encoding="utf-8")
            for file in Path(stage).iterdir():
                file.replace(folder / file.name)

    def _recording(self) -> Recording:
        caller = AudioData.concat(self._heard or [AudioData.silence(0.0, 16_000)])
        return Recording(caller, self._playout.mixed(caller.duration_seconds), (), ())


def _line(moment: Moment) -> str:
    fields = {"t": round(moment.t, 4), "type": type(moment.event).__name__}
    return json.dumps(fields | event_fields(moment.event), ensure_ascii=False) + "\n"
