"""The server speaks: `/tts`."""

from __future__ import annotations

import io
import json
import re
import wave
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from datetime import datetime, timezone
from threading import Event
from typing import Any

import anyio
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

import httpx
from fastapi import HTTPException, Request
from fastapi_server.core.answers import while_connected

from realtime_stts import AudioData, EngineError, SynthesisResult
from realtime_stts.analytics import InMemoryAnalyticsStore
from realtime_stts.errors import CircuitOpenError
from realtime_stts.testing import Failure, ScriptedTTSEngine, speak_tones, speech, tone_text
from realtime_stts.voices import Consent
from tests.examples.core_tools import MANAGE, Running, eventually, leave, running

TEXT = "the quick brown fox"


@pytest.fixture(scope="module")
def tts() -> ScriptedTTSEngine:
    return ScriptedTTSEngine(latency=0, real_time_factor=0, voices=("anna", "ben"))


@pytest.fixture(scope="module")
def analytics() -> InMemoryAnalyticsStore:
    return InMemoryAnalyticsStore(identifiers=True)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    tts: ScriptedTTSEngine,
    analytics: InMemoryAnalyticsStore,
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    with running(folder, tts=tts, analytics=analytics) as server:
        yield server


def say(server: Running, **given: Any) -> Any:
    return server.http.post("/tts", json={"text": TEXT, **given})


class TestSpeech:
    def test_is_a_wav_file_that_says_the_text(self, server: Running) -> None:
        answer = say(server)

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "audio/wav"
        assert tone_text(AudioData.from_file(answer.content)) == TEXT

    def test_is_what_its_headers_say(self, server: Running) -> None:
        answer = say(server)

        with wave.open(io.BytesIO(answer.content)) as file:
            rate, n_frames = file.getframerate(), file.getnframes()
            assert file.getnchannels() == 1
        assert int(answer.headers["x-sample-rate"]) == rate
        assert float(answer.headers["x-duration"]) == pytest.approx(n_frames / rate, abs=1e-3)
        assert int(answer.headers["content-length"]) == len(answer.content)

    def test_is_a_download_named_by_its_time(self, server: Running) -> None:
        disposition = say(server, output_format="mp3").headers["content-disposition"]

        assert re.fullmatch(r'attachment; filename="tts_output_\d{8}_\d{6}\.mp3"', disposition)

    @pytest.mark.parametrize(
        ("format", "media_type"),
        [
            ("wav", "audio/wav"),
            ("opus", "audio/ogg"),
            ("ogg", "audio/ogg"),
            ("mp3", "audio/mpeg"),
            ("flac", "audio/flac"),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_comes_in_many_formats(
        self, server: Running, format: str, media_type: str, stream: bool
    ) -> None:
        whole = AudioData.from_file(say(server).content)

        answer = say(server, output_format=format, stream=stream)

        audio = AudioData.from_file(answer.content)
        assert answer.headers["content-type"] == media_type
        assert int(answer.headers["x-sample-rate"]) == 24_000
        assert audio.channels == 1
        assert audio.duration_seconds == pytest.approx(whole.duration_seconds, abs=0.2)

    @pytest.mark.parametrize("stream", [False, True])
    def test_is_bare_samples_as_pcm(self, server: Running, stream: bool) -> None:
        answer = say(server, output_format="pcm", stream=stream)

        assert answer.headers["content-type"] == "audio/pcm;rate=24000;channels=1"
        assert tone_text(AudioData(answer.content, 24_000)) == TEXT

    def test_has_the_format_and_rate_of_the_settings(self, server: Running) -> None:
        store = server.services.store
        store.update({"audio_output.format": "flac", "audio_output.sample_rate": 44_100})
        try:
            flac = say(server)
            opus = say(server, output_format="opus")
            store.update({"audio_output.sample_rate": 96_000})
            mp3 = say(server, output_format="mp3")
        finally:
            store.update({"audio_output.format": "wav", "audio_output.sample_rate": 24_000})

        assert flac.headers["content-type"] == "audio/flac"
        for answer, rate in ((flac, 44_100), (opus, 48_000), (mp3, 48_000)):
            assert int(answer.headers["x-sample-rate"]) == rate
            assert AudioData.from_file(answer.content).sample_rate == rate

    def test_tells_the_engine_what_was_asked_for_and_nothing_else(
        self, server: Running, tts: ScriptedTTSEngine
    ) -> None:
        say(server)
        assert tts.calls[-1].voice_config == {}

        say(server, predefined_voice_id="Ben.wav", speed_factor=1.5, seed=7, language="en")
        assert tts.calls[-1].voice_config == {
            "voice_id": "ben",
            "speed_factor": 1.5,
            "seed": 7,
            "language": "en",
        }

    def test_of_an_empty_voice_id_is_in_the_default_voice(
        self, server: Running, tts: ScriptedTTSEngine
    ) -> None:
        assert say(server, predefined_voice_id="").status_code == 200
        assert "voice_id" not in tts.calls[-1].voice_config

    def test_is_counted_under_the_requests_own_id(
        self, server: Running, analytics: InMemoryAnalyticsStore
    ) -> None:
        answer = server.http.post(
            "/tts", json={"text": TEXT}, headers={"X-Request-ID": "a-callers-own-id"}
        )

        (call, *_) = anyio.run(analytics.recent)
        assert answer.headers["x-request-id"] == "a-callers-own-id"
        assert (call.request_id, call.request_type) == ("a-callers-own-id", "tts")


class TestRequestsThatCannotBeUsed:
    @pytest.mark.parametrize(
        "given",
        [
            {"text": ""},
            {"text": " \n\t "},
            {"text": None},
            {"text": 17},
            {"voice_mode": "other"},
            {"output_format": "aac"},
            {"chunk_size": 49},
            {"chunk_size": 501},
            {"temperature": 0.04},
            {"temperature": 2.1},
            {"exaggeration": -0.1},
            {"cfg_weight": 1.1},
            {"seed": -1},
            {"seed": 2**63},
            {"seed": 1.5},
            {"speed_factor": 0.49},
            {"speed_factor": 2.01},
            {"language": "English"},
            {"predefined_voice_id": "x" * 1_000},
        ],
    )
    def test_are_refused_with_the_field_that_is_wrong(
        self, server: Running, given: dict[str, Any]
    ) -> None:
        answer = say(server, **given)

        assert answer.status_code == 422
        body = answer.json()
        assert body["error_code"] == "invalid_request"
        assert body["request_id"] == answer.headers["x-request-id"]
        assert [error["loc"] for error in body["detail"]] == [["body", *given]]

    @pytest.mark.parametrize(
        ("body", "statuses"),
        [
            (b'{"text": "a", "temperature": NaN}', {422}),
            (b'{"text": "a", "temperature": Infinity}', {422}),
            (b'{"text": "a", "temperature": 1e999}', {422}),
            (b'{"text": "a", "seed": 1' + b"0" * 400 + b"}", {422}),
            (b'{"text": "a", "seed": 1' + b"0" * 5_000 + b"}", {400, 422}),
            (rb'{"text": "\ud800"}', {422}),
            (b'{"text": "\xff"}', {400, 422}),
            (b"[" * 100_000, {400, 422}),
            (b"", {422}),
            (b"not json", {422}),
            (b'"text"', {422}),
            (b"[]", {422}),
            (b"null", {422}),
        ],
    )
    def test_are_refused_however_odd_they_are(
        self, server: Running, body: bytes, statuses: set[int]
    ) -> None:
        headers = {"Content-Type": "application/json"}

        answer = server.http.post("/tts", content=body, headers=headers)

        assert answer.status_code in statuses
        assert answer.json()["error_code"] in ("invalid_request", "bad_request")

    @pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
    def test_are_json_alone(self, server: Running, content_type: str) -> None:
        body = json.dumps({"text": TEXT})

        answer = server.http.post("/tts", content=body, headers={"Content-Type": content_type})

        assert answer.status_code in (415, 422)

    def test_are_no_longer_than_the_settings_say(self, server: Running) -> None:
        answer = say(server, text="a" * 1_000_000)

        assert answer.status_code == 413
        assert answer.json()["error_code"] == "text_too_long"
        assert "20000" in answer.json()["detail"]

    def test_name_the_recording_to_clone(self, server: Running) -> None:
        answer = say(server, voice_mode="clone")

        assert answer.status_code == 400
        assert answer.json()["error_code"] == "no_reference"

    @pytest.mark.parametrize(
        "name",
        [
            "nobody",
            "../config.yaml",
            "/etc/passwd",
            "C:\\boot.ini",
            "..",
            "anna\0.wav",
            "~root",
            "%2e%2e%2f",
            "\N{RIGHT-TO-LEFT OVERRIDE}anna",
        ],
    )
    @pytest.mark.parametrize("mode", ["predefined", "clone"])
    def test_name_a_voice_that_there_is(self, server: Running, name: str, mode: str) -> None:
        answer = say(
            server, voice_mode=mode, predefined_voice_id=name, reference_audio_filename=name
        )

        assert answer.status_code == 404
        assert answer.json()["error_code"] == "unknown_voice"

    def test_may_hold_any_text(self, server: Running) -> None:
        text = "\0 \N{ZERO WIDTH SPACE} \N{PARTY POPPER} \N{RIGHT-TO-LEFT OVERRIDE} \u0430"

        assert say(server, text=text).status_code == 200


class Engine:
    """A contract's engine, which speaks whole texts; or raises."""

    name = "plain"
    model_loaded = True

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.texts: list[str] = []

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        self.texts.append(text)
        if self.error is not None:
            raise self.error
        return SynthesisResult(speak_tones(text, 24_000), text, "anna")

    async def list_voices(self) -> list[dict[str, Any]]:
        return [{"id": "anna", "name": "Anna", "language": "en"}]


class TestLongText:
    TEXT = "One fine day. " * 30

    @pytest.fixture
    def engine(self) -> Engine:
        return Engine()

    @pytest.fixture
    def plain(self, tmp_path: Any, engine: Engine) -> Iterator[Running]:
        with running(tmp_path, tts=engine) as server:
            yield server

    def test_is_cut_between_sentences_for_an_engine_that_does_not_stream(
        self, plain: Running, engine: Engine
    ) -> None:
        answer = say(plain, text=self.TEXT, chunk_size=100)

        assert "".join(engine.texts) == self.TEXT
        assert all(len(text) <= 100 for text in engine.texts)
        assert all(text.endswith("day. ") for text in engine.texts)
        said = sum(speak_tones(text, 24_000).duration_seconds for text in engine.texts)
        assert float(answer.headers["x-duration"]) == pytest.approx(said, abs=0.01)

    def test_is_not_cut_where_it_is_not_to_be(self, plain: Running, engine: Engine) -> None:
        say(plain, text=self.TEXT, chunk_size=100, split_text=False)
        say(plain, text="Short. " * 20, chunk_size=100)

        assert engine.texts == [self.TEXT, "Short. " * 20]

    def test_streams_from_such_an_engine_too(self, plain: Running, engine: Engine) -> None:
        answer = say(plain, text=self.TEXT, chunk_size=100, stream=True)

        assert answer.status_code == 200
        assert "".join(engine.texts) == self.TEXT

    def test_loses_no_sentence_that_is_too_long_to_be_cut(
        self, plain: Running, engine: Engine
    ) -> None:
        text = "Well. " + "on and " * 60 + "on. Then 好。吧。 The end."

        say(plain, text=text, chunk_size=50)

        assert "".join(engine.texts) == text

    def test_is_left_to_an_engine_that_streams(
        self, server: Running, tts: ScriptedTTSEngine
    ) -> None:
        say(server, text=self.TEXT)

        assert tts.calls[-1].text == self.TEXT


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Engine]]:
    engine = Engine()
    with running(tmp_path_factory.mktemp("broken"), tts=engine) as server:
        yield server, engine


class TestEnginesThatFail:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (EngineError("plain", "/srv/model.bin is broken"), 500, "engine_failed"),
            (CircuitOpenError("plain", 4.2), 503, "engine_unavailable"),
            (ValueError("pitch is 0 to 100, not 300"), 422, "invalid_option"),
            (UnicodeDecodeError("utf-8", b"/srv", 0, 1, "bad"), 500, "internal_error"),
            (RuntimeError("/srv/model.bin"), 500, "internal_error"),
        ],
    )
    def test_are_answered_for_whose_fault_it_is(
        self,
        broken: tuple[Running, Engine],
        error: Exception,
        status: int,
        code: str,
        stream: bool,
    ) -> None:
        server, engine = broken
        engine.error = error

        answer = say(server, stream=stream)

        assert answer.status_code == status
        assert answer.json()["error_code"] == code
        assert "/srv" not in answer.text
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        if status == 503:
            assert answer.headers["retry-after"] == "5"
        if status == 422:
            assert answer.json()["detail"] == "pitch is 0 to 100, not 300"

    def test_never_end_an_answer_as_if_it_were_whole(self, tmp_path: Any) -> None:
        broken = ScriptedTTSEngine(
            latency=0, real_time_factor=0, failures=[Failure(EngineError("broken", "gone"), 5)]
        )
        with (
            running(tmp_path, tts=broken) as server,
            pytest.raises(httpx.RemoteProtocolError),
        ):
            say(server, stream=True, output_format="pcm")


def test_a_stream_without_a_sound_is_an_answer_too(tmp_path: Any) -> None:
    class Mute(Engine):
        async def stream(
            self, text: str, voice_config: dict[str, Any] | None = None
        ) -> AsyncGenerator[AudioData]:
            yield AudioData(b"", 24_000)

    with running(tmp_path, tts=Mute()) as server:
        answer = say(server, stream=True, output_format="pcm")

    assert (answer.status_code, answer.content) == (200, b"")


class Gated:
    """An engine that goes on only when the test says so."""

    name = "gated"
    model_loaded = True

    def __init__(self) -> None:
        self.may_go_on = Event()
        self.begun = self.closed = False

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        self.begun = True
        try:
            yield speech(1.0, 24_000)
            while not self.may_go_on.is_set():  # noqa: ASYNC110 - another thread sets it
                await anyio.sleep(0.005)
            yield speech(1.0, 24_000)
        finally:
            self.closed = True

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        chunks = [chunk async for chunk in self.stream(text)]
        return SynthesisResult(AudioData.concat(chunks), text, "anna")

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class TestStreaming:
    @pytest.fixture
    def engine(self) -> Gated:
        return Gated()

    @pytest.fixture
    def gated(self, tmp_path: Any, engine: Gated) -> Iterator[Running]:
        with running(tmp_path, tts=engine) as server:
            yield server

    @pytest.mark.parametrize("path", ["/tts", "/tts/stream"])
    def test_sends_sound_before_the_engine_is_done(
        self, gated: Running, engine: Gated, path: str
    ) -> None:
        given = {"text": TEXT, "stream": path == "/tts", "output_format": "pcm"}
        with gated.http.stream("POST", path, json=given) as answer:
            assert "content-length" not in answer.headers
            pieces = answer.iter_bytes()
            first = next(pieces)
            assert first
            assert not engine.closed
            engine.may_go_on.set()
            n_bytes = len(first) + sum(map(len, pieces))

        assert n_bytes == 2 * 2 * 24_000

    @pytest.mark.parametrize("stream", [False, True])
    def test_and_all_else_stops_when_the_client_leaves(
        self, gated: Running, engine: Gated, stream: bool
    ) -> None:
        request = gated.http.build_request("POST", "/tts", json={"text": TEXT, "stream": stream})

        leave(gated, request, once=lambda: engine.begun)

        eventually(lambda: engine.closed)
        assert not engine.may_go_on.is_set()
        assert gated.http.get("/tts/voices").status_code == 200


@pytest.mark.anyio
async def test_work_for_a_client_that_has_left_is_withdrawn() -> None:
    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    messages = [{"type": "http.request"}, {"type": "http.disconnect"}]
    request = Request({"type": "http"}, receive)

    with pytest.raises(HTTPException) as caught:
        await while_connected(request, anyio.sleep_forever)

    assert caught.value.status_code == 499


class TestVoices:
    @pytest.fixture
    def uploaded(self, server: Running) -> Iterator[str]:
        consent = Consent("Carla", "yes", datetime.now(timezone.utc))
        server.services.voices.register("ref-carla", speech(4.0), consent=consent)
        yield "ref-carla"
        server.services.voices.delete("ref-carla")

    def test_are_listed_predefined_ones_first(self, server: Running, uploaded: str) -> None:
        voices = server.http.get("/tts/voices").json()

        assert [(voice["id"], voice["type"], voice["usable"]) for voice in voices] == [
            ("anna", "predefined", True),
            ("ben", "predefined", True),
            ("ref-carla", "reference", False),
        ]
        assert {voice["path"] for voice in voices} == {"anna.wav", "ben.wav", "ref-carla.wav"}

    @pytest.mark.parametrize("name", ["anna", "Anna", "anna.wav"])
    def test_are_known_by_id_and_by_file(self, server: Running, name: str) -> None:
        voice = server.http.get(f"/tts/voices/{name}").json()

        assert (voice["id"], voice["exists"], voice["size_bytes"]) == ("anna", True, None)
        assert voice["validation"]["is_valid"]

    def test_that_were_uploaded_have_a_size_and_perhaps_no_engine(
        self, server: Running, uploaded: str
    ) -> None:
        voice = server.http.get(f"/tts/voices/{uploaded}").json()

        assert voice["size_bytes"] > 1_000
        assert not voice["validation"]["is_valid"]

    @pytest.mark.parametrize(
        "path",
        ["nobody", "..%2F..%2Fetc%2Fpasswd", "%00", "a%2Fb", "nobody/preview", "%2e%2e/preview"],
    )
    def test_that_are_not_there_are_not_found(self, server: Running, path: str) -> None:
        answer = server.http.get(f"/tts/voices/{path}")

        assert answer.status_code == 404
        assert "error_code" in answer.json()

    def test_can_be_validated(self, server: Running, uploaded: str) -> None:
        def check(**given: str) -> bool:
            answer = server.http.post("/tts/voices/validate", json=given)
            assert answer.status_code == 200
            assert answer.json()["message"]
            return bool(answer.json()["is_valid"])

        assert check(voice_id="anna")
        assert check(voice_id="Anna.wav", voice_mode="predefined")
        assert not check(voice_id="anna", voice_mode="clone")
        assert not check(voice_id=uploaded)
        assert not check(voice_id="../../etc/passwd")
        assert server.http.post("/tts/voices/validate", json={}).status_code == 422

    def test_have_previews_that_are_made_once(
        self, server: Running, tts: ScriptedTTSEngine
    ) -> None:
        first = server.http.get("/tts/voices/ben/preview")
        n_calls = len(tts.calls)
        second = server.http.get("/tts/voices/ben.wav/preview")

        assert first.headers["content-type"] == "audio/wav"
        assert tone_text(AudioData.from_file(first.content))
        assert tts.calls[-1].voice_config == {"voice_id": "ben"}
        assert second.content == first.content
        assert len(tts.calls) == n_calls

    def test_that_the_engine_cannot_speak_in_sound_like_their_recording(
        self, server: Running, uploaded: str
    ) -> None:
        recording = AudioData.from_file(server.http.get(f"/tts/voices/{uploaded}/preview").content)

        assert recording.duration_seconds == pytest.approx(4.0, abs=0.01)

    def test_that_the_engine_cannot_speak_in_are_a_conflict(
        self, server: Running, uploaded: str
    ) -> None:
        answer = say(server, voice_mode="clone", reference_audio_filename="carla.wav")

        assert answer.status_code == 409
        assert answer.json()["error_code"] == "engine_cannot_clone"


class TestMiddleware:
    def test_is_listed_outermost_first(self, server: Running) -> None:
        status = server.http.get("/tts/middleware/status").json()

        assert status["total_middleware"] == len(status["middleware_names"])
        assert status["enabled_middleware"] == len(status["middleware_details"])
        assert {"name": "timing", "enabled": True, "type": "TimingMiddleware"} in status[
            "middleware_details"
        ]

    def test_counts_for_those_who_may_know(self, server: Running) -> None:
        say(server)

        assert server.http.get("/tts/statistics").status_code == 401
        found = server.http.get("/tts/statistics", headers=MANAGE).json()
        assert found["system"]["model_loaded"] is True
        assert found["middleware"]["timing"]["count"] >= 1
        assert found["middleware"]["analytics"]["requests"] >= 1
        assert "logging" in found["middleware"]["middleware_names"]

    def test_is_made_anew_by_those_who_may(self, server: Running) -> None:
        assert server.http.post("/tts/middleware/reload").status_code == 401
        before = server.services.parts

        answer = server.http.post("/tts/middleware/reload", headers=MANAGE)

        assert answer.json()["status"] == "success"
        assert answer.json()["enabled_middleware"] == len(answer.json()["middleware_names"])
        assert server.services.parts is not before
        assert say(server).status_code == 200

    def test_is_around_an_engine_that_can_be_warmed_up(self, server: Running) -> None:
        assert server.http.post("/tts/warmup").status_code == 401
        answer = server.http.post("/tts/warmup", headers=MANAGE).json()

        assert (answer["status"], answer["model_loaded"]) == ("success", True)
        assert answer["seconds"] >= 0


def test_the_embedded_engine_speaks(tmp_path: Any) -> None:
    pytest.importorskip("espeakng_loader")
    from realtime_stts.engines.espeak import ESpeakTTSEngine

    with running(tmp_path, tts=ESpeakTTSEngine()) as server:
        assert say(server, predefined_voice_id="en-us").status_code == 200
        assert say(server, text="...").status_code == 200
        fast = say(server, speed_factor=2)
        assert float(fast.headers["x-duration"]) < float(say(server).headers["x-duration"])
        with closing(wave.open(io.BytesIO(fast.content))) as file:
            assert file.getframerate() == 24_000


def test_each_endpoint_is_documented_with_its_errors(server: Running) -> None:
    paths = server.http.get("/openapi.json").json()["paths"]

    for path, methods in paths.items():
        if not path.startswith(("/tts", "/stt", "/conversation")) or "/v1/" in path:
            continue
        for operation in methods.values():
            assert operation["summary"]
            for status in ("401", "403", "422", "429", "500", "503"):
                content = operation["responses"][status]["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert not {"/stt/legacy", "/conversation/legacy"} & {*paths}
    audio = paths["/tts"]["post"]["responses"]["200"]["content"]
    assert {*audio} == {"audio/wav", "audio/ogg", "audio/mpeg", "audio/flac", "audio/pcm"}
