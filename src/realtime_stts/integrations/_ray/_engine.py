"""Engines whose work is done in replicas of a deployment."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from itertools import count
from math import inf
from types import TracebackType
from typing import Any, ClassVar, Final, TypeVar

import anyio
from typing_extensions import Self

from ...audio import AudioData
from ...engines._isolated_values import packed_audio, plain, unpacked_result
from ...errors import EngineError, EngineTimeoutError
from ...protocols import SynthesisResult, TranscriptionResult
from ._admission import Slot
from ._call import Call
from ._connection import Connection, Place
from ._messages import Request
from ._ray_thread import outcome
from ._settings import EdgeOptions, RayStatistics, checked_name
from ._translation import Displaced

__all__ = ["RaySTTEngine", "RayTTSEngine"]

T = TypeVar("T")

_FIRST_REST: Final = 0.1  # s before a call is asked of another replica; then twice that, and so on
_KEPT_SOUND: Final = 60.0  # s of a stream's sound that can be said again to another replica


class _RayEngine:
    """What both kinds have in common."""

    _kind: ClassVar[str]

    def __init__(self, name: str, options: EdgeOptions) -> None:
        self.name = checked_name(name)
        self._options = options
        self._place = Place(name, self._kind, options)
        weakref.finalize(self, self._place.clear)

    # -- life cycle

    @property
    def model_loaded(self) -> bool:
        """Whether it is connected, to replicas that have loaded theirs."""
        connection = self._place.connection
        return connection is not None and connection.replicas > 0

    async def load(self) -> None:
        """Connect, and wait until a replica runs, for ``patience`` seconds at most.

        Raises:
            EngineUnavailableError: There is no cluster, no such deployment, or no replica.
            EngineLoadError: What is deployed there is another kind of engine, or of another
                version of this library.
        """
        await self._place.open()

    async def unload(self) -> None:
        """Wait for calls in flight, then disconnect. The deployment stays, and its replicas."""
        await self._place.close()

    async def warmup(self) -> None:
        """Connect, and ask once. Replicas warm themselves up before they take calls."""
        await self._one(Request("hello", {}))

    def statistics(self) -> RayStatistics:
        """The numbers now; zeros while it is not connected."""
        connection = self._place.connection
        if connection is None:
            return RayStatistics(0, 0, 0, 0, 0, 0)
        admission = connection.admission
        return RayStatistics(
            connection.replicas,
            admission.slots,
            admission.running,
            admission.waiting,
            connection.retried,
            admission.refused,
        )

    async def __aenter__(self) -> Self:
        await self.load()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.unload()

    # -- calls

    async def _one(self, request: Request) -> Any:
        """The one result of a call, or None if it has none."""
        timeout = self._options.timeout
        with anyio.move_on_after(inf if timeout is None else timeout):
            result = None
            async with aclosing(self._results(request, None)) as results:
                async for each in results:
                    result = each
            return result
        assert timeout is not None
        raise EngineTimeoutError(self.name, timeout)

    async def _results(self, request: Request, timeout: float | None) -> AsyncGenerator[Any]:
        """The results of a call; each waited for so long at most."""
        with await self._place.use() as connection, await self._slot(connection, timeout) as slot:
            for attempt in count():
                delivered = False
                try:
                    with connection.call(request, slot) as call:
                        while (message := await call.next(timeout)) is not None:
                            delivered = True
                            yield unpacked_result(message)
                        return
                except Displaced as exc:
                    await self._rest(connection, exc, attempt, again=not delivered)

    async def _slot(self, connection: Connection, timeout: float | None) -> Slot:
        connection.watch()
        slot = await connection.admission.enter(timeout)
        if slot is None:
            assert timeout is not None
            raise EngineTimeoutError(self.name, timeout)
        return slot

    async def _rest(
        self, connection: Connection, displaced: Displaced, attempt: int, *, again: bool
    ) -> None:
        """Return when the next attempt may begin.

        Raises:
            EngineError: There is none: that of the last attempt.
        """
        again = again and attempt < self._options.retries
        connection.displaced(again=again)
        if not again:
            raise displaced.error from displaced.error.__cause__
        await anyio.sleep(_FIRST_REST * 2.0**attempt)


class RayTTSEngine(_RayEngine):
    """Text to speech by the replicas that `deploy_tts` put under that name.

    It connects with the first call or `load`, to the cluster that the program is connected
    to, and never starts one. Calls with the same ``voice_id`` go to a replica that has had
    that voice, where one is free.

    Args:
        name: That of the deployment.
        address: The cluster to connect to, if the program is not connected to one; as for
            ``ray.init``. The program stays connected.
        share: How much of all replicas' slots this edge may use: with four edges, 0.25 each.
            A burst that fits its slots is never refused.
        max_waiting: How many calls may wait for a slot; None is as many as there are slots.
        timeout: Seconds that a caller waits for speech, or a stream's next piece of it, all
            waiting and attempts included. None waits as long as it takes. The deadline of
            the caller's own scope travels to the replica, too.
        retries: How often a call is asked of another replica after the one that had it, or
            its machine, went away before it gave its first result. An engine's own error is
            never retried here.
        patience: Seconds that a call waits for a replica where none runs.

    Raises:
        ValueError: A number is out of range.
    """

    _kind = "tts"

    def __init__(
        self,
        name: str = "tts",
        *,
        address: str | None = None,
        share: float = 1.0,
        max_waiting: int | None = None,
        timeout: float | None = None,
        retries: int = 2,
        patience: float = 30.0,
    ) -> None:
        super().__init__(
            name,
            EdgeOptions(
                address=address,
                share=share,
                max_waiting=max_waiting,
                timeout=timeout,
                retries=retries,
                patience=patience,
            ),
        )

    async def synthesize(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> SynthesisResult:
        result = await self._one(_spoken("synthesize", text, voice_config))
        return _of(SynthesisResult, result, self.name)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        request = _spoken("speak", text, voice_config)
        async with aclosing(self._results(request, self._options.timeout)) as chunks:
            async for chunk in chunks:
                yield _of(AudioData, chunk, self.name)

    async def list_voices(self) -> list[dict[str, Any]]:
        return _of(list, await self._one(Request("list_voices", {})), self.name)


class RaySTTEngine(_RayEngine):
    """Speech to text by the replicas that `deploy_stt` put under that name.

    A stream whose replica goes away before its first result is said again to another one, as
    long as it is not longer than a minute.

    Args:
        name: As for `RayTTSEngine`, and so are those that are not named here.
        timeout: Seconds that a caller waits for a text, or for a stream's next result after
            its sound has ended.
        batch: Seconds of a stream's sound that travel together: fewer hops, for so much more
            delay. The end of the sound is sent at once. 0 sends each chunk as it comes.

    Raises:
        ValueError: A number is out of range.
    """

    _kind = "stt"

    def __init__(
        self,
        name: str = "stt",
        *,
        address: str | None = None,
        share: float = 1.0,
        max_waiting: int | None = None,
        timeout: float | None = None,
        retries: int = 2,
        patience: float = 30.0,
        batch: float = 0.1,
    ) -> None:
        super().__init__(
            name,
            EdgeOptions(
                address=address,
                share=share,
                max_waiting=max_waiting,
                timeout=timeout,
                retries=retries,
                patience=patience,
                batch=batch,
            ),
        )

    async def is_available(self) -> bool:
        """Whether a replica runs."""
        try:
            with await self._place.use() as connection:
                return await outcome(connection.thread.start(connection.look)) > 0
        except EngineError:
            return False

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        layout, data = packed_audio(audio)
        arguments = {"layout": layout, "language": language}
        result = await self._one(Request("transcribe", arguments, data))
        return _of(TranscriptionResult, result, self.name)

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        """Transcribe chunks as they arrive.

        The source is never cancelled to deliver a result: one that comes while it is waited
        for, or an error, is delivered once the next chunk is there.
        """
        request = Request("listen", {"language": language})
        sound = _Sound(audio)
        with (
            await self._place.use() as connection,
            await self._slot(connection, self._options.timeout) as slot,
        ):
            for attempt in count():
                try:
                    with connection.call(request, slot) as call:
                        async with aclosing(self._heard(call, sound)) as results:
                            async for result in results:
                                sound.settle()
                                yield result
                        return
                except Displaced as exc:  # noqa: PERF203 - it is once per attempt
                    await self._rest(connection, exc, attempt, again=sound.whole)

    async def _heard(self, call: Call, sound: _Sound) -> AsyncGenerator[TranscriptionResult]:
        """What a replica makes of all of the sound."""
        async with aclosing(sound.chunks()) as chunks:
            async for chunk in chunks:
                while call.ready or not call.sendable:
                    await call.wait(lambda: call.ready or call.sendable)
                    if call.ready:
                        message = call.take()
                        if message is None:  # it ended before its sound did
                            return
                        yield _of(TranscriptionResult, unpacked_result(message), self.name)
                call.send(chunk)
        call.send_end()
        while (message := await call.next(self._options.timeout)) is not None:
            yield _of(TranscriptionResult, unpacked_result(message), self.name)


class _Sound:
    """A stream's sound, from its beginning, until a result of it was delivered."""

    def __init__(self, audio: AsyncIterable[AudioData]) -> None:
        self._source: AsyncIterator[AudioData] = aiter(audio)
        self._ended = False
        self._kept: list[AudioData] = []
        self._seconds = 0.0
        self.whole = True  # whether all of it can be said again

    def settle(self) -> None:
        """A result was delivered: nothing is said again."""
        self.whole = False
        self._kept.clear()

    async def chunks(self) -> AsyncGenerator[AudioData]:
        """What was said already, and then what comes."""
        for chunk in [*self._kept]:
            yield chunk
        while not self._ended:
            try:
                chunk = await anext(self._source)
            except StopAsyncIteration:
                self._ended = True
                return
            if self.whole:
                self._seconds += chunk.duration_seconds
                self._kept.append(chunk)
                if self._seconds > _KEPT_SOUND:
                    self.settle()
            yield chunk


def _spoken(method: str, text: str, voice_config: dict[str, Any] | None) -> Request:
    config = voice_config or {}
    voice = config.get("voice_id")
    return Request(
        method,
        {"text": text, "voice_config": plain(config)},
        voice=voice if isinstance(voice, str) else "",
    )


def _of(kind: type[T], result: Any, engine: str) -> T:
    """``result``, which is to be of that kind."""
    if not isinstance(result, kind):
        raise EngineError(engine, f"gave {type(result).__name__}, and no {kind.__name__}")
    return result
