"""What every middleware promises, around an engine that is slow, fails, hangs or is given up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice
from random import Random
from typing import Any, Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

from ...audio import AudioData
from ...errors import EngineError
from ...middleware import Middleware, serve
from .._faults import Fault, Hang
from .._leaks import no_leaks
from .._script import Failure
from ._calls import (
    LATENCY,
    RESULTS,
    Attempt,
    Bench,
    Kind,
    Watch,
    cancelled,
    failing,
    hum,
    mixed,
)
from ._tools import LIMIT, at_once

__all__ = ["MiddlewareSuite"]

_KINDS: Final[tuple[Kind, ...]] = ("stt", "tts", "response")
_ROUNDING: Final = 1e-6  # s
_POINTS: Final = 200  # more than any call here has, unless it waits for the clock
_MIXED: Final = 160  # calls: each mixture of kinds of fault and of ending many times
# s; of the mixed calls, how they follow each other and when their callers lose patience:
# longer than a healthy one takes, and so that nothing happens at the same moment by chance.
_INTERVAL: Final = 0.07
_PATIENCE: Final = 1.88


class MiddlewareSuite:
    """A subclass whose ``middleware`` returns a new middleware proves it.

        class TestShout(MiddlewareSuite):
            kinds = ("stt",)
            changes_results = True

            def middleware(self):
                return Shout()

    Each test puts it around an engine with faults, whose results look like real ones. A
    middleware with limits is to be given ones that this does not reach. Times are those of
    the event loop's clock, so the suite belongs on virtual time
    (``realtime_stts.testing.plugin``).

    Attributes:
        kinds: The request types it acts on. Others must pass unchanged, whatever follows.
        forms: Drop ``"streaming"`` for one that only is around one-shot calls.
        changes_results: Whether results may differ from the engine's.
        changes_input: Whether the engine may be given something else than the caller gave.
        max_calls: How often the engine may be asked for a call that fails at once. One that
            is asked again may end well.
        translates: Types of errors that may come instead of the engine's.
        recovers: Whether a call may end well, with the same results, though the engine
            failed each time.
        may_wait: Seconds that a result may come later than from the engine.
        look_ahead: How many results more than the caller the engine may have been asked for.
    """

    pytestmark = pytest.mark.anyio

    kinds: tuple[Kind, ...] = _KINDS
    forms: tuple[str, ...] = ("one-shot", "streaming")
    changes_results: bool = False
    changes_input: bool = False
    max_calls: int = 1
    translates: tuple[type[Exception], ...] = ()
    recovers: bool = False
    may_wait: float = 0.0
    look_ahead: int = 0

    def middleware(self) -> Middleware:
        """A new one."""
        raise NotImplementedError(f"{type(self).__name__}.middleware returns what to test")

    def text(self, number: int) -> str:
        """The text that a call speaks or a responder is asked, another for each number."""
        return f"Please call me back at {number} tomorrow."

    def audio(self, number: int) -> AudioData:
        """The clip that a call hears, of 3 s or more, another for each number."""
        return hum(number)

    def same(self, results: list[Any], healthy: list[Any]) -> bool:
        """Whether these may be all the results of a call; by default they are the engine's.

        Of a middleware that ``changes_results``, only that there are some of the right type.
        """
        if self.changes_results:
            return [*map(type, results[:1])] == [*map(type, healthy[:1])]
        return results == healthy

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each check for all the calls that the middleware acts on."""
        if "kind" in metafunc.fixturenames:
            if "streaming" in metafunc.fixturenames:
                calls = [(kind, form) for kind in self.kinds for form in self.forms]
                metafunc.parametrize(
                    ("kind", "streaming"),
                    [(kind, form == "streaming") for kind, form in calls],
                    ids=["-".join(call) for call in calls],
                )
            else:
                metafunc.parametrize("kind", self.kinds if "streaming" in self.forms else ())

    # -- what it is tested with ------------------------------------------------------------

    def _bench(
        self,
        kind: Kind,
        streaming: bool,
        faults: Iterable[Fault | None] = (),
        *,
        latency: float = 0.0,
        results: int = RESULTS,
        layers: Sequence[Middleware] | None = None,
    ) -> Bench:
        return Bench(
            kind,
            streaming,
            [self.middleware()] if layers is None else layers,
            text=self.text,
            audio=self.audio,
            faults=faults,
            results=results,
            latency=latency,
        )

    def _check_results(self, attempt: Attempt) -> None:
        if attempt.error is not None:
            raise AssertionError("a call of a healthy engine failed") from attempt.error
        assert self.same(attempt.results, attempt.healthy), (
            f"other results than the engine's: {attempt.results}, not {attempt.healthy}"
        )

    def _check_delivered(self, attempt: Attempt, n: int) -> None:
        """The first ``n`` results, unless the middleware may make others of them."""
        if not self.changes_results:
            assert attempt.results == attempt.healthy[:n], "not the results that were delivered"

    def _check_error(self, attempt: Attempt, raised: list[Exception]) -> None:
        error = attempt.error
        if error is None:
            recovers = self.recovers or self.max_calls > 1
            assert recovers, "the engine failed, and the caller does not know"
            self._check_results(attempt)
        elif not isinstance(error, self.translates):
            assert any(error is each for each in raised), (
                f"{error!r} is not the engine's error; say `translates` if it may be"
            )

    async def _check_unharmed(self, bench: Bench) -> None:
        """All that has begun is closed, and the next call is as if nothing had been."""
        self._check_closed(bench)
        self._check_results(await bench.run(bench.new()))
        self._check_closed(bench)

    def _check_closed(self, bench: Bench) -> None:
        assert bench.engine.running == 0, "a call of the engine goes on"
        assert all(call.closed for call in bench.engine.calls)

    # -- healthy calls ---------------------------------------------------------------------

    async def test_passes_results_on(self, kind: Kind, streaming: bool) -> None:
        """Unchanged, in order, each once; the engine is asked once, for what was asked."""
        async with no_leaks():
            bench = self._bench(kind, streaming)
            for n_calls in (1, 2, 3):
                attempt = await bench.run(bench.new())
                self._check_results(attempt)
                assert len(bench.engine.calls) == n_calls, "the engine was asked too often or not"
                call = bench.engine.calls[-1]
                assert call.streamed is streaming
                if not self.changes_input:
                    assert call.given == bench.given(attempt.number), "the input was changed"
            self._check_closed(bench)

    async def test_passes_results_on_as_they_come(self, kind: Kind) -> None:
        """The caller has each result before the engine is asked for more."""
        bench = self._bench(kind, True, results=6)
        async with no_leaks(), aclosing(bench.stream(bench.new())) as results:
            n = 0
            async for _ in results:
                n += 1
                asked = bench.engine.calls[-1].asked
                assert asked <= n + self.look_ahead, f"asked for {asked} results to give {n}"
                if kind == "stt" and n < 3:
                    assert bench.source.taken <= n + self.look_ahead, "took audio ahead of time"

    async def test_adds_no_waiting(self, kind: Kind, streaming: bool) -> None:
        """Results come when the engine makes them, or no more than `may_wait` later."""
        async with no_leaks():
            bench = self._bench(kind, streaming, latency=LATENCY)
            attempt = await bench.run(bench.new())
            self._check_results(attempt)
            for n, time in enumerate(attempt.times, 1):
                late = time - n * LATENCY
                allowed = self.may_wait + self.look_ahead * LATENCY + _ROUNDING
                assert late <= allowed, f"result {n} came {late:.3f} s late"

    async def test_gives_one_result_to_a_one_shot_call(self) -> None:
        for kind in self.kinds if "one-shot" in self.forms else ():
            async with no_leaks():
                bench = self._bench(kind, False)
                results = self.middleware()(bench.context(0), partial(serve, bench.engine))
                async with aclosing(results):
                    assert len([result async for result in results]) == 1

    async def test_keeps_concurrent_calls_apart(self, kind: Kind, streaming: bool) -> None:
        async with no_leaks():
            bench = self._bench(kind, streaming, latency=LATENCY)
            attempts = [bench.new() for _ in range(4)]
            await at_once([partial(bench.run, each) for each in attempts])
            for attempt in attempts:
                self._check_results(attempt)
            await self._check_unharmed(bench)

    async def test_does_nothing_before_it_is_asked(self, kind: Kind, streaming: bool) -> None:
        """A stream that nobody iterates asks nothing of the engine, and takes no place."""
        async with no_leaks():
            middleware = self.middleware()
            bench = self._bench(kind, streaming, layers=[middleware])
            for number in range(1000, 1050):
                await middleware(bench.context(number), partial(serve, bench.engine)).aclose()
            assert bench.engine.calls == []
            await self._check_unharmed(bench)

    async def test_lets_other_calls_be(self) -> None:
        """Calls of the kinds that it does not act on: results, failures, streams given up."""
        other = _Unchanging(self)
        for kind in _KINDS:
            if kind in self.kinds:
                continue
            for form in self.forms:
                await other.test_passes_results_on(kind, form == "streaming")
                await other.test_adds_no_waiting(kind, form == "streaming")
                await other.test_passes_a_failure_on(kind, form == "streaming")
            if "streaming" in self.forms:
                await other.test_passes_results_on_as_they_come(kind)
                await other.test_may_be_closed_early(kind)

    # -- failures --------------------------------------------------------------------------

    async def test_passes_a_failure_on(self, kind: Kind, streaming: bool) -> None:
        """One before the first result: the same error, the engine asked `max_calls` at most."""
        for error in (EngineError("faulty", "broke"), RuntimeError("a bug")):
            raised: list[Exception] = []
            async with no_leaks():
                bench = self._bench(kind, streaming, failing(error, raised))
                attempt = await bench.run(bench.new())
                self._check_error(attempt, raised)
                n_calls = len(bench.engine.calls)
                assert n_calls <= self.max_calls, f"the engine was asked {n_calls} times"
                self._check_closed(bench)

    async def test_makes_up_for_a_failure(self, kind: Kind, streaming: bool) -> None:
        """If it ends well, it is as if nothing had failed: all of its input was heard."""
        async with no_leaks():
            raised: list[Exception] = []
            faults = islice(
                failing(EngineError("faulty", "broke"), raised), self.max_calls - 1 or 1
            )
            bench = self._bench(kind, streaming, faults)
            self._check_error(await bench.run(bench.new()), raised)
            await self._check_unharmed(bench)

    async def test_lets_what_was_delivered_stand(self, kind: Kind) -> None:
        """A failure after a result: nothing is repeated or replaced, and nobody asks again."""
        async with no_leaks():
            for delivered in range(1, RESULTS + 1):
                failure = Failure(EngineError("faulty", "broke"), delivered)
                bench = self._bench(kind, True, [failure])
                attempt = await bench.run(bench.new())
                assert attempt.error is not None, "the engine failed, and the caller does not know"
                self._check_error(attempt, [failure.error])
                self._check_delivered(attempt, delivered)
                assert len(bench.engine.calls) == 1, "asked again after results were delivered"
                await self._check_unharmed(bench)

    async def test_passes_the_callers_own_error_on(self, kind: Kind, streaming: bool) -> None:
        """A ValueError says that the call was wrong: it would be again."""
        async with no_leaks():
            failure = Failure(ValueError("blank"))
            bench = self._bench(kind, streaming, [failure])
            attempt = await bench.run(bench.new())
            assert attempt.error is failure.error
            assert len(bench.engine.calls) == 1, "asked again for what the caller did wrong"
            await self._check_unharmed(bench)

    async def test_tells_who_is_outside_how_it_went(self, kind: Kind, streaming: bool) -> None:
        """Around itself too: a call that completed, failed, or was withdrawn."""
        async with no_leaks():
            watch = Watch()
            faults = [None, Failure(ValueError("blank")), Hang()]
            layers = [watch, self.middleware(), self.middleware()]
            bench = self._bench(kind, streaming, faults, layers=layers)
            attempt = await bench.run(bench.new())
            self._check_results(attempt)
            assert watch.seen[-1].outcome == "completed"
            assert watch.seen[-1].n_results == len(attempt.results)
            await bench.run(bench.new())
            assert watch.seen[-1].outcome == "error"
            await cancelled(bench)
            assert watch.seen[-1].outcome == "cancelled"

    # -- calls that are given up -----------------------------------------------------------

    async def test_lets_go_of_a_call_that_hangs(self, kind: Kind, streaming: bool) -> None:
        """Cancelling it releases the caller at once, and closes the engine's call."""
        async with no_leaks():
            for delivered in range(RESULTS + 1 if streaming else 1):
                bench = self._bench(kind, streaming, [Hang(delivered)])
                attempt, held = await cancelled(bench)
                assert held <= _ROUNDING, f"held its caller for {held:g} s after it was cancelled"
                assert not attempt.ended, f"a call that hung ended by itself: {attempt.error!r}"
                self._check_delivered(attempt, delivered)
                await self._check_unharmed(bench)

    async def test_may_be_cancelled_at_any_point(self, kind: Kind, streaming: bool) -> None:
        """Wherever a call waits: it is closed, and the next one is unharmed."""
        async with no_leaks():
            bench = self._bench(kind, streaming)
            for point in range(_POINTS):
                attempt = bench.new()
                with anyio.fail_after(LIMIT):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(bench.run, attempt)
                        for _ in range(point):
                            await checkpoint()
                        tasks.cancel_scope.cancel()
                await self._check_unharmed(bench)
                if attempt.ended:  # before it was cancelled: there are no more points
                    break

    async def test_may_be_closed_early(self, kind: Kind) -> None:
        """A caller that has heard enough: the engine stops, and makes no more of it."""
        async with no_leaks():
            watch = Watch()
            bench = self._bench(kind, True, layers=[watch, self.middleware()])
            for taken in range(1, RESULTS + 1):
                attempt = await bench.run(bench.new(), take=taken)
                assert attempt.error is None, f"{attempt.error!r} when the stream was closed"
                assert watch.seen[-1].outcome in ("cancelled", "completed")
                asked = bench.engine.calls[-1].asked
                assert asked <= taken + self.look_ahead, f"went on to {asked} of {taken} results"
                await self._check_unharmed(bench)

    async def test_survives_any_mixture_of_calls(self, kind: Kind, streaming: bool) -> None:
        """Many at a time, healthy, failing, hanging, cancelled and closed: all is let go."""
        chance = Random(6)
        faults = mixed(Random(7))
        async with no_leaks():
            bench = self._bench(kind, streaming, faults, latency=LATENCY)
            attempts = [bench.new() for _ in range(_MIXED)]

            async def begin(attempt: Attempt, take: int | None) -> None:
                await anyio.sleep(attempt.number * _INTERVAL)
                with anyio.move_on_after(_PATIENCE):
                    await bench.run(attempt, take=take)

            async with anyio.create_task_group() as tasks:
                for attempt in attempts:
                    tasks.start_soon(begin, attempt, chance.choice([None, None, None, 1, 2]))
            self._check_closed(bench)
            for attempt in attempts:
                self._check_delivered(attempt, len(attempt.results))
                if attempt.error is not None:
                    assert isinstance(attempt.error, (EngineError, ValueError, *self.translates))
            faults.close()
            await self._check_unharmed(bench)


class _Unchanging(MiddlewareSuite):
    """The checks of another suite for calls that its middleware does not act on."""

    def __init__(self, suite: MiddlewareSuite) -> None:
        self._suite = suite

    def middleware(self) -> Middleware:
        return self._suite.middleware()

    def text(self, number: int) -> str:
        return self._suite.text(number)

    def audio(self, number: int) -> AudioData:
        return self._suite.audio(number)
