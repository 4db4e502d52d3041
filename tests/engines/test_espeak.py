"""A voice from a C library that has only one, given to many callers one after another."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import anyio
import numpy as np
import pytest

from realtime_stts import AudioData, EngineError, ManagedTTSEngine, MissingExtraError
from realtime_stts.testing import no_leaks

pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)

from realtime_stts.engines import espeak
from realtime_stts.engines.espeak import ESpeakTTSEngine

pytestmark = pytest.mark.anyio


async def say(engine: ESpeakTTSEngine, text: str, **config: Any) -> AudioData:
    return (await engine.synthesize(text, config)).audio_data


def pitch(audio: AudioData) -> float:
    """The voice's median fundamental, 60 to 400 Hz, from the distance of its harmonics."""
    samples, lags = audio.samples[:, 0], slice(audio.sample_rate // 400, audio.sample_rate // 60)
    found = []
    for at in range(0, len(samples) - 2048, 512):
        window = samples[at : at + 2048]
        if abs(window).max() > 0.1:
            spectrum = np.abs(np.fft.rfft(window * np.hanning(2048)))
            cepstrum = np.fft.irfft(np.log(spectrum + 1e-3))
            found.append(audio.sample_rate / (lags.start + int(cepstrum[lags].argmax())))
    return float(np.median(found))


async def test_it_speaks_sixteen_bits_of_one_channel() -> None:
    engine = ESpeakTTSEngine()
    assert isinstance(engine, ManagedTTSEngine)
    result = await engine.synthesize("Hello there.", {})
    audio = result.audio_data
    assert (audio.sample_rate, audio.channels, audio.format) == (22_050, 1, "pcm")
    assert 0.5 < audio.duration_seconds < 1.5
    assert 0.1 < abs(audio.samples).max() <= 1.0
    assert (result.text, result.voice_id) == ("Hello there.", "en-us")
    assert result.synthesis_time is not None


async def test_the_first_sound_does_not_wait_for_the_sentence() -> None:
    text = "This is one sentence, and it goes on and on before it finally comes to an end."
    async with aclosing(ESpeakTTSEngine().stream(text)) as chunks:
        first = await anext(chunks)
        rest = [chunk async for chunk in chunks]
    assert first.duration_seconds < 0.1
    assert sum(chunk.duration_seconds for chunk in rest) > 3.0


async def test_speed_pitch_and_volume_change_what_they_name() -> None:
    engine = ESpeakTTSEngine()
    plain = await say(engine, "Hello there, my friend.")
    fast = await say(engine, "Hello there, my friend.", speed_factor=2.0)
    assert 0.3 < fast.duration_seconds / plain.duration_seconds < 0.65
    slow = await say(engine, "Hello there, my friend.", rate=100)
    assert slow.duration_seconds > 1.2 * plain.duration_seconds
    quiet = await say(engine, "Hello there, my friend.", volume=25)
    assert abs(quiet.samples).max() < 0.5 * abs(plain.samples).max()
    high = await say(engine, "Hello there, my friend.", pitch=90)
    low = await say(engine, "Hello there, my friend.", pitch=10)
    assert pitch(high) > 1.2 * pitch(low)


async def test_a_call_goes_over_the_engine_and_none_means_the_engines_own() -> None:
    engine = ESpeakTTSEngine("en-gb", rate=300)
    own = await engine.synthesize("Hello there, my friend.", {"voice_id": None, "rate": None})
    slow = await engine.synthesize("Hello there, my friend.", {"rate": 120, "voice_id": "de"})
    assert (own.voice_id, slow.voice_id) == ("en-gb", "de")
    assert slow.audio_data.duration_seconds > 1.5 * own.audio_data.duration_seconds


async def test_voices_of_concurrent_calls_never_mix() -> None:
    """A woman's and a man's voice at the same time, each as it is alone."""
    engine = ESpeakTTSEngine()
    said: list[tuple[str, float]] = []

    async def one(voice: str) -> None:
        said.append((voice, pitch(await say(engine, "Hello there, my friend.", voice_id=voice))))

    alone = {
        voice: pitch(await say(engine, "Hello there, my friend.", voice_id=voice))
        for voice in VOICES
    }
    async with anyio.create_task_group() as tasks:
        for voice in VOICES * 5:
            tasks.start_soon(one, voice)
    assert alone["en-us+f3"] > 1.2 * alone["en-us+m3"]
    assert [heard for _, heard in said] == [pytest.approx(alone[v], rel=0.1) for v, _ in said]


VOICES = ("en-us+f3", "en-us+m3")


async def test_sentences_are_separated_by_a_pause() -> None:
    audio = await say(ESpeakTTSEngine(), "One. Two.")
    loud = np.abs(audio.samples[:, 0]) > 0.01
    edges = np.flatnonzero(np.diff(np.flatnonzero(loud)) > 0.1 * audio.sample_rate)
    assert len(edges) == 1


@pytest.mark.parametrize("voice", ["nonsense", "en-us+nonsense", "+f3", ""])
async def test_a_voice_that_is_not_there_is_refused(voice: str) -> None:
    """The library itself would speak on in another voice."""
    with pytest.raises(ValueError, match="no voice"):
        await say(ESpeakTTSEngine(), "Hello.", voice_id=voice)


@pytest.mark.parametrize(
    "config",
    [
        {"pitch": 101},
        {"volume": -1},
        {"rate": 79},
        {"speed_factor": 3.0},
        {"speed_factor": "fast"},
        {"speed_factor": float("nan")},
    ],
)
async def test_numbers_out_of_range_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(config))):
        await say(ESpeakTTSEngine(), "Hello.", **config)
    if "speed_factor" not in config:
        with pytest.raises(ValueError, match=next(iter(config))):
            ESpeakTTSEngine(**config)


async def test_text_is_never_markup() -> None:
    engine = ESpeakTTSEngine()
    tags = await say(engine, "<b>one</b>")
    plain = await say(engine, "one")
    assert tags.duration_seconds > 1.5 * plain.duration_seconds
    phonemes = await say(engine, "[[h@l'oU]]")
    assert phonemes.duration_seconds > plain.duration_seconds


@pytest.mark.parametrize(
    "text", ["a\0b", "\ud800 odd", "...", "你好。再见。", "a\n\nb", "x" * 5000]
)
async def test_any_text_with_something_in_it_can_be_said(text: str) -> None:
    assert (await say(ESpeakTTSEngine(rate=450), text)).duration_seconds > 0


@pytest.mark.parametrize("text", ["", "  \n\t"])
async def test_blank_text_is_the_callers_mistake(text: str) -> None:
    with pytest.raises(ValueError, match="blank"):
        await say(ESpeakTTSEngine(), text)


async def test_the_voices_can_be_listed() -> None:
    engine = ESpeakTTSEngine()
    voices = await engine.list_voices()
    ids = [voice["id"] for voice in voices]
    assert len(ids) == len({*ids}) > 100
    assert {"en-us", "en-gb", "de", "fr-fr", "sw"} <= {*ids}
    assert {"id", "name", "language", "gender"} <= voices[0].keys()
    voices[0].clear()
    assert (await engine.list_voices())[0]
    variants = await engine.list_variants()
    assert variants == sorted(variants)
    assert {"f3", "m1", "whisper"} <= {*variants}


async def test_every_voice_really_speaks() -> None:
    engine = ESpeakTTSEngine(rate=450)
    for voice in await engine.list_voices():
        assert (await say(engine, "one", voice_id=voice["id"])).duration_seconds > 0.02


async def test_closing_a_stream_stops_the_voice() -> None:
    engine = ESpeakTTSEngine()
    async with no_leaks():
        async with aclosing(engine.stream("Stop. " * 2000)) as chunks:
            await anext(chunks)
        assert (await say(engine, "Hello.")).duration_seconds > 0.2


async def test_a_failure_of_the_library_is_an_engine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ESpeakTTSEngine()
    await engine.load()
    monkeypatch.setattr(espeak._library()._lib, "espeak_SetParameter", lambda *_: -1)
    with pytest.raises(EngineError, match="code -1"):
        await say(engine, "Hello.")


async def test_loading_and_warming_up() -> None:
    async with ESpeakTTSEngine() as engine:
        assert engine.model_loaded
        await engine.warmup()
    assert not engine.model_loaded
