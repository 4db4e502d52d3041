"""A Wyoming client at the other end of a pipe, on any clock."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from typing import Any

import anyio
from anyio.streams.stapled import StapledObjectStream
from wyoming.audio import AudioChunk
from wyoming.event import Event, Eventable, read_event

from realtime_stts.audio import AudioData
from realtime_stts.integrations._wyoming._connection import Connection
from realtime_stts.integrations._wyoming._framing import encoded
from realtime_stts.integrations._wyoming._offer import Offer, WyomingLimits


class Peer:
    """What the client has at its end."""

    def __init__(self, stream: Any, connection: Connection) -> None:
        self._stream = stream
        self.connection = connection
        self.ended = anyio.Event()  # once the server is done with the connection

    async def send(self, *events: Event | Eventable | bytes) -> None:
        for event in events:
            await self._stream.send(event if isinstance(event, bytes) else encoded(event))

    async def next(self) -> Event:
        event = read_event(BytesIO(await self._stream.receive()))
        assert event is not None
        return event

    async def until(self, kind: str) -> list[Event]:
        """The events up to the next one of a type."""
        events = [await self.next()]
        while events[-1].type != kind:
            events.append(await self.next())
        return events

    async def rest(self) -> list[Event]:
        """All events until the server ends the connection."""
        events: list[Event] = []
        with suppress(anyio.EndOfStream):
            while True:
                events.append(await self.next())
        return events

    async def leave(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def peer(
    stt: Any = None,
    tts: Any = None,
    detector: Any = None,
    limits: WyomingLimits | None = None,
    unread: float = 1000,
) -> AsyncGenerator[Peer]:
    """A client of these engines.

    Args:
        unread: How many events the server can send before the client takes one.
    """
    offer = Offer(stt, tts, detector, ["en"])
    await offer.refresh()
    to_server, from_client = anyio.create_memory_object_stream[bytes](1000)
    to_client, from_server = anyio.create_memory_object_stream[bytes](unread)
    at_server: Any = StapledObjectStream(to_client, from_client)
    connection = Connection(at_server, offer, limits or WyomingLimits())
    client = Peer(StapledObjectStream(to_server, from_server), connection)

    async def serve() -> None:
        async with at_server:
            await connection.serve()
        client.ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        try:
            yield client
        finally:
            await client.leave()
        with anyio.fail_after(100):
            await client.ended.wait()


def chunks(clip: AudioData, seconds: float = 0.1) -> list[AudioChunk]:
    """A clip, as a client sends it."""
    width = {"pcm": 2, "pcm_u8": 1, "pcm_s24le": 3, "pcm_s32le": 4}[clip.format]
    step = round(seconds * clip.sample_rate) * width * clip.channels
    return [
        AudioChunk(clip.sample_rate, width, clip.channels, clip.data[n : n + step])
        for n in range(0, len(clip.data), step)
    ]


def kinds(events: list[Event]) -> list[str]:
    return [event.type for event in events]


def sound(events: list[Event]) -> AudioData:
    """The sound of an answer."""
    found = [AudioChunk.from_event(each) for each in events if AudioChunk.is_type(each.type)]
    assert {(each.width, each.channels) for each in found} == {(2, 1)}
    return AudioData(b"".join(each.audio for each in found), found[0].rate)
