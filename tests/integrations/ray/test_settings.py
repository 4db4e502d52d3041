"""What may be said about a deployment and an engine, and what is refused at once."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.integrations._ray._settings import (
    Autoscaling,
    EdgeOptions,
    checked_name,
    scaling_options,
)


@pytest.mark.parametrize(
    "options",
    [
        {"min_replicas": -1},
        {"min_replicas": 3, "max_replicas": 2},
        {"min_replicas": 0, "max_replicas": 0},
        {"target": 0.0},
        {"target": inf},
        {"upscale_delay": -1.0},
        {"downscale_delay": nan},
        {"window": 10.0},
    ],
)
def test_a_scaling_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Autoscaling(**options)


def test_a_fixed_number_of_replicas_is_that_number() -> None:
    assert scaling_options(3, 1) == {"num_replicas": 3}
    with pytest.raises(ValueError, match="replicas is 1 or more"):
        scaling_options(0, 1)
    with pytest.raises(ValueError, match="slots is 1 or more"):
        scaling_options(1, 0)


@given(slots=st.integers(1, 1000))
def test_scaling_begins_before_all_slots_are_taken(slots: int) -> None:
    """Calls beyond the slots wait where Ray does not see them."""
    config = scaling_options(Autoscaling(), slots)["autoscaling_config"]
    assert 0.0 < config["target_ongoing_requests"] < slots


def test_a_target_that_is_never_exceeded_is_refused() -> None:
    with pytest.raises(ValueError, match="target is below the 2 slots"):
        scaling_options(Autoscaling(target=2.0), 2)


def test_serve_is_told_what_was_said() -> None:
    scaling = Autoscaling(
        min_replicas=0,
        max_replicas=9,
        target=1.5,
        upscale_delay=2.0,
        downscale_delay=60.0,
        window=40.0,
    )
    assert scaling_options(scaling, 2)["autoscaling_config"] == {
        "min_replicas": 0,
        "max_replicas": 9,
        "target_ongoing_requests": 1.5,
        "upscale_delay_s": 2.0,
        "downscale_delay_s": 60.0,
        "look_back_period_s": 40.0,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"share": 0.0},
        {"share": 1.1},
        {"max_waiting": -1},
        {"timeout": 0.0},
        {"retries": -1},
        {"patience": 0.0},
        {"batch": -0.1},
        {"batch": 11.0},
    ],
)
def test_an_edge_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        EdgeOptions(**options)


@given(replicas=st.integers(0, 10_000), slots=st.integers(1, 1000), n_edges=st.integers(1, 100))
def test_edges_that_share_take_no_more_than_there_is_if_each_has_a_slot(
    replicas: int, slots: int, n_edges: int
) -> None:
    there = max(1, replicas) * slots
    each = EdgeOptions(share=1 / n_edges).slots(replicas, slots)
    assert each >= 1  # even where there is none now: the call then waits for a replica
    assert each * n_edges <= max(there, n_edges)


def test_as_many_may_wait_as_there_are_slots_unless_it_is_said() -> None:
    assert EdgeOptions().places(8) == 8
    assert EdgeOptions(max_waiting=0).places(8) == 0


def test_a_name_is_for_logs_and_addresses() -> None:
    assert checked_name("stt-2.en_us") == "stt-2.en_us"
    for name in ("", "-x", "a b", "a#b", "x" * 65, "ö"):
        with pytest.raises(ValueError, match="a deployment's name"):
            checked_name(name)
