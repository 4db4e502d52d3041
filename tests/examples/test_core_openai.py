"""The example, spoken to by OpenAI's own client."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")
pytest.importorskip("openai")

import anyio
import httpx
import openai
from websockets.exceptions import InvalidStatus

from realtime_stts import AudioData
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.testing import ToneSTTEngine, speak_tones, tone_text
from tests.examples.apps import OWNER, running, scripted_app

TEXT = "good day to you"
LISTENER = "the-token-of-a-listener"


@dataclass
class Server:
    url: str

    def client(self, key: str = "anything") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)


def app(folder: Any, settings: Any = None) -> Any:
    async def echo(result: Any, context: Any) -> str:
        return str(result.text)

    return scripted_app(
        folder,
        settings,
        stt=ToneSTTEngine(latency=0.0),
        responder=echo,
        pause_detector=EnergyPauseDetector(),
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(app(tmp_path_factory.mktemp("openai"))) as url:
        yield Server(url)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "server.use_auth": True,
        "server.auth_tokens": {"ear": {"token": LISTENER, "permissions": ["stt"]}},
    }
    with running(app(tmp_path_factory.mktemp("guarded"), settings)) as url:
        yield Server(url)


def test_it_speaks(server: Server) -> None:
    with server.client() as client:
        answer = client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
        assert answer.response.headers["content-type"] == "audio/mpeg"
        assert tone_text(AudioData.from_file(answer.content)) == TEXT


def test_where_it_once_spoke_it_speaks_still_in_wav(server: Server) -> None:
    answer = httpx.post(
        f"{server.url}/tts/v1/audio/speech", json={"model": "tts-1", "input": TEXT, "voice": "echo"}
    )
    assert answer.headers["content-type"] == "audio/wav"
    assert tone_text(AudioData.from_file(answer.content)) == TEXT


def test_voices_are_the_servers(server: Server) -> None:
    with server.client() as client:
        client.audio.speech.create(model="tts-1", voice="scripted", input=TEXT)
        with pytest.raises(openai.NotFoundError) as caught:
            client.audio.speech.create(model="tts-1", voice="../config.yaml", input=TEXT)
    assert caught.value.code == "unknown_voice"


def test_it_hears(server: Server) -> None:
    with server.client() as client:
        answer = client.audio.transcriptions.create(
            model="whisper-1", file=("speech.wav", speak_tones(TEXT).encode("wav"))
        )
    assert answer.text == TEXT


def test_it_lists_its_models(server: Server) -> None:
    with server.client() as client:
        names = [model.id for model in client.models.list()]
        assert "whisper-1" in names
        assert len(names) == 5
        assert client.models.retrieve("tts-1").id == "tts-1"


def conversation(url: str, key: str) -> str:
    async def main() -> str:
        async with (
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client,
            client.realtime.connect(model="gpt-realtime") as connection,
        ):
            sound = speak_tones(TEXT).data + AudioData.silence(1.5, 24_000).data
            await connection.input_audio_buffer.append(audio=b64encode(sound).decode())
            with anyio.fail_after(20):
                while True:
                    event: Any = await connection.recv()
                    if event.type == "response.done":
                        return str(event.response.output[0].content[0].transcript)

    return asyncio.run(main())


def test_it_talks(server: Server) -> None:
    assert conversation(server.url, "anything") == TEXT


def test_with_authentication_the_key_is_a_token(guarded: Server) -> None:
    with guarded.client("wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
        with pytest.raises(openai.AuthenticationError):
            client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"))
        assert client.models.list().data
    with guarded.client(LISTENER) as client, pytest.raises(openai.PermissionDeniedError):
        client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
    with pytest.raises(InvalidStatus) as refused:
        conversation(guarded.url, LISTENER)
    assert refused.value.response.status_code == 403
    with guarded.client(OWNER) as client:
        client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
    assert conversation(guarded.url, OWNER) == TEXT
