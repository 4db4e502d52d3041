"""PURE: a conversation's events as the server events of OpenAI's Realtime API.

The two differ in one thing that matters. A client of OpenAI's stops playing where speech
starts, and the answer is then over. Here speech first only holds an answer, which goes on if
no words come. So while an answer is under way, speech is told of when it has stopped the
answer, and not before; and what a client already has of an answer that was held is not sent
again when it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ....conversation import (
    Event,
    FinalTranscript,
    Interrupted,
    PartialTranscript,
    ReplyAudio,
    ReplyPaused,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    StateChanged,
    TurnEnded,
    TurnFailed,
)
from ....protocols import ConversationState, Exchange
from .._problems import Problem, problem_of
from ._answer import AnswerEvents
from ._commands import Truncate
from ._config import RealtimeConfig, RealtimeRefusal, described
from ._results import error_fields
from ._telling import Message, Telling
from ._user import UserEvents

__all__ = ["RealtimeEvents"]


class RealtimeEvents:
    """What one client is told, and which answers it wants.

    Args:
        config: What is in force at first.
        make_id: Makes an id that begins as it is told.
    """

    def __init__(self, config: RealtimeConfig, make_id: Callable[[str], str]) -> None:
        self._telling = Telling(config, make_id)
        self._session = make_id("sess")
        self._answers = AnswerEvents(self._telling)
        self._forget()

    def _forget(self) -> None:
        self._user = UserEvents(self._telling)
        self._asked: set[int] = set()
        self._dropped: set[int] = set()
        self._reason = "turn_detected"  # why the answer that stops next does

    @property
    def config(self) -> RealtimeConfig:
        """What is in force."""
        return self._telling.config

    @property
    def responding(self) -> bool:
        """Whether the client knows of an answer that is not over."""
        return self._answers.turn is not None

    @property
    def hearing(self) -> bool:
        """Whether somebody speaks in a turn that the server found."""
        return self._user.hearing

    def verdict(self, turn: int) -> bool | None:
        """Whether that turn is to be answered; None as long as the client may still ask."""
        if turn in self._dropped:
            return False
        if self._wants(turn):
            return True
        return False if any(n > turn for n in self._asked | self._user.understood) else None

    def kept(self, history: Iterable[Exchange]) -> tuple[Exchange, ...]:
        """This session's exchanges without those that the client took back."""
        return tuple(each for each in history if each.turn not in self._dropped)

    # -- what the client did

    def created(self) -> Message:
        return self._telling.event("session.created", session=described(self.config, self._session))

    def update(self, config: RealtimeConfig) -> Message:
        """From now on ``config`` is in force."""
        self._telling.config = config
        return self._telling.event("session.updated", session=described(config, self._session))

    def restart(self, clock: float) -> list[Message]:
        """Another session goes on in the place of this one, which heard ``clock`` seconds."""
        over = self._answers.end("cancelled", reason="client_cancelled")
        self._telling.origin += clock
        self._forget()
        return over

    def commit(self, turn: int) -> list[Message]:
        """The client ended that turn, which it alone began."""
        return self._user.commit(turn)

    def drop(self, turn: int) -> None:
        """The client takes that turn back: nothing more is told of it."""
        self._dropped.add(turn)
        self._user.drop(turn)

    def cleared(self) -> Message:
        return self._telling.event("input_audio_buffer.cleared")

    def ask(self, turn: int) -> list[Message]:
        """The client wants that turn answered."""
        self._asked.add(turn)
        return self._answers.begin(turn)

    def cancelling(self) -> None:
        """The answer stops because the client said so."""
        self._reason = "client_cancelled"

    def truncated(self, cut: Truncate) -> Message:
        """That the client's player stopped there. How much was heard is known here already.

        Raises:
            RealtimeRefusal: There is no such answer.
        """
        if not self._answers.has(cut.item_id):
            raise RealtimeRefusal("There is no such item.", "item_id", "item_not_found")
        return self._telling.event(
            "conversation.item.truncated",
            item_id=cut.item_id,
            content_index=cut.content_index,
            audio_end_ms=cut.audio_end_ms,
        )

    def refused(self, refusal: RealtimeRefusal, event_id: str | None = None) -> Message:
        """That the client's message of that id changed nothing, and why."""
        problem = Problem(400, refusal.code, refusal.message)
        return self.failed(problem, refusal.param, event_id)

    def failed(
        self, problem: Problem, param: str | None = None, event_id: str | None = None
    ) -> Message:
        """That what the client wanted with its message of that id went wrong."""
        error = {**error_fields(problem, param), "event_id": event_id}
        return self._telling.event("error", error=error)

    # -- what happened

    def told(self, event: Event) -> list[Message]:
        """What the client is told of it; mostly one message, sometimes none."""
        if getattr(event, "turn", None) in self._dropped:
            return []
        match event:
            case SpeechStarted() | SpeechStopped():
                return self._speech(event)
            case StateChanged(ConversationState.PROCESSING):
                return self._user.taken()
            case PartialTranscript(turn, _, result):
                return self._user.partial(turn, result.committed)
            case FinalTranscript(turn, text):
                return self._user.final(turn, text)
            case ReplyText(turn, text):
                return self._answers.text(turn, text)
            case ReplyAudio(_, audio):
                return self._answers.audio(audio)
            case ReplyPaused(_, _, played):
                self._answers.held(played)
                return []
            case Interrupted(turn):
                return self._interrupted(turn)
            case TurnFailed():
                return self._turn_failed(event)
            case TurnEnded():
                return self._turn_ended(event)
            case _:
                return []

    def _speech(self, event: SpeechStarted | SpeechStopped) -> list[Message]:
        if self.config.turn_detection is None:
            return []
        self._user.speech(event)
        return [] if self.responding or isinstance(event, SpeechStopped) else self._user.started()

    def _interrupted(self, turn: int) -> list[Message]:
        reason, self._reason = self._reason, "turn_detected"
        messages = self._user.started() if reason == "turn_detected" else []
        if self._wants(turn):
            messages += self._answers.begin(turn)
        return [*messages, *self._answers.end("cancelled", reason=reason)]

    def _turn_failed(self, event: TurnFailed) -> list[Message]:
        error = error_fields(problem_of(event.error))
        messages = self._user.failed(event.turn, error)
        if self._wants(event.turn):
            messages += self._answers.begin(event.turn)
        if self._answers.turn == event.turn:
            messages += self._answers.end("failed", error=error)
        self._asked.discard(event.turn)
        return [*messages, *self._user.over(event.turn)]

    def _turn_ended(self, event: TurnEnded) -> list[Message]:
        messages = self._user.over(event.turn)
        if event.outcome == "answered" and self._wants(event.turn):
            messages += self._answers.begin(event.turn)  # one without words, by now
        if self._answers.turn == event.turn:
            messages += self._answers.end("completed")
        self._asked.discard(event.turn)
        return messages

    def _wants(self, turn: int) -> bool:
        detection = self.config.turn_detection
        return turn in self._asked or (detection is not None and detection.create_response)
