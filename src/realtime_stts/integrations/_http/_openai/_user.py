"""PURE: what the user says, as the server events of the Realtime API.

An item is known from where speech starts, a turn's number only with its first words: items
without a number wait for theirs in order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ....conversation import SpeechStarted, SpeechStopped
from ._results import TextGrowth
from ._telling import Message, Telling, item_of

__all__ = ["UserEvents"]


@dataclass(slots=True, eq=False)
class _Said:
    """What is said in one turn; ``start`` and ``end`` are the session's, where it found them."""

    id: str
    start: float = 0.0
    end: float | None = None
    started: bool = False  # the client was told that it has
    committed: bool = False
    growth: TextGrowth = field(default_factory=TextGrowth)

    @property
    def known(self) -> bool:
        """Whether the client knows of it."""
        return self.started or self.committed


class UserEvents:
    """The user's part of one session."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._open: _Said | None = None  # the speech that no turn's end is known of
        self._unbound: deque[_Said] = deque()
        self._said: dict[int, _Said] = {}
        self._speaking = False
        self.understood: set[int] = set()  # turns that are not over

    @property
    def hearing(self) -> bool:
        """Whether somebody speaks in a turn that the server found."""
        return self._open is not None

    def speech(self, event: SpeechStarted | SpeechStopped) -> None:
        """The detector heard it."""
        self._speaking = isinstance(event, SpeechStarted)
        if self._open is None and self._speaking:
            self._open = _Said(self._telling.make_id("item"), event.at)
            self._unbound.append(self._open)
        elif self._open is not None and not self._speaking:
            self._open.end = event.at

    def started(self) -> list[Message]:
        """That somebody speaks, if the client does not know it."""
        said = self._open
        if said is None or said.started:
            return []
        said.started = True
        at = self._telling.ms(said.start)
        return [
            self._telling.event(
                "input_audio_buffer.speech_started", item_id=said.id, audio_start_ms=at
            )
        ]

    def taken(self) -> list[Message]:
        """An answer begins to be made: to the speech that has ended, if no turn waited."""
        if self.understood or self._open is None or self._speaking:
            return []
        return self._committed(self._open)

    def commit(self, turn: int) -> list[Message]:
        """The client ended that turn, which it alone began."""
        said = self._said[turn] = _Said(self._telling.make_id("item"))
        return self._committed(said)

    def drop(self, turn: int) -> None:
        """Nothing more is told of that turn."""
        said = self._said.pop(turn, None) or self._open
        if said is not None and said in self._unbound:
            self._unbound.remove(said)
        self._open = None

    def partial(self, turn: int, certain: str) -> list[Message]:
        said = self._bound(turn)
        return self._grown(said, certain) if said.known else []

    def final(self, turn: int, text: str) -> list[Message]:
        said = self._bound(turn)
        if not text and not said.known:
            # A noise over an answer, which the client need not know of.
            if self._open is said:
                self._open = None
            return []
        self.understood.add(turn)
        messages = [*self._committed(said), *self._grown(said, text)]
        if self._telling.config.transcription:
            seconds = 0.0 if said.end is None else round(said.end - said.start, 3)
            messages.append(
                self._telling.event(
                    "conversation.item.input_audio_transcription.completed",
                    item_id=said.id,
                    content_index=0,
                    transcript=text,
                    usage={"type": "duration", "seconds": seconds},
                )
            )
        return messages

    def failed(self, turn: int, error: Message) -> list[Message]:
        """The turn failed: before it was understood, or in its answer."""
        said = self._bound(turn)
        messages = self._committed(said) if said.started else []
        if turn not in self.understood and said.known and self._telling.config.transcription:
            messages.append(
                self._telling.event(
                    "conversation.item.input_audio_transcription.failed",
                    item_id=said.id,
                    content_index=0,
                    error=error,
                )
            )
        return messages

    def over(self, turn: int) -> list[Message]:
        """The turn is over, perhaps before there was anything to understand."""
        said = self._said.pop(turn, None)
        self.understood.discard(turn)
        return self._committed(said) if said is not None and said.started else []

    def _bound(self, turn: int) -> _Said:
        if turn not in self._said:
            waiting = self._unbound.popleft() if self._unbound else None
            self._said[turn] = waiting or _Said(self._telling.make_id("item"))
        return self._said[turn]

    def _committed(self, said: _Said) -> list[Message]:
        if said is self._open:
            self._open = None
        if said.committed:
            return []
        said.committed = True
        tell, previous = self._telling.event, self._telling.follow(said.id)
        content: list[Message] = [{"type": "input_audio", "transcript": None}]
        item = item_of(said.id, "user", "completed", content)
        messages = [
            tell("input_audio_buffer.committed", item_id=said.id, previous_item_id=previous),
            tell("conversation.item.added", item=item, previous_item_id=previous),
            tell("conversation.item.done", item=item, previous_item_id=previous),
        ]
        if said.started:
            at = self._telling.ms(said.start if said.end is None else said.end)
            messages.insert(
                0, tell("input_audio_buffer.speech_stopped", item_id=said.id, audio_end_ms=at)
            )
        return messages

    def _grown(self, said: _Said, text: str) -> list[Message]:
        if not self._telling.config.transcription or not (delta := said.growth.piece(text)):
            return []
        return [
            self._telling.event(
                "conversation.item.input_audio_transcription.delta",
                item_id=said.id,
                content_index=0,
                delta=delta,
            )
        ]
