"""What a client hears of what it says: transcriptions, their errors, and speech and pauses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

import anyio
import pytest

pytest.importorskip("wyoming")

from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop

from realtime_stts import AudioData
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.errors import EngineCrashedError, EngineError, SettingsError
from realtime_stts.integrations._wyoming._offer import Offer, WyomingLimits
from realtime_stts.protocols import TranscriptionResult
from realtime_stts.testing import (
    FaultySTTEngine,
    Hang,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    no_leaks,
    speech,
)
from tests.integrations.wyoming.peers import chunks, kinds, peer

pytestmark = pytest.mark.anyio

CLIP = speech(1.0, sample_rate=16_000)
START = AudioStart(16_000, 2, 1)


class Committing:
    """Hears a word a chunk, and commits all but the last; then says ``final``."""

    name = "committing"
    model_loaded = True

    def __init__(self, *words: str, final: str | None = None) -> None:
        self.words, self.final = words, final

    async def is_available(self) -> bool:
        return True

    async def transcribe(self, audio: AudioData, language: str | None = None) -> Any:
        raise NotImplementedError

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        n = 0
        async for _ in audio:
            n += 1
            yield TranscriptionResult(
                " ".join(self.words[:n]), "en", [], partial=True,
                committed=" ".join(self.words[: n - 1]),
            )  # fmt: skip
        if self.final != "":
            yield TranscriptionResult(self.final or " ".join(self.words), "en", [])


class Whole:
    """Takes whole clips only."""

    name = "whole"
    model_loaded = True
    heard: AudioData

    async def is_available(self) -> bool:
        return True

    async def transcribe(self, audio: AudioData, language: str | None = None) -> Any:
        self.heard = audio
        return TranscriptionResult("a whole clip", "", [])


async def test_a_transcript_begins_grows_ends_and_is_whole() -> None:
    stt = ScriptedSTTEngine(["turn on the light"])
    async with no_leaks(), peer(stt) as client:
        await client.send(Transcribe(language="en"), START, *chunks(CLIP), AudioStop())
        start, chunk, transcript, stop = await client.until("transcript-stop")
    assert (start.type, start.data) == ("transcript-start", {"language": "en"})
    assert (chunk.type, chunk.data) == ("transcript-chunk", {"text": "turn on the light"})
    assert transcript.data == {"text": "turn on the light", "language": "en"}
    assert stop.type == "transcript-stop"
    assert stt.calls[0].heard == 1.0


async def test_words_that_stay_are_told_before_the_sound_has_ended() -> None:
    async with peer(Committing("turn", "on", "the", "light")) as client:
        told = []
        for n, chunk in enumerate(chunks(CLIP, 0.25)):
            await client.send(chunk)
            await anyio.sleep(0.1)  # virtual
            if n == 1:
                assert (await client.next()).type == "transcript-start"
            if n:
                told.append((await client.next()).data["text"])
        assert told == ["turn", " on", " the"]
        await client.send(AudioStop())
        rest = await client.until("transcript-stop")
    assert kinds(rest) == ["transcript-chunk", "transcript", "transcript-stop"]
    assert rest[0].data["text"] == " light"
    assert rest[1].data["text"] == "turn on the light"


async def test_what_an_engine_takes_back_is_right_in_the_transcript() -> None:
    async with peer(Committing("a", "b", "c", final="x y")) as client:
        for chunk in chunks(CLIP, 0.5):
            await client.send(chunk)
            await anyio.sleep(0.1)
        await client.send(AudioStop())
        events = await client.until("transcript-stop")
    assert [event.data.get("text") for event in events] == [None, "a", "x y", None]


async def test_an_engine_of_whole_clips_has_a_transcript_alone() -> None:
    stt = Whole()
    async with peer(stt) as client:
        await client.send(Transcribe(), *chunks(CLIP), AudioStop())
        assert (await client.next()).data == {"text": "a whole clip"}
    assert stt.heard == AudioData(CLIP.data, 16_000)


async def test_silence_is_an_empty_transcript() -> None:
    async with peer(ScriptedSTTEngine([])) as client:
        await client.send(START, AudioStop())
        assert kinds(await client.until("transcript")) == ["transcript"]


@pytest.mark.parametrize("width", ["pcm", "pcm_u8", "pcm_s24le", "pcm_s32le"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2), (8_000, 1)])
async def test_sound_of_any_rate_width_and_channel_count_is_heard(
    width: str, rate: int, channels: int
) -> None:
    stt = Whole()
    clip = CLIP.resampled(rate).converted(width)
    pair = AudioData.from_samples(clip.samples.repeat(channels, 1), rate, width)
    async with peer(stt) as client:
        await client.send(*chunks(pair, 0.13), AudioStop())
        await client.until("transcript")
    assert stt.heard.sample_rate == 16_000
    assert stt.heard.duration_seconds == pytest.approx(1.0, abs=0.002)
    assert abs(stt.heard.samples).max() > 0.05


async def test_a_long_chunk_is_heard_like_short_ones() -> None:
    stt = ScriptedSTTEngine(["long"])
    async with peer(stt) as client:
        await client.send(*chunks(speech(5.0, sample_rate=48_000), 2.0), AudioStop())
        await client.until("transcript")
    assert stt.calls[0].heard == pytest.approx(5.0, abs=0.01)


@pytest.mark.parametrize(
    ("asked", "heard"),
    [("de", "de"), ("de-AT", "de"), ("EN_us", "en"), ("auto", None), ("", None), (None, None)],
)
async def test_the_language_is_that_of_the_request(asked: str | None, heard: str | None) -> None:
    stt = ScriptedSTTEngine(["one", "two"])
    async with peer(stt) as client:
        await client.send(Transcribe(language=asked), *chunks(CLIP), AudioStop())
        await client.until("transcript-stop")
        await client.send(*chunks(CLIP), AudioStop())
        await client.until("transcript-stop")
    assert [call.language for call in stt.calls] == [heard, None]


async def test_speech_and_pauses_are_told_by_the_clock_of_the_sound() -> None:
    silence = AudioData.silence(1.0, 16_000)
    clip = AudioData.concat([silence, CLIP, silence])
    stt = ScriptedSTTEngine(["hello", "again"])
    async with peer(stt, detector=EnergyPauseDetector()) as client:
        for _ in range(2):  # each transcription has a detector of its own
            await client.send(*chunks(clip), AudioStop())
            events = await client.until("transcript-stop")
            started, stopped = (e for e in events if e.type.startswith("voice-"))
            assert (started.type, stopped.type) == ("voice-started", "voice-stopped")
            assert started.data["timestamp"] == pytest.approx(1000, abs=60)
            assert stopped.data["timestamp"] == pytest.approx(2000, abs=60)


def test_a_detector_that_hears_one_stream_only_is_refused() -> None:
    class Alone:
        is_speaking = False

        async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
            return {}

        def reset(self) -> None: ...

    with pytest.raises(TypeError, match="cannot be cloned"):
        Offer(None, None, Alone(), []).detector()


# -- failures


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (EngineError("stt", "/home/anna/secret"), "engine_failed", "The engine failed. (request "),
        (EngineCrashedError("stt", "secret"), "engine_unavailable", "The engine crashed."),
        (ValueError("no language secret"), "invalid_request", "The engine does not take this"),
        (SettingsError({"stt": "secret"}), "internal_error", "Something went wrong here."),
        (RuntimeError("secret"), "internal_error", "Something went wrong here."),
    ],
)
async def test_a_failure_is_told_without_a_word_of_ours_and_ends_the_connection(
    error: Exception, code: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with no_leaks(), peer(ScriptedSTTEngine([error])) as client:
        await client.send(*chunks(CLIP), AudioStop())
        (event,) = await client.rest()
    assert (event.type, event.data["code"]) == ("error", code)
    assert event.data["text"].startswith(text)
    assert "secret" not in str(event.data) + caplog.text
    request = event.data["text"].rpartition("request ")[2].rstrip(")")
    assert f"[{request}] failed: {code}" in caplog.text


async def test_an_engine_that_ends_without_a_result_has_failed() -> None:
    async with peer(Committing("a", final="")) as client:
        await client.send(START, AudioStop())
        (event,) = await client.rest()
    assert event.data["code"] == "engine_failed"


async def test_an_engine_that_hangs_is_given_up_after_its_time() -> None:
    stt = FaultySTTEngine([Hang(2)])
    async with no_leaks(), peer(stt, limits=WyomingLimits(patience=5.0)) as client:
        await client.send(*chunks(CLIP))
        await anyio.sleep(60)  # its time begins with the end of the sound
        began = anyio.current_time()
        await client.send(AudioStop())
        events = await client.rest()
        assert anyio.current_time() - began == pytest.approx(5.0)
    assert events[-1].data["code"] == "engine_timeout"
    assert stt.running == 0


async def test_without_a_limit_an_engine_is_waited_for() -> None:
    stt = ScriptedSTTEngine(["at last"], latency=3000.0)
    async with peer(stt, limits=WyomingLimits(patience=None)) as client:
        await client.send(*chunks(CLIP), AudioStop())
        assert (await client.until("transcript"))[-1].data["text"] == "at last"


async def test_when_the_client_leaves_the_engine_is_released_at_once() -> None:
    stt = FaultySTTEngine([Hang(1)])
    async with no_leaks(), peer(stt) as client:
        await client.send(*chunks(CLIP))
        await anyio.sleep(1)
        assert stt.running == 1
        began = anyio.current_time()
        await client.leave()
        await client.ended.wait()
        assert anyio.current_time() == began
    assert stt.running == 0


async def test_more_sound_than_allowed_is_refused() -> None:
    limits = WyomingLimits(max_audio_seconds=0.5)
    async with peer(ScriptedSTTEngine(["long"]), limits=limits) as client:
        await client.send(*chunks(CLIP), AudioStop())
        events = await client.rest()
    assert events[-1].data == {
        "text": "More than 0.5 s are not transcribed at once.",
        "code": "audio_too_long",
    }


@pytest.mark.parametrize(
    ("chunk", "code"),
    [
        (AudioChunk(16_000, 5, 1, b"12345"), "unusable_audio"),
        (AudioChunk(16_000, 2, 1, b"123"), "unusable_audio"),
        (AudioChunk(7, 2, 1, b"12"), "unusable_audio"),
        (AudioChunk("fast", 2, 1, b"12"), "unusable_audio"),  # type: ignore[arg-type]
        (AudioChunk(16_000, 2, 99, b"12"), "unusable_audio"),
        (AudioChunk(16_000, True, 1, b"12"), "unusable_audio"),
        (AudioChunk(48_000, 2, 1, b"12"), "unusable_audio"),  # after one of 16 kHz
        (AudioStart(16_000, 2, 1), "unexpected_event"),
        (Transcribe(), "unexpected_event"),
    ],
)
async def test_sound_that_is_none_ends_the_connection(chunk: Any, code: str) -> None:
    async with peer(ScriptedSTTEngine([""])) as client:
        await client.send(chunks(CLIP)[0], chunk)
        events = await client.rest()
    assert events[-1].data["code"] == code


async def test_an_end_without_a_beginning_is_refused() -> None:
    async with peer(ScriptedSTTEngine([])) as client:
        await client.send(AudioStop())
        (event,) = await client.rest()
    assert event.data["text"] == "audio-stop came out of order: no sound has begun."


@pytest.mark.parametrize("language", [7, "x" * 300, "!", "english"])
async def test_a_language_that_is_none_is_refused(language: Any) -> None:
    async with peer(ScriptedSTTEngine([])) as client:
        await client.send(Transcribe(language=language))
        (event,) = await client.rest()
    assert event.data["code"] == "invalid_request"


async def test_where_nothing_is_transcribed_it_is_said() -> None:
    async with peer(tts=ScriptedTTSEngine()) as client:
        await client.send(Transcribe(), START, chunks(CLIP)[0])
        (event,) = await client.rest()
    assert event.data["code"] == "not_offered"
