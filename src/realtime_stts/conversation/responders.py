"""Answers that need no model: echo, templates, and any async function of the host's own.

A responder keeps no conversation: what was said and answered is the session's, and comes
with each call as ``context.history``. So one responder serves any number of sessions.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from inspect import isawaitable
from os import PathLike
from pathlib import Path
from typing import Any

from ..protocols import ConversationContext, ResponseGenerator, TranscriptionResult

__all__ = [
    "Answer",
    "CallableResponseGenerator",
    "EchoResponseGenerator",
    "TemplateResponseGenerator",
    "Uninterruptible",
    "as_responder",
]

Answer = Callable[[TranscriptionResult, ConversationContext], AsyncGenerator[str] | Awaitable[str]]
"""An async generator function of text pieces, or an async function that returns the text."""


class Uninterruptible(str):
    """A piece of an answer that the user hears out, whatever they say meanwhile.

        yield "Your order is placed. "
        yield Uninterruptible("This call is recorded.")

    What they say over it is answered afterwards.
    """

    __slots__ = ()


class _WholeAnswer:
    """What responders share that have one mode and nothing to forget."""

    _mode: str

    def set_response_mode(self, mode: str) -> None:
        """Accept the one mode this responder has.

        Raises:
            ValueError: It is another one. `ConversationEngine` can be given another
                responder instead.
        """
        if mode != self._mode:
            raise ValueError(f"this responder's only mode is {self._mode!r}, not {mode!r}")

    def clear_history(self) -> None:
        """Nothing to do: the history is the session's."""


class EchoResponseGenerator(_WholeAnswer):
    """Says back what was said, after ``prefix_text`` if ``add_prefix``."""

    name = "echo"
    _mode = "echo"

    def __init__(self, add_prefix: bool = False, prefix_text: str = "You said: ") -> None:
        self.set_prefix(add_prefix, prefix_text)

    def set_prefix(self, enabled: bool, text: str | None = None) -> None:
        """Switch the prefix on or off, and change it unless ``text`` is None."""
        self._add_prefix = enabled
        if text is not None:
            self._prefix_text = text

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        text = transcription.text.strip()
        return f"{self._prefix_text}{text}" if text and self._add_prefix else text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Category:
    keywords: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    responses: tuple[str, ...]


_DEFAULT: dict[str, _Category] = {
    "greeting": _Category(
        keywords=("hello", "hi", "hey", "good morning", "good afternoon", "good evening"),
        responses=(
            "Hello! It is good to hear you. What can I do for you?",
            "Hi there! How are you?",
        ),
    ),
    "farewell": _Category(
        keywords=("bye", "goodbye", "good bye", "see you", "good night"),
        responses=("Goodbye! Talk to you soon.", "See you! Have a lovely day."),
    ),
    "thanks": _Category(
        keywords=("thanks", "thank you"),
        responses=("You are very welcome.", "My pleasure."),
    ),
    "weather": _Category(
        keywords=("weather", "rain", "sunny", "forecast"),
        responses=("I have no window to look out of. I hope that it is sunny where you are!",),
    ),
    "time": _Category(
        keywords=("time", "clock", "o'clock"),
        responses=("I carry no watch. But there is always time for a good talk.",),
    ),
    "joke": _Category(
        keywords=("joke", "funny"),
        responses=(
            "Why do programmers prefer dark mode? Because light attracts bugs.",
            "I would tell you a joke about sound. But you might not hear the end of it.",
        ),
    ),
    "help": _Category(
        keywords=("help", "what can you do"),
        responses=("I listen, I answer, and I speak. Ask me for a joke, or just say hello.",),
    ),
    "how_are_you": _Category(
        keywords=("how are you", "how do you do"),
        responses=("I am well, thank you. And you?",),
    ),
    "name": _Category(
        keywords=("your name", "who are you"),
        responses=("I am the voice of a small library. You can give me any name.",),
    ),
    "affirmation": _Category(
        keywords=("yes", "yeah", "sure", "of course", "okay"), responses=("Good. Please go on.",)
    ),
    "negation": _Category(
        keywords=("no", "nope", "not really"), responses=("All right. Something else, then?",)
    ),
}
_FALLBACK = ("I heard: {input}. Tell me more.",)


@dataclass(frozen=True, slots=True)
class _Template:
    name: str
    expressions: tuple[re.Pattern[str], ...]
    responses: tuple[str, ...]


class TemplateResponseGenerator(_WholeAnswer):
    """Answers by the words it hears, whole words only: there is no "hi" in "this".

    Every keyword is a word or phrase, every pattern a regular expression, both whatever
    the case. The category with the longest match answers, the first listed one on a tie,
    and goes through its responses in turn with the length of the session's history, so
    that the same question in the same place gets the same answer. In a response,
    ``{input}`` and ``{language}`` stand for what was said.

    Args:
        template_file: JSON, ``{name: {"keywords": [...], "patterns": [...],
            "responses": [...]}}``; None for the built-in English small talk.
        fallback: Responses for what no category matches.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds something else, or a pattern is not a regular expression.
    """

    name = "template"
    _mode = "template"

    def __init__(
        self,
        template_file: str | PathLike[str] | None = None,
        *,
        fallback: Sequence[str] = _FALLBACK,
    ) -> None:
        categories: Mapping[str, _Category] = _DEFAULT
        if template_file is not None:
            categories = _read_categories(Path(template_file))
        self._fallback = tuple(fallback)
        self._templates: list[_Template] = []
        for name, category in categories.items():
            self.add_template_category(
                name, category.keywords, category.patterns, category.responses
            )

    def add_template_category(
        self,
        name: str,
        keywords: Sequence[str],
        patterns: Sequence[str],
        responses: Sequence[str],
    ) -> None:
        """Add a category, or replace the one of that name.

        Raises:
            ValueError: It has no responses, or a pattern is not a regular expression.
        """
        if not responses:
            raise ValueError(f"the category {name!r} has no responses")
        try:
            expressions = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
        except re.error as exc:
            raise ValueError(f"a pattern of the category {name!r}: {exc}") from exc
        expressions += [_whole_words(keyword) for keyword in keywords]
        template = _Template(name, tuple(expressions), tuple(responses))
        names = self.get_template_categories()
        if name in names:
            self._templates[names.index(name)] = template
        else:
            self._templates.append(template)

    def get_template_categories(self) -> list[str]:
        """The names, in the order in which they win ties."""
        return [template.name for template in self._templates]

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        text = transcription.text.strip()
        if not text:
            return ""
        responses = self._matching(text) or self._fallback
        response = responses[len(context.history) % len(responses)]
        return response.replace("{language}", transcription.language).replace("{input}", text)

    def _matching(self, text: str) -> tuple[str, ...]:
        longest = 0
        responses: tuple[str, ...] = ()
        for template in self._templates:
            for expression in template.expressions:
                match = expression.search(text)
                if match and len(match.group()) > longest:
                    longest, responses = len(match.group()), template.responses
        return responses


def _read_categories(path: Path) -> Mapping[str, _Category]:
    # pydantic takes longer to import than everything else here together.
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(dict[str, _Category]).validate_json(path.read_bytes())
    except ValidationError as exc:
        raise ValueError(f"{path} holds no templates: {exc}") from exc


def _whole_words(phrase: str) -> re.Pattern[str]:
    words = r"\W+".join(map(re.escape, phrase.split()))
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)


class CallableResponseGenerator(_WholeAnswer):
    """Any async function of the host's own, as a streaming responder.

    Args:
        answer: ``async def answer(transcription, context)`` that returns the text, or
            yields it in pieces. It is closed when nobody listens any more.
    """

    _mode = "custom"

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.name = getattr(answer, "__name__", type(answer).__name__)

    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        made: Any = self._answer(transcription, context)
        if isawaitable(made):
            yield await made
            return
        async with aclosing(made) as pieces:
            async for piece in pieces:
                yield piece

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        async with aclosing(self.stream_response(transcription, context)) as pieces:
            return "".join([piece async for piece in pieces])


def as_responder(responder: ResponseGenerator | Answer) -> ResponseGenerator:
    """A responder as it is, or an async function made into one."""
    if isinstance(responder, ResponseGenerator):
        return responder
    if callable(responder):
        return CallableResponseGenerator(responder)
    raise TypeError(f"a responder or an async function is needed, not {type(responder).__name__}")
