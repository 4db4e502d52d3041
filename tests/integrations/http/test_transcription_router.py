"""Speech over a WebSocket becomes text, while it is being spoken and however it is sent."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from os import urandom
from time import monotonic, sleep
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import httpx
from fastapi import FastAPI, HTTPException
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from realtime_stts import AudioData
from realtime_stts.conversation import TurnPolicy
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.errors import EngineError, EngineLoadError, MissingExtraError
from realtime_stts.integrations._http import _transcription_router
from realtime_stts.integrations.fastapi import transcription_router
from realtime_stts.integrations.starlette import Gate, Seats
from realtime_stts.protocols import PauseDetector, TranscriptionResult
from realtime_stts.testing import ScriptedSTTEngine, ToneSTTEngine, speak_tones
from tests.servers import serving

LIMIT = 10.0  # s for anything


class Novelist(ScriptedSTTEngine):
    """Says more than anybody's buffers hold."""

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async for _ in audio:
            for n in range(200):
                text = urandom(150_000).hex()  # which nothing makes smaller
                yield TranscriptionResult(f"{n} {text}", "en", [], partial=True)


class Faulty(EnergyPauseDetector):
    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        raise RuntimeError("a fault of our own, in /etc")


@dataclass
class Server:
    url: str
    seats: Seats
    tones: ToneSTTEngine

    def open(self, path: str = "/tones/transcribe", **options: Any) -> ClientConnection:
        address = self.url.replace("http", "ws", 1) + path
        return connect(address, open_timeout=LIMIT, close_timeout=LIMIT, **options)

    @property
    def n_tasks(self) -> int:
        return int(httpx.get(f"{self.url}/tasks").text)


def not_loaded() -> ToneSTTEngine:
    raise EngineLoadError("whisper", "/models/secret is missing")


def elsewhere() -> ToneSTTEngine:
    raise HTTPException(409, "Choose an engine first.")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    app, seats, tones = FastAPI(), Seats(20, 20), ToneSTTEngine(latency=0.0)
    failing = ScriptedSTTEngine(
        [
            EngineError("fake", "out of /dev/memory"),
            RuntimeError("/etc/passwd"),
            ValueError("/etc/de"),
            "good",
        ],
        latency=0.0,
        partials=False,
    )

    def mount(name: str, stt: Any, **options: Any) -> None:
        router = transcription_router(
            stt, gate=Gate(seats=seats), pause_detector=EnergyPauseDetector, **options
        )
        app.include_router(router, prefix=f"/{name}")

    mount("tones", tones)
    mount("slow", ToneSTTEngine(latency=0.5))
    mount("failing", failing)
    mount("hasty", tones, policy=lambda: TurnPolicy(end_of_turn=0.2))
    mount("novelist", lambda: Novelist([]), send_timeout=0.2)
    mount("missing", not_loaded)
    mount("elsewhere", elsewhere)
    mount("narrow", tones, max_message_bytes=1000)

    @app.get("/tasks")
    async def n_tasks() -> int:
        return len(asyncio.all_tasks())

    faulty = transcription_router(tones, gate=Gate(seats=seats), pause_detector=Faulty)
    app.include_router(faulty, prefix="/faulty")
    brief = transcription_router(tones, gate=Gate(seats=seats, max_seconds=0.3))
    app.include_router(brief, prefix="/brief")

    with serving(app) as url:
        yield Server(url, seats, tones)


def pcm(*texts: str, sample_rate: int = 16_000, before: float = 1.0) -> bytes:
    """Each text in tones, with a second of silence after it."""
    quiet = AudioData.silence(1.0, sample_rate).data
    said = [speak_tones(text, sample_rate).data + quiet for text in texts]
    return AudioData.silence(before, sample_rate).data + b"".join(said)


def stream(client: ClientConnection, data: bytes, size: int = 1001) -> None:
    """Odd sizes: what is cut within a sample is put together again."""
    for first in range(0, len(data), size):
        client.send(data[first : first + size])


def received(client: ClientConnection, *types: str) -> list[dict[str, Any]]:
    """All messages up to and with the first of these types, or the end of the connection."""
    messages: list[dict[str, Any]] = []
    try:
        while not messages or messages[-1]["type"] not in types:
            messages.append(json.loads(client.recv(timeout=LIMIT)))
    except ConnectionClosed:
        assert not types, messages
    return messages


def until_final(client: ClientConnection) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1].get("final") is not True:
        messages += received(client, "transcription")
    return messages


def transcripts(client: ClientConnection) -> list[dict[str, Any]]:
    """Stop, and what has been transcribed by then."""
    client.send('{"action": "stop"}')
    found = [each for each in received(client) if each["type"] == "transcription"]
    assert client.close_code == 1000
    return found


def eventually(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + LIMIT
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


# -- transcripts


def test_speech_gets_partial_results_and_then_a_final_one(server: Server) -> None:
    with server.open() as client:
        assert received(client, "ready")[0]["message"]
        stream(client, pcm("hello there"))
        *partial, final = until_final(client)
    assert partial[0]["text"] == "hello"
    assert all((each["partial"], each["final"]) == (True, False) for each in partial)
    assert final.keys() == {
        "type",
        "id",
        "text",
        "language",
        "partial",
        "final",
        "timing",
        "segments",
    }
    assert (final["text"], final["partial"], final["language"]) == ("hello there", False, "en")
    assert final["timing"]["start"] == pytest.approx(1.0, abs=0.1)
    assert final["timing"]["duration"] == pytest.approx(11 * 0.06, abs=0.15)
    (segment,) = final["segments"]
    assert segment == {
        "text": "hello there",
        "start": final["timing"]["start"],
        "end": final["timing"]["end"],
    }


def test_times_are_those_of_the_stream(server: Server) -> None:
    with server.open() as client:
        stream(client, pcm("first words", "second words", before=2.0), size=6400)
        finals = [each for each in transcripts(client) if each["final"]]
    assert [(each["id"], each["text"]) for each in finals] == [
        (1, "first words"),
        (2, "second words"),
    ]
    first, second = (each["timing"] for each in finals)
    assert first["start"] == pytest.approx(2.0, abs=0.1)
    assert second["start"] == pytest.approx(2.0 + 0.66 + 1.0, abs=0.15)
    assert second["end"] - second["start"] == second["duration"]


def test_the_silence_that_ends_an_utterance_is_the_policys(server: Server) -> None:
    data = pcm("one")[:-17_600] + pcm("two", before=0.0)  # 0.45 s between them
    with server.open() as patient, server.open("/hasty/transcribe") as hasty:
        stream(patient, data)
        stream(hasty, data)
        assert [each["text"] for each in transcripts(patient) if each["final"]] == ["one two"]
        assert [each["text"] for each in transcripts(hasty) if each["final"]] == ["one", "two"]


def test_silence_is_not_transcribed(server: Server) -> None:
    n_calls = len(server.tones.calls)
    with server.open() as client:
        stream(client, AudioData.silence(5.0, 16_000).data)
        assert transcripts(client) == []
    assert len(server.tones.calls) == n_calls


@pytest.mark.parametrize("action", ["stop", "finish"])
def test_whoever_stops_in_the_middle_gets_what_they_said(server: Server, action: str) -> None:
    with server.open() as client:
        stream(client, pcm("just this")[:-32_000])
        client.send(json.dumps({"action": action}))
        messages = received(client)
    assert messages[-1]["text"] == "just this"
    assert messages[-1]["final"] is True
    assert client.close_code == 1000


def test_clear_forgets_what_was_said_before_it_and_nothing_else(server: Server) -> None:
    with server.open() as client:
        stream(client, pcm("forget me")[:-16_000])  # half a second: it is not over yet
        client.send('{"action": "clear"}')
        stream(client, pcm("keep this"))
        client.send('{"action": "ping"}')
        messages = received(client, "pong")
        messages += transcripts(client)
    cleared = next(i for i, each in enumerate(messages) if each["type"] == "cleared")
    assert [each["text"] for each in messages[cleared:] if each.get("final")] == ["keep this"]
    assert not any(each.get("final") for each in messages[:cleared])


def test_what_comes_after_stop_is_not_heard(server: Server) -> None:
    with server.open("/slow/transcribe") as client:
        stream(client, pcm("before"))
        client.send('{"action": "stop"}')
        with suppress(ConnectionClosed):
            stream(client, pcm("after"))
        assert {each["text"] for each in received(client) if each.get("final")} == {"before"}
    assert client.close_code == 1000


def test_the_language_asked_for_is_the_engines(server: Server) -> None:
    with server.open("/tones/transcribe?language=de") as client:
        stream(client, pcm("guten tag"))
        assert until_final(client)[-1]["language"] == "de"
    assert server.tones.calls[-1].language == "de"
    with server.open("/tones/transcribe?language=auto") as client:
        stream(client, pcm("hello"))
        until_final(client)
    assert server.tones.calls[-1].language is None


def test_another_rate_is_resampled(server: Server) -> None:
    with server.open("/tones/transcribe?sample_rate=48000") as client:
        stream(client, pcm("quick and dirty", sample_rate=48_000))
        assert until_final(client)[-1]["text"] == "quick and dirty"


def test_audio_may_come_as_json(server: Server) -> None:
    with server.open() as client:
        data = pcm("in base sixty four", sample_rate=24_000)
        for first in range(0, len(data), 4800):
            audio = b64encode(data[first : first + 4800]).decode()
            message = {"audio_data": audio, "sample_rate": 24_000, "channels": 1, "format": "pcm"}
            client.send(json.dumps(message))
        assert until_final(client)[-1]["text"] == "in base sixty four"
        client.send(b"\0\0")  # which is said to be of 16 kHz
        (error,) = received(client, "error")
        assert error["error_code"] == "unusable_audio"
        client.send('{"action": "ping"}')
        received(client, "pong")


def test_two_streams_never_mix(server: Server) -> None:
    with server.open() as one, server.open() as other:
        first, second = pcm("this is one"), pcm("that is other")
        for at in range(0, max(len(first), len(second)), 3200):
            one.send(first[at : at + 3200])
            other.send(second[at : at + 3200])
        assert {m["text"] for m in transcripts(one) if m["final"]} == {"this is one"}
        assert {m["text"] for m in transcripts(other) if m["final"]} == {"that is other"}


# -- what goes wrong


def test_an_engines_error_costs_one_utterance_and_tells_nothing_inside(server: Server) -> None:
    with server.open("/failing/transcribe") as client:
        stream(client, pcm("one", "two", "three", "four"))
        client.send('{"action": "finish"}')
        messages = received(client)
    assert [(m["type"], m.get("error_code"), m.get("id")) for m in messages] == [
        ("ready", None, None),
        ("error", "engine_failed", 1),
        ("error", "internal_error", 2),
        ("error", "invalid_option", 3),
        ("transcription", None, 4),
    ]
    assert "/dev" not in str(messages)
    assert "/etc" not in str(messages)


MALFORMED = (
    "{",
    "[]",
    "7",
    "null",
    '"text"',
    "{}",
    '{"action": 1}',
    '{"action": "dance"}',
    '{"action": null}',
    '{"action": "' + 500 * "x" + '"}',
    '{"audio_data": 3}',
    '{"audio_data": "!"}',
    '{"audio_data": "AAAA", "sample_rate": 1}',
    '{"audio_data": "AAAA", "sample_rate": "x"}',
    '{"audio_data": "AAAA", "format": "exe"}',
    '{"audio_data": "AAA=", "channels": 0}',
    "[" * 5000,
    "\ud7ff",
)


def test_a_thousand_malformed_messages_are_answered_and_do_no_harm(server: Server) -> None:
    with server.open() as client:
        received(client, "ready")
        for n in range(1000):
            client.send(MALFORMED[n % len(MALFORMED)])
            (error,) = received(client, "error")
            assert error["message"], MALFORMED[n % len(MALFORMED)]
            assert len(error["message"]) < 300
        client.send(b"")
        stream(client, pcm("still here"))
        assert until_final(client)[-1]["text"] == "still here"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("language=..%2Fetc", "language"),
        ("sample_rate=7999", "sample_rate"),
        ("sample_rate=48001", "sample_rate"),
        ("sample_rate=fast", "sample_rate"),
        ("sample_rate=16_000", "sample_rate"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    server: Server, query: str, parameter: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        server.open(f"/tones/transcribe?{query}")
    assert refused.value.response.status_code == 422
    body = json.loads(refused.value.response.body or b"")
    assert body.keys() == {"detail", "error_code", "request_id"}
    assert parameter in body["detail"]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("missing", 503, "engine_unavailable"), ("elsewhere", 409, "conflict")],
)
def test_without_an_engine_nobody_is_let_in(
    server: Server, name: str, status: int, code: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        server.open(f"/{name}/transcribe")
    assert refused.value.response.status_code == status
    body = json.loads(refused.value.response.body or b"")
    assert body["error_code"] == code
    assert "secret" not in str(body)


def test_pages_of_other_sites_are_not_let_in(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        server.open(origin="https://evil.example")
    assert refused.value.response.status_code == 403


def test_a_message_that_is_too_big_closes_the_socket(server: Server) -> None:
    with server.open("/narrow/transcribe") as client:
        client.send(bytes(1002))
        received(client)
        assert client.close_code == 1009


def test_a_fault_of_our_own_ends_the_socket_as_one(server: Server) -> None:
    with server.open("/faulty/transcribe") as client:
        client.send(bytes(3200))
        received(client)
        assert client.close_code == 1011
        assert "/etc" not in (client.close_reason or "")
    eventually(lambda: server.seats.taken == 0)


def test_a_session_has_its_time(server: Server) -> None:
    with server.open("/brief/transcribe") as client:
        received(client)
        assert client.close_code == 1008


def abort(client: ClientConnection) -> None:
    """The client's machine is gone: no close frame, and a reset."""
    linger = struct.pack("ii", 1, 0)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.socket.shutdown(socket.SHUT_RD)
    client.socket.close()


def test_nothing_is_left_of_a_client_that_was_killed_while_speaking(server: Server) -> None:
    eventually(lambda: server.seats.taken == 0)
    before = server.n_tasks
    clients = [server.open(legacy=True) for _ in range(5)]
    for client in clients:
        stream(client, pcm("cut off in the mid")[:-40_000])
        received(client, "transcription")
    assert server.seats.taken == 5
    for client in clients:
        abort(client)
    eventually(lambda: server.seats.taken == 0)
    eventually(lambda: server.n_tasks <= before)


def test_a_client_that_takes_nothing_is_given_up(server: Server) -> None:
    eventually(lambda: server.seats.taken == 0)
    client = server.open("/novelist/transcribe", max_queue=1, legacy=True)
    stream(client, pcm("go on"))
    assert server.seats.taken == 1
    eventually(lambda: server.seats.taken == 0)
    abort(client)


def test_whoever_has_no_neural_detector_uses_the_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    load = _transcription_router.load_pause_detector

    def without_silero(name: str) -> PauseDetector:
        if name == "silero":
            raise MissingExtraError("Silero", "local")
        return load(name)

    monkeypatch.setattr(_transcription_router, "load_pause_detector", without_silero)
    assert isinstance(_transcription_router._default_detector(), EnergyPauseDetector)
