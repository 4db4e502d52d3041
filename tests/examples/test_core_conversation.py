"""The server answers: `/conversation`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import anyio
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

from realtime_stts import AudioData, ConversationContext, TranscriptionResult
from realtime_stts.analytics import InMemoryAnalyticsStore
from realtime_stts.testing import (
    ScriptedTTSEngine,
    ToneSTTEngine,
    speak_tones,
    speech,
    tone_text,
)
from tests.examples.core_tools import MANAGE, Running, eventually, leave, running

TEXT = "what time is it"
WAV = speak_tones(TEXT, 16_000).encode("wav")


async def answer(heard: TranscriptionResult, context: ConversationContext) -> str:
    if heard.text == "be quiet":
        return ""
    if heard.text == "tell all":
        return "é" * 505
    return f"you asked {heard.text}"


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
    with running(
        folder, stt=ToneSTTEngine(latency=0), tts=tts, responder=answer, analytics=analytics
    ) as server:
        yield server


def ask(server: Running, text: str = TEXT, path: str = "/conversation", **form: str) -> Any:
    wav = speak_tones(text, 16_000).encode("wav")
    return server.http.post(path, files={"audio_file": ("a.wav", wav)}, data=form)


class TestAnswers:
    def test_are_sound_that_answers_what_was_heard(self, server: Running) -> None:
        answer = ask(server)

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "audio/wav"
        assert "conversation_response_" in answer.headers["content-disposition"]
        audio = AudioData.from_file(answer.content)
        assert tone_text(audio) == f"you asked {TEXT}"
        assert int(answer.headers["x-sample-rate"]) == audio.sample_rate

    def test_say_in_their_headers_what_was_heard_and_answered(self, server: Running) -> None:
        headers = ask(server).headers

        assert unquote(headers["x-transcription"]) == TEXT
        assert unquote(headers["x-response-text"]) == f"you asked {TEXT}"

    def test_that_are_long_have_headers_that_clients_take(self, server: Running) -> None:
        answer = ask(server, "tell all")

        assert unquote(answer.headers["x-response-text"]) == "é" * 500
        assert len(answer.headers["x-response-text"]) <= 6_000

    def test_are_spoken_as_was_asked_for(self, server: Running, tts: ScriptedTTSEngine) -> None:
        answer = ask(
            server,
            predefined_voice_id="ben",
            speed_factor="1.5",
            seed="3",
            language="en-GB",
            output_format="mp3",
        )

        assert answer.headers["content-type"] == "audio/mpeg"
        assert tts.calls[-1].voice_config == {
            "voice_id": "ben",
            "speed_factor": 1.5,
            "seed": 3,
            "language": "en",
        }

    def test_are_there_under_the_old_path(self, server: Running) -> None:
        assert ask(server, path="/conversation/legacy").status_code == 200

    def test_that_say_nothing_have_no_sound(self, server: Running) -> None:
        answer = ask(server, "be quiet")

        assert answer.status_code == 204
        assert answer.content == b""
        assert unquote(answer.headers["x-transcription"]) == "be quiet"

    def test_are_calls_of_one_request(
        self, server: Running, analytics: InMemoryAnalyticsStore
    ) -> None:
        files = {"file": ("a.wav", WAV)}
        server.http.post("/conversation", files=files, headers={"X-Request-ID": "one-turn"})

        calls = anyio.run(analytics.recent)
        assert {call.request_type for call in calls if call.request_id == "one-turn"} >= {
            "stt",
            "tts",
        }


class TestRequestsThatCannotBeAnswered:
    @pytest.mark.parametrize(
        ("form", "status", "code"),
        [
            ({"voice_mode": "clone"}, 400, "no_reference"),
            ({"predefined_voice_id": "../../etc/passwd"}, 404, "unknown_voice"),
            ({"speed_factor": "nan"}, 422, "invalid_request"),
            ({"temperature": "-99"}, 422, "invalid_request"),
            ({"output_format": "exe"}, 422, "invalid_request"),
            ({"language": "english"}, 422, "invalid_request"),
        ],
    )
    def test_are_told_why(
        self, server: Running, form: dict[str, str], status: int, code: str
    ) -> None:
        answer = ask(server, **form)

        assert answer.status_code == status
        assert answer.json()["error_code"] == code

    def test_hold_no_recording(self, server: Running) -> None:
        assert server.http.post("/conversation").json()["error_code"] == "no_file"

    def test_hold_no_audio(self, server: Running) -> None:
        answer = server.http.post("/conversation", files={"audio_file": ("a.wav", b"text")})

        assert answer.status_code == 415

    def test_hold_no_words(self, server: Running) -> None:
        silence = AudioData.silence(1.0, 16_000).encode("wav")

        answer = server.http.post("/conversation", files={"audio_file": ("a.wav", silence)})

        assert answer.status_code == 422
        assert answer.json()["error_code"] == "no_speech"


def test_a_client_that_leaves_stops_the_answer(tmp_path: Any) -> None:
    begun: list[str] = []
    stopped: list[str] = []

    async def think(heard: TranscriptionResult, context: ConversationContext) -> str:
        begun.append(heard.text)
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append(heard.text)
        return ""

    with running(tmp_path, responder=think) as server:
        files = {"audio_file": ("a.wav", speech(1.0).encode("wav"))}
        request = server.http.build_request("POST", "/conversation", files=files)

        leave(server, request, once=lambda: bool(begun))

        eventually(lambda: stopped == ["hello there"])


class TestTheEngines:
    def test_say_how_they_are(self, server: Running) -> None:
        status = server.http.get("/conversation/status").json()

        assert status == {
            "system_type": "realtime_stts",
            "library_available": True,
            "stt_available": True,
            "tts_available": True,
            "response_generator_available": True,
            "middleware_count": status["middleware_count"],
        }
        assert status["middleware_count"] > 3

    def test_are_made_anew_by_those_who_may(self, server: Running) -> None:
        assert server.http.post("/conversation/reload").status_code == 401

        answer = server.http.post("/conversation/reload", headers=MANAGE).json()

        assert (answer["status"], answer["system_type"]) == ("success", "realtime_stts")
        assert ask(server).status_code == 200

    def test_that_cannot_be_made_anew_are_told_of(self, server: Running) -> None:
        parts = server.services.parts
        given = server.services._given
        server.services._given = {**given, "stt": object()}
        try:
            answer = server.http.post("/conversation/reload", headers=MANAGE)
        finally:
            server.services._given = given

        assert answer.status_code == 500
        assert answer.json()["error_code"] == "internal_error"
        assert server.services.parts is parts
