"""How one call runs: order, exactly one result, and that nothing is ever left open."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_stts import request_scope
from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.middleware import (
    CallNext,
    Chain,
    Middleware,
    Observer,
    RequestContext,
    serve,
)
from realtime_stts.protocols import (
    ConversationContext,
    SynthesisResult,
    TranscriptionResult,
)

from .tools import Keeper

pytestmark = pytest.mark.anyio

CLIP = AudioData.silence(0.1, 16_000)


def said(text: str, *, partial: bool = False) -> TranscriptionResult:
    return TranscriptionResult(text, "en", [], partial=partial)


class Ears:
    """STT that says how many chunks it heard, and notes when its stream is closed."""

    model_loaded = True

    def __init__(self, *, fail_after: int | None = None) -> None:
        self.closed = 0
        self.languages: list[str | None] = []
        self._fail_after = fail_after

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        self.languages.append(language)
        if self._fail_after is not None:
            raise EngineError("ears", "deaf")
        return said("hello")

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        self.languages.append(language)
        heard = 0
        try:
            async for _ in audio:
                if heard == self._fail_after:
                    raise EngineError("ears", "deaf")
                heard += 1
                yield said(str(heard), partial=True)
            if heard == self._fail_after:
                raise EngineError("ears", "deaf")
            yield said(str(heard))
        finally:
            await anyio.lowlevel.checkpoint()  # closing an engine takes a moment
            self.closed += 1

    async def is_available(self) -> bool:
        return True


class Mouth:
    """TTS of whole clips only."""

    model_loaded = True

    def __init__(self) -> None:
        self.configs: list[dict[str, Any]] = []

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        self.configs.append(voice_config)
        return SynthesisResult(CLIP, text, "alice") if text else None

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class Brain:
    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        return f"you said {transcription.text}"

    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        yield "you said "
        yield transcription.text

    def set_response_mode(self, mode: str) -> None: ...

    def clear_history(self) -> None: ...


class Microphone:
    """Some chunks. No generator: nobody has to close it."""

    def __init__(self, chunks: int = 3) -> None:
        self._left = chunks

    def __aiter__(self) -> Microphone:
        return self

    async def __anext__(self) -> AudioData:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return CLIP


async def texts(results: AsyncGenerator[TranscriptionResult]) -> list[str]:
    async with aclosing(results):
        return [result.text async for result in results]


class Naive:
    """Forwards results the simple way, without closing what it iterates."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    async def __call__(
        self, context: RequestContext, call_next: CallNext
    ) -> AsyncGenerator[TranscriptionResult]:
        self._log.append(f"{self.name} in")
        try:
            async for result in call_next(context):
                yield replace(result, text=f"{self.name}({result.text})")
        finally:
            self._log.append(f"{self.name} out")


# -- what comes through ------------------------------------------------------------------


async def test_the_first_listed_is_outermost_in_both_kinds_of_call() -> None:
    log: list[str] = []
    stt = Chain(Naive("a", log), Naive("b", log)).wrap(Ears())
    assert (await stt.transcribe(CLIP)).text == "a(b(hello))"  # type: ignore[union-attr]
    assert log == ["a in", "b in", "b out", "a out"]
    assert await texts(stt.stream(Microphone(1))) == ["a(b(1))", "a(b(1))"]


async def test_results_are_forwarded_as_they_come_not_gathered() -> None:
    stt = Chain(Naive("a", [])).wrap(Ears())
    heard = 0

    async def counted() -> AsyncIterator[AudioData]:
        nonlocal heard
        async for chunk in Microphone(5):
            heard += 1
            yield chunk

    async with aclosing(stt.stream(counted())) as results:
        async for result in results:
            if result.partial:
                assert result.text == f"a({heard})"


async def test_every_kind_of_call_reaches_its_engine_with_what_it_was_given() -> None:
    keeper = Keeper()
    chain = Chain(keeper)
    ears, mouth, brain = Ears(), Mouth(), Brain()
    stt, tts, responder = chain.wrap(ears), chain.wrap(mouth), chain.wrap(brain)

    await stt.transcribe(CLIP, "de")
    assert (keeper.last.request_type, keeper.last.engine) == ("stt", "Ears")
    assert (keeper.last.input_data, keeper.last.config) == ({"audio": CLIP}, {"language": "de"})
    audio = Microphone()
    await texts(stt.stream(audio, "fr"))
    assert keeper.last.input_data == {"audio": audio}
    assert keeper.last.streaming
    assert ears.languages == ["de", "fr"]

    result = await tts.synthesize("hello", {"voice_id": "bob"})
    assert result is not None
    assert (result.text, mouth.configs) == ("hello", [{"voice_id": "bob"}])
    assert keeper.last.input_data == {"text": "hello"}

    turn, asked = ConversationContext(), said("why")
    assert await responder.generate_response(asked, turn) == "you said why"
    assert keeper.last.input_data == {"transcription": asked, "context": turn}
    async with aclosing(responder.stream_response(asked, turn)) as pieces:
        assert [piece async for piece in pieces] == ["you said ", "why"]
    assert (keeper.last.request_type, keeper.last.streaming) == ("response", True)


async def test_a_middleware_changes_the_call_but_not_the_callers_dictionary() -> None:
    async def whisper(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.input_data["text"] = context.input_data["text"].lower()
        context.config["volume"] = 0.1
        async for result in call_next(context):
            yield result

    mouth, mine = Mouth(), {"voice_id": "bob"}
    result = await Chain(whisper).wrap(mouth).synthesize("HELLO", mine)
    assert result is not None
    assert result.text == "hello"
    assert mouth.configs == [{"voice_id": "bob", "volume": 0.1}]
    assert mine == {"voice_id": "bob"}


async def test_a_middleware_may_replace_the_audio_of_a_stream() -> None:
    async def cut(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.input_data["audio"] = Microphone(1)
        async for result in call_next(context):
            yield result

    assert await texts(Chain(cut).wrap(Ears()).stream(Microphone(9))) == ["1", "1"]


async def test_a_middleware_may_answer_without_the_engine() -> None:
    async def known(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        yield said("known")

    ears = Ears()
    assert await Chain(known).wrap(ears).transcribe(CLIP) == said("known")
    assert ears.languages == []


@pytest.mark.parametrize("number", [0, 2])
async def test_a_one_shot_call_has_exactly_one_result(number: int) -> None:
    async def wrong(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async for result in call_next(context):
            for _ in range(number):
                yield result

    keeper = Keeper()
    with pytest.raises(RuntimeError, match=f"made {number} results of the one"):
        await Chain(keeper, wrong).wrap(Ears()).transcribe(CLIP)
    assert keeper.last.status == "error"


async def test_none_from_a_foreign_engine_is_an_engine_error() -> None:
    tts = Chain(Keeper()).wrap(Mouth())
    with request_scope(id="r1"), pytest.raises(EngineError, match=r"Mouth.*request r1"):
        await tts.synthesize("", {})


# -- how it ends -------------------------------------------------------------------------


async def test_the_context_says_how_the_call_went() -> None:
    keeper = Keeper()
    with request_scope(id="r7"):
        await Chain(keeper).wrap(Ears()).transcribe(CLIP)
        assert (keeper.last.request_id, keeper.last.status) == ("r7", "completed")
        with pytest.raises(EngineError) as failed:
            await Chain(keeper).wrap(Ears(fail_after=0)).transcribe(CLIP)
    assert failed.value.request_id == "r7"
    assert (keeper.last.status, keeper.last.error) == ("error", failed.value)
    ended = keeper.last.duration_ms
    assert keeper.last.duration_ms == ended


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_an_error_comes_after_the_results_before_it(before: int) -> None:
    keeper, ears = Keeper(), Ears(fail_after=before)
    async with aclosing(Chain(keeper).wrap(ears).stream(Microphone(3))) as results:
        for received in range(before):
            assert (await anext(results)).text == str(received + 1)
        with pytest.raises(EngineError, match="deaf"):
            await anext(results)
    assert (ears.closed, keeper.last.status) == (1, "error")


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
async def test_a_consumer_that_stops_early_closes_everything(taken: int) -> None:
    """Naive middleware leaves its generator open; the chain does not."""
    log: list[str] = []
    ears, keeper = Ears(), Keeper()
    stt = Chain(keeper, Naive("a", log), Naive("b", log)).wrap(ears)
    async with aclosing(stt.stream(Microphone(3))) as results:
        for _ in range(taken):
            await anext(results)
    assert ears.closed == (1 if taken else 0)
    assert log == (["a in", "b in", "a out", "b out"] if taken else [])
    if taken:
        assert keeper.last.status == "cancelled"
        assert isinstance(keeper.last.error, GeneratorExit)


async def test_a_middleware_that_fails_between_results_leaves_nothing_open() -> None:
    async def strict(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async for result in call_next(context):
            raise PermissionError(result.text)
            yield result

    log: list[str] = []
    ears = Ears()
    stt = Chain(Naive("a", log), strict, Naive("b", log)).wrap(ears)
    with pytest.raises(PermissionError, match=r"b\(1\)"):
        await texts(stt.stream(Microphone()))
    assert ears.closed == 1
    assert log == ["a in", "b in", "a out", "b out"]

    log.clear()
    with pytest.raises(PermissionError, match=r"b\(hello\)"):
        await stt.transcribe(CLIP)
    assert log == ["a in", "b in", "a out", "b out"]


async def test_a_middleware_that_wants_no_more_results_ends_the_call_well() -> None:
    async def first_only(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async for result in call_next(context):
            yield result
            return

    keeper, ears = Keeper(), Ears()
    assert await texts(Chain(keeper, first_only).wrap(ears).stream(Microphone())) == ["1"]
    assert (ears.closed, keeper.last.status) == (1, "completed")


async def test_all_is_closed_even_if_closing_one_fails() -> None:
    log: list[str] = []

    async def sore(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        try:
            async for result in call_next(context):
                yield result
        finally:
            raise LookupError("sore")

    ears, keeper = Ears(), Keeper()
    stt = Chain(keeper, sore, Naive("b", log)).wrap(ears)
    results = stt.stream(Microphone())
    await anext(results)
    with pytest.raises(LookupError, match="sore"):
        await results.aclose()
    assert ears.closed == 1
    assert log == ["b in", "b out"]
    assert isinstance(keeper.last.error, LookupError)


class Stuck:
    """An engine that waits at a chosen point of its stream."""

    model_loaded = True

    def __init__(self, results_before: int) -> None:
        self.waiting = anyio.Event()
        self.closed = False
        self._before = results_before

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        try:
            self.waiting.set()
            await anyio.sleep_forever()
            return None
        finally:
            self.closed = True

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        try:
            for number in range(self._before):
                yield said(str(number))
            self.waiting.set()
            await anyio.sleep_forever()
        finally:
            self.closed = True

    async def is_available(self) -> bool:
        return True


async def cancelled_while_waiting(engine: Stuck, call: Callable[[], Any]) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await engine.waiting.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_cancelling_a_stream_closes_everything(before: int) -> None:
    log: list[str] = []
    engine, keeper = Stuck(before), Keeper()
    stt = Chain(keeper, Naive("a", log)).wrap(engine)
    await cancelled_while_waiting(engine, lambda: texts(stt.stream(Microphone())))
    assert engine.closed
    assert log == ["a in", "a out"]
    assert keeper.last.status == "cancelled"


async def test_cancelling_a_one_shot_call_closes_everything() -> None:
    log: list[str] = []
    engine, keeper = Stuck(0), Keeper()
    stt = Chain(keeper, Naive("a", log)).wrap(engine)
    await cancelled_while_waiting(engine, lambda: stt.transcribe(CLIP))
    assert engine.closed
    assert log == ["a in", "a out"]
    assert keeper.last.status == "cancelled"


async def test_cancelling_a_consumer_between_results_closes_everything() -> None:
    ears, keeper, reading = Ears(), Keeper(), anyio.Event()

    async def read_one_and_wait() -> None:
        async with aclosing(Chain(keeper, Naive("a", [])).wrap(ears).stream(Microphone())) as read:
            await anext(read)
            reading.set()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_one_and_wait)
        await reading.wait()
        tasks.cancel_scope.cancel()
    assert keeper.last.status == "cancelled"
    assert all(getattr(results, "ag_frame", 0) is None for results in keeper.last._opened)


# -- whose time it is --------------------------------------------------------------------


async def test_engine_and_consumer_time_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("realtime_stts.middleware._call.perf_counter", lambda: now)

    class Slow(Ears):
        async def transcribe(
            self, audio: AudioData, language: str | None = None
        ) -> TranscriptionResult | None:
            nonlocal now
            now += 0.5
            return said("slow")

        async def stream(
            self, audio: AsyncIterable[AudioData], language: str | None = None
        ) -> AsyncGenerator[TranscriptionResult]:
            nonlocal now
            try:
                for number in range(3):
                    now += 1.0
                    yield said(str(number))
            finally:
                now += 0.25  # closing is the engine's time too

    keeper = Keeper()
    stt = Chain(keeper).wrap(Slow())
    await stt.transcribe(CLIP)
    assert (keeper.last.engine_time, keeper.last.consumer_time) == (0.5, 0.0)
    async with aclosing(stt.stream(Microphone())) as results:
        await anext(results)
        now += 10.0
        await anext(results)
        now += 10.0
    assert (keeper.last.engine_time, keeper.last.consumer_time) == (2.25, 20.0)


# -- the chain as a whole ----------------------------------------------------------------


class Watcher(Observer):
    """Notes what it sees; neighbours of its kind share one layer."""

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__(name)
        self._log = log

    def observe(self, context: RequestContext) -> Watcher:
        self._log.append(f"{self.name} in")
        return self

    def result(self, result: TranscriptionResult, /) -> None:
        self._log.append(f"{self.name} {result.text}")

    def end(self, error: BaseException | None, /) -> None:
        self._log.append(f"{self.name} out {type(error).__name__}")


class AloneWatcher(Watcher):
    """The same, kept from sharing a layer by having a call of its own."""

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        return super().__call__(context, call_next)


@given(kinds=st.lists(st.sampled_from(["watcher", "naive"]), max_size=6), data=st.data())
@settings(deadline=None, max_examples=60)
def test_sharing_a_layer_changes_nothing(kinds: list[str], data: st.DataObject) -> None:
    """An observer sees the same, whether or not it shares a layer."""
    fail_after = data.draw(st.none() | st.integers(0, 3))
    taken = data.draw(st.integers(0, 5))

    def seen(watcher: type[Watcher]) -> tuple[list[list[str]], list[str]]:
        logs: list[list[str]] = [[] for _ in kinds]
        layers: list[Middleware] = [
            watcher(str(n), log) if kind == "watcher" else Naive(str(n), log)
            for n, (kind, log) in enumerate(zip(kinds, logs, strict=True))
        ]
        stt = Chain(*layers).wrap(Ears(fail_after=fail_after))
        received: list[str] = []

        async def use() -> None:
            try:
                received.append(str(await stt.transcribe(CLIP)))
            except EngineError as exc:
                received.append(str(exc.message))
            async with aclosing(stt.stream(Microphone())) as results:
                try:
                    for _ in range(taken):
                        received.append(str(await anext(results)))  # noqa: PERF401
                except (EngineError, StopAsyncIteration) as exc:
                    received.append(type(exc).__name__)

        anyio.run(use)
        return logs, received

    assert seen(Watcher) == seen(AloneWatcher)


async def test_a_middleware_may_give_the_call_to_another_engine() -> None:
    spare = Mouth()

    async def fall_back(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async for result in serve(spare, context):
            yield result

    result = await Chain(fall_back).wrap(Mouth()).synthesize("hello", {"voice_id": "bob"})
    assert result is not None
    assert result.text == "hello"
    assert spare.configs == [{"voice_id": "bob"}]


async def test_an_engine_that_does_not_stream_serves_a_streaming_call_whole() -> None:
    context = RequestContext("1", "tts", input_data={"text": "hello"}, streaming=True)
    assert [chunk async for chunk in serve(Mouth(), context)] == [CLIP]
