"""What a user's tests look like to a type checker. Never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from realtime_stts import (
    AudioData,
    ConversationEngine,
    EngineError,
    Event,
    Exchange,
    Interrupted,
    StreamingResponseGenerator,
    StreamingSTTEngine,
    StreamingTTSEngine,
    TurnMetrics,
    WebSocketAdapter,
)
from realtime_stts.middleware import Chain, Middleware, TimingMiddleware
from realtime_stts.protocols import ResponseGenerator, STTEngine, TTSEngine
from realtime_stts.testing import (
    Call,
    Caller,
    CallTurn,
    Cassette,
    CassetteMismatch,
    Failure,
    Fault,
    FaultyCall,
    FaultyResponseGenerator,
    FaultySTTEngine,
    FaultyTTSEngine,
    Hang,
    MemoryWebSocketAdapter,
    MemoryWebSocketClient,
    MiddlewareSuite,
    RecordingMiddleware,
    ScriptedTTSEngine,
    ToneSTTEngine,
    WebSocketAdapterSuite,
    WebSocketClient,
    assert_within,
    connected_pair,
    speak_tones,
    tone_spelling,
    tone_text,
)


async def call(engine: ConversationEngine, voice: TTSEngine) -> None:
    caller: Caller = Caller(engine, voice=voice, voice_config={"rate": 150}, packet=0.01)
    talk: Call = await (
        caller.says("what is the weather")
        .waits(3)
        .mumbles(0.5, after=0.5)
        .coughs()
        .interrupts("never mind", after=1.0)
        .hangs_up()
        .run()
    )
    events: tuple[tuple[float, Event], ...] = talk.events
    history: tuple[Exchange, ...] = talk.history
    turns: tuple[CallTurn, ...] = talk.turns
    metrics: TurnMetrics | None = turns[0].metrics
    sides: list[AudioData] = [talk.caller, talk.bot]
    interruptions: list[Interrupted] = talk.of(Interrupted)
    log: list[str] = talk.log()
    assert_within(turns[0].time_to_first_audio, seconds=0.8)
    assert_within(talk.when(Interrupted), seconds=4.0)
    del events, history, metrics, sides, interruptions, log


def tones() -> str:
    audio: AudioData = speak_tones("hello", 16_000, seconds_per_character=0.05, voice=1)
    return tone_spelling(tone_text(audio, seconds_per_character=0.05))


async def record(path: Path) -> None:
    cassette = Cassette()
    stt: ToneSTTEngine = cassette.recording(ToneSTTEngine(latency=0.1, partial_every=None))
    Chain(RecordingMiddleware(cassette)).wrap(ScriptedTTSEngine())
    await stt.transcribe(speak_tones("hello"))
    saved: Path = cassette.save(path)
    loaded: Cassette = Cassette.load(saved)
    parts: tuple[STTEngine, TTSEngine, ResponseGenerator] = (
        loaded.stt(),
        loaded.tts(),
        loaded.responder(),
    )
    ConversationEngine(stt=parts[0], tts=parts[1], responder=parts[2])
    failure: type[AssertionError] = CassetteMismatch
    del failure


class MySuite(WebSocketAdapterSuite):
    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[tuple[WebSocketAdapter, WebSocketClient]]:
        adapter: MemoryWebSocketAdapter
        client: MemoryWebSocketClient
        adapter, client = connected_pair()
        yield adapter, client


async def faults() -> None:
    hang: Fault = Hang(after=1)
    stt = FaultySTTEngine([hang, Failure(EngineError("x", "broken"), after=2), None])
    tts, responder = FaultyTTSEngine(), FaultyResponseGenerator()
    engines: tuple[StreamingSTTEngine, StreamingTTSEngine, StreamingResponseGenerator] = (
        stt,
        tts,
        responder,
    )
    calls: list[FaultyCall] = stt.calls
    del engines, calls


class MyMiddlewareSuite(MiddlewareSuite):
    def middleware(self) -> Middleware:
        return TimingMiddleware()
