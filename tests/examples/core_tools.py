"""What the tests of the core routers share: a server with fakes, and clients that leave."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import httpx
from fastapi_server import create_app

from realtime_stts.settings import SettingsStore
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine
from tests.servers import serving

__all__ = ["MANAGE", "Running", "eventually", "leave", "running"]

_TOKEN = "the-owner-of-this-server"
MANAGE = {"Authorization": f"Bearer {_TOKEN}"}

_PATIENCE = 10.0  # s


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs, and a client of it."""

    url: str
    http: httpx.Client
    app: Any

    @property
    def services(self) -> Any:
        return self.app.state.services


@contextmanager
def running(
    folder: Path, *, settings: dict[str, Any] | None = None, **options: Any
) -> Iterator[Running]:
    """A server with engines that say "hello there", and speak in tones at once."""
    store = SettingsStore()
    store.update({"paths.output": str(folder), **(settings or {})})
    options.setdefault("stt", ScriptedSTTEngine(repeat("hello there"), latency=0))
    options.setdefault("tts", ScriptedTTSEngine(latency=0, real_time_factor=0))
    app = create_app(store, management_token=_TOKEN, **options)
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as http:
        eventually(lambda: app.state.services.state == "ready")
        yield Running(url, http, app)


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = monotonic() + _PATIENCE
    while not is_so():
        assert monotonic() < deadline, "it never came to be so"
        sleep(0.01)


def leave(server: Running, request: httpx.Request, *, once: Callable[[], bool]) -> None:
    """Send a request, and hang up once something is so, without an answer."""
    address = urlsplit(server.url)
    body = request.read()
    head = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n".encode()
    headers = b"".join(b"%b: %b\r\n" % pair for pair in request.headers.raw)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head + headers + b"\r\n" + body)
        eventually(once)
