"""A Starlette WebSocket as a `WebSocketAdapter`: audio and commands of one socket, apart.

A socket may be read by one task at a time, and a conversation awaits audio in one task and
commands in another. Whoever comes first reads, keeps what is meant for the other one, and the
other one reads on from there: no task of the adapter's own has to be ended.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from typing import Any, Final, Literal, TypeVar

import anyio
from anyio.lowlevel import checkpoint
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ..._formats import PCM, check_layout
from ...audio import AudioData
from ...errors import AudioFormatError
from ._incoming import Queue, parsed

__all__ = [
    "FastAPIWebSocketAdapter",
    "FastAPIWebSocketAdapterFactory",
    "StarletteWebSocketAdapter",
]

T = TypeVar("T")

_NORMAL: Final = 1000  # RFC 6455, section 7.4.1, as are the next two
_POLICY: Final = 1008
_TOO_BIG: Final = 1009
_MESSAGES: Final = 4  # of the largest size: what may wait of either kind, in bytes


class StarletteWebSocketAdapter:
    """One client's connection to a Starlette or FastAPI endpoint.

    A binary message is PCM, cut anywhere; a JSON object with ``audio_data`` (PCM in base64,
    with ``sample_rate``, ``channels`` and ``format`` where they differ) is audio too. Every
    other text is a command. What cannot be read is a command without an ``action``, whose
    ``problem`` says what is wrong with it: it can be answered, and ends nothing.

    ``receive_audio`` and ``receive_command`` wait for a message, and return None at the end of
    the connection. One task may await each; a cancelled one loses no message. While too much
    waits to be received as the other kind, the socket is not read.

    Args:
        websocket: As the endpoint got it; it need not be accepted yet.
        sample_rate: Hz of binary audio.
        channels: Of binary audio, and
        format: one of the PCM formats.
        audio: How audio is sent: ``json`` is an ``audio_response`` with a WAV file in base64,
            ``binary`` the PCM alone.
        max_message_bytes: Of a message from the client; a larger one closes with 1009. The
            server has a limit of its own, for uvicorn ``ws_max_size``.
        max_idle_seconds: Without any message while one is awaited; then it closes with 1008.
            None is no limit.
        max_waiting: Messages of a kind that may wait to be received.

    Raises:
        AudioFormatError: There is no such audio, or it is not PCM.
        ValueError: A limit is not positive, or ``audio`` is neither.
    """

    def __init__(
        self,
        websocket: WebSocket,
        *,
        sample_rate: int = 16_000,
        channels: int = 1,
        format: str = "pcm",
        audio: Literal["json", "binary"] = "json",
        max_message_bytes: int = 1 << 20,
        max_idle_seconds: float | None = None,
        max_waiting: int = 256,
    ) -> None:
        check_layout(sample_rate, channels)
        if format not in PCM:
            raise AudioFormatError(f"a socket carries {', '.join(PCM)}, not {format!r}")
        if audio not in ("json", "binary"):
            raise ValueError(f"audio is sent as json or binary, not as {audio!r}")
        idle = inf if max_idle_seconds is None else max_idle_seconds
        if not (max_message_bytes > 0 and max_waiting > 0 and idle > 0):
            raise ValueError("limits of messages are positive")
        self.websocket = websocket
        self._layout = (sample_rate, channels, format)
        self._width = PCM[format][0] * channels
        self._rest = b""  # of a binary message that ended in the middle of a sample
        self._sends_binary = audio == "binary"
        self._max_bytes = max_message_bytes
        self._max_idle = idle
        self._waited = 0.0  # s for the next message
        room = (max_waiting, _MESSAGES * max_message_bytes)
        self._audio: Queue[AudioData] = Queue(*room)
        self._commands: Queue[dict[str, Any]] = Queue(*room)
        self._reading: anyio.CancelScope | None = None  # around the one that reads
        self._over = False
        self._changed = anyio.Event()

    @property
    def is_connected(self) -> bool:
        connected = WebSocketState.CONNECTED
        return (
            not self._over
            and self.websocket.application_state is connected
            and self.websocket.client_state is connected
        )

    # -- the contract's ------------------------------------------------------------------

    async def accept_connection(self) -> None:
        if self.websocket.application_state is WebSocketState.CONNECTING:
            try:
                await self.websocket.accept()
            except (OSError, RuntimeError):  # it has left while it was waiting
                self._end()
        else:
            await checkpoint()

    async def receive_audio(self) -> AudioData | None:
        return await self._receive(self._audio, self._commands)

    async def receive_command(self) -> dict[str, Any] | None:
        return await self._receive(self._commands, self._audio)

    async def send_json(self, data: dict[str, Any]) -> None:
        text = json.dumps(data, separators=(",", ":"))  # ASCII, whatever is in it
        await self._send({"type": "websocket.send", "text": text})

    async def send_audio(self, audio: AudioData) -> None:
        if self._sends_binary:
            await self._send({"type": "websocket.send", "bytes": audio.decoded().data})
            return
        await self.send_json(
            {
                "type": "audio_response",
                "audio_data": b64encode(audio.encode("wav")).decode(),
                "format": "wav",
                "sample_rate": audio.sample_rate,
                "duration_ms": audio.duration_ms,
            }
        )

    async def close(self, code: int = _NORMAL, reason: str | None = None) -> None:
        """Close the connection; to refuse it, before it was accepted."""
        self._end()
        states = (self.websocket.application_state, self.websocket.client_state)
        if WebSocketState.DISCONNECTED in states:
            await checkpoint()
            return
        with suppress(OSError, RuntimeError, WebSocketDisconnect):  # it has left meanwhile
            await self.websocket.close(code, reason)

    # -- receiving -----------------------------------------------------------------------

    async def receive(self) -> AudioData | dict[str, Any] | None:
        """The next message of either kind, in their order: for one task that reads alone."""
        await checkpoint()  # a client that sends a lot must not starve the others
        while not (self._audio or self._commands):
            if not self.is_connected:
                return None
            await self._read()
        return self._audio.take() if self._audio else self._commands.take()

    async def _receive(self, mine: Queue[T], others: Queue[Any]) -> T | None:
        await checkpoint()
        while True:
            if mine:
                item = mine.take()
                self._wake()  # who waits for room
                return item
            if not self.is_connected:
                return None
            if self._reading is not None or others.is_full:
                await self._changed.wait()
            else:
                await self._read()

    async def _read(self) -> None:
        """Put the next message where it belongs."""
        message: Mapping[str, Any] | None = None
        began = anyio.current_time()
        deadline = began + self._max_idle - self._waited
        with anyio.CancelScope(deadline=deadline) as self._reading:
            try:
                message = await self.websocket.receive()
            except (OSError, RuntimeError):  # as of a server that is being stopped
                self._over = True
            finally:
                self._reading = None
                self._waited += anyio.current_time() - began
                self._wake()  # someone else may read now
        # From there to where it is filed nothing is awaited: it cannot get lost.
        if message is None:
            if not self._over:
                await self.close(_POLICY, "idle")
        elif message["type"] == "websocket.disconnect":
            self._end()
        elif self._file(message):
            self._waited = 0.0
        else:
            await self.close(_TOO_BIG, "message too big")

    def _file(self, message: Mapping[str, Any]) -> bool:
        """Whether it was taken: it was not too big."""
        data: bytes | None = message.get("bytes")
        text: str = "" if data is not None else message.get("text") or ""
        n_bytes = len(text.encode("utf-8", "surrogatepass")) if data is None else len(data)
        if n_bytes > self._max_bytes:
            return False
        try:
            item = parsed(text) if data is None else self._pcm(data)
        except ValueError as exc:
            item = {"problem": str(exc)}
        if isinstance(item, AudioData):
            if item.data:
                self._audio.put(item, n_bytes)
        else:
            self._commands.put(item, n_bytes)
        return True

    def _pcm(self, data: bytes) -> AudioData:
        data = self._rest + data
        whole = len(data) - len(data) % self._width
        self._rest = data[whole:]
        return AudioData(data[:whole], *self._layout)

    # -- sending and ending --------------------------------------------------------------

    async def _send(self, message: dict[str, Any]) -> None:
        if not self.is_connected:
            await checkpoint()
            return
        try:
            await self.websocket.send(message)
        except (OSError, RuntimeError, WebSocketDisconnect):
            self._end()

    def _end(self) -> None:
        self._over = True
        if self._reading is not None:
            self._reading.cancel()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class FastAPIWebSocketAdapter(StarletteWebSocketAdapter):
    """The same, with what the contract's adapter for FastAPI has besides."""

    async def send_text(self, text: str) -> None:
        """Send a text message as it is."""
        await self._send({"type": "websocket.send", "text": text})

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message as it is."""
        await self._send({"type": "websocket.send", "bytes": data})

    def get_client_info(self) -> dict[str, Any]:
        """Who is connected, and how: ``client``, ``url``, ``headers``, ``query_params``.

        It holds what the client sent, tokens too: it is not for a log.
        """
        client = self.websocket.client
        return {
            "client": None if client is None else f"{client.host}:{client.port}",
            "url": str(self.websocket.url),
            "headers": dict(self.websocket.headers),
            "query_params": dict(self.websocket.query_params),
        }


class FastAPIWebSocketAdapterFactory:
    """Makes adapters."""

    @staticmethod
    def create(websocket: WebSocket) -> FastAPIWebSocketAdapter:
        """An adapter as it is by default."""
        return FastAPIWebSocketAdapter(websocket)

    @staticmethod
    def create_with_config(
        websocket: WebSocket, config: Mapping[str, Any]
    ) -> FastAPIWebSocketAdapter:
        """An adapter with the options of `StarletteWebSocketAdapter`.

        Raises:
            TypeError: There is no such option.
        """
        return FastAPIWebSocketAdapter(websocket, **config)
