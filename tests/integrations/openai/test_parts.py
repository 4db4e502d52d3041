"""Messages, events, calls and tools, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("openai")

from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.integrations._openai_chat._answer import ModelAnswer
from realtime_stts.integrations._openai_chat._events import EventReader
from realtime_stts.integrations._openai_chat._messages import conversation
from realtime_stts.integrations._openai_chat._tools import Toolbox
from realtime_stts.protocols import ConversationContext, Exchange

# -- messages ------------------------------------------------------------------------------


def messages(
    *history: Exchange, instructions: str = "", most: int = 20, characters: int = 1000
) -> list[tuple[str, str]]:
    found = conversation(instructions, history, "now", max_history=most, max_characters=characters)
    return [(each["role"][0], each["content"]) for each in found]


def test_a_conversation_begins_with_what_is_said() -> None:
    assert messages() == [("u", "now")]
    assert messages(instructions="Be brief.") == [("s", "Be brief."), ("u", "now")]


def test_an_answer_of_which_nothing_was_heard_is_only_a_mark() -> None:
    (system, *rest) = messages(Exchange(1, "hi", "Hello.", ""))
    assert system[1].startswith("Where an answer of yours ends in")
    assert rest == [("u", "hi"), ("a", "[cut off]"), ("u", "now")]


def test_roles_take_turns_where_there_was_no_answer() -> None:
    """Some models' templates insist on it."""
    silent = Exchange(1, "hm", "", "")
    assert messages(silent, silent) == [("u", "hm\nhm\nnow")]
    assert messages(Exchange(1, "", "Hello.", "Hello.")) == [("a", "Hello."), ("u", "now")]


EXCHANGES = st.lists(
    st.builds(
        lambda user, reply, cut: Exchange(1, user, reply, reply[:cut]),
        st.text(max_size=9),
        st.text(max_size=9),
        st.integers(0, 9),
    ),
    max_size=8,
)


@given(EXCHANGES, st.integers(0, 9), st.integers(0, 60))
def test_a_history_is_as_long_as_it_may_be(
    history: list[Exchange], most: int, characters: int
) -> None:
    """The latest exchanges, as many as both bounds allow."""
    kept = 0
    for count in range(min(most, len(history)) + 1):
        latest = history[len(history) - count :]
        if sum(len(each.user) + len(each.heard) for each in latest) <= characters:
            kept = count
    expected = messages(*history[len(history) - kept :])
    assert messages(*history, most=most, characters=characters) == expected
    roles = [role for role, _ in expected if role != "s"]
    assert all(one != other for one, other in pairwise(roles))
    assert roles[-1] == "u"


# -- events --------------------------------------------------------------------------------


def read(body: bytes, cuts: list[int]) -> list[str]:
    reader = EventReader()
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [data for a, b in pairwise(edges) for data in reader.push(body[a:b])]


@given(st.lists(st.integers(0, 300), max_size=30), st.sampled_from(["\n", "\r\n", "\r"]))
def test_events_are_the_same_however_they_are_cut(cuts: list[int], end: str) -> None:
    lines = (
        "\ufeffdata: one",
        "",
        ": a comment",
        "",
        "event: delta",
        "data:two",
        "data: héllo",
        "id: 7",
        "",
        "retry",
        "data",
        "",
        "data: not whole",
    )
    expected = ["one", "two\nhéllo", ""]
    assert read(end.join(lines).encode(), cuts) == expected


@pytest.mark.parametrize("body", [b"x" * ((1 << 20) + 1), (b"data: " + b"x" * 999 + b"\n") * 1100])
def test_what_does_not_end_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="does not end"):
        read(body, [])


# -- answers -------------------------------------------------------------------------------


def answered(*deltas: Any) -> ModelAnswer:
    answer = ModelAnswer()
    for delta in deltas:
        answer.take({"choices": [{"delta": delta, "finish_reason": None}]})
    answer.finish()
    return answer


@given(st.lists(st.integers(0, 60), max_size=12), st.sampled_from(["", " \n"]))
def test_thoughts_are_left_out_however_they_are_cut(cuts: list[int], before: str) -> None:
    text = f"{before}<think>Hm. </thin <b></think>\n\nYes. </think> <think>"
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    answer = answered(*({"content": text[a:b]} for a, b in pairwise(edges)))
    assert answer.text == "Yes. </think> <think>"


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param(
            [
                {"index": 0, "id": "a", "function": {"name": "one", "arguments": "{"}},
                {"index": 1, "id": "b", "function": {"name": "two", "arguments": "["}},
                {"index": 0, "function": {"arguments": "}"}},
                {"index": 1, "id": "b", "function": {"arguments": "]"}},
            ],
            id="interleaved",
        ),
        pytest.param(
            [
                {"id": "a", "function": {"name": "one", "arguments": "{"}},
                {"function": {"arguments": "}"}},
                {"id": "b", "function": {"name": "two", "arguments": "[]"}},
            ],
            id="without an index",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a"},
                {"index": 0, "function": {"name": "one"}},
                {"index": 0, "function": {"arguments": "{}"}},
                {"index": 1, "function": {"name": "two", "arguments": "[]"}},
                {"index": 1, "id": "b"},
                {"index": 1, "function": None},
            ],
            id="one thing after the other",
        ),
    ],
)
def test_calls_are_put_together(deltas: list[Any]) -> None:
    answer = answered(*({"tool_calls": [each]} for each in deltas))
    found = [(call.id, call.name, call.arguments) for call in answer.calls]
    assert found == [("a", "one", "{}"), ("b", "two", "[]")]


def test_a_call_without_an_id_gets_one() -> None:
    answer = answered({"tool_calls": [{"index": 0, "function": {"name": "one"}}, "odd"]})
    assert answer.message()["tool_calls"] == [
        {"id": "call_0", "type": "function", "function": {"name": "one", "arguments": "{}"}}
    ]


def test_arguments_that_do_not_end_are_refused() -> None:
    endless = {"tool_calls": [{"index": 0, "function": {"arguments": "x" * 200_000}}]}
    with pytest.raises(ValueError, match="do not end"):
        answered(endless)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "content", "tool_calls", "index", "id", "function", "name"]
            ),
            inner,
        )
    ),
    max_leaves=9,
)


@given(st.lists(JSON, max_size=3))
def test_whatever_a_server_sends_is_taken(chunks: list[Any]) -> None:
    answer = ModelAnswer()
    said = "".join([*map(answer.take, chunks), answer.finish()])
    assert said == answer.text
    json.dumps(answer.message())


# -- tools ---------------------------------------------------------------------------------


async def fine(city: str, *, context: ConversationContext, days: int = 1) -> str:
    return city


async def starred(*cities: str) -> None: ...
async def keyed(**cities: str) -> None: ...
async def positional(city: str, /) -> None: ...
async def bare(city) -> None: ...  # type: ignore[no-untyped-def]
async def unknown(city: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def odd(city: ModelAnswer | Any, back: Callable[[], None]) -> None: ...
async def opaque(reader: EventReader) -> None: ...
def plain(city: str) -> None: ...


@pytest.mark.parametrize(
    ("tool", "says"),
    [
        (starred, r"has \*cities: .*, for which"),
        (keyed, r"has \*\*cities: .*, for which"),
        (positional, "for which a model has no name"),
        (bare, "city has no annotation"),
        (unknown, "'Nowhere' is not defined"),
        (odd, "without JSON"),
        (opaque, "without JSON"),
        (plain, "an async function"),
        (7, "an async function"),
        (type("Named", (), {"__name__": "a name"})(), "an async function"),
    ],
)
def test_a_function_that_is_no_tool_is_refused(tool: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Toolbox([tool], 1.0)


def test_a_tool_has_one_name() -> None:
    with pytest.raises(ValueError, match="two tools are called 'fine'"):
        Toolbox([fine, fine], 1.0)


def test_a_tool_is_described_to_the_model() -> None:
    """By its own names and without titles; the conversation is none of its business."""
    assert Toolbox([fine], 1.0).schemas == [
        {
            "type": "function",
            "function": {
                "name": "fine",
                "parameters": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "city": {"type": "string"},
                        "days": {"type": "integer", "default": 1},
                    },
                    "required": ["city"],
                },
            },
        }
    ]
