"""Variables within a configuration have the type that their text has in YAML."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.errors import SettingsError
from realtime_stts.settings._substitution import scalar, substituted

ENVIRON = {"PORT": "8004", "HOST": "example.org", "ON": "true", "EMPTY": "", "HALF": "0.5"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${PORT}", 8004),
        ("${PORT:1}", 8004),
        ("${NOT:8004}", 8004),
        ("${HALF}", 0.5),
        ("${ON}", True),
        ("${NOT:null}", None),
        ("${HOST}", "example.org"),
        ("${EMPTY}", ""),
        ("${NOT:}", ""),
        ("http://${HOST}:${PORT}", "http://example.org:8004"),
        ("${PORT} ", "8004 "),
        ("$PORT and $${not}", "$PORT and $${not}".replace("${not}", "")),
        ("plain", "plain"),
        (3, 3),
        (None, None),
    ],
)
def test_a_value(text: Any, value: Any) -> None:
    environ = {**ENVIRON, "not": ""}
    assert substituted({"k": text}, environ) == {"k": value}


def test_within_lists_and_mappings_but_not_in_keys() -> None:
    config = {"${HOST}": [{"x": "${PORT}"}, "${ON}"]}
    assert substituted(config, ENVIRON) == {"${HOST}": [{"x": 8004}, True]}


def test_all_that_are_missing_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        substituted({"a": {"b": "${X}"}, "c": ["x", "${Y}"]}, {})
    assert caught.value.problems == {
        "a.b": "the variable X is not set, and has no default",
        "c.1": "the variable Y is not set, and has no default",
    }


@given(st.text())
def test_a_scalar_is_never_a_structure(text: str) -> None:
    assert isinstance(scalar(text), str | int | float | bool | None)


@pytest.mark.parametrize("text", ["[1, 2]", "{a: 1}", "a: 1", "2020-01-01", "2020-99-99", "*x"])
def test_other_text_stays_text(text: str) -> None:
    assert scalar(text) == text
