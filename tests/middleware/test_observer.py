"""Observers change nothing and break nothing; usage counts what passes."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Any

import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.middleware import CallNext, Chain, Observer, RequestContext
from realtime_stts.middleware._observer import Usage
from realtime_stts.protocols import SynthesisResult, TranscriptionResult

CLIP = AudioData.silence(0.5, 16_000)


def said(text: str, *, partial: bool = False, language: str = "en") -> TranscriptionResult:
    return TranscriptionResult(text, language, [], partial=partial)


class Ears:
    model_loaded = True

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        return said("hello") if language != "xx" else None

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async for _ in audio:
            yield said("hel", partial=True)
        yield said("hello")

    async def is_available(self) -> bool:
        return True


async def two_chunks() -> AsyncGenerator[AudioData]:
    yield CLIP
    yield CLIP


class Diary(Observer):
    """Writes down what it sees, and can be made to fail at any of it."""

    def __init__(self, fails_at: str = "", log: list[str] | None = None, name: str = "") -> None:
        super().__init__(name or "diary")
        self._fails_at = fails_at
        self.log = [] if log is None else log

    def observe(self, context: RequestContext) -> Diary:
        self._note("observe")
        return self

    def result(self, result: Any, /) -> None:
        self._note("result")

    def end(self, error: BaseException | None, /) -> None:
        self._note("end", f" {type(error).__name__}")

    def _note(self, hook: str, rest: str = "") -> None:
        self.log.append(f"{self.name} {hook}{rest}")
        if hook == self._fails_at:
            raise ZeroDivisionError(hook)


@pytest.mark.anyio
async def test_calls_begin_from_outside_and_results_and_ends_come_from_inside() -> None:
    log: list[str] = []
    stt = Chain(Diary(log=log, name="a"), Diary(log=log, name="b")).wrap(Ears())
    await stt.transcribe(CLIP)
    begun = ["a observe", "b observe"]
    assert log == [*begun, "b result", "a result", "b end NoneType", "a end NoneType"]


@pytest.mark.anyio
async def test_errors_and_withdrawn_calls_are_seen() -> None:
    diary = Diary()
    stt = Chain(diary).wrap(Ears())
    with pytest.raises(EngineError):
        await stt.transcribe(CLIP, "xx")
    async with aclosing(two_chunks()) as audio, aclosing(stt.stream(audio)) as results:
        await anext(results)
    assert diary.log == [
        "diary observe",
        "diary end EngineError",
        "diary observe",
        "diary result",
        "diary end GeneratorExit",
    ]


@pytest.mark.anyio
async def test_the_end_comes_after_all_inside_is_closed() -> None:
    log: list[str] = []

    async def slow_to_close(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        try:
            async for result in call_next(context):
                yield result
        finally:
            log.append("closed")

    stt = Chain(Diary(log=log), slow_to_close).wrap(Ears())
    async with aclosing(two_chunks()) as audio, aclosing(stt.stream(audio)) as results:
        await anext(results)
    assert log[-2:] == ["closed", "diary end GeneratorExit"]


@pytest.mark.anyio
@pytest.mark.parametrize("fails_at", ["observe", "result", "end"])
async def test_a_failing_observer_never_breaks_a_call(
    fails_at: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = Diary(fails_at), Diary()
    stt = Chain(broken, sound).wrap(Ears())
    assert await stt.transcribe(CLIP) == said("hello")
    async with aclosing(stt.stream(two_chunks())) as results:
        assert [result.text async for result in results] == ["hel", "hel", "hello"]
    assert broken.failures == (4 if fails_at == "result" else 2)
    assert sound.failures == 0
    assert len(sound.log) == 2 + 4 + 2
    assert caplog.messages == ["the diary middleware failed; the call goes on"] * broken.failures
    assert caplog.records[0].exc_info is not None


@pytest.mark.anyio
async def test_the_calls_own_error_comes_through_a_failing_observer() -> None:
    with pytest.raises(EngineError, match="returned None"):
        await Chain(Diary("end")).wrap(Ears()).transcribe(CLIP, "xx")


@pytest.mark.anyio
async def test_not_even_a_broken_log_breaks_a_call() -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError("disk full")

    broken, diary = Broken(), Diary("result")
    log = logging.getLogger("realtime_stts.middleware")
    log.addHandler(broken)
    try:
        assert await Chain(diary).wrap(Ears()).transcribe(CLIP) == said("hello")
    finally:
        log.removeHandler(broken)
    assert diary.failures == 1


@pytest.mark.anyio
async def test_an_observer_is_a_middleware_like_any_other() -> None:
    diary = Diary()

    async def by_hand(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async for result in diary(context, call_next):
            yield result

    assert await Chain(by_hand).wrap(Ears()).transcribe(CLIP) == said("hello")
    assert diary.log == ["diary observe", "diary result", "diary end NoneType"]


# -- usage -------------------------------------------------------------------------------


def usage(request_type: str, *results: object, config: Any = None, **input_data: Any) -> Usage:
    counted = Usage(RequestContext("1", request_type, input_data=input_data, config=config or {}))
    for result in results:
        counted.result(result)
    return counted


def test_stt_is_audio_in_and_final_text_out() -> None:
    counted = usage("stt", said("hel", partial=True), said("hello"), audio=CLIP)
    assert (counted.audio_seconds, counted.audio_format) == (0.5, "pcm")
    assert (counted.characters, counted.text, counted.language) == (5, "hello", "en")


def test_tts_is_text_in_and_audio_out() -> None:
    clip = SynthesisResult(CLIP, "hello", "alice")
    whole, chunks = usage("tts", clip, text="hello"), usage("tts", CLIP, CLIP, text="hello")
    assert (whole.audio_seconds, whole.characters, whole.voice) == (0.5, 5, "alice")
    assert (chunks.audio_seconds, chunks.characters, chunks.voice) == (1.0, 5, None)


def test_a_response_is_the_text_of_its_pieces() -> None:
    counted = usage("response", "you ", "said", transcription=said("a"), context=None)
    assert (counted.characters, counted.text, counted.audio_seconds) == (8, "you said", 0.0)


def test_what_was_asked_for_goes_before_what_a_result_says() -> None:
    heard = usage("stt", said("hallo", language="de"), audio=CLIP, config={"language": "en"})
    assert heard.language == "en"
    spoken = usage("tts", SynthesisResult(CLIP, "a", "alice"), text="a", config={"voice_id": "bob"})
    assert spoken.voice == "bob"


def test_encoded_audio_is_not_decoded_to_be_counted() -> None:
    counted = usage("stt", audio=AudioData(b"not even decodable", 16_000, format="flac"))
    assert (counted.audio_seconds, counted.audio_format) == (0.0, "flac")


def test_only_the_beginning_of_a_text_is_kept() -> None:
    counted = usage("response", *["x" * 600] * 5, transcription=said("a"), context=None)
    assert counted.characters == 3000
    assert len(counted.text) <= 2000


def test_results_of_other_kinds_are_let_by() -> None:
    counted = usage("tts", object(), None, text="a")
    assert (counted.audio_seconds, counted.characters) == (0.0, 1)


@pytest.mark.anyio
async def test_a_stream_is_counted_as_the_engine_hears_it() -> None:
    context = RequestContext("1", "stt", input_data={"audio": two_chunks()}, streaming=True)
    counted = Usage(context)
    assert counted.audio_seconds == 0.0
    heard = [chunk async for chunk in context.input_data["audio"]]
    assert heard == [CLIP, CLIP]
    assert counted.audio_seconds == 1.0
