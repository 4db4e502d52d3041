"""`/v1/realtime`, as OpenAI's own client talks to it."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("openai")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import anyio
import fastapi
import openai
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from realtime_stts import AudioData, ConversationEngine
from realtime_stts.conversation import SessionLimits, TurnPolicy
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.errors import AuthenticationError, EngineError
from realtime_stts.integrations.fastapi import install_error_handlers, openai_router, protect
from realtime_stts.integrations.starlette import Gate, Seats
from realtime_stts.middleware import Principal
from realtime_stts.protocols import ConversationContext, TranscriptionResult
from realtime_stts.testing import (
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    ToneSTTEngine,
    speak_tones,
    tone_text,
)
from tests.servers import serving

LIMIT = 20.0  # s for anything
LONG = "this is a rather long answer that takes its time to come to an end"
SILENCE = AudioData.silence(1.0, 24_000)

Audio = dict[str, Any]


@dataclass
class Server:
    """Echoes what was said, unless it was "long"; the contexts that the responder had."""

    contexts: list[ConversationContext] = field(default_factory=list)
    seats: Seats = field(default_factory=lambda: Seats(100, 100))
    tts: Any = None
    url: str = ""

    def __post_init__(self) -> None:
        self.tts = ScriptedTTSEngine(latency=0, real_time_factor=0, voices=("one", "two"))

    async def answer(self, result: TranscriptionResult, context: ConversationContext) -> str:
        self.contexts.append(context)
        if result.text == "nothing":
            return ""
        return LONG if result.text == "long" else result.text

    def engine(self, **options: Any) -> ConversationEngine:
        return ConversationEngine(
            **{
                "stt": ToneSTTEngine(latency=0),
                "tts": self.tts,
                "responder": self.answer,
                "pause_detector": EnergyPauseDetector(),
                "policy": TurnPolicy(end_of_turn=0.4),
                "end_of_turn": None,
                **options,
            }
        )

    @property
    def idle(self) -> bool:
        deadline = monotonic() + LIMIT
        while self.seats.taken and monotonic() < deadline:
            sleep(0.01)
        return self.seats.taken == 0


def app_of(engine: ConversationEngine, **options: Any) -> Any:
    app = fastapi.FastAPI()
    app.include_router(openai_router(engine=engine, **options))
    install_error_handlers(app)
    protect(app)
    return app


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    it = Server()
    app = app_of(it.engine(), gate=Gate(seats=it.seats))
    with serving(app, log_level="critical") as it.url:
        yield it


class Voice:
    """A voice client: OpenAI's connection, and what came over it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.events: list[Any] = []

    async def until(self, kind: str, wanted: Callable[[Any], bool] = lambda _: True) -> Any:
        """Events up to the next of that type; it is returned."""
        with anyio.fail_after(LIMIT):
            while True:
                event = await self.connection.recv()
                self.events.append(event)
                if event.type == kind and wanted(event):
                    return event

    async def update(self, **session: Any) -> Any:
        await self.connection.session.update(session={"type": "realtime", **session})
        return (await self.until("session.updated")).session

    async def say(self, text: str, *, then: AudioData | None = SILENCE) -> None:
        await self.append(speak_tones(text))
        if then is not None:
            await self.append(then)

    async def append(self, audio: AudioData) -> None:
        data = audio.data
        for start in range(0, len(data), 9_601):  # which cuts samples in two
            piece = b64encode(data[start : start + 9_601]).decode()
            await self.connection.input_audio_buffer.append(audio=piece)

    async def refused(self) -> Any:
        return (await self.until("error")).error

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]

    @property
    def heard(self) -> str:
        sound = b"".join(b64decode(e.delta) for e in self.of("response.output_audio.delta"))
        return tone_text(AudioData(sound, 24_000))


@asynccontextmanager
async def calling(url: str, **options: Any) -> AsyncIterator[Voice]:
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="key") as client,
        client.realtime.connect(model="gpt-realtime", **options) as connection,
    ):
        voice = Voice(connection)
        await voice.until("session.created")
        yield voice


def call(url: str, conversation: Callable[[Voice], Awaitable[None]], **options: Any) -> Voice:
    async def main() -> Voice:
        async with calling(url, **options) as voice:
            await conversation(voice)
        return voice

    return asyncio.run(main())


MANUAL: Audio = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
TOLD: Audio = {"input": {"transcription": {"model": "whisper-1"}}}


# -- turns that the server finds


def test_a_spoken_turn_is_heard_and_answered(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.update(audio=TOLD)
        await voice.say("good day to you")
        await voice.until("response.done")

    voice = call(server.url, conversation)
    assert voice.heard == "good day to you"
    once = [kind for kind in dict.fromkeys(voice.types) if "transcription" not in kind]
    assert once == [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    started = voice.of("input_audio_buffer.speech_started")[0]
    stopped = voice.of("input_audio_buffer.speech_stopped")[0]
    assert 0 <= started.audio_start_ms < stopped.audio_end_ms < 2_000
    completed = voice.of("conversation.item.input_audio_transcription.completed")[0]
    assert completed.transcript == "good day to you"
    assert completed.item_id == started.item_id == stopped.item_id
    deltas = voice.of("conversation.item.input_audio_transcription.delta")
    assert "".join(delta.delta for delta in deltas) == completed.transcript
    done = voice.events[-1].response
    assert done.status == "completed"
    assert done.output[0].content[0].transcript == "good day to you"
    assert server.idle


def test_speech_that_stops_an_answer_is_told_and_the_answer_is_cancelled(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.say("long")
        delta = await voice.until("response.output_audio.delta")
        await voice.say("wait a moment please")
        await voice.until("response.done")
        await voice.connection.conversation.item.truncate(
            item_id=delta.item_id, content_index=0, audio_end_ms=300
        )
        await voice.until("conversation.item.truncated")
        await voice.until("response.done")

    voice = call(server.url, conversation)
    first, second = (event.response for event in voice.of("response.done"))
    assert (first.status, first.status_details.reason) == ("cancelled", "turn_detected")
    assert second.status == "completed"
    assert second.output[0].content[0].transcript == "wait a moment please"
    kinds = voice.types
    cut = kinds.index("response.done")
    second_start = [
        n for n, kind in enumerate(kinds) if kind == "input_audio_buffer.speech_started"
    ][1]
    assert second_start < cut
    assert server.contexts[-1].history[0].heard != LONG


def test_an_answer_that_may_not_be_interrupted_is_not(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        detection = {"type": "server_vad", "interrupt_response": False}
        session = await voice.update(audio={"input": {"turn_detection": detection}})
        assert session.audio.input.turn_detection.interrupt_response is False
        await voice.say("one two three")
        await voice.until("response.output_audio.delta")
        await voice.say("four five six")
        await voice.until("response.done")
        await voice.until("response.done")

    voice = call(server.url, conversation)
    assert [event.response.status for event in voice.of("response.done")] == ["completed"] * 2
    assert voice.heard == "one two three four five six"


@pytest.mark.parametrize("message", ["input_audio_buffer.commit", "response.create"])
def test_a_turn_need_not_wait_for_silence(server: Server, message: str) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.say("good day to you", then=AudioData.silence(0.1, 24_000))
        await voice.until("input_audio_buffer.speech_started")
        await voice.connection.send({"type": message})
        await voice.until("response.done")

    assert call(server.url, conversation).heard == "good day to you"


def test_with_no_automatic_answers_one_is_asked_for(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        detection = {"type": "server_vad", "create_response": False, "silence_duration_ms": 300}
        await voice.update(audio={"input": {**TOLD["input"], "turn_detection": detection}})
        await voice.say("hello there")
        await voice.until("conversation.item.input_audio_transcription.completed")
        assert not voice.of("response.created")
        await voice.connection.response.create()
        await voice.until("response.done")

    assert call(server.url, conversation).heard == "hello there"


def test_an_answer_of_no_words_is_an_answer(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.say("nothing")
        await voice.until("response.done")

    voice = call(server.url, conversation)
    assert voice.events[-1].response.status == "completed"
    assert voice.events[-1].response.output == []


def test_a_session_in_text_is_silent(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.update(output_modalities=["text"])
        await voice.say("good day to you")
        await voice.until("response.done")

    voice = call(server.url, conversation)
    assert voice.of("response.output_text.done")[0].text == "good day to you"
    assert voice.events[-1].response.output[0].content[0].text == "good day to you"
    assert not [
        kind for kind in voice.types if "audio_transcript" in kind or "output_audio" in kind
    ]


def test_the_models_are_there_too(server: Server) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="key") as client:
        assert [model.id for model in client.models.list()] == ["gpt-realtime"]


# -- turns that the client makes


def test_push_to_talk(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        session = await voice.update(audio=MANUAL)
        assert session.audio.input.turn_detection is None
        await voice.say("first", then=None)
        await voice.connection.input_audio_buffer.commit()
        await voice.until("input_audio_buffer.committed")
        await voice.connection.response.create()
        await voice.until("response.done")
        # Committing is not needed where an answer is asked for.
        await voice.say("second", then=None)
        await voice.connection.response.create()
        await voice.until("response.done")

    voice = call(server.url, conversation)
    assert voice.heard == "first second"
    assert "input_audio_buffer.speech_started" not in voice.types
    assert [
        e.transcript for e in voice.of("conversation.item.input_audio_transcription.completed")
    ] == ["first", "second"]


def test_what_is_said_before_the_answer_is_over_waits_until_it_is_committed(
    server: Server,
) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.update(audio=MANUAL)
        await voice.say("long", then=None)
        await voice.connection.input_audio_buffer.commit()
        await voice.connection.response.create()
        await voice.until("response.output_audio.delta")
        await voice.say("second", then=None)
        await voice.connection.response.create()
        assert (await voice.refused()).code == "conversation_already_has_active_response"
        await voice.connection.response.cancel()
        await voice.until("response.done")
        await voice.connection.input_audio_buffer.commit()
        await voice.connection.response.create()
        await voice.until("response.done")

    voice = call(server.url, conversation)
    first, second = (event.response for event in voice.of("response.done"))
    assert (first.status, first.status_details.reason) == ("cancelled", "client_cancelled")
    assert second.output[0].content[0].transcript == "second"


def test_a_turn_that_nobody_asks_about_gives_way_to_the_next(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.update(audio=MANUAL)
        for text in ("first", "second"):
            await voice.say(text, then=None)
            await voice.connection.input_audio_buffer.commit()
            await voice.until("conversation.item.input_audio_transcription.completed")
        await voice.connection.response.create()
        await voice.until("response.done")

    voice = call(server.url, conversation)
    assert voice.heard == "second"
    assert len(voice.of("response.done")) == 1


def test_what_is_cleared_was_never_said(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.update(audio=MANUAL)
        await voice.say("wrong", then=None)
        await voice.connection.input_audio_buffer.clear()
        await voice.until("input_audio_buffer.cleared")
        await voice.connection.input_audio_buffer.commit()
        assert (await voice.refused()).code == "input_audio_buffer_commit_empty"
        await voice.say("right", then=None)
        await voice.connection.input_audio_buffer.commit()
        await voice.connection.response.create()
        await voice.until("response.done")

    voice = call(server.url, conversation)
    assert voice.heard == "right"
    assert [exchange.user for exchange in server.contexts[-1].history] == []


def test_speech_is_cleared_too(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.say("wrong thing to say", then=None)
        await voice.until("input_audio_buffer.speech_started")
        await voice.connection.input_audio_buffer.clear()
        await voice.until("input_audio_buffer.cleared")
        await voice.append(SILENCE)
        await voice.say("right")
        await voice.until("response.done")

    assert call(server.url, conversation).heard == "right"


def test_a_turn_is_not_longer_than_the_policy_says() -> None:
    it = Server()
    engine = it.engine(policy=TurnPolicy(max_turn=1.0, manual=True))

    async def conversation(voice: Voice) -> None:
        await voice.say("long", then=None)
        await voice.connection.input_audio_buffer.commit()
        await voice.connection.response.create()
        await voice.until("response.output_audio.delta")
        await voice.append(AudioData.silence(2.0, 24_000))
        assert (await voice.refused()).code == "buffer_full"

    with serving(app_of(engine), log_level="critical") as url:
        voice = call(url, conversation)
    assert voice.events[0].session.audio.input.turn_detection is None


# -- what a session may be


def test_a_session_is_told_what_is_in_force(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        session = await voice.update(
            instructions="Be brief.",
            audio={
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24_000},
                    "turn_detection": {"type": "semantic_vad", "eagerness": "high"},
                    "noise_reduction": {"type": "near_field"},
                },
                "output": {"voice": "two", "speed": 1.5},
            },
            tools=[{"type": "function", "name": "f", "parameters": {}}],
        )
        assert session.instructions == "Be brief."
        assert session.audio.input.turn_detection.eagerness == "high"
        assert session.audio.input.noise_reduction is None
        assert (session.audio.output.voice, session.audio.output.speed) == ("two", 1.5)
        assert session.tools == []
        await voice.say("hello you")
        await voice.until("response.done")

    call(server.url, conversation)
    assert server.contexts[-1].metadata["instructions"] == "Be brief."
    assert server.tts.calls[-1].voice_config == {"voice_id": "two", "speed_factor": 1.5}


def test_a_session_that_changes_remembers_what_was_said(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.say("my name is bert")
        await voice.until("response.done")
        await voice.update(audio=MANUAL)
        await voice.say("who am i", then=None)
        await voice.connection.response.create()
        await voice.until("response.done")

    call(server.url, conversation)
    assert [exchange.user for exchange in server.contexts[-1].history] == ["my name is bert"]


def test_an_answer_under_way_ends_with_its_session(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.say("long")
        await voice.until("response.output_audio.delta")
        await voice.update(audio={"output": {"speed": 0.5}})

    voice = call(server.url, conversation)
    assert voice.of("response.done")[0].response.status == "cancelled"


@pytest.mark.parametrize("voice_name", ["nobody", {"id": "nobody"}])
def test_an_unknown_voice_is_refused_and_changes_nothing(server: Server, voice_name: Any) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.connection.session.update(
            session={"type": "realtime", "audio": {"output": {"voice": voice_name}}}
        )
        assert (await voice.refused()).code == "unknown_voice"
        assert (await voice.update()).audio.output.voice == "default"

    call(server.url, conversation)


# -- what goes wrong


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        (b"\0\1", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ("{}", "invalid_type"),
        ('{"type": "no.such"}', "invalid_type"),
        ('{"type": "conversation.item.create"}', "unsupported"),
        ('{"type": "input_audio_buffer.append"}', "invalid_type"),
        ('{"type": "input_audio_buffer.append", "audio": "?"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "\\u00e4"}', "invalid_value"),
        ('{"type": "response.cancel"}', "response_cancel_not_active"),
        ('{"type": "response.create"}', "nothing_to_answer"),
        ('{"type": "session.update"}', "invalid_type"),
        ('{"type": "conversation.item.truncate"}', "invalid_type"),
    ],
)
def test_a_message_that_cannot_be_met_changes_nothing(
    server: Server, message: str | bytes, code: str
) -> None:
    with connect(server.url.replace("http", "ws") + "/v1/realtime") as socket:
        assert json.loads(socket.recv(LIMIT))["type"] == "session.created"
        socket.send(message)
        error = json.loads(socket.recv(LIMIT))
        assert (error["type"], error["error"]["code"]) == ("error", code)
        socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
        assert json.loads(socket.recv(LIMIT))["type"] == "input_audio_buffer.cleared"


def test_an_error_names_the_message_it_is_about(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.connection.response.cancel(event_id="mine")
        assert (await voice.refused()).event_id == "mine"

    call(server.url, conversation)


def test_an_unknown_item_is_not_truncated(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.connection.conversation.item.truncate(
            item_id="item_1", content_index=0, audio_end_ms=0
        )
        assert (await voice.refused()).code == "item_not_found"

    call(server.url, conversation)


def test_a_message_that_is_too_large_ends_the_connection(server: Server) -> None:
    with connect(server.url.replace("http", "ws") + "/v1/realtime") as socket:
        socket.recv(LIMIT)
        socket.send(" " * ((4 << 20) + 1))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(LIMIT)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_a_failure_of_the_voice_fails_the_response() -> None:
    failing = ScriptedTTSEngine(
        latency=0, real_time_factor=0, failures=[EngineError("tts", "the words were secret")]
    )

    async def conversation(voice: Voice) -> None:
        await voice.say("hello you")
        await voice.until("response.done")
        await voice.say("again please")
        await voice.until("response.done")

    with serving(app_of(Server().engine(tts=failing)), log_level="critical") as url:
        voice = call(url, conversation)
    failed, completed = (event.response for event in voice.of("response.done"))
    assert failed.status == "failed"
    assert failed.status_details.error.code == "engine_failed"
    assert "secret" not in failed.status_details.error.message
    assert completed.status == "completed"


def test_a_failure_to_understand_is_told() -> None:
    failing = ScriptedSTTEngine([RuntimeError("the words were secret")], latency=0)

    async def conversation(voice: Voice) -> None:
        await voice.update(audio=TOLD)
        await voice.say("hello you")
        await voice.until("response.done")

    with serving(app_of(Server().engine(stt=failing)), log_level="critical") as url:
        voice = call(url, conversation)
    failed = voice.of("conversation.item.input_audio_transcription.failed")[0]
    assert failed.error.code == "internal_error"
    assert "secret" not in failed.error.message
    assert voice.events[-1].response.status == "failed"


def test_a_session_that_is_over_is_closed() -> None:
    engine = Server().engine(limits=SessionLimits(input_gap=0.2))
    with (
        serving(app_of(engine), log_level="critical") as url,
        connect(url.replace("http", "ws") + "/v1/realtime") as socket,
    ):
        socket.recv(LIMIT)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(LIMIT)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_client_that_says_nothing_is_closed() -> None:
    gate = Gate(max_idle_seconds=0.2)
    with (
        serving(app_of(Server().engine(), gate=gate), log_level="critical") as url,
        connect(url.replace("http", "ws") + "/v1/realtime") as socket,
    ):
        socket.recv(LIMIT)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(LIMIT)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_client_that_leaves_in_a_turn_leaves_nothing(server: Server) -> None:
    async def conversation(voice: Voice) -> None:
        await voice.say("long")
        await voice.until("response.output_audio.delta")

    call(server.url, conversation)
    assert server.idle


# -- who may come in


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    def who(token: str | None, client: str) -> Principal:
        if token != "good":
            raise AuthenticationError("who is there?")
        return Principal("somebody", ("response",))

    app = app_of(Server().engine(), gate=Gate(authenticate=who))
    with serving(app, log_level="critical") as url:
        yield url


def test_the_clients_key_is_its_token(guarded: str) -> None:
    async def main(key: str) -> str:
        async with (
            openai.AsyncOpenAI(base_url=f"{guarded}/v1", api_key=key) as client,
            client.realtime.connect(model="gpt-realtime") as connection,
        ):
            return (await connection.recv()).session.model

    assert asyncio.run(main("good")) == "gpt-realtime"
    with pytest.raises(InvalidStatus) as refused:
        asyncio.run(main("bad"))
    assert refused.value.response.status_code == 401


def test_a_browsers_key_comes_as_a_subprotocol(guarded: str) -> None:
    url = guarded.replace("http", "ws") + "/v1/realtime"
    with connect(url, subprotocols=["realtime", "openai-insecure-api-key.good"]) as socket:
        assert socket.subprotocol == "realtime"
    with pytest.raises(InvalidStatus):
        connect(url, subprotocols=["realtime", "openai-insecure-api-key.bad"])
    with pytest.raises(InvalidStatus):
        connect(
            url,
            subprotocols=["realtime", "openai-insecure-api-key.good"],
            additional_headers={"Authorization": "Bearer bad"},
        )


def test_another_sites_page_does_not(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(server.url.replace("http", "ws") + "/v1/realtime", origin="https://evil.example")
    assert refused.value.response.status_code == 403
