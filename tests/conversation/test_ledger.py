from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import TurnMetrics
from realtime_stts.conversation._ledger import Ledger


def test_a_turn_that_was_not_over_took_no_time() -> None:
    assert Ledger().metrics() == TurnMetrics(0.0)


def test_the_parts_are_counted_one_after_the_other() -> None:
    ledger = Ledger(0.6, 10.0, 10.2, 10.3, 10.5, 10.9, 11.0, audio_duration=3.0, playout=2.0)
    metrics = ledger.metrics()
    assert metrics.transcription_delay == pytest.approx(0.2)
    assert metrics.time_to_first_token == pytest.approx(0.1)
    assert metrics.time_to_first_text == pytest.approx(0.3)
    assert metrics.tts_time_to_first_byte == pytest.approx(0.4)
    assert metrics.handover_delay == pytest.approx(0.1)
    assert metrics.time_to_first_audio == pytest.approx(1.6)
    assert (metrics.audio_duration, metrics.playout) == (3.0, 2.0)


def test_what_was_counted_is_told_as_it_is() -> None:
    assert Ledger(interruptions=2).metrics().interruptions == 2


def test_what_did_not_happen_has_no_time() -> None:
    metrics = Ledger(0.6, 10.0, 10.2).metrics()
    assert metrics.transcription_delay == pytest.approx(0.2)
    assert metrics.time_to_first_token is None
    assert metrics.time_to_first_text is None
    assert metrics.time_to_first_audio is None


def test_nor_has_what_followed_something_that_did_not_happen() -> None:
    metrics = Ledger(0.6, 10.0, worded_at=10.5, sounded_at=10.9, handed_at=11.0).metrics()
    assert metrics == TurnMetrics(0.6)


def test_what_a_speculative_start_did_before_the_turn_was_over_counts_as_no_time() -> None:
    metrics = Ledger(0.6, 10.0, 9.7, 9.75, 9.8, 10.1, 10.1).metrics()
    assert metrics.transcription_delay == 0.0
    assert metrics.time_to_first_token == 0.0
    assert metrics.time_to_first_text == 0.0
    assert metrics.tts_time_to_first_byte == pytest.approx(0.1)
    assert metrics.time_to_first_audio == pytest.approx(0.7)


@given(st.lists(st.floats(0.0, 100.0), min_size=5, max_size=5), st.floats(0.0, 2.0))
def test_the_parts_add_up_to_what_a_person_feels(moments: list[float], delay: float) -> None:
    understood, worded, sounded, handed = sorted(moments[1:])
    ledger = Ledger(delay, moments[0], understood, understood, worded, sounded, handed)
    metrics = ledger.metrics()
    parts = (
        metrics.transcription_delay,
        metrics.time_to_first_text,
        metrics.tts_time_to_first_byte,
        metrics.handover_delay,
    )
    assert metrics.time_to_first_audio == pytest.approx(delay + sum(part or 0.0 for part in parts))
