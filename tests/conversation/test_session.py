"""A whole conversation on virtual time: scripted engines, real audio, no waiting."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_stts import (
    AudioData,
    AudioFormatError,
    ConversationContext,
    ConversationEngine,
    ConversationState,
    EngineError,
    Event,
    Exchange,
    FinalTranscript,
    OverloadedError,
    PartialTranscript,
    ReplyAudio,
    ReplyText,
    SentenceSpoken,
    Session,
    SessionClosedError,
    SessionEnded,
    SpeechStarted,
    SpeechStopped,
    StateChanged,
    TranscriptionResult,
    TurnEnded,
    TurnFailed,
    TurnPolicy,
)
from realtime_stts.testing import (
    Failure,
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    chunked,
    no_leaks,
    speech,
    virtual_time,
)

pytestmark = pytest.mark.anyio

ONE_TURN = [(1.0, 2.0)]


def conversation(
    said: Sequence[Any] = ("hello there",),
    answers: Sequence[Any] = ("Hello. How are you?",),
    *,
    spans: Sequence[tuple[float, float]] = ONE_TURN,
    tts: ScriptedTTSEngine | None = None,
    **options: Any,
) -> ConversationEngine:
    return ConversationEngine(
        stt=options.pop("stt", None) or ScriptedSTTEngine(said, latency=0.2),
        tts=tts or ScriptedTTSEngine(),
        responder=options.pop("responder", None) or ScriptedResponseGenerator(answers),
        pause_detector=ScriptedPauseDetector(spans, delay=0.1),
        **options,
    )


async def line(seconds: float, packet: float = 0.02) -> AsyncGenerator[AudioData]:
    """A telephone line: packets of sound, each when its time has come."""
    began = anyio.current_time()
    heard = 0.0
    async with aclosing(chunked(speech(seconds), packet)) as chunks:
        async for chunk in chunks:
            heard += chunk.duration_seconds
            await anyio.sleep_until(began + heard)
            yield chunk


async def talk(session: Session, seconds: float, packet: float = 0.02) -> list[Event]:
    """Everything that happens while ``seconds`` of sound are heard, and after them."""
    events: list[Event] = []
    async with session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.feed, line(seconds, packet))
        events.extend([event async for event in session])
    return events


def of(kind: type, events: Sequence[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


async def test_a_turn_from_the_first_sound_to_the_last() -> None:
    async with no_leaks():
        events = await talk(conversation().session(), 8.0)
    spoken = [event for event in events if not isinstance(event, ReplyAudio | PartialTranscript)]
    result = of(FinalTranscript, events)[0].result
    assert spoken == [
        SpeechStarted(1.0, 1.1),
        SpeechStopped(2.0, 2.1),
        StateChanged(ConversationState.PROCESSING),
        FinalTranscript(1, "hello there", result),
        ReplyText(1, "Hello."),
        ReplyText(1, "How are you?"),
        StateChanged(ConversationState.SPEAKING),
        SentenceSpoken(1, "Hello."),
        SentenceSpoken(1, "How are you?"),
        of(TurnEnded, events)[0],
        StateChanged(ConversationState.LISTENING),
        SessionEnded("input ended"),
    ]
    ended = of(TurnEnded, events)[0]
    assert (ended.transcript, ended.reply) == ("hello there", "Hello. How are you?")
    assert (ended.heard, ended.outcome) == (ended.reply, "answered")


async def test_the_metrics_say_where_the_time_went() -> None:
    [ended] = of(TurnEnded, await talk(conversation().session(), 8.0))
    metrics = ended.metrics
    assert metrics.end_of_turn_delay == pytest.approx(0.6, abs=0.021)  # a packet's length
    assert metrics.transcription_delay == pytest.approx(0.2)
    assert metrics.time_to_first_text == pytest.approx(0.1 + 0.02)  # "How" ends "Hello."
    assert metrics.tts_time_to_first_byte == pytest.approx(0.11)
    assert metrics.time_to_first_audio == pytest.approx(
        metrics.end_of_turn_delay + 0.2 + 0.12 + 0.11
    )
    assert metrics.audio_duration == pytest.approx(18 * 0.06)


async def test_a_sentence_is_spoken_while_the_next_is_still_written() -> None:
    responder = ScriptedResponseGenerator(["One. Two. Three."], token_latency=1.0)
    events = await talk(conversation(responder=responder).session(), 5.0)
    kinds = [
        (type(event).__name__, event.text)
        for event in events
        if isinstance(event, ReplyText | SentenceSpoken)
    ]
    assert kinds.index(("SentenceSpoken", "One.")) < kinds.index(("ReplyText", "Two."))


async def test_transcription_goes_on_while_the_user_speaks() -> None:
    events = await talk(conversation(["one two three"]).session(), 8.0)
    partial = [event.text for event in of(PartialTranscript, events)]
    assert partial == ["one", "one two", "one two three"]
    first = events.index(of(PartialTranscript, events)[0])
    assert first < events.index(of(SpeechStopped, events)[0])


async def test_the_whole_utterance_reaches_the_recogniser_with_its_pre_roll() -> None:
    stt = ScriptedSTTEngine(["hello"])
    policy = TurnPolicy(end_of_turn=0.5, pre_roll=0.25)
    await talk(conversation(stt=stt, policy=policy).session(), 5.0)
    # 0.25 s before the onset at 1.0, up to 2.1, when the silence after 2.0 was certain.
    assert [call.heard for call in stt.calls] == [pytest.approx(1.35)]


async def test_a_pause_within_a_turn_belongs_to_it() -> None:
    stt = ScriptedSTTEngine(["hello"])
    spans = [(1.0, 2.0), (2.4, 3.0)]
    await talk(conversation(stt=stt, spans=spans).session(), 6.0)
    assert [call.heard for call in stt.calls] == [pytest.approx(0.3 + 2.1)]


class OneShot:
    """An engine written for the contract, before there was streaming."""

    def __init__(self, result: TranscriptionResult | None) -> None:
        self.result = result
        self.clips: list[AudioData] = []
        self.model_loaded = True

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        self.clips.append(audio)
        return self.result

    async def is_available(self) -> bool:
        return True


async def test_a_one_shot_engine_gets_the_utterance_whole() -> None:
    stt = OneShot(TranscriptionResult("hi", "en", []))
    events = await talk(conversation(stt=stt).session(), 5.0)
    expected = speech(5.0).resampled(16_000).sliced(0.7, 2.1)
    *_, clip = stt.clips  # those before were of what had been said so far
    assert clip.duration_seconds == pytest.approx(expected.duration_seconds)
    assert abs(clip.samples - expected.samples).max() < 0.02
    assert [event.transcript for event in of(TurnEnded, events)] == ["hi"]


async def test_none_from_a_contract_engine_is_a_failed_turn() -> None:
    [failed] = of(TurnFailed, await talk(conversation(stt=OneShot(None)).session(), 5.0))
    assert isinstance(failed.error, EngineError)


async def test_silence_has_no_turns() -> None:
    assert await talk(conversation(spans=[]).session(), 3.0) == [SessionEnded("input ended")]


async def test_a_turn_without_words_is_not_answered() -> None:
    events = await talk(conversation([""]).session(), 5.0)
    [ended] = of(TurnEnded, events)
    assert (ended.transcript, ended.reply) == ("", "")
    assert of(ReplyText, events) == []


async def test_speech_cut_short_by_the_end_of_the_input_is_answered() -> None:
    [ended] = of(TurnEnded, await talk(conversation().session(), 1.5))
    assert ended.transcript == "hello there"


async def test_what_is_said_during_an_answer_gets_its_own_afterwards() -> None:
    """Nothing that was said is lost, and no two answers sound at once."""
    engine = conversation(
        ["one", "two"],
        ["A long answer, and longer.", "Another."],
        spans=[(1.0, 2.0), (2.8, 3.5)],
        tts=ScriptedTTSEngine(real_time_factor=1.0),
    )
    events = await talk(engine.session(), 6.0)
    assert [event.transcript for event in of(TurnEnded, events)] == ["one", "two"]
    sounds = [event.turn for event in of(ReplyAudio, events)]
    assert sounds == sorted(sounds)


async def test_an_engine_that_fails_ends_the_turn_and_not_the_session() -> None:
    engine = conversation(
        [EngineError("ears", "broke"), "two"], spans=[(1.0, 2.0), (4.0, 5.0)], answers=["Good."]
    )
    events = await talk(engine.session(), 8.0)
    [failed] = of(TurnFailed, events)
    assert (failed.turn, str(failed.error)) == (1, "ears: broke")
    assert [event.turn for event in of(TurnEnded, events)] == [2]
    states = [event.state for event in of(StateChanged, events)]
    assert states[:1] == [ConversationState.ERROR]
    assert states[-1] is ConversationState.LISTENING


@pytest.mark.parametrize(
    ("answers", "failures", "heard"),
    [
        ([Failure(OSError("no model"), after=3, text="One. Two. Three. Four.")], [], "One. Two."),
        (["One. Two."], [None, OSError("no voice")], "One."),
    ],
    ids=["responder", "voice"],
)
async def test_the_history_is_what_was_heard_also_when_something_breaks(
    answers: list[Any], failures: list[Exception | None], heard: str
) -> None:
    async def slow(
        result: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        script = ScriptedResponseGenerator(answers)
        async with aclosing(script.stream_response(result, context)) as pieces:
            async for piece in pieces:
                await anyio.sleep(1.0)
                yield piece

    session = conversation(responder=slow, tts=ScriptedTTSEngine(failures=failures)).session()
    events = await talk(session, 5.0)
    [failed] = of(TurnFailed, events)
    assert isinstance(failed.error, OSError)
    [exchange] = session.history
    assert (exchange.user, exchange.heard) == ("hello there", heard)


async def test_the_responder_sees_the_exchanges_before() -> None:
    seen: list[tuple[Exchange, ...]] = []

    async def answer(result: TranscriptionResult, context: ConversationContext) -> str:
        seen.append(context.history)
        return f"Answer to {result.text}."

    engine = conversation(["one", "two"], spans=[(1.0, 2.0), (4.0, 5.0)], responder=answer)
    session = engine.session()
    await talk(session, 8.0)
    first = Exchange(1, "one", "Answer to one.", "Answer to one.")
    assert seen == [(), (first,)]
    assert session.history[0] == first
    session.clear_history()
    assert session.history == ()


async def test_another_responder_may_take_over() -> None:
    engine = conversation(["one", "two"], ["First."], spans=[(1.0, 2.0), (5.0, 6.0)])
    session = engine.session()
    replies = []
    async with session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.feed, line(8.0))
        async for event in session:
            if isinstance(event, TurnEnded):
                replies.append(event.reply)
                session.answer_with(ScriptedResponseGenerator(["Second."]))
    assert replies == ["First.", "Second."]


async def test_an_endless_answer_does_not_gather_turns_without_bound() -> None:
    async def endless(result: TranscriptionResult, context: ConversationContext) -> str:
        await anyio.sleep(25.0 if result.text == "t0" else 0.0)
        return ""

    spans = [(i * 2.0 + 1.0, i * 2.0 + 1.5) for i in range(5)]
    engine = conversation(
        [f"t{i}" for i in range(5)],
        spans=spans,
        responder=endless,
        policy=TurnPolicy(max_waiting=2, barge_in=None),
    )
    events = await talk(engine.session(), 12.0)
    assert [event.turn for event in of(TurnFailed, events)] == [2, 3]
    assert all(isinstance(event.error, OverloadedError) for event in of(TurnFailed, events))
    assert [event.turn for event in of(TurnEnded, events)] == [1, 4, 5]


async def test_a_detector_of_the_contract_is_dated_by_the_clock() -> None:
    class Untimed(ScriptedPauseDetector):
        async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
            detection = await super().process_chunk(audio)
            del detection["speech_events"]
            return {**detection, "silence_duration_ms": 300}

    engine = conversation()
    engine.configure_pause_detection(lambda: Untimed(ONE_TURN, delay=0.1))
    events = await talk(engine.session(), 5.0, packet=0.1)
    [started], [stopped] = of(SpeechStarted, events), of(SpeechStopped, events)
    assert (started.at, started.decided) == (pytest.approx(1.0), pytest.approx(1.1))
    assert (stopped.at, stopped.decided) == (pytest.approx(1.8), pytest.approx(2.1))


async def test_an_engine_without_a_final_result_is_a_failed_turn() -> None:
    class Endless(ScriptedSTTEngine):
        async def stream(self, audio: Any, language: str | None = None) -> Any:
            async for _ in audio:
                pass
            yield TranscriptionResult("hel", "en", [], partial=True)

    [failed] = of(TurnFailed, await talk(conversation(stt=Endless([])).session(), 5.0))
    assert "without a final result" in str(failed.error)


async def test_the_host_hears_the_cause_and_not_the_group_around_it() -> None:
    async def grouped(result: TranscriptionResult, context: ConversationContext) -> str:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_fail)
        return ""

    async def _fail() -> None:
        raise KeyError("it")

    [failed] = of(TurnFailed, await talk(conversation(responder=grouped).session(), 5.0))
    assert isinstance(failed.error, KeyError)


async def test_a_turns_calls_carry_its_request_id() -> None:
    from realtime_stts._request import current_request_id

    ids = []

    async def answer(result: TranscriptionResult, context: ConversationContext) -> str:
        ids.append((current_request_id(), context.metadata["request_id"]))
        return ""

    session = conversation(responder=answer).session()
    await talk(session, 5.0)
    assert ids == [(f"{session.id}-1", f"{session.id}-1")]


async def test_pushing_after_the_end_is_the_callers_fault() -> None:
    session = conversation().session()
    with pytest.raises(SessionClosedError):
        await session.push(speech(0.1))
    async with session:
        await session.end_input()
        await session.end_input()
        with pytest.raises(SessionClosedError):
            await session.push(speech(0.1))


async def test_a_chunk_that_is_not_the_same_kind_of_audio_is_refused_and_not_heard() -> None:
    async with conversation().session() as session:
        await session.push(speech(0.5))
        before = session.clock
        with pytest.raises(AudioFormatError, match="went on with 8000 Hz"):
            await session.push(AudioData.silence(0.5, 8_000))
        assert session.clock == before


async def test_two_tasks_cannot_push_at_once() -> None:
    async with conversation().session() as session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.push, speech(0.1))
        await anyio.wait_all_tasks_blocked()
        session._pushing.__enter__()
        with pytest.raises(anyio.BusyResourceError):
            await session.push(speech(0.1))


async def test_a_host_that_stops_reading_stops_being_heard() -> None:
    """The queue of events is bounded: backpressure reaches whoever pushes."""
    spans = [(i * 0.2 + 0.05, i * 0.2 + 0.1) for i in range(300)]
    async with conversation(["x"] * 400, [""] * 400, spans=spans).session() as session:
        with anyio.move_on_after(600) as scope:
            async with aclosing(chunked(speech(80.0), 0.2)) as chunks:
                async for chunk in chunks:
                    await session.push(chunk)
        assert scope.cancelled_caught
        assert session.clock < 70.0
        n_events = 0
        with anyio.move_on_after(1):
            async for _ in session:
                n_events += 1
                if n_events == 10:
                    break
        assert n_events == 10


async def test_leaving_early_stops_everything() -> None:
    tts = ScriptedTTSEngine(real_time_factor=1.0)
    responder = ScriptedResponseGenerator(["A very long answer indeed. And more."])
    session = conversation(tts=tts, responder=responder).session()
    async with no_leaks(), session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.feed, line(8.0))
        async for event in session:
            if isinstance(event, ReplyAudio):
                break
        tasks.cancel_scope.cancel()
    assert tts.open_streams == responder.open_streams == 0
    assert [event async for event in session if isinstance(event, TurnEnded)] == []


async def test_sessions_share_engines_and_never_state() -> None:
    engine = conversation(["a", "b"], ["To one.", "To other."])
    first, second = engine.session(), engine.session()
    logs: dict[str, list[Event]] = {}

    async def run(session: Session) -> None:
        logs[session.id] = await talk(session, 5.0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, first)
        tasks.start_soon(run, second)
    assert len(first.history) == len(second.history) == 1
    assert {first.history[0].user, second.history[0].user} == {"a", "b"}
    assert all(len(of(TurnEnded, log)) == 1 for log in logs.values())


class Measuring(ScriptedSTTEngine):
    """Hears how long the audio is, so that a result tells which audio it was."""

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        seconds = sum([chunk.duration_seconds async for chunk in audio])
        yield TranscriptionResult(f"{seconds:.2f} s", "en", [])


def _log(backend: str, packets: Sequence[float]) -> list[str]:
    async def main() -> list[str]:
        engine = conversation(
            stt=Measuring([]),
            answers=["Yes. No.", "Well."],
            spans=[(0.5, 1.2), (1.5, 2.0), (3.0, 3.5)],
            policy=TurnPolicy(barge_in=None),  # no time passes: who speaks over whom is chance
        )
        events: list[str] = []
        async with engine.session() as session, anyio.create_task_group() as tasks:

            async def push() -> None:
                at = 0.0
                sound = speech(5.0)
                for packet in packets:
                    await session.push(sound.sliced(at, at + packet))
                    at += packet
                await session.push(sound.sliced(at))
                await session.end_input()

            tasks.start_soon(push)
            async for event in session:
                match event:
                    case SpeechStarted() | SpeechStopped():
                        events.append(repr(event))
                    case TurnEnded(turn, transcript, reply):
                        events.append(f"{turn} {transcript} -> {reply}")
        return events

    name, options = virtual_time(backend)
    return anyio.run(main, backend=name, backend_options=options)


@given(st.lists(st.floats(0.001, 2.0), max_size=12), st.sampled_from(["asyncio", "trio"]))
@settings(max_examples=25, deadline=None)
def test_any_slicing_on_either_backend_is_the_same_conversation(
    packets: list[float], backend: str
) -> None:
    assert _speech_of(_log(backend, packets)) == _speech_of(_log("asyncio", []))


def _speech_of(log: list[str]) -> tuple[list[str], list[str]]:
    """Detection and turns, each in order: answers may overtake detection as time is sliced."""
    heard = [line for line in log if line.startswith("Speech")]
    return heard, [line for line in log if not line.startswith("Speech")]
