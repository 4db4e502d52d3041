"""Token buckets: never more than was said, and the exact time when there is enough."""

from __future__ import annotations

from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.middleware._token_bucket import TokenBuckets

rates = st.floats(0.01, 1000.0)
gaps = st.one_of(st.just(0.0), st.floats(0.0, 10.0))


def test_a_bucket_begins_full_and_fills_up_again() -> None:
    buckets = TokenBuckets(rate=2.0, burst=3.0, max_keys=9)
    assert [buckets.take("a", 1.0, 10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("a", 1.0, 10.5) == 0.0
    assert buckets.take("a", 1.0, 10.5) == 0.5
    assert [buckets.take("a", 3.0, 100.0), buckets.take("a", 3.0, 100.0)] == [0.0, 1.5]


def test_what_is_refused_costs_nothing() -> None:
    buckets = TokenBuckets(rate=1.0, burst=2.0, max_keys=9)
    assert buckets.take("a", 1.0, 0.0) == 0.0
    assert buckets.take("a", 2.0, 0.0) == 1.0
    assert buckets.take("a", 1.0, 0.0) == 0.0


def test_what_costs_nothing_always_passes() -> None:
    buckets = TokenBuckets(rate=1.0, burst=1.0, max_keys=9)
    buckets.take("a", 1.0, 0.0)
    assert buckets.take("a", 0.0, 0.0) == 0.0


def test_more_than_a_bucket_holds_is_never_there() -> None:
    buckets = TokenBuckets(rate=1.0, burst=2.0, max_keys=9)
    assert buckets.take("a", 2.1, 0.0) == inf
    assert len(buckets) == 0


def test_keys_do_not_share() -> None:
    buckets = TokenBuckets(rate=1.0, burst=1.0, max_keys=9)
    assert [buckets.take(key, 1.0, 0.0) for key in "aba"] == [0.0, 0.0, 1.0]


def test_full_buckets_are_forgotten() -> None:
    buckets = TokenBuckets(rate=1.0, burst=1.0, max_keys=9)
    for second in range(100):
        buckets.take(second, 1.0, second * 1.0)
        assert len(buckets) <= 2
    for number in range(9):
        buckets.take(f"late {number}", 1.0, 200.0)
    assert len(buckets) == 9
    for number in range(9):
        buckets.take(f"later {number}", 1.0, 300.0)
    assert len(buckets) <= 9


def test_a_bucket_is_forgotten_in_the_moment_in_which_it_is_full() -> None:
    buckets = TokenBuckets(rate=1.0, burst=1.0, max_keys=9)
    buckets.take("a", 1.0, 0.0)
    buckets.take("b", 1.0, 1.0)
    assert len(buckets) == 1


def test_keys_beyond_the_most_share_one_bucket() -> None:
    buckets = TokenBuckets(rate=1.0, burst=2.0, max_keys=2)
    for key in "ab":
        buckets.take(key, 2.0, 0.0)
    assert [buckets.take(key, 1.0, 0.0) for key in "cdea"] == [0.0, 0.0, 1.0, 1.0]
    assert len(buckets) == 2


def test_a_key_that_gets_its_own_bucket_keeps_what_it_owes() -> None:
    buckets = TokenBuckets(rate=1.0, burst=2.0, max_keys=1)
    buckets.take("a", 1.0, 0.0)  # full again at 1 s
    assert [buckets.take("b", 1.0, 0.5) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert buckets.take("b", 1.0, 1.0) == 0.5
    assert len(buckets) == 1  # its own from now on, so others do not empty it
    assert buckets.take("c", 1.0, 1.5) == 0.0
    assert buckets.take("b", 1.0, 1.5) == 0.0


@given(
    rate=rates,
    burst=st.floats(1.0, 50.0),
    max_keys=st.integers(1, 3),
    calls=st.lists(st.tuples(gaps, st.sampled_from("abcd"), st.floats(0.0, 60.0)), max_size=40),
)
def test_no_key_gets_more_than_its_due_in_any_window(
    rate: float, burst: float, max_keys: int, calls: list[tuple[float, str, float]]
) -> None:
    buckets, now = TokenBuckets(rate, burst, max_keys), 0.0
    taken: dict[str, list[tuple[float, float]]] = {}
    for gap, key, cost in calls:
        now += gap
        if buckets.take(key, cost, now) == 0.0:
            taken.setdefault(key, []).append((now, cost))
        assert len(buckets) <= max_keys
    for times in taken.values():
        for first in range(len(times)):
            total = 0.0
            for time, cost in times[first:]:
                total += cost
                assert total <= burst + rate * (time - times[first][0]) + 1e-6 * burst


@given(
    rate=rates,
    burst=st.floats(1.0, 50.0),
    begin=st.floats(0.0, 1e6),
    costs=st.lists(st.floats(0.0, 1.0), min_size=1),
)
def test_the_time_to_come_back_is_exact(
    rate: float, burst: float, begin: float, costs: list[float]
) -> None:
    """Then it passes, and a moment before it does not."""

    def emptied() -> TokenBuckets:
        buckets = TokenBuckets(rate, burst, 9)
        buckets.take("a", burst, begin)
        return buckets

    for cost in costs:
        wait = emptied().take("a", cost, begin)
        assert 0.0 <= wait < inf
        assert emptied().take("a", cost, begin + wait) == 0.0
        if wait > 0.0:
            ready = begin + wait
            before = nextafter(nextafter(ready, 0.0), 0.0)
            assert before < begin or emptied().take("a", cost, before) > 0.0


def test_the_time_to_come_back_is_not_rounded_down() -> None:
    """Of these numbers, ``now + (ready - now)`` is a little less than ``ready``."""
    buckets = TokenBuckets(rate=3.0, burst=2.0, max_keys=9)
    buckets.take("a", 2.0, 0.1)
    wait = buckets.take("a", 1.0, 0.1)
    assert 0.1 + nextafter(wait, 0.0) < 0.1 + wait
    assert buckets.take("a", 1.0, 0.1 + wait) == 0.0


@pytest.mark.parametrize("now", [0.0, 1e-9, 123.456, 1e9])
def test_there_is_nothing_to_tell_apart_when_clocks_are_coarse(now: float) -> None:
    buckets = TokenBuckets(rate=3.0, burst=1.0, max_keys=9)
    for _ in range(1000):
        wait = buckets.take("a", 1.0, now)
        assert wait == 0.0 or buckets.take("a", 1.0, now) > 0.0
        now += wait
