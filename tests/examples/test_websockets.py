"""The example's sockets: transcripts, conversations, a custom one, a test, and what HTTP says."""

from __future__ import annotations

import json
import logging
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from realtime_stts import AudioData
from realtime_stts.errors import EngineLoadError
from realtime_stts.testing import ScriptedTTSEngine, ToneSTTEngine, speak_tones, tone_text
from tests.examples.apps import OWNER, running, scripted_app, soon

LIMIT = 10.0  # s for anything

SETTINGS = {
    "pause_detection": {"engine": "energy"},
    "conversation": {
        "response_mode": "echo",
        "adaptive_end_of_turn": False,
        "policy": {"end_of_turn": 0.3},
    },
}
LISTENER = "the-token-of-a-listener"


class Server:
    def __init__(self, url: str, app: Any) -> None:
        self.url = url
        self.services = app.state.services

    def open(self, path: str, token: str | None = None, **options: Any) -> ClientConnection:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        address = self.url.replace("http", "ws", 1) + path
        return connect(address, additional_headers=headers, open_timeout=LIMIT, **options)

    def refusal(self, path: str, token: str | None = None) -> tuple[int, dict[str, Any]]:
        with pytest.raises(InvalidStatus) as refused:
            self.open(path, token)
        response = refused.value.response
        return response.status_code, json.loads(response.body or b"")

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        return self.request("GET", path, token)

    def request(self, method: str, path: str, token: str | None = None) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.request(method, self.url + path, headers=headers, timeout=LIMIT)


def engines() -> dict[str, Any]:
    return {
        "stt": ToneSTTEngine(latency=0.0),
        "tts": ScriptedTTSEngine(
            latency=0.0, real_time_factor=0.0, sample_rate=16_000, voices=("one", "two")
        ),
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    app = scripted_app(tmp_path_factory.mktemp("server"), SETTINGS, **engines())
    with running(app) as url:
        yield Server(url, app)


def say(client: ClientConnection, text: str) -> None:
    quiet = AudioData.silence(1.0, 16_000).data
    data = quiet + speak_tones(text, 16_000).data + quiet
    for first in range(0, len(data), 3200):
        client.send(data[first : first + 3200])


def command(client: ClientConnection, action: str) -> None:
    client.send(json.dumps({"action": action}))


def received(client: ClientConnection, *types: str) -> list[Any]:
    """Messages up to and with the first of these types; or, of none, up to the end."""
    messages: list[Any] = []
    try:
        while True:
            data = client.recv(timeout=LIMIT)
            messages.append(data if isinstance(data, bytes) else json.loads(data))
            if isinstance(messages[-1], dict) and messages[-1]["type"] in types:
                return messages
    except ConnectionClosed:
        assert not types, messages
    return messages


# -- talking


def test_what_is_said_is_transcribed(server: Server) -> None:
    with server.open("/ws/transcribe?language=en") as client:
        say(client, "hello there")
        command(client, "stop")
        messages = received(client)
    assert client.close_code == 1000
    assert messages[0]["type"] == "ready"
    assert (messages[-1]["text"], messages[-1]["final"]) == ("hello there", True)


def test_version_1_answers_with_files(server: Server) -> None:
    with server.open("/ws/conversation") as client:
        say(client, "hello there")
        answer = received(client, "response_audio")[-1]
    assert answer["response_text"] == "hello there"
    assert tone_text(AudioData.from_file(b64decode(answer["audio_data"]))) == "hello there"


def test_version_2_answers_with_a_stream(server: Server) -> None:
    with server.open("/ws/conversation/v2?audio=stream") as client:
        say(client, "hello there")
        messages = received(client, "turn_ended")
    sound = b"".join(each for each in messages if isinstance(each, bytes))
    assert tone_text(AudioData(sound, 16_000)) == "hello there"


def test_it_answers_in_a_voice_of_the_catalogue(server: Server) -> None:
    with server.open("/ws/conversation/v2?predefined_voice_id=two.wav") as client:
        say(client, "hello")
        received(client, "turn_ended")
    assert server.services.parts is not None
    assert server.refusal("/ws/conversation?predefined_voice_id=/etc/passwd")[0] == 404


def test_whoever_asks_for_nonsense_is_told_so(server: Server) -> None:
    for path in ("", "/v2"):
        status, body = server.refusal(f"/ws/conversation{path}?pause_aggressiveness=9")
        assert status == 422
        assert "pause_aggressiveness" in body["detail"]


def test_the_embedded_engines_talk(tmp_path: Any) -> None:
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("espeakng_loader")
    from realtime_stts.engines.espeak import ESpeakTTSEngine
    from realtime_stts.engines.pocketsphinx import PocketSphinxSTTEngine

    async def spoken(text: str) -> AudioData:
        async with ESpeakTTSEngine() as tts:
            return (await tts.synthesize(text, {})).audio_data

    said = anyio.run(spoken, "good morning").resampled(16_000).data
    quiet = AudioData.silence(1.0, 16_000).data
    stt = PocketSphinxSTTEngine(phrases=["what time is it", "good morning"])
    settings = {"conversation": {"response_mode": "echo"}}
    app = scripted_app(tmp_path, settings, stt=stt, tts=ESpeakTTSEngine())
    with running(app) as url:
        talking = Server(url, app)
        with talking.open("/ws/conversation/v2?audio=stream") as client:
            client.send(quiet + said + quiet)
            messages = received(client, "turn_ended")
        assert messages[-1]["transcript"] == "good morning"
        assert any(isinstance(each, bytes) and any(each) for each in messages)
        with talking.open("/ws/transcribe") as client:
            client.send(quiet + said + quiet)
            command(client, "finish")
            assert received(client)[-1]["text"] == "good morning"


# -- a custom one


def test_a_custom_conversation_answers_and_counts_as_its_client_asks(server: Server) -> None:
    with server.open("/ws/conversation/custom?response_mode=echo&enable_analytics=true") as client:
        say(client, "hello there")
        assert received(client, "turn_ended")[-1]["reply"] == "hello there"
        command(client, "stats")
        counted = received(client, "statistics")[-1]["data"]["analytics"]
    assert counted["request_counts"] == {"stt": 1, "response": 1, "tts": 1}


def test_nobody_is_counted_who_does_not_ask_for_it(server: Server) -> None:
    with server.open("/ws/conversation/custom") as client:
        say(client, "hello")
        assert received(client, "response_text")[-1]["text"] != "hello"
        command(client, "stats")
        assert "analytics" not in received(client, "statistics")[-1]["data"]


def test_its_calls_are_logged_at_the_level_that_was_asked_for(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG, "realtime_stts.middleware.logging"),
        server.open("/ws/conversation/custom?log_level=WARNING") as client,
    ):
        say(client, "a secret")
        received(client, "audio_response")
        soon(lambda: [each for each in caplog.records if each.levelno == logging.WARNING])
    assert "a secret" not in caplog.text


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("response_mode=poem", "response_mode"),
        ("enable_analytics=perhaps", "enable_analytics"),
        ("log_level=LOUD", "log_level"),
    ],
)
def test_a_custom_conversation_that_makes_no_sense_is_refused(
    server: Server, query: str, parameter: str
) -> None:
    status, body = server.refusal(f"/ws/conversation/custom?{query}")
    assert (status, body["error_code"]) == (422, "invalid_request")
    assert parameter in body["detail"]
    assert body["request_id"]


# -- the test socket


def test_the_test_socket_sends_back_what_comes(server: Server) -> None:
    with server.open("/ws/conversation/test") as client:
        assert received(client, "ready")[-1]["message"]
        client.send("hello")
        assert received(client, "echo")[-1] == {"type": "echo", "message": "Echo: hello"}
        client.send(bytes(320))
        audio = received(client, "audio_received")[-1]
        assert audio["bytes_count"] == 320
        assert "320" in audio["message"]
    soon(lambda: server.services.seats.taken == 0)


def test_the_test_socket_has_the_limits_of_the_others(tmp_path: Any) -> None:
    limits = {"limits": {"max_message_kb": 16, "max_idle_seconds": 0.3}}
    app = scripted_app(tmp_path, {**SETTINGS, **limits}, **engines())
    with running(app) as url:
        small = Server(url, app)
        for path in ("conversation/test", "conversation", "conversation/v2", "transcribe"):
            with small.open(f"/ws/{path}") as client:
                client.send(bytes((16 << 10) + 2))
                received(client)
                assert client.close_code == 1009, path
            with small.open(f"/ws/{path}") as client:
                received(client)
                assert client.close_code == 1008, path


# -- who is let in


def test_a_token_permits_what_it_permits(tmp_path: Any) -> None:
    auth = {
        "server": {
            "use_auth": True,
            "auth_tokens": {"listener": {"token": LISTENER, "permissions": ["stt"]}},
        }
    }
    app = scripted_app(tmp_path, {**SETTINGS, **auth}, **engines())
    conversations = ("conversation", "conversation/v2", "conversation/custom", "conversation/test")
    with running(app) as url:
        closed = Server(url, app)
        for path in ("transcribe", *conversations):
            assert closed.refusal(f"/ws/{path}")[0] == 401, path
            closed.open(f"/ws/{path}", OWNER, legacy=True).close()
        closed.open("/ws/transcribe", LISTENER, legacy=True).close()
        for path in conversations:
            assert closed.refusal(f"/ws/{path}", LISTENER)[0] == 403, path
        assert closed.get("/ws/conversation/status").status_code == 401
        assert closed.get("/ws/conversation/status", LISTENER).status_code == 403
        assert closed.get("/ws/conversation/status", OWNER).status_code == 200


def test_a_server_that_stops_lets_nobody_in(tmp_path: Any) -> None:
    app = scripted_app(tmp_path, SETTINGS, **engines())
    with running(app) as url:
        stopping = Server(url, app)
        with stopping.open("/ws/conversation/v2") as client:
            received(client, "ready")
            app.state.services.state = "draining"
            for path in ("transcribe", "conversation", "conversation/custom", "conversation/test"):
                assert stopping.refusal(f"/ws/{path}")[0] == 503, path
            say(client, "but i may finish")
            assert received(client, "response_text")[-1]["text"] == "but i may finish"


# -- what HTTP says


def test_the_status_is_that_of_now_and_asking_changes_nothing(server: Server) -> None:
    parts = server.services.parts
    soon(lambda: server.services.seats.taken == 0)
    with server.open("/ws/conversation"):
        status = server.get("/ws/conversation/status").json()
    assert status == {
        "status": "ready",
        "stt_available": True,
        "tts_available": True,
        "pause_detection_available": True,
        "response_generation_available": True,
        "middleware_count": status["middleware_count"],
        "conversations": 1,
        "max_conversations": 100,
    }
    assert server.services.parts is parts


def test_the_configuration_names_no_folders_and_no_keys(server: Server) -> None:
    config = server.get("/ws/conversation/config").json()
    assert config.keys() == {"stt", "tts", "pause_detection", "response_generation", "middleware"}
    assert config["stt"]["engine"] == "pocketsphinx"
    assert config["pause_detection"]["engine"] == "energy"
    assert config["response_generation"]["response_mode"] == "echo"
    assert config["middleware"]
    assert "/" not in json.dumps(config)


def test_reloading_is_the_owners(server: Server) -> None:
    parts = server.services.parts
    assert server.request("POST", "/ws/conversation/reload").status_code == 401
    assert server.services.parts is parts
    with server.open("/ws/conversation/v2") as client:
        received(client, "ready")
        answer = server.request("POST", "/ws/conversation/reload", OWNER)
        assert answer.status_code == 200
        assert answer.json()["status"] == "success"
        assert server.services.parts is not parts
        say(client, "still here")
        assert received(client, "turn_ended")[-1]["reply"] == "still here"
    with server.open("/ws/conversation/v2") as client:
        say(client, "and new")
        assert received(client, "turn_ended")[-1]["reply"] == "and new"


def test_while_it_is_not_ready_it_says_so(tmp_path: Any) -> None:
    class Broken(ToneSTTEngine):
        async def load(self) -> None:
            raise EngineLoadError("tones", "/models/secret is missing")

        async def warmup(self) -> None:
            await self.load()

    app = scripted_app(tmp_path, SETTINGS, **{**engines(), "stt": Broken()})
    with running(app, ready=False) as url:
        broken = Server(url, app)
        soon(lambda: app.state.services.state == "failed")
        status = broken.get("/ws/conversation/status")
        assert (status.status_code, status.json()["error_code"]) == (503, "not_ready")
        assert status.headers["Retry-After"] == "1"
        reload = broken.request("POST", "/ws/conversation/reload", OWNER)
        assert (reload.status_code, reload.json()["error_code"]) == (503, "engine_unavailable")
        assert "secret" not in reload.text
        assert broken.refusal("/ws/conversation")[0] == 503


def test_the_way_from_version_1_to_2_is_told(server: Server) -> None:
    told = server.get("/ws/conversation/migration-info").json()
    assert told["endpoints"]["v2"] == "/ws/conversation/v2"
    assert told["messages"]["response_audio"]
