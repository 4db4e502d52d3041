"""Logging: what the lines say, and what they never say."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from realtime_stts import request_scope
from realtime_stts.audio import AudioData
from realtime_stts.middleware import Chain, LoggingMiddleware
from realtime_stts.protocols import (
    ConversationContext,
    StreamingTTSEngine,
    SynthesisResult,
    TranscriptionResult,
)

pytestmark = pytest.mark.anyio

CLIP = AudioData.silence(0.5, 16_000)
SECRET = "my number is 0170\nERROR forged \x1b[2J"


class Mouth:
    name = "mouth"
    model_loaded = True

    def __init__(self, *, fails: bool = False) -> None:
        self._fails = fails

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        if self._fails:
            raise ValueError(f"cannot say {text}")
        return SynthesisResult(CLIP, text, "alice")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        yield CLIP
        yield CLIP

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class Brain:
    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        return "x" * 5000

    def set_response_mode(self, mode: str) -> None: ...

    def clear_history(self) -> None: ...


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def wrapped(**options: Any) -> StreamingTTSEngine:
    return Chain(LoggingMiddleware(**options)).wrap(Mouth())


def without_times(lines: pytest.LogCaptureFixture) -> list[str]:
    return [re.sub(r"\d+\.\d ms", "N ms", message) for message in lines.messages]


async def test_a_call_is_a_line_when_it_begins_and_one_when_it_ends(
    lines: pytest.LogCaptureFixture,
) -> None:
    with request_scope(id="r1"):
        await wrapped().synthesize("hello", {})
    assert without_times(lines) == [
        "[r1] tts mouth: started, 0.00 s of audio, 5 characters",
        "[r1] tts mouth: completed in N ms, 0.50 s of audio, 5 characters",
    ]
    assert {record.levelno for record in lines.records} == {logging.INFO}
    assert {record.name for record in lines.records} == {"realtime_stts.middleware.logging"}
    assert {record.__dict__["request_id"] for record in lines.records} == {"r1"}


async def test_a_withdrawn_stream_says_so_and_how_far_it_got(
    lines: pytest.LogCaptureFixture,
) -> None:
    with request_scope(id="r2"):
        async with aclosing(wrapped().stream("hello")) as chunks:
            await anext(chunks)
    assert without_times(lines)[1] == (
        "[r2] tts mouth: cancelled in N ms, 0.50 s of audio, 5 characters"
    )


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_failure_is_logged_even_where_the_rest_is_not(
    caplog: pytest.LogCaptureFixture, enabled: bool
) -> None:
    caplog.set_level(logging.INFO if enabled else logging.WARNING)
    tts = Chain(LoggingMiddleware()).wrap(Mouth(fails=True))
    with request_scope(id="r3"), pytest.raises(ValueError, match="cannot say hello"):
        await tts.synthesize("hello", {})
    assert len(caplog.messages) == (2 if enabled else 1)
    failed = without_times(caplog)[-1]
    assert failed == "[r3] tts mouth: failed after N ms: ValueError (message not shown)"
    assert caplog.records[-1].levelno == logging.ERROR


async def test_a_middleware_that_logs_above_error_logs_failures_there_too(
    lines: pytest.LogCaptureFixture,
) -> None:
    tts = Chain(LoggingMiddleware(log_level=logging.CRITICAL)).wrap(Mouth(fails=True))
    with pytest.raises(ValueError, match="cannot say"):
        await tts.synthesize("hello", {})
    assert {record.levelno for record in lines.records} == {logging.CRITICAL}


async def test_nothing_is_logged_where_the_level_is_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    tts = wrapped()
    await tts.synthesize("hello", {})
    async with aclosing(tts.stream("hello")) as chunks:
        assert [chunk async for chunk in chunks] == [CLIP, CLIP]
    assert caplog.messages == []


async def test_a_logger_that_is_off_altogether_is_told_nothing() -> None:
    told: list[logging.LogRecord] = []
    logger = logging.Logger("off", logging.CRITICAL + 1)
    logger.addFilter(lambda record: bool(told.append(record)))
    with pytest.raises(ValueError, match="cannot say"):
        await Chain(LoggingMiddleware(logger=logger)).wrap(Mouth(fails=True)).synthesize("hi", {})
    assert told == []


async def test_text_is_never_logged_unless_asked_for(lines: pytest.LogCaptureFixture) -> None:
    await wrapped().synthesize(SECRET, {})
    failing = Chain(LoggingMiddleware()).wrap(Mouth(fails=True))
    with pytest.raises(ValueError, match="cannot say"):
        await failing.synthesize(SECRET, {})
    assert "0170" not in lines.text
    assert "forged" not in lines.text


async def test_shown_text_cannot_forge_a_line(lines: pytest.LogCaptureFixture) -> None:
    with request_scope(id="r4"):
        await wrapped(log_text=True).synthesize(SECRET, {})
        failing = Chain(LoggingMiddleware(log_text=True)).wrap(Mouth(fails=True))
        with pytest.raises(ValueError, match="cannot say"):
            await failing.synthesize(SECRET, {})
    quoted = r"my number is 0170\nERROR forged \x1b[2J'"
    assert lines.messages[0].endswith(f"35 characters: '{quoted}")
    assert lines.messages[-1].endswith(f"ValueError ('cannot say {quoted})")
    assert all(message.isprintable() for message in lines.messages)


async def test_shown_text_is_cut(lines: pytest.LogCaptureFixture) -> None:
    responder = Chain(LoggingMiddleware(log_text=True)).wrap(Brain())
    await responder.generate_response(TranscriptionResult("a", "en", []), ConversationContext())
    started, ended = lines.messages
    assert started.endswith("started, 0.00 s of audio, 0 characters")
    assert ended.endswith("5000 characters: '" + "x" * 100 + "'")


async def test_it_uses_the_logger_it_is_given_and_changes_no_level() -> None:
    class Kept(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.records: list[logging.LogRecord] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.records.append(record)

    mine, kept = logging.Logger("mine", logging.DEBUG), Kept()
    mine.addHandler(kept)
    names = ("", "realtime_stts", "realtime_stts.middleware.logging")
    levels = [logging.getLogger(name).level for name in names]
    await wrapped(log_level=logging.DEBUG, logger=mine).synthesize("hello", {})
    assert [record.levelno for record in kept.records] == [logging.DEBUG] * 2
    assert [logging.getLogger(name).level for name in names] == levels
    assert mine.level == logging.DEBUG


async def test_a_handler_that_raises_breaks_no_call() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    mine = logging.Logger("mine", logging.INFO)
    mine.addHandler(Broken())
    middleware = LoggingMiddleware(logger=mine)
    result = await Chain(middleware).wrap(Mouth()).synthesize("hello", {})
    assert result == SynthesisResult(CLIP, "hello", "alice")
    assert middleware.failures == 1
