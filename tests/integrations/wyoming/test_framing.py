"""Events as bytes: what is one, and what is too much."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("wyoming")

from wyoming.event import Event

from realtime_stts.integrations._wyoming._framing import (
    MAX_DATA,
    MAX_PAYLOAD,
    MalformedError,
    encoded,
    parsed_data,
    parsed_header,
)

VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON = VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(st.text(max_size=5), VALUES)


@given(st.text(), st.dictionaries(st.text(max_size=5), JSON, max_size=3), st.binary())
def test_what_the_package_writes_is_read(type_: str, data: dict[str, Any], payload: bytes) -> None:
    line, _, rest = encoded(Event(type_, data, payload)).partition(b"\n")
    header = parsed_header(line)
    assert header.type == type_
    assert len(rest) == header.data_length + header.payload_length
    assert (parsed_data(rest[: header.data_length]) if data else {}) == data
    assert rest[header.data_length :] == payload


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_all_else_is_malformed(line: bytes) -> None:
    try:
        parsed_header(line)
    except MalformedError:
        return
    assert isinstance(json.loads(line)["type"], str)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"data": {}}, "an event has a type"),
        ({"type": 7}, "an event has a type"),
        ({"type": "a", "data": []}, "data are an object"),
        ({"type": "a", "data_length": True}, "data_length is a number of bytes"),
        ({"type": "a", "data_length": -1}, "data_length is a number of bytes"),
        ({"type": "a", "data_length": MAX_DATA + 1}, f"at most {MAX_DATA} bytes"),
        ({"type": "a", "payload_length": 1.5}, "payload_length is a number of bytes"),
        ({"type": "a", "payload_length": MAX_PAYLOAD + 1}, f"at most {MAX_PAYLOAD} bytes"),
        ({"type": "a", "payload_length": 10**15}, f"at most {MAX_PAYLOAD} bytes"),
    ],
)
def test_a_line_says_what_follows(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        parsed_header(json.dumps(fields).encode())


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"[" * 60_000, b"9" * 60_000])
def test_data_are_an_object(raw: bytes) -> None:
    with pytest.raises(MalformedError, match="an event's data"):
        parsed_data(raw)
