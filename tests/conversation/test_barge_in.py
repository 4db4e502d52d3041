"""Two who speak at the same time: real sound both ways, on virtual time.

The caller and the bot speak in tones that `ToneSTTEngine` understands, so what reached the
loudspeaker can be read from its sound, and compared with what the session says was heard.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import anyio
import numpy as np
import pytest

from realtime_stts import (
    AudioData,
    ConversationContext,
    ConversationEngine,
    ConversationState,
    EngineError,
    EngineTimeoutError,
    Event,
    Exchange,
    FinalTranscript,
    Interrupted,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    ReplyText,
    SessionEnded,
    SessionLimits,
    SpeechStarted,
    StateChanged,
    TranscriptionResult,
    TurnEnded,
    TurnFailed,
    TurnPolicy,
    Uninterruptible,
    UserIdle,
)
from realtime_stts.engines import load_pause_detector
from realtime_stts.testing import (
    Failure,
    ScriptedTTSEngine,
    ToneSTTEngine,
    no_leaks,
    speak_tones,
    speech,
    tone_text,
    virtual_time,
)

pytestmark = pytest.mark.anyio

RATE = 16_000
STORY = "Once upon a time there was a king who had three sons. They lived in a castle by the sea."


@dataclass
class Talk:
    """What a host saw and its loudspeaker played."""

    events: list[tuple[float, Event]] = field(default_factory=list)
    played: list[tuple[float, AudioData]] = field(default_factory=list)
    history: Sequence[Exchange] = ()

    def of(self, kind: type) -> list[Any]:
        return [event for _, event in self.events if isinstance(event, kind)]

    def when(self, kind: type) -> float:
        return next(t for t, event in self.events if isinstance(event, kind))

    def log(self) -> list[str]:
        """All that happened but the sound; what two tasks do at one instant, in one order."""
        lines = [
            (f"{t:.3f}", repr(event))
            for t, event in self.events
            if not isinstance(event, ReplyAudio | TurnFailed)
        ]
        return [
            f"{t} {event}" for t, event in sorted(lines, key=lambda line: (float(line[0]), line[1]))
        ]

    def play(self, t: float, event: Event) -> None:
        match event:
            case ReplyAudio(audio=audio):
                end = 0.0
                if self.played:
                    start, last = self.played[-1]
                    end = start + last.duration_seconds
                self.played.append((max(t, end), audio))
            case ReplyPaused() | Interrupted():
                kept = [(start, audio.sliced(0.0, t - start)) for start, audio in self.played]
                self.played = [(start, audio) for start, audio in kept if audio.data]

    @property
    def heard(self) -> str:
        """What the loudspeaker said, as somebody who knows the language hears it."""
        if not self.played:
            return ""
        rate = self.played[0][1].sample_rate
        end = max(start + audio.duration_seconds for start, audio in self.played)
        channel = np.zeros(ceil(end * rate) + 1, np.float32)
        for start, audio in self.played:
            first = round(start * rate)
            channel[first : first + audio.n_frames] = audio.samples[:, 0]
        return tone_text(AudioData.from_samples(channel, rate))


def line(*spoken: tuple[float, str | AudioData], seconds: float) -> AudioData:
    """A telephone line on which a caller says things at those times."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    for at, what in spoken:
        sound = what if isinstance(what, AudioData) else speak_tones(what, sample_rate=RATE)
        first = round(at * RATE)
        samples[first : first + sound.n_frames] += sound.samples[:, 0]
    return AudioData.from_samples(samples, RATE)


async def packets(audio: AudioData, packet: float = 0.02) -> AsyncGenerator[AudioData]:
    began = anyio.current_time()
    n = ceil(audio.duration_seconds / packet - 1e-9)
    for i in range(n):
        await anyio.sleep_until(began + (i + 1) * packet)
        yield audio.sliced(i * packet, (i + 1) * packet)


async def story(result: TranscriptionResult, context: ConversationContext) -> AsyncGenerator[str]:
    yield STORY if "story" in result.text else f"You said {result.text}."


def engine(**options: Any) -> ConversationEngine:
    return ConversationEngine(
        **{
            "stt": ToneSTTEngine(),
            "tts": ScriptedTTSEngine(),
            "responder": story,
            "pause_detector": load_pause_detector("energy"),
            "policy": TurnPolicy(idle_after=None),
            **options,
        }
    )


async def hold(talking: ConversationEngine, audio: AudioData, packet: float = 0.02) -> Talk:
    talk = Talk()
    async with talking.session() as session, anyio.create_task_group() as tasks:
        began = anyio.current_time()
        tasks.start_soon(session.feed, packets(audio, packet))
        async for event in session:
            t = anyio.current_time() - began
            talk.events.append((t, event))
            talk.play(t, event)
    talk.history = session.history
    return talk


ASK = (0.5, "tell me a story")  # until 1.4; answered from 2.3 on


async def test_nobody_interrupts() -> None:
    talk = await hold(engine(), line(ASK, seconds=12.0))
    assert talk.heard == STORY
    [exchange] = talk.history
    assert exchange.heard == exchange.reply == STORY
    assert talk.of(ReplyPaused) == []
    [ended] = talk.of(TurnEnded)
    assert ended.outcome == "answered"
    assert ended.metrics.playout == pytest.approx(ended.metrics.audio_duration)
    assert ended.metrics.interruptions == 0


async def test_the_user_takes_the_floor() -> None:
    tts = ScriptedTTSEngine(real_time_factor=0.9)
    async with no_leaks():
        talk = await hold(engine(tts=tts), line(ASK, (4.0, "stop it please now"), seconds=11.0))
    [paused], [stopped] = talk.of(ReplyPaused), talk.of(Interrupted)
    first, second = talk.of(TurnEnded)
    assert paused.turn == stopped.turn == first.turn == 1
    assert (first.outcome, second.outcome) == ("interrupted", "answered")
    assert first.heard == stopped.heard
    assert STORY.startswith(first.heard)
    assert 10 < len(first.heard) < 40
    # What the loudspeaker played is what was heard, but for the word that was cut off.
    before = talk.heard.removesuffix("You said stop it please now.")
    assert before.startswith(first.heard)
    assert len(before) - len(first.heard) < 8
    assert [exchange.heard for exchange in talk.history] == [first.heard, second.heard]
    assert second.reply == "You said stop it please now."
    assert tts.open_streams == 0
    assert not tts.calls[0].finished, "it was still being made, and that was stopped"


async def test_it_falls_silent_on_speech_and_not_on_the_pause_after_it() -> None:
    talk = await hold(engine(), line(ASK, (4.0, "stop it please now"), seconds=11.0))
    assert talk.of(ReplyPaused)[0].at == pytest.approx(4.3, abs=0.06)  # 0.3 s of speech
    assert talk.when(ReplyPaused) < 4.4
    assert talk.when(Interrupted) < 5.0, "its first word was enough, while it went on"


async def test_after_an_interruption_no_sound_of_that_answer_comes() -> None:
    talk = await hold(engine(), line(ASK, (4.0, "stop it please now"), seconds=11.0))
    paused = [isinstance(event, ReplyPaused) for _, event in talk.events].index(True)
    later = [event.turn for _, event in talk.events[paused:] if isinstance(event, ReplyAudio)]
    assert set(later) == {2}
    kinds = [type(event) for _, event in talk.events[paused : paused + 2]]
    assert kinds == [ReplyPaused, StateChanged]


@pytest.mark.parametrize(
    ("noise", "outcome"),
    [(speech(0.8, RATE), "silent"), ("mm-hm mhm", "backchannel")],
    ids=["no words", "backchannel"],
)
async def test_a_false_interruption_resumes_the_answer_where_it_stopped(
    noise: AudioData | str, outcome: str
) -> None:
    talk = await hold(engine(), line(ASK, (4.0, noise), seconds=15.0))
    [paused], [resumed] = talk.of(ReplyPaused), talk.of(ReplyResumed)
    assert resumed.played == paused.played
    assert talk.of(Interrupted) == []
    assert talk.heard == STORY, "not a sound was lost or said twice"
    overlap, first = talk.of(TurnEnded)
    assert (overlap.turn, overlap.outcome) == (2, outcome)
    assert (first.turn, first.outcome, first.heard) == (1, "answered", STORY)
    assert first.metrics.interruptions == 1
    assert [exchange.heard for exchange in talk.history] == [STORY]
    states = [event.state for event in talk.of(StateChanged)]
    speaking, listening = ConversationState.SPEAKING, ConversationState.LISTENING
    assert states == [ConversationState.PROCESSING, speaking, listening, speaking, listening]


async def test_a_cough_is_too_short_to_be_noticed() -> None:
    talk = await hold(engine(), line(ASK, (4.0, speech(0.2, RATE)), seconds=13.0))
    assert talk.of(ReplyPaused) == []
    assert talk.heard == STORY


async def test_the_bot_is_not_interrupted_by_its_own_voice() -> None:
    """With loudspeakers and no echo cancellation the caller's line carries the bot's voice."""
    first = await hold(engine(), line(ASK, seconds=12.0))
    start = first.played[0][0]
    echo = AudioData.concat([audio for _, audio in first.played]).resampled(RATE)
    quiet = AudioData.from_samples(echo.samples * 0.3, RATE)
    talk = await hold(engine(), line(ASK, (start + 0.15, quiet), seconds=14.0))
    # It is held once, until the first words show that this line has an echo.
    assert len(talk.of(ReplyPaused)) <= 1
    assert talk.of(Interrupted) == []
    assert {ended.outcome for ended in talk.of(TurnEnded)} == {"answered", "echo"}
    assert [exchange.heard for exchange in talk.history] == [STORY]


async def test_what_may_not_be_interrupted_is_heard_out() -> None:
    async def guarded(
        result: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        if len(context.history):
            yield "Thank you."
            return
        yield Uninterruptible("This call is recorded for your safety.")
        yield "Now to your question, which is a very good one and will take us a while."

    talk = await hold(
        engine(responder=guarded), line(ASK, (2.6, "stop it now please sir"), seconds=12.0)
    )
    # They begin in the middle of it, and it stops as soon as it may.
    [stopped] = talk.of(Interrupted)
    assert stopped.heard == "This call is recorded for your safety."
    assert talk.heard.startswith("This call is recorded for your safety.")
    assert talk.of(TurnEnded)[-1].transcript == "stop it now please sir"


async def test_a_user_who_goes_on_before_the_answer_has_begun_is_answered_on_the_whole() -> None:
    async def thoughtful(
        result: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        await anyio.sleep(5.0)
        yield "That is " + " and ".join([*(e.user for e in context.history), result.text]) + "."

    talk = await hold(
        engine(responder=thoughtful),
        line((0.5, "what is the weather"), (3.0, "in paris i mean"), seconds=16.0),
    )
    first, second = talk.of(TurnEnded)
    assert (first.outcome, first.heard) == ("interrupted", "")
    assert second.reply == "That is what is the weather and in paris i mean."
    assert talk.heard == second.reply


async def test_the_host_can_stop_the_answer() -> None:
    talk = Talk()
    async with engine().session() as session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.feed, packets(line(ASK, seconds=8.0)))
        async for event in session:
            talk.events.append((anyio.current_time(), event))
            if isinstance(event, ReplyAudio) and len(talk.of(ReplyAudio)) == 50:
                await session.interrupt()
    assert talk.of(TurnEnded)[0].outcome == "interrupted"
    assert len(talk.of(ReplyAudio)) == 50
    assert talk.of(Interrupted)[0].heard == "Once upon a"


async def test_push_to_talk() -> None:
    policy = TurnPolicy(manual=True, idle_after=None)
    audio = line((0.5, "tell me a story"), (3.0, "no the other one"), seconds=12.0)
    log: list[Event] = []
    async with engine(policy=policy).session() as session, anyio.create_task_group() as tasks:

        async def keys() -> None:
            for at, press in [(0.4, True), (1.5, False), (2.9, True), (4.3, False)]:
                await anyio.sleep_until(began + at)
                await (session.begin_turn() if press else session.commit_turn())

        began = anyio.current_time()
        tasks.start_soon(session.feed, packets(audio))
        tasks.start_soon(keys)
        log.extend([event async for event in session])
    ended = [event for event in log if isinstance(event, TurnEnded)]
    assert [(turn.transcript, turn.outcome) for turn in ended] == [
        ("tell me a story", "interrupted"),
        ("no the other one", "answered"),
    ]


async def test_a_turn_may_be_answered_before_it_is_certain_to_be_over() -> None:
    eager = TurnPolicy(speculative=True, idle_after=None)
    patient = await hold(engine(), line(ASK, seconds=12.0))
    quick = await hold(engine(policy=eager), line(ASK, seconds=12.0))
    before, after = patient.of(TurnEnded)[0].metrics, quick.of(TurnEnded)[0].metrics
    assert after.time_to_first_audio < before.time_to_first_audio - 0.2
    assert after.transcription_delay == 0.0
    assert quick.heard == patient.heard == STORY
    order = [type(e) for _, e in quick.events if isinstance(e, FinalTranscript | ReplyText)]
    assert order[:2] == [FinalTranscript, ReplyText]


async def test_and_if_the_user_goes_on_nobody_hears_of_it() -> None:
    stt, eager = ToneSTTEngine(latency=0.05), TurnPolicy(speculative=True, idle_after=None)
    audio = line((0.5, "tell me"), (1.35, "that story"), seconds=12.0)
    async with no_leaks():
        talk = await hold(engine(stt=stt, policy=eager), audio)
    assert len(stt.calls) == 2, "it was transcribed in the pause, and anew"
    [final] = talk.of(FinalTranscript)
    assert final.text == "tell me that story"
    assert talk.heard == STORY
    assert [exchange.user for exchange in talk.history] == ["tell me that story"]


async def test_a_pause_after_a_hanging_word_may_last_longer() -> None:
    audio = line((0.5, "tell me the"), (2.1, "story"), seconds=12.0)
    talk = await hold(engine(), audio)
    assert [e.text for e in talk.of(FinalTranscript)] == ["tell me the story"]
    cut = await hold(engine(end_of_turn=None), audio)
    assert [e.text for e in cut.of(FinalTranscript)][:2] == ["tell me the", "story"]


async def test_a_detector_of_pauses_that_fails_leaves_the_policys_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        async def silence(self, text: str, audio: AudioData) -> float:
            raise OSError("no model")

    talk = await hold(engine(end_of_turn=Broken()), line(ASK, seconds=12.0))
    assert talk.heard == STORY
    assert "judging a pause failed" in caplog.text


async def test_times_are_those_of_the_session() -> None:
    talk = await hold(engine(), line((0.5, "hello"), (5.0, "tell me more"), seconds=10.0))
    first, second = talk.of(FinalTranscript)
    assert first.result.words[0].start == pytest.approx(0.5, abs=0.03)
    assert second.result.segments[0].start == pytest.approx(5.0, abs=0.03)
    assert second.result.words[-1].end == pytest.approx(5.72, abs=0.03)
    spoken = [ended.speech for ended in talk.of(TurnEnded)]
    assert spoken[0] == (pytest.approx(0.5, abs=0.05), pytest.approx(0.8, abs=0.05))
    assert spoken[1] == (pytest.approx(5.0, abs=0.05), pytest.approx(5.72, abs=0.05))


async def test_a_user_who_says_nothing_is_told_of() -> None:
    policy = TurnPolicy(idle_after=3.0)
    talk = await hold(engine(policy=policy), line(ASK, seconds=14.0))
    [idle] = talk.of(UserIdle)
    assert idle.at == idle.since + 3.0
    ended = talk.when(TurnEnded)
    assert idle.since == pytest.approx(ended, abs=0.05)


# -- what fails and what hangs -------------------------------------------------------


async def test_history_is_what_was_heard_also_when_the_voice_breaks_in_the_middle() -> None:
    tts = ScriptedTTSEngine(failures=[None, Failure(OSError("gone"), after=10)])
    talk = await hold(engine(tts=tts), line(ASK, seconds=14.0))
    [failed] = talk.of(TurnFailed)
    assert isinstance(failed.error, OSError)
    [exchange] = talk.history
    first = STORY.split(". ")[0] + "."
    assert exchange.heard.startswith(first)
    assert exchange.heard != STORY
    assert talk.heard.startswith(exchange.heard)
    # What was made before it broke was still played.
    assert len(talk.heard) - len(exchange.heard) < 10


class Hanging:
    """Engines that never answer."""

    model_loaded = True

    async def is_available(self) -> bool:
        return True

    async def list_voices(self) -> list[dict[str, Any]]:
        return []

    async def transcribe(self, audio: AudioData, language: str | None = None) -> Any:
        await anyio.sleep_forever()

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> Any:
        await anyio.sleep_forever()


async def never(result: TranscriptionResult, context: ConversationContext) -> AsyncGenerator[str]:
    yield "Well. "
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("part", "limit"),
    [
        ({"stt": Hanging()}, 2.0),
        ({"tts": Hanging()}, 3.0),
        ({"responder": never}, 4.0),
    ],
    ids=["stt", "tts", "responder"],
)
async def test_an_engine_that_hangs_fails_its_turn_in_time(
    part: dict[str, Any], limit: float
) -> None:
    limits = SessionLimits(transcription=2.0, synthesis=3.0, response=4.0)
    async with no_leaks():
        talk = await hold(engine(**part, limits=limits), line(ASK, seconds=12.0))
    [failed] = talk.of(TurnFailed)
    assert isinstance(failed.error, EngineTimeoutError)
    assert failed.error.seconds == limit
    assert talk.events[-1][1] == SessionEnded("input ended")


@pytest.mark.parametrize("part", [{"stt": Hanging()}, {"tts": Hanging()}, {"responder": never}])
async def test_a_session_closes_at_once_whatever_hangs(part: dict[str, Any]) -> None:
    limits = SessionLimits(transcription=None, synthesis=None, response=None)
    async with no_leaks(), engine(**part, limits=limits).session() as session:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.feed, packets(line(ASK, seconds=4.0)))
            with anyio.move_on_after(6.0):
                async for _ in session:
                    pass
        began = anyio.current_time()
        assert not await session.drain(1.5)
        assert anyio.current_time() == pytest.approx(began + 1.5)
    assert [event async for event in session][-1:] == [SessionEnded("closed")]


async def test_draining_waits_for_what_is_under_way() -> None:
    talk = Talk()
    async with engine().session() as session, anyio.create_task_group() as tasks:

        async def read() -> None:
            async for event in session:
                talk.events.append((anyio.current_time(), event))

        tasks.start_soon(read)
        async for packet in packets(line(ASK, seconds=2.0)):
            await session.push(packet)
        assert await session.drain(20.0)
    assert talk.of(TurnEnded)[0].heard == STORY
    assert talk.events[-1][1] == SessionEnded("input ended")


async def test_a_session_lasts_no_longer_than_it_may() -> None:
    limits = SessionLimits(duration=4.0)
    talk = Talk()
    async with engine(limits=limits).session() as session, anyio.create_task_group() as tasks:

        async def feed() -> None:
            with pytest.raises(Exception, match="takes no more audio"):
                await session.feed(packets(line(ASK, seconds=12.0)))

        tasks.start_soon(feed)
        async for event in session:
            talk.events.append((anyio.current_time(), event))
    assert talk.events[-1][1] == SessionEnded("duration limit")


async def test_nor_does_it_wait_for_a_line_that_is_dead() -> None:
    limits = SessionLimits(input_gap=3.0)
    events = []
    async with engine(limits=limits).session() as session:
        async for packet in packets(line(ASK, seconds=2.0)):
            await session.push(packet)
        events = [event async for event in session]
    assert events[-1] == SessionEnded("no audio came")
    ended = await hold(engine(limits=limits), line(ASK, seconds=2.0))
    assert ended.events[-1][1] == SessionEnded("input ended"), "its answer may take longer"


async def test_an_engine_that_fails_while_the_user_speaks_over_an_answer_holds_nothing() -> None:
    class Deaf(ToneSTTEngine):
        async def stream(self, audio: Any, language: str | None = None) -> Any:
            async with aclosing(super().stream(audio, language)) as results:
                async for result in results:
                    if not result.partial and "story" not in result.text:
                        raise EngineError("deaf", "heard nothing")
                    yield result

    talk = await hold(
        engine(stt=Deaf(partial_every=None)), line(ASK, (4.0, "stop it please"), seconds=16.0)
    )
    assert [type(e).__name__ for _, e in talk.events if isinstance(e, ReplyPaused | ReplyResumed)]
    assert talk.heard == STORY
    assert [failed.turn for failed in talk.of(TurnFailed)] == [2]


# -- the same on every loop, and however the sound is cut ----------------------------

SCRIPT = line(ASK, (4.0, speech(0.6, RATE)), (9.5, "thank you"), (13.0, "good bye"), seconds=18.0)


def log_of(backend: str, packet: float) -> list[str]:
    name, options = virtual_time(backend)

    async def main() -> list[str]:
        # Of two things at the same instant either may be first: so there are none.
        parts = {"stt": ToneSTTEngine(latency=0.2031), "tts": ScriptedTTSEngine(latency=0.1017)}
        return (await hold(engine(**parts), SCRIPT, packet)).log()

    return anyio.run(main, backend=name, backend_options=options)


def test_the_same_script_is_the_same_log_on_asyncio_and_trio() -> None:
    assert log_of("asyncio", 0.02) == log_of("trio", 0.02)


@pytest.mark.parametrize("packet", [0.005, 0.01, 0.032, 0.05, 0.1])
def test_any_slicing_is_the_same_conversation(packet: float) -> None:
    def facts(log: list[str]) -> list[str]:
        """Without when the host was told, which packets decide, and when replies fell quiet."""
        kinds = ("SpeechStarted", "SpeechStopped", "FinalTranscript", "ReplyText", "ReplyPaused")
        lines = [line.split(" ", 1)[1] for line in log]
        return sorted(line.split(", played")[0] for line in lines if line.startswith(kinds)) + [
            line.split("metrics")[0] for line in lines if line.startswith("TurnEnded")
        ]

    assert facts(log_of("asyncio", packet)) == facts(log_of("asyncio", 0.02))


async def test_a_talk_can_begin_with_sound() -> None:
    talk = await hold(engine(), line((0.0, "tell me a story"), seconds=11.0))
    assert talk.of(SpeechStarted)[0].at == 0.0
    assert talk.heard == STORY
