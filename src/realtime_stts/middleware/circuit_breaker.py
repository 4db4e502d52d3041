"""Circuit breaker: an engine that keeps failing is left alone for a while."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from anyio import current_time

from ..errors import (
    CircuitOpenError,
    EngineError,
    EngineRefusedError,
    ImplausibleSpeechError,
)
from ._breaker import Closed, HalfOpen, Open, Permit, Policy, Refusal, Report, State, admit, record
from ._context import RequestContext
from ._middleware import CallNext
from ._replay import On, judge

__all__ = ["CircuitBreakerMiddleware", "CircuitBreakerStatistics", "CircuitState", "broken"]

CircuitState = Literal["closed", "open", "half-open"]

_NAMES: Final[dict[type[State], CircuitState]] = {
    Closed: "closed",
    Open: "open",
    HalfOpen: "half-open",
}

_log = logging.getLogger(__name__)


def broken(error: Exception) -> bool:
    """Whether an error says that the engine is broken, and not the request.

    A text alone can make speech implausible, or be refused: nobody shall open the circuit for
    all by one.
    """
    return isinstance(error, EngineError) and not isinstance(
        error, CircuitOpenError | EngineRefusedError | ImplausibleSpeechError
    )


@dataclass(frozen=True, slots=True)
class CircuitBreakerStatistics:
    """A breaker at one moment, and its counts since the start."""

    state: CircuitState
    succeeded: int
    failed: int
    refused: int  # while it was open
    opened: int  # how often it went open


class CircuitBreakerMiddleware:
    """Refuses calls at once while the engine is known to fail, and tries it now and then.

    One instance guards one engine, on one event loop. A call is a failure if it raises an
    ``on`` error, before its first result or after; a success once it has completed; and
    neither if it was withdrawn or raised something else.

    Args:
        failures: In a row, this many open the circuit.
        window: Seconds in which they must lie.
        open_for: Seconds that all calls are refused then. A probe that has not ended after
            as long again does not keep the next one from trying.
        probes: Calls that may try at the same time then, and that must succeed to close it.
        on: The errors that are failures; unless given, every EngineError except
            CircuitOpenError, EngineRefusedError and ImplausibleSpeechError.
        clock: Seconds, on any scale that only goes up.
        on_change: Told the old and the new state; it may not wait. What it raises is logged.
        name: What statistics and logs call it.

    Raises:
        ValueError: A number is out of range.
        CircuitOpenError: From a call: the circuit is open.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        window: float = 60.0,
        open_for: float = 30.0,
        probes: int = 1,
        on: On = broken,
        clock: Callable[[], float] = current_time,
        on_change: Callable[[CircuitState, CircuitState], object] | None = None,
        name: str = "circuit_breaker",
    ) -> None:
        self.name = name
        self._policy = Policy(failures, window, open_for, probes)
        self._on = judge(on)
        self._clock = clock
        self._on_change = on_change
        self._state: State = Closed()
        self._succeeded = self._failed = self._refused = self._opened = 0

    @property
    def state(self) -> CircuitState:
        """An open circuit stays ``open`` until a call finds that its time is over."""
        return _NAMES[type(self._state)]

    def statistics(self) -> CircuitBreakerStatistics:
        """What happened until now."""
        return CircuitBreakerStatistics(
            self.state, self._succeeded, self._failed, self._refused, self._opened
        )

    async def __call__(
        self, context: RequestContext, call_next: CallNext, /
    ) -> AsyncGenerator[Any]:
        permit = self._admitted(context)
        report = Report.NEITHER
        try:
            results = call_next(context)
            try:
                async for result in results:
                    yield result
            finally:
                await results.aclose()
            report = Report.SUCCESS
            self._succeeded += 1
        except Exception as error:
            if self._on(error):
                report = Report.FAILURE
                self._failed += 1
            raise
        finally:
            # Only a failure is about a time.
            now = self._clock() if report is Report.FAILURE else 0.0
            self._become(record(self._state, permit, report, now, self._policy))

    def _admitted(self, context: RequestContext) -> Permit:
        # A closed circuit lets everybody through, at any time.
        now = 0.0 if isinstance(self._state, Closed) else self._clock()
        state, answer = admit(self._state, now, self._policy)
        self._become(state)
        if isinstance(answer, Refusal):
            self._refused += 1
            raise CircuitOpenError(
                context.engine, answer.retry_after, request_id=context.request_id
            )
        return answer

    def _become(self, state: State) -> None:
        old, self._state = self._state, state
        if type(old) is type(state):
            return
        self._opened += isinstance(state, Open)
        if self._on_change is not None:
            try:
                self._on_change(_NAMES[type(old)], _NAMES[type(state)])
            except Exception as error:  # noqa: BLE001 - it is the application's, and breaks no call
                # Not with its traceback: that of the call's own error would be in it.
                _log.error(
                    "on_change of the %s middleware raised %s", self.name, type(error).__name__
                )
