"""TTS is given text that can be spoken."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from realtime_stts.audio import AudioData
from realtime_stts.middleware import Chain, TextNormalizerMiddleware
from realtime_stts.middleware.text_normalizer import TextNormalizerStatistics
from realtime_stts.protocols import SynthesisResult
from realtime_stts.testing import MiddlewareSuite

pytestmark = pytest.mark.anyio

CLIP = AudioData.silence(0.1, 16_000)


class TestTextNormalizerPromises(MiddlewareSuite):
    kinds = ("tts",)

    def middleware(self) -> TextNormalizerMiddleware:
        return TextNormalizerMiddleware()


class TestTextNormalizerPromisesOfOtherText(MiddlewareSuite):
    kinds = ("tts",)
    changes_input = True
    changes_results = True

    def text(self, number: int) -> str:
        return f"**Please** call me back at {number} tomorrow \U0001f389."

    def middleware(self) -> TextNormalizerMiddleware:
        return TextNormalizerMiddleware()


class Mouth:
    """TTS that keeps what it was given to say."""

    name = "mouth"
    model_loaded = True

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        self.texts.append(text)
        return SynthesisResult(CLIP, text, "alice")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        self.texts.append(text)
        yield CLIP

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


async def spoken(text: str, **options: Any) -> str:
    """What the engine is given, the same for a clip and a stream."""
    mouth = Mouth()
    normalizer = TextNormalizerMiddleware(**options)
    tts = Chain(normalizer).wrap(mouth)
    result = await tts.synthesize(text, {})
    assert result is not None
    assert result.text == text
    assert [chunk async for chunk in tts.stream(text, {})] == [CLIP]
    once, streamed = mouth.texts
    assert once == streamed
    changed = 0 if once == text else 2
    assert normalizer.statistics() == TextNormalizerStatistics(calls=2, changed=changed)
    return once


async def test_text_is_cleaned_then_replaced_then_goes_through_the_steps() -> None:
    assert await spoken("**SQL** is _fun_ \U0001f389!") == "SQL is fun!"
    assert await spoken(
        "**SQL** is _fun_!",
        replacements={"SQL": "Sequel", "fun": "SQL"},
        steps=[str.upper, lambda text: text.replace("!", ".")],
    ) == "SEQUEL IS SQL."  # fmt: skip


async def test_speakable_text_is_left_alone() -> None:
    assert await spoken("Hello there.") == "Hello there."


async def test_each_part_may_be_off() -> None:
    text = "*a* \U0001f389 https://a.org"
    assert await spoken(text, markdown=False, emoji=False, link="a link") == "*a* \U0001f389 a link"


async def test_text_of_which_nothing_is_left_stays_as_it_was() -> None:
    assert await spoken("\U0001f389") == "\U0001f389"
    assert await spoken("hm", replacements={"hm": ""}) == "hm"


async def test_an_error_of_a_step_is_the_callers() -> None:
    def broken(text: str) -> str:
        raise LookupError("no such word")

    with pytest.raises(LookupError, match="no such word"):
        await Chain(TextNormalizerMiddleware(steps=[broken])).wrap(Mouth()).synthesize("a", {})


async def test_steps_are_called() -> None:
    with pytest.raises(TypeError, match="'upper' cannot be"):
        TextNormalizerMiddleware(steps=[cast("Any", "upper")])
