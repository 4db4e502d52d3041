"""A host's side of a conversation as a type checker sees it: checked, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from math import inf

import anyio
from typing_extensions import assert_never, assert_type

from realtime_stts import (
    AdaptiveEndOfTurn,
    AudioData,
    ConversationContext,
    ConversationEngine,
    ConversationState,
    EndOfTurnDetector,
    EngineTimeoutError,
    Event,
    Exchange,
    FinalTranscript,
    Interrupted,
    PartialTranscript,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    ReplyText,
    SentenceSpoken,
    Session,
    SessionEnded,
    SessionLimits,
    SessionStatistics,
    SpeechStarted,
    SpeechStopped,
    StateChanged,
    StreamingSTTEngine,
    StreamingTTSEngine,
    TranscriptionResult,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
    TurnPolicy,
    Uninterruptible,
    UserIdle,
    WebSocketAdapter,
)


async def answer(said: TranscriptionResult, context: ConversationContext) -> AsyncGenerator[str]:
    assert_type(context.history, tuple[Exchange, ...])
    yield f"You said {said.text}. "
    yield Uninterruptible("This call is recorded.")


class Model:
    async def silence(self, text: str, audio: AudioData) -> float:
        return 0.5


def configured(stt: StreamingSTTEngine, tts: StreamingTTSEngine) -> ConversationEngine:
    detector: EndOfTurnDetector = AdaptiveEndOfTurn(0.5)
    detector = Model()
    return ConversationEngine(
        stt=stt,
        tts=tts,
        responder=answer,
        policy=TurnPolicy(end_of_turn=0.5, min_words=2, speculative=True, barge_in=None),
        end_of_turn=detector,
        limits=SessionLimits(transcription=5.0, duration=3600.0, input_gap=None),
        playout_lead=inf,
        partial_interval=None,
    )


async def host(engine: ConversationEngine, microphone: AsyncIterable[AudioData]) -> None:
    async with engine.session(playout_lead=0.05) as session:
        assert_type(session, Session)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.feed, microphone)
            async for event in session:
                told(event)
        await session.begin_turn()
        await session.commit_turn()
        await session.interrupt()
        assert_type(await session.drain(5.0), bool)
        assert_type(session.statistics, SessionStatistics)
        assert_type(session.statistics.dropped_turns, int)
        assert_type(session.history[0].heard, str)


async def served(engine: ConversationEngine, client: WebSocketAdapter) -> None:
    await engine.handle_conversation(client, version=1)


def told(event: Event) -> None:
    """Every event, and no other."""
    match event:
        case SpeechStarted(at, decided) | SpeechStopped(at, decided):
            assert_type(at + decided, float)
        case StateChanged(state):
            assert_type(state, ConversationState)
        case PartialTranscript(turn, text, result) | FinalTranscript(turn, text, result):
            assert_type(turn, int)
            assert_type(result.committed, str)
            assert_type(result.shifted(1.0), TranscriptionResult)
        case ReplyText(turn, text) | SentenceSpoken(turn, text):
            assert_type(text, str)
        case ReplyAudio(turn, audio):
            assert_type(audio, AudioData)
        case ReplyPaused(turn, at, played) | ReplyResumed(turn, at, played):
            assert_type(played, float)
        case Interrupted(turn, at, heard):
            assert_type(heard, str)
        case UserIdle(since, at):
            assert_type(since, float)
        case TurnEnded(metrics=metrics, outcome=outcome):
            assert_type(metrics, TurnMetrics)
            assert_type(metrics.time_to_first_audio, float | None)
            if outcome == "interrupted":
                assert_type(metrics.interruptions, int)
        case TurnFailed(error=EngineTimeoutError(seconds=seconds)):
            assert_type(seconds, float)
        case TurnFailed(error=error):
            assert_type(error, Exception)
        case SessionEnded(reason):
            assert reason in ("input ended", "closed", "duration limit", "no audio came")
        case _:
            assert_never(event)
