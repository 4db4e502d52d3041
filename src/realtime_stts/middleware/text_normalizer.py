"""Text for the eye made text for the ear, before it is spoken."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from ..protocols import SynthesisResult
from ._context import RequestContext
from ._middleware import CallNext
from ._normalizing import Replacements, Rules, cleaned, speaks

__all__ = ["TextNormalizerMiddleware", "TextNormalizerStatistics"]


@dataclass(frozen=True, slots=True)
class TextNormalizerStatistics:
    """Counts since the start."""

    calls: int
    changed: int  # whose text was not speakable as it was


class TextNormalizerMiddleware:
    """Makes the text of TTS calls speakable.

    First it is cleaned: Markdown, emoji, web addresses, control characters, typographic
    quotes and dashes, repeated marks and spaces. Then words are replaced, once, and then come
    the steps. Lines stay lines. Numbers, dates and currencies stay too, because how they are
    said depends on the language: that is for a step.

    A text of which nothing could be said any more goes to the engine as it was. The result's
    ``text`` is the one that the caller gave.

    Args:
        name: What logs and statistics call it.
        replacements: What is said instead of a word or several; found as whole words, in any
            case unless the key has capitals, the longest first.
        markdown: Whether Markdown and HTML are taken off, and blocks of code left out.
        emoji: Whether emoji are left out.
        link: What is said for a web address; None for the name of its host.
        steps: Called one after the other with the text; each returns what becomes of it. What
            one raises ends the call.
    """

    def __init__(
        self,
        *,
        name: str = "text_normalizer",
        replacements: Mapping[str, str] | None = None,
        markdown: bool = True,
        emoji: bool = True,
        link: str | None = None,
        steps: Sequence[Callable[[str], str]] = (),
    ) -> None:
        for step in steps:
            if not callable(step):
                raise TypeError(f"a step is called with the text; {step!r} cannot be")
        self.name = name
        self._rules = Rules(markdown, emoji, link)
        self._replacements = Replacements(replacements or {})
        self._steps = tuple(steps)
        self._calls = self._changed = 0

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        if context.request_type != "tts":
            return call_next(context)
        self._calls += 1
        given = context.input_data["text"]
        text = self.normalized(given)
        if text == given:
            return call_next(context)
        self._changed += 1
        context.input_data["text"] = text
        if context.streaming:
            return call_next(context)
        return _said(given, context, call_next)

    def normalized(self, text: str) -> str:
        """``text`` as engines are given it."""
        speakable = self._replacements(cleaned(text, self._rules))
        for step in self._steps:
            speakable = step(speakable)
        return speakable if speaks(speakable) else text

    def statistics(self) -> TextNormalizerStatistics:
        """The counts up to now."""
        return TextNormalizerStatistics(self._calls, self._changed)


async def _said(
    text: str, context: RequestContext, call_next: CallNext
) -> AsyncGenerator[SynthesisResult]:
    async with aclosing(call_next(context)) as results:
        async for result in results:
            yield replace(result, text=text)
