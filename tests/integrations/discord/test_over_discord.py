"""The real discord.py against a local Discord: sockets, threads, keys and Opus are real.

Where discord-ext-voice-recv is installed it receives; elsewhere a stand-in for it does, which
takes the same packets from the same socket.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

pytest.importorskip("realtime_stts.integrations.discord", exc_type=ImportError)
pytest.importorskip("cryptography")

import discord

from realtime_stts import AudioData, ConversationEngine
from realtime_stts.conversation import FinalTranscript, TurnEnded
from realtime_stts.engines import load_pause_detector
from realtime_stts.integrations.discord import (
    CallEnded,
    CallEvent,
    VoiceBridge,
    VoiceCall,
    receive_support,
    start_receiving,
)
from realtime_stts.protocols import ConversationContext, TranscriptionResult
from realtime_stts.testing import ScriptedTTSEngine, ToneSTTEngine, speak_tones, tone_text
from tests.fake_discord import ANNA, BEN, BOT, CARLA, FakeDiscord, Guild, ears, until

from .dave import sessions
from .people import frames, stereo

Call = tuple[FakeDiscord, Guild, Any, VoiceCall, list[CallEvent]]


@contextmanager
def extension() -> Iterator[type[discord.VoiceClient]]:
    """The client that receives."""
    name = "discord.ext.voice_recv"
    try:
        importlib.import_module(name)
    except ImportError:
        with ears():
            yield importlib.import_module(name).VoiceRecvClient
    else:
        yield importlib.import_module(name).VoiceRecvClient


async def answer(said: TranscriptionResult, context: ConversationContext) -> AsyncIterator[str]:
    yield f"you said {said.text}"


def engine() -> ConversationEngine:
    return ConversationEngine(
        stt=ToneSTTEngine(latency=0.0),
        tts=ScriptedTTSEngine(latency=0.0, chunk=10.0),
        responder=answer,
        pause_detector=load_pause_detector("energy"),
    )


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[FakeDiscord, Guild, Any]]:
    with extension() as client_class:
        async with FakeDiscord() as fake:
            guild = fake.add_guild("home", [ANNA, BEN, CARLA], voice=[ANNA, BEN, CARLA])
            async with fake.client() as client:
                running = asyncio.create_task(client.start(fake.token))
                await client.wait_until_ready()
                channel: Any = client.get_channel(guild.voice_channel)
                voice = await channel.connect(timeout=10, cls=client_class)
                yield fake, guild, voice
                if voice.is_connected():
                    await voice.disconnect()
            await asyncio.wait([running])


@asynccontextmanager
async def calling() -> AsyncGenerator[Call]:
    """A call whose patience and lead are more than a busy machine is late by."""
    async with connected() as (fake, guild, voice):
        noted: list[CallEvent] = []
        bridge = VoiceBridge(patience=0.5)
        async with VoiceCall(engine(), voice, bridge=bridge, playout_lead=2.0) as call:

            async def note() -> None:
                async for event in call:
                    noted.append(event)  # noqa: PERF401 - it is looked at meanwhile

            noting = asyncio.create_task(note())
            yield fake, guild, voice, call, noted
        await noting


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it, and see that no thread is left, but one of discord.py that waits for a packet on
    a closed socket for up to 30 s, and one of the extension that sleeps for longer."""
    before = {*threading.enumerate()}
    asyncio.run(test())
    for thread in {*threading.enumerate()} - before:
        if not thread.name.startswith(("voice-socket-reader", "voice-udp-keepalive")):
            thread.join(10)
            assert not thread.is_alive(), thread


def spoken(text: str, voice: int = 0) -> AudioData:
    """After a moment of silence: it may come before the news of whose packets these are."""
    words = speak_tones(text, 48_000, voice=voice)
    return AudioData.concat([AudioData.silence(0.4, 48_000), words])


def told(noted: list[CallEvent], kind: type, user: int) -> list[Any]:
    return [one.event for one in noted if one.user_id == user and isinstance(one.event, kind)]


def played(fake: FakeDiscord, guild: Guild) -> str:
    return tone_text(AudioData(fake.voice(guild).pcm(), 48_000, 2).mono())


def test_two_people_speak_at_once_and_each_is_answered() -> None:
    async def main() -> None:
        async with calling() as (fake, guild, voice, call, noted):
            assert receive_support(voice)
            assert await call.say("hello")
            receiver = start_receiving(voice, call.bridge)
            assert receiver.is_receiving
            call.allow(ANNA.id)
            call.allow(BEN.id)
            said = {ANNA: "one two three", BEN: "red green", CARLA: "not a word of this"}
            await asyncio.gather(
                *(
                    fake.voice(guild).speak(user, stereo(spoken(text, i)))
                    for i, (user, text) in enumerate(said.items())
                )
            )
            await until(lambda: told(noted, TurnEnded, ANNA.id) and told(noted, TurnEnded, BEN.id))
            for user in (ANNA, BEN):
                finals = told(noted, FinalTranscript, user.id)
                assert [final.text for final in finals] == [said[user]]
                assert told(noted, TurnEnded, user.id)[0].heard == f"you said {said[user]}"
            assert {one.user_id for one in noted} == {ANNA.id, BEN.id}
            assert call.bridge.refused > 0
            assert (receiver.undecoded, receiver.undecrypted) == (0, 0)
            receiver.close()
            receiver.close()
            assert not receiver.is_receiving
            await until(lambda: call.source.is_idle)
            server = fake.voice(guild)
            n_packets = len(server.packets)
            await until(lambda: len(server.packets) > n_packets + 5)  # of silence
            assert played(fake, guild) in (
                "hello you said one two three you said red green",
                "hello you said red green you said one two three",
            )
        assert noted[-1] == CallEvent(None, CallEnded("closed"))

    run(main)


def test_what_is_encrypted_from_end_to_end_is_heard() -> None:
    async def main() -> None:
        async with calling() as (fake, guild, voice, call, noted):
            bot, anna = sessions(BOT.id, ANNA.id)
            connection = voice._connection
            connection.dave_session, connection.dave_protocol_version = bot, 1
            assert receive_support(voice)
            receiver = start_receiving(voice, call.bridge)
            call.allow(ANNA.id)
            server = fake.voice(guild)
            await until(lambda: server.packets)
            await server.announce(ANNA)
            encoder: Any = discord.opus.Encoder()
            garbled = b"nobody has the key of this" + b"\xfa\xfa"
            for frame in frames(spoken("good morning")):
                coded = encoder.encode(frame, 960)
                encrypted = anna.encrypt_opus(coded)
                assert coded not in encrypted
                server.say(ANNA, encrypted)
                await asyncio.sleep(0.02)
            server.say(ANNA, garbled)
            server.say(ANNA, b"\xf8\xff\xfe")  # a packet of silence, which is not encrypted
            server.say(ANNA, b"\xf8\xff\xfe")
            await until(lambda: told(noted, TurnEnded, ANNA.id))
            finals = told(noted, FinalTranscript, ANNA.id)
            assert [final.text for final in finals] == ["good morning"]
            assert (receiver.undecrypted, receiver.undecoded) == (1, 0)
            receiver.close()

    run(main)


def test_a_bot_that_is_kicked_ends_its_call() -> None:
    async def main() -> None:
        async with calling() as (fake, guild, voice, call, noted):
            start_receiving(voice, call.bridge)
            saying = asyncio.create_task(call.say("this is heard by nobody to its end " * 20))
            await until(lambda: call.source.played > 0.2)
            await fake.kick(guild)
            await until(lambda: noted)
            assert noted == [CallEvent(None, CallEnded("disconnected"))]
            await asyncio.wait([saying])
            assert type(saying.exception()).__name__ == "SessionClosedError"

    run(main)


def test_a_connection_that_is_lost_comes_back_and_the_call_goes_on() -> None:
    async def main() -> None:
        async with calling() as (fake, guild, voice, call, noted):
            receiver = start_receiving(voice, call.bridge)
            call.allow(ANNA.id)
            assert await call.say("before")
            first = fake.voice(guild)
            await first.close(4006)  # the session is not valid any more: discord.py makes another
            await until(lambda: fake.voice(guild) is not first and voice.is_connected(), seconds=30)
            assert await call.say("after")
            server = fake.voice(guild)
            n_packets = len(server.packets)
            await until(lambda: len(server.packets) > n_packets)
            await server.speak(ANNA, stereo(spoken("still there")))
            await until(lambda: told(noted, TurnEnded, ANNA.id))
            assert told(noted, TurnEnded, ANNA.id)[0].heard == "you said still there"
            assert receiver.is_receiving
            receiver.close()

    run(main)
