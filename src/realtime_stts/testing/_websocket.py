"""A WebSocket in memory: an adapter and the client at its other end."""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import anyio
from anyio.lowlevel import checkpoint
from typing_extensions import Self

from ..audio import AudioData

__all__ = [
    "MemoryWebSocketAdapter",
    "MemoryWebSocketClient",
    "WebSocketClient",
    "connected_pair",
]

T = TypeVar("T")

_NORMAL = 1000  # RFC 6455, section 7.4.1: the purpose of the connection has been fulfilled
_ROOM = 256  # messages on their way, in each direction; then who sends the next one waits


@runtime_checkable
class WebSocketClient(Protocol):
    """The client at the other end of a `WebSocketAdapter`, as a test holds it."""

    async def send_audio(self, audio: AudioData) -> None: ...

    async def send_command(self, command: dict[str, Any]) -> None: ...

    async def receive(self) -> dict[str, Any] | AudioData | None:
        """The next message, decoded; None once the connection is closed."""
        ...

    async def leave(self) -> None:
        """Close the connection from this side."""
        ...

    @property
    def close_code(self) -> int | None:
        """The code that the connection was closed with; None while it is open."""
        ...


def connected_pair() -> tuple[MemoryWebSocketAdapter, MemoryWebSocketClient]:
    """A connection that the client has asked for, and the server not accepted yet.

    adapter, client = connected_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.handle_conversation, adapter)
        await client.send_command({"action": "ping"})
        async for message in client:
            ...
    """
    connection = _Connection()
    return MemoryWebSocketAdapter(connection), MemoryWebSocketClient(connection)


class MemoryWebSocketAdapter:
    """The server's end of a `connected_pair`: a `WebSocketAdapter`."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def accept_connection(self) -> None:
        await checkpoint()
        self._connection.accepted = True

    async def receive_audio(self) -> AudioData | None:
        return await self._connection.audio.get()

    async def receive_command(self) -> dict[str, Any] | None:
        return await self._connection.commands.get()

    async def send_json(self, data: dict[str, Any]) -> None:
        await self._connection.messages.put(data)

    async def send_audio(self, audio: AudioData) -> None:
        await self._connection.messages.put(audio)

    async def close(self, code: int = _NORMAL) -> None:
        await checkpoint()
        self._connection.close(code)

    @property
    def is_connected(self) -> bool:
        return self._connection.accepted and self._connection.close_code is None


class MemoryWebSocketClient:
    """The client's end of a `connected_pair`: a `WebSocketClient`. Iterate its messages.

    Attributes:
        messages: Everything that was sent to it, whether it has received it yet or not.
    """

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.messages = connection.messages.passed

    async def send_audio(self, audio: AudioData) -> None:
        await self._connection.audio.put(audio)

    async def send_command(self, command: dict[str, Any]) -> None:
        await self._connection.commands.put(command)

    async def receive(self) -> dict[str, Any] | AudioData | None:
        return await self._connection.messages.get()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any] | AudioData:
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message

    async def leave(self) -> None:
        await checkpoint()
        self._connection.close(_NORMAL)

    @property
    def close_code(self) -> int | None:
        return self._connection.close_code


class _Connection:
    def __init__(self) -> None:
        self.accepted = False
        self.close_code: int | None = None
        self.audio: _Pipe[AudioData] = _Pipe()
        self.commands: _Pipe[dict[str, Any]] = _Pipe()
        self.messages: _Pipe[dict[str, Any] | AudioData] = _Pipe()

    def close(self, code: int) -> None:
        if self.close_code is None:
            self.close_code = code
            for pipe in (self.audio, self.commands, self.messages):
                pipe.close()


class _Pipe(Generic[T]):
    """Messages of one kind in one direction; none is lost until it is closed."""

    def __init__(self) -> None:
        self.passed: list[T] = []
        self._waiting: deque[T] = deque()
        self._closed = False
        self._changed = anyio.Event()

    async def put(self, message: T) -> None:
        """Send it; to nobody, once it is closed."""
        await checkpoint()
        while len(self._waiting) >= _ROOM and not self._closed:
            await self._changed.wait()
        if not self._closed:
            self.passed.append(message)
            self._waiting.append(message)
            self._wake()

    async def get(self) -> T | None:
        """The next one; None once it is closed and empty."""
        await checkpoint()
        while not self._waiting and not self._closed:
            await self._changed.wait()
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        self._wake()
        return message

    def close(self) -> None:
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
