"""What is kept of a talk."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from realtime_stts import (
    AudioData,
    Event,
    Interrupted,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    StateChanged,
    TurnEnded,
    TurnMetrics,
)
from realtime_stts.cli._recording import Moment
from realtime_stts.cli._tape import Tape
from realtime_stts.protocols import ConversationState


def sound(seconds: float, value: int = 1000, rate: int = 16_000) -> AudioData:
    return AudioData(np.full(round(seconds * rate), value, "<i2").tobytes(), rate)


def kept(seconds: float, *told: tuple[float, Event]) -> np.ndarray:
    """The bot's channel, in thousands, of a talk of so many seconds."""
    tape = Tape()
    for _ in range(round(seconds * 50)):
        tape.hear(sound(0.02))
    for t, event in told:
        tape.tell(Moment(t, event))
    return np.rint(tape.recording.bot.samples[:, 0] * 32.768).astype(int)


def said(start: float, end: float, value: int = 1000) -> tuple[float, Event]:
    return start, ReplyAudio(1, sound(end - start, value))


def spans(channel: np.ndarray) -> list[tuple[float, float, int]]:
    """Where the channel has one value other than 0, in seconds."""
    edges = [0, *(np.diff(channel).nonzero()[0] + 1), len(channel)]
    return [
        (int(a) / 16_000, int(b) / 16_000, int(channel[a]))
        for a, b in pairwise(edges)
        if channel[a]
    ]


def test_the_users_voice_is_kept_and_tells_the_time() -> None:
    tape = Tape()
    for _ in range(100):
        tape.hear(sound(0.02))
    recording = tape.recording
    assert recording.duration == recording.bot.duration_seconds == 2.0
    assert (recording.caller.samples == sound(2.0).samples).all()


def test_the_bot_sounds_when_it_was_played_each_chunk_after_the_one_before() -> None:
    told = [said(0.5, 0.7), (0.6, ReplyAudio(1, sound(0.3, 2000))), said(1.5, 1.6)]
    assert spans(kept(2.0, *told)) == [
        (0.5, 0.7, 1),
        (0.7, 1.0, 2),
        (1.5, 1.6, 1),
    ]


@pytest.mark.parametrize(
    "cut",
    [ReplyPaused(1, 0.75, 0.25), Interrupted(1, 0.75, "so")],
    ids=lambda cut: type(cut).__name__,
)
def test_what_the_loudspeaker_dropped_is_not_heard(cut: Event) -> None:
    told = [said(0.5, 0.7), said(0.7, 0.9, 2000), (0.75, cut)]
    assert spans(kept(2.0, *told)) == [(0.5, 0.7, 1), (0.7, 0.75, 2)]


def test_chunks_dropped_whole_are_not_heard_at_all() -> None:
    told = [said(0.5, 0.7), (0.5, ReplyAudio(1, sound(0.2, 2000))), (0.7, ReplyPaused(1, 0.7, 0.2))]
    assert spans(kept(2.0, *told)) == [(0.5, 0.7, 1)]


def test_an_answer_that_is_resumed_goes_on_from_then() -> None:
    told = [
        said(0.5, 0.9),
        (0.7, ReplyPaused(1, 0.7, 0.2)),
        (1.2, ReplyResumed(1, 1.2, 0.2)),
        said(1.2, 1.4, 2000),
    ]
    assert spans(kept(2.0, *told)) == [(0.5, 0.7, 1), (1.2, 1.4, 2)]


def test_a_pause_of_silence_cuts_nothing() -> None:
    told = [(0.2, ReplyPaused(1, 0.2, 0.0)), said(0.5, 0.9), (1.0, Interrupted(1, 1.0, "so"))]
    assert spans(kept(2.0, *told)) == [(0.5, 0.9, 1)]


def test_the_turns_are_those_that_have_ended() -> None:
    tape = Tape()
    tape.hear(sound(3.0))
    tape.tell(Moment(2.0, TurnEnded(1, "hello", "Hi!", TurnMetrics(0.6), "Hi!", speech=(0.5, 1.0))))
    [turn] = tape.recording.turns
    assert (turn.start, turn.end, turn.reply) == (0.5, 1.0, "Hi!")


def test_a_talk_in_which_nothing_was_heard_is_kept_too() -> None:
    assert Tape().recording.duration == pytest.approx(0.1)


def test_it_runs_out() -> None:
    tape = Tape(length=0.1)
    for n in range(50):
        assert tape.is_full is (n >= 5)
        tape.hear(sound(0.02))
        tape.tell(Moment(n / 50, StateChanged(ConversationState.LISTENING)))
    assert tape.recording.duration == pytest.approx(0.1)
    assert len(tape.recording.moments) == 4
