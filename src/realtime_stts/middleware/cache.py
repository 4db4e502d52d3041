"""Cache: what was asked before is not computed again, and what is asked twice at once, once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final

from anyio import Event, current_time, move_on_after
from cachetools import LRUCache

from ..audio import AudioData
from ..errors import EngineTimeoutError
from ..protocols import SynthesisResult, TranscriptionResult
from ._cache_key import cache_key
from ._context import RequestContext
from ._middleware import CallNext

__all__ = ["CacheMiddleware", "CacheStatistics", "cache_key"]

_MIB: Final = 1 << 20  # bytes
_OVERHEAD: Final = 500  # bytes, of an entry or a result beside its data, rounded up
_TIMED: Final = 200  # bytes, of a segment or a word beside its text, rounded up
_REQUEST_TYPES: Final = frozenset({"stt", "tts"})


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """The numbers at one moment."""

    hits: int  # answered from the cache at once
    joined: int  # answered by an identical call that was under way
    misses: int  # asked the engine
    bytes: int  # held, about
    entries: int
    evicted: int  # the least recently used, to make room; what grew too old is not counted


class CacheMiddleware:
    """Answers a call from what an identical one was answered before.

    Identical is a call of the same type to the same engine, streaming or not, with the
    same text or audio and the same configuration. A stream is given again as a stream, in
    the same pieces. Only whole results of calls that succeeded are kept, up to so many
    bytes; the least recently used go first.

    While an identical call is under way, others wait for its end instead of asking the
    engine too. If it fails or is withdrawn, one of them takes its place: an error belongs
    to the call that it happened to. Streaming STT goes by, for its input is not known yet,
    and so does a call with a value in its configuration that has no exact key.

    Args:
        max_bytes: How much is kept.
        ttl: Seconds after which an answer is too old, on the event loop's clock; None keeps
            it until its room is needed.
        max_entry_bytes: Longer answers are not kept; None is an eighth of ``max_bytes``.
            A stream under way is recorded up to here, beside what is kept.
        request_types: Which calls: ``tts``, ``stt`` or both.
        patience: Seconds that a streaming call waits for an identical stream, which may
            have a slow reader, before it asks the engine itself. A one-shot call waits as
            long as the other takes. None waits beyond its deadline.
        key: What identifies a call of the same type, engine and form; None for one that is
            not to be kept. By default `cache_key`: text or audio, and configuration.
        name: What logs call it.

    One instance belongs to one event loop.

    Raises:
        ValueError: A number is out of range, or a request type cannot be cached.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 64 * _MIB,  # 23 minutes of speech at 24 kHz
        ttl: float | None = None,
        max_entry_bytes: int | None = None,
        request_types: Collection[str] = ("tts",),
        patience: float = 1.0,
        key: Callable[[RequestContext], Hashable | None] | None = None,
        name: str = "cache",
    ) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes is 1 or more, not {max_bytes!r}")
        if max_entry_bytes is None:
            max_entry_bytes = max(max_bytes // 8, 1)
        if not 1 <= max_entry_bytes <= max_bytes:
            raise ValueError(f"max_entry_bytes is 1 to {max_bytes}, not {max_entry_bytes!r}")
        if ttl is not None and not ttl > 0.0:
            raise ValueError(f"ttl is in seconds and more than 0, or None; not {ttl!r}")
        if not patience >= 0.0:
            raise ValueError(f"patience is in seconds, 0 or more, not {patience!r}")
        if isinstance(request_types, str) or not _REQUEST_TYPES.issuperset(request_types):
            raise ValueError(
                f"request_types are of {sorted(_REQUEST_TYPES)}, not {request_types!r}: "
                "an answer depends on all that was said before"
            )
        self.name = name
        self._max_entry_bytes = max_entry_bytes
        self._request_types = frozenset(request_types)
        self._patience = patience
        self._key = cache_key if key is None else key
        self._store = _Store(max_bytes, inf if ttl is None else ttl)
        self._flights: dict[Hashable, _Flight] = {}  # the calls under way: one for each key
        self._hits = self._joined = self._misses = 0
        self._cleared = 0  # times

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        kind, streaming = context.request_type, context.streaming
        if kind not in self._request_types or (kind == "stt" and streaming):
            return call_next(context)
        key = self._key(context)
        if key is None:
            return call_next(context)
        return self._cached(context, call_next, (kind, streaming, context.engine, key))

    def clear(self) -> None:
        """Forget every answer; what is being answered now is not kept either."""
        self._store.clear()
        self._flights.clear()
        self._cleared += 1

    def statistics(self) -> CacheStatistics:
        """The numbers now."""
        store = self._store
        return CacheStatistics(
            self._hits,
            self._joined,
            self._misses,
            int(store.currsize),
            len(store),
            store.evicted,
        )

    async def _cached(
        self, context: RequestContext, call_next: CallNext, key: Hashable
    ) -> AsyncGenerator[Any]:
        answer: Sequence[Any] | None = self._store.find(key, current_time())
        if answer is not None:
            self._hits += 1
            context.metrics["cache"] = "hit"
        elif key in self._flights and (answer := await self._join(context, key)) is not None:
            self._joined += 1
            context.metrics["cache"] = "joined"
        if answer is None:
            self._misses += 1
            context.metrics["cache"] = "miss"
            async with aclosing(self._lead(context, call_next, key)) as results:
                async for result in results:
                    yield result
        else:
            for result in answer:
                yield _copied(result)

    async def _join(self, context: RequestContext, key: Hashable) -> Sequence[Any] | None:
        """The answer to an identical call; None if this one has to ask the engine."""
        began = current_time()
        tired = began + self._patience if context.streaming else inf
        until = min(tired, context.deadline)
        while (answer := self._store.find(key, current_time())) is None:
            flight = self._flights.get(key)
            if flight is None:
                return None  # it failed, and nobody else has taken its place
            if until == inf:
                await flight.wait()
            else:
                with move_on_after(until - current_time()):
                    await flight.wait()
            if flight.complete:
                return flight.results
            if flight.results is None:
                return None  # it will not be kept: waiting for the next is of no use either
            if not flight.over:
                if tired <= context.deadline:
                    return None
                raise EngineTimeoutError(context.engine, current_time() - began)
        return answer

    async def _lead(
        self, context: RequestContext, call_next: CallNext, key: Hashable
    ) -> AsyncGenerator[Any]:
        """Ask the engine, while others wait for the answer."""
        flight = _Flight(self._max_entry_bytes if context.streaming else inf)
        cleared = self._cleared
        self._flights[key] = flight
        whole: list[Any] = []
        try:
            async with aclosing(call_next(context)) as results:
                async for result in results:
                    if not flight.record(result):
                        self._end(flight, key)
                    if context.streaming:
                        yield result
                    else:  # the call is over before anybody is given its one result
                        whole.append(result)
            if flight.results is not None and (context.streaming or len(whole) == 1):
                flight.complete = True
                if flight.size <= self._max_entry_bytes and cleared == self._cleared:
                    self._store[key] = _Entry(tuple(flight.results), flight.size, current_time())
        finally:
            self._end(flight, key)
        for result in whole:
            yield result

    def _end(self, flight: _Flight, key: Hashable) -> None:
        if self._flights.get(key) is flight:  # and not one that lost patience with it
            del self._flights[key]
        flight.end()


class _Flight:
    """A call under way, and what is recorded of it."""

    __slots__ = ("_ended", "_limit", "complete", "over", "results", "size")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._ended: Event | None = None  # made by the first who waits: most often nobody does
        self.complete = False  # `results` are all of an answer
        self.over = False  # nothing is to be waited for any more
        self.results: list[Any] | None = []  # None once they are not to be had from here
        self.size = _OVERHEAD  # bytes

    def record(self, result: Any) -> bool:
        """Note a result; False if what was recorded had to be dropped."""
        if self.results is not None:
            size = _size(result)
            if size is None or self.size + size > self._limit:
                self.results = None
            else:
                self.size += size
                self.results.append(_copied(result))
        return self.results is not None

    async def wait(self) -> None:
        """Wait until it is over."""
        if self._ended is None:
            self._ended = Event()
        await self._ended.wait()

    def end(self) -> None:
        self.over = True
        if self._ended is not None:
            self._ended.set()


@dataclass(frozen=True, slots=True)
class _Entry:
    results: tuple[Any, ...]
    size: int  # bytes
    since: float  # s


class _Store(LRUCache[Hashable, _Entry]):
    """What is kept: up to so many bytes, the least recently used going first."""

    def __init__(self, max_bytes: int, ttl: float) -> None:
        super().__init__(max_bytes, getsizeof=lambda entry: entry.size)
        self.evicted = 0
        self._ttl = ttl

    def find(self, key: Hashable, now: float) -> tuple[Any, ...] | None:
        """The results under ``key``, unless they are too old."""
        entry = self.get(key)
        if entry is None:
            return None
        if now - entry.since >= self._ttl:
            del self[key]
            return None
        return entry.results

    def popitem(self) -> tuple[Hashable, _Entry]:
        self.evicted += 1
        return super().popitem()

    def clear(self) -> None:
        for key in [*self]:  # and not by `popitem`: nobody needed the room
            del self[key]


def _size(result: Any) -> int | None:
    """Bytes, about and never too few; None for what is not known to be safe to share."""
    kind = type(result)
    if kind is AudioData:
        return _OVERHEAD + len(result.data)
    if kind is SynthesisResult:
        return 2 * _OVERHEAD + len(result.audio_data.data) + 4 * len(result.text)
    if kind is TranscriptionResult:
        timed = [*result.segments, *result.words]
        characters = sum(len(each.text) for each in timed)
        characters += len(result.text) + len(result.committed)
        return _OVERHEAD + _TIMED * len(timed) + 4 * characters
    return None


def _copied(result: Any) -> Any:
    """What a caller may change without anybody else seeing it."""
    if isinstance(result, TranscriptionResult):
        return replace(result, segments=[*result.segments], words=[*result.words])
    return result
