"""The two sides of a load test, each in a process of its own.

    python -m benchmarks.server_load serve PORT scripted|embedded|fixed|bare FOLDER
    python -m benchmarks.server_load talk URL CLIENTS SECONDS
    python -m benchmarks.server_load speak URL N
    python -m benchmarks.server_load upload URL SECONDS

``serve`` has one route more than the example, ``/_load``: the event loop's longest stall since
it was asked last, the longest time that it computed without a break, and the process's memory.
The others print one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, Final

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI, Response
from fastapi_server import create_app
from fastapi_server.serving import Server, options_of
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from realtime_stts.audio import AudioData
from realtime_stts.engines.espeak import ESpeakTTSEngine
from realtime_stts.protocols import SynthesisResult
from realtime_stts.settings import SettingsStore
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine

__all__ = ["CLIP"]

_CHUNK: Final = 0.1  # s of sound in a message
_TICK: Final = 0.005  # s between two looks at the event loop's clock
_PHRASE: Final = "tell me a joke"
_SILENCE: Final = bytes(round(_CHUNK * 16_000) * 2)
_PATIENCE: Final = 15.0  # s for an answer

# A second of a tone: what engines that are not to be measured say.
CLIP: Final = AudioData(
    (8000 * np.sin(np.arange(24_000) * 2 * np.pi * 220 / 24_000)).astype("<i2").tobytes(), 24_000
)


class FixedTTSEngine(ScriptedTTSEngine):
    """Says a second of a tone, made long ago."""

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return SynthesisResult(CLIP, text, "fixed")

    async def stream(self, text: str, voice_config: dict[str, Any] | None = None) -> Any:
        await asyncio.sleep(0.02)
        yield CLIP


# -- the server ------------------------------------------------------------------------------


def serve(port: int, kind: str, folder: Path) -> None:
    """Serve until the process is ended."""
    options: dict[str, Any] = {"log_config": None, "log_level": "warning", "port": port}
    if kind == "bare":
        uvicorn.run(_Monitor(_bare()), **options)
        return
    app = _example(kind, folder)
    services = app.state.services
    ours = {**options_of(services.settings), **options}
    Server(uvicorn.Config(_Monitor(app), **ours), services).run()


def _example(kind: str, folder: Path) -> FastAPI:
    store = SettingsStore(environ={})
    more: dict[str, Any] = {
        "paths": {"output": str(folder)},
        "limits": {"max_sessions": 1000, "max_sessions_per_client": 1000},
        "conversation": {"response_mode": "echo"},
    }
    if kind == "embedded":
        more["stt_engine"] = {"options": {"phrases": [_PHRASE]}}
    else:
        more["pause_detection"] = {"engine": "energy"}
    if kind == "fixed":
        names = ("timeout", "concurrency_limit", "retry", "circuit_breaker", "text_normalizer")
        more["middleware"] = {name: {"enabled": True} for name in names}
    store.update(more)
    if kind == "embedded":
        return create_app(store)
    heard = ScriptedSTTEngine(repeat(_PHRASE), latency=0.05, partials=False)
    heard.calls = deque(maxlen=16)  # type: ignore[assignment]  # it keeps all that it heard
    return create_app(store, stt=heard, tts=FixedTTSEngine())


def _bare() -> FastAPI:
    app, engine = FastAPI(), FixedTTSEngine()

    @app.post("/tts")
    async def tts(body: dict[str, Any]) -> Response:
        result = await engine.synthesize(body["text"], {})
        return Response(result.audio_data.encode("wav"), media_type="audio/wav")

    return app


class _Monitor:
    """Looks at the event loop's clock, all the time."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._stall = self._computed = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self._task = asyncio.create_task(self._watch())
        elif scope["path"] == "/_load":
            found = {"stall": self._stall, "computed": self._computed, "memory": _memory()}
            self._stall = self._computed = 0.0
            await Response(json.dumps(found))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _watch(self) -> None:
        while True:
            before, computed = perf_counter(), thread_time()
            await asyncio.sleep(_TICK)
            self._stall = max(self._stall, perf_counter() - before - _TICK)
            self._computed = max(self._computed, thread_time() - computed)


def _memory() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# -- the clients -----------------------------------------------------------------------------


async def talk(url: str, clients: int, seconds: float) -> dict[str, Any]:
    """Hold conversations: say a phrase, be silent, hear the answer, and again."""
    async with ESpeakTTSEngine(voice="en-us+f3") as voice:
        said = (await voice.synthesize(_PHRASE, {"speed_factor": 0.85})).audio_data
    phrase = said.resampled(16_000).data
    found: dict[str, Any] = {"asked": 0, "answered": 0, "lost": 0, "wrong": 0, "delays": []}
    await asyncio.gather(
        *(_client(url, phrase, number / clients, seconds, found) for number in range(clients))
    )
    return found


async def _client(
    url: str, phrase: bytes, phase: float, seconds: float, found: dict[str, Any]
) -> None:
    size = len(_SILENCE)
    chunks = [phrase[i : i + size].ljust(size, b"\0") for i in range(0, len(phrase), size)]
    await asyncio.sleep(3.0 * phase)
    address = url.replace("http", "ws") + "/ws/conversation/v2?audio=stream"
    try:
        async with connect(address, max_size=None, compression=None, open_timeout=30) as socket:
            ears = _Ears(socket)
            listening = asyncio.create_task(ears.listen())
            end = perf_counter() + seconds
            clock = perf_counter()
            while perf_counter() < end:
                found["asked"] += 1
                ears.begin()
                n_silent = 0
                for chunk in chunks:
                    await socket.send(chunk)
                    clock += _CHUNK
                    await asyncio.sleep(clock - perf_counter())
                spoken = perf_counter()
                while not ears.ended.is_set() and n_silent * _CHUNK < _PATIENCE:
                    await socket.send(_SILENCE)
                    n_silent += 1
                    clock += _CHUNK
                    await asyncio.sleep(clock - perf_counter())
                found["answered"] += ears.ended.is_set()
                found["wrong"] += ears.transcript != _PHRASE
                if ears.first is not None:
                    found["delays"].append(ears.first - spoken)
            listening.cancel()
    except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError) as exc:
        found["lost"] += 1
        print(f"client lost: {exc!r}", file=sys.stderr)


class _Ears:
    """What comes back."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.begin()

    def begin(self) -> None:
        self.ended = asyncio.Event()
        self.first: float | None = None
        self.transcript = ""

    async def listen(self) -> None:
        with suppress(ConnectionClosed):
            async for message in self._socket:
                if isinstance(message, bytes):
                    self.first = self.first or perf_counter()
                    continue
                said = json.loads(message)
                if said["type"] == "turn_ended":
                    self.transcript = said["transcript"].strip()
                    self.ended.set()


def speak(url: str, n: int) -> dict[str, Any]:
    """Ask for a sentence, one after the other: the seconds that each took."""
    times = []
    with httpx.Client(base_url=url) as client:
        for number in range(n + 20):
            began = perf_counter()
            answer = client.post("/tts", json={"text": "Good day."})
            if number >= 20:  # those before warm up
                times.append(perf_counter() - began)
            answer.raise_for_status()
    return {"times": times, "sound": len(answer.content)}


async def upload(url: str, seconds: float) -> dict[str, Any]:
    """Have sentences spoken and recordings understood, four of each at a time."""
    async with ESpeakTTSEngine() as voice:
        said = (await voice.synthesize("Tell me a joke. " * 8, {})).audio_data
    recording = said.encode("flac")
    end, done = perf_counter() + seconds, 0
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def ask(number: int) -> None:
            nonlocal done
            while perf_counter() < end:
                if number % 2:
                    files = {"audio_file": ("a.flac", recording)}
                    answer = await client.post("/stt", files=files)
                else:
                    body = {"text": "Good day to all of you. " * 10, "output_format": "mp3"}
                    answer = await client.post("/tts", json=body)
                answer.raise_for_status()
                done += 1

        await asyncio.gather(*map(ask, range(8)))
    return {"done": done}


def main(arguments: list[str]) -> None:
    role, first, *rest = arguments
    if role == "serve":
        serve(int(first), rest[0], Path(rest[1]))
        return
    if role == "talk":
        found = asyncio.run(talk(first, int(rest[0]), float(rest[1])))
    elif role == "upload":
        found = asyncio.run(upload(first, float(rest[0])))
    else:
        found = speak(first, int(rest[0]))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
