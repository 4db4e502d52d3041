from __future__ import annotations

import pytest

from realtime_stts import Exchange
from realtime_stts.conversation._history import History


def exchange(turn: int) -> Exchange:
    return Exchange(turn, "hi", "Hello.", "Hello.")


def test_the_last_exchanges_are_kept_oldest_first() -> None:
    history = History(max_length=2)
    for turn in (1, 2, 3):
        history.add(exchange(turn))
    assert history.snapshot() == (exchange(2), exchange(3))


def test_fifty_are_kept_unless_asked_otherwise() -> None:
    history = History()
    for turn in range(1, 61):
        history.add(exchange(turn))
    assert [kept.turn for kept in history.snapshot()] == [*range(11, 61)]


def test_a_snapshot_stays_as_it_was() -> None:
    history = History()
    history.add(exchange(1))
    before = history.snapshot()
    history.add(exchange(2))
    history.clear()
    assert before == (exchange(1),)
    assert history.snapshot() == ()


def test_a_history_may_be_empty_but_not_negative() -> None:
    none = History(max_length=0)
    none.add(exchange(1))
    assert none.snapshot() == ()
    with pytest.raises(ValueError, match="not negative"):
        History(max_length=-1)
