"""What a call left behind: both sides on one timeline, rebuilt from what was told."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest

from realtime_stts import (
    AudioData,
    ConversationState,
    EngineError,
    Event,
    FinalTranscript,
    Interrupted,
    PartialTranscript,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    ReplyText,
    SentenceSpoken,
    SessionEnded,
    SpeechStarted,
    SpeechStopped,
    StateChanged,
    TranscriptionResult,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
    UserIdle,
)
from realtime_stts.cli._recording import Moment, Playout, Recording, Turn, event_fields, record

RATE = 16_000
METRICS = TurnMetrics(
    end_of_turn_delay=0.6,
    transcription_delay=0.1,
    time_to_first_text=0.02,
    tts_time_to_first_byte=0.03,
    handover_delay=0.0,
    time_to_first_audio=0.75,
    audio_duration=2.0,
)
RESULT = TranscriptionResult("hello", "en", [], confidence=0.9)


def tone(seconds: float, rate: int = RATE) -> AudioData:
    return AudioData.from_samples(np.full(round(seconds * rate), 0.5), rate)


def play(playout: Playout, t: float, turn: int, audio: AudioData) -> None:
    playout.tell(Moment(t, ReplyAudio(turn, audio)))


def sounding(audio: AudioData) -> list[tuple[float, float]]:
    """Where there is sound, to a hundredth of a second."""
    edges = np.flatnonzero(np.diff(np.abs(audio.samples[:, 0]) > 0.25, prepend=False, append=False))
    times = np.round(edges / audio.sample_rate, 2).tolist()
    return [*zip(times[::2], times[1::2], strict=True)]


def recorded(*events: Event, duration: float = 10.0, playout: Playout | None = None) -> Recording:
    moments = [Moment(0.0, event) for event in events]
    caller = AudioData.silence(duration, RATE)
    phrases = {e.turn: 0 for e in events if isinstance(e, FinalTranscript)}
    return record(caller, playout or Playout(), moments, ["hello there"], phrases)


class TestRecord:
    def test_speech_is_shaded_where_the_detector_heard_it(self) -> None:
        call = recorded(SpeechStarted(1.0, 1.1), SpeechStopped(2.0, 2.3), SpeechStarted(9.0, 9.1))
        assert call.speech == ((1.0, 2.0), (9.0, 10.0))

    def test_turns_are_in_their_order_and_not_in_that_of_their_ends(self) -> None:
        call = recorded(
            TurnEnded(2, "", "", METRICS, outcome="silent", speech=(3.6, 4.0)),
            TurnEnded(1, "hello", "Hi!", METRICS, "Hi!", speech=(1.0, 3.0)),
        )
        assert [(t.number, t.start, t.end) for t in call.turns] == [(1, 1.0, 3.0), (2, 3.6, 4.0)]
        assert [turn.outcome for turn in call.turns] == ["answered", "silent"]

    def test_a_turn_has_all_that_was_told_of_it(self) -> None:
        playout = Playout()
        play(playout, 2.75, 1, tone(1.0))
        call = recorded(
            FinalTranscript(1, "hello", RESULT),
            TurnEnded(1, "hello", "Hi!", METRICS, "Hi", speech=(1.0, 2.0)),
            playout=playout,
        )
        assert call.turns == (
            Turn(
                1,
                1.0,
                2.0,
                0,
                "hello there",
                "hello",
                "Hi!",
                "Hi",
                ((2.75, 3.75),),
                metrics=METRICS,
            ),
        )

    def test_a_turn_that_failed_says_why(self) -> None:
        error = EngineError("scripted", "gone")
        call = recorded(TurnFailed(1, error, "r-1", (1.0, 2.0)))
        assert call.turns[0].error == "scripted: gone"
        assert call.turns[0].latency is None
        assert call.median_latency is None

    def test_stereo_has_the_caller_left_and_the_bot_right_at_the_better_rate(self) -> None:
        playout = Playout()
        play(playout, 1.0, 1, tone(0.5, 24_000))
        moments = [Moment(0.0, SpeechStarted(0.0, 0.1)), Moment(0.0, SpeechStopped(0.5, 0.6))]
        call = record(
            AudioData.concat([tone(0.5), AudioData.silence(1.5, RATE)]),
            playout,
            moments,
            [],
            {},
        )
        stereo = call.stereo()
        assert (stereo.sample_rate, stereo.channels, stereo.format) == (24_000, 2, "pcm")
        assert stereo.duration_seconds == call.duration == 2.0
        left, right = (AudioData.from_samples(side, 24_000) for side in stereo.samples.T)
        assert sounding(left) == [(0.0, 0.5)]
        assert sounding(right) == [(1.0, 1.5)]


@pytest.mark.parametrize(
    ("replies", "metrics", "latency"),
    [
        pytest.param(((2.76, 6.0),), METRICS, 0.75, id="as the session measured it"),
        pytest.param(((5.0, 6.0),), None, 3.0, id="as played: the turn failed afterwards"),
        pytest.param((), METRICS, None, id="none: there was no answer"),
    ],
)
def test_the_latency_of_a_turn(
    replies: tuple[tuple[float, float], ...], metrics: TurnMetrics | None, latency: float | None
) -> None:
    turn = Turn(1, 1.0, 2.0, replies=replies, metrics=metrics)
    assert turn.latency == latency
    assert turn.reply_end == (6.0 if replies else None)


EVENTS: list[tuple[Event, dict[str, object]]] = [
    (SpeechStarted(1.0, 1.1), {"at": 1.0, "decided": 1.1}),
    (SpeechStopped(2.0, 2.3), {"at": 2.0, "decided": 2.3}),
    (StateChanged(ConversationState.SPEAKING), {"state": "speaking"}),
    (PartialTranscript(1, "hel", RESULT), {"turn": 1, "text": "hel"}),
    (
        FinalTranscript(1, "hello", RESULT),
        {"turn": 1, "text": "hello", "language": "en", "confidence": 0.9},
    ),
    (ReplyText(1, "Hi!"), {"turn": 1, "text": "Hi!"}),
    (ReplyAudio(1, AudioData.silence(0.5, RATE)), {"turn": 1, "duration": 0.5}),
    (SentenceSpoken(1, "Hi!"), {"turn": 1, "text": "Hi!"}),
    (ReplyPaused(1, 5.0, 0.5), {"turn": 1, "at": 5.0, "played": 0.5}),
    (ReplyResumed(1, 6.0, 0.5), {"turn": 1, "at": 6.0, "played": 0.5}),
    (Interrupted(1, 6.0, "Hi"), {"turn": 1, "at": 6.0, "heard": "Hi"}),
    (UserIdle(5.0, 35.0), {"since": 5.0, "at": 35.0}),
    (SessionEnded("input ended"), {"reason": "input ended"}),
    (
        TurnEnded(1, "hello", "Hi!", METRICS, speech=(1.0, 2.0)),
        {
            "turn": 1,
            "speech": [1.0, 2.0],
            "transcript": "hello",
            "reply": "Hi!",
            "heard": "",
            "outcome": "answered",
            "metrics": {
                "end_of_turn_delay": 0.6,
                "transcription_delay": 0.1,
                "time_to_first_text": 0.02,
                "tts_time_to_first_byte": 0.03,
                "handover_delay": 0.0,
                "time_to_first_audio": 0.75,
                "time_to_first_token": None,
                "audio_duration": 2.0,
                "playout": 0.0,
                "interruptions": 0,
            },
        },
    ),
    (
        TurnFailed(1, EngineError("scripted", "gone"), "r-1", (1.0, 2.0)),
        {
            "turn": 1,
            "speech": [1.0, 2.0],
            "error": "scripted: gone",
            "request_id": "r-1",
        },
    ),
]


@pytest.mark.parametrize(("event", "fields"), EVENTS)
def test_an_event_as_json(event: Event, fields: dict[str, object]) -> None:
    assert json.loads(json.dumps(event_fields(event))) == fields


def test_every_kind_of_event_is_known() -> None:
    assert {type(event) for event, _ in EVENTS} == {*get_args(Event)}
