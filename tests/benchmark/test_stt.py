"""Speech to text is measured as a script says it is."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

import pytest

pytest.importorskip("jiwer")
pytest.importorskip("whisper_normalizer")

from realtime_stts import AudioData, EngineError, MissingExtraError
from realtime_stts.benchmark import CheckError, Job, Utterance, value
from realtime_stts.benchmark._stt import measure
from realtime_stts.protocols import TranscriptionResult, TranscriptionWord
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine, speech

from .conversations import by_case

pytestmark = pytest.mark.anyio

TEXTS = ("one two three", "four five six seven")


def utterances(*texts: str) -> list[Utterance]:
    """A second and a half of sound, and half a second of silence."""
    sound = AudioData.concat([speech(1.5), AudioData.silence(0.5, 16_000)])
    return [Utterance(text, text, sound) for text in texts]


def job(engine: Any, *texts: str, language: str = "en", quick: bool = True) -> Job:
    return Job(
        stt=lambda: engine,
        tts=ScriptedTTSEngine,
        utterances=utterances(*texts),
        quick=quick,
        seed=0,
        tell=lambda text: None,
        language=language,
    )


def word(text: str, end: float) -> TranscriptionWord:
    return TranscriptionWord(text, 0.0, end)


class Replaying(ScriptedSTTEngine):
    """Streams these partial results, and then what the script says."""

    def __init__(self, script: list[Any], partials: list[str]) -> None:
        super().__init__(script, latency=0.25, partials=False)
        self.told = partials

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async def listened() -> AsyncGenerator[AudioData]:
            async for chunk in audio:
                heard.append(chunk)
                yield chunk

        heard: list[AudioData] = []
        for text in self.told:
            yield TranscriptionResult(text, "en", [], partial=True)
        async for result in super().stream(listened(), language):
            yield result
        assert sum(chunk.duration_seconds for chunk in heard) == pytest.approx(1.5)


async def test_the_final_segment_takes_what_the_script_says() -> None:
    """From the last sound, though there is half a second of silence in the recording."""
    engine = ScriptedSTTEngine([*TEXTS, *TEXTS], latency=0.25)
    figures = by_case(await measure(job(engine, *TEXTS)))
    assert figures["time to the final segment"].samples == (pytest.approx(250), pytest.approx(250))
    assert value(figures["word error rate"]) == 0
    assert value(figures["words shown that changed"]) == 0
    assert not engine.model_loaded


async def test_the_throughput_is_of_whole_clips() -> None:
    """Two seconds of sound in a quarter of one."""
    engine = ScriptedSTTEngine([*TEXTS, *TEXTS], latency=0.25)
    figures = by_case(await measure(job(engine, *TEXTS)))
    assert value(figures["seconds of sound transcribed in one"]) == pytest.approx(8)


async def test_a_word_is_shown_when_a_partial_result_shows_it_for_good() -> None:
    """The script shows a word when its audio has come, and in the end puts it elsewhere."""
    engine = ScriptedSTTEngine(["one two three"] * 2, latency=0.25, seconds_per_word=0.4)
    figures = by_case(await measure(job(engine, "one two three")))
    # Shown at 0.4, 0.8 and 1.2 s; of the final result they end at 0.5, 1.0 and 1.5 s.
    # A chunk lasts 20 ms, and what falls between two comes with the later one.
    shown = figures["a word is shown for good"].samples
    assert shown == pytest.approx((-100, -200, -300), abs=20.1)


async def test_words_that_change_are_counted_of_the_final_ones() -> None:
    final = TranscriptionResult("a b", "en", [], words=[word("a", 1.0), word("b", 1.5)])
    engine = Replaying([final, final], ["x", "a", "a c"])
    figures = by_case(await measure(job(engine, "a b")))
    assert value(figures["words shown that changed"]) == 100  # x and c, of two
    assert figures["a word is shown for good"].samples == (
        pytest.approx(-1000),
        pytest.approx(250),
    )


async def test_an_engine_without_times_of_words_has_no_delay_of_words() -> None:
    final = TranscriptionResult("a b", "en", [])
    figures = by_case(await measure(job(Replaying([final, final], ["a"]), "a b")))
    assert "a word is shown for good" not in figures
    assert "words shown that changed" in figures


async def test_an_engine_that_hears_nothing_has_no_words_that_change() -> None:
    nothing = TranscriptionResult("", "en", [])
    figures = by_case(await measure(job(Replaying([nothing, nothing], ["a"]), "a b")))
    assert "words shown that changed" not in figures
    assert value(figures["word error rate"]) == 100


async def test_an_engine_that_answers_at_the_end_only() -> None:
    engine = ScriptedSTTEngine([*TEXTS, *TEXTS], partials=False)
    figures = by_case(await measure(job(engine, *TEXTS)))
    assert figures.keys() == {
        "seconds of sound transcribed in one",
        "word error rate",
        "time to the final segment",
    }


async def test_errors_are_counted_after_whispers_normaliser_and_pooled() -> None:
    """Case, signs and spelt numbers are no errors; one of eight words is wrong."""
    heard = ["It's colour, NOT grey!", "twenty one cats"]
    engine = ScriptedSTTEngine([*heard, *heard])
    figures = by_case(await measure(job(engine, "it is color not red", "21 cats")))
    rate = figures["word error rate"]
    assert (rate.samples, rate.per) == ((100.0, 0.0), (5.0, 2.0))


async def test_where_no_space_is_between_words_characters_count() -> None:
    engine = ScriptedSTTEngine(["你好吗", "你好吗"])
    figures = by_case(await measure(job(engine, "你好嘛", language="zh")))
    assert value(figures["character error rate"]) == pytest.approx(100 / 3)
    assert engine.calls[0].language == "zh"


async def test_a_transcript_of_signs_alone_is_left_out() -> None:
    engine = ScriptedSTTEngine(["one", "two", "one", "two"])
    figures = by_case(await measure(job(engine, "one", "[noise]")))
    assert figures["word error rate"].per == (1.0, 0.0)


async def test_transcripts_of_signs_alone_are_a_failure() -> None:
    with pytest.raises(CheckError, match="no transcript holds a word"):
        await measure(job(ScriptedSTTEngine(["one"] * 2), "..."))


async def test_few_are_streamed_where_less_is_measured() -> None:
    texts = ["one"] * 26
    quick = ScriptedSTTEngine(["one"] * 60)
    await measure(job(quick, *texts))
    assert len(quick.calls) == 26 + 6
    full = ScriptedSTTEngine(["one"] * 60)
    found = by_case(await measure(job(full, *texts, quick=False)))
    assert len(found["time to the final segment"].samples) == 24


@pytest.mark.parametrize("package", ["jiwer", "whisper_normalizer.basic"])
async def test_without_the_packages_that_count_errors(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"realtime-stts\[bench\]"):
        await measure(job(ScriptedSTTEngine([]), "one"))


class Foreign(ScriptedSTTEngine):
    """Fails as the contract of others has it: with None, or with no result at all."""

    async def transcribe(self, audio: AudioData, language: str | None = None) -> Any:
        return None if self.broken == "clip" else await super().transcribe(audio, language)

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async for result in super().stream(audio, language):
            if result.partial:
                yield result

    broken = "stream"


@pytest.mark.parametrize(("broken", "why"), [("clip", "no result"), ("stream", "without a final")])
async def test_an_engine_without_a_result_is_a_failure(broken: str, why: str) -> None:
    engine = Foreign(["one", "one"])
    engine.broken = broken
    with pytest.raises(EngineError, match=why):
        await measure(job(engine, "one"))
    assert not engine.model_loaded
