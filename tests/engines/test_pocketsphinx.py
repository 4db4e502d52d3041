"""A recogniser that needs no download: told what may be said, it is quick and reliable."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import cache
from typing import Any

import anyio
import pytest

from realtime_stts import (
    AudioData,
    AudioFormatError,
    EngineError,
    EngineLoadError,
    ManagedSTTEngine,
    MissingExtraError,
    TranscriptionResult,
)
from realtime_stts.testing import chunked, no_leaks

pytest.importorskip("realtime_stts.engines.pocketsphinx", exc_type=MissingExtraError)
pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)

from realtime_stts.engines.espeak import ESpeakTTSEngine
from realtime_stts.engines.pocketsphinx import PocketSphinxSTTEngine

pytestmark = pytest.mark.anyio

PHRASES = (
    "hello there",
    "what time is it",
    "how is the weather today",
    "tell me a joke",
    "thank you very much",
    "good bye",
)


@cache
def spoken(text: str, voice: str = "en-us+f3") -> AudioData:
    """A clip with a little silence around it, as a microphone has it."""

    async def main() -> AudioData:
        engine = ESpeakTTSEngine(voice, rate=150)
        audio = (await engine.synthesize(text)).audio_data
        silence = AudioData.silence(0.3, audio.sample_rate)
        return AudioData.concat([silence, audio, silence])

    with ThreadPoolExecutor() as pool:  # a test's event loop may run already
        return pool.submit(anyio.run, main).result()


def restricted(**options: Any) -> PocketSphinxSTTEngine:
    return PocketSphinxSTTEngine(**(options or {"phrases": PHRASES}))


async def stream(
    engine: PocketSphinxSTTEngine, clip: AudioData, packet: float = 0.1
) -> list[TranscriptionResult]:
    async with (
        aclosing(chunked(clip, packet)) as chunks,
        aclosing(engine.stream(chunks)) as results,
    ):
        return [result async for result in results]


async def test_it_hears_the_phrases_it_is_told() -> None:
    async with restricted() as engine:
        assert isinstance(engine, ManagedSTTEngine)
        heard = [(await engine.transcribe(spoken(phrase))).text for phrase in PHRASES]
    assert heard == [*PHRASES]


async def test_words_have_times_and_probabilities() -> None:
    clip = spoken("tell me a joke")
    result = await restricted().transcribe(clip)
    assert [word.text for word in result.words] == ["tell", "me", "a", "joke"]
    times = [moment for word in result.words for moment in (word.start, word.end)]
    assert times == sorted(times)
    assert 0.1 < times[0] < times[-1] < clip.duration_seconds
    assert all(word.confidence is not None and 0.5 <= word.confidence <= 1 for word in result.words)
    assert result.confidence is not None
    [segment] = result.segments
    assert (segment.text, segment.confidence) == (result.text, result.confidence)
    assert (result.language, result.partial) == ("en", False)


@pytest.mark.parametrize("other", ["banana", "seventy three", "the quick brown fox"])
async def test_what_may_not_be_said_is_not_heard(other: str) -> None:
    assert (await restricted().transcribe(spoken(other))).text == ""


async def test_a_stream_has_partial_results_and_one_final_one_that_is_the_clips() -> None:
    async with restricted() as engine:
        results = await stream(engine, spoken("how is the weather today"))
        assert [result.partial for result in results] == [True] * (len(results) - 1) + [False]
        texts = [result.text for result in results]
        assert len(texts) > 2
        assert texts[-1] == "how is the weather today"
        assert results[-1] == await engine.transcribe(spoken("how is the weather today"))


async def test_silence_before_speech_moves_its_times_and_nothing_else() -> None:
    clip = spoken("tell me a joke").resampled(16_000)
    late = AudioData.concat([AudioData.silence(7.0, 16_000), clip])
    async with restricted() as engine:
        result, moved = await engine.transcribe(clip), await engine.transcribe(late)
    assert (moved.text, moved.confidence) == (result.text, result.confidence)
    for word, later in zip(result.words, moved.words, strict=True):
        assert (later.start, later.end) == pytest.approx((word.start + 7, word.end + 7))


@pytest.mark.parametrize("packet", [0.003, 0.02, 0.7, 9.0])
async def test_any_slicing_gives_the_same_result(packet: float) -> None:
    async with restricted() as engine:
        expected = await engine.transcribe(spoken("what time is it"))
        assert (await stream(engine, spoken("what time is it"), packet))[-1] == expected


async def test_an_utterance_leaves_nothing_behind_for_the_next() -> None:
    async with restricted(phrases=PHRASES, replicas=1) as engine:
        alone = await engine.transcribe(spoken("good bye"))
        for before in PHRASES:
            await engine.transcribe(spoken(before, "en-us+m3"))
            assert await engine.transcribe(spoken("good bye")) == alone


async def test_more_streams_than_replicas_wait_for_their_turn() -> None:
    heard: dict[str, str] = {}

    async def one(engine: PocketSphinxSTTEngine, phrase: str) -> None:
        heard[phrase] = (await stream(engine, spoken(phrase)))[-1].text

    async with restricted(phrases=PHRASES, replicas=2) as engine, anyio.create_task_group() as tg:
        for phrase in PHRASES:
            tg.start_soon(one, engine, phrase)
    assert heard == {phrase: phrase for phrase in PHRASES}


async def test_a_grammar_says_what_may_be_said() -> None:
    grammar = "#JSGF V1.0; grammar lights; public <order> = turn the lights (on | off);"
    async with restricted(grammar=grammar) as engine:
        assert (
            await engine.transcribe(spoken("turn the lights off"))
        ).text == "turn the lights off"


async def test_a_grammar_may_have_rules_weights_tags_and_comments() -> None:
    grammar = """#JSGF V1.0; // what can be ordered
    grammar lights; /* and where */
    <room> = kitchen | hall;
    public <order> = /2/ lights (on | off) {switch} [in the <room>];"""
    async with restricted(grammar=grammar) as engine:
        heard = (await engine.transcribe(spoken("lights on in the kitchen"))).text
    assert heard == "lights on in the kitchen"


async def test_keyphrases_are_found_in_other_speech() -> None:
    async with restricted(keyphrases={"computer": 1e-60}) as engine:
        result = await engine.transcribe(spoken("good morning computer"))
        assert [segment.text for segment in result.segments] == ["computer"]
        assert result.confidence is None
        assert (await engine.transcribe(spoken("banana"))).text == ""


async def test_free_speech_is_words_of_some_kind() -> None:
    """It is dated, and eSpeak is not a person: that it answers with words is all it promises."""
    async with PocketSphinxSTTEngine(replicas=1) as engine:
        result = await engine.transcribe(spoken("good morning"))
    assert result.text
    assert result.text == " ".join(word.text for word in result.words)
    assert all(word.text.replace("'", "").isalpha() for word in result.words)


@pytest.mark.parametrize(
    "clip",
    [
        AudioData(b"", 16_000),
        AudioData.silence(0.01, 16_000),
        AudioData.silence(2.0, 44_100, 2),
    ],
)
async def test_silence_is_no_text(clip: AudioData) -> None:
    result = await restricted().transcribe(clip)
    assert (result.text, result.words, result.segments) == ("", [], [])


async def test_any_rate_and_channel_count() -> None:
    clip = spoken("what time is it")
    loud = clip.resampled(48_000).samples.repeat(2, axis=1)
    stereo = AudioData.from_samples(loud, 48_000)
    assert (await restricted().transcribe(stereo)).text == "what time is it"


async def test_a_stream_that_changes_its_rate_is_refused_and_the_engine_goes_on() -> None:
    async def changing() -> AsyncGenerator[AudioData]:
        yield AudioData.silence(0.1, 16_000)
        yield AudioData.silence(0.1, 8_000)

    engine = restricted(phrases=PHRASES, replicas=1)
    async with aclosing(changing()) as audio, aclosing(engine.stream(audio)) as results:
        with pytest.raises(AudioFormatError):
            await anext(results)
    assert (await engine.transcribe(spoken("good bye"))).text == "good bye"


async def test_a_decoder_that_fails_is_an_engine_error_and_does_not_fail_the_next_call() -> None:
    engine = restricted(phrases=PHRASES, replicas=1)
    await engine.load()
    [listener] = engine._model()._idle
    listener._decoder.start_utt()  # behind the engine's back: it cannot start it again
    with pytest.raises(EngineError, match="pocketsphinx: the decoder failed"):
        await engine.transcribe(spoken("good bye"))
    assert (await engine.transcribe(spoken("good bye"))).text == "good bye"


async def test_cancelling_frees_the_decoder() -> None:
    engine = restricted(phrases=PHRASES, replicas=1)
    await engine.load()
    long = AudioData.concat([spoken("good bye")] * 200)
    async with no_leaks():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.transcribe, long)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert (await engine.transcribe(spoken("good bye"))).text == "good bye"


@pytest.mark.parametrize("language", [None, "auto", "en", "en-US", "EN_gb"])
async def test_english_is_heard_under_any_name(language: str | None) -> None:
    assert (await restricted().transcribe(spoken("good bye"), language)).text == "good bye"


async def test_other_languages_are_refused() -> None:
    with pytest.raises(ValueError, match="English here, not 'de'"):
        await restricted().transcribe(spoken("good bye"), "de")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"model": "de-de"}, "only one that comes along, not 'de-de'"),
        ({"phrases": ["a"], "grammar": "x"}, "exclude each other"),
        ({"phrases": []}, "at least one text"),
        ({"phrases": ["..."]}, "each has a word"),
        ({"phrases": "hello"}, "a list of texts"),
        ({"phrases": ["hello xyzzyfoo"]}, "dictionary: xyzzyfoo"),
        ({"keyphrases": ["2001"]}, "numbers spelled out"),
        ({"grammar": "#JSGF V1.0;"}, "no words"),
        ({"keyphrases": {"hello": 0.0}}, "threshold"),
        ({"replicas": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        PocketSphinxSTTEngine(**options)


async def test_a_grammar_that_is_none_shows_when_it_is_loaded() -> None:
    with pytest.raises(EngineLoadError, match="cannot be loaded"):
        await restricted(grammar="#JSGF V1.0; grammar g; public <a> = (hello;").load()


@pytest.mark.parametrize(
    ("phrases", "text"),
    [(["Good-bye!"], "good bye"), (["  good   BYE  "], "good bye"), (["what's up"], "what's up")],
)
async def test_case_and_punctuation_of_phrases_do_not_matter(
    phrases: Sequence[str], text: str
) -> None:
    assert (await restricted(phrases=phrases).transcribe(spoken(text))).text == text


async def test_it_is_available_and_warms_up() -> None:
    engine = restricted()
    assert await engine.is_available()
    assert not engine.model_loaded
    await engine.warmup()
    assert engine.model_loaded
