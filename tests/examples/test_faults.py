"""What goes wrong between a server and the world: what happens then, and that nothing is left.

"Nothing is left" counts asyncio's tasks, threads, file descriptors, child processes, files,
seats, requests and calls before and after.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import socket
import struct
import tempfile
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import enumerate as all_threads
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import anyio
import anyio.lowlevel
import httpx
import numpy as np
from fastapi import FastAPI
from fastapi_server import app as app_module
from fastapi_server import connections, serving
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.testing import (
    Failure,
    FaultyTTSEngine,
    Hang,
    ScriptedTTSEngine,
)
from tests.examples.apps import OWNER, process, running, scripted_app, soon

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")

_OWNERS = {"Authorization": f"Bearer {OWNER}"}
_LIMIT = 20.0  # s
_LONG = "This is a long text, of which every word takes its time to be spoken. " * 20


class Verbose(ScriptedTTSEngine):
    """Has two minutes of silence to say, at once."""

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        for _ in range(120):
            await anyio.lowlevel.checkpoint()
            yield AudioData(bytes(48_000), 24_000)


class Watched:
    """An application, and all that it holds."""

    def __init__(self, app: FastAPI, folder: Path) -> None:
        self._app, self._folder = app, folder
        self.services = app.state.services
        self.state = app.state
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._loop = asyncio.get_running_loop()
        await self._app(scope, receive, send)

    def holds(self) -> dict[str, int]:
        services = self.services
        return {
            "tasks": self._tasks(),
            "threads": sum("AnyIO" not in each.name for each in all_threads()),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "children": _children(),
            "files": sum(1 for _ in self._folder.rglob("*")),
            "seats": services.seats.taken,
            "sockets": len(services.connections.sockets),
            "requests": services.connections.requests,
            "calls": services.in_flight.calls,
        }

    def _tasks(self) -> int:
        assert self._loop is not None
        while True:
            with suppress(RuntimeError):  # one began or ended meanwhile
                return len(asyncio.all_tasks(self._loop))

    @contextmanager
    def nothing_is_left(self) -> Iterator[None]:
        before = self.holds()
        yield
        after: dict[str, int] = {}

        def is_as_before() -> bool:
            after.update(self.holds())
            return all(after[what] <= before[what] for what in before)

        try:
            soon(is_as_before)
        except AssertionError:
            more = {what: (before[what], after[what]) for what in before if after != before}
            raise AssertionError(f"something was left: before, after: {more}") from None


def _children() -> int:
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found += stat.read_text().rpartition(")")[2].split()[1] == str(os.getpid())
    return found


@contextmanager
def watched(
    folder: Path, settings: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[tuple[Watched, str]]:
    app = Watched(scripted_app(folder, settings, **options), folder)
    temporary = folder / "temporary"  # where uploads are kept meanwhile: looked at, too
    temporary.mkdir()
    with (
        pytest.MonkeyPatch.context() as patch,
        running(app) as url,  # type: ignore[arg-type]
    ):
        patch.setattr(tempfile, "tempdir", str(temporary))
        httpx.post(f"{url}/stt", files={"audio_file": ("a.wav", _wav(0.1))})  # all is loaded
        httpx.post(f"{url}/tts", json={"text": "Hello."})
        yield app, url


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any) -> Iterator[tuple[Watched, str]]:
    # As slow as speech is, so that there is something to be interrupted.
    tts = ScriptedTTSEngine(latency=0.0, real_time_factor=0.5)
    with watched(tmp_path_factory.mktemp("faults"), tts=tts) as both:
        yield both


@pytest.fixture(scope="module")
def fast(tmp_path_factory: Any) -> Iterator[tuple[Watched, str]]:
    limits = {"limits": {"max_upload_mb": 3, "max_audio_seconds": 60, "max_voice_mb": 1}}
    with watched(tmp_path_factory.mktemp("fast"), limits) as both:
        yield both


class TestClientsThatVanish:
    def test_in_the_middle_of_an_upload(self, server: tuple[Watched, str]) -> None:
        app, url = server
        with app.nothing_is_left():
            for _ in range(5):
                client = _raw(url)
                client.sendall(_post("/stt", 1_000_000, "multipart/form-data; boundary=x"))
                client.sendall(b'--x\r\nContent-Disposition: form-data; name="audio_file"; ')
                client.sendall(b'filename="a.wav"\r\n\r\n' + bytes(200_000))
                soon(lambda: app.services.connections.requests > 0)
                _vanish(client)

    def test_in_the_middle_of_an_answer(self, server: tuple[Watched, str]) -> None:
        app, url = server
        with app.nothing_is_left():
            for _ in range(3):
                client = _raw(url)
                body = json.dumps({"text": _LONG, "stream": True}).encode()
                client.sendall(_post("/tts", len(body), "application/json") + body)
                assert client.recv(4096).startswith(b"HTTP/1.1 200")
                assert app.services.in_flight.calls == 1
                _vanish(client)
                soon(lambda: app.services.in_flight.calls == 0)

    def test_while_a_whole_answer_is_made(self, server: tuple[Watched, str]) -> None:
        app, url = server
        with app.nothing_is_left():
            client = _raw(url)
            body = json.dumps({"text": _LONG}).encode()
            client.sendall(_post("/tts", len(body), "application/json") + body)
            soon(lambda: app.services.in_flight.calls == 1)
            _vanish(client)

    def test_in_the_middle_of_a_turn(self, server: tuple[Watched, str]) -> None:
        app, url = server
        with app.nothing_is_left():
            for _ in range(3):
                with connect(_ws(url) + "/ws/conversation/v2?audio=stream") as client:
                    _say_something(client)
                    while not isinstance(client.recv(timeout=_LIMIT), bytes):
                        pass
                    assert app.services.seats.taken == 1
                    _vanish(client.socket)
                    soon(lambda: app.services.seats.taken == 0)


class TestSeats:
    def test_are_all_there_again_after_clients_have_vanished(self, tmp_path: Path) -> None:
        limits = {"limits": {"max_sessions": 5, "max_sessions_per_client": 5}}
        with watched(tmp_path, limits) as (app, url):
            for _ in range(3):
                with ExitStack() as stack:
                    clients = [
                        stack.enter_context(connect(_ws(url) + "/ws/conversation/v2"))
                        for _ in range(5)
                    ]
                    with (
                        pytest.raises(InvalidStatus) as refused,
                        connect(_ws(url) + "/ws/conversation/v2"),
                    ):
                        pass
                    for client in clients:
                        _vanish(client.socket)
                assert refused.value.response.status_code in (429, 503)
                assert "Retry-After" in refused.value.response.headers
                soon(lambda: app.services.seats.taken == 0)


class TestEngines:
    def test_that_raise_hang_and_recover(self, tmp_path: Path) -> None:
        broken, half = Failure(EngineError("tts", "/secret/path")), Failure(RuntimeError("x"), 1)
        tts = FaultyTTSEngine([None, broken, half, Hang(), Hang(1)])
        limits = {"timeout": {"enabled": True, "first": 0.3, "between": 0.3}}
        with watched(tmp_path, {"middleware": limits}, tts=tts) as (app, url):
            with app.nothing_is_left():
                answers = [httpx.post(f"{url}/tts", json={"text": "Hi."}) for _ in range(5)]
            assert [each.status_code for each in answers] == [500, 500, 503, 503, 200]
            assert "secret" not in "".join(each.text for each in answers[:4])
            assert httpx.get(f"{url}/health").status_code == 200

    def test_that_break_off_in_a_stream_break_the_answer_off(self, tmp_path: Path) -> None:
        tts = FaultyTTSEngine([None, Failure(EngineError("tts", "no"), 2)], results=5)
        body = {"text": "Hi.", "stream": True}
        with (
            watched(tmp_path, tts=tts) as (app, url),
            app.nothing_is_left(),
            httpx.stream("POST", f"{url}/tts", json=body) as answer,
        ):
            assert answer.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):  # and no end that looks like one
                answer.read()

    def test_that_hang_in_a_conversation_cost_a_turn(self, tmp_path: Path) -> None:
        tts = FaultyTTSEngine([None, Hang()])
        limits = {"conversation": {"limits": {"synthesis": 0.3}}}
        with (
            watched(tmp_path, limits, tts=tts) as (app, url),
            app.nothing_is_left(),
            connect(_ws(url) + "/ws/conversation/v2") as client,
        ):
            _say_something(client)
            assert "request_id" in _until(client, "error")
            _say_something(client)
            _until(client, "audio_response")

    def test_whose_process_dies_come_back(self, tmp_path: Path) -> None:
        pytest.importorskip("espeakng_loader")
        from realtime_stts.engines.isolated import IsolatedTTSEngine

        with watched(tmp_path, tts=IsolatedTTSEngine("espeak", python=None)) as (app, url):
            children = [pid for pid in _child_pids() if "isolated" in _command(pid)]
            assert children
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            statuses = [
                httpx.post(f"{url}/tts", json={"text": "Hi."}, timeout=_LIMIT).status_code
                for _ in range(3)
            ]
            assert set(statuses[:-1]) <= {200, 503}
            assert statuses[-1] == 200
            assert app.services.in_flight.calls == 0


class TestFullDisks:
    """A limit on the size of the server's files stands for a disk that is full (EFBIG)."""

    def test_of_uploads_and_analytics_cost_those_and_nothing_else(self, tmp_path: Path) -> None:
        resource = pytest.importorskip("resource")
        environ = {"REALTIME_STTS_ANALYTICS__PATH": "calls.sqlite"}
        with process(tmp_path, slow=0.0, environ=environ) as server:
            soon(server.is_ready)
            token = re.search(r"#token=(\S+)", server.said)
            assert token is not None
            owners = {"Authorization": f"Bearer {token[1]}"}
            upload = partial(
                httpx.post,
                f"{server.url}/files/reference-audio/upload",
                data={"consent_by": "A", "consent_statement": "Yes."},
                headers=owners,
                timeout=_LIMIT,
            )
            speak = partial(httpx.post, f"{server.url}/tts", json={"text": "Hello."})
            assert speak().status_code == 200
            before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1000, before[1]))

            assert upload(files={"files": ("a.wav", _wav(6.0))}).status_code >= 400
            big = {"audio_file": ("a.wav", _wav(60.0))}  # over a megabyte: kept in a file
            assert httpx.post(f"{server.url}/stt", files=big, timeout=_LIMIT).status_code == 507
            for _ in range(5):
                assert speak().status_code == 200
            assert httpx.get(f"{server.url}/health").status_code == 200
            assert httpx.get(f"{server.url}/files/reference-audio", headers=owners).json() == []

            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
            assert upload(files={"files": ("a.wav", _wav(6.0))}).status_code == 200
            assert httpx.post(f"{server.url}/stt", files=big, timeout=_LIMIT).status_code == 200
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(_LIMIT) == 0
            assert not list(tmp_path.rglob("*.partial"))


class TestMalformed:
    def test_a_thousand_messages_and_the_conversation_goes_on(
        self, server: tuple[Watched, str]
    ) -> None:
        app, url = server
        kinds = (
            "", "{", "[]", "7", "null", '"ping"', "{}", '{"action": 7}', '{"action": "fly"}',
            '{"action": "change_mode"}', '{"action": "change_mode", "mode": "no"}',
            '{"audio_data": 7}', '{"audio_data": "*"}', '{"audio_data": "AAAA", "sample_rate": -1}',
            '{"audio_data": "AAAA", "format": "x"}', "[" * 5000, '{"a":' * 500, "\u0000", "NaN",
            b"", b"\x01", b"\x00\x01\x02",
        )  # fmt: skip
        with app.nothing_is_left(), connect(_ws(url) + "/ws/conversation/v2") as client:
            for number in range(1000):
                client.send(kinds[number % len(kinds)])
                with suppress(TimeoutError):  # what is answered is taken off the line
                    while True:
                        client.recv(timeout=0)
            client.send('{"action": "ping"}')
            assert _until(client, "pong")

    def test_requests_are_refused(self, server: tuple[Watched, str]) -> None:
        app, url = server
        with app.nothing_is_left():
            for sent in (
                b"\x00\x01\x02\r\n\r\n",
                b"GET\r\n\r\n",
                b"GET / HTTP/9.9\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
            ):
                with _raw(url) as client, suppress(ConnectionError):
                    client.sendall(sent)
                    assert re.match(rb"HTTP/1.1 (4\d\d|505)|$", client.recv(4096))
        assert httpx.get(f"{url}/health").status_code == 200


class TestUploads:
    def test_too_large_a_body_is_refused_while_it_is_read(self, fast: tuple[Watched, str]) -> None:
        app, url = fast
        sent = 0

        def pieces() -> Iterator[bytes]:
            nonlocal sent
            yield b'--x\r\nContent-Disposition: form-data; name="audio_file"; filename="a"\r\n\r\n'
            for _ in range(1000):
                sent += 100_000
                yield bytes(100_000)

        with app.nothing_is_left():
            with suppress(httpx.TransportError):  # it is not listened to any longer
                form = {"Content-Type": "multipart/form-data; boundary=x"}
                answer = httpx.post(f"{url}/stt", content=pieces(), headers=form)
                assert answer.status_code == 413
            assert sent < 100_000_000
            whole = httpx.post(f"{url}/stt", files={"audio_file": ("a.wav", bytes(4_000_000))})
            assert whole.status_code == 413
            assert whole.json()["error_code"] == "too_large"

    def test_only_uploads_may_be_large(self, fast: tuple[Watched, str]) -> None:
        app, url = fast
        with app.nothing_is_left():
            answer = httpx.post(f"{url}/tts", json={"text": "x" * 2_000_000})
            assert answer.status_code == 413

    def test_of_somebody_unknown_are_not_even_kept(self, fast: tuple[Watched, str]) -> None:
        app, url = fast
        voice = {"files": ("a.wav", bytes(2_000_000))}
        with app.nothing_is_left():
            address = f"{url}/files/reference-audio/upload"
            assert httpx.post(address, files=voice).status_code == 413
            assert httpx.post(address, files={"files": ("a.wav", b"x")}).status_code == 401
            assert httpx.post(address, files=voice, headers=_OWNERS).status_code != 401

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"no audio",
            b"PK\x03\x04" + bytes(1000),
            b"RIFF\xff\xff\xff\xffWAVEfmt ",
            b"fLaC" + b"\xff" * 1000,
            b"OggS" + bytes(1000),
            b"#!/bin/sh\n",
            b"\x7fELF" + bytes(1000),
        ],
        ids=["nothing", "text", "zip", "header", "flac", "ogg", "script", "program"],
    )
    def test_what_is_no_audio_is_refused(self, fast: tuple[Watched, str], content: bytes) -> None:
        app, url = fast
        with app.nothing_is_left():
            answer = httpx.post(f"{url}/stt", files={"audio_file": ("speech.wav", content)})
            assert answer.status_code in (400, 415, 422)
            assert {"detail", "error_code", "request_id"} <= set(answer.json())

    def test_a_bomb_is_given_up(self, fast: tuple[Watched, str]) -> None:
        """Half an hour of silence in a few kilobytes, where a minute is allowed."""
        app, url = fast
        silence = AudioData(bytes(2 * 8000 * 1800), 8000).encode("flac")
        assert len(silence) < 200_000
        with app.nothing_is_left():
            answer = httpx.post(
                f"{url}/stt", files={"audio_file": ("a.flac", silence)}, timeout=_LIMIT
            )
            assert answer.status_code == 413
            assert answer.json()["error_code"] == "audio_too_long"


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "../secret.wav",
            "..%2fsecret.wav",
            "/etc/passwd",
            "%2fetc%2fpasswd",
            "..\\secret.wav",
            "secret.wav%00",
            "%2e%2e",
            "a" * 5000,
            "con",
            "\u202e\u0301",
        ],
    )
    def test_that_are_paths_reach_no_file(self, fast: tuple[Watched, str], name: str) -> None:
        app, url = fast
        secret = app._folder / "secret.wav"
        secret.write_bytes(_wav(6.0))
        with app.nothing_is_left():
            for path in ("/tts/voices/{}", "/files/reference-audio/{}/info"):
                answer = httpx.get(url + path.format(name), headers=_OWNERS)
                assert 400 <= answer.status_code < 500, (path, answer.status_code)
            for path in ("/files/reference-audio/{}", "/files/predefined-voices/{}"):
                answer = httpx.delete(url + path.format(name), headers=_OWNERS)
                assert 400 <= answer.status_code < 500, (path, answer.status_code)
            for body in (
                {"text": "Hi.", "predefined_voice_id": name},
                {"text": "Hi.", "voice_mode": "clone", "reference_audio_filename": name},
            ):
                assert 400 <= httpx.post(f"{url}/tts", json=body).status_code < 500
        assert secret.read_bytes() == _wav(6.0)

    def test_of_uploads_stay_in_their_folder(self, fast: tuple[Watched, str]) -> None:
        app, url = fast
        before = {path for path in app._folder.rglob("*") if "voices" not in path.parts}
        httpx.post(
            f"{url}/files/reference-audio/upload",
            files={"files": ("../../../escaped.wav", _wav(6.0))},
            data={"consent_by": "A", "consent_statement": "Yes."},
            headers=_OWNERS,
        )
        after = {path for path in app._folder.rglob("*") if "voices" not in path.parts}
        assert before == after
        assert not list(app._folder.parent.glob("escaped*"))


class TestSlowClients:
    def test_headers_have_so_long(
        self, server: tuple[Watched, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app, url = server
        monkeypatch.setattr(serving, "_HEADERS", 0.5)
        with app.nothing_is_left():
            clients = [_raw(url) for _ in range(20)]
            for client in clients:
                client.sendall(b"GET /health HTTP/1.1\r\nX-a: b")
            for number in range(50):  # slowly, on and on
                for client in clients:
                    with suppress(OSError):
                        client.sendall(b"\r\nX-%d: c" % number)
                if number == 2:
                    assert httpx.get(f"{url}/health").status_code == 200
                if all(_is_closed(client) for client in clients):
                    break
                soon(lambda: True)
            for client in clients:
                soon(partial(_is_closed, client))
                client.close()

    def test_so_have_those_that_send_nothing(
        self, server: tuple[Watched, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app, url = server
        monkeypatch.setattr(serving, "_HEADERS", 0.2)
        with app.nothing_is_left(), _raw(url) as client:
            soon(partial(_is_closed, client))

    def test_bodies_have_so_long(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        protect = partial(app_module.protect, max_body_seconds=0.3)
        monkeypatch.setattr(app_module, "protect", protect)
        with watched(tmp_path) as (app, url), app.nothing_is_left(), _raw(url) as client:
            client.sendall(_post("/tts", 1000, "application/json") + b"{")
            client.settimeout(_LIMIT)
            assert client.recv(4096).startswith(b"HTTP/1.1 408")

    def test_answers_are_taken_or_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections, "_SENDING", 0.3)
        monkeypatch.setattr(serving, "_ABORT", 0.3)
        with (
            watched(tmp_path, tts=Verbose()) as (app, url),
            app.nothing_is_left(),
            _raw(url, receive_buffer=4096) as client,
        ):
            body = json.dumps({"text": "Hi.", "stream": True, "output_format": "pcm"}).encode()
            client.sendall(_post("/tts", len(body), "application/json") + body)
            soon(lambda: app.services.connections.requests > 0)
            soon(lambda: app.services.connections.requests == 0)  # and nothing was read
            soon(lambda: app.services.in_flight.calls == 0)

    def test_sockets_that_read_nothing_are_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(serving, "_ABORT", 0.3)
        limits = {"conversation": {"limits": {"send": 0.5}}}
        with (
            watched(tmp_path, limits, tts=Verbose()) as (app, url),
            app.nothing_is_left(),
            _raw(url, receive_buffer=4096) as client,
        ):
            client.sendall(
                b"GET /ws/conversation/v2 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            soon(lambda: app.services.seats.taken == 1)
            client.sendall(_frame(b'{"action": "begin_turn"}'))
            client.sendall(_frame(_wav(1.0)[44:], 0x82))
            client.sendall(_frame(b'{"action": "commit"}'))

            def is_free() -> bool:
                with suppress(OSError):
                    client.sendall(_frame(b'{"action": "ping"}'))
                return bool(app.services.seats.taken == 0)

            soon(is_free)

    def test_a_silent_socket_is_closed(self, tmp_path: Path) -> None:
        limits = {"limits": {"max_idle_seconds": 0.3}}
        with watched(tmp_path, limits) as (app, url), app.nothing_is_left():
            assert _closed_with(url) == 1008

    def test_a_conversation_has_an_end(self, tmp_path: Path) -> None:
        limits = {"limits": {"max_session_seconds": 0.3}}
        with watched(tmp_path, limits) as (app, url), app.nothing_is_left():
            assert _closed_with(url) == 1008

    def test_too_large_a_message_closes_the_socket(self, tmp_path: Path) -> None:
        with (
            watched(tmp_path, {"limits": {"max_message_kb": 16}}) as (app, url),
            app.nothing_is_left(),
            connect(_ws(url) + "/ws/conversation/v2") as client,
        ):
            with suppress(ConnectionClosed):
                client.send(bytes(100_000))
                while True:
                    client.recv(timeout=_LIMIT)
            assert client.close_code == 1009

    def test_others_are_served_meanwhile(self, server: tuple[Watched, str]) -> None:
        app, url = server
        with app.nothing_is_left():
            clients = [_raw(url) for _ in range(100)]
            for client in clients:
                client.sendall(b"POST /stt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n")
            assert httpx.post(f"{url}/tts", json={"text": "Hi."}).status_code == 200
            for client in clients:
                client.close()


# -- clients ---------------------------------------------------------------------------------


def _wav(seconds: float) -> bytes:
    tone = 8000 * np.sin(np.arange(int(seconds * 16_000)) * 2 * np.pi * 220 / 16_000)
    return AudioData(tone.astype("<i2").tobytes(), 16_000).encode("wav")


def _ws(url: str) -> str:
    return url.replace("http", "ws", 1)


def _raw(url: str, receive_buffer: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(_LIMIT)
    client.connect(("127.0.0.1", int(url.rpartition(":")[2])))
    return client


def _post(path: str, length: int, kind: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def _vanish(client: socket.socket) -> None:
    """Reset the connection, as a machine does that lost its power and came back."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def _is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _frame(payload: bytes, kind: int = 0x81) -> bytes:
    """A WebSocket's message, masked with zeros."""
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
    return bytes([kind]) + size + bytes(4) + payload


def _closed_with(url: str) -> int | None:
    with connect(_ws(url) + "/ws/conversation/v2") as client:
        with suppress(ConnectionClosed):
            while True:
                client.recv(timeout=_LIMIT)
        return client.close_code


def _say_something(client: Any) -> None:
    sound = AudioData.from_file(io.BytesIO(_wav(1.0))).data
    client.send(json.dumps({"action": "begin_turn"}))
    for start in range(0, len(sound), 3200):
        client.send(sound[start : start + 3200])
    client.send(json.dumps({"action": "commit"}))


def _until(client: Any, kind: str) -> dict[str, Any]:
    while True:
        message = client.recv(timeout=_LIMIT)
        if isinstance(message, str) and json.loads(message)["type"] == kind:
            found: dict[str, Any] = json.loads(message)
            return found


def _child_pids() -> list[int]:
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                pids.append(int(stat.parent.name))
    return pids


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
