"""Instrumentation: every call, once it has ended, as one value for whoever wants to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..instrumentation import CallDetails, Details, Instrumentation, LoadDetails
from ._context import RequestContext, outcome
from ._observer import Observation, Observer, Usage

__all__ = ["InstrumentationMiddleware", "Measured"]

_MAX_NAME: Final = 128  # characters of a name that a client may have chosen


class InstrumentationMiddleware(Observer):
    """Tells each `Instrumentation` of each call that ends: the way to metrics and traces.

    First in the chain it sees what the caller sees; inside a retry or a cache, what the
    engine was asked. It tells of each loading of the model by the wrapped engine's ``load``,
    ``warmup`` or ``async with`` too; an engine that loads when a call needs it does so
    within that call, and nobody can see it. One instance may serve any number of event loops
    and threads, if what it tells does.

    Args:
        instrumentations: Called with the `CallDetails`, in this order.
        name: What logs call it.
    """

    def __init__(self, *instrumentations: Instrumentation, name: str = "instrumentation") -> None:
        super().__init__(name)
        self._instrumentations = instrumentations

    def observe(self, context: RequestContext) -> Observation:
        return Measured(context, self._tell)

    def loaded(self, details: LoadDetails) -> None:
        """The chain's engine was loaded, or could not be."""
        self._tell(details)

    def _tell(self, details: Details) -> None:
        for tell in self._instrumentations:
            try:
                tell(details)
            except Exception as failure:  # noqa: BLE001, PERF203 - it may fail in any way
                self._failed(failure)


class Measured(Usage):
    """Measures one call, and tells of it at its end."""

    __slots__ = ("_context", "_first", "_n_results", "_pseudonymous", "_tell")

    def __init__(
        self,
        context: RequestContext,
        tell: Callable[[CallDetails], None],
        *,
        pseudonymous: bool = True,
    ) -> None:
        super().__init__(context)
        self._pseudonymous = pseudonymous  # where there are pseudonyms
        self._context = context
        self._tell = tell
        self._first: float | None = None  # ms
        self._n_results = 0

    def result(self, result: Any) -> None:
        if self._first is None:
            self._first = self._context.duration_ms
        self._n_results += 1
        self.count(result)

    def end(self, error: BaseException | None) -> None:
        context, metrics = self._context, self._context.metrics
        ended = outcome(error)
        self._tell(
            CallDetails(
                request_type=context.request_type,
                engine=context.engine,
                streaming=context.streaming,
                outcome=ended,
                started_at=context.start_time,
                duration=context.duration_ms / 1e3,
                request_id=context.request_id,
                session_id=context.session_id,
                subject=self._shown(context.subject),
                error_type=type(error).__name__ if ended == "error" else None,
                time_to_first_result=None if self._first is None else self._first / 1e3,
                engine_time=context.engine_time,
                consumer_time=context.consumer_time,
                audio_seconds=self.audio_seconds,
                characters=self.characters,
                n_results=self._n_results,
                voice=self._shown(self.voice),
                language=_name(self.language),
                audio_format=self.audio_format,
                queue_wait=metrics.get("queue_wait"),
                attempts=metrics.get("attempts", 1),
                cache=metrics.get("cache"),
            )
        )

    def _shown(self, person: object) -> str | None:
        name = _name(person)
        pseudonym = self._context.pseudonym if self._pseudonymous else None
        return name if name is None or pseudonym is None else pseudonym(name)


def _name(given: object) -> str | None:
    """A name that a client may have chosen, as something short that can be written anywhere."""
    if given is None or given == "":
        return None
    if not isinstance(given, str):
        return type(given).__name__
    return given if given.isprintable() and len(given) <= _MAX_NAME else repr(given)[1:_MAX_NAME]
