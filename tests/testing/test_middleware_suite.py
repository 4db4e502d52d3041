"""The suite for middleware accepts what is right, and catches each way to be wrong.

Every wrong middleware has one fault, of a kind that real ones have had. The check named
beside it must fail, and must pass for a middleware that does nothing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.middleware import (
    AnalyticsMiddleware,
    CallNext,
    ContextMiddleware,
    InstrumentationMiddleware,
    LoggingMiddleware,
    Middleware,
    RequestContext,
    TimingMiddleware,
    serve,
)
from realtime_stts.protocols import TranscriptionResult
from realtime_stts.testing import FaultyResponseGenerator, MiddlewareSuite

pytestmark = pytest.mark.anyio

Results = AsyncGenerator[Any]


async def nothing(context: RequestContext, call_next: CallNext) -> Results:
    async for result in call_next(context):
        yield result


def only(kind: str, middleware: Middleware) -> Middleware:
    """It, around calls of one kind."""

    def around(context: RequestContext, call_next: CallNext) -> Results:
        if context.request_type == kind:
            return middleware(context, call_next)
        return call_next(context)

    return around


# -- accepts -----------------------------------------------------------------------------


class TestNothing(MiddlewareSuite):
    def middleware(self) -> Middleware:
        return nothing


class TestTimingMiddleware(MiddlewareSuite):
    def middleware(self) -> Middleware:
        return TimingMiddleware()


class TestLoggingMiddleware(MiddlewareSuite):
    def middleware(self) -> Middleware:
        return LoggingMiddleware(logger=logging.getLogger("test_middleware_suite"))


class TestAnalyticsMiddleware(MiddlewareSuite):
    def middleware(self) -> Middleware:
        return AnalyticsMiddleware()


class TestInstrumentationMiddleware(MiddlewareSuite):
    def middleware(self) -> Middleware:
        return InstrumentationMiddleware([].append)


class TestContextMiddleware(MiddlewareSuite):
    kinds = ("stt", "tts")  # the other goes through it as well
    forms = ("one-shot",)

    def middleware(self) -> Middleware:
        class PassesOn:
            async def process(self, context: RequestContext, next_middleware: Any) -> Any:
                return await next_middleware(context)

        return ContextMiddleware(PassesOn())


class TestOneThatIsAroundStreamsOnly(MiddlewareSuite):
    kinds = ("tts",)
    forms = ("streaming",)

    def middleware(self) -> Middleware:
        return nothing


class TestOneThatChangesResults(MiddlewareSuite):
    """Upper case, of what is heard."""

    kinds = ("stt",)
    changes_results = True

    def middleware(self) -> Middleware:
        def shout(context: RequestContext, call_next: CallNext) -> Results:
            return (
                shouted(context, call_next) if context.request_type == "stt" else call_next(context)
            )

        async def shouted(context: RequestContext, call_next: CallNext) -> Results:
            async with aclosing(call_next(context)) as results:
                async for result in results:
                    yield replace(result, text=result.text.upper())

        return shout


async def shouts(context: RequestContext, call_next: CallNext) -> Results:
    async with aclosing(call_next(context)) as results:
        async for result in results:
            yield replace(result, text=result.text.upper())


class TestOneThatChangesTheInput(MiddlewareSuite):
    kinds = ("tts",)
    changes_input = True
    changes_results = True  # as others are made of it

    def middleware(self) -> Middleware:
        def polite(context: RequestContext, call_next: CallNext) -> Results:
            context.input_data["text"] += " Please."
            return call_next(context)

        return only("tts", polite)

    def same(self, results: list[Any], healthy: list[Any]) -> bool:
        return len(results) == len(healthy)


class TestOneThatIsLate(MiddlewareSuite):
    kinds = ("response",)
    may_wait = 1.5  # s, for 3 results

    def middleware(self) -> Middleware:
        async def late(context: RequestContext, call_next: CallNext) -> Results:
            async with aclosing(call_next(context)) as results:
                async for result in results:
                    await anyio.sleep(0.5)
                    yield result

        return only("response", late)


class TestOneThatLooksAhead(MiddlewareSuite):
    """It holds a result back until it has the next: what it holds is lost if that fails."""

    kinds = ("tts",)
    forms = ("streaming",)
    look_ahead = 1
    changes_results = True

    def middleware(self) -> Middleware:
        return only("tts", looks_ahead)


async def looks_ahead(context: RequestContext, call_next: CallNext) -> Results:
    async with aclosing(call_next(context)) as results:
        held = await anext(results)
        async for result in results:
            yield held
            held = result
        yield held


class TestOneThatAsksAgain(MiddlewareSuite):
    kinds = ("tts",)
    max_calls = 3

    def middleware(self) -> Middleware:
        return only("tts", asks_again(3, EngineError))


def asks_again(attempts: int, on: type[Exception], *, always: bool = False) -> Middleware:
    """Retries before the first result, or ``always``."""

    async def retry(context: RequestContext, call_next: CallNext) -> Results:
        for attempt in range(1, attempts + 1):
            delivered = False
            try:
                async with aclosing(call_next(context)) as results:
                    async for result in results:
                        delivered = True
                        yield result
            except on:
                if attempt == attempts or (delivered and not always):
                    raise
            else:
                return

    return retry


class TestOneThatTranslatesErrors(MiddlewareSuite):
    kinds = ("response",)
    translates = (LookupError,)

    def middleware(self) -> Middleware:
        return only("response", translates(EngineError))


def translates(what: type[Exception]) -> Middleware:
    async def translated(context: RequestContext, call_next: CallNext) -> Results:
        try:
            async for result in call_next(context):
                yield result
        except what as error:
            raise LookupError("no answer") from error

    return translated


class TestOneThatAnswersItself(MiddlewareSuite):
    """Another responder takes over before the first result."""

    kinds = ("response",)
    recovers = True

    def middleware(self) -> Middleware:
        other = FaultyResponseGenerator()

        async def fallback(context: RequestContext, call_next: CallNext) -> Results:
            delivered = False
            try:
                async with aclosing(call_next(context)) as results:
                    async for result in results:
                        delivered = True
                        yield result
            except (EngineError, RuntimeError):
                if delivered:
                    raise
            else:
                return
            async with aclosing(serve(other, context)) as results:
                async for result in results:
                    yield result

        return only("response", fallback)


# -- catches -----------------------------------------------------------------------------


async def loses_the_last(context: RequestContext, call_next: CallNext) -> Results:
    held = None
    async for result in call_next(context):
        if held is not None:
            yield held
        held = result


async def asks_twice(context: RequestContext, call_next: CallNext) -> Results:
    async with aclosing(call_next(context)) as results:
        await anext(results)
    async for result in call_next(context):
        yield result


async def asks_for_something_else(context: RequestContext, call_next: CallNext) -> Results:
    said: TranscriptionResult = context.input_data["transcription"]
    context.input_data["transcription"] = replace(said, language="de")
    async for result in call_next(context):
        yield result


async def buffers(context: RequestContext, call_next: CallNext) -> Results:
    async with aclosing(call_next(context)) as results:
        made = [result async for result in results]
    for result in made:
        yield result


async def hears_all_first(context: RequestContext, call_next: CallNext) -> Results:
    chunks = [chunk async for chunk in context.input_data["audio"]]

    async def kept() -> AsyncGenerator[AudioData]:
        for chunk in chunks:
            yield chunk

    async with aclosing(kept()) as context.input_data["audio"]:
        async for result in call_next(context):
            yield result


async def dawdles(context: RequestContext, call_next: CallNext) -> Results:
    async for result in call_next(context):
        await anyio.sleep(0.01)
        yield result


async def answers_twice(context: RequestContext, call_next: CallNext) -> Results:
    async for result in call_next(context):
        yield result
        yield result


async def ends_quietly(context: RequestContext, call_next: CallNext) -> Results:
    try:
        async for result in call_next(context):
            yield result
    except EngineError:
        return


class KeepsTheCallOnItself:
    async def __call__(self, context: RequestContext, call_next: CallNext) -> Results:
        self.context = context
        await checkpoint()
        async for result in call_next(self.context):
            yield result


class TakesAPlaceTooEarly:
    """When it is called, and not when it is asked."""

    free = 10

    def __call__(self, context: RequestContext, call_next: CallNext) -> Results:
        self.free -= 1
        return self.serve(context, call_next)

    async def serve(self, context: RequestContext, call_next: CallNext) -> Results:
        if self.free < 0:
            raise EngineError("faulty", "no place")
        try:
            async for result in call_next(context):
                yield result
        finally:
            self.free += 1


class LocksTooEarly:
    """It may be cancelled between taking the lock and the promise to release it."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()

    async def __call__(self, context: RequestContext, call_next: CallNext) -> Results:
        await self.lock.acquire()
        await checkpoint()
        try:
            async for result in call_next(context):
                yield result
        finally:
            self.lock.release()


class KeepsThePlaceOfAFailure:
    places = 10  # more than are needed, until too many have failed

    async def __call__(self, context: RequestContext, call_next: CallNext) -> Results:
        if not self.places:
            raise EngineError("faulty", "no place")
        self.places -= 1
        try:
            async for result in call_next(context):
                yield result
        except EngineError:
            raise  # the fault
        except BaseException:
            self.places += 1
            raise
        else:
            self.places += 1


class KeepsThePlaceOfACancelledCall:
    places = 1

    async def __call__(self, context: RequestContext, call_next: CallNext) -> Results:
        if not self.places:
            raise EngineError("faulty", "no place")
        self.places = 0
        async for result in call_next(context):
            yield result
        self.places = 1


async def holds_on(context: RequestContext, call_next: CallNext) -> Results:
    results = call_next(context)
    with anyio.CancelScope(shield=True):
        first = await anext(results)
    yield first
    async for result in results:
        yield result


async def fails_when_it_is_left(context: RequestContext, call_next: CallNext) -> Results:
    try:
        async for result in call_next(context):
            yield result
    except EngineError:
        raise
    except BaseException as error:
        raise EngineError("faulty", "withdrawn") from error


async def drains(context: RequestContext, call_next: CallNext) -> Results:
    results = call_next(context)
    try:
        async for result in results:
            yield result
    finally:
        async for _ in results:
            pass


async def leaves_a_generator_open(context: RequestContext, call_next: CallNext) -> Results:
    async for result in nothing(context, call_next):
        yield result


asks_once_more = asks_again(2, EngineError)
asks_again_whatever_it_was = asks_again(2, Exception)
repeats_what_was_delivered = asks_again(2, EngineError, always=True)
renames_errors = translates(EngineError)
renames_the_callers_errors = translates(ValueError)


def fault(name: str, check: str, *arguments: Any, **attributes: Any) -> Any:
    return pytest.param(globals()[name], check, arguments, attributes, id=f"{name}-{check}")


@pytest.mark.parametrize(
    ("middleware", "check", "arguments", "attributes"),
    [
        fault("shouts", "test_passes_results_on", "stt", True),
        fault("shouts", "test_lets_other_calls_be", kinds=("tts", "response")),
        fault("shouts", "test_lets_what_was_delivered_stand", "stt"),
        fault("loses_the_last", "test_passes_results_on", "tts", True),
        fault("loses_the_last", "test_gives_one_result_to_a_one_shot_call"),
        fault("answers_twice", "test_passes_results_on", "tts", False),
        fault("answers_twice", "test_gives_one_result_to_a_one_shot_call"),
        fault("asks_twice", "test_passes_results_on", "tts", True),
        fault("asks_for_something_else", "test_passes_results_on", "response", False),
        fault("buffers", "test_passes_results_on_as_they_come", "tts"),
        fault("buffers", "test_adds_no_waiting", "response", True),
        fault("buffers", "test_lets_what_was_delivered_stand", "stt"),
        fault("buffers", "test_lets_go_of_a_call_that_hangs", "stt", True),
        fault("looks_ahead", "test_passes_results_on_as_they_come", "tts"),
        fault("looks_ahead", "test_may_be_closed_early", "tts"),
        fault("hears_all_first", "test_passes_results_on_as_they_come", "stt"),
        fault("dawdles", "test_adds_no_waiting", "stt", False),
        fault("KeepsTheCallOnItself", "test_keeps_concurrent_calls_apart", "tts", False),
        fault("TakesAPlaceTooEarly", "test_does_nothing_before_it_is_asked", "tts", True),
        fault("ends_quietly", "test_passes_a_failure_on", "tts", True),
        fault("ends_quietly", "test_lets_what_was_delivered_stand", "tts"),
        fault("asks_once_more", "test_passes_a_failure_on", "tts", True),
        fault("asks_once_more", "test_makes_up_for_a_failure", "stt", True, max_calls=2),
        fault("ends_quietly", "test_makes_up_for_a_failure", "tts", True),
        fault("asks_again_whatever_it_was", "test_passes_the_callers_own_error_on", "tts", True),
        fault("asks_again_whatever_it_was", "test_passes_a_failure_on", "tts", False),
        fault("repeats_what_was_delivered", "test_lets_what_was_delivered_stand", "tts"),
        fault("renames_errors", "test_passes_a_failure_on", "stt", False),
        fault("renames_errors", "test_survives_any_mixture_of_calls", "stt", True),
        fault("renames_the_callers_errors", "test_passes_the_callers_own_error_on", "stt", True),
        fault("KeepsThePlaceOfAFailure", "test_survives_any_mixture_of_calls", "tts", True),
        fault("KeepsThePlaceOfACancelledCall", "test_lets_go_of_a_call_that_hangs", "stt", False),
        fault("LocksTooEarly", "test_may_be_cancelled_at_any_point", "tts", False),
        fault("LocksTooEarly", "test_may_be_cancelled_at_any_point", "stt", True),
        fault("holds_on", "test_lets_go_of_a_call_that_hangs", "response", True),
        fault("holds_on", "test_lets_go_of_a_call_that_hangs", "response", False),
        fault("fails_when_it_is_left", "test_tells_who_is_outside_how_it_went", "tts", True),
        fault("fails_when_it_is_left", "test_lets_go_of_a_call_that_hangs", "tts", True),
        fault("drains", "test_may_be_closed_early", "tts"),
        fault("leaves_a_generator_open", "test_may_be_closed_early", "tts"),
    ],
)
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # of one of the faults
async def test_catches(
    middleware: Any, check: str, arguments: tuple[Any, ...], attributes: dict[str, Any]
) -> None:
    suite: Any = MiddlewareSuite()
    vars(suite).update(attributes)
    suite.middleware = lambda: nothing
    await getattr(suite, check)(*arguments)
    suite.middleware = middleware if isinstance(middleware, type) else lambda: middleware
    with pytest.raises((AssertionError, RuntimeError, StopAsyncIteration)):
        await getattr(suite, check)(*arguments)


async def test_asks_for_the_middleware_to_test() -> None:
    class TestIncomplete(MiddlewareSuite):
        """It does not say what to test."""

    with pytest.raises(NotImplementedError, match=r"TestIncomplete\.middleware returns"):
        TestIncomplete().middleware()


def test_every_check_is_proved() -> None:
    """Each check of the suite has caught something above."""
    checks = {name for name in dir(MiddlewareSuite) if name.startswith("test_")}
    [parameters] = (mark for mark in vars(test_catches)["pytestmark"] if mark.name == "parametrize")
    caught = {each.values[1] for each in parameters.args[1]}
    assert checks == caught


def test_is_collected_from_wherever_it_was_imported(pytester: pytest.Pytester) -> None:
    """Each check once for each kind of call and backend; the module may have been loaded before."""
    pytester.makeconftest(
        """
        import realtime_stts.testing.suites

        pytest_plugins = ["realtime_stts.testing.plugin"]
        """
    )
    pytester.makepyfile(
        """
        from realtime_stts.middleware import TimingMiddleware
        from realtime_stts.testing import MiddlewareSuite


        class TestMine(MiddlewareSuite):
            kinds = ("tts",)
            forms = ("one-shot",)

            def middleware(self):
                return TimingMiddleware()
        """
    )
    result = pytester.runpytest_subprocess("-W", "error", "-k", "asyncio")
    checks = [name for name in dir(MiddlewareSuite) if name.startswith("test_")]
    streams_only = 3
    result.assert_outcomes(
        passed=len(checks) - streams_only, skipped=streams_only, deselected=len(checks)
    )
