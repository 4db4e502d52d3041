"""Retry: a call that failed by chance is made again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any, Final

import stamina

from ..errors import (
    CircuitOpenError,
    EngineError,
    EngineLoadError,
    EngineMemoryError,
    EngineRefusedError,
    ImplausibleSpeechError,
)
from ._context import RequestContext
from ._middleware import CallNext
from ._replay import END, Attempts, On, first_result, judge

__all__ = ["RetryBudget", "RetryMiddleware", "RetryStatistics", "transient"]

_LASTING: Final = (
    CircuitOpenError,
    EngineLoadError,
    EngineMemoryError,
    EngineRefusedError,
    ImplausibleSpeechError,
)


def transient(error: Exception) -> bool:
    """Whether the same call may well succeed in a moment.

    An EngineError, unless the engine is known not to answer (CircuitOpenError,
    EngineLoadError, EngineMemoryError), or not to answer this (EngineRefusedError), or is
    asked again elsewhere (ImplausibleSpeechError).
    """
    return isinstance(error, EngineError) and not isinstance(error, _LASTING)


class RetryBudget:
    """How many retries all calls together may have.

    Retries help where a few calls fail, and harm where all do: then an engine in trouble
    gets several times its load. So each call earns ``ratio`` of a retry, and each retry
    costs one (as in Finagle's RetryBudget; *Site Reliability Engineering*, chapter 21).

    Args:
        ratio: Retries per call in the long run, 0 to 1.
        reserve: Retries to begin with, and the most that are ever saved up; at least 0.

    Raises:
        ValueError: A value is out of range.
    """

    def __init__(self, ratio: float = 0.2, reserve: float = 10.0) -> None:
        if not 0.0 <= ratio <= 1.0:
            raise ValueError(f"ratio is retries per call, 0 to 1, not {ratio}")
        if not 0.0 <= reserve < inf:
            raise ValueError(f"reserve is a number of retries, 0 or more, not {reserve}")
        self.ratio, self.reserve = ratio, reserve
        self._balance = reserve

    @property
    def balance(self) -> float:
        """Retries left at the moment."""
        return self._balance

    def earn(self) -> None:
        """A call is made."""
        self._balance = min(self._balance + self.ratio, self.reserve)

    def spend(self) -> bool:
        """Take a retry, if there is one."""
        if self._balance < 1.0 - 1e-9:  # ten times 0.1 is a little less than 1
            return False
        self._balance = max(self._balance - 1.0, 0.0)
        return True


@dataclass(frozen=True, slots=True)
class RetryStatistics:
    """Counts since the start."""

    calls: int
    retries: int
    recovered: int  # calls that failed at first, and had a result in the end
    refused: int  # retries that the budget did not allow


_Answer = tuple[AsyncGenerator[Any], Any]  # the results, and the first of them or END

_OWN_BUDGET: Final = RetryBudget()


class RetryMiddleware:
    """Makes a call again that failed before its first result, after a pause.

    Pauses double from ``wait_initial`` up to ``wait_max``, each a random part of
    ``wait_jitter`` longer. They are stamina's: its switches (`stamina.set_active`,
    `stamina.set_testing`) and hooks work here too. Hooks are told an exception of the
    failure's name with nothing in it, since its message may quote what was said.

    It gives up, and raises the last failure, with earlier ones in its ``__context__``,
    when the attempts or the budget are used up, when the pause might last beyond
    ``context.deadline``, and when a stream of audio cannot be heard again (see `Replay`).

    Args:
        attempts: In all, at least 1.
        on: The errors that are worth it; unless given, passing failures of an engine.
        wait_initial: Seconds before the second attempt.
        wait_max: The most seconds before any.
        wait_jitter: Seconds; as long as the first pause, so that calls that failed together
            do not come back together.
        budget: Shared by all calls, and by several middleware if they are given the same
            one; unless given, one of its own; None for no such limit.
        request_types: The kinds of call to repeat. Responses are not among them unless
            asked for: a responder may have acted already.
        replay_seconds: The most seconds of a stream of audio to keep until its first result.
        name: What logs call it.

    Raises:
        ValueError: A number is out of range, or there is no such kind of call.
    """

    def __init__(
        self,
        *,
        attempts: int = 3,
        on: On = transient,
        wait_initial: float = 0.1,
        wait_max: float = 5.0,
        wait_jitter: float = 0.1,
        budget: RetryBudget | None = _OWN_BUDGET,
        request_types: Collection[str] = ("stt", "tts"),
        replay_seconds: float = 30.0,
        name: str = "retry",
    ) -> None:
        if attempts < 1:
            raise ValueError(f"there is at least 1 attempt, not {attempts}")
        if not all(0.0 <= each < inf for each in (wait_initial, wait_max, wait_jitter)):
            raise ValueError("pauses are 0 seconds or more, and end")
        if not replay_seconds >= 0.0:
            raise ValueError(f"replay_seconds is 0 or more, not {replay_seconds}")
        unknown = {*request_types} - {"stt", "tts", "response"}
        if unknown or isinstance(request_types, str):
            raise ValueError('request_types are of "stt", "tts" and "response"')
        self.name = name
        self.budget = RetryBudget() if budget is _OWN_BUDGET else budget
        self._attempts = attempts
        self._on = judge(on)
        self._wait_initial, self._wait_max = wait_initial, wait_max
        self._wait_jitter = wait_jitter
        self._request_types = frozenset(request_types)
        self._replay_seconds = replay_seconds
        self._calls = self._retries = self._recovered = self._refused = 0

    def statistics(self) -> RetryStatistics:
        """What happened until now."""
        return RetryStatistics(self._calls, self._retries, self._recovered, self._refused)

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        if context.request_type not in self._request_types:
            return call_next(context)
        return self._retried(context, call_next)

    async def _retried(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        self._calls += 1
        if self.budget is not None:
            self.budget.earn()
        call = Attempts(context, self._replay_seconds)
        context.metrics["attempts"] = 1
        answer = await self._attempt(context, call_next, call, None)
        if isinstance(answer, Exception):
            answer = await self._again(context, call_next, call, answer)
        results, first = answer
        call.delivered()
        try:
            if first is not END:
                yield first
                async for result in results:
                    yield result
        finally:
            await results.aclose()

    async def _attempt(
        self,
        context: RequestContext,
        call_next: CallNext,
        call: Attempts,
        earlier: Exception | None,
    ) -> _Answer | Exception:
        """What the engine answers, or a failure that is worth another attempt."""
        try:
            results = call_next(context)
            return results, await first_result(results)
        except Exception as error:
            failure = call.failed(error, earlier)
            if failure is error and not self._on(error):
                raise
            return failure

    async def _again(
        self, context: RequestContext, call_next: CallNext, call: Attempts, failure: Exception
    ) -> _Answer:
        """What the engine answers in the end."""
        number = 1

        def worth(_: Exception) -> bool:
            return self._worth(context, call, number)

        # The attempt that was made without it is stamina's first: a call that succeeds at
        # once does not pay for what only a failure needs.
        tries = aiter(
            stamina.retry_context(
                worth,
                attempts=self._attempts,
                timeout=None,
                wait_initial=self._wait_initial,
                wait_max=self._wait_max,
                wait_jitter=self._wait_jitter,
            )
        )
        try:
            while True:
                attempt = await anext(tries)
                number = attempt.num
                if number > 1:
                    await call.again()
                    self._retries += 1
                    context.metrics["attempts"] = number
                    answer = await self._attempt(context, call_next, call, failure)
                    if not isinstance(answer, Exception):
                        self._recovered += 1
                        return answer
                    failure = answer
                with attempt:
                    raise _nameless(type(failure))
        except _FailedError:
            pass
        raise failure

    def _worth(self, context: RequestContext, call: Attempts, number: int) -> bool:
        """Whether to make another attempt after so many. A budget is asked last: it pays."""
        pause = self._wait_initial * 2.0 ** min(number - 1, 64)  # and no overflow
        longest = min(pause + self._wait_jitter, self._wait_max)
        if number >= self._attempts or not call.repeatable or context.remaining() <= longest:
            return False
        if self.budget is None or self.budget.spend():
            return True
        self._refused += 1
        return False


class _FailedError(Exception):
    """What stamina is told of a failure."""


@lru_cache(maxsize=64)
def _class_of(failure: type[Exception]) -> type[_FailedError]:
    # Hooks write its class and representation into logs and metrics.
    of = {"__module__": failure.__module__, "__qualname__": failure.__qualname__}
    return type(failure.__name__, (_FailedError,), of)


def _nameless(failure: type[Exception]) -> _FailedError:
    return _class_of(failure)()  # type: ignore[arg-type]  # classes are hashable
