"""Fallback: when an engine fails, the next one serves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from types import TracebackType
from typing import Any, Final

from anyio import Event, create_task_group, current_time, move_on_after, sleep, to_thread
from anyio.abc import TaskGroup
from typing_extensions import Self

from .._edge import engine_name
from .._request import new_request_id
from ..audio import AudioData, StreamResampler
from ..errors import EngineError, EngineRefusedError, ImplausibleSpeechError, OverloadedError
from ..protocols import ResponseGenerator, STTEngine, SynthesisResult, TTSEngine
from ._call import _close, serve
from ._context import RequestContext
from ._middleware import CallNext
from ._replay import END, Attempts, On, first_result, judge

__all__ = ["FallbackMiddleware", "FallbackStatistics"]

_KINDS: Final = {"stt": STTEngine, "tts": TTSEngine, "response": ResponseGenerator}
_SILENCE: Final = 0.5  # s; enough for any engine to have something to hear
_PRIMARY: Final = "primary"  # its name until the first call tells it


@dataclass(frozen=True, slots=True)
class FallbackStatistics:
    """Counts since the start, and what is left out at the moment; engines by name."""

    served: Mapping[str, int]  # calls that had a first result, or ended without one
    failed: Mapping[str, int]  # times that each failed, probes included
    down: tuple[str, ...]


class _Candidate:
    """An engine that may be asked."""

    __slots__ = ("engine", "failed", "name", "retry_at", "served")

    def __init__(self, engine: object, name: str) -> None:
        self.engine = engine  # None is the primary: the rest of the chain
        self.name = name
        self.retry_at: float | None = None  # when it may be tried again, if it is down
        self.served = self.failed = 0


class FallbackMiddleware:
    """Gives a call that failed before its first result to the next engine.

    The primary is the rest of the chain; the others stand by, in order. An engine that
    fails is down: it is left out for ``recover_after`` seconds. Then one call tries it
    again, while others go on with the next engine. Within ``async with fallback:`` no call
    has to: a probe in the background does it. If all that are up have failed, those that are
    down are asked too: somebody must answer. If nobody can, the last failure is raised,
    with those before in its ``__context__``.

    Overload and implausible speech are reasons to ask another engine, but this one is not
    down. What a TTS engine standing by makes is converted to the primary's sample rate.

    Args:
        engines: At least one, all of one kind. Calls of other kinds pass by.
        on: The errors after which the next is asked; unless given, EngineError and
            OverloadedError.
        recover_after: Seconds; also the longest that a probe may take.
        sample_rate: The primary's, in Hz; unless given, that of its last result. As long as
            it is not known, nothing is converted.
        probe: Tries an engine that stands by, and raises if it does not work; unless given,
            a short call does, "ok" or half a second of silence. The primary is always
            probed by such a call, down the rest of the chain. Responders are not probed in
            the background unless this is given, the primary never.
        replay_seconds: The most seconds of a stream of audio to keep until its first result.
        name: What logs call it.

    Raises:
        TypeError: ``engines`` are not engines of one kind.
        ValueError: There is none, or a number is out of range.
    """

    def __init__(
        self,
        *engines: object,
        on: On = (EngineError, OverloadedError),
        recover_after: float = 30.0,
        sample_rate: int | None = None,
        probe: Callable[[Any], Awaitable[object]] | None = None,
        replay_seconds: float = 30.0,
        name: str = "fallback",
    ) -> None:
        if not engines:
            raise ValueError("a fallback needs at least one engine")
        if not 0.0 < recover_after < inf:
            raise ValueError(f"recover_after is a number of seconds, not {recover_after}")
        if not replay_seconds >= 0.0:
            raise ValueError(f"replay_seconds is 0 or more, not {replay_seconds}")
        if sample_rate is not None:
            StreamResampler(sample_rate)  # refuses what is no rate
        self.name = name
        self._kind = _kind(engines)
        self._on = judge(on)
        self._recover_after = recover_after
        self._rate, self._rate_is_given = sample_rate, sample_rate is not None
        self._probe = probe
        self._replay_seconds = replay_seconds
        self._primary = _Candidate(None, _PRIMARY)
        self._candidates = [self._primary]
        self._candidates += [_Candidate(engine, engine_name(engine)) for engine in engines]
        self._primary_call: tuple[CallNext, bool] | None = None  # and whether it streams
        self._tasks: TaskGroup | None = None
        self._fall: Event | None = None  # what the supervisor waits for, while all are up

    def statistics(self) -> FallbackStatistics:
        """What happened until now."""
        served: dict[str, int] = {}
        failed: dict[str, int] = {}
        for each in self._candidates:
            served[each.name] = served.get(each.name, 0) + each.served
            failed[each.name] = failed.get(each.name, 0) + each.failed
        down = tuple(each.name for each in self._candidates if each.retry_at is not None)
        return FallbackStatistics(served, failed, down)

    # -- calls ---------------------------------------------------------------------------

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        if context.request_type != self._kind:
            return call_next(context)
        return self._served(context, call_next)

    async def _served(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        if self._primary_call is None or self._primary_call[0] is not call_next:
            self._primary.name = context.engine
            self._primary_call = (call_next, context.streaming)
        call = Attempts(context, self._replay_seconds)
        untried = [*self._candidates]
        failure: Exception | None = None
        while True:
            candidate = self._next(untried)
            try:
                results, first = await self._ask(candidate, context, call_next)
                break
            except Exception as error:
                if not self._on(error):
                    raise
                failure = call.failed(error, failure)
            if not untried or not call.repeatable or context.remaining() <= 0.0:
                raise failure
            await call.again()
        call.delivered()
        candidate.served += 1
        try:
            if first is not END:
                if candidate is self._primary and not self._rate_is_given:
                    self._rate = _rate(first)
                yield first
                async for result in results:
                    yield result
        except Exception as error:
            if self._on(error):
                self._fell(candidate, error)
            raise
        finally:
            await results.aclose()

    def _next(self, untried: list[_Candidate]) -> _Candidate:
        """Take the first that is up, or that this call is to try; else the first."""
        chosen = untried[0]
        if chosen.retry_at is not None:
            now = current_time()
            chosen = next((each for each in untried if self._may_serve(each, now)), chosen)
        untried.remove(chosen)
        return chosen

    def _may_serve(self, candidate: _Candidate, now: float) -> bool:
        if candidate.retry_at is None:
            return True
        supervised = self._tasks is not None and self._can_be_probed(candidate)
        return now >= candidate.retry_at and not supervised

    async def _ask(
        self, candidate: _Candidate, context: RequestContext, call_next: CallNext
    ) -> tuple[AsyncGenerator[Any], Any]:
        """The results of one engine, and the first of them."""
        down_until = candidate.retry_at
        if down_until is not None:  # until this shows something, the others go on without it
            candidate.retry_at = current_time() + self._recover_after
        try:
            results = self._results(candidate, context, call_next)
            first = await first_result(results)
        except BaseException as error:
            if isinstance(error, Exception) and self._on(error):
                self._fell(candidate, error)
            elif down_until is not None:  # it has shown nothing
                candidate.retry_at = down_until
            raise
        candidate.retry_at = None
        return results, first

    def _results(
        self, candidate: _Candidate, context: RequestContext, call_next: CallNext
    ) -> AsyncGenerator[Any]:
        if candidate is self._primary:
            return call_next(context)
        context.engine = candidate.name
        results = serve(candidate.engine, context)
        if self._kind == "tts" and self._rate is not None:
            return _converted(results, self._rate, context.streaming)
        return results

    def _fell(self, candidate: _Candidate, error: Exception) -> None:
        candidate.failed += 1
        if not isinstance(error, OverloadedError | EngineRefusedError | ImplausibleSpeechError):
            candidate.retry_at = current_time() + self._recover_after
            if self._fall is not None:
                self._fall.set()

    # -- recovery ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise RuntimeError(f"the {self.name} middleware is entered already")
        tasks = create_task_group()
        await tasks.__aenter__()
        self._tasks = tasks
        tasks.start_soon(self._supervise)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        tasks, self._tasks = self._tasks, None
        assert tasks is not None
        tasks.cancel_scope.cancel()
        if isinstance(exc, Exception):  # the caller's own: a task group would make a group of it
            await tasks.__aexit__(None, None, None)
            return None
        return await tasks.__aexit__(exc_type, exc, traceback)

    async def _supervise(self) -> None:
        while True:
            down = [
                (each.retry_at, each)
                for each in self._candidates
                if each.retry_at is not None and self._can_be_probed(each)
            ]
            if not down:
                self._fall = Event()
                await self._fall.wait()
                continue
            retry_at, candidate = min(down, key=lambda each: each[0])
            await sleep(max(retry_at - current_time(), 0.0))
            # A call of last resort may have found out meanwhile, one way or the other.
            if candidate.retry_at == retry_at:
                await self._test(candidate)

    def _can_be_probed(self, candidate: _Candidate) -> bool:
        if candidate is self._primary:
            return self._kind != "response"
        return self._kind != "response" or self._probe is not None

    async def _test(self, candidate: _Candidate) -> None:
        """Ask an engine that is down whether it works."""
        works = False
        # Whatever it raises, and if it never ends, it does not work.
        with suppress(Exception), move_on_after(self._recover_after):
            if self._probe is not None and candidate is not self._primary:
                await self._probe(candidate.engine)
            else:
                await self._short_call(candidate)
            works = True
        if works:
            candidate.retry_at = None
        else:
            candidate.failed += 1
            candidate.retry_at = current_time() + self._recover_after

    async def _short_call(self, candidate: _Candidate) -> None:
        call_next, streaming = self._primary_call or (None, False)
        streaming = streaming and candidate is self._primary
        context = RequestContext(
            new_request_id(), self._kind, engine=candidate.name, streaming=streaming
        )
        if self._kind == "tts":
            context.input_data["text"] = "ok"
        else:
            silence = AudioData.silence(_SILENCE, 16_000)
            context.input_data["audio"] = _only(silence) if streaming else silence
            context.config["language"] = None
        try:
            if candidate is self._primary:
                assert call_next is not None  # only a call can have brought it down
                results = call_next(context)
            else:
                results = serve(candidate.engine, context)
            async with aclosing(results):
                async for _ in results:
                    pass
        finally:
            await _close(context._opened)


def _kind(engines: tuple[object, ...]) -> str:
    for kind, protocol in _KINDS.items():
        if all(isinstance(each, protocol) and not isinstance(each, type) for each in engines):
            return kind
    raise TypeError(
        "a fallback's engines are all STTEngines, all TTSEngines or all ResponseGenerators, not "
        + ", ".join(type(each).__name__ for each in engines)
    )


def _rate(result: Any) -> int | None:
    if isinstance(result, SynthesisResult):
        return result.audio_data.sample_rate
    return result.sample_rate if isinstance(result, AudioData) else None


async def _converted(
    results: AsyncGenerator[Any], sample_rate: int, streaming: bool
) -> AsyncGenerator[Any]:
    """Speech at another rate. A stream that is converted becomes 16-bit mono."""
    async with aclosing(results):
        if not streaming:
            async for result in results:
                audio = result.audio_data
                if audio.sample_rate != sample_rate:  # a long clip takes its time
                    convert = partial(audio.resampled, sample_rate)
                    audio = await to_thread.run_sync(convert, abandon_on_cancel=True)
                yield replace(result, audio_data=audio)
            return
        resampler = StreamResampler(sample_rate)
        converting = False
        async for chunk in results:
            converting = converting or chunk.sample_rate != sample_rate
            moved = resampler.push(chunk) if converting else chunk
            if moved.data:
                yield moved
        if converting:
            rest = resampler.flush()
            if rest.data:
                yield rest


async def _only(chunk: AudioData) -> AsyncIterator[AudioData]:
    yield chunk
