"""Discord, Wyoming, notebooks and servers of others, as a type checker sees them; never run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import discord
from matplotlib.axes import Axes
from pydantic import Field
from typing_extensions import assert_type

from realtime_stts import AudioData, ConversationContext, ConversationEngine, Event
from realtime_stts.engines.http import HttpSTTEngine, HttpTTSEngine
from realtime_stts.integrations.discord import (
    CallEnded,
    CallEvent,
    Receiver,
    ReceiveSupport,
    RoomStream,
    SpeakerStream,
    SpeechSource,
    VoiceBridge,
    VoiceCall,
    receive_support,
    start_receiving,
)
from realtime_stts.integrations.notebook import (
    Picture,
    latencies,
    play,
    spectrogram,
    timeline,
    waveform,
)
from realtime_stts.integrations.openai import ChatResponseGenerator
from realtime_stts.integrations.wyoming import WyomingLimits, WyomingServer, serve_wyoming
from realtime_stts.middleware import Chain
from realtime_stts.protocols import (
    ManagedSTTEngine,
    ManagedTTSEngine,
    StreamingResponseGenerator,
    StreamingTTSEngine,
    STTEngine,
    TTSEngine,
)
from realtime_stts.testing import Call, Caller, run_on_virtual_time


async def in_discord(engine: ConversationEngine, client: discord.VoiceClient) -> None:
    source: discord.AudioSource = SpeechSource(max_buffered=5.0)
    support = assert_type(receive_support(client), ReceiveSupport)
    assert_type(support.available, bool)
    async with VoiceCall(engine, client, sessions="room") as call:
        receiver = assert_type(start_receiving(client, call.bridge), Receiver)
        call.allow(17)
        assert_type(await call.say("hello"), bool)
        async for heard in call:
            assert_type(heard, CallEvent)
            assert_type(heard.event, Event | CallEnded)
        receiver.close()
    bridge = VoiceBridge(max_waiting=1.0)
    assert_type(bridge.speaker(17), SpeakerStream)
    assert_type(bridge.room(), RoomStream)
    async for sound in bridge.speaker(17):
        assert_type(sound, AudioData)
    del source


async def at_home(stt: STTEngine, tts: TTSEngine) -> None:
    async with WyomingServer(stt=stt, limits=WyomingLimits(max_connections=2)) as server:
        assert_type(server.offers, list[str])
        await server.serve()
    await serve_wyoming(stt=stt, tts=tts, uri="unix:///run/voice.sock")


async def pictures(audio: AudioData, call: Call, axes: Axes) -> None:
    assert_type(waveform(audio), Picture)
    assert_type(waveform(audio, ax=axes), Axes)
    assert_type(spectrogram(audio), Picture)
    assert_type(timeline(call), Picture)
    assert_type(latencies({"plain": [0.1, 0.2]}), Picture)
    play(audio)


async def simulated(engine: ConversationEngine) -> None:
    assert_type(await run_on_virtual_time(Caller(engine).says("hello").run), Call)


async def weather(
    city: Annotated[str, Field(description="Its name")], context: ConversationContext
) -> str:
    return f"It rains in {city}."


async def elsewhere() -> None:
    responder: StreamingResponseGenerator = ChatResponseGenerator(
        "llama3.2", base_url="http://localhost:11434/v1", tools=[weather], temperature=0.2
    )
    stt: ManagedSTTEngine | HttpSTTEngine = HttpSTTEngine("whisper-1", upload="flac")
    tts: ManagedTTSEngine = HttpTTSEngine("tts-1", voice="alloy")
    robust: StreamingTTSEngine = Chain().wrap(HttpTTSEngine("tts-1"))
    upload: Literal["wav", "flac"] = "wav"
    options: dict[str, Any] = {"upload": upload}
    del responder, stt, tts, robust, options
