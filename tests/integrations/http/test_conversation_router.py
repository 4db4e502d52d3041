"""Conversations over WebSockets: spoken to, heard, interrupted, refused and cut off."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import httpx
from fastapi import FastAPI, HTTPException
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from realtime_stts import AudioData, ConversationEngine
from realtime_stts.conversation import TurnPolicy
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.errors import EngineLoadError
from realtime_stts.integrations._http._conversation_router import _detector
from realtime_stts.integrations._http._gate import deny
from realtime_stts.integrations.fastapi import conversation_router
from realtime_stts.integrations.starlette import Gate, Problem, Seats
from realtime_stts.testing import ScriptedTTSEngine, ToneSTTEngine, speak_tones, tone_text
from tests.servers import serving

LIMIT = 10.0  # s for anything
POLICY = TurnPolicy(end_of_turn=0.3)
LONG = "this is a rather long answer that takes its time to come to an end"


def engine(answer: str | None = None, **options: Any) -> ConversationEngine:
    """Says ``answer``, or what was said to it."""

    async def responder(transcription: Any, context: Any) -> str:
        return answer or str(transcription.text)

    given: dict[str, Any] = {
        "stt": ToneSTTEngine(latency=0.0),
        "tts": ScriptedTTSEngine(
            latency=0.0, real_time_factor=0.0, sample_rate=16_000, voices=("one", "two")
        ),
        "responder": responder,
        "pause_detector": EnergyPauseDetector(),
        "policy": POLICY,
        "end_of_turn": None,
    }
    return ConversationEngine(**(given | options))


@dataclass
class Server:
    url: str
    seats: Seats
    echo: ConversationEngine

    def open(self, path: str, **options: Any) -> ClientConnection:
        address = self.url.replace("http", "ws", 1) + path
        return connect(address, open_timeout=LIMIT, close_timeout=LIMIT, **options)

    def refusal(self, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        with pytest.raises(InvalidStatus) as refused:
            self.open(path, **options)
        response = refused.value.response
        return response.status_code, json.loads(response.body or b"")

    @property
    def n_tasks(self) -> int:
        return int(httpx.get(f"{self.url}/tasks").text)


async def registered(voice_id: str | None, /, *, mode: str) -> str | None:
    if mode == "clone":
        raise HTTPException(409, {"detail": "It cannot clone.", "error_code": "cannot_clone"})
    return None if voice_id is None else {"First.wav": "one", "Second.wav": "two"}[voice_id]


def not_loaded() -> ConversationEngine:
    raise EngineLoadError("whisper", "/models/secret is missing")


class Broken(ConversationEngine):
    async def handle_conversation(self, websocket_adapter: Any, **options: Any) -> None:
        await websocket_adapter.accept_connection()
        raise ValueError("a fault of our own, in /etc")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    app, seats, echo = FastAPI(), Seats(20, 20), engine()

    def mount(name: str, engine: Any, **options: Any) -> None:
        router = conversation_router(engine, gate=Gate(seats=seats), **options)
        app.include_router(router, prefix=f"/{name}")

    mount("echo", echo)
    mount("long", lambda: engine(LONG))
    mount("voices", echo, voices=registered)
    mount("missing", not_loaded)
    mount("empty", ConversationEngine(stt=echo.stt_engine))
    mount("broken", Broken(stt=echo.stt_engine, tts=echo.tts_engine))
    mount("narrow", echo, max_message_bytes=1000)
    app.include_router(conversation_router(echo), prefix="/open")
    brief = conversation_router(echo, gate=Gate(seats=seats, max_seconds=0.3, max_idle_seconds=9))
    app.include_router(brief, prefix="/brief")

    @app.get("/tasks")
    async def n_tasks() -> int:
        return len(asyncio.all_tasks())

    with serving(app) as url:
        yield Server(url, seats, echo)


def say(client: ClientConnection, text: str, sample_rate: int = 16_000, after: float = 1.0) -> None:
    said = speak_tones(text, sample_rate).data
    quiet = AudioData.silence(1.0, sample_rate).data
    data = quiet + said + quiet[: 2 * round(after * sample_rate)]
    for first in range(0, len(data), 3201):
        client.send(data[first : first + 3201])


def command(client: ClientConnection, action: str, **rest: Any) -> None:
    client.send(json.dumps({"action": action, **rest}))


def received(
    client: ClientConnection, *types: str, where: Callable[[dict[str, Any]], bool] = bool
) -> list[Any]:
    """Messages up to and with the first of these types; or, of none, up to the end."""
    messages: list[Any] = []
    try:
        while True:
            data = client.recv(timeout=LIMIT)
            messages.append(data if isinstance(data, bytes) else json.loads(data))
            last = messages[-1]
            if isinstance(last, dict) and last["type"] in types and where(last):
                return messages
    except ConnectionClosed:
        assert not types, messages
    return messages


def the(messages: list[Any], type: str) -> list[dict[str, Any]]:
    return [each for each in messages if isinstance(each, dict) and each["type"] == type]


def text_of(wav: str) -> str:
    return tone_text(AudioData.from_file(b64decode(wav)))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + LIMIT
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


# -- version 1

ANSWERS = {"reset": "reset_complete", "ping": "pong", "stats": "statistics"}


def test_version_1_speaks_the_messages_of_its_table(server: Server) -> None:
    with server.open("/echo/conversation?response_mode=echo&pause_aggressiveness=3") as client:
        say(client, "hello there")
        messages = received(client, "response_audio")
        for action in ("reset", "ping", "stats"):
            command(client, action)
            received(
                client, {"reset": "reset_complete", "ping": "pong", "stats": "statistics"}[action]
            )
        command(client, "change_response_mode", mode="template")
        received(client, "mode_changed")
        command(client, "stop")
        assert [each["type"] for each in received(client)][-1] == "conversation_stopped"
    assert client.close_code == 1000
    ready, final, audio = messages[0], the(messages, "transcription")[-1], messages[-1]
    assert ready["type"] == "ready"
    assert (
        ready["config"]
        | {
            "voice_mode": "predefined",
            "response_mode": "echo",
            "language": None,
            "pause_aggressiveness": 3,
        }
        == ready["config"]
    )
    states = the(messages, "conversation_state")
    assert [state["events"] for state in states] == [["speech_start"], ["speech_end"]]
    assert states[0].keys() == {
        "type",
        "state",
        "is_speaking",
        "silence_duration_ms",
        "events",
        "pause_detection",
    }
    assert final.keys() == {"type", "text", "language", "partial", "timing", "segments"}
    assert final["timing"].keys() == {"start", "end", "duration"}
    assert (final["text"], final["partial"]) == ("hello there", False)
    assert audio.keys() == {
        "type",
        "audio_data",
        "format",
        "sample_rate",
        "duration_ms",
        "response_text",
    }
    assert text_of(audio["audio_data"]) == audio["response_text"] == "hello there"


# -- version 2


def test_version_2_speaks_the_messages_of_its_table(server: Server) -> None:
    with server.open("/echo/conversation/v2") as client:
        say(client, "hello there")
        messages = received(client, "turn_ended")
        command(client, "reset")
        received(client, "reset_complete")
        command(client, "change_mode", mode="template")
        received(client, "mode_changed")
        command(client, "ping")
        received(client, "pong")
        command(client, "stop")
        assert [each["type"] for each in received(client)][-1] == "stopping"
    assert client.close_code == 1000
    assert messages[0].keys() == {"type", "message", "config"}
    assert messages[0]["config"].keys() == {
        "stt_available",
        "tts_available",
        "pause_detection_available",
        "response_generation_available",
        "middleware_count",
    }
    assert [each["event"] for each in the(messages, "speech_event")] == [
        "speech_start",
        "speech_end",
    ]
    assert [each["state"] for each in the(messages, "state_update")] == ["processing", "speaking"]
    assert the(messages, "transcription")[-1]["text"] == "hello there"
    assert the(messages, "response_text") == [{"type": "response_text", "text": "hello there"}]
    (audio,) = the(messages, "audio_response")
    assert audio.keys() == {"type", "audio_data", "format", "sample_rate", "duration_ms"}
    assert text_of(audio["audio_data"]) == "hello there"
    ended = messages[-1]
    assert (ended["outcome"], ended["transcript"], ended["reply"]) == (
        "answered",
        "hello there",
        "hello there",
    )


def test_a_mode_that_is_asked_for_answers(server: Server) -> None:
    with server.open("/long/conversation/v2?response_mode=echo") as client:
        say(client, "say this")
        assert received(client, "turn_ended")[-1]["reply"] == "say this"


def test_language_and_rate_are_the_sessions(server: Server) -> None:
    with server.open("/echo/conversation/v2?language=de&sample_rate=48000") as client:
        say(client, "guten tag", 48_000)
        messages = received(client, "turn_ended")
    assert messages[-1]["transcript"] == "guten tag"
    assert the(messages, "transcription")[-1]["language"] == "de"


def test_audio_may_come_as_json(server: Server) -> None:
    with server.open("/echo/conversation/v2") as client:
        for piece in (
            AudioData.silence(0.5, 24_000),
            speak_tones("in json", 24_000),
            AudioData.silence(1.0, 24_000),
        ):
            client.send(
                json.dumps({"audio_data": b64encode(piece.data).decode(), "sample_rate": 24_000})
            )
        assert received(client, "turn_ended")[-1]["transcript"] == "in json"


def test_two_conversations_never_mix(server: Server) -> None:
    with (
        server.open("/echo/conversation/v2") as one,
        server.open("/echo/conversation") as other,
    ):
        say(one, "this is one")
        say(other, "that is other")
        assert received(one, "turn_ended")[-1]["reply"] == "this is one"
        assert received(other, "response_audio")[-1]["response_text"] == "that is other"


# -- binary audio, both ways


def test_an_answer_may_be_a_stream_of_binary_messages(server: Server) -> None:
    with server.open("/echo/conversation/v2?audio=stream") as client:
        say(client, "hello there")
        messages = received(client, "turn_ended")
    (start,) = the(messages, "audio_start")
    assert start == {
        "type": "audio_start",
        "turn": 1,
        "format": "pcm_s16le",
        "sample_rate": 16_000,
        "channels": 1,
    }
    pieces = [each for each in messages if isinstance(each, bytes)]
    assert messages.index(start) < messages.index(pieces[0])
    assert tone_text(AudioData(b"".join(pieces), 16_000)) == "hello there"
    assert the(messages, "audio_response") == []


def test_whoever_is_interrupted_says_nothing_more(server: Server) -> None:
    with server.open("/long/conversation/v2?audio=stream") as client:
        say(client, "first", after=0.5)
        received(client, "audio_start")
        say(client, "wait a moment please")
        messages = received(client, "interrupted")
        heard = messages[-1]["heard"]
        assert messages[-1]["turn"] == 1
        assert LONG.startswith(heard)
        assert heard != LONG
        rest = received(client, "audio_start")
    assert rest[-1]["turn"] == 2
    assert not any(isinstance(each, bytes) for each in rest)
    assert the(rest, "turn_ended")[0]["outcome"] == "interrupted"


def test_a_command_interrupts_as_well(server: Server) -> None:
    with server.open("/long/conversation/v2?audio=stream") as client:
        say(client, "first", after=0.5)
        received(client, "audio_start")
        command(client, "interrupt")
        messages = received(client, "turn_ended")
    after = messages[messages.index(the(messages, "interrupted")[0]) :]
    assert not any(isinstance(each, bytes) for each in after)


def test_holding_a_key_makes_a_turn(server: Server) -> None:
    with server.open("/echo/conversation/v2") as client:
        command(client, "begin_turn")
        received(client, "turn_begun")
        say(client, "one", after=1.0)
        say(client, "and two", after=0.2)
        command(client, "ping")
        received(client, "pong")
        # Audio may wait behind the command: a turn is committed once it has been heard.
        eventually(lambda: seconds_heard(client) >= 3.5)
        command(client, "commit")
        assert received(client, "turn_ended")[-1]["transcript"] == "one and two"


def seconds_heard(client: ClientConnection) -> float:
    command(client, "stats")
    return float(received(client, "statistics")[-1]["data"]["audio_seconds"])


# -- voices


def test_a_voice_is_one_of_the_engines(server: Server) -> None:
    with server.open("/echo/conversation/v2?predefined_voice_id=two") as client:
        say(client, "hello")
        received(client, "turn_ended")
    tts = server.echo.tts_engine
    assert isinstance(tts, ScriptedTTSEngine)
    assert tts.calls[-1].voice_config["voice_id"] == "two"
    status, body = server.refusal("/echo/conversation/v2?predefined_voice_id=../../etc/passwd")
    assert (status, body["error_code"]) == (404, "unknown_voice")
    assert "passwd" not in str(body)


def test_a_host_may_find_voices_by_names_of_its_own(server: Server) -> None:
    with server.open("/voices/conversation?predefined_voice_id=Second.wav") as client:
        say(client, "hello")
        received(client, "response_audio")
    tts = server.echo.tts_engine
    assert isinstance(tts, ScriptedTTSEngine)
    assert tts.calls[-1].voice_config["voice_id"] == "two"
    path = "/voices/conversation?voice_mode=clone&reference_audio_filename=me.wav"
    status, body = server.refusal(path)
    assert (status, body["error_code"], body["detail"]) == (409, "cannot_clone", "It cannot clone.")


# -- refusals


@pytest.mark.parametrize("version", ["", "/v2"])
@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("language=english%20please", "language"),
        ("voice_mode=robot", "voice_mode"),
        ("voice_mode=clone", "reference_audio_filename"),
        ("predefined_voice_id=" + 201 * "x", "predefined_voice_id"),
        ("predefined_voice_id=a%00b", "predefined_voice_id"),
        ("response_mode=poem", "response_mode"),
        ("pause_aggressiveness=4", "pause_aggressiveness"),
        ("pause_aggressiveness=-1", "pause_aggressiveness"),
        ("sample_rate=96000", "sample_rate"),
        ("audio=tape", "audio"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    server: Server, query: str, parameter: str, version: str
) -> None:
    status, body = server.refusal(f"/echo/conversation{version}?{query}")
    assert (status, body["error_code"]) == (422, "invalid_request")
    assert parameter in body["detail"]
    assert body["request_id"]
    eventually(lambda: server.seats.taken == 0)


def test_version_1_has_no_stream(server: Server) -> None:
    status, body = server.refusal("/echo/conversation?audio=stream")
    assert status == 422
    assert "audio" in body["detail"]


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_without_engines_nobody_is_let_in(server: Server, name: str) -> None:
    status, body = server.refusal(f"/{name}/conversation/v2")
    assert (status, body["error_code"]) == (503, "engine_unavailable")
    assert "secret" not in str(body)


def test_pages_of_other_sites_are_not_let_in_by_default(server: Server) -> None:
    status, body = server.refusal("/open/conversation", origin="https://evil.example")
    assert (status, body["error_code"]) == (403, "foreign_origin")


@pytest.mark.anyio
async def test_a_server_that_cannot_answer_a_request_for_a_socket_closes_it() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing need be received")

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    await deny(WebSocket(scope, receive, send), Problem(422, "x", "No."), "id")
    assert [(each["type"], each["code"]) for each in sent] == [("websocket.close", 1008)]


# -- faults

MALFORMED = (
    "{",
    "[]",
    "7",
    "{}",
    '{"action": 1}',
    '{"action": "dance"}',
    '{"action": "change_mode"}',
    '{"action": "change_mode", "mode": 3}',
    '{"action": "change_mode", "mode": "poem"}',
    '{"audio_data": "!"}',
    '{"audio_data": "AAAA", "sample_rate": 1}',
    "[" * 5000,
)


@pytest.mark.parametrize("version", ["", "/v2"])
def test_a_thousand_malformed_messages_are_answered_and_do_no_harm(
    server: Server, version: str
) -> None:
    with server.open(f"/echo/conversation{version}") as client:
        received(client, "ready")
        for n in range(1000):
            client.send(MALFORMED[n % len(MALFORMED)])
            assert received(client, "error")[-1]["message"]
        say(client, "still here")
        assert received(client, "transcription", where=lambda m: not m["partial"])[-1]["text"] == (
            "still here"
        )


def test_a_message_that_is_too_big_closes_the_socket(server: Server) -> None:
    with server.open("/narrow/conversation") as client:
        client.send(bytes(1002))
        received(client)
        assert client.close_code == 1009


def test_a_conversation_has_its_time(server: Server) -> None:
    with server.open("/brief/conversation") as client:
        received(client)
        assert client.close_code == 1008
    eventually(lambda: server.seats.taken == 0)


def test_a_fault_of_our_own_ends_the_socket_and_is_not_taken_for_the_clients(
    server: Server,
) -> None:
    with server.open("/broken/conversation/v2") as client:
        assert received(client) == []
        assert client.close_code in (1006, 1011)
        assert "/etc" not in (client.close_reason or "")
    eventually(lambda: server.seats.taken == 0)


@pytest.mark.parametrize("audio", ["files", "stream"])
def test_nothing_is_left_of_a_client_that_was_killed_while_it_was_answered(
    server: Server, audio: str
) -> None:
    eventually(lambda: server.seats.taken == 0)
    before = server.n_tasks
    clients = [server.open(f"/long/conversation/v2?audio={audio}", legacy=True) for _ in range(5)]
    for client in clients:
        say(client, "first", after=0.5)
        received(client, "response_text")
    assert server.seats.taken == 5
    for client in clients:
        abort(client)
    eventually(lambda: server.seats.taken == 0)
    eventually(lambda: server.n_tasks <= before)


def abort(client: ClientConnection) -> None:
    """The client's machine is gone: no close frame, and a reset."""
    linger = struct.pack("ii", 1, 0)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.socket.shutdown(socket.SHUT_RD)
    client.socket.close()


# -- how strictly pauses are detected


def test_webrtcs_detector_is_as_strict_as_the_client_asks() -> None:
    webrtc = pytest.importorskip("realtime_stts.engines.webrtc")
    shared = webrtc.WebRTCPauseDetector(aggressiveness=1)
    for given in (shared, lambda: webrtc.WebRTCPauseDetector(aggressiveness=1)):
        common = engine(pause_detector=given)
        own: Any = _detector(common, 3)
        assert own.get_config()["aggressiveness"] == 3
        assert _detector(common, None) is None
    assert shared.get_config()["aggressiveness"] == 1


def test_other_detectors_have_no_such_setting() -> None:
    assert _detector(engine(), 3) is None
