"""What a response generator promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest

from ...protocols import (
    ConversationContext,
    ResponseGenerator,
    StreamingResponseGenerator,
    TranscriptionResult,
)
from .._leaks import no_leaks
from ._tools import LIMIT, SOME_REASON, at_once, collect, in_turn, withdraw

__all__ = ["ResponseGeneratorSuite"]


class ResponseGeneratorSuite:
    """A `ResponseGenerator` keeps its promises; one that streams, those of streaming too.

    Attributes:
        question: Something that it has an answer to.
    """

    pytestmark = pytest.mark.anyio

    question: str = "What will the weather be tomorrow?"

    def engine(self) -> ResponseGenerator:
        """A new response generator."""
        raise NotImplementedError(f"{type(self).__name__}.engine returns the responder to test")

    def same(self, one: str, other: str) -> bool:
        """Whether two answers may be to the same question; for a model that samples, any."""
        return one == other

    def _streaming(self) -> StreamingResponseGenerator:
        engine = self.engine()
        if not isinstance(engine, StreamingResponseGenerator):
            pytest.skip(f"{type(engine).__name__} does not stream")
        return engine

    async def _ask(self, engine: ResponseGenerator, question: str) -> str:
        with anyio.fail_after(LIMIT):
            answer = await engine.generate_response(_heard(question), ConversationContext())
        assert isinstance(answer, str), f"{answer!r} is no text"
        return answer

    def _stream(self, engine: StreamingResponseGenerator, question: str) -> AsyncGenerator[str]:
        return engine.stream_response(_heard(question), ConversationContext())

    async def test_is_a_response_generator(self) -> None:
        assert isinstance(self.engine(), ResponseGenerator)

    async def test_answers(self) -> None:
        assert (await self._ask(self.engine(), self.question)).strip()

    @pytest.mark.parametrize("question", ["", "   ", "🙂", "what " * 500])
    async def test_takes_any_question(self, question: str) -> None:
        """Whatever a recogniser makes of a noise, there is an answer, perhaps ""."""
        await self._ask(self.engine(), question)

    async def test_refuses_an_unknown_mode(self) -> None:
        with pytest.raises(ValueError, match=SOME_REASON):
            self.engine().set_response_mode("no mode has this name")

    async def test_answers_after_it_has_forgotten(self) -> None:
        engine = self.engine()
        engine.clear_history()
        answer = await self._ask(engine, self.question)
        engine.clear_history()
        assert self.same(await self._ask(engine, self.question), answer)

    async def test_serves_several_at_once(self) -> None:
        """One responder may serve many conversations."""
        questions = [self.question, "And the day after?", self.question]
        engine = self.engine()
        calls = [lambda question=question: self._ask(engine, question) for question in questions]
        alone = await in_turn(calls)
        engine.clear_history()
        together = await at_once(calls)
        assert all(map(self.same, together, alone))

    async def test_is_unharmed_by_a_cancelled_call(self) -> None:
        engine = self.engine()
        async with no_leaks():
            await withdraw(lambda: self._ask(engine, self.question))
            assert (await self._ask(engine, self.question)).strip()

    async def test_streams_what_it_answers(self) -> None:
        engine = self._streaming()
        pieces = await collect(self._stream(engine, self.question))
        assert all(isinstance(piece, str) for piece in pieces)
        assert "".join(pieces).strip()
        engine.clear_history()
        assert self.same("".join(pieces), await self._ask(engine, self.question))

    async def test_may_be_closed_while_it_answers(self) -> None:
        """Before the first piece, and after it: nothing runs on, the next answer is whole."""
        engine = self._streaming()
        async with no_leaks():
            await self._stream(engine, self.question).aclose()
            pieces = self._stream(engine, self.question)
            await anext(pieces)
            await pieces.aclose()
            assert "".join(await collect(self._stream(engine, self.question))).strip()


def _heard(text: str) -> TranscriptionResult:
    return TranscriptionResult(text, "en", [])
