"""Speech that cannot be its text: made once more, then refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import anyio
import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import AudioFormatError, ImplausibleSpeechError
from realtime_stts.middleware import CallNext, Chain, RequestContext, SpeechGuardMiddleware
from realtime_stts.middleware.speech_guard import SpeechGuardStatistics
from realtime_stts.protocols import SynthesisResult
from realtime_stts.testing import MiddlewareSuite, speech

pytestmark = pytest.mark.anyio

RATE = 16_000
HELLO = "Hello there, my friend."
GOOD = speech(1.5, RATE)
LONG = speech(20.0, RATE)
SHORT = speech(0.1, RATE)
SILENT = AudioData.silence(1.5, RATE)
NOT_FINITE = AudioFormatError("samples hold NaN or infinity")

Take = Sequence[AudioData | Exception]


class TestSpeechGuardPromises(MiddlewareSuite):
    kinds = ("tts",)

    def middleware(self) -> SpeechGuardMiddleware:
        return SpeechGuardMiddleware(fastest=1e6, slack=60.0)


class Mouth:
    """TTS that says each time what it is given for that time, and keeps its seeds."""

    name = "mouth"
    model_loaded = True

    def __init__(self, *takes: Take) -> None:
        self._takes = iter(takes)
        self.seeds: list[Any] = []
        self.n_closed = 0

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        async with aclosing(self.stream(text, voice_config)) as chunks:
            return SynthesisResult(await anext(chunks), text, "alice")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        self.seeds.append((voice_config or {}).get("seed"))
        try:
            for chunk in next(self._takes):
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            self.n_closed += 1

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


async def once(guard: SpeechGuardMiddleware, mouth: Mouth, **config: Any) -> AudioData:
    result = await Chain(guard).wrap(mouth).synthesize(HELLO, config)
    assert result is not None
    return result.audio_data


async def stream(
    guard: SpeechGuardMiddleware, mouth: Mouth, got: list[AudioData], text: str = HELLO
) -> None:
    async for chunk in Chain(guard).wrap(mouth).stream(text, {}):
        got.append(chunk)  # noqa: PERF401 - what came before an error is wanted too


class TestOneShot:
    async def test_plausible_speech_is_left_alone(self) -> None:
        guard, mouth = SpeechGuardMiddleware(), Mouth([GOOD])
        assert await once(guard, mouth) == GOOD
        assert guard.statistics() == SpeechGuardStatistics(calls=1, rerolls=0, rejected=0)

    @pytest.mark.parametrize("bad", [LONG, SHORT, SILENT, NOT_FINITE])
    async def test_implausible_speech_is_made_once_more(self, bad: AudioData | Exception) -> None:
        guard, mouth = SpeechGuardMiddleware(), Mouth([bad], [GOOD])
        assert await once(guard, mouth) == GOOD
        assert guard.statistics() == SpeechGuardStatistics(calls=1, rerolls=1, rejected=0)

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (LONG, "over 7.6 s long, too long for its text"),
            (SHORT, "0.10 s long, too short for its text"),
            (SILENT, "all silence"),
            (NOT_FINITE, "unusable samples"),
            (AudioData(b"no audio at all", RATE, 1, "wav"), "unusable samples"),
        ],
    )
    async def test_after_that_it_is_an_error(self, bad: AudioData | Exception, reason: str) -> None:
        guard, mouth = SpeechGuardMiddleware(), Mouth([bad], [bad])
        with pytest.raises(ImplausibleSpeechError) as raised:
            await once(guard, mouth)
        assert raised.value.engine == "mouth"
        assert raised.value.request_id is not None
        assert raised.value.message == f"its speech is implausible: {reason}"
        assert HELLO not in str(raised.value)
        assert guard.statistics() == SpeechGuardStatistics(calls=1, rerolls=1, rejected=1)
        assert mouth.n_closed == 2

    @pytest.mark.parametrize(
        ("seed", "next_seed"), [(7, 8), (2**63 - 1, 1), (0, 0), (None, None), ("x", "x")]
    )
    async def test_another_seed_is_another_take(self, seed: Any, next_seed: Any) -> None:
        mouth = Mouth([SILENT], [GOOD])
        await once(SpeechGuardMiddleware(), mouth, seed=seed)
        assert mouth.seeds == [seed, next_seed]

    async def test_a_speed_factor_is_minded(self) -> None:
        fast = speech(0.4, RATE)
        assert await once(SpeechGuardMiddleware(), Mouth([fast]), speed_factor=2.0) == fast
        with pytest.raises(ImplausibleSpeechError):
            await once(SpeechGuardMiddleware(), Mouth([fast], [fast]), speed_factor="quick")

    async def test_it_is_not_made_again_when_the_deadline_has_passed(self) -> None:
        async def hurried(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
            context.deadline = anyio.current_time()
            async for result in call_next(context):
                yield result

        mouth = Mouth([SILENT], [GOOD])
        guarded = Chain(hurried, SpeechGuardMiddleware()).wrap(mouth)
        with pytest.raises(ImplausibleSpeechError):
            await guarded.synthesize(HELLO, {})
        assert len(mouth.seeds) == 1


class TestStreaming:
    async def test_plausible_speech_comes_chunk_by_chunk(self) -> None:
        chunks = [GOOD.sliced(n / 2, (n + 1) / 2) for n in range(3)]
        got: list[AudioData] = []
        await stream(SpeechGuardMiddleware(), Mouth(chunks), got)
        assert got == chunks

    async def test_the_silence_at_its_beginning_waits_for_the_first_sound(self) -> None:
        silence = AudioData.silence(0.2, RATE)
        got: list[AudioData] = []
        await stream(SpeechGuardMiddleware(), Mouth([silence, silence, GOOD]), got)
        assert got == [silence, silence, GOOD]

    @pytest.mark.parametrize("bad", [[SILENT], [AudioData.silence(20.0, RATE)], [NOT_FINITE], []])
    async def test_what_was_not_delivered_yet_is_made_once_more(self, bad: Take) -> None:
        guard, mouth = SpeechGuardMiddleware(), Mouth(bad, [GOOD])
        got: list[AudioData] = []
        await stream(guard, mouth, got)
        assert got == [GOOD]
        assert guard.statistics() == SpeechGuardStatistics(calls=1, rerolls=1, rejected=0)

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [(SILENT, "all silence"), (NOT_FINITE, "unusable samples")],
    )
    async def test_twice_nothing_is_an_error(self, bad: AudioData | Exception, reason: str) -> None:
        got: list[AudioData] = []
        with pytest.raises(ImplausibleSpeechError, match=reason):
            await stream(SpeechGuardMiddleware(), Mouth([bad], [bad]), got)
        assert got == []

    async def test_it_is_cut_off_where_it_becomes_too_long(self) -> None:
        second = speech(1.0, RATE)
        mouth = Mouth([second] * 100)
        got: list[AudioData] = []
        with pytest.raises(ImplausibleSpeechError, match="too long"):
            await stream(SpeechGuardMiddleware(), mouth, got)
        assert got == [second] * 7
        assert (len(mouth.seeds), mouth.n_closed) == (1, 1)

    async def test_a_chunk_that_is_not_finite_ends_it(self) -> None:
        got: list[AudioData] = []
        with pytest.raises(ImplausibleSpeechError, match="unusable samples") as raised:
            await stream(SpeechGuardMiddleware(), Mouth([GOOD, NOT_FINITE]), got)
        assert got == [GOOD]
        assert raised.value.__cause__ is NOT_FINITE

    async def test_at_its_end_it_may_be_too_short_or_noise(self) -> None:
        got: list[AudioData] = []
        with pytest.raises(ImplausibleSpeechError, match="too short"):
            await stream(SpeechGuardMiddleware(), Mouth([SHORT]), got)
        noise = np.random.default_rng(3).normal(scale=0.1, size=RATE)
        with pytest.raises(ImplausibleSpeechError, match="noise at its end"):
            await stream(
                SpeechGuardMiddleware(),
                Mouth([GOOD, AudioData.from_samples(noise, RATE)]),
                got,
            )

    async def test_nothing_for_a_text_without_words_is_plausible(self) -> None:
        got: list[AudioData] = []
        await stream(SpeechGuardMiddleware(), Mouth([]), got, text="...")
        await stream(SpeechGuardMiddleware(), Mouth([SILENT]), got, text="...")
        assert got == [SILENT]


async def test_a_clip_longer_than_a_second_is_heard_without_holding_up_others() -> None:
    text = " ".join([HELLO] * 10)
    long = speech(15.0, RATE)
    tts = Chain(SpeechGuardMiddleware()).wrap(Mouth([long]))
    n_turns = 0

    async def others() -> None:
        nonlocal n_turns
        while True:
            n_turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        await tts.synthesize(text, {})
        tasks.cancel_scope.cancel()
    assert n_turns >= 10  # the order within a turn is chance


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"slowest": 0.0}, "slowest is above 0 and below fastest"),
        ({"slowest": 40.0}, "not 40.0 of 35.0"),
        ({"slack": -1.0}, "slack is 0 s or more"),
        ({"max_noise": 0.0}, "max_noise is above 0"),
    ],
)
async def test_refuses_what_makes_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpeechGuardMiddleware(**wrong)
