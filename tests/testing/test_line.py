"""What a loudspeaker plays, and when: nothing twice, nothing lost, nothing that was dropped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import (
    AudioData,
    Interrupted,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
)
from realtime_stts.testing import speak_tones, tone_text
from realtime_stts.testing._line import Moment, Playout

RATE = 16_000


def tone(seconds: float, rate: int = RATE) -> AudioData:
    return AudioData.from_samples(np.full(round(seconds * rate), 0.5), rate)


def sounding(audio: AudioData) -> list[tuple[float, float]]:
    """Where there is sound, to a hundredth of a second."""
    edges = np.flatnonzero(np.diff(np.abs(audio.samples[:, 0]) > 0.25, prepend=False, append=False))
    times = np.round(edges / audio.sample_rate, 2).tolist()
    return [*zip(times[::2], times[1::2], strict=True)]


def test_a_sound_is_played_when_it_comes() -> None:
    playout = Playout()
    playout.play(1.5, 1, tone(0.5))
    assert sounding(playout.mixed(4.0)) == [(1.5, 2.0)]


def test_one_that_comes_early_is_played_when_the_one_before_has_ended() -> None:
    playout = Playout()
    playout.play(1.0, 1, tone(1.0))
    playout.play(1.1, 1, tone(0.5))
    assert playout.end == 2.5
    assert sounding(playout.mixed(4.0)) == [(1.0, 2.5)]


def test_one_that_comes_late_leaves_a_gap() -> None:
    playout = Playout()
    playout.play(0.0, 1, tone(0.5))
    playout.play(1.0, 1, tone(0.5))
    assert sounding(playout.mixed(2.0)) == [(0.0, 0.5), (1.0, 1.5)]
    assert playout.spans == {1: [(0.0, 0.5), (1.0, 1.5)]}


def test_each_turn_has_its_spans() -> None:
    playout = Playout()
    playout.play(0.0, 1, tone(1.0))
    playout.play(0.1, 1, tone(1.0))
    playout.play(0.2, 2, tone(0.5))
    assert playout.spans == {1: [(0.0, 2.0)], 2: [(2.0, 2.5)]}
    assert [playout.played(1, t) for t in (0.0, 1.5, 9.0)] == [0.0, 1.5, 2.0]
    assert [playout.played(2, t) for t in (1.5, 2.25)] == [0.0, 0.25]
    assert playout.played(3, 9.0) == 0.0


@pytest.mark.parametrize(
    "stop",
    [ReplyPaused(1, 1.3, 0.3), Interrupted(1, 1.3, "he")],
)
def test_what_was_not_played_is_dropped(stop: ReplyPaused | Interrupted) -> None:
    playout = Playout()
    for _ in range(5):
        playout.tell(Moment(1.0, ReplyAudio(1, tone(0.2))))
    playout.tell(Moment(1.3, stop))
    assert playout.end == 1.3
    assert playout.spans == {1: [(1.0, 1.3)]}
    playout.tell(Moment(2.0, ReplyAudio(1, tone(0.5))))
    assert sounding(playout.mixed(4.0)) == [(1.0, 1.3), (2.0, 2.5)]
    assert playout.played(1, 2.1) == pytest.approx(0.4)


def test_dropping_takes_nothing_that_was_played() -> None:
    playout = Playout()
    playout.drop(0.5)
    playout.play(0.0, 1, tone(0.5))
    playout.drop(2.0)
    assert (playout.end, playout.spans) == (0.5, {1: [(0.0, 0.5)]})
    playout.play(2.0, 2, tone(1.0))
    playout.drop(2.0)
    assert (playout.end, playout.spans) == (2.0, {1: [(0.0, 0.5)], 2: []})
    assert sounding(playout.mixed(4.0)) == [(0.0, 0.5)]


def test_other_events_change_nothing() -> None:
    playout = Playout()
    playout.play(0.0, 1, tone(0.5))
    playout.tell(Moment(0.2, ReplyResumed(1, 0.2, 0.2)))
    assert playout.end == 0.5


def test_a_reply_that_goes_on_where_it_stopped_can_be_read() -> None:
    reply = speak_tones("Once upon a time", RATE)
    playout = Playout()
    playout.tell(Moment(1.0, ReplyAudio(1, reply)))
    playout.tell(Moment(1.4, ReplyPaused(1, 1.4, 0.4)))
    playout.tell(Moment(3.0, ReplyAudio(1, reply.sliced(0.4))))
    assert tone_text(playout.mixed(5.0)) == "Once upon a time"


def test_another_rate_is_resampled_to_the_first() -> None:
    playout = Playout()
    playout.play(0.0, 1, tone(0.5, 24_000))
    playout.play(0.5, 2, tone(0.5, 8_000))
    playout.play(2.0, 3, tone(0.5, 8_000))
    mixed = playout.mixed(3.0)
    assert mixed.sample_rate == 24_000
    assert sounding(mixed) == [(0.0, 1.0), (2.0, 2.5)]


def test_other_layouts_become_16_bit_mono() -> None:
    playout = Playout()
    playout.play(0.0, 1, AudioData.from_samples(np.full((RATE, 2), 0.5), RATE, "pcm_f32le"))
    assert sounding(playout.mixed(2.0)) == [(0.0, 1.0)]


def test_what_lies_past_the_end_is_cut() -> None:
    playout = Playout()
    playout.play(0.5, 1, tone(1.0))
    playout.play(3.0, 1, tone(1.0))
    assert playout.mixed(1.0).duration_seconds == 1.0
    assert sounding(playout.mixed(1.0)) == [(0.5, 1.0)]


def test_a_bot_that_never_spoke_is_silent() -> None:
    mixed = Playout().mixed(1.0)
    assert mixed.duration_seconds == 1.0
    assert not mixed.samples.any()


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 1_000)), max_size=10))
def test_no_sample_is_lost_or_played_over_another(sounds: list[tuple[float, int]]) -> None:
    playout, t = Playout(), 0.0
    for gap, n_samples in sounds:
        t += gap
        playout.play(t, 1, tone(n_samples / RATE))
    total = sum(n_samples for _, n_samples in sounds)
    mixed = playout.mixed(playout.end + 1.0)
    # Runs begin on whole samples: each may cover at most one of the run before.
    assert total - len(sounds) <= np.count_nonzero(mixed.samples) <= total
