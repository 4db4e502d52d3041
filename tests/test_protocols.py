"""The contract: its names, fields, defaults and signatures, and engines of either side.

`CONTRACT` and the classes below it are written from the contract's own text, not from
this library's code, so that a change on our side fails here.
"""

from __future__ import annotations

import inspect
import json
import time
from abc import abstractmethod
from dataclasses import MISSING, FrozenInstanceError, fields, is_dataclass
from importlib import import_module
from typing import Any, Protocol, get_type_hints, runtime_checkable

import pytest

import realtime_stts
from realtime_stts import protocols
from realtime_stts.audio import AudioData
from realtime_stts.errors import MissingExtraError
from realtime_stts.protocols import (
    ConversationContext,
    ConversationEvent,
    ConversationState,
    SynthesisResult,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
)

AUDIO = AudioData(b"", 16_000)
REQUIRED = object()

# Class -> field, type and default, in order.  Ours may add fields after these.
VALUES: dict[str, list[tuple[str, Any, Any]]] = {
    "AudioData": [
        ("data", bytes, REQUIRED),
        ("sample_rate", int, REQUIRED),
        ("channels", int, 1),
        ("format", str, "pcm"),
    ],
    "TranscriptionSegment": [
        ("text", str, REQUIRED),
        ("start", float, REQUIRED),
        ("end", float, REQUIRED),
        ("confidence", float | None, None),
    ],
    "TranscriptionResult": [
        ("text", str, REQUIRED),
        ("language", str, REQUIRED),
        ("segments", list[TranscriptionSegment], REQUIRED),
        ("confidence", float | None, None),
        ("partial", bool, False),
    ],
    "SynthesisResult": [
        ("audio_data", AudioData, REQUIRED),
        ("text", str, REQUIRED),
        ("voice_id", str, REQUIRED),
        ("synthesis_time", float | None, None),
    ],
    "ConversationContext": [
        ("audio_input", AudioData | None, None),
        ("transcription", TranscriptionResult | None, None),
        ("response_text", str | None, None),
        ("synthesis_result", SynthesisResult | None, None),
        ("state", ConversationState, ConversationState.LISTENING),
        ("metadata", dict[str, Any], None),
        ("user_data", dict[str, Any], None),
        ("error", Exception | None, None),
    ],
}

Json = dict[str, Any]

# Protocol -> method: (async?, parameters, what it returns).
METHODS: dict[str, dict[str, tuple[bool, list[tuple[str, Any, Any]], Any]]] = {
    "STTEngine": {
        "transcribe": (
            True,
            [("audio", AudioData, REQUIRED), ("language", str | None, None)],
            TranscriptionResult | None,
        ),
        "is_available": (True, [], bool),
    },
    "TTSEngine": {
        "synthesize": (
            True,
            [("text", str, REQUIRED), ("voice_config", Json, REQUIRED)],
            SynthesisResult | None,
        ),
        "list_voices": (True, [], list[Json]),
    },
    "PauseDetector": {
        "process_chunk": (True, [("audio", AudioData, REQUIRED)], Json),
        "reset": (False, [], type(None)),
    },
    "ResponseGenerator": {
        "generate_response": (
            True,
            [
                ("transcription", TranscriptionResult, REQUIRED),
                ("context", ConversationContext, REQUIRED),
            ],
            str,
        ),
        "set_response_mode": (False, [("mode", str, REQUIRED)], type(None)),
        "clear_history": (False, [], type(None)),
    },
    "WebSocketAdapter": {
        "accept_connection": (True, [], type(None)),
        "receive_audio": (True, [], AudioData | None),
        "receive_command": (True, [], Json | None),
        "send_json": (True, [("data", Json, REQUIRED)], type(None)),
        "send_audio": (True, [("audio", AudioData, REQUIRED)], type(None)),
        "close": (True, [("code", int, 1000)], type(None)),
    },
    "ConversationMiddleware": {
        "process": (
            True,
            [("context", ConversationContext, REQUIRED), ("next_middleware", ..., REQUIRED)],
            ConversationContext,
        ),
    },
    "ConfigurationProvider": {
        name: (False, [], Json)
        for name in (
            "get_stt_config",
            "get_tts_config",
            "get_conversation_config",
            "get_pause_detection_config",
            "get_audio_config",
        )
    },
    "EventHandler": {
        "handle": (True, [("event", ConversationEvent, REQUIRED)], type(None)),
    },
    "EventBus": {
        "publish": (True, [("event", ConversationEvent, REQUIRED)], type(None)),
        "subscribe": (
            False,
            [("event_type", str, REQUIRED), ("handler", protocols.EventHandler, REQUIRED)],
            type(None),
        ),
        "unsubscribe": (
            False,
            [("event_type", str, REQUIRED), ("handler", protocols.EventHandler, REQUIRED)],
            type(None),
        ),
    },
}

PROPERTIES = {
    "STTEngine": ["model_loaded"],
    "TTSEngine": ["model_loaded"],
    "PauseDetector": ["is_speaking"],
    "WebSocketAdapter": ["is_connected"],
}


# -- names, fields, signatures -----------------------------------------------------------


def test_every_name_of_the_contract_is_exported() -> None:
    names = {*VALUES, *METHODS, "ConversationState", "ConversationEvent"}
    assert names <= {*protocols.__all__}
    assert names <= {*realtime_stts.__all__}
    for name in names:
        assert getattr(realtime_stts, name) is getattr(protocols, name)


@pytest.mark.parametrize("name", VALUES)
def test_values_have_the_fields_of_the_contract(name: str) -> None:
    value = getattr(protocols, name)
    assert is_dataclass(value)
    hints = get_type_hints(value)
    ours = [
        (field.name, hints[field.name], REQUIRED if field.default is MISSING else field.default)
        for field in fields(value)
    ]
    assert ours[: len(VALUES[name])] == VALUES[name]
    for field in fields(value)[len(VALUES[name]) :]:  # what is added may be left out
        assert (field.default, field.default_factory) != (MISSING, MISSING)


@pytest.mark.parametrize(
    ("protocol", "method"), [(name, method) for name in METHODS for method in METHODS[name]]
)
def test_methods_have_the_signatures_of_the_contract(protocol: str, method: str) -> None:
    is_async, expected, returned = METHODS[protocol][method]
    function = inspect.getattr_static(getattr(protocols, protocol), method)
    assert inspect.iscoroutinefunction(function) is is_async
    hints = get_type_hints(function)
    first, *rest = inspect.signature(function).parameters.values()
    assert first.name == "self"
    assert [
        (p.name, REQUIRED if p.default is inspect.Parameter.empty else p.default) for p in rest
    ] == [(name, default) for name, _, default in expected]
    assert all(p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for p in rest)
    for name, type_, _ in expected:
        assert type_ in (..., hints[name])
    assert hints["return"] == returned


@pytest.mark.parametrize("protocol", METHODS)
def test_a_protocol_asks_for_no_more_than_the_contract(protocol: str) -> None:
    ours = {name for name in vars(getattr(protocols, protocol)) if not name.startswith("_")}
    assert ours == {*METHODS[protocol], *PROPERTIES.get(protocol, [])}
    for name in PROPERTIES.get(protocol, []):
        member = inspect.getattr_static(getattr(protocols, protocol), name)
        assert get_type_hints(member.fget)["return"] is bool


# -- the Protocols of the contract, and classes that know nothing else -------------------


class Original:
    """The contract's Protocols: runtime-checkable, every member abstract."""

    @runtime_checkable
    class STTEngine(Protocol):
        @abstractmethod
        async def transcribe(self, audio: Any, language: str | None = None) -> Any: ...
        @abstractmethod
        async def is_available(self) -> bool: ...
        @property
        @abstractmethod
        def model_loaded(self) -> bool: ...

    @runtime_checkable
    class TTSEngine(Protocol):
        @abstractmethod
        async def synthesize(self, text: str, voice_config: dict[str, Any]) -> Any: ...
        @abstractmethod
        async def list_voices(self) -> list[dict[str, Any]]: ...
        @property
        @abstractmethod
        def model_loaded(self) -> bool: ...

    @runtime_checkable
    class PauseDetector(Protocol):
        @abstractmethod
        async def process_chunk(self, audio: Any) -> dict[str, Any]: ...
        @abstractmethod
        def reset(self) -> None: ...
        @property
        @abstractmethod
        def is_speaking(self) -> bool: ...

    @runtime_checkable
    class ResponseGenerator(Protocol):
        @abstractmethod
        async def generate_response(self, transcription: Any, context: Any) -> str: ...
        @abstractmethod
        def set_response_mode(self, mode: str) -> None: ...
        @abstractmethod
        def clear_history(self) -> None: ...

    @runtime_checkable
    class WebSocketAdapter(Protocol):
        @abstractmethod
        async def accept_connection(self) -> None: ...
        @abstractmethod
        async def receive_audio(self) -> Any: ...
        @abstractmethod
        async def receive_command(self) -> dict[str, Any] | None: ...
        @abstractmethod
        async def send_json(self, data: dict[str, Any]) -> None: ...
        @abstractmethod
        async def send_audio(self, audio: Any) -> None: ...
        @abstractmethod
        async def close(self, code: int = 1000) -> None: ...
        @property
        @abstractmethod
        def is_connected(self) -> bool: ...

    @runtime_checkable
    class ConversationMiddleware(Protocol):
        @abstractmethod
        async def process(self, context: Any, next_middleware: Any) -> Any: ...

    @runtime_checkable
    class ConfigurationProvider(Protocol):
        @abstractmethod
        def get_stt_config(self) -> dict[str, Any]: ...
        @abstractmethod
        def get_tts_config(self) -> dict[str, Any]: ...
        @abstractmethod
        def get_conversation_config(self) -> dict[str, Any]: ...
        @abstractmethod
        def get_pause_detection_config(self) -> dict[str, Any]: ...
        @abstractmethod
        def get_audio_config(self) -> dict[str, Any]: ...

    @runtime_checkable
    class EventHandler(Protocol):
        @abstractmethod
        async def handle(self, event: Any) -> None: ...

    @runtime_checkable
    class EventBus(Protocol):
        @abstractmethod
        async def publish(self, event: Any) -> None: ...
        @abstractmethod
        def subscribe(self, event_type: str, handler: Any) -> None: ...
        @abstractmethod
        def unsubscribe(self, event_type: str, handler: Any) -> None: ...


def written_for(protocol: str, *, without: str | None = None) -> object:
    """An object with the members that the contract's text names, and no others."""
    members: dict[str, Any] = {}
    for name, (is_async, _, _) in METHODS[protocol].items():
        members[name] = _asynchronous if is_async else _synchronous
    for name in PROPERTIES.get(protocol, []):
        members[name] = property(lambda self: True)
    members.pop(without, None)  # type: ignore[arg-type]
    return type(f"Foreign{protocol}", (), members)()


async def _asynchronous(self: object, *arguments: object) -> None:
    return None


def _synchronous(self: object, *arguments: object) -> None:
    return None


@pytest.mark.parametrize("protocol", METHODS)
def test_what_is_written_for_the_contract_fits_ours(protocol: str) -> None:
    assert isinstance(written_for(protocol), getattr(Original, protocol))
    assert isinstance(written_for(protocol), getattr(protocols, protocol))


@pytest.mark.parametrize(
    ("protocol", "member"),
    [
        (protocol, member)
        for protocol in METHODS
        for member in (*METHODS[protocol], *PROPERTIES.get(protocol, []))
    ],
)
def test_what_lacks_a_member_fits_neither(protocol: str, member: str) -> None:
    assert not isinstance(written_for(protocol, without=member), getattr(Original, protocol))
    assert not isinstance(written_for(protocol, without=member), getattr(protocols, protocol))


OURS = [
    ("STTEngine", "engines.pocketsphinx.PocketSphinxSTTEngine"),
    ("STTEngine", "testing.ScriptedSTTEngine"),
    ("TTSEngine", "engines.espeak.ESpeakTTSEngine"),
    ("TTSEngine", "testing.ScriptedTTSEngine"),
    ("PauseDetector", "engines.energy.EnergyPauseDetector"),
    ("PauseDetector", "engines.silero.SileroPauseDetector"),
    ("PauseDetector", "engines.webrtc.WebRTCPauseDetector"),
    ("PauseDetector", "testing.ScriptedPauseDetector"),
    ("ResponseGenerator", "conversation.EchoResponseGenerator"),
    ("ResponseGenerator", "conversation.TemplateResponseGenerator"),
    ("EventBus", "conversation._bus.InProcessEventBus"),
]


@pytest.mark.parametrize(("protocol", "name"), OURS)
def test_ours_fit_the_protocols_of_the_contract(protocol: str, name: str) -> None:
    module, _, class_name = name.rpartition(".")
    try:
        made = getattr(import_module(f"realtime_stts.{module}"), class_name)
    except MissingExtraError as exc:
        pytest.skip(str(exc))
    ours = made([]) if class_name == "ScriptedSTTEngine" else made()
    assert isinstance(ours, getattr(Original, protocol))
    assert isinstance(ours, getattr(protocols, protocol))


# -- the values --------------------------------------------------------------------------


def test_states_are_their_own_words() -> None:
    assert [state.value for state in ConversationState] == [
        "listening", "processing", "speaking", "error",
    ]  # fmt: skip
    for state in ConversationState:
        assert state == state.value
        assert f"{state}" == str(state) == state.value  # on every version of Python
        assert json.dumps({"state": state}) == json.dumps({"state": state.value})
        assert ConversationState(state.value) is state
        assert ConversationState[state.name] is state
        assert state.name == state.value.upper()


def test_a_transcription_lasts_from_its_first_segment_to_its_last() -> None:
    segments = [TranscriptionSegment("a", 1.5, 2.0), TranscriptionSegment("b", 2.5, 4.0)]
    assert TranscriptionResult("a b", "en", segments).duration == 2.5
    assert TranscriptionResult("a", "en", segments[:1]).duration == 0.5
    assert TranscriptionResult("", "en", []).duration == 0.0


def test_a_transcription_can_be_moved_in_time() -> None:
    said = TranscriptionResult(
        "a b", "en",
        [TranscriptionSegment("a b", 0.5, 1.5, 0.9)],
        0.9,
        True,
        [TranscriptionWord("a", 0.5, 0.75, 0.8), TranscriptionWord("b", 1.0, 1.5)],
        "a",
    )  # fmt: skip
    assert said.shifted(2.0) == TranscriptionResult(
        "a b", "en",
        [TranscriptionSegment("a b", 2.5, 3.5, 0.9)],
        0.9,
        True,
        [TranscriptionWord("a", 2.5, 2.75, 0.8), TranscriptionWord("b", 3.0, 3.5)],
        "a",
    )  # fmt: skip
    assert said.shifted(2.0).shifted(-2.0) == said.shifted(0.0) == said
    assert said.segments[0].start == said.words[0].start == 0.5


def test_nothing_is_committed_unless_it_is_said_to_be() -> None:
    assert TranscriptionResult("a", "en", []).committed == ""


def test_what_was_added_to_a_result_comes_after_what_was_there() -> None:
    names = [field.name for field in fields(TranscriptionResult)]
    assert names[-3:] == ["committed", "language_probability", "no_speech_probability"]
    bare = TranscriptionResult("a", "en", [])
    assert bare.language_probability is None
    assert bare.no_speech_probability is None


def test_results_do_not_share_their_words() -> None:
    first, second = TranscriptionResult("a", "en", []), TranscriptionResult("b", "en", [])
    first.words.append(TranscriptionWord("a", 0.0, 0.5))
    assert second.words == []


@pytest.mark.parametrize(
    "value",
    [
        TranscriptionSegment("a", 0.0, 1.0),
        TranscriptionWord("a", 0.0, 1.0),
        TranscriptionResult("a", "en", []),
        SynthesisResult(AUDIO, "a", "v"),
        protocols.Exchange(1, "hello", "hi", "hi"),
    ],
)
def test_what_was_said_does_not_change(value: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, "b")


@pytest.mark.parametrize("given", [{}, {"metadata": None, "user_data": None}])
def test_a_context_has_dictionaries_of_its_own(given: dict[str, Any]) -> None:
    first, second = ConversationContext(**given), ConversationContext(**given)
    assert first.metadata == first.user_data == {}
    first.metadata["a"] = first.user_data["b"] = 1
    assert second.metadata == second.user_data == {}
    assert first.metadata is not first.user_data


def test_a_context_keeps_the_dictionaries_that_it_is_given() -> None:
    metadata: dict[str, Any] = {}
    user_data = {"name": "Ada"}
    context = ConversationContext(metadata=metadata, user_data=user_data)
    assert context.metadata is metadata
    assert context.user_data is user_data


def test_a_context_is_filled_in_as_the_turn_goes_on() -> None:
    context = ConversationContext(AUDIO)
    assert context.state is ConversationState.LISTENING
    context.transcription = TranscriptionResult("hello", "en", [])
    context.state = ConversationState.PROCESSING
    context.error = RuntimeError("x")
    assert context.history == ()


def test_an_event_needs_no_event_loop() -> None:
    before = time.time()
    event = ConversationEvent("turn_ended", {"turn": 1})
    assert before <= event.timestamp <= time.time()
    assert (event.event_type, event.data) == ("turn_ended", {"turn": 1})
    assert repr(event) == "ConversationEvent('turn_ended', {'turn': 1})"


def test_events_without_data_do_not_share_it() -> None:
    first, second = ConversationEvent("a"), ConversationEvent("a", None)
    first.data["x"] = 1
    assert second.data == {}
