"""The server hears: `/stt`."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from itertools import repeat
from math import ceil
from typing import Any

import anyio
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

from realtime_stts import AudioData, EngineError, TranscriptionResult
from realtime_stts.analytics import InMemoryAnalyticsStore
from realtime_stts.errors import RateLimitError
from realtime_stts.testing import Failure, ScriptedSTTEngine, ToneSTTEngine, speak_tones, speech
from tests.examples.core_tools import MANAGE, Running, eventually, leave, running

TEXT = "the quick brown fox"
TONES = speak_tones(TEXT, 16_000)
WAV = TONES.encode("wav")


@pytest.fixture(scope="module")
def analytics() -> InMemoryAnalyticsStore:
    return InMemoryAnalyticsStore(identifiers=True)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, analytics: InMemoryAnalyticsStore
) -> Iterator[Running]:
    """With an engine that truly understands tones."""
    folder = tmp_path_factory.mktemp("server")
    limits = {"limits.max_audio_seconds": 310.0}
    stt = ToneSTTEngine(latency=0)
    with running(folder, stt=stt, analytics=analytics, settings=limits) as server:
        yield server


def post(server: Running, path: str = "/stt", file: bytes = WAV, **form: str) -> Any:
    return server.http.post(path, files={"audio_file": ("speech.wav", file)}, data=form)


def events(answer: Any) -> list[tuple[str, dict[str, Any]]]:
    """Server-sent events."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for each in answer.text.split("\n\n")[:-1]:
        name, data = each.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


class TestTranscripts:
    def test_are_what_is_said_and_when(self, server: Running) -> None:
        answer = post(server, language="en")

        assert answer.status_code == 200
        found = answer.json()
        assert [*found][:3] == ["text", "language", "duration"]
        assert found["text"] == TEXT
        assert found["language"] == "en"
        assert found["duration"] == pytest.approx(TONES.duration_seconds, abs=1e-3)
        assert 0 <= found["confidence"] <= 1
        assert [word["text"] for word in found["words"]] == TEXT.split()
        assert found["segments"][-1]["end"] <= found["duration"] + 0.01

    def test_of_silence_are_empty(self, server: Running) -> None:
        answer = post(server, file=AudioData.silence(1.0, 16_000).encode("wav"))

        assert answer.status_code == 200
        assert answer.json()["text"] == ""

    @pytest.mark.parametrize("format", ["wav", "flac", "ogg", "opus", "mp3"])
    def test_take_each_format_whatever_the_file_is_called(
        self, server: Running, format: str
    ) -> None:
        files = {"audio_file": ("speech.txt", TONES.encode(format), "text/plain")}

        answer = server.http.post("/stt", files=files)

        assert answer.status_code == 200
        assert answer.json()["text"] == TEXT

    def test_take_m4a(self, server: Running) -> None:
        av = pytest.importorskip("av")
        file = io.BytesIO()
        with av.open(file, "w", format="ipod") as container:
            stream = container.add_stream("aac", rate=16_000)
            samples = np.frombuffer(TONES.data, np.int16)[np.newaxis]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

        answer = post(server, file=file.getvalue())

        assert answer.status_code == 200
        assert answer.json()["duration"] == pytest.approx(TONES.duration_seconds, abs=0.2)

    def test_know_the_forks_names_of_the_fields(self, server: Running) -> None:
        answer = server.http.post("/stt", files={"file": ("a.wav", WAV)}, data={"lang": "en"})

        assert answer.json()["text"] == TEXT

    def test_are_there_under_the_old_path(self, server: Running) -> None:
        assert post(server, "/stt/legacy").json()["text"] == TEXT

    @pytest.mark.parametrize("path", ["/stt", "/stt/stream"])
    def test_are_counted_under_the_requests_own_id(
        self, server: Running, analytics: InMemoryAnalyticsStore, path: str
    ) -> None:
        id = f"of{path.replace('/', '-')}"
        files = {"audio_file": ("speech.wav", WAV)}

        server.http.post(path, files=files, headers={"X-Request-ID": id})

        (call, *_) = anyio.run(analytics.recent)
        assert (call.request_id, call.request_type) == (id, "stt")


@pytest.mark.parametrize("path", ["/stt", "/stt/stream"])
class TestRecordingsThatCannotBeUsed:
    def refused(self, answer: Any, status: int, code: str) -> None:
        assert answer.status_code == status
        assert answer.json()["error_code"] == code
        assert answer.json()["request_id"] == answer.headers["x-request-id"]

    def test_are_not_there(self, server: Running, path: str) -> None:
        self.refused(server.http.post(path), 400, "no_file")
        self.refused(server.http.post(path, json={"text": "a"}), 400, "no_file")

    def test_are_no_file(self, server: Running, path: str) -> None:
        form = {"audio_file": (None, "text")}
        self.refused(server.http.post(path, files=form), 422, "invalid_request")

    def test_are_empty(self, server: Running, path: str) -> None:
        self.refused(post(server, path, b""), 400, "empty_file")

    def test_are_of_another_kind(self, server: Running, path: str) -> None:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("a.wav", WAV)
        for content in (b"hello", b"\0" * 1_000, archive.getvalue(), b"#!/bin/sh\n" * 100):
            self.refused(post(server, path, content), 415, "unsupported_audio")

    def test_are_damaged(self, server: Running, path: str) -> None:
        answer = post(server, path, WAV[:20])

        assert answer.status_code in (415, 422)

    def test_are_too_long(self, server: Running, path: str) -> None:
        long = AudioData.silence(320.0, 8_000).encode("flac")

        self.refused(post(server, path, long), 413, "audio_too_long")

    def test_are_no_multipart_form(self, server: Running, path: str) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}

        answer = server.http.post(path, content=b"--x\r\nnonsense", headers=headers)

        assert answer.status_code == 400

    @pytest.mark.parametrize("name", ["\0.wav", "../../x.wav", "ü🎉.wav", "a" * 1_000, '"\\"'])
    def test_are_not_judged_by_their_name(self, server: Running, path: str, name: str) -> None:
        answer = server.http.post(path, files={"audio_file": (name, WAV)})

        assert answer.status_code == 200

    @pytest.mark.parametrize("language", ["English", "../..", "e", "en\0", "x" * 1_000])
    def test_or_their_language_is_none(self, server: Running, path: str, language: str) -> None:
        self.refused(post(server, path, language=language), 422, "invalid_request")


class Plain:
    """An engine that takes whole clips; or raises."""

    name = "plain"
    model_loaded = True
    error: Exception | None = None

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        if self.error is not None:
            raise self.error
        return TranscriptionResult("hello", "en", [])

    async def is_available(self) -> bool:
        return True


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Plain]]:
    engine = Plain()
    with running(tmp_path_factory.mktemp("plain"), stt=engine) as server:
        yield server, engine


class TestLive:
    def test_tells_progress_then_words_then_all(self, server: Running) -> None:
        found = events(post(server, "/stt/stream"))

        names = [name for name, _ in found]
        assert {*names} == {"progress", "partial", "final"}
        done = [data["seconds_done"] for name, data in found if name == "progress"]
        total = round(TONES.duration_seconds, 3)
        assert done == sorted(done)
        assert done[-1] == total
        assert len(done) == ceil(TONES.duration_seconds)
        assert all(data["seconds_total"] == total for name, data in found if name == "progress")
        assert all(
            data["text"].startswith(data["committed"]) for name, data in found if name == "partial"
        )
        assert names[-1] == "final"
        assert found[-1][1] == post(server).json()

    def test_takes_a_long_recording_in_a_hundred_steps(self, server: Running) -> None:
        long = AudioData.silence(300.0, 8_000).encode("flac")

        found = events(post(server, "/stt/stream", long))

        assert [name for name, _ in found] == ["progress"] * 100 + ["final"]

    def test_comes_while_the_engine_still_works(self, tmp_path: Any) -> None:
        engine = Waiting()
        with running(tmp_path, stt=engine) as server:
            files = {"audio_file": ("a.wav", WAV)}
            with server.http.stream("POST", "/stt/stream", files=files) as answer:
                pieces = answer.iter_text()
                assert "progress" in next(pieces)
                assert not engine.closed

    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (EngineError("plain", "/srv/model.bin"), 500, "engine_failed"),
            (RateLimitError("slow down", retry_after=3), 429, "too_many_requests"),
            (ValueError("this engine hears English"), 422, "invalid_option"),
        ],
    )
    @pytest.mark.parametrize("path", ["/stt", "/stt/stream"])
    def test_fails_with_a_status_before_anything_was_told(
        self,
        plain: tuple[Running, Plain],
        error: Exception,
        status: int,
        code: str,
        path: str,
    ) -> None:
        server, engine = plain
        engine.error = error

        answer = post(server, path)

        assert answer.status_code == status
        assert answer.json()["error_code"] == code
        assert "/srv" not in answer.text

    def test_fails_with_an_event_after_that(self, tmp_path: Any) -> None:
        failure = Failure(EngineError("broken", "/srv/model.bin"), after=2, text="one two three")
        with running(tmp_path, stt=ScriptedSTTEngine([failure], latency=0)) as server:
            answer = post(server, "/stt/stream", speech(3.0).encode("wav"))

        assert answer.status_code == 200
        name, data = events(answer)[-1]
        assert name == "error"
        assert data["error_code"] == "engine_failed"
        assert data["request_id"] == answer.headers["x-request-id"]
        assert "/srv" not in answer.text

    def test_is_as_live_as_an_engine_lets_it(self, plain: tuple[Running, Plain]) -> None:
        server, engine = plain
        engine.error = None

        found = events(post(server, "/stt/stream"))

        assert [name for name, _ in found] == ["progress", "final"]


class Waiting:
    """An engine that hears a piece, and then works for ever."""

    name = "waiting"
    model_loaded = True

    def __init__(self) -> None:
        self.begun = self.closed = False

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        self.begun = True
        try:
            await anyio.sleep_forever()
        finally:
            self.closed = True
        raise AssertionError

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        pieces = aiter(audio)
        await anext(pieces)
        await anext(pieces)
        yield await self.transcribe(AudioData.silence(1, 8_000))

    async def is_available(self) -> bool:
        return True


@pytest.mark.parametrize("path", ["/stt", "/stt/stream"])
def test_a_client_that_leaves_stops_the_engine(tmp_path: Any, path: str) -> None:
    engine = Waiting()
    with running(tmp_path, stt=engine) as server:
        request = server.http.build_request("POST", path, files={"audio_file": ("a.wav", WAV)})

        leave(server, request, once=lambda: engine.begun)

        eventually(lambda: engine.closed)
        assert server.http.get("/stt/status").status_code == 200


class TestTheEngine:
    def test_says_how_it_is(self, server: Running) -> None:
        status = server.http.get("/stt/status").json()

        assert status["available"] is True
        assert status["model_loaded"] is True
        assert status["engine_type"] == status["adapter_type"] == "ToneSTTEngine"

    def test_says_which_models_it_has(self, server: Running) -> None:
        models = server.http.get("/stt/models").json()

        assert models["current_model"] in models["available_models"]
        assert models["current_device"] == "cpu"
        assert models["library_available"] is True

    def test_says_what_it_takes(self, server: Running) -> None:
        config = server.http.get("/stt/config").json()

        assert config["language"] == "auto"
        assert config["streaming"] is True
        assert {".wav", ".mp3", ".m4a", ".flac", ".ogg"} <= {*config["supported_formats"]}
        assert config["max_upload_mb"] == 100

    @pytest.mark.parametrize(
        ("settings", "model"),
        [
            ({"engine": "whisper"}, "base"),
            ({"engine": "whisper:tiny.en"}, "tiny.en"),
            ({"engine": "whisper", "model_path": "/srv/secret/model.pt"}, "custom"),
            ({"engine": "pocketsphinx"}, "whisper"),  # another one was given
        ],
    )
    def test_never_says_where_its_model_is(
        self, tmp_path: Any, settings: dict[str, str], model: str
    ) -> None:
        whisper = ScriptedSTTEngine(repeat("hello"), latency=0)
        whisper.name = "whisper"  # type: ignore[attr-defined]
        whisper.device = "cuda:1"  # type: ignore[attr-defined]
        whisper.get_available_models = lambda: ["tiny.en", "base"]  # type: ignore[attr-defined]
        settings = {f"stt_engine.{key}": value for key, value in settings.items()}
        with running(tmp_path, stt=whisper, settings=settings) as server:
            models = server.http.get("/stt/models").json()
            status = server.http.get("/stt/status")

        assert models["current_model"] == model
        assert models["current_device"] == "cuda:1"
        assert models["available_models"] == ["tiny.en", "base"]
        assert "secret" not in status.text

    def test_is_made_anew_by_those_who_may(self, server: Running) -> None:
        assert server.http.post("/stt/reload").status_code == 401
        before = server.services.parts

        answer = server.http.post("/stt/reload", headers=MANAGE).json()

        assert (answer["status"], answer["model_loaded"]) == ("success", True)
        assert server.services.parts is not before
        assert post(server).json()["text"] == TEXT


def test_the_embedded_engine_hears(tmp_path: Any) -> None:
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("pocketsphinx")
    from realtime_stts.engines.espeak import ESpeakTTSEngine
    from realtime_stts.engines.pocketsphinx import PocketSphinxSTTEngine

    stt = PocketSphinxSTTEngine(phrases=["what time is it", "good morning"])
    tts = ESpeakTTSEngine("en-us+f3", rate=150)
    with running(tmp_path, stt=stt, tts=tts) as server:
        said = server.http.post("/tts", json={"text": "What time is it?"})
        assert post(server, file=said.content).json()["text"] == "what time is it"
        live = events(post(server, "/stt/stream", said.content))
        assert live[-1][1]["text"] == "what time is it"
        german = post(server, file=said.content, language="de")
        assert german.status_code == 422
        assert "English" in german.json()["detail"]
        assert server.http.get("/stt/models").json()["current_model"] == "pocketsphinx"
