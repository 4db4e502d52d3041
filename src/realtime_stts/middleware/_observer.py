"""Middleware that only watches: it changes no result, and its failures break no call."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

from typing_extensions import Self

from .._failures import content_free
from ..audio import AudioData
from ..protocols import SynthesisResult, TranscriptionResult
from ._context import RequestContext
from ._middleware import CallNext, CallOnce

__all__ = ["Observation", "Observer", "Usage", "watched", "watched_once"]

A = TypeVar("A")
T = TypeVar("T")

_MAX_TEXT: Final = 1000  # characters; observers that show text show less

_log = logging.getLogger(__name__)


class Observation(Protocol):
    """What an observer does during one call. Neither method may wait for anything."""

    def result(self, result: Any, /) -> None:
        """A result passes, before the caller has it."""
        ...

    def end(self, error: BaseException | None, /) -> None:
        """The call has ended, and all inside it is closed; `outcome` names the ``error``."""
        ...


class Observer(ABC):
    """A middleware that watches: one `Observation` for each call.

    An `Exception` out of an observer is its own affair: it is counted in ``failures`` and
    logged, and the call goes on as if nobody had watched.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failures = 0

    @abstractmethod
    def observe(self, context: RequestContext) -> Observation:
        """A call begins."""

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        return watched((self,), call_next, context)

    def _failed(self, failure: Exception) -> None:
        self.failures += 1
        with suppress(Exception):  # what failed may be the logging itself
            _log.error(
                "the %s middleware failed; the call goes on",
                self.name,
                exc_info=content_free(failure),
            )


async def watched(
    observers: Sequence[Observer], call_next: CallNext, context: RequestContext
) -> AsyncGenerator[Any]:
    """Observers, innermost first, as one layer."""
    with _Watch(observers, context) as watch:
        results = call_next(context)
        try:
            async for result in results:
                watch.result(result)
                yield result
        finally:
            await results.aclose()


async def watched_once(
    observers: Sequence[Observer], call: CallOnce, context: RequestContext
) -> Any:
    """The same around a call that has one result."""
    with _Watch(observers, context) as watch:
        result = await call(context)
        watch.result(result)
        return result


class _Watch:
    """The observations of one call, innermost first. They begin from outside."""

    __slots__ = ("_observations",)

    def __init__(self, observers: Sequence[Observer], context: RequestContext) -> None:
        self._observations: list[tuple[Observer, Observation]] = []
        for observer in reversed(observers):
            try:
                self._observations.append((observer, observer.observe(context)))
            except Exception as failure:  # noqa: BLE001, PERF203 - it may fail in any way
                observer._failed(failure)
        self._observations.reverse()

    def result(self, result: Any) -> None:
        for observer, observation in self._observations:
            try:
                observation.result(result)
            except Exception as failure:  # noqa: BLE001, PERF203 - as above
                observer._failed(failure)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for observer, observation in self._observations:
            try:
                observation.end(exc)
            except Exception as failure:  # noqa: BLE001, PERF203 - as above
                observer._failed(failure)


class Usage:
    """What one call took in and gave out, as seen from one layer.

    Audio is what STT hears or TTS makes; text is what STT writes, TTS speaks or a responder
    answers. Encoded audio is not decoded just to learn its length: it counts as 0 s.
    """

    __slots__ = ("audio_format", "audio_seconds", "characters", "language", "text", "voice")

    def __init__(self, context: RequestContext) -> None:
        given, config = context.input_data, context.config
        self.audio_seconds = 0.0
        self.audio_format: str | None = None
        self.characters = 0
        self.text = ""  # its beginning
        self.language = config.get("language")  # asked for, or else what results say
        self.voice = config.get("voice_id")
        if context.request_type == "tts":
            self.count(given["text"])
        elif context.request_type == "stt":
            if context.streaming:
                given["audio"] = _Heard(given["audio"], self)
            else:
                self.count(given["audio"])

    def result(self, result: Any, /) -> None:
        """Count a result."""
        self.count(result)

    def count(self, value: Any) -> None:
        """Count an input or a result. A partial transcription may be revised: it counts not."""
        if isinstance(value, AudioData):
            self.audio_format = value.format
            if value.format.startswith("pcm"):
                self.audio_seconds += value.duration_seconds
        elif isinstance(value, str):
            self.characters += len(value)
            if len(self.text) < _MAX_TEXT:
                self.text += value[:_MAX_TEXT]
        elif isinstance(value, TranscriptionResult):
            if not value.partial:
                self.count(value.text)
                self.language = self.language or value.language
        elif isinstance(value, SynthesisResult):
            self.count(value.audio_data)
            self.voice = self.voice or value.voice_id


class _Heard:
    """The chunks of a stream, counted as the engine takes them."""

    __slots__ = ("_chunks", "_usage")

    def __init__(self, chunks: AsyncIterable[AudioData], usage: Usage) -> None:
        self._chunks = aiter(chunks)
        self._usage = usage

    def __aiter__(self) -> _Heard:
        return self

    async def __anext__(self) -> AudioData:
        chunk = await anext(self._chunks)
        self._usage.count(chunk)
        return chunk
