from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from realtime_stts import (
    CallableResponseGenerator,
    ConversationContext,
    EchoResponseGenerator,
    Exchange,
    ResponseGenerator,
    StreamingResponseGenerator,
    TemplateResponseGenerator,
    TranscriptionResult,
)
from realtime_stts.conversation.responders import as_responder

pytestmark = pytest.mark.anyio


async def ask(responder: ResponseGenerator, text: str, n_before: int = 0) -> str:
    history = tuple(Exchange(i, "", "", "") for i in range(n_before))
    said = TranscriptionResult(text, "en", [])
    return await responder.generate_response(said, ConversationContext(history=history))


async def test_the_echo_says_it_back() -> None:
    assert await ask(EchoResponseGenerator(), " hello ") == "hello"
    assert await ask(EchoResponseGenerator(add_prefix=True), "hello") == "You said: hello"
    assert await ask(EchoResponseGenerator(add_prefix=True), " ") == ""


async def test_the_echos_prefix_can_change() -> None:
    echo = EchoResponseGenerator()
    echo.set_prefix(True, "Echo: ")
    assert await ask(echo, "hi") == "Echo: hi"
    echo.set_prefix(False)
    assert await ask(echo, "hi") == "hi"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("how is the weather", "window"),
        ("no thanks", "welcome"),
        ("HELLO, there!", "good to hear you"),
        ("good   bye now", "Goodbye"),
        ("tell me a joke", "dark mode"),
        ("what time is it", "watch"),
        ("this is nothing you know", "I heard: this is nothing you know."),
    ],
)
async def test_templates_answer_by_whole_words(text: str, answer: str) -> None:
    """There is no "hi" in "this" and no "no" in "know"."""
    assert answer in await ask(TemplateResponseGenerator(), text)


async def test_templates_take_turns_with_the_length_of_the_history() -> None:
    templates = TemplateResponseGenerator()
    answers = [await ask(templates, "hello", n) for n in range(3)]
    assert answers[0] == answers[2] != answers[1]


async def test_templates_do_not_answer_silence() -> None:
    assert await ask(TemplateResponseGenerator(), "  ") == ""


async def test_the_longest_match_wins_then_the_first_category() -> None:
    templates = TemplateResponseGenerator(fallback=["?"])
    templates.add_template_category("tea", ["tea"], [], ["Tea."])
    templates.add_template_category("green", ["green tea"], [], ["Green."])
    templates.add_template_category("also", ["tea"], [], ["Never."])
    assert await ask(templates, "a tea please") == "Tea."
    assert await ask(templates, "a green tea please") == "Green."
    assert await ask(templates, "a stone") == "?"


async def test_patterns_are_regular_expressions_and_categories_can_be_replaced() -> None:
    templates = TemplateResponseGenerator()
    n_categories = len(templates.get_template_categories())
    templates.add_template_category("greeting", [], [r"\bnumber \d+\b"], ["{input} in {language}!"])
    assert len(templates.get_template_categories()) == n_categories
    assert await ask(templates, "Number 7") == "Number 7 in en!"


async def test_what_is_said_is_never_a_template_itself() -> None:
    templates = TemplateResponseGenerator(fallback=["{input}"])
    assert await ask(templates, "{language}") == "{language}"


async def test_templates_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "templates.json"
    path.write_text('{"tea": {"keywords": ["tea"], "responses": ["Tea."]}}')
    templates = TemplateResponseGenerator(path)
    assert templates.get_template_categories() == ["tea"]
    assert await ask(templates, "tea") == "Tea."


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[]",
        '{"a": {"keywords": []}}',
        '{"a": {"responses": []}}',
        '{"a": {"patterns": ["("], "responses": ["x"]}}',
    ],
)
def test_a_file_that_holds_no_templates_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "templates.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"templates|category"):
        TemplateResponseGenerator(path)


async def test_an_async_function_is_a_responder() -> None:
    async def shout(result: TranscriptionResult, context: ConversationContext) -> str:
        return result.text.upper()

    responder = as_responder(shout)
    assert await ask(responder, "hi") == "HI"
    assert isinstance(responder, CallableResponseGenerator)
    assert responder.name == "shout"


async def test_an_async_generator_function_streams_and_is_closed() -> None:
    closed = []

    async def spell(
        result: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        try:
            for letter in result.text:
                yield letter
        finally:
            closed.append(True)

    responder = CallableResponseGenerator(spell)
    assert isinstance(responder, StreamingResponseGenerator)
    assert await ask(responder, "abc") == "abc"
    said = TranscriptionResult("abc", "en", [])
    async with aclosing(responder.stream_response(said, ConversationContext())) as pieces:
        assert await anext(pieces) == "a"
    assert closed == [True, True]


def test_a_responder_is_itself_and_anything_else_is_refused() -> None:
    echo = EchoResponseGenerator()
    assert as_responder(echo) is echo
    with pytest.raises(TypeError, match="not int"):
        as_responder(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("responder", "mode"),
    [(EchoResponseGenerator(), "echo"), (TemplateResponseGenerator(), "template")],
)
def test_a_mode_is_the_one_it_has_or_is_refused(responder: ResponseGenerator, mode: str) -> None:
    responder.set_response_mode(mode)
    responder.clear_history()
    with pytest.raises(ValueError, match="only mode"):
        responder.set_response_mode("poetry")
