"""The pictures of the site, drawn by the code that they are about.

    python -m tools.docs.pictures FOLDER

The timeline is a call that is held for it, with real engines on virtual time. The states of the
turn machine are drawn by hand; a test steps the machine along each of their arrows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path

import anyio
import matplotlib

from realtime_stts.conversation import ConversationEngine, TemplateResponseGenerator
from realtime_stts.engines import load_pause_detector, load_stt, load_tts
from realtime_stts.integrations.notebook import timeline as timeline_of
from realtime_stts.testing import Call, Caller, virtual_time

from .drawing import Arrow, Box, Label, svg

__all__ = ["PICTURES", "draw"]


def timeline() -> str:
    """Who spoke when in a call, and every wait."""
    _, options = virtual_time()
    call = anyio.run(_call, backend_options=options)
    drawn = StringIO()
    # The same call, the same file: no date, no random ids.
    with matplotlib.rc_context({"svg.hashsalt": "realtime_stts", "svg.fonttype": "path"}):
        shown = timeline_of(call)
        shown.savefig(drawn, format="svg", facecolor="white", metadata={"Date": None})
    return drawn.getvalue()


async def _call() -> Call:
    phrases = ["how is the weather today", "tell me a joke", "what time is it", "good bye"]
    caller_voice = {"voice_id": "en-us+f3", "rate": 150}
    async with load_stt("pocketsphinx", phrases=phrases) as ears, load_tts("espeak") as voice:
        engine = ConversationEngine(
            stt=ears,
            tts=voice,
            responder=TemplateResponseGenerator(),
            pause_detector=load_pause_detector("energy"),
        )
        return (
            await Caller(engine, voice=voice, voice_config=caller_voice)
            .says("how is the weather today")
            .mumbles(0.9, after=1.2)  # nothing that the bot need stop for
            .says("tell me a joke")
            .interrupts("what time is it", after=1.6)  # this is
            .says("good bye")
            .run()
        )


def data_flow() -> str:
    """What audio and words pass through."""
    parts: list[Box | Label | Arrow] = [
        Box(10, 20, 138, 60, "your host", ("microphone, socket,", "file")),
        Box(205, 20, 150, 60, "pause detector", ("silero, webrtc, energy",)),
        Box(415, 20, 170, 60, "turn machine", ("pure: is told the time",), "own"),
        Box(645, 20, 150, 60, "STT engine", ("a Chain around it",)),
        Box(645, 150, 150, 60, "responder", ("any async function",)),
        Box(415, 150, 170, 60, "sentences", ("cut while it writes",), "own"),
        Box(205, 150, 150, 60, "TTS engine", ("a Chain around it",)),
        Box(10, 150, 138, 60, "your host", ("loudspeaker, socket,", "file")),
        Arrow(((148, 50), (203, 50)), "push"),
        Arrow(((355, 50), (413, 50)), "speech?"),
        Arrow(((585, 50), (643, 50)), "a turn"),
        Arrow(((720, 80), (720, 148)), "transcript", (728, 118), "start"),
        Arrow(((643, 180), (587, 180)), "text"),
        Arrow(((413, 180), (357, 180)), "sentence"),
        Arrow(((203, 180), (150, 180)), "audio"),
        Arrow(((470, 80), (470, 148)), "hold, stop, go on", (478, 118), "start"),
        Box(10, 250, 785, 44, "one ordered stream of events", ("",), "note"),
        Label(405, 284, "SpeechStarted, PartialTranscript, … ReplyAudio, Interrupted, TurnEnded"),
    ]
    return svg(810, 310, "How audio and words flow through a conversation", parts)


def turns() -> str:
    """What the user is doing."""
    parts: list[Box | Label | Arrow] = [
        Box(20, 90, 140, 60, "Idle", ("no turn is open",), "own", 30),
        Box(320, 90, 160, 60, "Speaking", ("a turn is open",), "own", 30),
        Box(640, 90, 150, 60, "Paused", ("is it over?",), "own", 30),
        Arrow(((160, 108), (320, 108)), "speech starts"),
        Arrow(((480, 108), (638, 108)), "speech stops"),
        Arrow(((640, 135), (482, 135)), "speech starts again", (560, 153)),
        Arrow(
            ((715, 150), (715, 205), (90, 205), (90, 152)),
            "end_of_turn seconds of silence, or what the detector judges: the turn ends",
            (400, 224),
        ),
        Arrow(
            ((400, 90), (400, 45), (90, 45), (90, 88)),
            "committed by the host, or the input ends",
            (245, 36),
        ),
        Arrow(
            ((425, 90), (425, 45), (462, 45), (462, 88)),
            "max_turn seconds: cut, and on as the next turn",
            (472, 50),
            "start",
        ),
    ]
    return svg(810, 240, "The states of the user: idle, speaking, paused", parts)


def answer() -> str:
    """What becomes of an answer that the user speaks over."""
    parts: list[Box | Label | Arrow] = [
        Box(20, 90, 140, 60, "running", ("it is heard",), "own", 30),
        Box(325, 90, 150, 60, "held", ("silent, not given up",), "own", 30),
        Box(650, 90, 140, 60, "stopped", ("the floor is theirs",), "own", 30),
        Arrow(((160, 108), (323, 108)), "speech for barge_in s", (241, 99)),
        Arrow(((325, 135), (162, 135)), "no words: it goes on", (243, 153)),
        Arrow(((475, 120), (648, 120)), "words that count", (561, 111)),
        Arrow(
            ((90, 90), (90, 45), (720, 45), (720, 88)),
            "words first (hold_on_speech=False, or echo on the line), or the host says so",
            (405, 36),
        ),
        Label(400, 190, "ReplyPaused", "small mono"),
        Label(90, 190, "ReplyResumed", "small mono"),
        Label(720, 190, "Interrupted", "small mono"),
        Label(405, 215, "what the host is told when it gets there"),
    ]
    return svg(810, 232, "The course of an answer: running, held, stopped", parts)


PICTURES: Mapping[str, Callable[[], str]] = {
    "answer": answer,
    "data-flow": data_flow,
    "timeline": timeline,
    "turns": turns,
}


def draw(folder: Path) -> None:
    """Draw them all, as SVG files of that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in PICTURES.items():
        (folder / f"{name}.svg").write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
