"""Values as files and displays have them, and secrets that come back masked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from realtime_stts.settings._plain import holds_secret, plain, unmask
from realtime_stts.settings._section import MASK, Section, option


class Token(Section):
    token: SecretStr = option(SecretStr("s3cret"), "x")
    uses: tuple[str, ...] = option(("b", "a"), "x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (None, None),
        ("x", "x"),
        (Path("a/b"), str(Path("a/b"))),
        ((1, (2,)), [1, [2]]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({"k": Token()}, {"k": {"token": "s3cret", "uses": ["b", "a"]}}),
    ],
)
def test_plain(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_without_secrets() -> None:
    assert plain({"k": Token()}, secrets=False)["k"]["token"] == MASK


@pytest.mark.parametrize(
    ("value", "secret"),
    [(SecretStr("x"), True), (Token(), True), ({"k": Token()}, True), ({}, False), ("x", False)],
)
def test_holds_secret(value: Any, secret: bool) -> None:
    assert holds_secret(value) is secret


def test_asterisks_that_come_back_are_what_they_hid() -> None:
    current = {"a": {"token": "s3cret"}, "b": {"token": "other"}}
    shown: dict[str, Any] = {"a": {"token": MASK}, "b": {"token": "new"}, "c": {"token": MASK}}
    assert unmask(shown, current) == {
        "a": {"token": "s3cret"},
        "b": {"token": "new"},
        "c": {"token": MASK},  # it hid nothing: validation refuses it
    }
    assert unmask(MASK, "s3cret") == "s3cret"
    assert unmask(MASK, None) == MASK
    assert unmask("new", "old") == "new"
