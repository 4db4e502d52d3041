"""What is kept of a call: its facts in one flat row, the same in memory and in a file."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from operator import attrgetter
from typing import Final, NamedTuple, cast

from ..instrumentation import CallDetails, Outcome

__all__ = ["Event", "name", "recorder"]

_MAX_NAME: Final = 128  # characters of a name that a client may have chosen
_MAX_INTEGER: Final = 2**63  # what a database holds


class Event(NamedTuple):
    """One call. The fields have the names and units of `CallDetails`."""

    # Names and numbers that every call has,
    request_type: str
    engine: str
    outcome: str
    streaming: bool
    started_at: float
    duration: float
    engine_time: float
    consumer_time: float
    audio_seconds: float
    characters: int
    n_results: int
    attempts: int
    # numbers and names where there is such a thing,
    time_to_first_result: float | None
    queue_wait: float | None
    rtf: float | None
    error_type: str | None
    cache: str | None
    language: str | None
    audio_format: str | None
    # and what is kept only where the store was told to.
    voice: str | None
    request_id: str | None
    session_id: str | None
    subject: str | None

    def details(self) -> CallDetails:
        """As it was told; without what was not kept."""
        facts = self._asdict()
        del facts["rtf"]  # follows from the others
        facts["streaming"] = bool(self.streaming)
        facts["outcome"] = cast(Outcome, self.outcome)
        facts["request_id"] = self.request_id or ""
        return CallDetails(**facts)


_NUMBERS: Final = Event._fields.index("streaming")  # where they begin
_OPTIONAL: Final = Event._fields.index("time_to_first_result")
_NAMES: Final = Event._fields.index("error_type")
_ON_REQUEST: Final = Event._fields.index("voice")
_facts = attrgetter(*Event._fields)


def recorder(*, voices: bool, identifiers: bool, subjects: bool) -> Callable[[CallDetails], Event]:
    """What makes an `Event` of a call, without the facts that are not to be kept.

    It raises ValueError for a call whose facts are of the wrong kind.
    """
    kept = (voices, identifiers, identifiers, subjects)

    def record(details: CallDetails) -> Event:
        try:
            facts = _facts(details)
        except TypeError as error:  # the real-time factor divides what may be no number
            raise ValueError("a call that was not measured in numbers") from error
        on_request = zip(facts[_ON_REQUEST:], kept, strict=True)
        # This is the work of the store for each call: most facts are not there or are numbers.
        event = Event._make(
            [
                *[name(fact) for fact in facts[:_NUMBERS]],
                *[_number(fact) for fact in facts[_NUMBERS:_OPTIONAL]],
                *[None if fact is None else _number(fact) for fact in facts[_OPTIONAL:_NAMES]],
                *[None if fact is None else name(fact) for fact in facts[_NAMES:_ON_REQUEST]],
                *[name(fact) if keep else None for fact, keep in on_request],
            ]
        )
        if None in event[:_OPTIONAL] or event.started_at < 0:
            raise ValueError("a call that has no type, no time or no amounts")
        return event

    return record


def name(fact: object) -> str | None:
    """A name as any store can keep it: printable and of at most 128 characters.

    Raises:
        ValueError: It is none.
    """
    if fact is None:
        return None
    if not isinstance(fact, str):
        raise ValueError(f"a {type(fact).__name__} is no name")  # noqa: TRY004 - see the contract
    if len(fact) <= _MAX_NAME and fact.isprintable():
        return fact
    return repr(fact[:_MAX_NAME])[1:-1][:_MAX_NAME]


def _number(fact: object) -> float | None:
    if isinstance(fact, float):
        return fact if isfinite(fact) else None
    if fact is None:
        return None
    if not isinstance(fact, int) or not -_MAX_INTEGER <= fact < _MAX_INTEGER:
        raise ValueError(f"a {type(fact).__name__} that is no number, or too great a one")
    return fact
