"""What is known of a call once it is over."""

from __future__ import annotations

import pytest

from realtime_stts import (
    AudioData,
    ConversationState,
    EngineError,
    Event,
    Exchange,
    FinalTranscript,
    Interrupted,
    PartialTranscript,
    ReplyAudio,
    SessionEnded,
    SpeechStarted,
    StateChanged,
    TranscriptionResult,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
)
from realtime_stts.testing import Call, CallTurn, assert_within, speak_tones, tone_text
from realtime_stts.testing._line import Playout

RESULT = TranscriptionResult("hello", "en", [])
METRICS = TurnMetrics(0.6, 0.2, time_to_first_audio=0.9)
ENDED = TurnEnded(1, "hello", "Hi there.", METRICS, heard="Hi", outcome="interrupted")
ENDED_LINE = (
    "2.500 TurnEnded turn=1 transcript='hello' reply='Hi there.' end_of_turn_delay=0.600 "
    "transcription_delay=0.200 time_to_first_text=None tts_time_to_first_byte=None "
    "handover_delay=None time_to_first_audio=0.900 time_to_first_token=None "
    "audio_duration=0.000 playout=0.000 interruptions=0 heard='Hi' outcome='interrupted'"
)
BROKEN = EngineError("tts", "gone", request_id="a1b2")


def call(*events: tuple[float, Event], duration: float = 4.0) -> Call:
    caller, bot = Playout(), Playout()
    caller.play(0.5, 0, speak_tones("hello", 16_000))
    bot.play(2.0, 1, speak_tones("Hi there."))
    return Call(events, (Exchange(1, "hello", "Hi there.", "Hi"),), duration, caller, bot)


def test_every_turn_that_is_over_is_a_value() -> None:
    over = call(
        (1.0, FinalTranscript(2, "so", RESULT)),
        (2.0, TurnFailed(2, BROKEN, "a1b2")),
        (3.0, ENDED),
        (4.0, FinalTranscript(3, "never answered", RESULT)),
    )
    assert over.turns == (
        CallTurn(1, "hello", "Hi there.", "Hi", "interrupted", METRICS),
        CallTurn(2, "so", outcome="failed", error=BROKEN),
    )
    assert [turn.time_to_first_audio for turn in over.turns] == [0.9, None]


def test_both_sides_are_on_one_timeline() -> None:
    over = call(duration=4.0)
    assert over.caller.duration_seconds == over.bot.duration_seconds == 4.0
    assert tone_text(over.caller.sliced(0.0, 2.0)) == tone_text(over.caller) == "hello"
    assert tone_text(over.bot.sliced(2.0)) == tone_text(over.bot) == "Hi there."


def test_events_are_found_by_their_kind() -> None:
    over = call((1.0, SpeechStarted(0.9, 1.0)), (2.0, ENDED), (3.0, SpeechStarted(2.9, 3.0)))
    assert [event.at for event in over.of(SpeechStarted)] == [0.9, 2.9]
    assert over.when(SpeechStarted) == 1.0
    assert over.when(Interrupted) is None


def test_a_log_has_a_line_for_every_event_but_sound() -> None:
    log = call(
        (0.5000000001, SpeechStarted(0.41249999999999, 0.5)),
        (1.0, PartialTranscript(1, "hel", RESULT)),
        (2.0, StateChanged(ConversationState.SPEAKING)),
        (2.0, ReplyAudio(1, AudioData.silence(0.1, 16_000))),
        (2.5, ENDED),
        (3.0, TurnFailed(2, BROKEN, "a1b2")),
        (3.5, TurnFailed(3, OSError("no such device"), "a1b3")),
    ).log()
    assert log == [
        "0.500 SpeechStarted at=0.413 decided=0.500",
        "1.000 PartialTranscript turn=1 text='hel'",
        "2.000 StateChanged state=speaking",
        ENDED_LINE,
        "3.000 TurnFailed turn=2 error='tts: gone'",
        "3.500 TurnFailed turn=3 error='OSError: no such device'",
    ]


def test_of_the_same_millisecond_the_order_is_always_the_same() -> None:
    events: list[tuple[float, Event]] = [
        (1.0001, SessionEnded("closed")),
        (1.0002, StateChanged(ConversationState.LISTENING)),
        (1.0, SpeechStarted(0.9, 1.0)),
    ]
    assert call(*events).log() == call(*reversed(events)).log()
    assert call(*events).log()[-1] == "1.000 SessionEnded reason='closed'"


def test_a_duration_is_held_to_its_limit() -> None:
    assert_within(0.8, seconds=0.8)
    with pytest.raises(AssertionError, match=r"it took 0\.812 s, and may take 0\.8 s"):
        assert_within(0.8121, seconds=0.8)
    with pytest.raises(AssertionError, match="it never happened, and was to happen within 2 s"):
        assert_within(None, seconds=2.0)
