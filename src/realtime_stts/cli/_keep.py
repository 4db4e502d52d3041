"""What a call leaves behind, as files: they appear together, once all is done, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from ._console import err
from ._recording import Moment, Recording, event_fields
from ._timeline import draw_timeline

__all__ = ["FILES", "FREE_SPEECH", "keep", "legend"]

FILES: Final = {
    "conversation.wav": "stereo: caller left, bot right",
    "caller.wav": "the caller alone",
    "reply.wav": "the bot alone",
    "timeline.png": "the picture: who spoke when, and every wait",
    "events.jsonl": "everything the session told its host",
}

FREE_SPEECH: Final = (
    "PocketSphinx is a recogniser of the 2000s with a small model: of free speech "
    "expect some words right and many wrong."
)


def keep(call: Recording, folder: Path, subtitle: str) -> None:
    """Write the files into ``folder``.

    Raises:
        OSError: They cannot be written. What was there before stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        err.status("drawing the timeline"),
        TemporaryDirectory(dir=folder, prefix=".unfinished-") as stage,
    ):
        call.caller.to_file(Path(stage, "caller.wav"))
        call.bot.to_file(Path(stage, "reply.wav"))
        call.stereo().to_file(Path(stage, "conversation.wav"))
        lines = [_line(moment) for moment in call.moments]
        Path(stage, "events.jsonl").write_text("".join(lines), encoding="utf-8")
        Path(stage, "timeline.png").write_bytes(draw_timeline(call, subtitle))
        for file in Path(stage).iterdir():
            file.replace(folder / file.name)


def legend(stt: str, tts: str, *more: str) -> str:
    """What the picture's signs mean, in a line under its title."""
    parts = (
        f"{stt} hears, {tts} speaks",
        "shaded: speech as it is detected",
        "waits: from where it ends",
        "dots: partial transcripts",
        "hatched: the bot is held",
    )
    return "   ·   ".join((*parts, *more))


def _line(moment: Moment) -> str:
    fields = {"t": round(moment.t, 4), "type": type(moment.event).__name__}
    return json.dumps(fields | event_fields(moment.event), ensure_ascii=False) + "\n"
