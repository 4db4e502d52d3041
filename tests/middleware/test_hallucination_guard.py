"""Hallucinations, taken out of one-shot and streaming results."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.middleware import (
    CallNext,
    Chain,
    HallucinationGuardMiddleware,
    RequestContext,
)
from realtime_stts.middleware.hallucination_guard import KNOWN_PHRASES
from realtime_stts.protocols import TranscriptionResult, TranscriptionSegment
from realtime_stts.testing import MiddlewareSuite, chunked, speech

pytestmark = pytest.mark.anyio

RATE = 16_000
SPEECH = speech(3.0, RATE)
SILENCE = AudioData.silence(3.0, RATE)
HELLO = TranscriptionResult("Hello there, my friend.", "en", [], 0.9)
LOOP = "I am going to be there. " * 12


class TestHallucinationGuardPromises(MiddlewareSuite):
    kinds = ("stt",)

    def middleware(self) -> HallucinationGuardMiddleware:
        return HallucinationGuardMiddleware()


class Ears:
    """STT that gives one result after each chunk; the last one is all that one-shot calls have."""

    name = "ears"
    model_loaded = True

    def __init__(self, *results: TranscriptionResult) -> None:
        self._results = results
        self.heard: list[AudioData] = []

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        self.heard.append(audio)
        return self._results[-1]

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        results = iter(self._results)
        async for chunk in audio:
            self.heard.append(chunk)
            yield next(results)
        yield self._results[-1]

    async def is_available(self) -> bool:
        return True


class Notes:
    """What is left in the context of the last call."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}

    async def __call__(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        self.metadata = context.metadata
        async for result in call_next(context):
            yield result


async def once(
    guard: HallucinationGuardMiddleware, ears: Ears, audio: AudioData = SPEECH
) -> tuple[TranscriptionResult, str | None]:
    """The result, and why something was taken out of it."""
    notes = Notes()
    result = await Chain(notes, guard).wrap(ears).transcribe(audio, "en")
    assert result is not None
    return result, notes.metadata.get("hallucination")


async def stream(
    guard: HallucinationGuardMiddleware, ears: Ears, *chunks: AudioData
) -> tuple[list[TranscriptionResult], str | None]:
    async def source() -> AsyncGenerator[AudioData]:
        for chunk in chunks:
            yield chunk

    notes = Notes()
    stt = Chain(notes, guard).wrap(ears)
    return [each async for each in stt.stream(source())], notes.metadata.get("hallucination")


def partial(text: str, committed: str = "") -> TranscriptionResult:
    return TranscriptionResult(text, "en", [], 0.9, partial=True, committed=committed)


def final(text: str) -> TranscriptionResult:
    return TranscriptionResult(text, "en", [], 0.9, committed=text)


class TestOneShot:
    async def test_speech_is_let_be(self) -> None:
        guard = HallucinationGuardMiddleware()
        assert await once(guard, Ears(HELLO)) == (HELLO, None)
        statistics = guard.statistics()
        assert (statistics.calls, statistics.rejected, statistics.reasons) == (1, 0, {})

    @pytest.mark.parametrize(
        "audio",
        [
            SILENCE,
            AudioData.from_samples(SPEECH.samples * np.float32(5e-4), RATE, "pcm_f32le"),
            AudioData.concat([SILENCE, SPEECH.sliced(0.1, 0.16), SILENCE]),
            AudioData.silence(0.0, RATE),
        ],
        ids=["silent", "faint", "a-click", "empty"],
    )
    async def test_silence_is_answered_without_the_engine(self, audio: AudioData) -> None:
        guard, ears = HallucinationGuardMiddleware(), Ears(HELLO)
        empty = TranscriptionResult("", "en", [])
        assert await once(guard, ears, audio) == (empty, "silence")
        assert ears.heard == []
        assert guard.statistics().reasons == {"silence": 1}
        assert (await Chain(guard).wrap(ears).transcribe(audio)) == replace(empty, language="")

    async def test_the_energy_gate_may_be_off(self) -> None:
        guard = HallucinationGuardMiddleware(min_level=None)
        assert await once(guard, Ears(HELLO), SILENCE) == (HELLO, None)

    async def test_an_encoded_clip_is_decoded_once(self) -> None:
        ears = Ears(HELLO)
        await once(
            HallucinationGuardMiddleware(), ears, AudioData(SPEECH.encode("wav"), RATE, 1, "wav")
        )
        assert ears.heard == [SPEECH]

    async def test_what_cannot_have_been_said_is_emptied(self) -> None:
        guard = HallucinationGuardMiddleware()
        loop = TranscriptionResult(LOOP, "en", [TranscriptionSegment(LOOP, 0.0, 3.0)], 0.9)
        result, reason = await once(guard, Ears(loop))
        assert (result, reason) == (TranscriptionResult("", "en", []), "compression ratio")
        unsure = replace(HELLO, confidence=0.2)
        assert (await once(guard, Ears(unsure)))[1] == "log probability"
        assert guard.statistics().reasons == {"compression ratio": 1, "log probability": 1}
        assert guard.statistics().rejected == 2

    async def test_bad_segments_of_several_are_left_out(self) -> None:
        said = TranscriptionResult(
            f"Hello there. {LOOP}",
            "en",
            [
                TranscriptionSegment("Hello there.", 0.0, 1.0, 0.9),
                TranscriptionSegment(LOOP, 1.0, 30.0, 0.9),
            ],
            0.9,
        )
        guard = HallucinationGuardMiddleware()
        result, reason = await once(guard, Ears(said))
        assert (result.text, reason) == ("Hello there.", "compression ratio")
        assert guard.statistics().reasons == {"compression ratio": 1}

    async def test_phrases_are_an_option(self) -> None:
        thanks = TranscriptionResult("Thank you for watching!", "en", [], 0.9)
        cough = AudioData.concat([SPEECH.sliced(0.0, 0.5), SILENCE])
        assert await once(HallucinationGuardMiddleware(), Ears(thanks), cough) == (thanks, None)
        guard = HallucinationGuardMiddleware(phrases=KNOWN_PHRASES)
        assert (await once(guard, Ears(thanks), cough))[1] == "known phrase"
        assert await once(guard, Ears(thanks), SPEECH) == (thanks, None)

    async def test_without_a_level_all_audio_is_speech_to_the_phrases(self) -> None:
        thanks = TranscriptionResult("Thank you.", "en", [], 0.9)
        guard = HallucinationGuardMiddleware(min_level=None, phrases=KNOWN_PHRASES)
        assert await once(guard, Ears(thanks), SILENCE) == (thanks, None)
        assert (await once(guard, Ears(thanks), SILENCE.sliced(0, 0.5)))[1] == "known phrase"


class TestStreaming:
    async def test_speech_is_let_be(self) -> None:
        guard = HallucinationGuardMiddleware()
        results = [partial("Hello"), partial("Hello there"), final("Hello there.")]
        assert await stream(guard, Ears(*results), SPEECH, SPEECH) == (results, None)

    async def test_nothing_is_said_before_something_was_loud_enough(self) -> None:
        guard = HallucinationGuardMiddleware()
        results = [partial("Thank you."), partial("Hello"), final("Hello there.")]
        got, reason = await stream(guard, Ears(*results), SILENCE, SPEECH)
        assert (got, reason) == (results[1:], None)

    async def test_a_stream_of_silence_says_nothing(self) -> None:
        guard = HallucinationGuardMiddleware()
        ears = Ears(partial("Thank"), partial("Thank you."), final("Thank you."))
        got, reason = await stream(guard, ears, SILENCE, SILENCE)
        assert [each.text for each in got] == [""]
        assert not got[0].partial
        assert (reason, ears.heard) == ("silence", [SILENCE, SILENCE])
        assert guard.statistics().reasons == {"silence": 1}

    async def test_silence_rightly_heard_is_no_hallucination(self) -> None:
        guard = HallucinationGuardMiddleware()
        got, reason = await stream(guard, Ears(partial(""), final("")), SILENCE)
        assert ([each.text for each in got], reason) == ([""], None)
        assert guard.statistics().rejected == 0

    async def test_rejected_partials_are_left_out(self) -> None:
        guard = HallucinationGuardMiddleware()
        results = [partial("Hello"), partial(f"Hello {LOOP}"), final("Hello there.")]
        got, reason = await stream(guard, Ears(*results), SPEECH, SPEECH)
        assert (got, reason) == ([results[0], results[2]], None)

    async def test_what_was_committed_is_never_taken_back(self) -> None:
        guard = HallucinationGuardMiddleware()
        kept = partial("Hello there. I", "Hello there.")
        lost = partial(f"Hello there. {LOOP}", "Hello there. I am going")
        got, reason = await stream(
            guard, Ears(kept, lost, final(f"Hello there. {LOOP}")), SPEECH, SPEECH
        )
        assert got[0] == kept
        assert [(each.text, each.committed) for each in got[1:]] == [("Hello there.",) * 2]
        assert reason == "compression ratio"

    async def test_what_was_committed_is_not_judged_again(self) -> None:
        guard = HallucinationGuardMiddleware(max_repeats=2, max_compression=None)
        said = "no no no yes"
        results = [partial("no no", "no no"), partial(said, said), final(said)]
        assert await stream(guard, Ears(*results), SPEECH, SPEECH) == (results, None)

    async def test_however_the_audio_is_cut(self) -> None:
        guard = HallucinationGuardMiddleware()
        for seconds in (0.007, 0.1, 1.0):
            chunks = [chunk async for chunk in chunked(SPEECH, seconds)]
            results = [*[partial("Hello")] * len(chunks), final("Hello there.")]
            got, _ = await stream(guard, Ears(*results), *chunks)
            before = ceil(0.12 / seconds) - 1  # chunks in which four frames are not complete
            assert len(results) - len(got) == before

    async def test_encoded_chunks_are_decoded(self) -> None:
        ears = Ears(partial("Hello"), final("Hello"))
        encoded = AudioData(SPEECH.encode("wav"), RATE, 1, "wav")
        got, _ = await stream(HallucinationGuardMiddleware(), ears, encoded)
        assert (len(got), ears.heard) == (2, [SPEECH])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_level": 1.0}, r"min_level \(dBFS\) is -120 to 0, not 1.0"),
        ({"min_speech": -1.0}, r"min_speech \(s\) is 0 to 10"),
        ({"max_no_speech": 1.1}, "max_no_speech is 0 to 1"),
        ({"min_log_probability": 0.5}, "min_log_probability is -inf to 0"),
        ({"max_compression": 0.5}, "max_compression is 1 to inf"),
        ({"max_repeats": 0}, "max_repeats is 1 to inf"),
        ({"max_rate": 0.0}, r"max_rate \(words/s\) is 0.001 to inf"),
    ],
)
async def test_refuses_what_makes_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HallucinationGuardMiddleware(**wrong)


async def test_one_text_is_not_several_phrases() -> None:
    with pytest.raises(TypeError, match="several texts, not one"):
        HallucinationGuardMiddleware(phrases="Thank you.")
