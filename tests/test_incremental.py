"""A recogniser of whole clips, heard while the speech goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise, repeat

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts._agreement import TrimPolicy
from realtime_stts._edge import streaming_stt
from realtime_stts._incremental import incremental
from realtime_stts.audio import AudioData
from realtime_stts.errors import AudioFormatError, EngineError
from realtime_stts.protocols import (
    StreamingSTTEngine,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
)
from realtime_stts.testing import (
    ScriptedSTTEngine,
    StreamingSpeechToTextSuite,
    chunked,
    no_leaks,
    virtual_time,
)

pytestmark = pytest.mark.anyio

RATE = 8_000  # Hz
Words = Sequence[TranscriptionWord]


def recording(seconds: float) -> AudioData:
    """Sound that knows its place: each sample is the number of its frame."""
    frames = np.arange(round(seconds * RATE), dtype="<i4")
    return AudioData(frames.tobytes(), RATE, 1, "pcm_s32le")


def spoken(text: str, each: float = 0.5) -> list[TranscriptionWord]:
    return [
        TranscriptionWord(word, i * each, (i + 1) * each, 0.8)
        for i, word in enumerate(text.split())
    ]


@dataclass(slots=True)
class Recogniser:
    """Hears of a clip what was spoken in it; of a word cut at its end, something else each time.

    Words are timed, unless it is told otherwise, and results take ``latency`` seconds.
    """

    speech: Words
    latency: float = 0.0  # s
    timed: bool = True
    language: str = "en"
    clips: list[tuple[float, float]] = field(default_factory=list)  # s, of the recording
    began: list[float] = field(default_factory=list)  # s, on the event loop's clock
    languages: list[str | None] = field(default_factory=list)
    busy: float = 0.0  # s
    n_under_way: int = 0
    n_cancelled: int = 0

    async def transcribe(self, clip: AudioData, language: str | None) -> TranscriptionResult:
        frames = np.frombuffer(clip.data, "<i4")
        assert (np.diff(frames) == 1).all(), "sound is missing from the middle of the clip"
        start, end = frames[0] / RATE, (frames[-1] + 1) / RATE
        self.clips.append((start, end))
        self.began.append(anyio.current_time())
        self.languages.append(language)
        assert self.n_under_way == 0, "two decodes at a time"
        self.n_under_way += 1
        try:
            await anyio.sleep(self.latency)
        except BaseException:
            self.n_cancelled += 1
            raise
        finally:
            self.n_under_way -= 1
            self.busy += anyio.current_time() - self.began[-1]
        words = []
        for word in self.speech:
            if word.start >= start - 1 / RATE and word.end <= end + 1 / RATE:
                words.append(replace(word, start=word.start - start, end=word.end - start))
            elif start <= word.start < end:
                piece = f"{word.text[0]}{round(100 * end)}"
                words.append(TranscriptionWord(piece, word.start - start, end - start, 0.1))
        text = " ".join(word.text for word in words)
        segments = [TranscriptionSegment(text, 0.0, end - start, 0.8)] if words else []
        return TranscriptionResult(
            text, self.language, segments, 0.8, words=words if self.timed else []
        )


async def heard(
    recogniser: Recogniser, audio: AudioData, chunk: float = 0.1, **options: float | TrimPolicy
) -> list[TranscriptionResult]:
    """All results of a stream that arrives as it is spoken."""
    source = chunked(audio, chunk, paced=True)
    async with (
        aclosing(source),
        aclosing(
            incremental(recogniser.transcribe, source, **options)  # type: ignore[arg-type]
        ) as results,
    ):
        return [result async for result in results]


def told(results: Iterable[TranscriptionResult]) -> list[tuple[str, str]]:
    return [(result.text, result.committed) for result in results]


# -- results -----------------------------------------------------------------------------


async def test_partial_results_come_while_the_speech_goes_on() -> None:
    results = await heard(Recogniser(spoken("so you are the one", 0.7)), recording(3.5))
    assert told(results) == [
        ("so y100", ""),
        ("so you a200", "so"),
        ("so you are the o300", "so you"),
        ("so you are the one", "so you are the one"),
    ]
    assert [result.partial for result in results] == [True, True, True, False]


async def test_a_partial_result_is_there_with_the_chunk_after_its_decode() -> None:
    recogniser = Recogniser(spoken("so you are the one"), latency=0.25)
    source = chunked(recording(3.0), 0.1, paced=True)
    async with aclosing(incremental(recogniser.transcribe, source)) as results:
        began = anyio.current_time()
        arrived = [
            (result.text, round(anyio.current_time() - began, 6)) async for result in results
        ]
    assert arrived == [
        ("so you", 1.3),
        ("so you are the", 2.3),
        ("so you are the one", 3.25),
    ]


async def test_nothing_new_is_not_told_again() -> None:
    results = await heard(Recogniser(spoken("hello")), recording(9.0))
    assert told(results) == [("hello", ""), ("hello", "hello"), ("hello", "hello")]
    assert [result.partial for result in results] == [True, True, False]


async def test_the_final_result_is_that_of_the_whole_clip() -> None:
    recogniser, audio = Recogniser(spoken("So. You are THE one!")), recording(4.25)
    *_, final = await heard(recogniser, audio)
    whole = await recogniser.transcribe(audio, None)
    assert final == replace(whole, committed="So. You are THE one!")
    assert recogniser.clips[-2] == recogniser.clips[-1] == (0.0, 4.25)


async def test_unless_that_takes_back_what_was_committed() -> None:
    hypotheses = iter(["I scream", "I scream now", "Ice cream now. OK?"])

    async def transcribe(clip: AudioData, language: str | None) -> TranscriptionResult:
        text = next(hypotheses)
        words = [replace(w, start=w.start * 0.4, end=w.end * 0.4) for w in spoken(text)]
        return TranscriptionResult(text, "en", [], 0.5, words=words)

    async with aclosing(
        incremental(transcribe, chunked(recording(2.9), 0.1, paced=True))
    ) as stream:
        results = [result async for result in stream]
    assert told(results) == [
        ("I scream", ""),
        ("I scream now", "I scream"),
        ("I scream now. OK?", "I scream now. OK?"),
    ]
    final = results[-1]
    assert [word.text for word in final.words] == ["I", "scream", "now.", "OK?"]
    assert [(segment.text, segment.start) for segment in final.segments] == [
        ("I scream now.", 0.0),
        ("OK?", pytest.approx(0.6)),
    ]
    assert final.confidence == pytest.approx(0.8)
    assert (final.language, final.partial) == ("en", False)


@pytest.mark.parametrize("timed", [True, False])
async def test_guessed_times_are_not_given_as_words(timed: bool) -> None:
    speech = spoken(" ".join(["word"] * 17 + ["end."]) + " " + " ".join(["more"] * 30))
    *_, final = await heard(Recogniser(speech, timed=timed), recording(24.0))
    assert len(final.segments) == 2
    assert len(final.words) == (48 if timed else 0)


async def test_times_count_from_the_first_chunk() -> None:
    speech = spoken("One. Two. " * 30)
    recogniser = Recogniser(speech)
    results = await heard(recogniser, recording(30.0))
    assert recogniser.clips[-1][0] > 10.0, "it was not trimmed"
    final = results[-1]
    assert [(word.text, word.start, word.end) for word in final.words] == [
        (word.text, pytest.approx(word.start), pytest.approx(word.end)) for word in speech
    ]
    assert final.duration == pytest.approx(30.0)
    assert final.confidence == pytest.approx(0.8)


@pytest.mark.parametrize("language", [None, "de"])
@pytest.mark.parametrize("chunks", [[], [recording(0.0)]], ids=["no chunk", "an empty chunk"])
async def test_a_stream_of_nothing_is_silence(
    chunks: list[AudioData], language: str | None
) -> None:
    recogniser = Recogniser([])
    async with aclosing(incremental(recogniser.transcribe, delivered(chunks), language)) as results:
        assert [result async for result in results] == [TranscriptionResult("", language or "", [])]
    assert recogniser.clips == []


async def test_silence_has_one_result() -> None:
    assert told(await heard(Recogniser([]), recording(30.0))) == [("", "")]


async def test_what_was_said_before_a_silence_is_not_lost_with_it() -> None:
    recogniser = Recogniser(spoken("Hello there, you"), language="fr")
    *_, final = await heard(recogniser, recording(60.0))
    assert final.text == "Hello there, you"
    assert final.language == "fr"
    assert recogniser.clips[-1][0] > 30.0


async def test_the_language_is_passed_on() -> None:
    recogniser = Recogniser(spoken("eins zwei"))
    async with aclosing(
        incremental(recogniser.transcribe, chunked(recording(3.0), paced=True), "de")
    ) as results:
        assert [result async for result in results]
    assert set(recogniser.languages) == {"de"}


async def test_a_detected_language_is_kept_once_its_sound_is_gone() -> None:
    recogniser = Recogniser(spoken("One. Two. " * 15))
    await heard(recogniser, recording(15.0))
    for (start, _), language in zip(recogniser.clips, recogniser.languages, strict=True):
        assert language == ("en" if start > 0.0 else None)
    assert {*recogniser.languages} == {"en", None}


# -- the pace of decodes -----------------------------------------------------------------


async def test_a_decode_waits_for_an_interval_of_new_sound() -> None:
    recogniser = Recogniser([])
    await heard(recogniser, recording(2.9), chunk=0.02, interval=0.5)
    assert recogniser.clips == [(0.0, end) for end in (0.5, 1.0, 1.5, 2.0, 2.5, 2.9)]


async def test_a_slow_recogniser_rests_as_long_as_it_worked() -> None:
    recogniser = Recogniser([], latency=2.05)
    await heard(recogniser, recording(21.0))
    waits = [later - began for began, later in pairwise(recogniser.began)]
    assert waits == [pytest.approx(wait) for wait in (4.1, 4.1, 4.1, 4.1, 3.6)]


@pytest.mark.parametrize("latency", [0.1, 0.5, 3.0, 30.0, 1000.0])
async def test_it_works_half_of_the_time_at_most(latency: float) -> None:
    recogniser = Recogniser(spoken("and so on " * 80), latency)
    *_, final = await heard(recogniser, recording(120.0))
    assert final.text == " ".join(["and so on"] * 80)
    in_time = sum(at < 120.0 - 1e-6 for at in recogniser.began)
    assert in_time <= 120.0 / max(1.0, 2 * latency) + 1
    assert recogniser.busy - recogniser.latency <= 60.0 + latency


async def test_the_end_of_the_source_cancels_a_decode_of_less() -> None:
    recogniser = Recogniser(spoken("so you are"), latency=0.5)
    began = anyio.current_time()
    [final] = await heard(recogniser, recording(1.2))
    assert final.text == "so you a120"
    assert recogniser.clips == [(0.0, 1.0), (0.0, 1.2)]
    assert recogniser.n_cancelled == 1
    assert anyio.current_time() - began == pytest.approx(1.7)


async def test_a_decode_of_all_is_not_made_twice() -> None:
    recogniser = Recogniser(spoken("so you are"), latency=0.5)
    began = anyio.current_time()
    [final] = await heard(recogniser, recording(1.0))
    assert (final.text, final.partial) == ("so you", False)
    assert recogniser.clips == [(0.0, 1.0)]
    assert anyio.current_time() - began == pytest.approx(1.5)


async def test_nor_is_one_that_was_there_when_the_source_ended() -> None:
    recogniser = Recogniser(spoken("so you are"))

    async def source() -> AsyncGenerator[AudioData]:
        yield recording(1.0)
        await anyio.sleep(1.0)

    async with aclosing(incremental(recogniser.transcribe, source())) as results:
        assert told([result async for result in results]) == [("so you", "so you")]
    assert recogniser.clips == [(0.0, 1.0)]


async def test_a_file_is_decoded_once() -> None:
    """A source that need not be waited for is over before a decode begins."""
    recogniser = Recogniser(spoken("and so on " * 200))
    async with aclosing(
        incremental(recogniser.transcribe, chunked(recording(300.0), 0.5))
    ) as results:
        assert [result.partial async for result in results] == [False]
    assert recogniser.clips == [(0.0, 300.0)]


# -- sources -----------------------------------------------------------------------------


async def delivered(chunks: Iterable[AudioData]) -> AsyncGenerator[AudioData]:
    for chunk in chunks:
        yield chunk
        await anyio.sleep(0.0)


async def test_no_sound_is_lost_while_a_source_is_slow() -> None:
    """A generator that is cancelled is dead: it must not be, for a result that is ready."""
    recogniser = Recogniser(spoken("and so on and on", 1.0), latency=0.3)
    *_, final = await heard(recogniser, recording(5.0), chunk=1.25)
    assert final.text == "and so on and on"


async def test_chunks_may_come_in_any_format() -> None:
    clips = []

    async def transcribe(clip: AudioData, language: str | None) -> TranscriptionResult:
        clips.append(clip)
        return TranscriptionResult("hello", "en", [])

    tone = AudioData.from_samples(np.sin(np.arange(RATE)), RATE)
    chunks = [
        tone,
        AudioData(tone.encode("flac"), RATE, 1, "flac"),
        tone.converted("pcm_f32le"),
    ]
    async with aclosing(incremental(transcribe, delivered(chunks), interval=9.0)) as results:
        assert told([result async for result in results]) == [("hello", "hello")]
    assert clips == [AudioData.concat([tone] * 3)]


@pytest.mark.parametrize("n_chunks", [1, 20])
async def test_a_layout_that_changes_is_the_callers_error(n_chunks: int) -> None:
    """Before a decode, and during one, which is then cancelled."""
    silence = AudioData.silence(0.1, RATE)
    chunks = [silence] * n_chunks + [AudioData.silence(0.1, RATE, 2)]
    cancelled = anyio.Event()

    async def transcribe(clip: AudioData, language: str | None) -> TranscriptionResult:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with no_leaks(), aclosing(delivered(chunks)) as source:
        with pytest.raises(AudioFormatError, match=r"from 8000 Hz with 1 .* with 2"):
            await anext(incremental(transcribe, source))
    assert cancelled.is_set() is (n_chunks > 10)


# -- failures ----------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.5, 3.0], ids=["in the end", "before"])
async def test_an_error_of_the_recogniser_comes_out_as_it_is(seconds: float) -> None:
    error = EngineError("deaf", "cannot hear")

    async def transcribe(clip: AudioData, language: str | None) -> TranscriptionResult:
        await anyio.sleep(0.05)
        raise error

    async with no_leaks(), aclosing(chunked(recording(seconds), 0.1, paced=True)) as source:
        with pytest.raises(EngineError) as caught:
            await anext(incremental(transcribe, source))
        rest = [chunk async for chunk in source]
    assert caught.value is error
    assert bool(rest) is (seconds > 1.0), "the source was closed, which was not ours"


async def test_an_error_of_the_source_cancels_the_decode() -> None:
    recogniser = Recogniser([], latency=5.0)

    async def unplugged() -> AsyncGenerator[AudioData]:
        yield recording(1.0)
        await anyio.sleep(0.1)
        raise LookupError("no microphone")

    async with no_leaks():
        with pytest.raises(LookupError, match="no microphone"):
            await anext(incremental(recogniser.transcribe, unplugged()))
    assert recogniser.n_cancelled == 1


async def test_an_error_of_the_source_is_told_even_if_the_recogniser_fails_as_well() -> None:
    async def transcribe(clip: AudioData, language: str | None) -> TranscriptionResult:
        try:
            await anyio.sleep_forever()
        except BaseException:  # noqa: BLE001 - what a bad engine does
            raise EngineError("deaf", "cannot be cancelled either") from None

    async def unplugged() -> AsyncGenerator[AudioData]:
        yield recording(1.0)
        await anyio.sleep(0.1)
        raise LookupError("no microphone")

    with pytest.raises(LookupError, match="no microphone"):
        await anext(incremental(transcribe, unplugged()))


# -- closing -----------------------------------------------------------------------------


async def test_closing_it_between_results_leaves_nothing_open() -> None:
    recogniser = Recogniser(spoken("and so on and on"))
    async with no_leaks(), aclosing(chunked(recording(5.0), 0.1, paced=True)) as source:
        results = incremental(recogniser.transcribe, source)
        await anext(results)
        await results.aclose()
        assert await anext(source, None), "the source was closed, which was not ours"


async def test_a_reader_cancelled_during_a_decode_cancels_it() -> None:
    recogniser = Recogniser([], latency=5.0)
    async with no_leaks():
        source = chunked(recording(5.0), 0.1, paced=True)
        async with (
            aclosing(source),
            aclosing(incremental(recogniser.transcribe, source)) as results,
        ):
            with anyio.move_on_after(2.0) as scope:
                await anext(results)
    assert scope.cancelled_caught
    assert (recogniser.n_cancelled, recogniser.n_under_way) == (1, 0)


async def test_nothing_runs_before_it_is_awaited() -> None:
    recogniser = Recogniser([])
    await incremental(recogniser.transcribe, delivered([recording(1.0)])).aclose()
    assert recogniser.clips == []


# -- whatever is said, however it is cut -------------------------------------------------

VOCABULARY = ["no", "No,", "yes.", "very", "good", "Good!"]
POLICY = TrimPolicy(keep=3.0, limit=6.0)
# Of each word: the pause before it and its length, in hundredths of a second, and its text.
speeches = st.lists(
    st.tuples(st.integers(0, 150), st.integers(20, 60), st.sampled_from(VOCABULARY)), max_size=40
)


@given(
    speeches,
    st.sampled_from([0.02, 0.11, 0.3, 1.7, 100.0]),
    st.sampled_from([0.0, 0.3, 1.1, 4.0]),
    st.sampled_from(["asyncio", "trio"]),
)
def test_a_right_recogniser_makes_the_right_transcript(
    parts: list[tuple[int, int, str]], chunk: float, latency: float, backend: str
) -> None:
    at, speech = 0, []
    for pause, length, text in parts:
        at += pause + length
        speech.append(TranscriptionWord(text, (at - length) / 100, at / 100))
    audio = recording(at / 100 + 0.25)
    recogniser = Recogniser(speech, latency)
    backend, options = virtual_time(backend)
    listen = partial(heard, recogniser, audio, chunk, trimming=POLICY)
    results = anyio.run(listen, backend=backend, backend_options=options)

    assert results[-1].text == " ".join(word.text for word in speech)
    assert [result.partial for result in results] == [True] * (len(results) - 1) + [False]
    for result, later in pairwise(results):
        assert result.text.startswith(result.committed)
        assert later.committed.startswith(result.committed)
    assert results[-1].committed == results[-1].text

    # No decode is of more than the limit and what came since the last that was finished began:
    # while it ran and rested, while the next ran and was cancelled in the end, and the rest of
    # a chunk each time. So the work is bounded by the audio.
    since = max(1.0, 2 * latency) + latency + 3 * chunk
    lengths = [end - start for start, end in recogniser.clips]
    assert max(lengths) <= POLICY.limit + since
    assert len(lengths) <= audio.duration_seconds + 1
    assert sum(lengths) <= (audio.duration_seconds + 1) * (POLICY.limit + since)


# -- the contract ------------------------------------------------------------------------


class OneShot:
    """An engine of the contract, which has no `stream`."""

    model_loaded = True

    def __init__(self) -> None:
        self._model = ScriptedSTTEngine(repeat("hello there"))

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return await self._model.transcribe(audio.decoded(), language)

    async def is_available(self) -> bool:
        return True


class TestIncremental(StreamingSpeechToTextSuite):
    text = "hello there"
    streams_as_it_transcribes = True

    def engine(self) -> StreamingSTTEngine:
        return streaming_stt(OneShot())

    def same(self, one: TranscriptionResult, other: TranscriptionResult) -> bool:
        """What is committed says nothing about a clip."""
        return replace(one, committed="") == replace(other, committed="")
