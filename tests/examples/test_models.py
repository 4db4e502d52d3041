"""The server with Whisper and Chatterbox, chosen by settings alone, on small real checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("httpx")
pytest.importorskip("fastapi")
pytest.importorskip("whisper")
pytest.importorskip("chatterbox")

import anyio
import httpx
import torch
from fastapi_server import create_app

from realtime_stts import AudioData
from realtime_stts.engines import load_tts
from realtime_stts.settings import SettingsStore
from tests.servers import serving
from tools.random_chatterbox import small, write
from tools.whisper_fixture import expand

# openai-whisper reads its vocabularies and does not close the files.
pytestmark = pytest.mark.filterwarnings("ignore:.*tiktoken:pytest.PytestUnraisableExceptionWarning")

OWNER = "the-token-of-the-owner"
CONSENT = {"consent_by": "Anna", "consent_statement": "This server may use my voice."}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of the server's owner."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("server")
    store = SettingsStore(environ={})
    with small("standard"):
        store.update(
            {
                "paths.output": str(folder / "outputs"),
                "stt_engine.engine": "whisper",
                "stt_engine.model_path": str(expand(folder / "words.pt")),
                "stt_engine.device": "cpu",
                "tts_engine.engine": "chatterbox",
                "tts_engine.device": "cpu",
                "tts_engine.predefined_voices_path": str(folder / "voices"),
                "model.local_path": str(write(folder / "chatterbox", "standard")),
            }
        )
        app = create_app(store, management_token=OWNER)
        with (
            serving(app, ws="none") as url,
            httpx.Client(
                base_url=url, timeout=60, headers={"Authorization": f"Bearer {OWNER}"}
            ) as client,
        ):
            yield client


def said(text: str) -> AudioData:
    """By the voice that the small Whisper hears best."""

    async def spoken() -> AudioData:
        async with load_tts("espeak:en-us+f3", rate=150) as voice:
            return (await voice.synthesize(text, {})).audio_data.resampled(16_000)

    silence = AudioData.silence(0.2, 16_000)
    return AudioData.concat([silence, anyio.run(spoken), silence])


def until(ready: Callable[[], bool]) -> None:
    for _ in range(600):
        if ready():
            return
        anyio.run(anyio.sleep, 0.1)
    raise AssertionError("it took too long")


@pytest.fixture(autouse=True)
def _ready(client: httpx.Client) -> None:
    until(lambda: client.get("/health/ready").status_code == 200)


def test_whisper_hears(client: httpx.Client) -> None:
    audio = said("how is the weather today")
    answer = client.post("/stt", files={"audio_file": ("a.flac", audio.encode("flac"))})
    answer.raise_for_status()
    assert answer.json()["text"].strip(" .?").lower() == "how is the weather today"
    assert client.get("/stt/models").json()["current_model"]


def test_chatterbox_speaks_in_the_voice_that_was_uploaded(client: httpx.Client) -> None:
    text = "The quick brown fox jumps over the lazy dog and runs into the deep wood again."
    recording = {"files": ("Anna.wav", said(text).encode("wav"))}
    uploaded = client.post("/files/reference-audio/upload", files=recording, data=CONSENT)
    assert uploaded.status_code == 200, uploaded.text

    def speak(**voice: str) -> AudioData:
        body = {"text": "So it is said.", "seed": 1, **voice}
        answer = client.post("/tts", json=body)
        assert answer.status_code == 200, answer.text
        return AudioData.from_file(answer.content)

    own = speak()
    cloned = speak(voice_mode="clone", reference_audio_filename="Anna.wav")
    assert own.sample_rate == cloned.sample_rate == 24_000
    assert min(own.duration_seconds, cloned.duration_seconds) > 0.2
    assert cloned != own
    assert speak() == own, "the voice of the call before stayed"

    gone = client.delete("/files/reference-audio/Anna.wav")
    assert gone.status_code == 200, gone.text
    lost = client.post(
        "/tts", json={"text": "x", "voice_mode": "clone", "reference_audio_filename": "Anna.wav"}
    )
    assert lost.status_code == 404
