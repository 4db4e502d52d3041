"""What a host's WebSocket adapter promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import anyio
import numpy as np
import pytest

from ...audio import AudioData
from ...protocols import WebSocketAdapter
from .._audio import speech
from .._leaks import no_leaks
from .._websocket import WebSocketClient
from ._tools import LIMIT, at_once, cut

__all__ = ["WebSocketAdapterSuite"]

T = TypeVar("T")

_POLL = 0.01  # s; for adapters that answer "nothing yet" instead of waiting
_WHILE = 0.1  # s in which nothing comes
_COMMANDS: list[dict[str, Any]] = [
    {"action": "ping"},
    {"action": "change_mode", "mode": "écho 🙂", "options": {"depth": [1, 2.5, None, True]}},
    {"action": "stop", "reason": "long " * 1000},
]


class WebSocketAdapterSuite:
    """A `WebSocketAdapter` keeps its promises.

    Override ``connection``. Of an adapter with real sockets the tests run on the real clock
    only: virtual time does not see those. See `realtime_stts.testing.plugin`.

        class TestMyAdapter(WebSocketAdapterSuite):
            @asynccontextmanager
            async def connection(self):
                async with my_server() as server, my_client(server) as client:
                    yield MyAdapter(await server.next_request()), client
    """

    pytestmark = pytest.mark.anyio

    def connection(
        self,
    ) -> AbstractAsyncContextManager[tuple[WebSocketAdapter, WebSocketClient]]:
        """An adapter that has not accepted yet, and the client that has asked to connect.

        The client codes and decodes messages as the adapter's real clients do.
        """
        raise NotImplementedError(f"{type(self).__name__}.connection returns what to test")

    def clip(self) -> AudioData:
        """Audio as a client sends it and as it is sent to the client."""
        return speech(0.5)

    @asynccontextmanager
    async def _accepted(self) -> AsyncGenerator[tuple[WebSocketAdapter, WebSocketClient]]:
        async with self.connection() as (adapter, client):
            with anyio.fail_after(LIMIT):
                await adapter.accept_connection()
            yield adapter, client
            await adapter.close()

    # -- connecting ----------------------------------------------------------------------

    async def test_is_a_websocket_adapter(self) -> None:
        async with self.connection() as (adapter, client):
            assert isinstance(adapter, WebSocketAdapter)
            assert isinstance(client, WebSocketClient), "the suite's client lacks something"
            await adapter.close()

    async def test_is_connected_once_it_has_accepted(self) -> None:
        async with self.connection() as (adapter, _):
            assert adapter.is_connected is False, "connected before it accepted"
            with anyio.fail_after(LIMIT):
                await adapter.accept_connection()
            assert adapter.is_connected is True
            await adapter.close()

    # -- receiving -----------------------------------------------------------------------

    async def test_receives_audio(self) -> None:
        """All of it, in order, with its rate and channels."""
        clip = self.clip()
        async with self._accepted() as (adapter, client):
            for chunk in cut(clip, [0.02, 0.1]):
                await client.send_audio(chunk)
            await _receive_all(adapter, clip)

    async def test_receives_commands(self) -> None:
        async with self._accepted() as (adapter, client):
            for command in _COMMANDS:
                await client.send_command(command)
            received = [await _next(adapter.receive_command, adapter) for _ in _COMMANDS]
            assert received == _COMMANDS

    async def test_receives_both_at_the_same_time(self) -> None:
        """One task awaits audio and another commands; neither has to wait for the other."""
        clip, heard = self.clip(), anyio.Event()

        async def receive_audio() -> None:
            await _receive_all(adapter, clip)
            heard.set()

        async def receive_commands() -> None:
            received = [await _next(adapter.receive_command, adapter) for _ in _COMMANDS]
            assert received == _COMMANDS

        async def send() -> None:
            await anyio.sleep(_WHILE)
            for chunk in cut(clip, [0.1]):
                await client.send_audio(chunk)
            await heard.wait()
            for command in _COMMANDS:
                await client.send_command(command)

        async with self._accepted() as (adapter, client):
            await at_once([receive_audio, receive_commands, send])

    async def test_stays_connected_while_nothing_comes(self) -> None:
        """None means that nothing has come yet; to wait is as good."""
        async with self._accepted() as (adapter, client):
            for receive in (adapter.receive_audio, adapter.receive_command):
                with anyio.move_on_after(_WHILE):
                    assert await receive() is None
                assert adapter.is_connected is True
            await client.send_command(_COMMANDS[0])
            assert await _next(adapter.receive_command, adapter) == _COMMANDS[0]

    async def test_loses_nothing_when_a_receive_is_cancelled(self) -> None:
        """Not even what comes at that very moment."""
        received: list[Any] = []

        async def receive() -> None:
            received.append(await _next(adapter.receive_command, adapter))

        async with self._accepted() as (adapter, client):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive)
                await anyio.sleep(_WHILE)
                await client.send_command(_COMMANDS[0])
                tasks.cancel_scope.cancel()
            await client.send_command(_COMMANDS[1])
            while len(received) < 2:
                received.append(await _next(adapter.receive_command, adapter))
            assert received == _COMMANDS[:2]

    # -- sending -------------------------------------------------------------------------

    async def test_sends_json(self) -> None:
        async with self._accepted() as (adapter, client):
            for message in _COMMANDS:
                await adapter.send_json(message)
            with anyio.fail_after(LIMIT):
                assert [await client.receive() for _ in _COMMANDS] == _COMMANDS

    async def test_sends_audio(self) -> None:
        clip = self.clip()
        async with self._accepted() as (adapter, client):
            await adapter.send_audio(clip)
            with anyio.fail_after(LIMIT):
                received = await client.receive()
            assert isinstance(received, AudioData), f"{received!r} is no audio"
            _same(received, clip)

    # -- ending --------------------------------------------------------------------------

    @pytest.mark.parametrize("code", [1000, 1001])
    async def test_tells_the_client_that_it_closes(self, code: int) -> None:
        async with self._accepted() as (adapter, client):
            with anyio.fail_after(LIMIT):
                await adapter.close(code)
                assert await client.receive() is None
            assert client.close_code == code
            assert adapter.is_connected is False

    async def test_may_be_closed_twice(self) -> None:
        async with self._accepted() as (adapter, client):
            with anyio.fail_after(LIMIT):
                await adapter.close(1001)
                with _no_error("closing what is closed"):
                    await adapter.close(1000)
                assert await client.receive() is None
            assert client.close_code == 1001

    async def test_closing_ends_what_waits_for_the_client(self) -> None:
        async def close() -> None:
            await anyio.sleep(_WHILE)
            await adapter.close()

        async with self._accepted() as (adapter, _):
            await at_once(
                [
                    lambda: _wait_for_the_end(adapter.receive_audio, adapter),
                    lambda: _wait_for_the_end(adapter.receive_command, adapter),
                    close,
                ]
            )

    async def test_notices_that_the_client_has_left(self) -> None:
        async def leave() -> None:
            await anyio.sleep(_WHILE)
            await client.leave()

        async with self._accepted() as (adapter, client):
            await at_once(
                [
                    lambda: _wait_for_the_end(adapter.receive_audio, adapter),
                    lambda: _wait_for_the_end(adapter.receive_command, adapter),
                    leave,
                ]
            )

    async def test_sends_nothing_to_a_client_that_has_left(self) -> None:
        """What is sent is dropped, whether it has noticed yet or not; that is no error."""
        async with self._accepted() as (adapter, client):
            await client.leave()
            with anyio.fail_after(LIMIT), _no_error("sending to a client that has left"):
                await adapter.send_json(_COMMANDS[0])
                await _wait_for_the_end(adapter.receive_command, adapter)
                await adapter.send_json(_COMMANDS[0])
                await adapter.send_audio(self.clip())

    async def test_leaves_nothing_running(self) -> None:
        async with no_leaks(), self._accepted() as (adapter, client):
            await client.send_command(_COMMANDS[0])
            await _next(adapter.receive_command, adapter)
            with anyio.move_on_after(_WHILE):
                await _next(adapter.receive_audio, adapter)


@contextmanager
def _no_error(what: str) -> Iterator[None]:
    try:
        yield
    except AssertionError:
        raise
    except Exception as exc:
        raise AssertionError(f"{what} is no error, but raised {exc!r}") from exc


async def _next(receive: Callable[[], Awaitable[T | None]], adapter: WebSocketAdapter) -> T:
    """What comes next."""
    with anyio.fail_after(LIMIT):
        while (received := await receive()) is None:
            assert adapter.is_connected, "the connection has ended, and something is missing"
            await anyio.sleep(_POLL)
        return received


async def _receive_all(adapter: WebSocketAdapter, clip: AudioData) -> None:
    """The whole clip comes, in whatever pieces."""
    chunks: list[AudioData] = []
    while sum(chunk.duration_seconds for chunk in chunks) < clip.duration_seconds - 1e-6:
        chunk = await _next(adapter.receive_audio, adapter)
        assert isinstance(chunk, AudioData), f"{chunk!r} is no audio"
        chunks.append(chunk)
    _same(AudioData.concat(chunks), clip)


async def _wait_for_the_end(
    receive: Callable[[], Awaitable[object]], adapter: WebSocketAdapter
) -> None:
    """Until nothing more will come."""
    with anyio.fail_after(LIMIT):
        while adapter.is_connected:
            assert await receive() is None, "something came that nobody had sent"
            await anyio.sleep(_POLL)
        assert await receive() is None, "something came after the end"


def _same(audio: AudioData, clip: AudioData) -> None:
    assert (audio.sample_rate, audio.channels) == (clip.sample_rate, clip.channels)
    assert audio.n_frames == clip.n_frames
    assert np.abs(audio.samples - clip.samples).max() < 1e-3, "the sound has changed"
