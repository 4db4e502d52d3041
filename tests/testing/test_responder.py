"""The scripted responder answers line by line, word by word."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from realtime_stts.errors import EngineError
from realtime_stts.protocols import ConversationContext, TranscriptionResult
from realtime_stts.testing import Failure, ScriptedResponseGenerator, ScriptExhausted

pytestmark = pytest.mark.anyio

BROKEN = EngineError("scripted", "the model is gone")
QUESTION = TranscriptionResult("what is the weather", "en", [])


async def ask(engine: ScriptedResponseGenerator) -> str:
    return await engine.generate_response(QUESTION, ConversationContext())


@pytest.mark.parametrize("text", ["It is sunny.", "  two\nlines, and a space ", "", " "])
async def test_pieces_joined_are_the_line(text: str) -> None:
    engine = ScriptedResponseGenerator([text, text])
    pieces = [piece async for piece in engine.stream_response(QUESTION, ConversationContext())]
    assert "".join(pieces).strip() == text.strip()
    assert await ask(engine) == "".join(pieces)
    assert engine.calls[0].finished


async def test_words_come_one_by_one() -> None:
    engine = ScriptedResponseGenerator(["It is sunny."], latency=0.3, token_latency=0.1)
    began = anyio.current_time()
    pieces = [
        (piece, round(anyio.current_time() - began, 3))
        async for piece in engine.stream_response(QUESTION, ConversationContext())
    ]
    assert pieces == [("It", 0.3), (" is", 0.4), (" sunny.", 0.5)]


async def test_a_call_too_many_fails_the_test() -> None:
    with pytest.raises(ScriptExhausted, match="no line for call 1"):
        await ask(ScriptedResponseGenerator([]))


async def test_an_exception_is_raised_before_any_word() -> None:
    engine = ScriptedResponseGenerator([BROKEN, "better"])
    with pytest.raises(EngineError) as caught:
        await ask(engine)
    assert caught.value is BROKEN
    assert await ask(engine) == "better"


@pytest.mark.parametrize(("after", "delivered"), [(1, "It"), (9, "It is sunny.")])
async def test_a_failure_lets_words_through_first(after: int, delivered: str) -> None:
    engine = ScriptedResponseGenerator([Failure(BROKEN, after, "It is sunny.")])
    pieces: list[str] = []

    async def listen() -> None:
        async for piece in engine.stream_response(QUESTION, ConversationContext()):
            pieces.append(piece)  # noqa: PERF401  # kept when it raises

    with pytest.raises(EngineError):
        await listen()
    assert "".join(pieces) == delivered == engine.calls[0].delivered
    assert not engine.calls[0].finished


async def test_calls_are_recorded() -> None:
    engine = ScriptedResponseGenerator(["It is sunny."] * 2)
    context = ConversationContext()
    await engine.generate_response(QUESTION, context)
    async with aclosing(engine.stream_response(QUESTION, context)) as pieces:
        await anext(pieces)
        assert engine.open_streams == 1
    whole, part = engine.calls
    assert (whole.transcription, whole.streamed, whole.finished) == (QUESTION, False, True)
    assert whole.context is context
    assert (part.delivered, part.streamed, part.finished) == ("It", True, False)
    assert engine.open_streams == 0


async def test_history_can_be_forgotten() -> None:
    engine = ScriptedResponseGenerator(["one", "two"])
    await ask(engine)
    assert engine.history == ["what is the weather"]
    engine.clear_history()
    assert engine.history == []


def test_modes_are_those_it_was_given() -> None:
    engine = ScriptedResponseGenerator([], modes=["short", "long"])
    assert engine.mode == "short"
    engine.set_response_mode("long")
    assert engine.mode == "long"
    with pytest.raises(ValueError, match="no mode is called 'loud'; known: short, long"):
        engine.set_response_mode("loud")
