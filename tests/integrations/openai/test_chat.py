"""Answers of a language model behind a real server, on both event loops."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Annotated, Any

import anyio
import pytest
from anyio import to_thread

pytest.importorskip("openai")
pytest.importorskip("starlette")
pytest.importorskip("multipart")
pytest.importorskip("uvicorn")

import openai
from pydantic import BaseModel, Field

from realtime_stts.errors import (
    EngineError,
    EngineLoadError,
    EngineRefusedError,
    EngineTimeoutError,
    MissingExtraError,
    OverloadedError,
)
from realtime_stts.integrations.openai import ChatResponseGenerator
from realtime_stts.protocols import (
    ConversationContext,
    Exchange,
    StreamingResponseGenerator,
    TranscriptionResult,
)
from realtime_stts.testing import ResponseGeneratorSuite, no_leaks
from tests.integrations.openai.scripted import (
    Act,
    Scripted,
    calls,
    chat,
    event,
    hangs,
    refuses,
    says,
    scripted,
    sends,
    token,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"]),
]


@pytest.fixture(scope="module")
def running() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


@pytest.fixture
def server(running: Scripted) -> Scripted:
    running.will()
    return running


def asking(server: Scripted, **options: Any) -> ChatResponseGenerator:
    return ChatResponseGenerator("tiny", base_url=server.url, **{"instructions": "", **options})


def heard(text: str) -> TranscriptionResult:
    return TranscriptionResult(text, "en", [])


async def answer_of(
    responder: StreamingResponseGenerator,
    text: str = "hello",
    context: ConversationContext | None = None,
) -> str:
    return await responder.generate_response(heard(text), context or ConversationContext())


async def gone(server: Scripted) -> None:
    """Wait until the server has seen the client leave."""
    assert await to_thread.run_sync(server.left.wait, 20)


class TestChatResponseGenerator(ResponseGeneratorSuite):
    @pytest.fixture(autouse=True)
    async def _server(self, server: Scripted, anyio_backend: str) -> AsyncGenerator[None]:
        server.will(*[chat("It will", " be", " sunny.")] * 20)
        self.server = server
        self.made: list[ChatResponseGenerator] = []
        yield
        for responder in self.made:
            await responder.aclose()

    def engine(self) -> ChatResponseGenerator:
        self.made.append(asking(self.server))
        return self.made[-1]


# -- what is asked -------------------------------------------------------------------------


async def test_yields_each_token_as_it_comes(server: Scripted) -> None:
    server.will(chat("It is", " sunny", ".", ending="open"))
    async with (
        asking(server) as responder,
        aclosing(responder.stream_response(heard("hello"), ConversationContext())) as pieces,
    ):
        assert [await anext(pieces) for _ in range(3)] == ["It is", " sunny", "."]


async def test_asks_as_the_api_has_it(server: Scripted) -> None:
    server.will(chat("Hi."))
    options = {"temperature": 0.3, "max_completion_tokens": 90, "extra_body": {"top_k": 5}}
    async with asking(server, instructions=" Be brief. ", **options) as responder:
        await answer_of(responder, " hello ")
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello"},
        ],
        "stream": True,
        "temperature": 0.3,
        "max_completion_tokens": 90,
        "top_k": 5,
    }


async def test_tells_the_model_what_was_really_heard(server: Scripted) -> None:
    history = (
        Exchange(1, "tell me a story", "Once there was a fox. It ran.", "Once there was a fox."),
        Exchange(2, "never mind", "Fine.", "Fine."),
    )
    server.will(chat("Yes?"))
    async with asking(server, instructions="Be brief.") as responder:
        await answer_of(responder, "are you there", ConversationContext(history=history))
    system, *rest = server.bodies[0]["messages"]
    assert system["content"].startswith("Be brief.\n\nWhere an answer of yours ends in [cut off],")
    assert rest == [
        {"role": "user", "content": "tell me a story"},
        {"role": "assistant", "content": "Once there was a fox. [cut off]"},
        {"role": "user", "content": "never mind"},
        {"role": "assistant", "content": "Fine."},
        {"role": "user", "content": "are you there"},
    ]


@pytest.mark.parametrize("believed", [True, False])
async def test_a_clients_instructions_are_taken_if_they_are_wanted(
    server: Scripted, believed: bool
) -> None:
    server.will(chat("Hi."), chat("Hi."))
    context = ConversationContext(metadata={"instructions": "Be a pirate."})
    async with asking(server, instructions="Be brief.", session_instructions=believed) as asked:
        await answer_of(asked, context=context)
        await answer_of(asked, context=ConversationContext(metadata={"instructions": 7}))
    first, second = (body["messages"][0]["content"] for body in server.bodies)
    assert first == ("Be brief.\n\nBe a pirate." if believed else "Be brief.")
    assert second == "Be brief."


async def test_asks_nothing_if_nothing_was_said(server: Scripted) -> None:
    async with asking(server) as responder:
        assert await answer_of(responder, "  ") == ""
    assert server.asked == []


async def test_uses_a_client_that_is_given_and_leaves_it_open(server: Scripted) -> None:
    server.will(chat("one"), chat("two"))
    async with openai.AsyncOpenAI(base_url=server.url, api_key="other") as client:
        for expected in ("one", "two"):
            async with ChatResponseGenerator("tiny", client=client) as responder:
                assert await answer_of(responder) == expected
    assert server.asked[0].headers["authorization"] == "Bearer other"


async def test_a_connection_serves_one_answer_after_the_other(server: Scripted) -> None:
    """At least where the machine is not too busy to see an answer's end in time."""
    server.will(*[chat("Hi.")] * 4)
    async with asking(server) as responder:
        for _ in range(4):
            await answer_of(responder)
    assert len({asked.port for asked in server.asked}) < 4


def test_refuses_options_that_it_has_itself(anyio_backend: str) -> None:
    with pytest.raises(TypeError, match="messages, stream"):
        ChatResponseGenerator("tiny", base_url="http://localhost/v1", stream=True, messages=[])
    for wrong in ({"max_history": -1}, {"timeout": 0}, {"tool_timeout": 0}):
        with pytest.raises(ValueError, match=r"[a-z]"):
            ChatResponseGenerator("tiny", base_url="http://localhost/v1", **wrong)  # type: ignore[arg-type]


def streams(*events: bytes) -> Act:
    return sends(*events, kind="text/event-stream")


def test_has_one_mode(anyio_backend: str) -> None:
    ChatResponseGenerator("tiny", base_url="http://localhost/v1").set_response_mode("chat")


def test_without_the_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "realtime_stts.integrations.openai")
    with pytest.raises(MissingExtraError, match=r"realtime-stts\[openai\]"):
        importlib.import_module("realtime_stts.integrations.openai")


# -- what comes of it ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (chat(), ""),
        (chat("As long as", finish="length"), "As long as"),
        (streams(token(refusal="I can't"), token("stop", refusal=" do that.")), "I can't do that."),
        (
            streams(
                token(reasoning_content="Hm."), token(reasoning="Hm."), token("stop", content="Yes")
            ),
            "Yes",
        ),
        (chat("\n<th", "ink>Hm, ", "hm.</thi", "nk>", "\n\n", "Yes."), "Yes."),
        (chat("<think>Hm."), ""),
        (chat("<", "b>"), "<b>"),
        (chat("<thi"), "<thi"),
        (streams(token(content="No"), event("[DONE]")), "No"),
        (streams(token(content="No"), event("[DONE]"), b": and", b" more"), "No"),
        (
            streams(event([]), event({"choices": [{"delta": None}]}), token("stop", content="Ok")),
            "Ok",
        ),
    ],
)
async def test_speaks_what_is_meant_for_the_user(server: Scripted, act: Act, said: str) -> None:
    server.will(act)
    async with asking(server) as responder:
        assert await answer_of(responder) == said


@pytest.mark.parametrize(
    ("act", "error", "says"),
    [
        (refuses(401, "wrong key: sk-1"), EngineLoadError, "does not accept the key"),
        (refuses(404), EngineLoadError, "no such model"),
        (refuses(400, "too many tokens"), EngineRefusedError, "too many tokens"),
        (refuses(500), EngineError, "failed"),
        (refuses(429, headers={"retry-after": "3"}), OverloadedError, "again in 3 s"),
        (hangs, EngineTimeoutError, "0.3 s"),
        (says({"choices": []}), EngineError, "application/json"),
        (streams(b"data: {\n\n"), EngineError, "cannot be read"),
        (streams(b"x" * (1 << 20), b"x"), EngineError, "cannot be read"),
    ],
)
async def test_says_what_a_failure_means(
    server: Scripted, act: Act, error: type[Exception], says: str
) -> None:
    server.will(act)
    timeout = 0.3 if error is EngineTimeoutError else 20.0
    async with asking(server, timeout=timeout) as responder:
        with pytest.raises(error, match=says) as caught:
            await answer_of(responder)
    assert type(caught.value) is error


def failing(*ends: bytes, ending: str = "whole") -> Act:
    return sends(token(content="Well"), *ends, kind="text/event-stream", ending=ending)


@pytest.mark.parametrize(
    ("act", "error", "says"),
    [
        (failing(), EngineError, "broke off"),
        (failing(ending="broken"), EngineError, "broke off"),
        (failing(ending="open"), EngineTimeoutError, "2 s"),
        (failing(token("content_filter")), EngineError, "filter"),
        (failing(event({"error": {"message": "secret"}})), EngineError, "while it answered"),
        (failing(event({"error": "secret"})), EngineError, "while it answered"),
        (failing(event({"error": {"type": "overloaded_error"}})), OverloadedError, "too much"),
        (failing(token(tool_calls=[{"index": i} for i in range(33)])), EngineError, "32 calls"),
        (failing(event("no JSON")), EngineError, "cannot be read"),
    ],
)
async def test_what_came_before_a_failure_stands(
    server: Scripted, act: Act, error: type[Exception], says: str
) -> None:
    server.will(act)
    said: list[str] = []
    timeout = 2.0 if error is EngineTimeoutError else 20.0
    async with asking(server, timeout=timeout) as responder:
        pieces = responder.stream_response(heard("hello"), ConversationContext())
        with pytest.raises(error, match=says) as caught:
            await keep(pieces, said)
    assert said == ["Well"]
    assert "secret" not in str(caught.value)


async def keep(pieces: AsyncGenerator[str], said: list[str]) -> None:
    """Keep each piece as it comes."""
    async with aclosing(pieces):
        async for piece in pieces:
            said += [piece]


# -- leaving -------------------------------------------------------------------------------


async def test_an_answer_that_is_closed_leaves_the_server(server: Scripted) -> None:
    server.will(chat("It is", ending="open"))
    async with no_leaks(), asking(server) as responder:
        pieces = responder.stream_response(heard("hello"), ConversationContext())
        async with aclosing(pieces):
            await anext(pieces)
        await gone(server)


@pytest.mark.parametrize("act", [hangs, chat("It is", ending="open")])
async def test_an_answer_that_is_cancelled_leaves_the_server(server: Scripted, act: Act) -> None:
    server.will(act)
    async with no_leaks(), asking(server) as responder:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer_of, responder)
            while not server.asked:  # noqa: ASYNC110 - another thread's list wakes nobody
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        await gone(server)


# -- tools ---------------------------------------------------------------------------------


class Place(BaseModel):
    city: str
    country: str = "DE"


async def weather(
    place: Place, days: Annotated[int, Field(description="How many, from today.", ge=1)] = 1
) -> dict[str, Any]:
    """The weather of the coming days."""
    return {"city": place.city, "days": days}


async def test_calls_a_tool_and_speaks_of_its_result(server: Scripted) -> None:
    server.will(
        calls(
            ("c1", "weather", '{"place": {"city": "Kiel"}, "days": 2}'), before=["Let me", " see."]
        ),
        chat("Sunny."),
    )
    async with asking(server, tools=[weather]) as responder:
        assert await answer_of(responder) == "Let me see.\nSunny."

    first, second = server.bodies
    (tool,) = first["tools"]
    assert tool["function"]["name"] == "weather"
    assert tool["function"]["description"] == "The weather of the coming days."
    schema = tool["function"]["parameters"]
    assert schema["required"] == ["place"]
    assert schema["properties"]["days"] == {
        "default": 1,
        "description": "How many, from today.",
        "minimum": 1,
        "type": "integer",
    }
    assert second["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {
                        "name": "weather",
                        "arguments": '{"place": {"city": "Kiel"}, "days": 2}',
                    },
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"city":"Kiel","days":2}'},
    ]


async def test_what_comes_before_a_call_is_spoken_meanwhile(server: Scripted) -> None:
    spoken = anyio.Event()

    async def slow() -> str:
        await spoken.wait()
        return "done"

    server.will(calls(("c1", "slow", ""), before=["One moment."]), chat("There."))
    async with asking(server, tools=[slow]) as responder:
        pieces = responder.stream_response(heard("hello"), ConversationContext())
        async with aclosing(pieces):
            assert [await anext(pieces), await anext(pieces)] == ["One moment.", "\n"]
            spoken.set()
            assert [piece async for piece in pieces] == ["There."]


async def test_calls_run_at_once_and_are_told_in_order(server: Scripted) -> None:
    second = anyio.Event()

    async def one() -> str:
        await second.wait()
        return "first"

    async def two() -> str:
        second.set()
        return "second"

    server.will(calls(("c1", "one", "{}"), ("c2", "two", "{}")), chat("Both."))
    async with asking(server, tools=[one, two]) as responder:
        assert await answer_of(responder) == "Both."
    results = server.bodies[1]["messages"][2:]
    assert [(each["tool_call_id"], each["content"]) for each in results] == [
        ("c1", "first"),
        ("c2", "second"),
    ]


async def test_a_tool_may_ask_for_the_conversation(server: Scripted) -> None:
    async def remember(context: ConversationContext, copy: str) -> None:
        """Parameters may have any name."""
        context.user_data["note"] = copy

    context = ConversationContext()
    server.will(calls(("c1", "remember", '{"copy": "milk"}')), chat("Noted."))
    async with asking(server, tools=[remember]) as responder:
        assert await answer_of(responder, context=context) == "Noted."
    assert context.user_data == {"note": "milk"}
    assert list(server.bodies[0]["tools"][0]["function"]["parameters"]["properties"]) == ["copy"]
    assert server.bodies[1]["messages"][-1]["content"] == "null"


async def broken(secret: str) -> str:
    raise RuntimeError(f"no database for {secret}")


async def stuck() -> None:
    await anyio.sleep_forever()


async def unsendable() -> object:
    return object()


async def wordy() -> str:
    return "x" * 30_000


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (("c1", "weather", '{"place": {"city": 7}, "more": 1}'), "place.city: "),
        (("c1", "weather", '{"place"'), "arguments: Invalid JSON"),
        (("c1", "no_tool", "{}"), "There is no such tool; there are: weather, broken"),
        (("c1", "broken", '{"secret": "x1y2"}'), '{"error": "The tool failed."}'),
        (("c1", "unsendable", "{}"), '{"error": "The tool failed."}'),
        (("c1", "stuck", ""), '{"error": "The tool did not answer in time."}'),
        (("c1", "wordy", ""), "xx [cut]"),
    ],
)
async def test_the_model_is_told_what_went_wrong(
    server: Scripted, call: tuple[str, str, str], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And no more than that; nor is a log told what was said."""
    server.will(calls(call), chat("Sorry."))
    tools = [weather, broken, stuck, unsendable, wordy]
    with caplog.at_level(logging.WARNING):
        async with asking(server, tools=tools, tool_timeout=0.2) as responder:
            assert await answer_of(responder) == "Sorry."
    told = server.bodies[1]["messages"][-1]["content"]
    assert says in told
    assert "x1y2" not in told + caplog.text
    assert len(told) < 21_000


async def test_a_model_that_goes_on_calling_has_to_answer(server: Scripted) -> None:
    again = calls(("c1", "stuck", ""))
    server.will(again, again, chat("I give up."), again, again, again)
    async with asking(server, tools=[stuck], max_tool_rounds=2, tool_timeout=0.01) as responder:
        assert await answer_of(responder) == "I give up."
        assert [body.get("tool_choice") for body in server.bodies] == [None, None, "none"]
        with pytest.raises(EngineError, match="went on calling tools"):
            await answer_of(responder)


async def test_cancelling_an_answer_cancels_its_tools(server: Scripted) -> None:
    begun, ended = anyio.Event(), anyio.Event()

    async def endless() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    server.will(calls(("c1", "endless", "")))
    async with no_leaks(), asking(server, tools=[endless]) as responder:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer_of, responder)
            await begun.wait()
            tasks.cancel_scope.cancel()
        assert ended.is_set()
