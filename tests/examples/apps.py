"""The example's application with scripted engines, and a server for it as it is really run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi_server import create_app
from fastapi_server.serving import options_of

from realtime_stts.settings import SettingsStore
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine
from tests.servers import serving

__all__ = ["OWNER", "Process", "process", "running", "scripted_app", "settings_in", "soon"]

OWNER = "the-token-of-the-owner"
_ROOT = Path(__file__).parents[2]
_LIMIT = 20.0  # s

# A server with scripted engines, of which one takes its time to speak.
_SCRIPTED = """
import sys
from fastapi_server import __main__, create_app
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine
from itertools import repeat

class Slow(ScriptedTTSEngine):
    async def warmup(self):
        await self.load()

latency = float(sys.argv.pop())
__main__.create_app = lambda store: create_app(
    store,
    stt=ScriptedSTTEngine(repeat("hello"), latency=0.0),
    tts=Slow(latency=latency),
)
sys.exit(__main__.main())
"""


def settings_in(folder: Path, settings: Mapping[str, Any] | None = None) -> SettingsStore:
    """Settings that write into a folder alone, whatever the environment says."""
    store = SettingsStore(environ={})
    store.update({"paths": {"output": str(folder / "outputs")}})
    if settings:
        store.update(dict(settings))
    return store


def scripted_app(
    folder: Path, settings: Mapping[str, Any] | None = None, **options: Any
) -> FastAPI:
    """An application whose engines hear "hello" in every sound and speak at once."""
    engines = {
        "stt": ScriptedSTTEngine(repeat("hello"), latency=0.0),
        "tts": ScriptedTTSEngine(latency=0.0, real_time_factor=0.0),
    }
    return create_app(
        settings_in(folder, settings), **{"management_token": OWNER, **engines, **options}
    )


@contextmanager
def running(app: FastAPI, *, ready: bool = True) -> Iterator[str]:
    """``app`` under the example's own server, in a thread: its URL, once the engines are warm."""
    with serving(app, **{**options_of(app.state.services.settings), "log_level": "warning"}) as url:
        if ready:
            soon(lambda: httpx.get(f"{url}/health/ready").status_code == 200)
        yield url


def soon(condition: Any) -> Any:
    """Wait until it holds, and return what it was."""
    deadline = monotonic() + _LIMIT
    while not (found := condition()):
        assert monotonic() < deadline, "it did not come to that"
        sleep(0.02)
    return found


class Process:
    """The server as a process, and what it has said."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.said = ""
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.said
        try:
            return httpx.get(f"{self.url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def ends(self) -> int:
        return self.process.wait(_LIMIT)


@contextmanager
def process(
    folder: Path, *options: str, slow: float | None = None, environ: dict[str, str] | None = None
) -> Iterator[Process]:
    """The server in a folder, with options of its command line.

    Args:
        slow: Seconds before its scripted engine speaks; None for the settings' engines.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = ["-m", "fastapi_server"] if slow is None else ["-c", _SCRIPTED]
    command = [sys.executable, *program, "--port", str(port), *options]
    if slow is not None:
        command.append(str(slow))
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (_ROOT / "examples", _ROOT / "src")))}
    child = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **paths, **(environ or {})},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Process(child, port)
    finally:
        child.kill()
        child.wait()
        if child.stderr is not None:
            child.stderr.close()
