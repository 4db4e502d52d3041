"""Which pages may open a socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi")

from realtime_stts.integrations.starlette import is_own_origin

HOST = "talk.example.org:8004"


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "http://talk.example.org:8004",
        "https://talk.example.org:8004",
        f"HTTP://{HOST.upper()}",
    ],
)
def test_programs_and_the_servers_own_pages_may(origin: str | None) -> None:
    assert is_own_origin(origin, HOST)


@pytest.mark.parametrize(
    "origin",
    [
        "null",  # of a page in a sandbox, or a file
        "",
        "https://evil.example",
        "https://talk.example.org",  # another port is another origin
        "https://talk.example.org:8004.evil.example",
        "https://eviltalk.example.org:8004",
        "https://talk.example.org:8004@evil.example",
        "ftp://talk.example.org:8004",
        "talk.example.org:8004",
        "http://[",
        "chrome-extension://talk.example.org:8004",
    ],
)
def test_others_may_not(origin: str) -> None:
    assert not is_own_origin(origin, HOST)


def test_a_request_without_a_host_has_no_own_pages() -> None:
    assert not is_own_origin(f"https://{HOST}", None)
    assert not is_own_origin("http://", "")


def test_pages_that_are_named_may() -> None:
    assert is_own_origin("https://app.example", HOST, {"https://app.example"})
    assert not is_own_origin("http://app.example", HOST, {"https://app.example"})
    assert is_own_origin("https://any.example", HOST, ("*",))


@given(st.text())
def test_no_text_gets_past_by_being_odd(origin: str) -> None:
    assert is_own_origin(origin, HOST) == (origin.lower() in (f"http://{HOST}", f"https://{HOST}"))
