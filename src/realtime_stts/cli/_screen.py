"""A call in the terminal, as it happens; plain lines where there is no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from types import TracebackType

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from ..conversation import (
    FinalTranscript,
    Interrupted,
    PartialTranscript,
    ReplyPaused,
    ReplyResumed,
    ReplyText,
    SpeechStarted,
    StateChanged,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
)
from ..conversation._events import PARTS_OF_LATENCY
from ..integrations._notebook._words import same_words
from ..protocols import ConversationState
from ._call import Phrase
from ._recording import Moment

__all__ = ["Screen", "latency_table", "same_words"]

_CALLER, _BOT, _FAINT, _BAD = "bold blue", "bold yellow", "dim", "red"
_INDENT = " " * 12

_WHOLE = "time_to_first_audio"

# Why a turn that has words gets no answer.
_NO_ANSWER = {
    "backchannel": "taken for a backchannel: the bot goes on",
    "echo": "taken for the bot's own voice",
    "short": "too short for a turn",
}


class Screen:
    """Shows the events of one call; use it as ``with``."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # Without a refresh thread: every change comes with an event.
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._moment = Text()
        self._meter: Text | None = None
        self._answering = 0  # the turn whose answer was printed last

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, moment: Moment, phrase: Phrase | None = None) -> None:
        """Show what has just happened; ``phrase`` is the caller's latest, if it is known."""
        match moment.event:
            case SpeechStarted():
                self._now(_line("", "caller", _CALLER, "…"))
            case PartialTranscript(turn, text):
                self._now(_line(turn, "caller", _CALLER, f"{text} …"))
            case FinalTranscript(turn, text):
                self._now(Text())
                line = _line(turn, "caller", _CALLER, text or "(no words)")
                self._print(line.append_text(_verdict(text, phrase)))
            case ReplyText(turn, text):
                self._print(_line("", "" if turn == self._answering else "bot", _BOT, text))
                self._answering = turn
            case StateChanged(ConversationState.SPEAKING) | ReplyResumed():
                self._now(Text(f"{_INDENT}the bot speaks", _FAINT))
            case StateChanged(ConversationState.LISTENING):
                self._now(Text())
            case ReplyPaused():
                self._now(Text(f"{_INDENT}the bot holds on and listens", _FAINT))
            case Interrupted(heard=heard):
                self._note(f"interrupted; heard of it: {heard}" if heard else "interrupted")
            case TurnEnded(outcome=outcome) if outcome in _NO_ANSWER:
                self._note(_NO_ANSWER[outcome])
            case TurnEnded(metrics=metrics) if metrics.time_to_first_audio is not None:
                self._note(_where_the_time_went(metrics))
            case TurnFailed(turn, error, request_id):
                self._print(_line(turn, "failed", _BAD, f"{error} (request {request_id})"))

    def measure(self, meter: Text) -> None:
        """Show how loud the caller is, under all else; only on a terminal."""
        self._meter = meter
        self._refresh()

    def prompt(self, text: str) -> None:
        """Say what can be done now; only on a terminal."""
        self._now(Text(_INDENT + text, _FAINT))

    def _now(self, line: Text) -> None:
        """Replace the line that stands for this moment."""
        self._moment = line
        self._refresh()

    def _refresh(self) -> None:
        if self._live.is_started:
            lines = [self._moment, *([self._meter] if self._meter else [])]
            for line in lines:
                line.truncate(self._console.width - 1, overflow="ellipsis")
            self._live.update(Group(*lines), refresh=True)

    def _note(self, text: str) -> None:
        self._print(Text(_INDENT + text, _FAINT))

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)


def latency_table(metrics: Sequence[TurnMetrics]) -> Table:
    """Where the time to the first sound went, over the turns that were answered."""
    caption = "from the end of the caller's speech, as the detector hears it"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=caption)
    table.add_column("ms")
    for header in (*PARTS_OF_LATENCY.values(), "first sound"):
        table.add_column(header, justify="right")
    for name, of in (("median", median), ("max", max)):
        figures = [of([_ms(m, part) for m in metrics]) for part in (*PARTS_OF_LATENCY, _WHOLE)]
        table.add_row(name, *(f"{figure:.0f}" for figure in figures))
    return table


def _line(turn: int | str, who: str, style: str, text: str) -> Text:
    return Text.assemble(f"{turn:>2}  ", (f"{who:<8}", style), text)


def _verdict(heard: str, phrase: Phrase | None) -> Text:
    if phrase is None or phrase.text is None:
        return Text()
    if same_words(phrase.text, heard):
        return Text("  ✓", "green")
    return Text(f"  ✗ said: {phrase.text}" if phrase.text else "  ✗ said no words", _BAD)


def _where_the_time_went(metrics: TurnMetrics) -> str:
    parts = " + ".join(
        f"{_ms(metrics, part):.0f} {name}" for part, name in PARTS_OF_LATENCY.items()
    )
    return f"first sound after {_ms(metrics, _WHOLE):.0f} ms = {parts}"


def _ms(metrics: TurnMetrics, part: str) -> float:
    return 1000 * float(getattr(metrics, part))
