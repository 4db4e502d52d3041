"""Retries: which, how often, after what pause, and on whose account."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import aclosing
from math import inf, nan
from typing import Any

import anyio
import pytest
import stamina
import stamina.instrumentation
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.audio import AudioData
from realtime_stts.errors import (
    CircuitOpenError,
    EngineCrashedError,
    EngineError,
    EngineLoadError,
    EngineMemoryError,
    EngineRefusedError,
    EngineTimeoutError,
    ImplausibleSpeechError,
    OverloadedError,
)
from realtime_stts.middleware import (
    CallNext,
    Chain,
    Middleware,
    RequestContext,
    RetryBudget,
    RetryMiddleware,
    TimeoutMiddleware,
)
from realtime_stts.protocols import (
    ConversationContext,
    SynthesisResult,
    TranscriptionResult,
)
from realtime_stts.testing.suites import MiddlewareSuite

from .tools import Keeper, results

pytestmark = pytest.mark.anyio

CLIP = AudioData.silence(0.1, 16_000)


def broken(message: str = "dumb") -> EngineError:
    return EngineError("mouth", message)


class Mouth:
    """TTS whose first calls fail."""

    model_loaded = True
    name = "mouth"

    def __init__(self, *failures: Exception, takes: float = 0.0) -> None:
        self._failures, self._takes = [*failures], takes
        self.configs: list[dict[str, Any]] = []
        self.asked: list[float] = []  # when
        self.closed = 0

    async def _begin(self, config: dict[str, Any]) -> None:
        self.configs.append(dict(config))
        self.asked.append(anyio.current_time())
        await anyio.sleep(self._takes)
        if self._failures:
            raise self._failures.pop(0)

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        await self._begin(voice_config)
        return SynthesisResult(CLIP, text, "alice")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        try:
            await self._begin(voice_config or {})
            yield CLIP
            yield CLIP
            if text == "break":
                raise broken("it broke off")
        finally:
            self.closed += 1

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class Ears:
    """STT that says how much it heard, unless it fails after so many chunks."""

    model_loaded = True

    def __init__(self, *fail_after: float) -> None:
        self._fail_after = [*fail_after]

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        raise NotImplementedError

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        fail_after = self._fail_after.pop(0) if self._fail_after else None
        heard = b""
        async for chunk in audio:
            heard += chunk.data[:1]
            if len(heard) == fail_after:
                raise EngineCrashedError("ears", "deaf")
        yield TranscriptionResult(heard.hex(), "en", [])

    async def is_available(self) -> bool:
        return True


class CancelsItsReader(Ears):
    """Fails after so many seconds, which cancels its waiting for more to hear."""

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        fail_after = self._fail_after.pop(0) if self._fail_after else inf
        with anyio.move_on_after(fail_after):
            heard = [chunk async for chunk in audio]
            result = TranscriptionResult(str(len(heard)), "en", [])
        if fail_after < inf:
            raise EngineCrashedError("ears", "deaf")
        yield result


class Brain:
    def __init__(self) -> None:
        self.asked = 0

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        self.asked += 1
        if self.asked == 1:
            raise broken()
        return "done"

    def set_response_mode(self, mode: str) -> None: ...

    def clear_history(self) -> None: ...


async def speech(chunks: int, pause: float = 0.1) -> AsyncGenerator[AudioData]:
    for number in range(chunks):
        await anyio.sleep(pause)
        yield AudioData(bytes([number, 0]) * 1600, 16_000)


async def heard(stt: Any, chunks: int, pause: float = 0.1) -> list[str]:
    """What is written of some speech, which nobody else closes."""
    async with aclosing(speech(chunks, pause)) as audio:
        return [result.text for result in await results(stt.stream(audio))]


# -- when it helps -----------------------------------------------------------------------


async def test_a_call_that_fails_by_chance_is_made_again() -> None:
    keeper, retry = Keeper(), RetryMiddleware()
    tts = Chain(keeper, retry).wrap(Mouth(broken(), broken()))
    assert await tts.synthesize("hi", {})
    await tts.synthesize("hi", {})
    assert keeper.attempts == [3, 1]
    statistics = retry.statistics()
    assert (statistics.calls, statistics.retries, statistics.recovered) == (2, 2, 1)


async def test_a_stream_is_begun_again_before_its_first_result() -> None:
    mouth = Mouth(broken())
    assert await results(Chain(RetryMiddleware()).wrap(mouth).stream("hi")) == [CLIP, CLIP]
    assert mouth.closed == 2


async def test_but_never_after_it() -> None:
    mouth = Mouth()
    async with aclosing(Chain(RetryMiddleware()).wrap(mouth).stream("break")) as chunks:
        assert [await anext(chunks), await anext(chunks)] == [CLIP, CLIP]
        with pytest.raises(EngineError, match="broke off"):
            await anext(chunks)
    assert len(mouth.asked) == 1


async def test_a_stream_without_results_is_no_failure() -> None:
    async def nothing(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        if False:
            yield

    assert await results(Chain(RetryMiddleware(), nothing).wrap(Mouth()).stream("hi")) == []


async def test_a_listener_who_leaves_closes_the_engine() -> None:
    mouth = Mouth(broken())
    async with aclosing(Chain(RetryMiddleware()).wrap(mouth).stream("hi")) as chunks:
        await anext(chunks)
    assert mouth.closed == 2


async def test_each_attempt_is_given_what_the_call_was() -> None:
    async def louder(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.config["volume"] = context.config["volume"] * 2
        async for result in call_next(context):
            yield result

    mouth = Mouth(broken())
    await Chain(RetryMiddleware(), louder).wrap(mouth).synthesize("hi", {"volume": 1})
    assert mouth.configs == [{"volume": 2}, {"volume": 2}]


# -- pauses ------------------------------------------------------------------------------


async def test_pauses_double_up_to_the_longest() -> None:
    mouth = Mouth(*[broken()] * 5)
    retry = RetryMiddleware(attempts=6, wait_initial=1.0, wait_max=5.0, wait_jitter=0.0)
    await Chain(retry).wrap(mouth).synthesize("hi", {})
    pauses = [b - a for a, b in zip(mouth.asked, mouth.asked[1:], strict=False)]
    assert pauses == pytest.approx([1.0, 2.0, 4.0, 5.0, 5.0])


async def test_any_number_of_attempts_may_be_made() -> None:
    mouth = Mouth(*[broken()] * 1100)  # the pause before the last one has no float, unlimited
    retry = RetryMiddleware(attempts=1200, wait_max=1.0, budget=None)
    assert await Chain(retry).wrap(mouth).synthesize("hi", {})


async def test_pauses_are_a_little_different_each_time() -> None:
    mouth = Mouth(*[broken()] * 2)
    retry = RetryMiddleware(wait_initial=1.0, wait_jitter=0.5)
    await Chain(retry).wrap(mouth).synthesize("hi", {})
    first, second = (b - a for a, b in zip(mouth.asked, mouth.asked[1:], strict=False))
    assert 1.0 <= first <= 1.5
    assert 2.0 <= second <= 2.5


async def test_a_caller_may_cancel_during_a_pause() -> None:
    mouth = Mouth(broken())
    tts = Chain(RetryMiddleware(wait_initial=4.0)).wrap(mouth)
    with anyio.move_on_after(1.0) as scope:
        await tts.synthesize("hi", {})
    assert scope.cancelled_caught
    assert len(mouth.asked) == 1


# -- giving up ---------------------------------------------------------------------------


async def test_the_last_failure_is_raised_with_those_before_it() -> None:
    mouth, keeper = Mouth(*(broken(str(n)) for n in range(3))), Keeper()
    with pytest.raises(EngineError, match="2") as failed:
        await Chain(keeper, RetryMiddleware()).wrap(mouth).synthesize("hi", {})
    assert keeper.attempts == [3]
    before = failed.value.__context__
    assert isinstance(before, EngineError)
    assert isinstance(before.__context__, EngineError)
    assert (before.message, before.__context__.message) == ("1", "0")


@pytest.mark.parametrize(
    "error",
    [
        CircuitOpenError("mouth", 1.0),
        EngineLoadError("mouth", "no model"),
        EngineMemoryError("mouth", "too big"),
        EngineRefusedError("mouth", "not this text"),
        ImplausibleSpeechError("mouth", "too long"),
        OverloadedError("busy", retry_after=1.0),
        ValueError("blank"),
        RuntimeError("a bug"),
    ],
)
async def test_some_failures_are_not_worth_it(error: Exception) -> None:
    mouth = Mouth(error)
    with pytest.raises(type(error)):
        await Chain(RetryMiddleware()).wrap(mouth).synthesize("hi", {})
    assert len(mouth.asked) == 1


@pytest.mark.parametrize(
    "error", [broken(), EngineCrashedError("mouth", "gone"), EngineTimeoutError("mouth", 1.0)]
)
async def test_others_are(error: Exception) -> None:
    assert await Chain(RetryMiddleware()).wrap(Mouth(error)).synthesize("hi", {})


async def test_a_second_failure_of_another_kind_ends_it() -> None:
    mouth = Mouth(broken(), ValueError("blank"))
    with pytest.raises(ValueError, match="blank"):
        await Chain(RetryMiddleware()).wrap(mouth).synthesize("hi", {})
    assert len(mouth.asked) == 2


async def test_which_failures_can_be_said() -> None:
    tts = Chain(RetryMiddleware(on=OSError)).wrap(Mouth(OSError()))
    assert await tts.synthesize("hi", {})
    with pytest.raises(EngineError):
        await Chain(RetryMiddleware(on=OSError)).wrap(Mouth(broken())).synthesize("hi", {})


@pytest.mark.parametrize(("total", "attempts"), [(1.0, 1), (1.1, 2), (3.1, 3)])
async def test_no_pause_goes_beyond_the_deadline(total: float, attempts: int) -> None:
    mouth = Mouth(*[broken()] * 3)
    retry = RetryMiddleware(wait_initial=1.0, wait_jitter=0.0)
    with pytest.raises(EngineError, match="dumb"):
        await Chain(TimeoutMiddleware(total=total), retry).wrap(mouth).synthesize("hi", {})
    assert len(mouth.asked) == attempts


async def test_each_attempt_has_a_time_limit_inside_to_itself() -> None:
    mouth = Mouth(takes=9.0)
    tts = Chain(RetryMiddleware(), TimeoutMiddleware(total=1.0)).wrap(mouth)
    with pytest.raises(EngineTimeoutError):
        await tts.synthesize("hi", {})
    assert len(mouth.asked) == 3


async def test_responses_are_not_repeated_unless_asked_for() -> None:
    question, turn = TranscriptionResult("do it", "en", []), ConversationContext()
    brain, keeper = Brain(), Keeper()
    with pytest.raises(EngineError):
        await Chain(keeper, RetryMiddleware()).wrap(brain).generate_response(question, turn)
    assert keeper.attempts == [None]
    retry = RetryMiddleware(request_types=["response"])
    assert await Chain(retry).wrap(Brain()).generate_response(question, turn) == "done"


# -- streams of audio --------------------------------------------------------------------


async def test_the_next_attempt_hears_the_speech_from_its_beginning() -> None:
    stt = Chain(RetryMiddleware()).wrap(Ears(3, 1))
    assert await heard(stt, 5) == ["0001020304"]


async def test_speech_that_was_too_long_to_keep_is_not_transcribed_in_part() -> None:
    retry = RetryMiddleware(replay_seconds=0.25)
    assert len(await heard(Chain(retry).wrap(Ears(2)), 5)) == 1
    with pytest.raises(EngineCrashedError):
        await heard(Chain(retry).wrap(Ears(3)), 5)
    assert retry.statistics().retries == 1


async def test_speech_that_an_attempt_took_with_it_is_not_either() -> None:
    retry = RetryMiddleware()
    stt = Chain(retry).wrap(CancelsItsReader(1.5))
    with pytest.raises(EngineCrashedError, match="deaf"):
        await heard(stt, 5, pause=1.0)
    assert retry.statistics().retries == 0


async def test_nor_if_this_shows_only_when_the_rest_is_asked_for() -> None:
    class Around:
        def __init__(self, chunks: AsyncGenerator[AudioData]) -> None:
            self._chunks = chunks

        def __aiter__(self) -> Around:
            return self

        async def __anext__(self) -> AudioData:
            return await anext(self._chunks)

    retry = RetryMiddleware()
    stt = Chain(retry).wrap(CancelsItsReader(1.5))
    with pytest.raises(EngineCrashedError, match="deaf"):
        async with aclosing(speech(5, pause=1.0)) as audio:
            await results(stt.stream(Around(audio)))
    assert retry.statistics().retries == 1


# -- the budget --------------------------------------------------------------------------


async def test_a_broken_engine_is_not_asked_three_times_by_everybody() -> None:
    retry = RetryMiddleware(budget=RetryBudget(ratio=0.25, reserve=2.0))
    mouth = Mouth(*[broken()] * 100)
    tts = Chain(retry).wrap(mouth)
    for _ in range(20):
        with pytest.raises(EngineError):
            await tts.synthesize("hi", {})
    # The reserve, less the first call's share that it had no room for, and the shares.
    assert len(mouth.asked) == 20 + 2 + 4
    statistics = retry.statistics()
    assert statistics.retries == 6
    assert statistics.refused == 19  # all but the first call, which had the reserve


async def test_without_a_budget_every_call_may_have_all_attempts() -> None:
    mouth = Mouth(*[broken()] * 60)
    tts = Chain(RetryMiddleware(budget=None)).wrap(mouth)
    for _ in range(20):
        with pytest.raises(EngineError):
            await tts.synthesize("hi", {})
    assert len(mouth.asked) == 60


def test_a_budget_is_ones_own_unless_it_is_shared() -> None:
    shared = RetryBudget()
    assert RetryMiddleware().budget is not RetryMiddleware().budget
    assert RetryMiddleware(budget=shared).budget is shared


@given(
    ratio=st.floats(0.0, 1.0),
    reserve=st.floats(0.0, 20.0),
    calls=st.lists(st.integers(0, 5), max_size=60),  # retries that each would like
)
def test_retries_are_never_more_than_the_reserve_and_the_shares(
    ratio: float, reserve: float, calls: list[int]
) -> None:
    budget, spent = RetryBudget(ratio, reserve), 0
    assert budget.balance == reserve
    for number, wanted in enumerate(calls, start=1):
        budget.earn()
        spent += sum(budget.spend() for _ in range(wanted))
        assert 0.0 <= budget.balance <= reserve
        assert spent <= reserve + ratio * number + 1e-6


@given(st.integers(1, 50))
def test_shares_that_make_a_retry_give_one(n: int) -> None:
    budget = RetryBudget(1.0 / n, reserve=1.0)
    assert budget.spend()
    for _ in range(n):
        assert not budget.spend()
        budget.earn()
    assert budget.spend()


@pytest.mark.parametrize(
    "wrong", [{"ratio": -0.1}, {"ratio": 1.1}, {"ratio": nan}, {"reserve": -1.0}, {"reserve": inf}]
)
def test_a_budget_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not"):
        RetryBudget(**wrong)


# -- what stamina is told ----------------------------------------------------------------


@pytest.fixture
def told() -> Iterator[list[stamina.instrumentation.RetryDetails]]:
    details: list[stamina.instrumentation.RetryDetails] = []
    stamina.instrumentation.set_on_retry_hooks([lambda each: details.append(each)])
    yield details
    stamina.instrumentation.set_on_retry_hooks(None)


async def test_hooks_are_told_each_retry_and_nothing_of_what_was_said(
    told: list[stamina.instrumentation.RetryDetails],
) -> None:
    retry = RetryMiddleware(wait_jitter=0.0)
    secret = EngineCrashedError("mouth", "cannot say 'my secret'")
    await Chain(retry).wrap(Mouth(secret, broken())).synthesize("my secret", {})
    assert [each.retry_num for each in told] == [1, 2]
    assert [each.wait_for for each in told] == pytest.approx([0.1, 0.2])
    caused_by = told[0].caused_by
    assert repr(caused_by) == "EngineCrashedError()"
    assert type(caused_by).__module__ == "realtime_stts.errors"
    assert (caused_by.__cause__, caused_by.__context__) == (None, None)
    assert "secret" not in repr(told)


async def test_no_log_quotes_the_failure(caplog: pytest.LogCaptureFixture) -> None:
    stamina.instrumentation.set_on_retry_hooks([stamina.instrumentation.LoggingOnRetryHook])
    try:
        with caplog.at_level(logging.DEBUG):
            await Chain(RetryMiddleware()).wrap(Mouth(broken("secret"))).synthesize("secret", {})
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    assert [record.message for record in caplog.records] == ["stamina.retry_scheduled"]
    assert all("secret" not in str(vars(record)) for record in caplog.records)


async def test_staminas_switches_work() -> None:
    mouth = Mouth(*[broken()] * 9)
    tts = Chain(RetryMiddleware(wait_initial=4.0)).wrap(mouth)
    stamina.set_active(False)
    try:
        with pytest.raises(EngineError):
            await tts.synthesize("hi", {})
    finally:
        stamina.set_active(True)
    assert len(mouth.asked) == 1
    begun = anyio.current_time()
    with stamina.set_testing(True, attempts=2), pytest.raises(EngineError):
        await tts.synthesize("hi", {})
    assert (len(mouth.asked), anyio.current_time() - begun) == (3, 0.0)


# -- values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"wait_initial": -1.0},
        {"wait_max": inf},
        {"wait_jitter": nan},
        {"replay_seconds": -1.0},
        {"request_types": ["sst"]},
        {"request_types": "stt"},
    ],
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        RetryMiddleware(**wrong)


class TestRetryPromises(MiddlewareSuite):
    kinds = ("stt", "tts")
    max_calls = 3
    recovers = True

    def middleware(self) -> Middleware:
        return RetryMiddleware(wait_initial=0.1, budget=None)
