"""Tickets: good once, for a while, and no more of them than can be kept."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")

from realtime_stts.errors import OverloadedError
from realtime_stts.integrations.starlette import Bearer, Tickets
from realtime_stts.middleware import Principal

ANNA = Principal("anna", {"response"})


def test_a_ticket_lets_in_whom_it_was_issued_to_once() -> None:
    tickets = Tickets()
    ticket = tickets.issue(ANNA, now=0.0)
    assert tickets.redeem(ticket, now=1.0) == Bearer(ANNA)
    assert tickets.redeem(ticket, now=1.0) is None


def test_somebody_who_need_not_be_known_gets_one_too() -> None:
    tickets = Tickets()
    assert tickets.redeem(tickets.issue(None, now=0.0), now=0.0) == Bearer(None)


def test_it_is_good_for_so_many_seconds() -> None:
    tickets = Tickets(ttl=30.0)
    early, late = tickets.issue(ANNA, now=0.0), tickets.issue(ANNA, now=1.0)
    assert tickets.redeem(early, now=30.0) is None
    assert tickets.redeem(late, now=30.0) == Bearer(ANNA)


@pytest.mark.parametrize("ticket", ["", "x", "\ud800", "x" * 100_000])
def test_no_other_text_is_one(ticket: str) -> None:
    tickets = Tickets()
    tickets.issue(ANNA, now=0.0)
    assert tickets.redeem(ticket, now=0.0) is None


def test_all_differ_and_can_be_put_into_an_address() -> None:
    tickets = Tickets()
    issued = {tickets.issue(None, now=0.0) for _ in range(100)}
    assert len(issued) == len(tickets) == 100
    assert all(ticket.replace("-", "").replace("_", "").isalnum() for ticket in issued)
    assert all(len(ticket) >= 32 for ticket in issued), "192 bits cannot be guessed"


def test_it_is_not_kept_itself() -> None:
    tickets = Tickets()
    ticket = tickets.issue(ANNA, now=0.0)
    assert ticket not in repr(vars(tickets))


def test_who_takes_too_many_is_told_when_there_are_more() -> None:
    tickets = Tickets(ttl=30.0, max_out=2)
    tickets.issue(ANNA, now=0.0)
    tickets.issue(ANNA, now=10.0)
    with pytest.raises(OverloadedError) as refused:
        tickets.issue(ANNA, now=12.0)
    assert refused.value.retry_after == 18.0
    tickets.issue(ANNA, now=30.0)
    assert len(tickets) == 2


@pytest.mark.parametrize("options", [{"ttl": 0}, {"ttl": float("nan")}, {"max_out": 0}])
def test_limits_are_positive(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"more than 0|at least 1"):
        Tickets(**options)  # type: ignore[arg-type]
