"""A chain is a value, and what it wraps is an engine of the same Protocols."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any

import pytest
from typing_extensions import Self

from realtime_stts import middleware, request_scope
from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.middleware import CallNext, Chain, ContextMiddleware, RequestContext
from realtime_stts.protocols import (
    ConversationContext,
    Lifecycle,
    ManagedSTTEngine,
    ManagedTTSEngine,
    ResponseGenerator,
    StreamingResponseGenerator,
    StreamingSTTEngine,
    StreamingTTSEngine,
    STTEngine,
    SynthesisResult,
    TranscriptionResult,
    TTSEngine,
)

CLIP = AudioData.silence(0.1, 16_000)
HELLO = TranscriptionResult("hello", "en", [])


class Ears:
    """STT of whole clips."""

    name = "ears"
    model_loaded = False
    sensitivity = 0.5

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult | None:
        return HELLO

    async def is_available(self) -> bool:
        return True


class QuickEars(Ears):
    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        yield HELLO


class Mouth:
    """TTS of whole clips; it has no name of its own."""

    model_loaded = True

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        return SynthesisResult(CLIP, text, "alice")

    async def list_voices(self) -> list[dict[str, Any]]:
        return [{"id": "alice", "name": "Alice", "language": "en"}]


class QuickMouth(Mouth):
    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        yield CLIP


class Brain:
    mode = "echo"
    cleared = False

    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        return transcription.text

    def set_response_mode(self, mode: str) -> None:
        self.mode = mode

    def clear_history(self) -> None:
        self.cleared = True


class QuickBrain(Brain):
    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        yield transcription.text


class Loadable:
    """A life cycle that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def load(self) -> None:
        self.asked.append("load")

    async def unload(self) -> None:
        self.asked.append("unload")

    async def warmup(self) -> None:
        self.asked.append("warmup")

    async def __aenter__(self) -> Self:
        self.asked.append("enter")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self.asked.append(f"exit {exc!r}")
        return isinstance(exc, LookupError)


class LoadableEars(Loadable, Ears): ...


class LoadableQuickEars(Loadable, QuickEars): ...


class LoadableMouth(Loadable, Mouth): ...


class LoadableQuickMouth(Loadable, QuickMouth): ...


class LoadableBrain(Loadable, Brain): ...


class LoadableQuickBrain(Loadable, QuickBrain): ...


async def through(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
    async for result in call_next(context):
        yield result


class Mark:
    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async for result in call_next(context):
            yield replace(result, text=f"{self.name}({result.text})")


# -- a value -----------------------------------------------------------------------------


def test_chains_add_up_and_stay_as_they_are() -> None:
    a, b, c = Mark("a"), Mark("b"), Mark("c")
    one, two = Chain(a), Chain(b, c)
    both = one + two
    assert both == one.then(b, c) == Chain(a, b, c)
    assert hash(both) == hash(Chain(a, b, c))
    assert both != two
    assert both != (a, b, c)
    assert (list(one), list(both), len(both), len(Chain())) == ([a], [a, b, c], 3, 0)


def test_only_chains_can_be_added() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        Chain() + [through]  # type: ignore[operator]  # noqa: RUF005


def test_layers_are_called_by_their_name_function_or_class() -> None:
    class Nameless(Mark):
        def __init__(self) -> None:
            super().__init__("")

    chain = Chain(Mark("a"), through, Nameless())
    assert chain.names == ("a", "through", "Nameless")
    assert repr(chain) == "Chain(a, through, Nameless)"


async def forgot_to_yield(context: RequestContext, call_next: CallNext) -> None: ...


class ForgotToYield:
    async def __call__(self, context: RequestContext, call_next: CallNext) -> None: ...


class Processor:
    async def process(self, context: RequestContext, next_middleware: Any) -> RequestContext:
        return await next_middleware(context)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("middleware", "message"),
    [
        pytest.param(Mark, "Mark is a class: give the chain an instance", id="a class"),
        pytest.param(Processor(), "goes into a ContextMiddleware", id="the contract's form"),
        pytest.param(forgot_to_yield, "forgot_to_yield is a coroutine function", id="a function"),
        pytest.param(ForgotToYield(), "ForgotToYield is a coroutine", id="an object"),
    ],
)
def test_what_is_no_middleware_is_refused_at_once(middleware: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Chain(through, middleware)
    assert len(Chain(ContextMiddleware(Processor()))) == 1


# -- an engine of the same kind ----------------------------------------------------------

PROTOCOLS = (
    STTEngine,
    StreamingSTTEngine,
    ManagedSTTEngine,
    TTSEngine,
    StreamingTTSEngine,
    ManagedTTSEngine,
    ResponseGenerator,
    StreamingResponseGenerator,
    Lifecycle,
)
ENGINES = [
    Ears,
    QuickEars,
    LoadableEars,
    LoadableQuickEars,
    Mouth,
    QuickMouth,
    LoadableMouth,
    LoadableQuickMouth,
    Brain,
    QuickBrain,
    LoadableBrain,
    LoadableQuickBrain,
]


@pytest.mark.parametrize("chain", [Chain(), Chain(through), Chain(through, through)], ids=len)
@pytest.mark.parametrize("kind", ENGINES)
def test_a_wrapped_engine_is_of_the_same_protocols(kind: type[Any], chain: Chain) -> None:
    engine = kind()
    once = chain.wrap(engine)
    twice = Chain(through).wrap(once)
    expected = [isinstance(engine, protocol) for protocol in PROTOCOLS]
    assert any(expected)
    assert [isinstance(once, protocol) for protocol in PROTOCOLS] == expected
    assert [isinstance(twice, protocol) for protocol in PROTOCOLS] == expected


class EarsAndMouth(Ears, Mouth): ...


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        pytest.param(object(), "object is none of them", id="no engine"),
        pytest.param(Ears, "type is none of them", id="a class"),
        pytest.param(EarsAndMouth(), "EarsAndMouth is STTEngine and TTSEngine", id="two kinds"),
    ],
)
def test_what_is_no_engine_is_refused(thing: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Chain().wrap(thing)


@pytest.mark.anyio
async def test_wrapping_again_adds_layers_outside() -> None:
    inner = Chain(Mark("b"), Mark("c")).wrap(QuickEars())
    outer = Chain(Mark("a")).wrap(inner)
    result = await outer.transcribe(CLIP)
    assert result is not None
    assert result.text == "a(b(c(hello)))"
    assert await inner.transcribe(CLIP) == replace(HELLO, text="b(c(hello))")
    assert repr(outer).startswith("Chain(a, b, c).wrap(<")


@pytest.mark.anyio
async def test_what_is_no_call_goes_straight_to_the_engine() -> None:
    ears, mouth, brain = Ears(), Mouth(), Brain()
    chain = Chain(through)
    stt, tts, responder = chain.wrap(ears), chain.wrap(mouth), chain.wrap(brain)
    assert stt.sensitivity == 0.5  # type: ignore[attr-defined]
    assert await stt.is_available()
    assert not stt.model_loaded
    ears.model_loaded = True
    assert stt.model_loaded
    assert (await tts.list_voices())[0]["id"] == "alice"
    assert tts.model_loaded
    responder.set_response_mode("template")
    responder.clear_history()
    assert (brain.mode, brain.cleared) == ("template", True)


def test_a_wrapped_engine_keeps_its_name_and_has_nothing_the_engine_lacks() -> None:
    stt, tts = Chain(through).wrap(Ears()), Chain(through).wrap(Mouth())
    assert (stt.name, tts.name) == ("ears", "Mouth")  # type: ignore[attr-defined]
    for wrapped in (stt, tts):
        assert not hasattr(wrapped, "stream")
        assert not hasattr(wrapped, "load")
    with pytest.raises(AttributeError, match="no_such_thing"):
        stt.no_such_thing  # type: ignore[attr-defined]  # noqa: B018


def test_a_wrapped_engine_can_be_copied() -> None:
    stt = Chain(through).wrap(Ears())
    assert copy.copy(stt).name == "ears"  # type: ignore[attr-defined]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [each for each in ENGINES if issubclass(each, Loadable)])
async def test_the_life_cycle_is_the_engines(kind: type[Any]) -> None:
    engine = kind()
    wrapped = Chain(through).wrap(engine)
    async with wrapped as entered:
        assert entered is wrapped  # not the bare engine, past the chain
        await wrapped.load()
        await wrapped.warmup()
        await wrapped.unload()
    assert engine.asked == ["enter", "load", "warmup", "unload", "exit None"]
    with pytest.raises(ValueError, match="mine"):
        async with wrapped:
            raise ValueError("mine")
    async with wrapped:
        raise LookupError("the engine swallows this one")


@pytest.mark.anyio
async def test_every_call_goes_down_the_chain() -> None:
    seen: list[tuple[str, bool]] = []

    async def note(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        seen.append((context.request_type, context.streaming))
        async for result in call_next(context):
            yield result

    async def chunks() -> AsyncGenerator[AudioData]:
        yield CLIP

    chain = Chain(note)
    stt, tts, responder = (
        chain.wrap(QuickEars()),
        chain.wrap(QuickMouth()),
        chain.wrap(QuickBrain()),
    )
    turn = ConversationContext()
    assert await stt.transcribe(CLIP) == HELLO
    async with aclosing(stt.stream(chunks())) as transcriptions:
        assert [each async for each in transcriptions] == [HELLO]
    assert await tts.synthesize("hi", {}) == SynthesisResult(CLIP, "hi", "alice")
    async with aclosing(tts.stream("hi")) as audio:
        assert [each async for each in audio] == [CLIP]
    assert await responder.generate_response(HELLO, turn) == "hello"
    async with aclosing(responder.stream_response(HELLO, turn)) as pieces:
        assert [each async for each in pieces] == ["hello"]
    assert seen == [(kind, way) for kind in ("stt", "tts", "response") for way in (False, True)]


def test_the_package_lists_its_names_before_it_imports_them() -> None:
    assert {*middleware.__all__} <= {*dir(middleware)}
    assert middleware._MODULES.keys() == {*middleware.__all__}
    with pytest.raises(AttributeError, match="NoMiddleware"):
        middleware.NoMiddleware  # noqa: B018


@pytest.mark.anyio
async def test_a_call_knows_its_session_but_not_the_token() -> None:
    seen: list[RequestContext] = []

    async def note(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        seen.append(context)
        async for result in call_next(context):
            yield result

    tts = Chain(note).wrap(QuickMouth())
    with request_scope(id="r-1", session_id="s-1", token="secret"):
        await tts.synthesize("hi", {})
        async with aclosing(tts.stream("hi")) as chunks:
            assert [each async for each in chunks] == [CLIP]
    await tts.synthesize("hi", {})
    assert [each.session_id for each in seen] == ["s-1", "s-1", None]
    assert [each.request_id for each in seen[:2]] == ["r-1", "r-1"]
    assert "secret" not in repr(seen)


@pytest.mark.anyio
async def test_without_layers_a_call_is_the_engines_own_and_none_is_still_a_failure() -> None:
    class Mute(QuickMouth):
        async def synthesize(self, text: str, voice_config: dict[str, Any]) -> Any:
            return None

    stt, tts, responder = (Chain().wrap(each()) for each in (QuickEars, QuickMouth, QuickBrain))
    turn = ConversationContext()
    assert await stt.transcribe(CLIP) == HELLO
    assert await tts.synthesize("hi", {}) == SynthesisResult(CLIP, "hi", "alice")
    assert await responder.generate_response(HELLO, turn) == "hello"
    async with aclosing(tts.stream("hi")) as chunks:
        assert [each async for each in chunks] == [CLIP]
    async with aclosing(responder.stream_response(HELLO, turn)) as pieces:
        assert [each async for each in pieces] == ["hello"]
    with pytest.raises(EngineError, match="returned None"):
        await Chain().wrap(Mute()).synthesize("hi", {})
