"""Who is computed for next."""

from __future__ import annotations

import pytest

pytest.importorskip("chatterbox")

from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.engines.chatterbox._turns import Claim, Turn, next_turn

claims = st.lists(
    st.builds(Claim, due=st.floats(0.0, 100.0), renders=st.booleans(), speaks=st.booleans()),
    max_size=6,
)


def test_nobody_if_nobody_wants_anything() -> None:
    assert next_turn([]) is None
    assert next_turn([Claim(1.0, renders=False, speaks=False)]) is None


def test_the_one_whose_listener_runs_out_first() -> None:
    late, soon = Claim(9.0, renders=True, speaks=True), Claim(2.0, renders=True, speaks=True)
    assert next_turn([late, soon]) == Turn(1)


def test_a_first_sound_goes_before_more_of_others() -> None:
    """Who came at 5 and has none yet is due since then; who plays until 8 is not."""
    playing, new = Claim(8.0, renders=True, speaks=True), Claim(5.0, renders=False, speaks=True)
    assert next_turn([playing, new]) == Turn(None)


def test_sound_is_made_of_the_tokens_there_are_before_there_are_more() -> None:
    assert next_turn([Claim(0.0, renders=True, speaks=True)]) == Turn(0)


@given(claims)
def test_somebody_able_has_a_turn_and_nobody_able_is_more_urgent(claims: list[Claim]) -> None:
    turn = next_turn(claims)
    able = [claim for claim in claims if claim.renders or claim.speaks]
    assert (turn is None) == (not able)
    if turn is None:
        return
    first = min(claim.due for claim in able)
    if turn.render is None:
        assert any(claim.speaks and claim.due == first for claim in able)
    else:
        assert claims[turn.render].renders
        assert claims[turn.render].due == first
