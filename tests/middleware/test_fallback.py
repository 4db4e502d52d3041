"""Fallback: who serves, who is left out, and how the others come back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from math import inf, nan
from typing import Any

import anyio
import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import (
    EngineError,
    EngineRefusedError,
    ImplausibleSpeechError,
    OverloadedError,
)
from realtime_stts.middleware import (
    CallNext,
    Chain,
    FallbackMiddleware,
    Middleware,
    RequestContext,
    TimeoutMiddleware,
)
from realtime_stts.protocols import (
    ConversationContext,
    SynthesisResult,
    TranscriptionResult,
)
from realtime_stts.testing import FaultyResponseGenerator, FaultySTTEngine, FaultyTTSEngine
from realtime_stts.testing.suites import MiddlewareSuite

from .tools import Given, Keeper, results

pytestmark = pytest.mark.anyio

BROKEN = EngineError("engine", "broken")


def tone(seconds: float, rate: int, channels: int = 1) -> AudioData:
    wave = np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate) * 0.5
    return AudioData.from_samples(np.repeat(wave[:, np.newaxis], channels, axis=1), rate)


class Mouth:
    """TTS that works or not, as it is told: with ``broken`` an error, or a time to hang."""

    model_loaded = True

    def __init__(
        self,
        name: str = "mouth",
        *,
        broken: Exception | None = None,
        rate: int = 16_000,
        channels: int = 1,
    ) -> None:
        self.name, self.broken = name, broken
        self.hangs = 0.0  # s
        self.breaks_off = False
        self.texts: list[str] = []
        self.open = 0
        self._sound = tone(0.5, rate, channels)

    async def _begin(self, text: str) -> None:
        self.texts.append(text)
        await anyio.sleep(self.hangs)
        if self.broken is not None:
            raise self.broken

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        await self._begin(text)
        return SynthesisResult(self._sound, text, self.name)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        self.open += 1
        try:
            await self._begin(text)
            for n in range(5):
                yield self._sound.sliced(n * 0.1, (n + 1) * 0.1)
                if self.breaks_off:
                    raise EngineError(self.name, "broke off")
        finally:
            self.open -= 1

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class Ears:
    """STT that says how much it heard, unless it fails after so many chunks."""

    model_loaded = True

    def __init__(self, name: str, *, fail_after: float = inf) -> None:
        self.name, self.fail_after = name, fail_after
        self.heard: list[float] = []  # s, of each call

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        self.heard.append(audio.duration_seconds)
        if self.fail_after < inf:
            raise BROKEN
        return TranscriptionResult(self.name, "en", [])

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        self.heard.append(0.0)
        chunks = 0
        async for chunk in audio:
            self.heard[-1] += chunk.duration_seconds
            chunks += 1
            if chunks >= self.fail_after:
                raise BROKEN
        yield TranscriptionResult(f"{self.name} {chunks}", "en", [])

    async def is_available(self) -> bool:
        return True


class Brain:
    def __init__(self, name: str, broken: bool = False) -> None:
        self.name, self.broken = name, broken
        self.asked = 0

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        self.asked += 1
        if self.broken:
            raise BROKEN
        return self.name

    def set_response_mode(self, mode: str) -> None: ...

    def clear_history(self) -> None: ...


def speech(chunks: int) -> Given:
    return Given(*[AudioData.silence(0.1, 16_000)] * chunks, pauses=[0.1] * chunks)


async def served_by(tts: Any, text: str = "hi") -> str:
    return str((await tts.synthesize(text, {})).voice_id)


# -- who serves --------------------------------------------------------------------------


async def test_the_next_engine_serves_a_call_that_failed() -> None:
    keeper, second = Keeper(), Mouth("second")
    fallback = FallbackMiddleware(second, Mouth("third"))
    tts = Chain(keeper, fallback).wrap(Mouth("first", broken=BROKEN))
    assert await served_by(tts) == "second"
    assert keeper.contexts[-1].engine == "second"
    assert second.texts == ["hi"]
    statistics = fallback.statistics()
    assert statistics.served == {"first": 0, "second": 1, "third": 0}
    assert statistics.failed == {"first": 1, "second": 0, "third": 0}
    assert statistics.down == ("first",)


async def test_while_the_primary_works_nobody_else_is_asked() -> None:
    keeper, second = Keeper(), Mouth("second")
    tts = Chain(keeper, FallbackMiddleware(second)).wrap(Mouth("first"))
    assert await served_by(tts) == "first"
    assert len(await results(tts.stream("hi"))) == 5
    assert keeper.contexts[-1].engine == "first"
    assert second.texts == []


async def test_an_engine_standing_by_may_have_a_chain_of_its_own() -> None:
    inner = Keeper()
    second = Chain(inner).wrap(Mouth("second"))
    tts = Chain(FallbackMiddleware(second)).wrap(Mouth("first", broken=BROKEN))
    assert await served_by(tts) == "second"
    assert inner.contexts[-1].engine == "second"


async def test_streams_begin_again_with_the_next_and_the_failed_one_is_closed_first() -> None:
    first, second = Mouth("first", broken=BROKEN), Mouth("second")
    tts = Chain(FallbackMiddleware(second)).wrap(first)
    async with aclosing(tts.stream("hi")) as chunks:
        await anext(chunks)
        assert (first.open, second.open) == (0, 1)
    assert second.open == 0


async def test_a_result_that_was_delivered_is_never_replaced() -> None:
    first, second = Mouth("first"), Mouth("second")
    first.breaks_off = True
    fallback = FallbackMiddleware(second)
    async with aclosing(Chain(fallback).wrap(first).stream("hi")) as chunks:
        await anext(chunks)
        with pytest.raises(EngineError, match="broke off"):
            await anext(chunks)
    assert second.texts == []
    assert fallback.statistics().down == ("first",)


@pytest.mark.parametrize("error", [ValueError("blank"), RuntimeError("a bug")])
async def test_what_is_not_the_engines_fault_is_the_callers_to_know(error: Exception) -> None:
    second = Mouth("second")
    fallback = FallbackMiddleware(second)
    with pytest.raises(type(error)):
        await served_by(Chain(fallback).wrap(Mouth(broken=error)))
    assert second.texts == []
    assert fallback.statistics().down == ()


async def test_an_error_that_is_no_failure_after_a_result_changes_nothing_either() -> None:
    async def strict(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async for result in call_next(context):
            yield result
            raise ValueError("enough")

    fallback = FallbackMiddleware(Mouth("second"))
    with pytest.raises(ValueError, match="enough"):
        await results(Chain(fallback, strict).wrap(Mouth("first")).stream("hi"))
    assert fallback.statistics().down == ()


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError("busy"),
        EngineRefusedError("m", "not this"),
        ImplausibleSpeechError("m", "noise"),
    ],
)
async def test_another_engine_may_do_better_without_the_first_being_down(error: Exception) -> None:
    fallback = FallbackMiddleware(Mouth("second"))
    assert await served_by(Chain(fallback).wrap(Mouth(broken=error))) == "second"
    assert fallback.statistics().down == ()


async def test_which_errors_can_be_said() -> None:
    fallback = FallbackMiddleware(Mouth("second"), on=OSError)
    assert await served_by(Chain(fallback).wrap(Mouth(broken=OSError()))) == "second"
    with pytest.raises(EngineError):
        await served_by(
            Chain(FallbackMiddleware(Mouth("second"), on=OSError)).wrap(Mouth(broken=BROKEN))
        )


async def test_when_all_fail_the_last_failure_is_raised_with_those_before_it() -> None:
    one, two = EngineError("first", "a"), EngineError("second", "b")
    tts = Chain(FallbackMiddleware(Mouth(broken=two))).wrap(Mouth(broken=one))
    with pytest.raises(EngineError) as failed:
        await served_by(tts)
    assert failed.value is two
    assert two.__context__ is one


async def test_nobody_is_asked_past_the_deadline() -> None:
    async def late(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.deadline = anyio.current_time()
        async for result in call_next(context):
            yield result

    second = Mouth("second")
    with pytest.raises(EngineError):
        await served_by(Chain(late, FallbackMiddleware(second)).wrap(Mouth(broken=BROKEN)))
    assert second.texts == []


async def test_a_time_limit_inside_is_the_primarys_alone() -> None:
    first, second = Mouth("first"), Mouth("second")
    first.hangs = second.hangs = 5.0
    tts = Chain(FallbackMiddleware(second), TimeoutMiddleware(total=1.0)).wrap(first)
    assert await served_by(tts) == "second"


async def test_calls_of_another_kind_pass_by() -> None:
    stt = Chain(FallbackMiddleware(Mouth())).wrap(Ears("ears", fail_after=0))
    with pytest.raises(EngineError):
        await stt.transcribe(AudioData.silence(0.1, 16_000))


async def test_a_stream_without_results_is_no_failure() -> None:
    async def nothing(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        if False:
            yield

    second = Mouth("second")
    tts = Chain(FallbackMiddleware(second), nothing).wrap(Mouth("first"))
    assert await results(tts.stream("hi")) == []
    assert second.texts == []


# -- streams of audio --------------------------------------------------------------------


async def test_the_next_engine_hears_the_speech_from_its_beginning() -> None:
    fallback = FallbackMiddleware(Ears("second"))
    stt = Chain(fallback).wrap(Ears("first", fail_after=3))
    assert [each.text for each in await results(stt.stream(speech(5)))] == ["second 5"]


async def test_speech_that_was_too_long_to_keep_is_not_transcribed_in_part() -> None:
    second = Ears("second")
    stt = Chain(FallbackMiddleware(second, replay_seconds=0.25)).wrap(Ears("first", fail_after=3))
    with pytest.raises(EngineError):
        await results(stt.stream(speech(5)))
    assert second.heard == []


# -- sample rates ------------------------------------------------------------------------


async def test_the_listener_hears_one_rate_whoever_speaks() -> None:
    first = Mouth("first", rate=24_000)
    tts = Chain(FallbackMiddleware(Mouth("second", rate=16_000))).wrap(first)
    await served_by(tts)  # so that the primary's rate is known
    first.broken = BROKEN
    result = await tts.synthesize("hi", {})
    assert result is not None
    assert (result.voice_id, result.audio_data.sample_rate) == ("second", 24_000)
    assert result.audio_data.duration_seconds == pytest.approx(0.5, abs=0.01)
    spoken = AudioData.concat(await results(tts.stream("hi")))
    assert (spoken.sample_rate, spoken.channels) == (24_000, 1)
    assert spoken.duration_seconds == pytest.approx(0.5, abs=0.01)


async def test_the_rate_of_a_stream_is_learnt_too() -> None:
    first = Mouth("first", rate=8_000)
    tts = Chain(FallbackMiddleware(Mouth("second"))).wrap(first)
    await results(tts.stream("hi"))
    first.broken = BROKEN
    assert AudioData.concat(await results(tts.stream("hi"))).sample_rate == 8_000


async def test_the_rate_can_be_said_beforehand() -> None:
    fallback = FallbackMiddleware(Mouth("second"), sample_rate=48_000)
    tts = Chain(fallback).wrap(Mouth("first", broken=BROKEN))
    assert AudioData.concat(await results(tts.stream("hi"))).sample_rate == 48_000
    await anyio.sleep(60.0)
    tts = Chain(fallback).wrap(Mouth("first", rate=8_000))
    assert await served_by(tts) == "first"  # which is left as it is


async def test_as_long_as_it_is_not_known_nothing_is_converted() -> None:
    tts = Chain(FallbackMiddleware(Mouth("second"))).wrap(Mouth(broken=BROKEN))
    assert AudioData.concat(await results(tts.stream("hi"))).sample_rate == 16_000


async def test_what_has_the_rate_already_is_left_as_it_is() -> None:
    second = Mouth("second", rate=16_000, channels=2)
    fallback = FallbackMiddleware(second, sample_rate=16_000)
    spoken = await results(Chain(fallback).wrap(Mouth(broken=BROKEN)).stream("hi"))
    assert AudioData.concat(spoken) == tone(0.5, 16_000, channels=2)


async def test_a_converted_stream_never_changes_its_layout() -> None:
    second = Mouth("second", rate=44_100, channels=2)
    fallback = FallbackMiddleware(second, sample_rate=16_000)
    spoken = await results(Chain(fallback).wrap(Mouth(broken=BROKEN)).stream("hi"))
    assert {(each.sample_rate, each.channels, each.format) for each in spoken} == {
        (16_000, 1, "pcm")
    }
    assert all(each.data for each in spoken)


async def test_sound_too_short_to_convert_is_not_lost() -> None:
    second = Mouth("second", rate=48_000)
    second._sound = tone(0.001, 48_000)
    fallback = FallbackMiddleware(second, sample_rate=8_000)
    spoken = await results(Chain(fallback).wrap(Mouth(broken=BROKEN)).stream("hi"))
    assert AudioData.concat(spoken).duration_seconds == pytest.approx(0.001)
    second._sound = AudioData.silence(0.0, 48_000)
    assert await results(Chain(fallback).wrap(Mouth(broken=BROKEN)).stream("hi")) == []


# -- recovery by calls -------------------------------------------------------------------


async def test_an_engine_that_failed_is_left_out_for_a_while() -> None:
    first, second = Mouth("first", broken=BROKEN), Mouth("second")
    tts = Chain(FallbackMiddleware(second, recover_after=30.0)).wrap(first)
    await served_by(tts)
    first.broken = None
    await anyio.sleep(29.0)
    assert await served_by(tts) == "second"
    assert len(first.texts) == 1
    await anyio.sleep(1.0)
    assert await served_by(tts) == "first"
    assert await served_by(tts) == "first"


async def test_then_one_call_tries_it_while_others_go_on_with_the_next() -> None:
    first, second = Mouth("first", broken=BROKEN), Mouth("second")
    tts = Chain(FallbackMiddleware(second, recover_after=30.0)).wrap(first)
    await served_by(tts)
    await anyio.sleep(30.0)
    first.hangs = 5.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(served_by, tts, "the probe")
        await anyio.sleep(1.0)
        assert await served_by(tts, "another") == "second"
    assert first.texts == ["hi", "the probe"]
    assert second.texts == ["hi", "another", "the probe"]
    assert await served_by(tts) == "second"  # it has failed again


@pytest.mark.parametrize("wrong", [None, ValueError("blank")])
async def test_a_call_that_shows_nothing_lets_the_next_one_try(wrong: Exception | None) -> None:
    first, second = Mouth("first", broken=BROKEN), Mouth("second")
    tts = Chain(FallbackMiddleware(second, recover_after=30.0)).wrap(first)
    await served_by(tts)
    await anyio.sleep(30.0)
    first.broken, first.hangs = wrong, 5.0
    with anyio.move_on_after(1.0 if wrong is None else 60.0):
        if wrong is None:
            await served_by(tts)
        with pytest.raises(ValueError, match="blank"):
            await served_by(tts)
    first.broken, first.hangs = None, 0.0
    assert await served_by(tts) == "first"


async def test_a_call_that_hangs_does_not_keep_an_engine_out() -> None:
    first, second = Mouth("first", broken=BROKEN), Mouth("second")
    tts = Chain(FallbackMiddleware(second, recover_after=30.0)).wrap(first)
    await served_by(tts)
    await anyio.sleep(30.0)
    first.broken, first.hangs = None, inf
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(served_by, tts)
        await anyio.sleep(30.0)
        first.hangs = 0.0
        assert await served_by(tts) == "first"
        tasks.cancel_scope.cancel()


async def test_an_up_engine_that_is_cancelled_stays_what_it_is() -> None:
    first, fallback = Mouth("first"), FallbackMiddleware(Mouth("second"))
    first.hangs = 5.0
    with anyio.move_on_after(1.0):
        await served_by(Chain(fallback).wrap(first))
    assert fallback.statistics().down == ()


async def test_when_all_are_down_they_are_asked_anyway() -> None:
    first, second = Mouth("first", broken=BROKEN), Mouth("second", broken=BROKEN)
    fallback = FallbackMiddleware(second)
    tts = Chain(fallback).wrap(first)
    with pytest.raises(EngineError):
        await served_by(tts)
    assert fallback.statistics().down == ("first", "second")
    second.broken = None
    assert await served_by(tts) == "second"
    assert fallback.statistics().down == ("first",)
    second.broken, first.broken = BROKEN, None
    assert await served_by(tts) == "first"  # though it is left out: the only other one failed


# -- supervised recovery -----------------------------------------------------------------


async def test_in_the_background_no_call_has_to_try() -> None:
    first, second = Mouth("first", broken=BROKEN), Mouth("second")
    async with FallbackMiddleware(second, recover_after=30.0) as fallback:
        tts = Chain(fallback).wrap(first)
        await served_by(tts)
        await anyio.sleep(30.5)
        assert first.texts == ["hi", "ok"]  # a probe, which failed
        assert await served_by(tts) == "second"
        assert fallback.statistics().failed["first"] == 2
        first.broken = None
        await anyio.sleep(30.0)
        assert fallback.statistics().down == ()
        assert await served_by(tts) == "first"


async def test_streams_are_probed_as_streams() -> None:
    first = Mouth("first", broken=BROKEN)
    async with FallbackMiddleware(Mouth("second"), recover_after=30.0) as fallback:
        tts = Chain(fallback).wrap(first)
        await results(tts.stream("hi"))
        first.broken = None
        await anyio.sleep(31.0)
        assert (first.texts, first.open) == (["hi", "ok"], 0)
        assert fallback.statistics().down == ()


@pytest.mark.parametrize("streaming", [False, True])
async def test_ears_are_probed_with_silence(streaming: bool) -> None:
    first, second = Ears("first", fail_after=1), Ears("second", fail_after=1)
    async with FallbackMiddleware(second, recover_after=30.0) as fallback:
        stt = Chain(fallback).wrap(first)
        clip = AudioData.silence(0.1, 16_000)
        with pytest.raises(EngineError):
            await (results(stt.stream(speech(2))) if streaming else stt.transcribe(clip))
        first.fail_after = second.fail_after = inf
        await anyio.sleep(31.0)
        assert (first.heard, second.heard) == ([0.1, 0.5], [0.1, 0.5])
        assert fallback.statistics().down == ()


async def test_a_probe_that_hangs_has_failed_and_those_of_others_go_on() -> None:
    first, second = Mouth("first", broken=BROKEN), Mouth("second", broken=BROKEN)
    async with FallbackMiddleware(second, recover_after=30.0) as fallback:
        tts = Chain(fallback).wrap(first)
        with pytest.raises(EngineError):
            await served_by(tts)
        first.hangs, second.broken = inf, None
        await anyio.sleep(61.0)
        assert fallback.statistics().down == ("first",)


async def test_how_an_engine_is_probed_can_be_said() -> None:
    async def works(engine: Mouth) -> None:
        probed.append(engine)

    probed: list[Mouth] = []
    first, second = Mouth("first", broken=BROKEN), Mouth("second", broken=BROKEN)
    async with FallbackMiddleware(second, recover_after=30.0, probe=works) as fallback:
        with pytest.raises(EngineError):
            await served_by(Chain(fallback).wrap(first))
        await anyio.sleep(31.0)
        assert fallback.statistics().down == ("first",)
        assert probed == [second]
        assert first.texts == ["hi", "ok"]


async def test_a_call_of_last_resort_may_find_out_before_the_probe() -> None:
    first, second = Mouth("first", broken=BROKEN), Mouth("second", broken=BROKEN)
    async with FallbackMiddleware(second, recover_after=30.0) as fallback:
        tts = Chain(fallback).wrap(first)
        with pytest.raises(EngineError):
            await served_by(tts)
        first.broken = second.broken = None
        await anyio.sleep(10.0)
        assert await served_by(tts) == "first"
        await anyio.sleep(21.0)
        assert first.texts == ["hi", "hi"]
        assert second.texts == ["hi", "ok"]


async def test_responders_are_tried_by_calls_for_they_may_act() -> None:
    question, turn = TranscriptionResult("do it", "en", []), ConversationContext()
    first, second = Brain("first", broken=True), Brain("second")
    async with FallbackMiddleware(second, recover_after=30.0) as fallback:
        responder = Chain(fallback).wrap(first)
        assert await responder.generate_response(question, turn) == "second"
        first.broken = False
        await anyio.sleep(31.0)
        assert first.asked == 1
        assert await responder.generate_response(question, turn) == "first"


async def test_it_is_entered_once_at_a_time() -> None:
    fallback = FallbackMiddleware(Mouth())
    async with fallback:
        with pytest.raises(RuntimeError, match="entered already"):
            await fallback.__aenter__()
    async with fallback:
        pass


async def test_it_changes_nothing_of_how_the_block_ends() -> None:
    error = ValueError("the caller's")
    with pytest.raises(ValueError, match="the caller's") as raised:
        async with FallbackMiddleware(Mouth()):
            raise error
    assert raised.value is error
    with anyio.move_on_after(1.0) as scope:
        async with FallbackMiddleware(Mouth()):
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_who_is_down_is_still_known_when_it_is_entered_again() -> None:
    first = Mouth("first", broken=BROKEN)
    fallback = FallbackMiddleware(Mouth("second"), recover_after=30.0)
    tts = Chain(fallback).wrap(first)
    async with fallback:
        await anyio.sleep(1.0)
        await served_by(tts)
    first.broken = None
    assert await served_by(tts) == "second"
    async with fallback:
        await anyio.sleep(31.0)
        assert await served_by(tts) == "first"


# -- values ------------------------------------------------------------------------------


def test_it_needs_an_engine_to_fall_back_on() -> None:
    with pytest.raises(ValueError, match="at least one engine"):
        FallbackMiddleware()


@pytest.mark.parametrize("engines", [[object()], [Mouth(), Ears("ears")], [Mouth]])
def test_engines_are_all_of_one_kind(engines: list[object]) -> None:
    with pytest.raises(TypeError, match="a fallback's engines are all"):
        FallbackMiddleware(*engines)


@pytest.mark.parametrize(
    "wrong",
    [
        {"recover_after": 0.0},
        {"recover_after": inf},
        {"replay_seconds": nan},
        {"sample_rate": 3},
    ],
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        FallbackMiddleware(Mouth(), **wrong)


# -- the promises of any middleware --------------------------------------------------------


class TestFallbackPromisesForSTT(MiddlewareSuite):
    kinds = ("stt",)
    recovers = True

    def middleware(self) -> Middleware:
        return FallbackMiddleware(FaultySTTEngine(), recover_after=0.001)


class TestFallbackPromisesForTTS(MiddlewareSuite):
    kinds = ("tts",)
    recovers = True

    def middleware(self) -> Middleware:
        return FallbackMiddleware(FaultyTTSEngine(), recover_after=0.001)


class TestFallbackPromisesForResponders(MiddlewareSuite):
    kinds = ("response",)
    recovers = True

    def middleware(self) -> Middleware:
        return FallbackMiddleware(FaultyResponseGenerator(), recover_after=0.001)
