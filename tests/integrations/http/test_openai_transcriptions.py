"""`/v1/audio/transcriptions`, as OpenAI's own client calls it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("openai")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

import anyio
import fastapi
import httpx
import openai

from realtime_stts.integrations.fastapi import install_error_handlers, openai_router, protect
from realtime_stts.integrations.starlette import AudioDecoder
from realtime_stts.protocols import (
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
)
from realtime_stts.testing import ToneSTTEngine, speak_tones
from tests.servers import serving

TEXT = "tell me a joke"
SPEECH = speak_tones(TEXT, 16_000)
WAV = SPEECH.encode("wav")

RESULT = TranscriptionResult(
    "Good morning. Hello.",
    "en",
    [
        TranscriptionSegment("Good morning.", 0.0, 1.5, 0.5),
        TranscriptionSegment("Hello.", 1.5, 2.25),
    ],
    0.9,
    words=[TranscriptionWord("Good", 0.0, 0.5), TranscriptionWord("morning.", 0.5, 1.5)],
    no_speech_probability=0.125,
)


class Planned:
    """Hears what it is told to, whole clips only."""

    name = "planned"
    model_loaded = True

    def __init__(self) -> None:
        self.result: TranscriptionResult | None = RESULT
        self.failure: Exception | None = None
        self.languages: list[str | None] = []

    async def transcribe(
        self, audio: Any, language: str | None = None
    ) -> TranscriptionResult | None:
        self.languages.append(language)
        if self.failure is not None:
            raise self.failure
        return self.result

    async def is_available(self) -> bool:
        return True


@dataclass
class Server:
    url: str
    stt: Planned

    def client(self, **options: Any) -> Any:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="key", max_retries=0, **options)


def app_with(**options: Any) -> Any:
    app = fastapi.FastAPI()
    app.include_router(openai_router(**options))
    install_error_handlers(app)
    protect(app, max_body_bytes=300_000)
    return app


@pytest.fixture(scope="module")
def tones() -> Iterator[Any]:
    """A server that hears tones, and decodes with a decoder for all."""
    app = app_with(stt=ToneSTTEngine(latency=0), decoder=AudioDecoder(max_seconds=10.0))
    with (
        # One client for all tests: its connection may be idle for a while.
        serving(app, log_level="critical", timeout_keep_alive=600) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    stt = Planned()
    with serving(app_with(stt=stt, translator=stt), log_level="critical") as url:
        yield Server(url, stt)


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    server.stt.result, server.stt.failure = RESULT, None
    with server.client() as client:
        yield client


def heard(client: Any, file: Any = ("speech.wav", WAV), **options: Any) -> Any:
    return client.audio.transcriptions.create(model="whisper-1", file=file, **options)


# -- what was said


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus", "ogg"])
def test_a_file_is_known_by_its_content(tones: Any, format: str) -> None:
    answer = heard(tones, ("speech.bin", SPEECH.encode(format)))
    assert answer.text == TEXT
    assert answer.usage.seconds == pytest.approx(SPEECH.duration_seconds, abs=0.1)


def test_text_is_text(client: Any) -> None:
    assert heard(client, response_format="text") == "Good morning. Hello.\n"


def test_captions_have_times(client: Any) -> None:
    assert "00:00:01,500 --> 00:00:02,250\nHello." in heard(client, response_format="srt")
    captions = heard(client, response_format="vtt")
    assert captions.startswith("WEBVTT")
    assert "00:00:01.500 --> 00:00:02.250\nHello." in captions


def test_verbose_has_segments_unless_other_times_are_asked_for(client: Any) -> None:
    answer = heard(client, response_format="verbose_json")
    assert (answer.text, answer.language) == ("Good morning. Hello.", "en")
    assert answer.duration == pytest.approx(SPEECH.duration_seconds)
    first, second = answer.segments
    assert (first.id, first.text, first.start, first.end) == (0, "Good morning.", 0.0, 1.5)
    assert first.avg_logprob == pytest.approx(-0.693, abs=0.001)
    assert first.no_speech_prob == 0.125
    assert second.avg_logprob == 0.0
    assert answer.words is None


def test_words_have_times(client: Any) -> None:
    answer = heard(client, response_format="verbose_json", timestamp_granularities=["word"])
    assert [(word.word, word.start, word.end) for word in answer.words] == [
        ("Good", 0.0, 0.5),
        ("morning.", 0.5, 1.5),
    ]
    assert answer.segments is None
    both = heard(
        client, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert both.segments
    assert both.words


def test_the_language_is_the_engines(server: Server, client: Any) -> None:
    heard(client, language="de")
    heard(client)
    assert server.stt.languages[-2:] == ["de", None]


# -- while it is heard


def test_the_text_is_sent_as_it_grows(tones: Any) -> None:
    *deltas, done = heard(tones, stream=True)
    assert len(deltas) > 1
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert "".join(event.delta for event in deltas) == TEXT
    assert (done.type, done.text) == ("transcript.text.done", TEXT)


def test_an_engine_of_whole_clips_says_all_at_once(server: Server, client: Any) -> None:
    n_calls = len(server.stt.languages)
    delta, done = heard(client, stream=True)
    assert delta.delta == done.text == "Good morning. Hello."
    assert len(server.stt.languages) == n_calls + 1


def test_a_failure_before_the_first_word_has_a_status(server: Server, client: Any) -> None:
    server.stt.failure = RuntimeError("the words were secret")
    with pytest.raises(openai.InternalServerError) as caught:
        heard(client, stream=True)
    assert "secret" not in str(caught.value)


def test_a_failure_after_words_is_the_clients_error() -> None:
    failing = _Committing(RuntimeError("the words were secret"))
    with (
        serving(app_with(stt=failing), log_level="critical") as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key") as client,
    ):
        events = iter(heard(client, stream=True))
        assert next(events).delta == "so"
        with pytest.raises(openai.APIError):
            next(events)


def test_a_stream_without_an_end_is_a_failure() -> None:
    with (
        serving(app_with(stt=_Committing(None)), log_level="critical") as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key") as client,
    ):
        events = iter(heard(client, stream=True))
        assert next(events).delta == "so"
        with pytest.raises(openai.APIError):
            next(events)


class _Committing(Planned):
    """Is certain of a word, and then fails or ends."""

    def __init__(self, failure: Exception | None) -> None:
        super().__init__()
        self.failure = failure

    async def stream(self, audio: Any, language: str | None = None) -> Any:
        async for _ in audio:
            pass
        for _ in range(2):
            yield TranscriptionResult("so far", "en", [], partial=True, committed="so")
        if self.failure is not None:
            raise self.failure


def test_a_client_that_leaves_stops_the_engine() -> None:
    began, stopped = Event(), Event()

    class Endless(Planned):
        async def transcribe(self, audio: Any, language: str | None = None) -> Any:
            began.set()
            try:
                await anyio.sleep_forever()
            finally:
                stopped.set()

    with (
        serving(app_with(stt=Endless()), log_level="critical") as url,
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client,
    ):
        request = httpx.Request("POST", url, files={"file": WAV})
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        client.sendall(f"POST /v1/audio/transcriptions HTTP/1.1\r\n{head}\r\n".encode())
        client.sendall(request.read())
        assert began.wait(10)
        client.close()
        assert stopped.wait(10)


# -- what cannot be heard


@pytest.mark.parametrize("file", [b"not audio at all", b"RIFF\0\0\0\0WAVE", b""])
def test_what_is_no_audio_is_the_clients_fault(tones: Any, file: bytes) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        heard(tones, ("speech.wav", file))
    assert caught.value.type == "invalid_request_error"


def test_what_is_too_long_is_413(tones: Any) -> None:
    long = speak_tones(TEXT * 20, 8_000).encode("opus")
    with pytest.raises(openai.APIStatusError) as caught:
        heard(tones, ("speech.opus", long))
    assert caught.value.status_code == 413


def test_a_body_that_is_too_large_is_413(tones: Any) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        heard(tones, ("speech.wav", bytes(400_000)))
    assert caught.value.status_code == 413


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"response_format": "diarized_json"}, "response_format"),
        ({"temperature": 3.0}, "temperature"),
    ],
)
def test_what_cannot_be_met_names_the_field(client: Any, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        heard(client, **wrong)
    assert caught.value.param == param


def test_without_a_file_it_says_so(server: Server) -> None:
    answer = httpx.post(f"{server.url}/v1/audio/transcriptions", data={"model": "whisper-1"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "file"


def test_none_is_a_failure_without_a_reason(server: Server, client: Any) -> None:
    server.stt.result = None
    with pytest.raises(openai.InternalServerError):
        heard(client)


def test_a_language_that_the_engine_lacks_is_the_clients(server: Server, client: Any) -> None:
    server.stt.failure = ValueError("no such language: tlh")
    with pytest.raises(openai.BadRequestError):
        heard(client, language="tlh")


# -- translations


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's own
def test_a_translator_translates(client: Any) -> None:
    answer = client.audio.translations.create(model="whisper-1", file=("speech.wav", WAV))
    assert answer.text == "Good morning. Hello."
    verbose = client.audio.translations.create(
        model="whisper-1", file=("speech.wav", WAV), response_format="verbose_json"
    )
    assert verbose.segments


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's own
def test_without_one_it_says_so(tones: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="does not translate"):
        tones.audio.translations.create(model="whisper-1", file=("speech.wav", WAV))
