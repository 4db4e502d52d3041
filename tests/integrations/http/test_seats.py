"""Seats: so many in all, so many for one."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

pytest.importorskip("fastapi")

from realtime_stts.errors import OverloadedError, RateLimitError
from realtime_stts.integrations.starlette import Seats


def test_a_client_has_so_many_and_others_theirs() -> None:
    seats = Seats(total=10, per_client=2)
    with seats.seat("anna"), seats.seat("anna"), seats.seat("ben"):
        assert seats.taken == 3
        with pytest.raises(RateLimitError), seats.seat("anna"):
            pass
        assert seats.taken == 3
    assert seats.taken == 0


def test_there_are_no_more_than_there_are() -> None:
    seats = Seats(total=2, per_client=2)
    with seats.seat("anna"), seats.seat("ben"):
        with pytest.raises(OverloadedError) as refused, seats.seat("carla"):
            pass
        assert not isinstance(refused.value, RateLimitError), "it is not the client's fault"


def test_a_seat_is_free_again_whatever_happened_in_it() -> None:
    seats = Seats(total=1, per_client=1)
    with pytest.raises(ZeroDivisionError), seats.seat("anna"):
        _ = 1 / 0
    with seats.seat("anna"):
        assert seats.taken == 1


def test_clients_that_have_left_are_forgotten() -> None:
    seats = Seats(total=1000, per_client=1)
    with ExitStack() as stack:
        for n in range(1000):
            stack.enter_context(seats.seat(n))
        with pytest.raises(OverloadedError), seats.seat("one more"):
            pass
    assert not seats._taken, "a table that only grows"


@pytest.mark.parametrize(("total", "per_client"), [(0, 1), (1, 0)])
def test_there_must_be_one(total: int, per_client: int) -> None:
    with pytest.raises(ValueError, match="must be a seat"):
        Seats(total, per_client)
