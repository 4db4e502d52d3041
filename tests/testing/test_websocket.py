"""A connection in memory keeps every promise, and an engine holds a conversation over it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from realtime_stts import ConversationEngine
from realtime_stts.audio import AudioData
from realtime_stts.testing import (
    MemoryWebSocketAdapter,
    MemoryWebSocketClient,
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    WebSocketAdapterSuite,
    connected_pair,
    no_leaks,
    speech,
)

pytestmark = pytest.mark.anyio


class TestMemoryWebSocketAdapter(WebSocketAdapterSuite):
    @asynccontextmanager
    async def connection(
        self,
    ) -> AsyncGenerator[tuple[MemoryWebSocketAdapter, MemoryWebSocketClient]]:
        yield connected_pair()


async def test_an_engine_holds_a_conversation_over_it() -> None:
    engine = ConversationEngine(
        stt=ScriptedSTTEngine(["hello"]),
        tts=ScriptedTTSEngine(),
        responder=ScriptedResponseGenerator(["Hello."]),
        pause_detector=ScriptedPauseDetector([(0.5, 1.5)]),
    )
    adapter, client = connected_pair()
    async with no_leaks(), anyio.create_task_group() as tasks:
        tasks.start_soon(engine.handle_conversation, adapter)
        await client.send_command({"action": "ping"})
        await client.send_audio(speech(4.0))
        async for message in client:
            if isinstance(message, dict) and message["type"] == "response_text":
                await client.leave()
    kinds = [message["type"] for message in client.messages if isinstance(message, dict)]
    assert kinds[:2] == ["ready", "pong"]
    assert kinds[-1] == "response_text"


async def test_who_sends_more_than_there_is_room_for_waits() -> None:
    adapter, client = connected_pair()
    await adapter.accept_connection()
    with anyio.move_on_after(1.0) as scope:
        for number in range(10_000):
            await adapter.send_json({"number": number})
    assert scope.cancelled_caught
    assert len(client.messages) == 256
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(adapter.send_json, {"number": 256})
        await anyio.wait_all_tasks_blocked()
        received = [await client.receive() for _ in range(257)]
    assert received == client.messages == [{"number": number} for number in range(257)]


async def test_who_waits_for_room_is_let_go_when_it_closes() -> None:
    adapter, client = connected_pair()
    await adapter.accept_connection()
    for _ in range(256):
        await client.send_audio(AudioData(b"", 16_000))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.send_audio, AudioData(b"", 16_000))
        await anyio.wait_all_tasks_blocked()
        await adapter.close()


async def test_what_was_sent_before_it_closed_still_comes() -> None:
    adapter, client = connected_pair()
    await adapter.accept_connection()
    await adapter.send_json({"last": "words"})
    await adapter.close()
    assert [message async for message in client] == [{"last": "words"}]


async def test_a_client_may_leave_before_it_is_accepted() -> None:
    adapter, client = connected_pair()
    await client.leave()
    await adapter.accept_connection()
    assert adapter.is_connected is False
    assert client.close_code == 1000
