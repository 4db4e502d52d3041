"""Cache: the same answer to the same call, one call at a time, and never somebody else's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError, EngineTimeoutError
from realtime_stts.middleware import CacheMiddleware, CallNext, Chain, RequestContext
from realtime_stts.middleware.cache import _Entry, _size, _Store, cache_key
from realtime_stts.protocols import (
    SynthesisResult,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
)
from realtime_stts.testing import MiddlewareSuite, virtual_time

pytestmark = pytest.mark.anyio

CLIP = AudioData.silence(0.1, 16_000)


def sound(number: int, frames: int = 100) -> AudioData:
    return AudioData(bytes([number % 256, 0]) * frames, 16_000)


class Mouth:
    """A second for two chunks, which are different each time; fails if the text says so."""

    model_loaded = True

    def __init__(self, name: str = "mouth") -> None:
        self.name = name
        self.calls: list[str] = []
        self.speaking = self.most = 0

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        async with aclosing(self.stream(text, voice_config)) as chunks:
            audio = AudioData.concat([chunk async for chunk in chunks])
        return SynthesisResult(audio, text, "", 1.0)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        self.calls.append(text)
        number = len(self.calls)
        self.speaking += 1
        self.most = max(self.most, self.speaking)
        try:
            for _ in range(2):
                await anyio.sleep(0.5)
                if text.startswith("fail") and number <= int(text[4:]):
                    raise EngineError(self.name, f"hoarse {number}")
                yield sound(number, 50_000 if text == "long" else 100)
        finally:
            self.speaking -= 1

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class Ears:
    """Hears how many bytes there were."""

    model_loaded = True

    def __init__(self) -> None:
        self.calls = 0

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        self.calls += 1
        text = str(len(audio.data))
        return TranscriptionResult(
            text,
            "en",
            [TranscriptionSegment(text, 0.0, 1.0)],
            words=[TranscriptionWord(text, 0.0, 1.0)],
        )

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        self.calls += 1
        yield TranscriptionResult("heard", "en", [])

    async def is_available(self) -> bool:
        return True


class Watch:
    """What the cache noted of each call."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    async def __call__(
        self, context: RequestContext, call_next: CallNext, /
    ) -> AsyncGenerator[Any]:
        try:
            async with aclosing(call_next(context)) as results:
                async for result in results:
                    yield result
        finally:
            self.seen.append(context.metrics.get("cache"))


def numbers(cache: CacheMiddleware) -> tuple[int, int, int]:
    now = cache.statistics()
    return now.hits, now.joined, now.misses


async def streamed(tts: Any, text: str = "hello", **config: Any) -> list[AudioData]:
    async with aclosing(tts.stream(text, config)) as chunks:
        return [chunk async for chunk in chunks]


async def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each gave, or the error it raised."""
    answers: list[Any] = [None] * len(calls)

    async def ask(number: int) -> None:
        try:
            answers[number] = await calls[number]()
        except EngineError as error:
            answers[number] = error

    async with anyio.create_task_group() as tasks:
        for number in range(len(calls)):
            tasks.start_soon(ask, number)
            await anyio.sleep(0.01)
    return answers


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_bytes": 10, "max_entry_bytes": 11}, "max_entry_bytes"),
        ({"max_entry_bytes": 0}, "max_entry_bytes"),
        ({"ttl": 0.0}, "ttl"),
        ({"patience": -1.0}, "patience"),
        ({"request_types": ("response",)}, "request_types"),
        ({"request_types": "tts"}, "request_types"),
    ],
)
def test_impossible_caches_are_refused(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        CacheMiddleware(**wrong)


# -- the same call -----------------------------------------------------------------------


async def test_what_was_asked_before_is_not_computed_again() -> None:
    mouth, cache, watch = Mouth(), CacheMiddleware(), Watch()
    tts = Chain(watch, cache).wrap(mouth)
    first = await tts.synthesize("hello", {"voice_id": "bob"})
    began = anyio.current_time()
    assert await tts.synthesize("hello", {"voice_id": "bob"}) == first
    assert anyio.current_time() - began < 0.1
    assert await tts.synthesize("hello", {"voice_id": "ann"}) != first
    assert (watch.seen, mouth.calls) == (["miss", "hit", "miss"], ["hello"] * 2)
    assert numbers(cache) == (1, 0, 2)


async def test_a_stream_is_given_again_in_the_same_pieces() -> None:
    mouth, cache = Mouth(), CacheMiddleware()
    tts = Chain(cache).wrap(mouth)
    first = await streamed(tts)
    assert len(first) == 2
    assert await streamed(tts) == first
    await tts.synthesize("hello", {})  # a stream does not serve a call for the whole
    assert (len(mouth.calls), numbers(cache)) == (2, (1, 0, 2))


async def test_engines_do_not_answer_for_each_other() -> None:
    cache, mouths = CacheMiddleware(), [Mouth("one"), Mouth("two")]
    for mouth in mouths:
        await Chain(cache).wrap(mouth).synthesize("hello", {})
    assert [len(mouth.calls) for mouth in mouths] == [1, 1]


async def test_stt_is_cached_on_request_and_never_as_a_stream() -> None:
    async def chunks() -> AsyncGenerator[AudioData]:
        yield CLIP

    for request_types, calls in (((), 4), (("stt",), 3)):
        ears = Ears()
        stt = Chain(CacheMiddleware(request_types=request_types)).wrap(ears)
        for _ in range(2):
            await stt.transcribe(CLIP)
            async with aclosing(stt.stream(chunks())) as results:
                assert [result.text async for result in results] == ["heard"]
        assert ears.calls == calls


async def test_nobody_can_change_what_others_get() -> None:
    stt = Chain(CacheMiddleware(request_types=("stt",))).wrap(Ears())
    results = [await stt.transcribe(CLIP)]
    for _ in range(2):
        results[-1].segments.clear()
        results[-1].words.clear()
        results.append(await stt.transcribe(CLIP))
        assert (len(results[-1].segments), len(results[-1].words)) == (1, 1)


async def test_a_call_without_an_exact_key_goes_by() -> None:
    mouth, cache, watch = Mouth(), CacheMiddleware(), Watch()
    tts = Chain(watch, cache).wrap(mouth)
    for _ in range(2):
        await tts.synthesize("hello", {"hook": print})
    assert (len(mouth.calls), watch.seen, numbers(cache)) == (2, [None, None], (0, 0, 0))


async def test_the_key_may_be_ones_own() -> None:
    mouth = Mouth()
    cache = CacheMiddleware(key=lambda context: context.input_data["text"].lower() or None)
    tts = Chain(cache).wrap(mouth)
    for text in ("hello", "HELLO", "", ""):
        await tts.synthesize(text, {})
    assert mouth.calls == ["hello", "", ""]


# -- what is kept ------------------------------------------------------------------------


async def test_errors_are_not_kept() -> None:
    mouth, cache = Mouth(), CacheMiddleware()
    tts = Chain(cache).wrap(mouth)
    for number in (1, 2):
        with pytest.raises(EngineError, match=f"hoarse {number}"):
            await tts.synthesize("fail2", {})
    with pytest.raises(EngineError, match="hoarse 3"):
        await streamed(tts, "fail3")
    assert cache.statistics().entries == 0
    assert (await tts.synthesize("fail2", {})).text == "fail2"
    assert cache.statistics().entries == 1


@pytest.mark.parametrize("taken", [0, 1, 2])
async def test_a_stream_that_is_closed_early_is_not_kept(taken: int) -> None:
    mouth, cache = Mouth(), CacheMiddleware()
    tts = Chain(cache).wrap(mouth)
    async with aclosing(tts.stream("hello")) as chunks:
        for _ in range(taken):
            await anext(chunks)
    assert (cache.statistics().entries, mouth.speaking) == (0, 0)
    assert len(await streamed(tts)) == 2


async def test_a_replay_may_be_closed_early() -> None:
    tts = Chain(CacheMiddleware()).wrap(Mouth())
    first = await streamed(tts)
    async with aclosing(tts.stream("hello", {})) as chunks:
        assert await anext(chunks) == first[0]
    assert await streamed(tts) == first


async def test_a_cancelled_call_is_not_kept() -> None:
    cache = CacheMiddleware()
    tts = Chain(cache).wrap(Mouth())
    with anyio.move_on_after(0.7):
        await tts.synthesize("hello", {})
    assert cache.statistics().entries == 0


async def test_answers_that_are_too_long_are_not_kept() -> None:
    mouth, cache = Mouth(), CacheMiddleware(max_bytes=100_000, max_entry_bytes=10_000)
    tts = Chain(cache).wrap(mouth)
    for _ in range(2):
        assert sum(len(chunk.data) for chunk in await streamed(tts, "long")) == 200_000
        await tts.synthesize("long", {})
    assert (len(mouth.calls), cache.statistics().bytes) == (4, 0)


async def test_the_least_recently_used_makes_room() -> None:
    mouth, cache = Mouth(), CacheMiddleware(max_bytes=5_000, max_entry_bytes=5_000)
    tts = Chain(cache).wrap(mouth)
    for text in ("1", "2", "1", "3", "1", "2"):
        await tts.synthesize(text, {})
    now = cache.statistics()
    assert mouth.calls == ["1", "2", "3", "2"]
    assert (now.entries, now.evicted) == (2, 2)
    assert 800 < now.bytes <= 5_000


async def test_an_answer_grows_too_old() -> None:
    mouth, cache = Mouth(), CacheMiddleware(ttl=10.0)
    tts = Chain(cache).wrap(mouth)
    for wait in (0.0, 9.5, 1.0):
        await anyio.sleep(wait)
        await tts.synthesize("hello", {})
    assert (len(mouth.calls), numbers(cache)) == (2, (1, 0, 2))
    assert cache.statistics().evicted == 0


async def test_what_is_forgotten_is_computed_again_even_if_it_is_under_way() -> None:
    mouth, cache = Mouth(), CacheMiddleware()
    tts = Chain(cache).wrap(mouth)
    await tts.synthesize("before", {})

    async def forget() -> None:
        cache.clear()

    await at_once(lambda: tts.synthesize("meanwhile", {}), forget)
    assert (cache.statistics().entries, cache.statistics().evicted) == (0, 0)
    await tts.synthesize("before", {})
    await tts.synthesize("meanwhile", {})
    assert mouth.calls == ["before", "meanwhile"] * 2


async def test_what_was_forgotten_is_not_kept_of_a_stream_that_others_gave_up_on_either() -> None:
    cache = CacheMiddleware(patience=0.0)
    tts = Chain(cache).wrap(Mouth())
    async with aclosing(tts.stream("hello", {})) as slow:
        await anext(slow)
        await streamed(tts)
        cache.clear()
        assert len([chunk async for chunk in slow]) == 1
    assert cache.statistics().entries == 0


async def test_results_of_an_unknown_kind_are_not_kept_or_shared() -> None:
    async def foreign(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async with aclosing(call_next(context)) as results:
            async for result in results:
                yield {"audio": result}

    mouth, cache = Mouth(), CacheMiddleware()
    tts = Chain(cache, foreign).wrap(mouth)
    await at_once(*[lambda: tts.synthesize("hello", {})] * 3)
    assert (len(mouth.calls), cache.statistics().entries) == (3, 0)


async def test_a_call_with_too_many_results_is_not_kept() -> None:
    async def twice(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async with aclosing(call_next(context)) as results:
            async for result in results:
                yield result
                yield result

    cache = CacheMiddleware()
    with pytest.raises(RuntimeError, match="2 results"):
        await Chain(cache, twice).wrap(Mouth()).synthesize("hello", {})
    assert cache.statistics().entries == 0


# -- the same call at the same time ------------------------------------------------------


async def test_what_is_asked_twice_at_once_is_computed_once() -> None:
    mouth, cache, watch = Mouth(), CacheMiddleware(), Watch()
    tts = Chain(watch, cache).wrap(mouth)
    answers = await at_once(*[lambda: tts.synthesize("hello", {})] * 3)
    assert answers[0] == answers[1] == answers[2]
    assert len(mouth.calls) == 1
    assert sorted(map(str, watch.seen)) == ["joined", "joined", "miss"]
    assert numbers(cache) == (0, 2, 1)


async def test_a_long_answer_is_shared_even_if_it_is_not_kept() -> None:
    mouth, cache = Mouth(), CacheMiddleware(max_bytes=1_000)
    tts = Chain(cache).wrap(mouth)
    answers = await at_once(*[lambda: tts.synthesize("hello", {})] * 3)
    assert answers[0] == answers[1] == answers[2]
    assert (len(mouth.calls), cache.statistics().entries) == (1, 0)


async def test_an_error_belongs_to_its_own_call() -> None:
    """The next one asks the engine; the others wait for that."""
    mouth = Mouth()
    tts = Chain(CacheMiddleware()).wrap(mouth)
    answers = await at_once(*[lambda: tts.synthesize("fail1", {})] * 4)
    assert isinstance(answers[0], EngineError)
    assert answers[1] == answers[2] == answers[3]
    assert (answers[1].text, len(mouth.calls), mouth.most) == ("fail1", 2, 1)


async def test_if_all_fail_each_has_an_error_of_its_own() -> None:
    mouth = Mouth()
    tts = Chain(CacheMiddleware()).wrap(mouth)
    answers = await at_once(*[lambda: tts.synthesize("fail9", {})] * 3)
    assert sorted(error.message for error in answers) == ["hoarse 1", "hoarse 2", "hoarse 3"]
    assert mouth.most == 1


async def test_when_one_is_cancelled_another_takes_its_place() -> None:
    mouth = Mouth()
    tts = Chain(CacheMiddleware()).wrap(mouth)

    async def cancelled() -> None:
        with anyio.move_on_after(0.3):
            await tts.synthesize("hello", {})

    answers = await at_once(cancelled, *[lambda: tts.synthesize("hello", {})] * 3)
    assert answers[1] == answers[2] == answers[3] != None  # noqa: E711 - all of them
    assert (len(mouth.calls), mouth.most) == (2, 1)


async def test_one_who_waits_may_be_cancelled() -> None:
    mouth = Mouth()
    tts = Chain(CacheMiddleware()).wrap(mouth)

    async def cancelled() -> None:
        with anyio.move_on_after(0.3):
            await tts.synthesize("hello", {})

    call = lambda: tts.synthesize("hello", {})  # noqa: E731 - one of several
    answers = await at_once(call, cancelled, call)
    assert answers[0] == answers[2]
    assert len(mouth.calls) == 1


async def test_a_stream_is_shared_once_it_is_whole() -> None:
    mouth, cache = Mouth(), CacheMiddleware(patience=2.0)
    tts = Chain(cache).wrap(mouth)
    answers = await at_once(*[lambda: streamed(tts)] * 3)
    assert answers[0] == answers[1] == answers[2]
    assert (len(mouth.calls), numbers(cache)) == (1, (0, 2, 1))


async def test_a_stream_does_not_wait_for_a_slow_reader() -> None:
    mouth, cache = Mouth(), CacheMiddleware(patience=1.0)
    tts = Chain(cache).wrap(mouth)
    async with aclosing(tts.stream("hello", {})) as slow:
        await anext(slow)
        began = anyio.current_time()
        own = await streamed(tts)
        assert anyio.current_time() - began == pytest.approx(2.0)  # waits 1 s, takes 1 s
        assert await streamed(tts) == own  # the slow one is in nobody's way any more
        assert [chunk async for chunk in slow] != own
    assert (len(mouth.calls), cache.statistics().entries) == (2, 1)


async def test_a_stream_without_patience_asks_at_once() -> None:
    mouth = Mouth()
    tts = Chain(CacheMiddleware(patience=0.0)).wrap(mouth)
    await at_once(*[lambda: streamed(tts)] * 3)
    assert len(mouth.calls) == 3


async def test_nobody_waits_for_a_stream_that_has_become_too_long() -> None:
    mouth, cache = Mouth(), CacheMiddleware(max_bytes=10_000, patience=60.0)
    tts = Chain(cache).wrap(mouth)
    began = anyio.current_time()
    await at_once(*[lambda: streamed(tts, "long")] * 4)
    # All begin once the first chunk of the first has come, and not one after the other.
    assert anyio.current_time() - began == pytest.approx(1.5, abs=0.1)
    assert len(mouth.calls) == 4


async def test_a_stream_closed_early_lets_another_take_its_place() -> None:
    mouth = Mouth()
    tts = Chain(CacheMiddleware(patience=10.0)).wrap(mouth)

    async def impatient() -> None:
        async with aclosing(tts.stream("hello", {})) as chunks:
            await anext(chunks)

    answers = await at_once(impatient, *[lambda: streamed(tts)] * 2)
    assert answers[1] == answers[2]
    assert (len(mouth.calls), mouth.most) == (2, 1)


@pytest.mark.parametrize("streaming", [False, True])
async def test_nobody_waits_beyond_their_deadline(streaming: bool) -> None:
    async def hurry(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.deadline = anyio.current_time() + 0.3
        async with aclosing(call_next(context)) as results:
            async for result in results:
                yield result

    tts = Chain(CacheMiddleware()).wrap(Mouth())
    hurried = Chain(hurry).wrap(tts)
    ask = streamed if streaming else (lambda tts: tts.synthesize("hello", {}))
    answers = await at_once(lambda: ask(tts), lambda: ask(hurried))
    assert isinstance(answers[1], EngineTimeoutError)
    assert answers[1].seconds == pytest.approx(0.3)
    assert not isinstance(answers[0], EngineError)


async def test_who_wakes_late_finds_the_answer() -> None:
    """The next one to ask has already been answered by the time that others wake."""

    async def known(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        calls.append(context.config["n"])
        if len(calls) == 1:
            await anyio.sleep(1.0)
            raise EngineError("known", "not the first time")
        yield SynthesisResult(sound(len(calls)), "hello", "")

    calls: list[int] = []
    tts = Chain(CacheMiddleware(key=lambda context: "same"), known).wrap(Mouth())
    answers = await at_once(*[lambda n=n: tts.synthesize("hello", {"n": n}) for n in range(4)])
    assert isinstance(answers[0], EngineError)
    assert answers[1] == answers[2] == answers[3]
    assert len(calls) == 2


@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.2, 0.6, 1.5]),  # s after the one before
            st.sampled_from(["a", "fail1", "fail2"]),
            st.booleans(),
            st.sampled_from([None, 0.1, 0.7]),  # s after which it is withdrawn
        ),
        max_size=8,
    )
)
@settings(max_examples=60)
def test_every_call_is_answered_as_if_it_were_alone(
    calls: list[tuple[float, str, bool, float | None]],
) -> None:
    mouth, cache = Mouth(), CacheMiddleware(patience=100.0)
    tts = Chain(cache).wrap(mouth)
    running: dict[tuple[str, bool], int] = {}

    async def one(text: str, streaming: bool, withdrawn: float | None) -> None:
        with anyio.move_on_after(float("inf") if withdrawn is None else withdrawn):
            try:
                if streaming:
                    assert len(await streamed(tts, text)) == 2
                else:
                    assert (await tts.synthesize(text, {})).text == text
            except EngineError as error:
                assert text.startswith("fail")
                running[error.message, streaming] = running.get((error.message, streaming), 0) + 1

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for gap, *call in calls:
                await anyio.sleep(gap)
                tasks.start_soon(one, *call)

    backend, options = virtual_time()
    anyio.run(main, backend=backend, backend_options=options)
    assert mouth.speaking == 0
    assert mouth.most <= len({(text, streaming) for _, text, streaming, _ in calls})
    assert all(number == 1 for number in running.values())  # no error was inherited
    assert sum(numbers(cache)) >= len(calls) - sum(1 for call in calls if call[3] is not None)
    assert cache._flights == {}


# -- the store ---------------------------------------------------------------------------


class AnyUse(RuleBasedStateMachine):
    """The store against the plainest one that does the same."""

    max_bytes, ttl = 100, 10.0

    def __init__(self) -> None:
        super().__init__()
        self.store = _Store(self.max_bytes, self.ttl)
        self.model: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self.now = 0.0
        self.evicted = 0

    @rule(key=st.sampled_from("abcde"), size=st.integers(1, 100))
    def put(self, key: str, size: int) -> None:
        entry = _Entry((object(),), size, self.now)
        self.store[key] = entry
        while sum(each.size for name, each in self.model.items() if name != key) + size > 100:
            # One that is replaced goes like any other if it is its turn.
            self.model.popitem(last=False)
            self.evicted += 1
        self.model.pop(key, None)
        self.model[key] = entry

    @rule(key=st.sampled_from("abcde"))
    def find(self, key: str) -> None:
        entry = self.model.get(key)
        if entry is not None and self.now - entry.since >= self.ttl:
            del self.model[key]
            entry = None
        if entry is not None:
            self.model.move_to_end(key)
        assert self.store.find(key, self.now) is (entry and entry.results)

    @rule(seconds=st.sampled_from([0.5, 5.0, 10.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def clear(self) -> None:
        self.store.clear()
        self.model.clear()

    @invariant()
    def they_agree(self) -> None:
        assert set(self.store) == set(self.model)
        assert self.store.currsize == sum(entry.size for entry in self.model.values()) <= 100
        assert self.store.evicted == self.evicted


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=100, stateful_step_count=40)


@pytest.mark.parametrize(
    ("result", "at_least"),
    [
        (sound(1, 1000), 2000),
        (SynthesisResult(sound(1, 1000), "x" * 100, "bob"), 2400),
        (
            TranscriptionResult(
                "x" * 100, "en", [TranscriptionSegment("x" * 100, 0.0, 1.0)], committed="x" * 50
            ),
            1000,
        ),
    ],
)
def test_sizes_are_never_too_small(result: Any, at_least: int) -> None:
    size = _size(result)
    assert size is not None
    assert at_least < size < at_least + 1500


# -- keys --------------------------------------------------------------------------------


def key(text: Any = "hello", config: dict[str, Any] | None = None) -> bytes | None:
    return cache_key(RequestContext("1", "tts", input_data={"text": text}, config=config or {}))


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
configs = st.dictionaries(st.sampled_from(["voice_id", "seed", "speed_factor", "x"]), values)


@given(text=st.text(), config=configs)
def test_equal_calls_have_equal_keys(text: str, config: dict[str, Any]) -> None:
    backwards = dict(reversed([*deepcopy(config).items()]))
    assert key(text, config) == key(text[:], backwards) != None  # noqa: E711


@given(text=st.text(max_size=5), other=st.text(max_size=5), config=configs, changed=configs)
def test_any_change_is_another_key(
    text: str, other: str, config: dict[str, Any], changed: dict[str, Any]
) -> None:
    assert (key(text, config) == key(other, config)) == (text == other)
    if config != changed:
        assert key(text, config) != key(text, changed)


@given(text=st.text(max_size=5), config=configs, extra=scalars)
def test_voice_and_seed_count(text: str, config: dict[str, Any], extra: Any) -> None:
    for name in ("voice_id", "seed", "new"):
        without = {each: value for each, value in config.items() if each != name}
        assert key(text, without) != key(text, without | {name: extra})
        assert key(text, without | {name: [extra]}) != key(text, without | {name: extra})


def test_values_of_different_types_are_different() -> None:
    alike = [1, 1.0, True, "1", b"1", [1], (1,), None, "None", {"1": 1}, Path("1")]
    alike += [np.float32(1), np.float64(1), np.int16(1), np.array([1]), np.array([[1]]), 2**15_000]
    keys = [key(config={"x": value}) for value in alike]
    assert len({*keys}) == len(alike)
    assert None not in keys


def test_audio_is_known_by_what_is_in_it() -> None:
    clip = sound(1)
    others = [
        sound(2),
        replace(clip, sample_rate=24_000),
        replace(clip, channels=2),
        replace(clip, format="pcm_s16le"),
    ]

    def heard(audio: AudioData) -> bytes | None:
        return cache_key(RequestContext("1", "stt", input_data={"audio": audio}))

    assert heard(clip) == heard(sound(1))
    assert len({heard(each) for each in (clip, *others)}) == 5
    assert key(config={"voice": clip}) == key(config={"voice": sound(1)})
    assert key(config={"voice": clip}) != key(config={"voice": sound(2)})


def test_what_cannot_be_told_apart_exactly_has_no_key() -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"x": deep}
    objects = [object(), print, {1, 2}, {1: 2}, np.array([object()]), np.zeros(2, "f4,i4")]
    for value in (endless, deep, *objects, np.zeros(1, "f4,i4")[0]):
        assert key(config={"x": value}) is None
    assert key(text=object()) is None


class TestCachePromises(MiddlewareSuite):
    kinds = ("stt", "tts")

    def middleware(self) -> CacheMiddleware:
        return CacheMiddleware(request_types=("stt", "tts"))
