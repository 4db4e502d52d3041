"""The server: its engines, its socket, and the clients it serves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final

import anyio
from anyio.abc import ByteStream, SocketListener, TaskGroup, TaskStatus
from typing_extensions import Self
from wyoming.error import Error

from ..._edge import engine_name
from ..._failures import content_free
from ...protocols import Lifecycle, PauseDetector, STTEngine, TTSEngine
from ._address import Address, listen
from ._connection import Connection, part
from ._framing import encoded
from ._offer import Offer, WyomingLimits

__all__ = ["WyomingServer", "serve_wyoming"]

_log = logging.getLogger("realtime_stts.integrations.wyoming")

_BREATH: Final = 0.1  # s until a client is let in again where the system had no socket for one


class WyomingServer:
    """Speech to text and text to speech for Home Assistant, and whatever speaks Wyoming.

    ``async with`` loads the engines that are not loaded yet, which are unloaded at its end,
    and opens the socket; `serve` serves. The protocol has no authentication: whoever reaches
    the socket may use the engines.

    Args:
        stt: Transcribes; None: nothing is transcribed.
        tts: Speaks; None: nothing is spoken.
        pause_detector: Tells clients of speech and pauses in what they send: a detector with
            a ``clone`` method, as those of this library have, or what makes one.
        languages: Those that ``stt`` hears, which Home Assistant offers its users. Default:
            what its attribute ``languages`` says, or English.
        uri: ``tcp://host:port``, of which port 0 is any that is free, or ``unix:///path``.
        limits: What clients may ask for.

    Raises:
        ValueError: There is no engine, or ``uri`` is of no such form.
        TypeError: ``pause_detector`` cannot be cloned.
        EngineError: On entering, an engine cannot be loaded.
        OSError: On entering, the socket cannot be opened; its port is taken, for instance.
    """

    def __init__(
        self,
        *,
        stt: STTEngine | None = None,
        tts: TTSEngine | None = None,
        pause_detector: PauseDetector | Callable[[], PauseDetector] | None = None,
        languages: Sequence[str] | None = None,
        uri: str = "tcp://127.0.0.1:10300",
        limits: WyomingLimits | None = None,
    ) -> None:
        if stt is None and tts is None:
            raise ValueError("there is nothing to serve: give stt, tts or both")
        self._engines: tuple[STTEngine | TTSEngine | None, ...] = (stt, tts)
        self._offer = Offer(stt, tts, pause_detector, languages)
        self._offer.detector()  # or say now that it cannot be cloned
        self._address = Address.of(uri)
        self._limits = limits or WyomingLimits()
        self._listeners: Sequence[SocketListener] = ()
        self._doors: anyio.CancelScope | None = None
        self._stopping = False
        self._connections: set[Connection] = set()
        self._open = AsyncExitStack()

    @property
    def uri(self) -> str:
        """Where it listens; once it is open, with the port that it has."""
        return str(self._address)

    @property
    def port(self) -> int | None:
        """Its port; None on a Unix socket."""
        return self._address.port

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach it."""
        return self._address.is_local

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    @property
    def offers(self) -> list[str]:
        """A line on each engine, for people."""
        return self._offer.lines()

    @property
    def n_connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            for engine in self._engines:
                if isinstance(engine, Lifecycle) and not getattr(engine, "model_loaded", False):
                    _log.info("loading %s", engine_name(engine))
                    await opened.enter_async_context(engine)
                    await engine.warmup()
                    _log.info("loaded %s", engine_name(engine))
            await self._offer.refresh()
            self._address, self._listeners = await opened.enter_async_context(listen(self._address))
            self._open = opened.pop_all()
        _log.info("listening at %s", self.uri)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def serve(self, *, grace: float = 10.0) -> None:
        """Serve until `stop` is called. Cancelled, it leaves all clients at once.

        Args:
            grace: Seconds that answers which are being made have to end after `stop`.
        """
        async with anyio.create_task_group() as clients:
            async with anyio.create_task_group() as doors:
                self._doors = doors.cancel_scope
                if self._stopping:
                    self._doors.cancel()
                for listener in self._listeners:
                    doors.start_soon(self._admit, listener, clients)
            for connection in self._connections:
                connection.leave()
            clients.cancel_scope.deadline = anyio.current_time() + grace

    def stop(self) -> None:
        """Let nobody in any more, and `serve` return once all that was asked for is answered."""
        self._stopping = True
        if self._doors is not None:
            self._doors.cancel()

    async def _admit(self, listener: SocketListener, clients: TaskGroup) -> None:
        async with listener:
            while True:
                if (stream := await _accepted(listener)) is not None:
                    clients.start_soon(self._meet, stream)

    async def _meet(self, stream: ByteStream) -> None:
        async with stream:
            if len(self._connections) >= self._limits.max_connections:
                await _turn_away(stream)
                return
            connection = Connection(stream, self._offer, self._limits)
            self._connections.add(connection)
            try:
                await connection.serve()
            finally:
                self._connections.discard(connection)


async def serve_wyoming(
    *,
    stt: STTEngine | None = None,
    tts: TTSEngine | None = None,
    pause_detector: PauseDetector | Callable[[], PauseDetector] | None = None,
    languages: Sequence[str] | None = None,
    uri: str = "tcp://127.0.0.1:10300",
    limits: WyomingLimits | None = None,
    task_status: TaskStatus[WyomingServer] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Open a `WyomingServer` and serve, until it is stopped or this is cancelled.

    Args:
        task_status: Is told of the server once it listens:
            ``server = await tasks.start(partial(serve_wyoming, stt=stt, tts=tts))``.
    """
    server = WyomingServer(
        stt=stt,
        tts=tts,
        pause_detector=pause_detector,
        languages=languages,
        uri=uri,
        limits=limits,
    )
    async with server:
        task_status.started(server)
        await server.serve()


async def _accepted(listener: SocketListener) -> ByteStream | None:
    try:
        return await listener.accept()
    except OSError as error:  # this process has too many files open, for instance
        _log.warning("a client was not let in", exc_info=content_free(error))
        await anyio.sleep(_BREATH)
        return None


async def _turn_away(stream: ByteStream) -> None:
    with anyio.move_on_after(1.0):
        error = Error("All connections are taken: try again later.", "overloaded")
        try:
            await stream.send(encoded(error))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        await part(stream)
