"""The server as a process: how it starts, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")
pytest.importorskip("pocketsphinx")
pytest.importorskip("websockets")

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.examples.apps import Process, process, soon

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

_ROOT = Path(__file__).parents[2]
_LIMIT = 30.0  # s


class TestStarting:
    def test_it_says_where_the_page_is_and_serves(self, tmp_path: Path) -> None:
        with process(tmp_path) as running:
            soon(running.is_ready)
            link = re.search(r"http://localhost:\d+/#token=(\S+)", running.said)
            assert link is not None
            headers = {"Authorization": f"Bearer {link[1]}"}
            detailed = httpx.get(f"{running.url}/api/health/detailed", headers=headers)
            assert detailed.json()["engines"] == {"stt": "pocketsphinx", "tts": "espeak"}
            assert "server" not in detailed.headers
            answer = httpx.post(f"{running.url}/tts", json={"text": "Good day."})
            assert answer.content[:4] == b"RIFF"
            running.process.send_signal(signal.SIGTERM)
            assert running.ends() == 0
            assert "Traceback" not in running.said

    def test_settings_come_from_a_file_a_profile_and_the_environment(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("ui: {title: Ours}\nlimits: {max_sessions: 3}\n")
        (tmp_path / "config.night.yaml").write_text("limits: {max_sessions: 5}\n")
        environ = {"REALTIME_STTS_UI__TITLE": "Theirs"}
        options = ("--config", "config.yaml", "--profile", "night")
        with process(tmp_path, *options, slow=0.0, environ=environ) as running:
            soon(running.is_ready)
            assert httpx.get(f"{running.url}/info").json()["server"]["title"] == "Theirs"

    def test_what_is_wrong_is_said_in_a_line(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("limits: {max_sessions: many}\n")
        with process(tmp_path, "--config", "config.yaml") as running:
            assert running.ends() == 2
            soon(lambda: "limits.max_sessions" in running.said)
            assert "Traceback" not in running.said

    def test_a_port_that_is_taken_is_an_error(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            with process(tmp_path, "--port", port, slow=0.0) as running:
                assert running.ends() != 0
                soon(lambda: "in use" in running.said)

    def test_help_says_how(self, tmp_path: Path) -> None:
        environ = {**os.environ, "PYTHONPATH": str(_ROOT / "examples")}
        said = subprocess.run(
            [sys.executable, "-m", "fastapi_server", "--help"],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for word in ("--port", "--config", "--profile", "SIGTERM", "REALTIME_STTS_"):
            assert word in said

    def test_the_log_has_a_file_and_no_tokens(self, tmp_path: Path) -> None:
        environ = {"REALTIME_STTS_SERVER__LOG_FILE_PATH": "logs/server.log"}
        with process(tmp_path, slow=0.0, environ=environ) as running:
            soon(running.is_ready)
            httpx.get(f"{running.url}/api/health/detailed?ticket=one-of-ours")
            address = running.url.replace("http", "ws") + "/ws/conversation/v2?ticket=one-of-ours"
            with pytest.raises(InvalidStatus), connect(address):
                pass
            with connect(address.replace("ticket", "unknown")):
                pass
            running.process.send_signal(signal.SIGTERM)
            assert running.ends() == 0
            log = (tmp_path / "logs" / "server.log").read_text()
            assert "not_authenticated" in log or "AuthenticationError" in log
            assert "one-of-ours" not in log
            token = re.search(r"#token=(\S+)", running.said)
            assert token is not None
            assert token[1] not in log


class TestEnding:
    def test_a_request_under_way_is_answered_and_no_other(self, tmp_path: Path) -> None:
        with process(tmp_path, slow=2.0) as running:
            soon(running.is_ready)
            answers: list[Any] = []

            def speak() -> None:
                answers.append(httpx.post(f"{running.url}/tts", json={"text": "Hi."}, timeout=20))

            with httpx.Client(base_url=running.url) as other:
                other.get("/health")  # a connection that is open when the server is told to stop
                speaking = Thread(target=speak)
                speaking.start()
                soon(lambda: _calls(running) > 0)
                running.process.send_signal(signal.SIGTERM)
                soon(lambda: other.get("/health/ready").status_code == 503)
                refused = other.post("/tts", json={"text": "Hi."})
            assert refused.status_code == 503
            assert "Retry-After" in refused.headers
            speaking.join(_LIMIT)
            assert answers[0].status_code == 200
            assert running.ends() == 0

    def test_a_turn_is_finished_and_then_its_socket_is_closed(self, tmp_path: Path) -> None:
        with process(tmp_path, slow=1.0) as running:
            soon(running.is_ready)
            address = running.url.replace("http", "ws") + "/ws/conversation/v2?audio=stream"
            with connect(address) as talking, connect(address) as idle:
                _say_something(talking)
                while _kind(talking) != "response_text":
                    pass
                running.process.send_signal(signal.SIGTERM)
                kinds = _until_closed(talking)
                assert "audio" in kinds
                assert kinds.index("turn_ended") > kinds.index("audio")
                _until_closed(idle)
                for each in (talking, idle):
                    assert each.close_code == 1001
            assert running.ends() == 0
            assert "Traceback" not in running.said

    def test_what_takes_too_long_is_cut_off(self, tmp_path: Path) -> None:
        environ = {"REALTIME_STTS_SERVER__DRAIN_SECONDS": "0.5"}
        with process(tmp_path, slow=60.0, environ=environ) as running:
            soon(running.is_ready)
            speaking = Thread(target=_speak, args=(running,))
            speaking.start()
            soon(lambda: _calls(running) > 0)
            running.process.send_signal(signal.SIGTERM)
            assert running.ends() == 0
            speaking.join(_LIMIT)

    def test_a_second_signal_ends_it_at_once(self, tmp_path: Path) -> None:
        environ = {"REALTIME_STTS_SERVER__DRAIN_SECONDS": "600"}
        with process(tmp_path, slow=600.0, environ=environ) as running:
            soon(running.is_ready)
            speaking = Thread(target=_speak, args=(running,))
            speaking.start()
            soon(lambda: _calls(running) > 0)
            running.process.send_signal(signal.SIGINT)
            soon(lambda: "stopping" in running.said)
            running.process.send_signal(signal.SIGINT)
            running.ends()
            speaking.join(_LIMIT)


def _speak(running: Process) -> None:
    with suppress(httpx.TransportError):
        httpx.post(f"{running.url}/tts", json={"text": "Hi."}, timeout=_LIMIT)


def _calls(running: Process) -> int:
    token = re.search(r"#token=(\S+)", running.said)
    assert token is not None
    headers = {"Authorization": f"Bearer {token[1]}"}
    calls: int = httpx.get(f"{running.url}/api/health/detailed", headers=headers).json()["calls"]
    return calls


def _say_something(talking: Any) -> None:
    import numpy as np

    tone = (8000 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)).astype("<i2").tobytes()
    talking.send(json.dumps({"action": "begin_turn"}))
    for start in range(0, len(tone), 3200):
        talking.send(tone[start : start + 3200])
    talking.send(json.dumps({"action": "commit"}))


def _until_closed(talking: Any) -> list[str]:
    kinds = []
    try:
        while True:
            kinds.append(_kind(talking))
    except ConnectionClosed:
        return kinds


def _kind(talking: Any) -> str:
    message = talking.recv(timeout=_LIMIT)
    return "audio" if isinstance(message, bytes) else str(json.loads(message)["type"])
