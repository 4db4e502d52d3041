"""What a call was, as a value: what happened, what was said and what was heard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, TypeVar

from ..audio import AudioData
from ..conversation import (
    Event,
    FinalTranscript,
    ReplyAudio,
    SessionEnded,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
)
from ..errors import EngineError
from ..protocols import Exchange
from ._line import Playout

__all__ = ["Call", "CallTurn", "assert_within"]

EventT = TypeVar("EventT")

# Clocks of two event loops may differ in the last bit, and by that in how a time is rounded.
_NUDGE = 1e-7  # s
# Fields of events: too much, another one each time, and told before.
_UNTOLD = ("result", "request_id", "speech")


def assert_within(value: float | None, *, seconds: float) -> None:
    """Assert that something took no longer than so many seconds.

        assert_within(call.turns[0].time_to_first_audio, seconds=0.8)

    Raises:
        AssertionError: It took longer, or never happened: its time is None.
    """
    assert value is not None, f"it never happened, and was to happen within {seconds:g} s"
    assert value <= seconds, f"it took {value:.3f} s, and may take {seconds:g} s"


@dataclass(frozen=True, slots=True)
class CallTurn:
    """One turn of a call, once it was over."""

    number: int
    transcript: str = ""
    reply: str = ""  # as far as it was written
    heard: str = ""  # the part of it that was played
    outcome: str = "failed"  # or that of its `TurnEnded`
    metrics: TurnMetrics | None = None  # None if it failed
    error: Exception | None = None  # if it did

    @property
    def time_to_first_audio(self) -> float | None:
        """Seconds from the caller's last sound to the first of the answer; None without one."""
        return self.metrics.time_to_first_audio if self.metrics else None


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call, from its first sound until the session ended.

    Times are seconds since it began. The line has no gaps, so the session's audio clock shows
    the same time as the event loop's.
    """

    events: tuple[tuple[float, Event], ...]
    history: tuple[Exchange, ...]
    duration: float
    _caller: Playout = field(repr=False)
    _bot: Playout = field(repr=False)

    @property
    def turns(self) -> tuple[CallTurn, ...]:
        """Those that are over, in order."""
        turns: dict[int, CallTurn] = {}
        transcripts: dict[int, str] = {}
        for _, event in self.events:
            match event:
                case FinalTranscript(number, transcript):
                    transcripts[number] = transcript
                case TurnEnded(number, transcript, reply, metrics, heard, outcome):
                    turns[number] = CallTurn(number, transcript, reply, heard, outcome, metrics)
                case TurnFailed(number, error):
                    turns[number] = CallTurn(number, transcripts.get(number, ""), error=error)
        return tuple(turns[number] for number in sorted(turns))

    @property
    def caller(self) -> AudioData:
        """What the caller sent, all of it, silence included. It is put together when asked for."""
        return self._caller.mixed(self.duration)

    @property
    def bot(self) -> AudioData:
        """What a loudspeaker played on the same timeline; `tone_text` reads a scripted voice."""
        return self._bot.mixed(self.duration)

    def of(self, kind: type[EventT]) -> list[EventT]:
        """The events of one kind."""
        return [event for _, event in self.events if isinstance(event, kind)]

    def when(self, kind: type[Event]) -> float | None:
        """When the first event of that kind came; None if none did."""
        return next((t for t, event in self.events if isinstance(event, kind)), None)

    def log(self) -> list[str]:
        """The events but their sound, a line for each, alike on every machine and event loop.

        Lines of the same millisecond are in the order of the alphabet: which of two tasks
        ran first at that moment is chance.
        """
        lines = [
            (round(t + _NUDGE, 3), isinstance(event, SessionEnded), _told(event))
            for t, event in self.events
            if not isinstance(event, ReplyAudio)
        ]
        return [f"{t:.3f} {told}" for t, _, told in sorted(lines)]


def _told(event: Event) -> str:
    pairs = [f"{name}={_value(value)}" for name, value in _parts(event)]
    return " ".join([type(event).__name__, *pairs])


def _parts(event: Any) -> Iterator[tuple[str, Any]]:
    """The fields of an event, and of what is in them."""
    for each in fields(event):
        value = getattr(event, each.name)
        if each.name in _UNTOLD:
            continue
        if isinstance(value, TurnMetrics):
            yield from _parts(value)
        else:
            yield each.name, value


def _value(value: Any) -> str:
    match value:
        case Enum():
            return str(value.value)
        case float():
            return f"{value + _NUDGE:.3f}"
        case EngineError(engine=engine, message=message):
            return repr(f"{engine}: {message}")
        case Exception():
            return repr(f"{type(value).__name__}: {value}")
        case _:
            return repr(value)
