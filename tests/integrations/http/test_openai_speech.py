"""`/v1/audio/speech`, as OpenAI's own client calls it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import anyio
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("openai")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

import fastapi
import httpx
import openai

from realtime_stts.audio import AudioData
from realtime_stts.errors import OverloadedError, RateLimitError, UnknownVoiceError
from realtime_stts.integrations.fastapi import install_error_handlers, openai_router, protect
from realtime_stts.protocols import SynthesisResult
from realtime_stts.testing import ScriptedTTSEngine, tone_text
from tests.servers import serving

TEXT = "Good morning to you"


class Held:
    """Speaks one chunk, then waits to be let go on; fails if it is told to."""

    name = "held"
    model_loaded = True

    def __init__(self) -> None:
        self.go_on, self.closed = Event(), Event()
        self.failure: Exception | None = None

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        raise NotImplementedError

    async def list_voices(self) -> list[dict[str, Any]]:
        return []

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        try:
            if text == "nothing":
                return
            yield AudioData(b"\1\0" * 2400, 24_000)
            await anyio.to_thread.run_sync(self.go_on.wait, abandon_on_cancel=True)
            if self.failure is not None:
                raise self.failure
            yield AudioData(b"\2\0" * 2400, 24_000)
        finally:
            self.closed.set()


@dataclass
class Server:
    url: str
    tts: ScriptedTTSEngine
    failures: list[Exception | None] = field(default_factory=list)

    def client(self, key: str = "key") -> Any:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)


@contextmanager
def app_with(tts: Any, **options: Any) -> Iterator[str]:
    app = fastapi.FastAPI()
    app.include_router(openai_router(tts=tts, **options))
    install_error_handlers(app)
    protect(app, max_body_bytes=200_000)
    with serving(app, log_level="critical") as url:
        yield url


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    failures: list[Exception | None] = []

    def planned() -> Iterator[Exception | None]:
        while True:
            yield failures.pop(0) if failures else None

    tts = ScriptedTTSEngine(
        latency=0, real_time_factor=0, voices=("anna", "bert"), failures=planned()
    )
    with app_with(tts) as url:
        yield Server(url, tts, failures)


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with server.client() as client:
        yield client


def spoken(data: bytes) -> str:
    return tone_text(AudioData.from_file(data))


# -- what is said


@pytest.mark.parametrize(
    ("format", "media"),
    [("wav", "audio/wav"), ("flac", "audio/flac"), ("mp3", "audio/mpeg"), ("opus", "audio/ogg")],
)
def test_a_text_is_said_in_the_format_that_is_asked_for(
    client: Any, format: str, media: str
) -> None:
    answer = client.audio.speech.create(
        model="tts-1", voice="anna", input=TEXT, response_format=format
    )
    assert answer.response.headers["content-type"] == media
    assert spoken(answer.content) == TEXT


def test_without_a_format_it_is_mp3_as_openais_is(client: Any) -> None:
    answer = client.audio.speech.create(model="tts-1", voice="anna", input=TEXT)
    assert answer.response.headers["content-type"] == "audio/mpeg"


def test_pcm_is_24_khz_and_says_so(client: Any) -> None:
    answer = client.audio.speech.create(
        model="tts-1", voice="anna", input=TEXT, response_format="pcm"
    )
    assert answer.response.headers["content-type"] == "audio/pcm;rate=24000;channels=1"
    assert tone_text(AudioData(answer.content, 24_000)) == TEXT


def test_the_voice_the_pace_and_the_seed_are_the_engines(server: Server, client: Any) -> None:
    client.audio.speech.create(
        model="tts-1", voice={"id": "bert"}, input=TEXT, speed=2.0, extra_body={"seed": 7}
    )
    assert server.tts.calls[-1].voice_config == {
        "voice_id": "bert",
        "speed_factor": 2.0,
        "seed": 7,
    }


@pytest.mark.parametrize("voice", ["alloy", "marin", ""])
def test_openais_own_names_stand_for_the_default_voice(
    server: Server, client: Any, voice: str
) -> None:
    client.audio.speech.create(model="tts-1", voice=voice, input=TEXT)
    assert "voice_id" not in server.tts.calls[-1].voice_config


def test_events_carry_the_same_file(client: Any) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="anna", input=TEXT, response_format="wav", stream_format="sse"
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line]
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert spoken(b"".join(base64.b64decode(event["audio"]) for event in deltas)) == TEXT
    assert done["type"] == "speech.audio.done"


# -- while it is made


def test_the_first_sound_leaves_before_the_last_is_made() -> None:
    tts = Held()
    with (
        app_with(tts) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key") as client,
        client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=TEXT, response_format="pcm"
        ) as answer,
    ):
        pieces = answer.iter_bytes(chunk_size=None)
        assert next(pieces) == b"\1\0" * 2400
        assert not tts.closed.is_set()
        tts.go_on.set()
        assert b"".join(pieces) == b"\2\0" * 2400


def test_a_client_that_leaves_stops_the_engine() -> None:
    tts = Held()
    with app_with(tts) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="key") as client:
        with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=TEXT, response_format="pcm"
        ) as answer:
            next(answer.iter_bytes(chunk_size=None))
        assert tts.closed.wait(10)
        tts.go_on.set()


def test_a_failure_after_the_first_sound_cuts_the_connection() -> None:
    tts = Held()
    tts.failure = RuntimeError("the words were secret")
    tts.go_on.set()
    with app_with(tts) as url, pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{url}/v1/audio/speech", json={"input": TEXT, "response_format": "pcm"})


def test_a_failure_among_events_is_an_event() -> None:
    tts = Held()
    tts.failure = RuntimeError("the words were secret")
    tts.go_on.set()
    with app_with(tts) as url:
        answer = httpx.post(
            f"{url}/v1/audio/speech",
            json={"input": TEXT, "response_format": "pcm", "stream_format": "sse"},
        )
    assert "event: error" in answer.text
    assert "speech.audio.done" not in answer.text
    assert "secret" not in answer.text


# -- what cannot be said


def test_a_failure_before_the_first_sound_has_a_status(server: Server, client: Any) -> None:
    server.failures.append(OverloadedError("all is full", retry_after=3))
    with pytest.raises(openai.InternalServerError) as caught:
        client.audio.speech.create(model="tts-1", voice="anna", input=TEXT)
    assert caught.value.status_code == 503
    assert caught.value.code == "overloaded"
    assert caught.value.response.headers["retry-after"] == "3"


def test_a_rate_limit_is_the_clients_rate_limit_error(server: Server, client: Any) -> None:
    server.failures.append(RateLimitError("too often", retry_after=2))
    with pytest.raises(openai.RateLimitError):
        client.audio.speech.create(model="tts-1", voice="anna", input=TEXT)


def test_an_engines_own_words_are_not_told(server: Server, client: Any) -> None:
    server.failures.append(RuntimeError("/home/somebody/model.bin"))
    with pytest.raises(openai.InternalServerError) as caught:
        client.audio.speech.create(model="tts-1", voice="anna", input=TEXT)
    assert "somebody" not in str(caught.value)


def test_what_an_engine_does_not_take_is_the_clients(server: Server, client: Any) -> None:
    server.failures.append(ValueError("no such number"))
    with pytest.raises(openai.BadRequestError):
        client.audio.speech.create(model="tts-1", voice="anna", input=TEXT)


def test_an_engine_without_a_sound_has_failed() -> None:
    with (
        app_with(Held()) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.audio.speech.create(model="tts-1", voice="alloy", input="nothing")


def test_an_unknown_voice_is_not_found(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.speech.create(model="tts-1", voice="../etc/passwd", input=TEXT)
    assert caught.value.code == "unknown_voice"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": "  "}, "input"),
        ({"input": "a" * 20_001}, "input"),
        ({"response_format": "aac"}, "response_format"),
        ({"response_format": "midi"}, "response_format"),
        ({"speed": 5.0}, "speed"),
        ({"stream_format": "smoke"}, "stream_format"),
    ],
)
def test_what_cannot_be_met_names_the_field(client: Any, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.speech.create(**{"model": "tts-1", "voice": "anna", "input": TEXT, **wrong})
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_aac_is_refused_in_words(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="no AAC encoder"):
        client.audio.speech.create(model="tts-1", voice="anna", input=TEXT, response_format="aac")


@pytest.mark.parametrize("body", [b"", b"[", b'{"input": "\\ud800"}', b"\xff", b"[]"])
def test_a_body_that_is_none_is_refused(server: Server, body: bytes) -> None:
    answer = httpx.post(
        f"{server.url}/v1/audio/speech",
        content=body,
        headers={"content-type": "application/json"},
    )
    if body.startswith(b"{"):  # half a character is a text, and this engine spells it "?"
        assert answer.status_code == 200
    else:
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


# -- how it is mounted


def test_dependencies_say_who_may_speak() -> None:
    def nobody() -> None:
        raise fastapi.HTTPException(401, "Show a key.", {"X-Why": "no key"})

    tts = ScriptedTTSEngine()
    with (
        app_with(tts, dependencies=[fastapi.Depends(nobody)]) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key") as client,
    ):
        with pytest.raises(openai.AuthenticationError, match=r"Show a key\.") as caught:
            client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
        assert caught.value.response.headers["x-why"] == "no key"
        with pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_a_host_names_the_voices_and_changes_the_engine() -> None:
    first, second = (
        ScriptedTTSEngine(latency=0, real_time_factor=0, voices=(name,)) for name in "ab"
    )
    used = [first]

    async def resolve(name: str | None) -> str | None:
        if name is None:
            return used[0].voices[0]
        raise UnknownVoiceError(name, ())

    with (
        app_with(lambda: used[0], resolve_voice=resolve, speech_format="wav") as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key") as client,
    ):
        answer = client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
        assert answer.response.headers["content-type"] == "audio/wav"
        used[0] = second
        client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
    assert first.calls[0].voice_config["voice_id"] == "a"
    assert second.calls[0].voice_config["voice_id"] == "b"


def test_models_are_the_engines_and_openais_names_for_them(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["ScriptedTTSEngine", "tts-1"]
    assert client.models.retrieve("tts-1").owned_by == "realtime-stts"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-17")
    assert caught.value.code == "model_not_found"


def test_no_names_are_no_route() -> None:
    with app_with(ScriptedTTSEngine(), model_names=()) as url:
        assert httpx.get(f"{url}/v1/models").status_code == 404


def test_the_errors_are_in_the_description(server: Server) -> None:
    described = httpx.get(f"{server.url}/openapi.json").json()
    responses = described["paths"]["/v1/audio/speech"]["post"]["responses"]
    assert {*responses} == {"200", "4XX", "5XX"}
    assert "audio/mpeg" in responses["200"]["content"]
