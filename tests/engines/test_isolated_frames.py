"""Messages on a pipe: whole however they are cut, and refused when they are no messages."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.engines import _isolated_frames
from realtime_stts.engines._isolated_frames import (
    FRAGMENT,
    MAX_HEADER,
    PROTOCOL,
    FrameError,
    Hello,
    Message,
    Unframer,
    frames,
    hello_line,
    packed_header,
    read_hello,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=3,
)
HEADERS = st.dictionaries(st.text().filter(lambda key: key not in ("id", "more")), VALUES)
MESSAGES = st.builds(Message, HEADERS, st.binary())


def numbered(messages: list[Message]) -> list[Message]:
    return [Message({**each.header, "id": n}, each.payload) for n, each in enumerate(messages)]


def framed(message: Message) -> list[bytes]:
    header: Any = message.header
    return [*frames(packed_header(header), message.payload, header.get("id"))]


@pytest.fixture(autouse=True, scope="module")
def _small_fragments() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_isolated_frames, "FRAGMENT", 16)
        yield


@given(st.lists(MESSAGES, max_size=4).map(numbered), st.data())
def test_messages_arrive_whole_however_their_bytes_are_cut(
    messages: list[Message], data: st.DataObject
) -> None:
    stream = b"".join(frame for message in messages for frame in framed(message))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    unframer = Unframer()
    arrived = [
        message
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for message in unframer.feed(stream[start:end])
    ]
    assert arrived == messages


@given(st.lists(MESSAGES, max_size=4).map(numbered), st.randoms())
def test_frames_of_several_messages_may_be_mixed(messages: list[Message], random: Any) -> None:
    waiting = [framed(message) for message in messages]
    unframer, arrived = Unframer(), []
    while waiting:
        one = random.choice(waiting)
        arrived += unframer.feed(one.pop(0))
        waiting = [each for each in waiting if each]
    assert sorted(arrived, key=lambda message: message.header["id"]) == messages


def test_a_message_given_up_half_way_is_dropped() -> None:
    first, *_ = framed(Message({"id": 1}, bytes(100)))
    unframer = Unframer()
    assert unframer.feed(first) == []
    assert unframer.feed(framed(Message({"id": 1, "do": "cancel"}))[0]) == [
        Message({"id": 1, "do": "cancel"})
    ]


@given(st.binary(min_size=1))
def test_other_bytes_are_no_messages(data: bytes) -> None:
    """They are refused at the first two bytes, before anything is waited for."""
    if not b"\xf5\x5f".startswith(data[:2]):
        with pytest.raises(FrameError):
            Unframer().feed(data)


@given(st.binary(max_size=60))
def test_whatever_follows_the_mark_nothing_else_is_raised(data: bytes) -> None:
    with suppress(FrameError):
        Unframer().feed(b"\xf5\x5f" + data)


@pytest.mark.parametrize(
    ("header", "lengths"),
    [
        pytest.param(b"{}", (MAX_HEADER + 1, 0, 0), id="a long header"),
        pytest.param(b"{}", (2, FRAGMENT + 1, 0), id="a long fragment"),
        pytest.param(b"{}", (2, 0, 1 << 40), id="a long payload"),
        pytest.param(b"[]", (2, 0, 0), id="a header that is a list"),
        pytest.param(b"{", (1, 0, 0), id="a header cut short"),
        pytest.param(b"\xff\xff", (2, 0, 0), id="a header that is no text"),
        pytest.param(b"[" * 9999, (9999, 0, 0), id="a header nested too deep"),
        pytest.param(b'{"more":1}', (10, 0, 0), id="the rest of nothing"),
    ],
)
def test_a_frame_out_of_bounds_is_refused(header: bytes, lengths: tuple[int, ...]) -> None:
    with pytest.raises(FrameError):
        Unframer().feed(struct.pack("<2sIIQ", b"\xf5\x5f", *lengths) + header)


def test_a_frame_lost_on_the_way_is_noticed() -> None:
    first, _, third, *_ = framed(Message({"id": 1}, bytes(64)))
    unframer = Unframer()
    unframer.feed(first)
    with pytest.raises(FrameError, match="missing"):
        unframer.feed(third)


def test_a_header_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(ValueError, match="limit"):
        packed_header({"text": "x" * MAX_HEADER})


@given(st.binary(max_size=200), st.binary(max_size=50), st.integers(0, 300))
def test_hello_is_found_behind_what_was_printed_before(
    before: bytes, after: bytes, cut: int
) -> None:
    hello = Hello(PROTOCOL, "1.2.3", "3.11.7")
    line = hello_line(hello)
    if line[:10] in before:
        return
    data = before + line + after
    early = data[: min(cut, len(before) + len(line) - 1)]
    assert read_hello(early) is None
    assert read_hello(data) == (hello, before, after)


@pytest.mark.parametrize("said", [b"\nrealtime-stts engine process no\n", bytes(1 << 17)])
def test_what_is_no_hello_is_refused(said: bytes) -> None:
    with pytest.raises(FrameError):
        read_hello(said)
