"""Calls of an engine with faults, through a middleware: what the middleware suite looks at."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from random import Random
from typing import Any, Final, Literal

import anyio
from anyio.lowlevel import checkpoint

from ...audio import AudioData
from ...errors import EngineError
from ...middleware import Chain, Middleware, Observation, Observer, RequestContext
from ...middleware._context import outcome
from ...protocols import ConversationContext, TranscriptionResult
from .._audio import speech
from .._faults import Fault, FaultyResponseGenerator, FaultySTTEngine, FaultyTTSEngine, Hang
from .._script import Failure
from ._tools import LIMIT, cut

__all__ = [
    "LATENCY",
    "RESULTS",
    "Attempt",
    "Bench",
    "Kind",
    "Seen",
    "Source",
    "Watch",
    "cancelled",
    "failing",
    "hum",
    "mixed",
]

Kind = Literal["stt", "tts", "response"]

LATENCY: Final = 0.25  # s; a power of two, so that sums of it are exact
RESULTS: Final = 3  # of a stream
_CHUNK: Final = 1.0  # s of audio, so that each has something to hear in it
_ENGINES: Final = {
    "stt": FaultySTTEngine,
    "tts": FaultyTTSEngine,
    "response": FaultyResponseGenerator,
}


@dataclass(slots=True)
class Attempt:
    """One call, as its caller sees it."""

    number: int
    healthy: list[Any]  # what the engine makes of its input
    results: list[Any] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # s after the call began, of each
    error: Exception | None = None
    ended: bool = False  # by itself: nobody cancelled it


class Source:
    """A clip as a stream of chunks. It is no generator: nobody has to close it."""

    def __init__(self, chunks: Sequence[AudioData]) -> None:
        self._left = iter(chunks)
        self.taken = 0

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> AudioData:
        await checkpoint()
        for chunk in self._left:
            self.taken += 1
            return chunk
        raise StopAsyncIteration


class Seen(Observation):
    """What an observer outside of the middleware saw of a call."""

    def __init__(self) -> None:
        self.n_results = 0
        self.outcome: str | None = None

    def result(self, result: Any, /) -> None:
        self.n_results += 1

    def end(self, error: BaseException | None, /) -> None:
        self.outcome = outcome(error)


class Watch(Observer):
    """Keeps what it sees of each call."""

    def __init__(self) -> None:
        super().__init__("watch")
        self.seen: list[Seen] = []

    def observe(self, context: RequestContext) -> Observation:
        self.seen.append(Seen())
        return self.seen[-1]


class Bench:
    """An engine with faults behind middleware, and calls of it: each with another input."""

    def __init__(
        self,
        kind: Kind,
        streaming: bool,
        middleware: Sequence[Middleware],
        *,
        text: Callable[[int], str],
        audio: Callable[[int], AudioData],
        faults: Iterable[Fault | None] = (),
        results: int = RESULTS,
        latency: float = 0.0,
    ) -> None:
        self.kind = kind
        self.streaming = streaming
        engine: Any = _ENGINES[kind](faults, results=results, latency=latency)
        self.engine = engine
        self.calling: Any = Chain(*middleware).wrap(engine)
        self.source = Source([])  # of the latest streaming transcription
        self._numbers = count()
        self._text = text
        self._audio = audio

    def given(self, number: int) -> Any:
        """The input of a call, as the engine is to get it."""
        if self.kind == "tts":
            return self._text(number)
        if self.kind == "response":
            return TranscriptionResult(self._text(number), "en", [])
        clip = self._audio(number)
        return cut(clip, [_CHUNK]) if self.streaming else clip

    def new(self) -> Attempt:
        """A call that has not begun."""
        number = next(self._numbers)
        given = self.given(number)
        how = {} if self.kind == "stt" else {"streamed": self.streaming}
        return Attempt(number, self.engine.answers(given, **how))

    def context(self, number: int) -> RequestContext:
        """What a middleware is called with, where no chain makes it."""
        given, kind = self.given(number), self.kind
        if kind == "tts":
            inputs = {"text": given}
        elif kind == "response":
            inputs = {"transcription": given, "context": ConversationContext()}
        else:
            inputs = {"audio": Source(given) if self.streaming else given}
        return RequestContext(
            f"request-{number}",
            kind,
            input_data=inputs,
            config={"language": None} if kind == "stt" else {},
            engine=self.engine.name,
            streaming=self.streaming,
        )

    def stream(self, attempt: Attempt) -> AsyncGenerator[Any]:
        """Its results, for a call that streams."""
        given = self.given(attempt.number)
        results: AsyncGenerator[Any]
        if self.kind == "tts":
            results = self.calling.stream(given, {})
        elif self.kind == "response":
            results = self.calling.stream_response(given, ConversationContext())
        else:
            self.source = Source(given)
            results = self.calling.stream(self.source)
        return results

    async def once(self, attempt: Attempt) -> Any:
        """The result of a call that has one."""
        given = self.given(attempt.number)
        if self.kind == "tts":
            return await self.calling.synthesize(given, {})
        if self.kind == "response":
            return await self.calling.generate_response(given, ConversationContext())
        return await self.calling.transcribe(given)

    async def run(self, attempt: Attempt, *, take: int | None = None) -> Attempt:
        """The call, to its end or until so many results of a stream were taken."""
        began = anyio.current_time()

        def keep(result: Any) -> None:
            attempt.times.append(anyio.current_time() - began)
            attempt.results.append(result)

        try:
            with anyio.fail_after(LIMIT):
                if self.streaming:
                    async with aclosing(self.stream(attempt)) as results:
                        async for result in results:
                            keep(result)
                            if len(attempt.results) == take:
                                break
                else:
                    keep(await self.once(attempt))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is looked at
            attempt.error = error
        attempt.ended = True
        return attempt


async def cancelled(bench: Bench) -> tuple[Attempt, float]:
    """A call that is cancelled once it hangs, and seconds from then until it was let go."""
    attempt, calls = bench.new(), bench.engine.calls
    n_calls = len(calls)
    cancelled_at = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run, attempt)
        # An event of the engine would be no help: it may be asked more than once.
        while not (attempt.ended or any(call.hangs for call in calls[n_calls:])):  # noqa: ASYNC110
            await anyio.sleep(LATENCY)
        await anyio.wait_all_tasks_blocked()
        cancelled_at = anyio.current_time()
        tasks.cancel_scope.cancel()
    return attempt, anyio.current_time() - cancelled_at


def failing(error: Exception, raised: list[Exception]) -> Generator[Fault | None, None, None]:
    """Failures without end, each with an error of its own, kept in ``raised``."""
    while True:
        raised.append(type(error)(*error.args))
        yield Failure(raised[-1])


def mixed(chance: Random) -> Generator[Fault | None, None, None]:
    """Faults of every kind, at every place, and healthy calls between them."""
    while True:
        after = chance.randrange(RESULTS + 1)
        yield chance.choice(
            [
                *[None] * 3,
                *[Failure(EngineError("faulty", "broke"), after)] * 2,
                Failure(ValueError("blank")),
                Hang(after),
            ]
        )


@lru_cache(maxsize=256)
def hum(number: int) -> AudioData:
    """3 s of speech, each number a little less loud than the one before."""
    loud = _speech()
    return AudioData.from_samples(loud.samples * (1.0 - number / 4096.0), loud.sample_rate)


@lru_cache(maxsize=1)
def _speech() -> AudioData:
    return speech(3.0)
