"""Somebody else's engine, made one that streams: same results, typed failures, nothing kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any

import pytest

from realtime_stts._edge import (
    engine_name,
    managed_stt,
    managed_tts,
    not_none,
    streaming_responder,
    streaming_stt,
    streaming_tts,
)
from realtime_stts.audio import AudioData
from realtime_stts.errors import AudioFormatError, EngineError
from realtime_stts.protocols import (
    ConversationContext,
    ManagedSTTEngine,
    ManagedTTSEngine,
    StreamingResponseGenerator,
    StreamingSTTEngine,
    StreamingTTSEngine,
    SynthesisResult,
    TranscriptionResult,
)
from realtime_stts.testing import chunked

pytestmark = pytest.mark.anyio

RATE = 16_000
CLIP = AudioData(bytes(range(200)), RATE)


class Listener:
    """A one-shot engine as the contract has it; None is how it fails."""

    def __init__(self, answer: TranscriptionResult | None) -> None:
        self.answer = answer
        self.heard: list[tuple[AudioData, str | None]] = []

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        self.heard.append((audio, language))
        return self.answer

    async def is_available(self) -> bool:
        return self.answer is not None

    @property
    def model_loaded(self) -> bool:
        return self.answer is not None


class Speaker:
    name = "parrot"

    def __init__(self, answer: SynthesisResult | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        self.asked.append((text, voice_config))
        return self.answer

    async def list_voices(self) -> list[dict[str, Any]]:
        return [{"id": "polly"}]

    @property
    def model_loaded(self) -> bool:
        return self.answer is not None


class Responder:
    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.calls: list[object] = []

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        self.calls.append((transcription, context))
        return self.answer

    def set_response_mode(self, mode: str) -> None:
        self.calls.append(mode)

    def clear_history(self) -> None:
        self.calls.append("cleared")


class StreamingListener(Listener):
    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        yield HELLO


class StreamingSpeaker(Speaker):
    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        yield CLIP


class StreamingResponder(Responder):
    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        yield self.answer


HELLO = TranscriptionResult("hello", "en", [])
FINAL = replace(HELLO, committed="hello")  # the same, at the end of a stream with partial results
SPOKEN = SynthesisResult(CLIP, "hello", "polly")


async def delivered(chunks: Sequence[AudioData]) -> AsyncIterator[AudioData]:
    for chunk in chunks:
        yield chunk


def test_an_engine_is_called_by_its_name_or_its_class() -> None:
    assert engine_name(Speaker(None)) == "parrot"
    assert engine_name(Listener(None)) == "Listener"


def test_none_is_the_error_that_it_means() -> None:
    assert not_none("", object()) == ""
    with pytest.raises(EngineError, match="parrot: failed without saying why") as caught:
        not_none(None, Speaker(None))
    assert caught.value.engine == "parrot"


def test_what_streams_already_is_returned_as_it_is() -> None:
    listener, speaker, responder = (
        StreamingListener(HELLO),
        StreamingSpeaker(SPOKEN),
        StreamingResponder("yes"),
    )
    assert streaming_stt(listener) is listener
    assert streaming_tts(speaker) is speaker
    assert streaming_responder(responder) is responder


def test_what_does_not_is_made_to_once() -> None:
    stt, tts = streaming_stt(Listener(HELLO)), streaming_tts(Speaker(SPOKEN))
    responder = streaming_responder(Responder("yes"))
    assert isinstance(stt, StreamingSTTEngine)
    assert isinstance(tts, StreamingTTSEngine)
    assert isinstance(responder, StreamingResponseGenerator)
    assert streaming_stt(stt) is stt
    assert streaming_tts(tts) is tts
    assert streaming_responder(responder) is responder
    assert [engine_name(each) for each in (stt, tts, responder)] == [
        "Listener", "parrot", "Responder",
    ]  # fmt: skip


# -- speech to text ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize(("interval", "final"), [(None, HELLO), (1.0, FINAL)])
async def test_a_one_shot_engine_hears_the_whole_stream(
    interval: float | None, final: TranscriptionResult, size: int
) -> None:
    engine = Listener(HELLO)
    chunks = [CLIP.sliced(i / RATE, (i + size) / RATE) for i in range(0, 100, size)]
    async with aclosing(streaming_stt(engine, interval).stream(delivered(chunks), "en")) as results:
        assert [result async for result in results] == [final]
    assert engine.heard == [(CLIP, "en")]


@pytest.mark.parametrize(("interval", "n_results"), [(None, 1), (100 / RATE, 2), (1.0, 1)])
async def test_it_hears_as_much_again_and_again_as_it_is_asked_to(
    interval: float | None, n_results: int
) -> None:
    engine = Listener(HELLO)
    chunks = chunked(AudioData.concat([CLIP] * 2), 100 / RATE, paced=True)
    async with aclosing(streaming_stt(engine, interval).stream(chunks)) as results:
        assert len([result async for result in results]) == n_results
    assert len(engine.heard) == n_results


@pytest.mark.parametrize("interval", [0.0, -1.0, float("nan")])
def test_it_is_asked_to_over_some_time(interval: float) -> None:
    with pytest.raises(ValueError, match="over 0 seconds apart"):
        streaming_stt(Listener(HELLO), interval)


@pytest.mark.parametrize("interval", [None, 1.0])
async def test_a_stream_of_nothing_is_silence_and_reaches_no_engine(
    interval: float | None,
) -> None:
    engine = Listener(HELLO)
    for language in (None, "de"):
        stt = streaming_stt(engine, interval)
        async with aclosing(stt.stream(delivered([]), language)) as results:
            assert [result async for result in results] == [
                TranscriptionResult("", language or "", [])
            ]
    assert engine.heard == []


@pytest.mark.parametrize(("interval", "final"), [(None, HELLO), (1.0, FINAL)])
async def test_chunks_may_be_encoded(interval: float | None, final: TranscriptionResult) -> None:
    engine = Listener(HELLO)
    file = AudioData(CLIP.encode("flac"), RATE, 1, "flac")
    stt = streaming_stt(engine, interval)
    async with aclosing(stt.stream(delivered([file, CLIP]))) as results:
        assert [result async for result in results] == [final]
    assert engine.heard == [(AudioData.concat([CLIP, CLIP]), None)]


@pytest.mark.parametrize("interval", [None, 1.0])
async def test_a_layout_that_changes_is_the_callers_error(interval: float | None) -> None:
    chunks = [CLIP, AudioData(CLIP.data, 48_000)]
    async with aclosing(delivered(chunks)) as source:
        with pytest.raises(AudioFormatError, match=r"16000.*48000"):
            await anext(streaming_stt(Listener(HELLO), interval).stream(source))


@pytest.mark.parametrize("interval", [None, 1.0])
async def test_none_from_transcribe_is_an_error_either_way(interval: float | None) -> None:
    engine = streaming_stt(Listener(None), interval)
    with pytest.raises(EngineError, match="Listener: failed"):
        await engine.transcribe(CLIP)
    with pytest.raises(EngineError, match="Listener: failed"):
        await anext(engine.stream(delivered([CLIP])))


@pytest.mark.parametrize("answer", [HELLO, None])
async def test_the_engine_answers_for_itself(answer: TranscriptionResult | None) -> None:
    engine = streaming_stt(Listener(answer))
    assert await engine.is_available() is engine.model_loaded is (answer is not None)


# -- text to speech ----------------------------------------------------------------------


async def test_a_one_shot_voice_speaks_in_one_chunk() -> None:
    engine = Speaker(SPOKEN)
    tts = streaming_tts(engine)
    async with aclosing(tts.stream("hello", {"voice_id": "polly"})) as chunks:
        assert [chunk async for chunk in chunks] == [CLIP]
    async with aclosing(tts.stream("hello")) as chunks:
        assert [chunk async for chunk in chunks] == [CLIP]
    assert await tts.synthesize("hello", {}) is SPOKEN
    assert engine.asked == [("hello", {"voice_id": "polly"}), ("hello", {}), ("hello", {})]
    assert await tts.list_voices() == [{"id": "polly"}]
    assert tts.model_loaded


async def test_none_from_synthesize_is_an_error_either_way() -> None:
    tts = streaming_tts(Speaker(None))
    with pytest.raises(EngineError, match="parrot: failed"):
        await anext(tts.stream("hello"))
    with pytest.raises(EngineError, match="parrot: failed"):
        await tts.synthesize("hello", {})
    assert not tts.model_loaded


# -- responders --------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "pieces"), [("yes", ["yes"]), ("", [])])
async def test_a_whole_answer_is_one_piece_and_none_is_none(answer: str, pieces: list[str]) -> None:
    responder = Responder(answer)
    streaming, context = streaming_responder(responder), ConversationContext()
    async with aclosing(streaming.stream_response(HELLO, context)) as stream:
        assert [piece async for piece in stream] == pieces
    assert await streaming.generate_response(HELLO, context) == answer
    streaming.set_response_mode("echo")
    streaming.clear_history()
    assert responder.calls == [(HELLO, context), (HELLO, context), "echo", "cleared"]


# -- life cycles -------------------------------------------------------------------------


class Loadable:
    """A life cycle that writes down what is asked of it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked_to: list[str] = []

    async def load(self) -> None:
        self.asked_to.append("load")

    async def unload(self) -> None:
        self.asked_to.append("unload")

    async def warmup(self) -> None:
        self.asked_to.append("warm up")

    async def __aenter__(self) -> Loadable:
        self.asked_to.append("enter")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self.asked_to.append(f"exit with {exc!r}")
        return True


class LoadableListener(Loadable, Listener): ...


class LoadableSpeaker(Loadable, Speaker): ...


class ManagedListener(Loadable, StreamingListener): ...


class ManagedSpeaker(Loadable, StreamingSpeaker): ...


def test_what_is_managed_already_is_returned_as_it_is() -> None:
    listener, speaker = ManagedListener(HELLO), ManagedSpeaker(SPOKEN)
    assert managed_stt(listener) is listener
    assert managed_tts(speaker) is speaker


@pytest.mark.parametrize(
    ("engine", "final"), [(Listener(HELLO), FINAL), (StreamingListener(HELLO), HELLO)]
)
async def test_an_engine_that_loads_by_itself_can_be_managed(
    engine: Listener, final: TranscriptionResult
) -> None:
    managed = managed_stt(engine)
    assert isinstance(managed, ManagedSTTEngine)
    async with managed as entered:
        assert entered is managed
        await managed.load()
        await managed.warmup()
        async with aclosing(managed.stream(delivered([CLIP]))) as results:
            assert [result async for result in results] == [final]
        assert await managed.transcribe(CLIP) == HELLO
        await managed.unload()


@pytest.mark.parametrize("engine", [Speaker(SPOKEN), StreamingSpeaker(SPOKEN)])
async def test_and_so_can_a_voice(engine: Speaker) -> None:
    managed = managed_tts(engine)
    assert isinstance(managed, ManagedTTSEngine)
    async with managed as entered:
        assert entered is managed
        async with aclosing(managed.stream("hello")) as chunks:
            assert [chunk async for chunk in chunks] == [CLIP]
        assert await managed.synthesize("hello", {}) == SPOKEN


@pytest.mark.parametrize("kind", ["stt", "tts"])
async def test_a_life_cycle_of_its_own_is_the_one_that_is_used(kind: str) -> None:
    if kind == "stt":
        listener = LoadableListener(HELLO)
        managed: ManagedSTTEngine | ManagedTTSEngine = managed_stt(listener)
        asked_to = listener.asked_to
    else:
        speaker = LoadableSpeaker(SPOKEN)
        managed = managed_tts(speaker)
        asked_to = speaker.asked_to
    async with managed:
        await managed.load()
        await managed.warmup()
        await managed.unload()
        raise LookupError("x")
    assert asked_to == ["enter", "load", "warm up", "unload", "exit with LookupError('x')"]


@pytest.mark.parametrize("engine", [Listener(HELLO), Speaker(SPOKEN)])
async def test_where_there_is_none_an_error_passes(engine: Any) -> None:
    manage: Any = managed_stt if isinstance(engine, Listener) else managed_tts
    with pytest.raises(LookupError):
        async with manage(engine):
            raise LookupError("x")


# -- closing -----------------------------------------------------------------------------


async def test_nothing_runs_before_it_is_awaited_nor_after_it_is_closed() -> None:
    listener, speaker, responder = Listener(HELLO), Speaker(SPOKEN), Responder("yes")
    for stream in (
        streaming_stt(listener).stream(delivered([CLIP])),
        streaming_tts(speaker).stream("hello"),
        streaming_responder(responder).stream_response(HELLO, ConversationContext()),
    ):
        await stream.aclose()
        assert [item async for item in stream] == []
    assert listener.heard == speaker.asked == responder.calls == []


async def test_closing_after_the_first_result_leaves_nothing_open() -> None:
    for stream in (
        streaming_stt(Listener(HELLO)).stream(delivered([CLIP])),
        streaming_tts(Speaker(SPOKEN)).stream("hello"),
        streaming_responder(Responder("yes")).stream_response(HELLO, ConversationContext()),
    ):
        await anext(stream)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
