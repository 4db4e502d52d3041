"""Calls from what a session told its host: with the moments, or only with the metrics."""

from __future__ import annotations

import pytest

from realtime_stts import (
    AudioData,
    Interrupted,
    PartialTranscript,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    SpeechStarted,
    SpeechStopped,
    TranscriptionResult,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
)
from realtime_stts.integrations._notebook._recording import of_events
from realtime_stts.testing import speech

ANSWERED = TurnMetrics(0.5, time_to_first_audio=0.7, audio_duration=3.0, playout=3.0)


def ended(turn: int = 1, metrics: TurnMetrics = ANSWERED) -> TurnEnded:
    return TurnEnded(turn, "hello", "Hello.", metrics, "Hello.", speech=(1.0, 2.0))


def test_metrics_tell_when_an_answer_was_heard() -> None:
    recording = of_events([ended()])
    (turn,) = recording.turns
    assert turn.replies == ((2.7, 5.7),)
    assert recording.speech == ((1.0, 2.0),)
    assert recording.duration == pytest.approx(5.7)


def test_an_answer_that_was_held_and_went_on_is_heard_in_two_parts() -> None:
    told = [ReplyPaused(1, 4.0, 1.3), ReplyResumed(1, 6.0, 1.3), ReplyPaused(9, 4.0, 0.0)]
    (turn,) = of_events([*told, ended()]).turns
    assert turn.replies == ((2.7, 4.0), (6.0, pytest.approx(7.7)))


def test_an_answer_that_was_cut_off_ends_where_it_was_held() -> None:
    short = TurnMetrics(0.5, time_to_first_audio=0.7, audio_duration=3.0, playout=1.3)
    (turn,) = of_events(
        [ReplyPaused(1, 4.0, 1.3), Interrupted(1, 4.5, "He"), ended(1, short)]
    ).turns
    assert turn.replies == ((2.7, 4.0),)


def test_a_turn_without_an_answer_has_none() -> None:
    (turn,) = of_events([ended(1, TurnMetrics(0.5))]).turns
    assert turn.replies == ()
    failed = TurnFailed(1, ValueError("no model"), "id", (1.0, 2.0))
    (turn,) = of_events([failed]).turns
    assert turn.error == "no model"


def test_nobody_knows_when_a_partial_transcript_came() -> None:
    partial = PartialTranscript(1, "he", TranscriptionResult("he", "en", [], partial=True))
    recording = of_events([partial, ended()])
    assert not any(isinstance(m.event, PartialTranscript) for m in recording.moments)


def test_sounds_with_their_times_are_put_together() -> None:
    sound = speech(1.0)
    recording = of_events([(2.5, ReplyAudio(1, sound)), (3.6, ended())], speech(2.0, 8_000))
    (turn,) = recording.turns
    assert turn.replies == ((2.5, 3.5),)
    assert recording.bot.sliced(2.5, 3.5) == sound
    assert recording.duration == pytest.approx(3.6)
    assert recording.caller.sample_rate == 8_000


def test_what_a_detector_heard_is_the_speech() -> None:
    told = [(1.2, SpeechStarted(1.1, 1.2)), (2.4, SpeechStopped(2.1, 2.4)), (3.0, ended())]
    assert of_events(told).speech == ((1.1, 2.1),)


def test_a_caller_longer_than_the_events_is_shown_to_its_end() -> None:
    assert of_events([ended()], AudioData.silence(10.0, 8_000)).duration == pytest.approx(10.0)


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        of_events([])


def test_events_with_and_without_their_time_do_not_mix() -> None:
    with pytest.raises(TypeError, match="either all"):
        of_events([(1.0, ended()), ended()])
