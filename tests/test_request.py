"""The id that everything done for one request carries."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from realtime_stts import request_scope
from realtime_stts._request import (
    Origin,
    current_origin,
    current_request_id,
    current_token,
    new_request_id,
)


def test_a_new_id_is_hexadecimal() -> None:
    assert len(new_request_id()) == 32
    int(new_request_id(), 16)


def test_ids_are_made_new_outside_of_a_scope() -> None:
    ids = {current_request_id() for _ in range(100)}
    assert len(ids) == 100
    assert {len(each) for each in ids} == {32}


def test_a_scope_gives_its_id_to_what_happens_inside_and_then_ends() -> None:
    with request_scope(id="outer"):
        with request_scope(id="inner") as inner:
            assert current_request_id() == inner == "inner"
        assert current_request_id() == "outer"
    assert current_request_id() != "outer"


def test_a_scope_without_an_id_makes_one_for_all_inside() -> None:
    with request_scope() as made:
        assert current_request_id() == current_request_id() == made


def test_a_scope_ends_when_its_body_fails() -> None:
    with pytest.raises(LookupError), request_scope(id="failed"):
        raise LookupError
    assert current_request_id() != "failed"


@pytest.mark.anyio
async def test_child_tasks_inherit_the_scope_and_siblings_do_not_share_theirs() -> None:
    seen: dict[str, str] = {}

    async def ask(name: str) -> None:
        with request_scope(id=f"{current_request_id()}/{name}"):
            await anyio.lowlevel.checkpoint()
            seen[name] = current_request_id()

    with request_scope(id="parent"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "a")
            tasks.start_soon(ask, "b")
    assert seen == {"a": "parent/a", "b": "parent/b"}


@pytest.mark.parametrize(
    "id",
    [
        pytest.param("", id="empty"),
        pytest.param("x" * 129, id="too long"),
        pytest.param("a\nERROR forged", id="a line break"),
        pytest.param("a\x1b[2J", id="a terminal escape"),
        pytest.param("ключ", id="not ASCII: it would not fit a header"),
    ],
)
def test_ids_that_could_do_harm_are_refused(id: str) -> None:
    with pytest.raises(ValueError, match="1 to 128 printable ASCII"), request_scope(id=id):
        pass


@pytest.mark.parametrize("id", ["a", "x" * 128, "00-4bf92f3577b34da6a3ce929d0e0e4736-01", "a b"])
def test_ordinary_ids_are_taken_as_they_are(id: str) -> None:
    with request_scope(id=id):
        assert current_request_id() == id


def test_a_session_and_a_token_hold_for_the_scopes_within() -> None:
    assert current_origin() == Origin(None, None, None)
    with request_scope(session_id="s-1", token="secret"):
        with request_scope(id="r-2"):
            assert current_origin() == Origin("r-2", "s-1", "secret")
            assert current_token() == "secret"
            with request_scope(session_id="s-2", token="other"):
                assert current_origin()[1:] == ("s-2", "other")
        assert current_origin().session_id == "s-1"
    assert current_origin() == Origin(None, None, None)


def test_a_session_id_is_no_less_careful_than_a_request_id() -> None:
    with pytest.raises(ValueError, match="1 to 128 printable"), request_scope(session_id="a\nb"):
        pass
    assert current_origin() == Origin(None, None, None)


def test_a_token_is_not_shown() -> None:
    with request_scope(id="r", token="secret"):
        assert "secret" not in f"{current_origin()!r} {current_origin()}"
