"""One engine call, as every middleware around it sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from math import inf
from time import perf_counter, time
from typing import Any, Literal

from anyio import current_time

from ..errors import EngineError
from ..instrumentation import Outcome

__all__ = ["RequestContext", "Status", "outcome"]

Status = Literal["processing"] | Outcome


@dataclass(slots=True, eq=False)
class RequestContext:
    """What a call was given, how it is going and what was measured on the way.

    The chain makes one for each call and sets ``status``, ``error`` and the end of
    ``duration_ms`` itself. A middleware may change ``input_data`` and ``config`` before it
    goes on, and leave notes in ``metadata`` and ``metrics``.

    What layers agree on: ``subject`` is who asks, once somebody has made sure of it;
    ``deadline`` is when the result is of no use any more, on the event loop's clock
    (`anyio.current_time`): a layer may bring it forward, and none waits beyond it;
    ``pseudonym`` turns names of persons and voices into what observers outside may see.
    In ``metrics``: ``queue_wait`` (s in a waiting room), ``attempts`` (how often the engine
    was asked), ``cache`` (``hit``, ``joined`` or ``miss``). ``engine`` is changed by who gives
    the call to another one.

    ``input_data`` is what the engine works on: ``audio`` (a clip, or the stream of chunks),
    ``text``, or a responder's ``transcription`` and ``context``. ``config`` is how:
    ``language``, or the keys of the voice configuration. Both are the call's own copies.
    """

    request_id: str
    request_type: str  # "stt", "tts", "response" or "conversation"
    start_time: float = field(default_factory=time)  # s since the epoch
    input_data: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    output_data: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    status: Status = "processing"
    error: BaseException | None = None
    engine: str = ""  # its name
    streaming: bool = False  # results come as they are made; otherwise there is one
    session_id: str | None = None  # what it is a part of, from `request_scope`
    subject: str | None = None
    deadline: float = inf
    pseudonym: Callable[[str], str] | None = field(default=None, repr=False)
    engine_time: float = 0.0  # s spent waiting for the engine, so far
    consumer_time: float = 0.0  # s the caller took between results, so far
    _started: float = field(default_factory=perf_counter, repr=False)
    _ended: float | None = field(default=None, repr=False)
    # Every generator handed out for this call, outermost first: the chain closes those
    # that a middleware did not.
    _opened: list[AsyncGenerator[Any]] = field(default_factory=list, repr=False)

    @property
    def duration_ms(self) -> float:
        """Milliseconds since the call began; fixed once it has ended."""
        return ((self._ended or perf_counter()) - self._started) * 1e3

    def remaining(self) -> float:
        """Seconds until the deadline; 0.0 once it has passed, infinity if there is none."""
        return self.deadline if self.deadline == inf else max(self.deadline - current_time(), 0.0)

    def add_metric(self, key: str, value: Any) -> None:
        """Record a measurement."""
        self.metrics[key] = value

    def add_metadata(self, key: str, value: Any) -> None:
        """Leave a note for other middleware."""
        self.metadata[key] = value

    def _end(self, error: BaseException | None) -> None:
        self._ended = perf_counter()
        self.status = outcome(error)
        self.error = error
        if isinstance(error, EngineError) and error.request_id is None:
            error.request_id = self.request_id


def outcome(error: BaseException | None) -> Outcome:
    """How a call ended that ended with ``error``.

    A caller that cancels a call, or closes its stream, does so by an exception that is no
    `Exception`, on every event loop.
    """
    if error is None:
        return "completed"
    return "error" if isinstance(error, Exception) else "cancelled"
