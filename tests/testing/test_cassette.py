"""A conversation is recorded around its engines, and had again without them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from realtime_stts import (
    CallableResponseGenerator,
    ConversationEngine,
    ReplyAudio,
    TurnFailed,
)
from realtime_stts.audio import AudioData
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.errors import EngineError
from realtime_stts.middleware import Chain
from realtime_stts.protocols import (
    ConversationContext,
    ManagedSTTEngine,
    ResponseGenerator,
    StreamingResponseGenerator,
    StreamingSTTEngine,
    StreamingTTSEngine,
    STTEngine,
    SynthesisResult,
    TranscriptionResult,
    TTSEngine,
)
from realtime_stts.testing import (
    Caller,
    Cassette,
    CassetteMismatch,
    Failure,
    RecordingMiddleware,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    ToneSTTEngine,
    chunked,
    no_leaks,
    speak_tones,
    speech,
)

pytestmark = pytest.mark.anyio

CLIP = speech(1.0)
CONTEXT = ConversationContext()


def broken() -> EngineError:
    return EngineError("scripted", "the model is gone")


def copied(cassette: Cassette, path: Path) -> Cassette:
    """As it comes back from its file."""
    return Cassette.load(cassette.save(path / "calls.jsonl"))


async def timed(results: AsyncIterable[Any]) -> list[tuple[float, Any]]:
    """What a stream gives and when; an error is its last result."""
    began, got = anyio.current_time(), []
    try:
        async for result in results:
            got.append((pytest.approx(anyio.current_time() - began), result))  # noqa: PERF401
    except Exception as exc:  # noqa: BLE001
        text, *_ = str(exc).split(" (request")  # whose id is another one each time
        got.append((pytest.approx(anyio.current_time() - began), (type(exc), text)))
    return got


# -- whole conversations -----------------------------------------------------------------


def line(*said: str) -> AudioData:
    """A caller who says that, and waits four seconds after each."""
    pieces = [AudioData.silence(0.5, 16_000)]
    for text in said:
        pieces += [speak_tones(text, 16_000), AudioData.silence(4.0, 16_000)]
    return AudioData.concat(pieces)


def rounded(text: str) -> str:
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.6f}", text)


async def held(
    stt: STTEngine, tts: TTSEngine, responder: ResponseGenerator, audio: AudioData
) -> list[tuple[float, str, str]]:
    """Everything that happens in a conversation but its sound, and a hash of that."""
    engine = ConversationEngine(
        stt=stt, tts=tts, responder=responder, pause_detector=EnergyPauseDetector()
    )
    began = anyio.current_time()
    log: list[tuple[float, str, str]] = []
    sound = bytearray()
    async with no_leaks(), engine.session() as session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.feed, chunked(audio, 0.02, paced=True))
        async for event in session:
            if isinstance(event, ReplyAudio):
                sound += event.audio.data
                continue
            # A failure carries a request's id, which is another one each time.
            text = str(event.turn) if isinstance(event, TurnFailed) else repr(event)
            moment = round(anyio.current_time() - began, 6)
            log.append((moment, type(event).__name__, rounded(text)))
    return [*log, (0.0, "sound", sound.hex())]


SCRIPTED: dict[str, Any] = {
    "plain": lambda: (
        ToneSTTEngine(),
        ScriptedTTSEngine(),
        ScriptedResponseGenerator(["Tomorrow will be sunny. And warm.", "You are welcome."]),
    ),
    "slow and failing": lambda: (
        ScriptedSTTEngine(["one two three", Failure(broken(), 1, "four five")], load_time=0.7),
        ScriptedTTSEngine(latency=0.31, real_time_factor=0.7, failures=[Failure(broken(), 2)]),
        ScriptedResponseGenerator(["One. Two. Three."], token_latency=0.13),
    ),
    "interrupted": lambda: (
        ToneSTTEngine(latency=0.11),
        ScriptedTTSEngine(seconds_per_character=0.1),
        ScriptedResponseGenerator(["It will be sunny in the morning, and later on. " * 4, "Oh."]),
    ),
}


@pytest.mark.parametrize("kind", SCRIPTED)
async def test_a_conversation_goes_the_same_way_again(kind: str, tmp_path: Path) -> None:
    audio = line("what is the weather", "never mind, thanks")
    cassette = Cassette()
    recorded = await held(*map(cassette.recording, SCRIPTED[kind]()), audio)
    again = copied(cassette, tmp_path)
    assert await held(again.stt(), again.tts(), again.responder(), audio) == recorded
    assert len(recorded) > 10


async def test_sessions_at_the_same_time_are_replayed_apart(tmp_path: Path) -> None:
    async def answer(heard: TranscriptionResult, context: ConversationContext) -> str:
        await anyio.sleep(0.0123)
        return f"You said: {heard.text}"

    async def talk(stt: STTEngine, tts: TTSEngine, responder: ResponseGenerator) -> list[list[str]]:
        engine = ConversationEngine(
            stt=stt, tts=tts, responder=responder, pause_detector=EnergyPauseDetector()
        )
        logs: dict[int, list[str]] = {}

        async def call(number: int) -> None:
            caller = Caller(engine).waits(0.37 * number).says(f"number {number} here")
            logs[number] = (await caller.says("thank you").run()).log()

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(call, number)
        return [logs[number] for number in range(4)]

    cassette = Cassette()
    parts = (
        ToneSTTEngine(latency=0.2031),
        ScriptedTTSEngine(latency=0.1017),
        CallableResponseGenerator(answer),
    )
    recorded = await talk(*map(cassette.recording, parts))
    again = copied(cassette, tmp_path)
    assert await talk(again.stt(), again.tts(), again.responder()) == recorded


async def test_another_caller_is_not_the_recorded_one() -> None:
    cassette = Cassette()
    await held(*map(cassette.recording, SCRIPTED["plain"]()), line("what is the weather"))
    replayed = (cassette.stt(), cassette.tts(), cassette.responder())
    log = await held(*replayed, line("what is the whether"))
    assert "TurnFailed" in [kind for _, kind, _ in log]


# -- each kind of call -------------------------------------------------------------------


async def test_speech_to_text_is_heard_again(tmp_path: Path) -> None:
    cassette = Cassette()
    stt = cassette.recording(ScriptedSTTEngine(["one two three"] * 2))
    whole = await stt.transcribe(CLIP, "en")
    async with aclosing(chunked(CLIP, 0.02, paced=True)) as source:
        results = await timed(stt.stream(source))
    again = copied(cassette, tmp_path).stt()
    assert isinstance(again, StreamingSTTEngine)
    assert await again.is_available() is again.model_loaded is True
    began = anyio.current_time()
    assert await again.transcribe(CLIP, "en") == whole
    assert anyio.current_time() - began == pytest.approx(0.2)
    async with aclosing(chunked(CLIP, 0.02, paced=True)) as source:
        assert await timed(again.stream(source)) == results


async def test_results_come_with_their_audio_however_it_is_cut(tmp_path: Path) -> None:
    """Half a second later all of it, in other chunks: each result is as much later."""
    cassette = Cassette()
    stt = cassette.recording(ScriptedSTTEngine(["one two three"], latency=0.25))
    async with aclosing(chunked(CLIP, 0.02, paced=True)) as source:
        recorded = await timed(stt.stream(source))

    async def later() -> AsyncGenerator[AudioData]:
        await anyio.sleep(0.5)
        async with aclosing(chunked(CLIP, 0.05, paced=True)) as chunks:
            async for chunk in chunks:
                yield chunk

    stream = copied(cassette, tmp_path).stt()
    assert isinstance(stream, StreamingSTTEngine)
    async with aclosing(later()) as source:
        again = await timed(stream.stream(source))
    assert [result for _, result in again] == [result for _, result in recorded]
    assert [time for time, _ in recorded] == [0.3, 0.6, 0.9, 1.25]
    assert [time for time, _ in again] == [0.8, 1.1, 1.4, 1.75]


async def test_text_to_speech_is_spoken_again(tmp_path: Path) -> None:
    cassette = Cassette()
    tts = cassette.recording(ScriptedTTSEngine(voices=["ada", "grace"]))
    whole = await tts.synthesize("hello", {"voice_id": "grace"})
    chunks = await timed(tts.stream("hello there"))
    again = copied(cassette, tmp_path).tts()
    assert isinstance(again, StreamingTTSEngine)
    assert await again.list_voices() == [{"id": "grace", "name": "grace", "language": ""}]
    assert await again.synthesize("hello", {"voice_id": "grace"}) == whole
    assert await timed(again.stream("hello there")) == chunks


async def test_answers_are_given_again(tmp_path: Path) -> None:
    cassette = Cassette()
    responder = cassette.recording(ScriptedResponseGenerator(["It is sunny."] * 2))
    heard = TranscriptionResult("the weather?", "en", [])
    whole = await responder.generate_response(heard, CONTEXT)
    pieces = await timed(responder.stream_response(heard, CONTEXT))
    again = copied(cassette, tmp_path).responder()
    assert isinstance(again, StreamingResponseGenerator)
    assert await again.generate_response(heard, CONTEXT) == whole
    assert await timed(again.stream_response(heard, CONTEXT)) == pieces
    again.clear_history()
    with pytest.raises(ValueError, match="a recording has no modes"):
        again.set_response_mode("poetry")


class OneShot:
    """Engines of the contract and no more."""

    model_loaded = True

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        await anyio.sleep(0.5)
        return TranscriptionResult("hm", "en", [])

    async def is_available(self) -> bool:
        return True


class OneShotVoice:
    model_loaded = True

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return SynthesisResult(CLIP, text, "the voice")

    async def list_voices(self) -> list[dict[str, Any]]:
        return [{"id": "the voice", "name": "The Voice", "language": "en"}]


class OneShotResponder:
    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        return "Hm."

    def set_response_mode(self, mode: str) -> None: ...

    def clear_history(self) -> None: ...


async def test_a_replay_streams_only_if_a_recorded_engine_did() -> None:
    cassette = Cassette()
    heard = TranscriptionResult("the weather?", "en", [])
    await cassette.recording(OneShot()).transcribe(CLIP)
    await cassette.recording(OneShotVoice()).synthesize("hm", {})
    await cassette.recording(OneShotResponder()).generate_response(heard, CONTEXT)
    stt, tts, responder = cassette.stt(), cassette.tts(), cassette.responder()
    assert not isinstance(stt, StreamingSTTEngine)
    assert not isinstance(tts, StreamingTTSEngine)
    assert not isinstance(responder, StreamingResponseGenerator)
    assert (await stt.transcribe(CLIP)).text == "hm"
    assert (await tts.synthesize("hm", {})).audio_data == CLIP
    assert (await responder.generate_response(heard, CONTEXT)) == "Hm."
    assert await tts.list_voices() == [{"id": "recorded", "name": "recorded", "language": ""}]


# -- how calls end -----------------------------------------------------------------------


async def test_failures_come_again_when_they_came(tmp_path: Path) -> None:
    cassette = Cassette()
    tts = cassette.recording(ScriptedTTSEngine(failures=[Failure(broken(), 1), broken()]))
    recorded = [await timed(tts.stream("hello")) for _ in range(2)]
    again = copied(cassette, tmp_path).tts()
    assert isinstance(again, StreamingTTSEngine)
    assert [await timed(again.stream("hello")) for _ in range(2)] == recorded
    assert [len(results) for results in recorded] == [2, 1]


async def test_a_refused_clip_is_refused_again(tmp_path: Path) -> None:
    cassette = Cassette()
    no_audio = AudioData(b"RIFF, but no more", 16_000, format="wav")
    stt = cassette.recording(ToneSTTEngine())
    for _ in range(2):
        with pytest.raises(ValueError, match="the content is not audio") as caught:
            await stt.transcribe(no_audio)
        stt = copied(cassette, tmp_path).stt()
    assert caught.type.__name__ == "AudioContainerError"


async def test_who_withdraws_a_call_again_sees_no_difference() -> None:
    cassette = Cassette()
    stt = cassette.recording(ScriptedSTTEngine(["one two three"] * 2))
    for engine in (stt, None):
        async with no_leaks():
            again = engine or cassette.stt()
            assert isinstance(again, StreamingSTTEngine)
            with anyio.move_on_after(0.1) as scope:
                await again.transcribe(CLIP)
            assert scope.cancelled_caught
            async with (
                aclosing(chunked(CLIP, 0.02, paced=True)) as source,
                aclosing(again.stream(source)) as results,
            ):
                assert (await anext(results)).text == "one"


async def test_who_goes_on_with_a_call_that_was_withdrawn_is_told() -> None:
    cassette = Cassette()
    tts = cassette.recording(ScriptedTTSEngine())
    async with aclosing(tts.stream("hello there")) as chunks:
        await anext(chunks)
    again = cassette.tts()
    assert isinstance(again, StreamingTTSEngine)
    results = await timed(again.stream("hello there"))
    assert [kind for _, (kind, _) in results[1:]] == [CassetteMismatch]
    assert "it was withdrawn, and now it goes on" in results[-1][1][1]


# -- the cassette itself -----------------------------------------------------------------


async def test_it_is_a_middleware_among_others() -> None:
    cassette = Cassette()
    tts = Chain(RecordingMiddleware(cassette)).wrap(ScriptedTTSEngine())
    await tts.synthesize("hello", {})
    [call] = cassette.calls
    assert (call.kind, call.streamed, call.engine) == ("tts", False, "ScriptedTTSEngine")


async def test_a_recorded_engine_is_managed_as_before() -> None:
    stt = Cassette().recording(ScriptedSTTEngine(["one"]))
    assert isinstance(stt, ManagedSTTEngine)
    with pytest.raises(TypeError, match="a chain wraps"):
        Cassette().recording(object())


async def test_every_engine_of_a_cassette_begins_anew() -> None:
    cassette = Cassette()
    await cassette.recording(ScriptedTTSEngine()).synthesize("hello", {})
    for _ in range(2):
        assert (await cassette.tts().synthesize("hello", {})).text == "hello"


async def test_a_call_under_way_is_saved_as_withdrawn(tmp_path: Path) -> None:
    cassette = Cassette()
    tts = cassette.recording(ScriptedTTSEngine())
    async with aclosing(tts.stream("hello there")) as chunks:
        await anext(chunks)
        [call] = copied(cassette, tmp_path).calls
    assert call.ending.how == "cancelled"
    assert len(call.results) == 1


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    Cassette().save(path)
    before = path.read_text()

    class Broken(Cassette):
        def __init__(self) -> None:
            self.calls = [object()]  # type: ignore[list-item]

    with pytest.raises(AttributeError):
        Broken().save(path)
    assert path.read_text() == before
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", "Gedöns\n".encode()])
def test_what_is_no_cassette_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="this is no cassette"):
        Cassette.load(path)
    with pytest.raises(FileNotFoundError):
        Cassette.load(tmp_path / "none.jsonl")
