"""The suites catch what they are for: each of these engines breaks one promise.

Every engine here is a fake with one fault, a fault that real engines have had. The check
named beside it must fail, and must pass for the same fake without the fault.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import count, repeat
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.protocols import (
    ConversationContext,
    SynthesisResult,
    TranscriptionResult,
    TranscriptionSegment,
)
from realtime_stts.testing import (
    MemoryWebSocketAdapter,
    PauseDetectorSuite,
    ResponseGeneratorSuite,
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    StreamingSpeechToTextSuite,
    StreamingTextToSpeechSuite,
    WebSocketAdapterSuite,
    _leaks,
    connected_pair,
)

pytestmark = pytest.mark.anyio


def fault(engine: Any, check: str, *arguments: Any) -> Any:
    return pytest.param(engine, check, arguments, id=f"{engine.__name__}-{check}")


async def catches(
    suite: Any, sound: type, engine: type, check: str, arguments: tuple[Any, ...]
) -> None:
    """The check passes for the engine without the fault, and fails for the one with it."""
    suite.engine = sound
    await getattr(suite, check)(*arguments)
    suite.engine = engine
    with pytest.raises((AssertionError, TimeoutError, EngineError, pytest.fail.Exception)):
        await getattr(suite, check)(*arguments)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_leaks, "_PATIENCE", 0.05)


# -- speech to text ----------------------------------------------------------------------


class STT(ScriptedSTTEngine):
    def __init__(self) -> None:
        super().__init__(repeat("hello there"), load_time=1.0)


class NoneForFailure(STT):
    async def transcribe(self, audio: AudioData, language: str | None = None) -> Any:
        return None


class HearsThings(STT):
    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return replace(await super().transcribe(audio, language), text="Thank you.")


class LeavesTheClipPartial(STT):
    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return replace(await super().transcribe(audio, language), partial=True)


class CountsInSamples(STT):
    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        result = await super().transcribe(audio, language)
        return replace(result, segments=[TranscriptionSegment(result.text, 0, audio.n_frames)])


class SurerThanSure(STT):
    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return replace(await super().transcribe(audio, language), confidence=90.0)


class NotAvailable(STT):
    async def is_available(self) -> bool:
        return False


class BlocksTheLoop(STT):
    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        time.sleep(0.4)  # noqa: ASYNC251  # the fault
        return await super().transcribe(audio, language)


class KeepsTheClipOnItself(STT):
    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        self.clip = audio
        await anyio.sleep(0.1)
        return await super().transcribe(self.clip, language)


class NeverFreesItsSlot(STT):
    """A lock that a cancelled call leaves locked."""

    busy = False

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        while self.busy:  # noqa: ASYNC110  # the fault is elsewhere
            await anyio.sleep(0.1)
        self.busy = True
        result = await super().transcribe(audio, language)
        self.busy = False
        return result


class StartsAThread(STT):
    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        threading.Thread(target=time.sleep, args=(0.5,)).start()
        return await super().transcribe(audio, language)


class NeverSaysItIsLoaded(STT):
    @property
    def model_loaded(self) -> bool:
        return False


class NeverUnloads(STT):
    @property
    def model_loaded(self) -> bool:
        return self.loads > 0


class UnloadsUnderACall(STT):
    async def unload(self) -> None:
        self._loaded = False

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        result = await super().transcribe(audio, language)
        return result if self.model_loaded else replace(result, text="")


class StumblesOverUnload(UnloadsUnderACall):
    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async with aclosing(super().stream(audio, language)) as results:
            async for result in results:
                yield result if self.model_loaded else replace(result, text="")


class LoadsInTheBackground(STT):
    async def load(self) -> None:
        """Returns before the model is there."""

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return TranscriptionResult("hello there", "en", [])


class StreamsOnlyPartials(STT):
    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async with aclosing(super().stream(audio, language)) as results:
            async for result in results:
                yield replace(result, partial=True)


class EndsTwice(STT):
    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async with aclosing(super().stream(audio, language)) as results:
            async for result in results:
                yield result
        yield result


class LosesTheLastChunk(STT):
    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async def all_but_the_last() -> AsyncGenerator[AudioData]:
            held = None
            async for chunk in audio:
                if held is not None:
                    yield held
                held = chunk

        async with (
            aclosing(all_but_the_last()) as source,
            aclosing(super().stream(source, language)) as results,
        ):
            async for result in results:
                yield result


class HearsTheFuture(STT):
    """Its partial results claim words in audio that has not come yet."""

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        yield TranscriptionResult(
            "hello", language or "en", [TranscriptionSegment("hello", 0.0, 1.0)], partial=True
        )
        async with aclosing(super().stream(audio, language)) as results:
            async for result in results:
                yield result


class BlamesItselfForTheSource(STT):
    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        try:
            async with aclosing(super().stream(audio, language)) as results:
                async for result in results:
                    yield result
        except Exception as exc:  # the fault
            raise EngineError("stt", "it broke") from exc


class TakesAnyLayoutAnyTime(STT):
    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async def evened() -> AsyncGenerator[AudioData]:
            async for chunk in audio:
                yield chunk.mono().resampled(16_000)

        async with (
            aclosing(evened()) as source,
            aclosing(super().stream(source, language)) as results,
        ):
            async for result in results:
                yield result


class WaitsForSoundForEver(STT):
    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        chunks = [chunk async for chunk in audio]
        if not chunks:
            return
        yield await self.transcribe(AudioData.concat(chunks), language)


@pytest.mark.parametrize(
    ("engine", "check", "arguments"),
    [
        fault(NoneForFailure, "test_hears_what_is_said"),
        fault(NoneForFailure, "test_takes_a_clip_too_short_for_a_word", 0),
        fault(HearsThings, "test_hears_what_is_said"),
        fault(HearsThings, "test_hears_nothing_in_silence"),
        fault(LeavesTheClipPartial, "test_hears_nothing_in_silence"),
        fault(CountsInSamples, "test_takes_any_audio", 48_000, 6, "pcm_s24le"),
        fault(SurerThanSure, "test_hears_nothing_in_silence"),
        fault(NotAvailable, "test_is_a_speech_to_text_engine"),
        fault(BlocksTheLoop, "test_leaves_the_event_loop_to_others"),
        fault(KeepsTheClipOnItself, "test_keeps_concurrent_calls_apart"),
        fault(NeverFreesItsSlot, "test_is_unharmed_by_a_cancelled_call"),
        fault(StartsAThread, "test_leaves_nothing_running"),
        fault(NeverSaysItIsLoaded, "test_loads_on_demand"),
        fault(NeverSaysItIsLoaded, "test_warmup_loads"),
        fault(NeverUnloads, "test_unloads_and_loads_again"),
        fault(NeverUnloads, "test_is_loaded_inside_async_with"),
        fault(UnloadsUnderACall, "test_unload_does_no_harm_to_a_call_in_flight"),
        fault(StumblesOverUnload, "test_unload_does_no_harm_to_a_stream_in_flight"),
        fault(LoadsInTheBackground, "test_load_is_done_when_it_returns"),
        fault(LoadsInTheBackground, "test_may_be_loaded_by_many_at_once"),
        fault(LoadsInTheBackground, "test_survives_a_load_that_is_cancelled"),
        fault(StreamsOnlyPartials, "test_streams_one_final_result"),
        fault(EndsTwice, "test_streams_silence"),
        fault(LosesTheLastChunk, "test_hears_the_same_however_it_is_cut", [0.25]),
        fault(HearsTheFuture, "test_streams_any_audio", 8_000, 1, "pcm"),
        fault(BlamesItselfForTheSource, "test_lets_the_sources_own_error_through"),
        fault(TakesAnyLayoutAnyTime, "test_refuses_a_stream_that_changes_its_layout"),
        fault(WaitsForSoundForEver, "test_ends_a_stream_that_brought_nothing"),
    ],
)
async def test_speech_to_text(engine: type, check: str, arguments: tuple[Any, ...]) -> None:
    suite = StreamingSpeechToTextSuite()
    suite.text = "hello there"
    await catches(suite, STT, engine, check, arguments)


# -- text to speech ----------------------------------------------------------------------


class TTS(ScriptedTTSEngine):
    def __init__(self) -> None:
        super().__init__(voices=["ada", "grace"])

    async def make(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return await super().synthesize(text, voice_config)


class GivesUpQuietly(TTS):
    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> Any:
        return None


class SpeaksBlanks(TTS):
    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return await self.make(text if text.strip() else "nothing", voice_config)


class StopsAtFortyCharacters(TTS):
    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return replace(await self.make(text[:40], voice_config), text=text)


class SpeaksSilence(TTS):
    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        result = await self.make(text, voice_config)
        silence = AudioData.silence(result.audio_data.duration_seconds, 24_000)
        return replace(result, audio_data=silence)


class TripsOverSymbols(TTS):
    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> Any:
        return await self.make(text, voice_config) if text[0].isalpha() else None


class EmptiesTheConfiguration(TTS):
    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        voice_config.pop("speed_factor", None)
        return await self.make(text, voice_config)


class NeverHurries(TTS):
    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return await self.make(text, {**voice_config, "speed_factor": 1.0})


class ForgetsWhoSpoke(TTS):
    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return replace(await self.make(text, voice_config), voice_id="ada")


class ReadsEveryKey(TTS):
    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        if voice_config:
            text += " in another voice"
        return await self.make(text, voice_config)


class SharesItsVoice(TTS):
    """Chatterbox's own fault: the voice of a call is kept on the model."""

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        self.voice = voice_config
        await anyio.sleep(0.1)
        return await self.make(text, self.voice)


class NamesTwoAlike(TTS):
    async def list_voices(self) -> list[dict[str, Any]]:
        return [{"id": "ada", "name": name, "language": "en"} for name in ("Ada", "Grace")]


class HasNoVoice(TTS):
    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class LosesTheTail(TTS):
    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        chunks = [chunk async for chunk in super().stream(text, voice_config)]
        for chunk in chunks[:-1]:
            yield chunk


class ChangesItsRate(TTS):
    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        rates = iter([24_000, *repeat(48_000, 1000)])
        async with aclosing(super().stream(text, voice_config)) as chunks:
            async for chunk in chunks:
                yield chunk.resampled(next(rates))


class StreamsBlanks(TTS):
    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        yield AudioData.silence(0.1, 24_000)


class GoesOnAfterClosing(TTS):
    """What an abandoned stream had left to say comes with the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: list[AudioData] = []

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        self.queue += [chunk async for chunk in super().stream(text, voice_config)]
        while self.queue:
            yield self.queue.pop(0)


class SharesItsBuffer(TTS):
    def __init__(self) -> None:
        super().__init__()
        self.buffer: list[AudioData] = []

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        async with aclosing(super().stream(text, voice_config)) as chunks:
            async for chunk in chunks:
                self.buffer.append(chunk)
                await anyio.sleep(0.01)
                yield self.buffer.pop()


class FallsSilentOnUnload(TTS):
    async def unload(self) -> None:
        self._loaded = False

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        async with aclosing(super().stream(text, voice_config)) as chunks:
            async for chunk in chunks:
                if self.model_loaded:
                    yield chunk


class DropsWhatIsNotRead(TTS):
    """A buffer of one chunk that overwrites: right for a fast reader only."""

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        read = None
        async with aclosing(super().stream(text, voice_config)) as chunks:
            async for chunk in chunks:
                if read is None or anyio.current_time() - read < 0.05:
                    read = anyio.current_time()
                    yield chunk


@pytest.mark.parametrize(
    ("engine", "check", "arguments"),
    [
        fault(GivesUpQuietly, "test_speaks"),
        fault(SpeaksBlanks, "test_refuses_a_blank_text", " "),
        fault(StopsAtFortyCharacters, "test_speaks_longer_for_a_longer_text"),
        fault(SpeaksSilence, "test_speaks"),
        fault(TripsOverSymbols, "test_takes_any_visible_text", "?!"),
        fault(EmptiesTheConfiguration, "test_speaks_as_fast_as_asked_for"),
        fault(NeverHurries, "test_speaks_as_fast_as_asked_for"),
        fault(NeverHurries, "test_refuses_an_impossible_speed", 0),
        fault(ForgetsWhoSpoke, "test_speaks_in_the_voice_asked_for"),
        fault(ReadsEveryKey, "test_ignores_keys_that_it_does_not_know"),
        fault(SharesItsVoice, "test_keeps_concurrent_calls_apart"),
        fault(NamesTwoAlike, "test_lists_its_voices"),
        fault(HasNoVoice, "test_lists_its_voices"),
        fault(LosesTheTail, "test_streams_what_it_synthesizes"),
        fault(ChangesItsRate, "test_streams_what_it_synthesizes"),
        fault(StreamsBlanks, "test_refuses_to_stream_a_blank_text", ""),
        fault(GoesOnAfterClosing, "test_may_be_closed_after_its_first_chunk"),
        fault(GoesOnAfterClosing, "test_may_be_cancelled_while_it_speaks"),
        fault(SharesItsBuffer, "test_keeps_concurrent_streams_apart"),
        fault(FallsSilentOnUnload, "test_unload_does_no_harm_to_a_stream_in_flight"),
        fault(DropsWhatIsNotRead, "test_waits_for_a_slow_reader"),
    ],
)
async def test_text_to_speech(engine: type, check: str, arguments: tuple[Any, ...]) -> None:
    await catches(StreamingTextToSpeechSuite(), TTS, engine, check, arguments)


# -- pause detection ---------------------------------------------------------------------


class Detector(ScriptedPauseDetector):
    def __init__(self, spans: Any = ((1.0, 2.0), (2.5, 2.75)), *, delay: float = 0.1) -> None:
        super().__init__(spans, delay=delay)

    def clone(self) -> Any:
        return type(self)(self.spans, delay=self.delay)


class Deaf(Detector):
    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        return {"is_speaking": False, "events": []}


class HearsAClick(Detector):
    def __init__(self) -> None:
        super().__init__([(0.2, 0.25)])


class StartsEveryChunk(Detector):
    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        result = await super().process_chunk(audio)
        return {**result, "events": ["speech_start"] if self.is_speaking else []}


class NeverStops(Detector):
    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        if self.is_speaking:
            return {"is_speaking": True, "events": []}
        return await super().process_chunk(audio)


class CountsChunks(Detector):
    """Each chunk counts as 20 ms, whatever its length."""

    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        return await super().process_chunk(AudioData.silence(0.02, audio.sample_rate))


class CountsSamplesAt16kHz(Detector):
    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        return await super().process_chunk(AudioData.silence(audio.n_frames / 16_000, 16_000))


class NeverForgets(Detector):
    def reset(self) -> None:
        if not hasattr(self, "_n_events"):
            super().reset()


class SharesItsClock(Detector):
    shared = Detector()

    @property
    def is_speaking(self) -> bool:
        return self.shared.is_speaking

    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        return await self.shared.process_chunk(audio)


class SaysOneThingAndMeansAnother(Detector):
    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        return {**await super().process_chunk(audio), "is_speaking": False}


class TimesSomeEvents(Detector):
    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        result = await super().process_chunk(audio)
        return {**result, "speech_events": [] if self.is_speaking else result["speech_events"]}


class ClonesItsMemory(Detector):
    def clone(self) -> Any:
        return self


class TakesAnything(Detector):
    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        return {"is_speaking": False, "events": []}


@pytest.mark.parametrize(
    ("engine", "check", "arguments"),
    [
        fault(Deaf, "test_hears_speech_start_and_end"),
        fault(StartsEveryChunk, "test_hears_speech_start_and_end"),
        fault(NeverStops, "test_hears_speech_start_and_end"),
        fault(CountsChunks, "test_hears_the_same_however_it_is_cut", [0.25]),
        fault(CountsSamplesAt16kHz, "test_hears_the_same_in_any_layout", 44_100, 2, "pcm"),
        fault(NeverForgets, "test_forgets_on_reset"),
        fault(SharesItsClock, "test_shares_nothing_with_another"),
        fault(SaysOneThingAndMeansAnother, "test_hears_speech_start_and_end"),
        fault(TimesSomeEvents, "test_times_every_event_or_none"),
        fault(ClonesItsMemory, "test_clones_into_one_that_has_heard_nothing"),
        fault(TakesAnything, "test_refuses_a_stream_that_changes_its_layout"),
        fault(TakesAnything, "test_refuses_what_is_not_audio"),
        fault(HearsAClick, "test_hears_nothing_in_silence"),
    ],
)
async def test_pause_detector(engine: type, check: str, arguments: tuple[Any, ...]) -> None:
    await catches(PauseDetectorSuite(), Detector, engine, check, arguments)


# -- responses ---------------------------------------------------------------------------


class Responder(ScriptedResponseGenerator):
    def __init__(self) -> None:
        super().__init__(repeat("It will be sunny."))


class SaysNothing(Responder):
    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> Any:
        return None


class TakesAnyMode(Responder):
    def set_response_mode(self, mode: str) -> None:
        self.mode = mode


class AnswersTheLastQuestion(Responder):
    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        self.question = transcription.text
        await anyio.sleep(0.1)
        return f"You said: {self.question}"


class CountsWhatItForgot(Responder):
    def __init__(self) -> None:
        super().__init__()
        self.numbers = count()

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        return f"This is answer {next(self.numbers)}."


class DropsAWord(Responder):
    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        for word in ("It", " will"):
            await anyio.lowlevel.checkpoint()
            yield word


class FallsSilentOnceClosed(Responder):
    closed = False

    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        if self.closed:
            return
        try:
            yield "It will be sunny."
            await anyio.sleep(1)
        finally:
            self.closed = True


@pytest.mark.parametrize(
    ("engine", "check", "arguments"),
    [
        fault(SaysNothing, "test_answers"),
        fault(SaysNothing, "test_takes_any_question", ""),
        fault(TakesAnyMode, "test_refuses_an_unknown_mode"),
        fault(AnswersTheLastQuestion, "test_serves_several_at_once"),
        fault(CountsWhatItForgot, "test_answers_after_it_has_forgotten"),
        fault(DropsAWord, "test_streams_what_it_answers"),
        fault(FallsSilentOnceClosed, "test_may_be_closed_while_it_answers"),
    ],
)
async def test_response_generator(engine: type, check: str, arguments: tuple[Any, ...]) -> None:
    await catches(ResponseGeneratorSuite(), Responder, engine, check, arguments)


# -- websockets --------------------------------------------------------------------------


class Adapter(MemoryWebSocketAdapter):
    """The sound one; what is wrong with the others, they do around it."""

    def __init__(self, inner: MemoryWebSocketAdapter) -> None:
        super().__init__(inner._connection)


class NeverSaysItIsConnected(Adapter):
    is_connected = False


class ConnectedBeforeItAccepts(Adapter):
    @property
    def is_connected(self) -> bool:
        return self._connection.close_code is None


class LosesEverySecondChunk(Adapter):
    async def receive_audio(self) -> AudioData | None:
        await super().receive_audio()
        return await super().receive_audio()


class CallsEveryRateTheSame(Adapter):
    async def receive_audio(self) -> AudioData | None:
        audio = await super().receive_audio()
        return audio and AudioData(audio.data, 48_000)


class ReadsOneKindAtATime(Adapter):
    def __init__(self, inner: MemoryWebSocketAdapter) -> None:
        super().__init__(inner)
        self.reading = anyio.Lock()

    async def receive_audio(self) -> AudioData | None:
        async with self.reading:
            return await super().receive_audio()

    async def receive_command(self) -> dict[str, Any] | None:
        async with self.reading:
            return await super().receive_command()


class TakesWhatIsLeftUnread(Adapter):
    """A reader that keeps a message to itself when it is cancelled."""

    async def receive_command(self) -> dict[str, Any] | None:
        command = await super().receive_command()
        await anyio.sleep(0.01)
        return command


class TakesQuietForTheEnd(Adapter):
    async def receive_command(self) -> dict[str, Any] | None:
        with anyio.move_on_after(0.05):
            return await super().receive_command()
        await self.close()
        return None


class SpeaksAscii(Adapter):
    async def send_json(self, data: dict[str, Any]) -> None:
        await super().send_json(json.loads(json.dumps(data).encode().decode("unicode-escape")))


class SendsAudioAsText(Adapter):
    async def send_audio(self, audio: AudioData) -> None:
        await self.send_json({"audio": audio.data.hex()})


class SendsHalfTheSound(Adapter):
    async def send_audio(self, audio: AudioData) -> None:
        await super().send_audio(audio.sliced(0.0, audio.duration_seconds / 2))


class ForgetsTheCode(Adapter):
    async def close(self, code: int = 1000) -> None:
        await super().close()


class ClosesOnlyOnce(Adapter):
    async def close(self, code: int = 1000) -> None:
        if not self.is_connected:
            raise RuntimeError("it is closed already")
        await super().close(code)


class HangsUpWithoutAWord(Adapter):
    """The connection is given up, and nobody who waits for it is told."""

    async def close(self, code: int = 1000) -> None:
        self._connection.accepted = False


class FailsWithTheClient(Adapter):
    async def send_json(self, data: dict[str, Any]) -> None:
        if not self.is_connected:
            raise ConnectionResetError
        await super().send_json(data)


class NeverNoticesTheEnd(Adapter):
    closed = False

    async def close(self, code: int = 1000) -> None:
        self.closed = True
        await super().close(code)

    @property
    def is_connected(self) -> bool:
        return self._connection.accepted and not self.closed


class ReadsInTheBackground(Adapter):
    async def receive_audio(self) -> AudioData | None:
        threading.Thread(target=time.sleep, args=(0.5,)).start()
        return await super().receive_audio()


@pytest.mark.parametrize(
    ("engine", "check", "arguments"),
    [
        fault(NeverSaysItIsConnected, "test_is_connected_once_it_has_accepted"),
        fault(ConnectedBeforeItAccepts, "test_is_connected_once_it_has_accepted"),
        fault(LosesEverySecondChunk, "test_receives_audio"),
        fault(CallsEveryRateTheSame, "test_receives_audio"),
        fault(ReadsOneKindAtATime, "test_receives_both_at_the_same_time"),
        fault(TakesWhatIsLeftUnread, "test_loses_nothing_when_a_receive_is_cancelled"),
        fault(TakesQuietForTheEnd, "test_stays_connected_while_nothing_comes"),
        fault(SpeaksAscii, "test_sends_json"),
        fault(SendsAudioAsText, "test_sends_audio"),
        fault(SendsHalfTheSound, "test_sends_audio"),
        fault(ForgetsTheCode, "test_tells_the_client_that_it_closes", 1001),
        fault(ForgetsTheCode, "test_may_be_closed_twice"),
        fault(ClosesOnlyOnce, "test_may_be_closed_twice"),
        fault(HangsUpWithoutAWord, "test_closing_ends_what_waits_for_the_client"),
        fault(NeverNoticesTheEnd, "test_notices_that_the_client_has_left"),
        fault(FailsWithTheClient, "test_sends_nothing_to_a_client_that_has_left"),
        fault(ReadsInTheBackground, "test_leaves_nothing_running"),
    ],
)
async def test_websocket_adapter(engine: type, check: str, arguments: tuple[Any, ...]) -> None:
    class Suite(WebSocketAdapterSuite):
        @asynccontextmanager
        async def connection(self) -> AsyncGenerator[Any]:
            adapter, client = connected_pair()
            yield self.engine(adapter), client

    await catches(Suite(), Adapter, engine, check, arguments)
