"""A caller does what they are told to, when it is time for it, on a line without a gap."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from realtime_stts import (
    AudioData,
    AudioFormatError,
    ConversationEngine,
    EngineError,
    Interrupted,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    SentenceSpoken,
    Session,
    SessionEnded,
    SessionLimits,
    SpeechStarted,
    SpeechStopped,
    TurnPolicy,
    UserIdle,
)
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.testing import (
    Call,
    Caller,
    Cassette,
    Failure,
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    ToneSTTEngine,
    assert_within,
    no_leaks,
    tone_text,
    virtual_time,
)

pytestmark = pytest.mark.anyio

WEATHER = "Tomorrow will be sunny. And warm, I think, for most of the day."
WELCOME = "You are welcome."


def engine(*answers: Any, **options: Any) -> ConversationEngine:
    return ConversationEngine(
        **{
            "stt": ToneSTTEngine(),
            "tts": ScriptedTTSEngine(),
            "responder": ScriptedResponseGenerator(answers or (WEATHER, WELCOME)),
            "pause_detector": EnergyPauseDetector(),
            **options,
        }
    )


def replies(call: Call) -> list[tuple[float, float]]:
    """When each reply was heard, from its first sound to its last."""
    times: dict[int, list[float]] = {}
    for t, event in call.events:
        if isinstance(event, ReplyAudio):
            times.setdefault(event.turn, []).append(t)
    return [(each[0], each[-1]) for each in times.values()]


# -- saying ------------------------------------------------------------------------------


async def test_what_is_said_is_understood_and_answered() -> None:
    async with no_leaks():
        call = await Caller(engine()).says("what is the weather").says("thank you").run()
    assert [(turn.transcript, turn.reply, turn.heard) for turn in call.turns] == [
        ("what is the weather", WEATHER, WEATHER),
        ("thank you", WELCOME, WELCOME),
    ]
    assert [turn.outcome for turn in call.turns] == ["answered", "answered"]
    assert tone_text(call.caller) == "what is the weather thank you"
    assert tone_text(call.bot) == f"{WEATHER} {WELCOME}"
    assert [exchange.user for exchange in call.history] == ["what is the weather", "thank you"]
    assert_within(call.turns[0].time_to_first_audio, seconds=1.2)


async def test_who_says_something_hears_the_answer_out_first() -> None:
    call = await Caller(engine()).says("what is the weather").says("thank you").run()
    (_, first_ends), _ = replies(call)
    _, second = call.of(SpeechStarted)
    assert first_ends + 0.2 <= second.at + 0.1 < first_ends + 0.5


async def test_the_line_begins_with_silence_and_ends_when_the_bot_has_finished() -> None:
    call = await Caller(engine()).says("what is the weather").run()
    assert call.of(SpeechStarted)[0].at == pytest.approx(0.5, abs=0.03)
    [(_, ends)] = replies(call)
    assert ends + 0.1 < call.duration < ends + 0.5
    assert call.events[-1][1] == SessionEnded("input ended")


async def test_who_says_nothing_has_called_all_the_same() -> None:
    call = await Caller(engine()).run()
    assert call.turns == ()
    assert call.duration == pytest.approx(0.5)


async def test_who_is_not_noticed_does_not_wait_for_ever() -> None:
    deaf = engine(pause_detector=ScriptedPauseDetector())
    call = await Caller(deaf).says("hello").run()
    assert call.turns == ()
    assert call.duration == pytest.approx(0.5 + 5 * 0.06 + 1.5, abs=0.03)


async def test_a_real_voice_speaks_instead_of_tones() -> None:
    """It is asked beforehand: the line does not wait for it."""
    voice = ScriptedTTSEngine(voices=["ada", "grace"], latency=5.0)
    caller = Caller(engine(), voice=voice, voice_config={"voice_id": "grace"})
    call = await caller.says("what is the weather").run()
    assert [(spoken.text, spoken.voice_config) for spoken in voice.calls] == [
        ("what is the weather", {"voice_id": "grace"})
    ]
    assert call.of(SpeechStarted)[0].at == pytest.approx(0.5, abs=0.03)
    assert call.turns[0].transcript == "what is the weather"


# -- waiting -----------------------------------------------------------------------------


async def test_waiting_is_silence_whatever_the_bot_does() -> None:
    call = await Caller(engine()).waits(2.0).coughs(0.3).waits(1.0).coughs(0.3).run()
    first, second = (event.at for event in call.of(SpeechStarted))
    assert first == pytest.approx(2.5, abs=0.06)
    assert second - first == pytest.approx(1.3, abs=0.06)


async def test_the_line_has_no_gap_and_keeps_pace_with_the_clock() -> None:
    packets: list[tuple[float, float]] = []

    class Listening(EnergyPauseDetector):
        def clone(self) -> Any:
            return Listening()

        async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
            packets.append((anyio.current_time(), audio.duration_seconds))
            return await super().process_chunk(audio)

    began = anyio.current_time()
    await Caller(engine(pause_detector=Listening())).says("hello").waits(10.0).says("bye").run()
    sent = began
    for t, seconds in packets:
        sent += seconds
        assert t == pytest.approx(sent)


async def test_a_long_silence_goes_out_in_long_packets() -> None:
    lengths: list[float] = []

    class Listening(ScriptedPauseDetector):
        def clone(self) -> Any:
            return Listening([(0.6, 0.8)])

        async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
            lengths.append(audio.duration_seconds)
            return await super().process_chunk(audio)

    hour = engine(pause_detector=Listening())
    call = await Caller(hour, packet=0.05).says("hello").waits(3600.0).run()
    assert call.turns[0].outcome == "answered"
    assert call.when(UserIdle) is not None
    assert call.duration == pytest.approx(3600.8, abs=0.1)
    assert max(lengths) == 1.0
    assert len(lengths) < 3600 + 20 * 8  # while the bot speaks, the packets are short


# -- speaking over a reply ---------------------------------------------------------------


async def test_who_interrupts_begins_in_the_middle_of_the_reply() -> None:
    caller = Caller(engine()).says("what is the weather").interrupts("never mind", after=1.2)
    call = await caller.run()
    first, second = call.turns
    begins, ends = replies(call)[0]
    assert call.of(SpeechStarted)[1].at == pytest.approx(begins + 1.2, abs=0.1)
    assert ends < begins + 1.7
    assert (first.outcome, second.outcome) == ("interrupted", "answered")
    assert second.transcript == "never mind"
    assert WEATHER.startswith(first.heard)
    assert call.history[0].heard == first.heard == call.of(Interrupted)[0].heard


async def test_what_the_session_says_was_heard_is_what_the_loudspeaker_played() -> None:
    call = await Caller(engine()).says("what is the weather").interrupts("never mind").run()
    played = tone_text(call.bot).removesuffix(f" {WELCOME}")
    heard = call.turns[0].heard
    assert played.startswith(heard)
    assert len(played.split()) - len(heard.split()) <= 1  # a word that was cut off counts not


async def test_who_has_waited_long_enough_interrupts_at_once() -> None:
    caller = Caller(engine()).says("what is the weather").waits(3.0).interrupts("never mind")
    call = await caller.run()
    stopped, _ = call.of(SpeechStopped)
    assert call.of(SpeechStarted)[1].at == pytest.approx(stopped.at + 3.0, abs=0.1)
    assert call.turns[0].outcome == "interrupted"


@pytest.mark.parametrize("noise", ["mumbles", "coughs"])
async def test_a_noise_without_words_is_no_interruption(noise: str) -> None:
    caller = Caller(engine()).says("what is the weather")
    call = await getattr(caller, noise)(0.8, after=0.5).run()
    assert (
        [type(event) for _, event in call.events if "Reply" in type(event).__name__].count(
            ReplyPaused
        )
        == len(call.of(ReplyResumed))
        == 1
    )
    assert call.turns[0].heard == WEATHER
    assert tone_text(call.bot) == WEATHER
    assert tone_text(call.caller) == "what is the weather"


async def test_a_short_cough_pauses_nothing() -> None:
    call = await Caller(engine()).says("what is the weather").coughs(after=0.5).run()
    assert call.of(ReplyPaused) == []
    assert call.turns[0].heard == WEATHER


async def test_a_reply_that_was_not_to_be_is_missed() -> None:
    with pytest.raises(
        AssertionError, match=r"there was no reply to speak over: 'never mind' was to begin"
    ):
        await Caller(engine("")).says("hello").interrupts("never mind").run()


async def test_a_reply_too_short_to_be_interrupted_is_missed() -> None:
    with pytest.raises(AssertionError, match="once one had been playing for 5 s"):
        await Caller(engine("No.")).says("hello").interrupts("never mind", after=5.0).run()


# -- ending ------------------------------------------------------------------------------


async def test_who_hangs_up_does_so_at_once() -> None:
    session = engine().session()
    call = await Caller(session).says("what is the weather").waits(1.0).hangs_up().run()
    assert session.clock == pytest.approx(0.5 + 19 * 0.06 + 1.0)
    assert call.turns[0].outcome == "answered"  # the session finishes what it had begun
    assert tone_text(call.bot) == WEATHER
    assert call.duration > session.clock + 3.0


async def test_who_hangs_up_while_speaking_is_taken_to_have_finished() -> None:
    call = await Caller(engine()).says("what is the weather").hangs_up().run()
    assert call.turns[0].transcript == "what is the weather"
    assert call.turns[0].metrics is not None
    assert call.turns[0].metrics.end_of_turn_delay < 0.1


async def test_a_session_that_ends_by_itself_ends_the_call() -> None:
    limited = engine(limits=SessionLimits(duration=3.0))
    call = await Caller(limited).says("what is the weather").waits(60.0).says("hello").run()
    assert call.events[-1][1] == SessionEnded("duration limit")
    assert call.duration < 10.0


async def test_a_bot_that_never_finishes_is_not_waited_for_for_ever() -> None:
    slow = engine(responder=ScriptedResponseGenerator(["Hm."], latency=1e6))
    with pytest.raises(AssertionError, match=r"1 of the turns were not over at .* 5 s of waiting"):
        await Caller(slow, patience=5.0).says("hello").run()
    slow = engine(responder=ScriptedResponseGenerator(["Hm."], latency=1e6))
    with pytest.raises(AssertionError, match="there was no reply to speak over"):
        await Caller(slow, patience=5.0).says("hello").interrupts("you there").run()


async def test_a_turn_that_fails_is_a_turn_of_the_call() -> None:
    broken = EngineError("scripted", "gone")
    failing = engine(stt=ScriptedSTTEngine([Failure(broken), "thank you"]))
    call = await Caller(failing).says("hello").says("thank you").run()
    assert [turn.outcome for turn in call.turns] == ["failed", "answered"]
    assert call.turns[0].error is broken


async def test_what_breaks_the_session_comes_out_as_it_is() -> None:
    class BrokenError(Exception):
        pass

    class Broken(ScriptedPauseDetector):
        def clone(self) -> Any:
            return Broken()

        async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
            raise BrokenError

    async with no_leaks():
        with pytest.raises(BrokenError):
            await Caller(engine(pause_detector=Broken())).says("hello").run()


# -- what a caller is --------------------------------------------------------------------


async def test_a_caller_is_a_value_that_every_step_copies() -> None:
    served = engine(*[WELCOME] * 9)
    hello = Caller(served).says("hello")
    longer, other = hello.says("again"), hello.says("and so on")
    for caller, n_turns in ((hello, 1), (longer, 2), (other, 2), (hello, 1)):
        assert len((await caller.run()).turns) == n_turns


async def test_a_session_can_be_called_once() -> None:
    session = engine().session(policy=TurnPolicy(end_of_turn=0.4))
    assert isinstance(session, Session)
    call = await Caller(session).says("what is the weather").run()
    assert call.turns[0].metrics is not None
    assert call.turns[0].metrics.end_of_turn_delay == pytest.approx(0.4, abs=0.03)
    assert call.history == session.history


@pytest.mark.parametrize("rate", [8_000, 24_000])
async def test_the_line_may_have_another_rate(rate: int) -> None:
    call = await Caller(engine(), sample_rate=rate).says("what is the weather").run()
    assert call.caller.sample_rate == rate
    assert call.turns[0].transcript == "what is the weather"


@pytest.mark.parametrize("packet", [0.0, -0.02, 1.5, float("nan")])
def test_an_impossible_packet_is_refused(packet: float) -> None:
    with pytest.raises(ValueError, match="a packet is over 0 and at most 1 s long"):
        Caller(engine(), packet=packet)


def test_impossible_steps_are_refused() -> None:
    caller = Caller(engine())
    with pytest.raises(AudioFormatError):
        Caller(engine(), sample_rate=4_000)
    for step in (caller.says, caller.interrupts):
        with pytest.raises(ValueError, match="there is nothing to say"):
            step(" ")
    for seconds in (-1.0, float("inf"), float("nan")):
        for step in (caller.waits, caller.mumbles, caller.coughs):
            with pytest.raises(ValueError, match="a duration is 0 seconds or more"):
                step(seconds)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="a duration is 0 seconds or more"):
            caller.interrupts("hello", after=seconds)
        with pytest.raises(ValueError, match="a duration is 0 seconds or more"):
            caller.mumbles(1.0, after=seconds)
    with pytest.raises(ValueError, match="who has hung up does nothing more"):
        caller.hangs_up().says("hello")


# -- the same again ----------------------------------------------------------------------


def script(served: ConversationEngine) -> Caller:
    caller = Caller(served).says("what is the weather").mumbles(0.6, after=0.4)
    return caller.waits(0.5).interrupts("never mind").coughs(0.1, after=0.2)


def held(backend: str, cassette: Cassette | None = None) -> list[str]:
    # Of two things at the same moment either may come first: here there are none.
    parts: dict[str, Any] = {
        "stt": ToneSTTEngine(latency=0.2031),
        "tts": ScriptedTTSEngine(latency=0.1017),
        "responder": ScriptedResponseGenerator([WEATHER, WELCOME], latency=0.1013),
    }
    if cassette is not None and cassette.calls:
        parts = {
            "stt": cassette.stt(),
            "tts": cassette.tts(),
            "responder": cassette.responder(),
        }
    elif cassette is not None:
        parts = {name: cassette.recording(part) for name, part in parts.items()}

    async def main() -> list[str]:
        return (await script(engine(**parts)).run()).log()

    name, options = virtual_time(backend)
    return anyio.run(main, backend=name, backend_options=options)


def test_a_call_goes_the_same_way_on_every_event_loop() -> None:
    log = held("asyncio")
    assert held("trio") == log
    assert {line.split()[1] for line in log} >= {"ReplyPaused", "ReplyResumed", "Interrupted"}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_recorded_call_is_had_again(backend: str) -> None:
    cassette = Cassette()
    log = held(backend, cassette)
    assert held(backend, cassette) == log
    assert SentenceSpoken.__name__ in {line.split()[1] for line in log}
