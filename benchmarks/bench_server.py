"""The example's server from outside: what its layers cost, whether it stalls, and under load.

Server and clients are two processes (`server_load`). A shorter run, as of continuous
integration: ``BENCH_SHORT=1``.

The promises: less than 5 ms of a request go to middleware; the event loop stalls for less than
50 ms while engines work; 200 conversations lose nothing, and memory stays as it is.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any, Final

import httpx
import numpy as np

from ._report import Row

__all__ = ["run"]

_ROOT: Final = Path(__file__).parents[1]
_START: Final = 60.0  # s for a server to be ready
_TICK: Final = 0.005  # s
_SHORT: Final = bool(os.environ.get("BENCH_SHORT"))


def run() -> list[Row]:
    return [*_overhead(), *_stalls(), *_many(), *_embedded()]


def _overhead() -> Iterator[Row]:
    """POST /tts of an engine that takes no time: with all layers, and with FastAPI alone."""
    n = 200 if _SHORT else 1000
    times: dict[str, list[float]] = {"fixed": [], "bare": []}
    sizes = set()
    with _server("fixed") as ours, _server("bare") as bare:
        for _ in range(3):
            for kind, url in (("fixed", ours), ("bare", bare)):
                found = _load("speak", url, n // 3)
                times[kind] += found["times"]
                sizes.add(found["sound"])
    equal = len(sizes) == 1
    for name, q in (("p50", 50), ("p99", 99)):
        a, b = (float(np.percentile(times[kind], q)) * 1e3 for kind in ("fixed", "bare"))
        yield Row(f"POST /tts, {name}, beside FastAPI alone", a, "ms", b, equal=equal, n=n)
        yield Row(
            f"what the layers cost, {name} (promised: 5 ms)", a - b, "ms", equal=a - b < 5, n=n
        )


def _stalls() -> Iterator[Row]:
    """Embedded engines, uploads, encoding: how long the event loop did nothing else.

    Beside it a thread that does nothing, in another process: how long the machine, which has
    other work than this, lets anybody wait.
    """
    seconds = 5.0 if _SHORT else 20.0
    with _server("embedded") as url:
        _load("upload", url, 2.0)  # all is loaded
        _probe(url)
        with _idle() as machine:
            done = _load("upload", url, seconds)["done"]
        found = _probe(url)
    stall, computed, waited = (1e3 * each for each in (found["stall"], found["computed"], *machine))
    kept = stall - waited < 50
    name = "longest stall, engines at work (promised: 50 ms)"
    yield Row(f"{name}, beside a thread that idles", stall, "ms", waited, equal=kept, n=done)
    yield Row("of it, computed by the event loop itself", computed, "ms", equal=computed < 50)


def _many() -> Iterator[Row]:
    """Conversations at a time, with engines that take next to no computing."""
    clients, seconds = (20, 10.0) if _SHORT else (200, 60.0)
    with _server("scripted") as url, _probes(url) as seen:
        found = _load("talk", url, clients, seconds)
    name = f"{clients} conversations, {seconds:g} s"
    complete = found["lost"] == 0 and found["answered"] == found["asked"] and not found["wrong"]
    yield Row(f"{name}: turns answered, of those asked", found["answered"], "", found["asked"],
              equal=complete)  # fmt: skip
    yield from _delays(name, found["delays"])
    memory = np.array([each["memory"] for each in seen]) / 1e6
    half = memory[len(memory) // 3 :]  # once all are connected
    slope = float(np.polyfit(range(len(half)), half, 1)[0]) * 60 if len(half) > 2 else 0.0
    yield Row(f"{name}: memory, end and a third in", float(half[-1]), "MB", float(half[0]))
    yield Row(f"{name}: memory's growth", slope, "MB/min")
    yield Row(f"{name}: longest stall", max(each["stall"] for each in seen) * 1e3, "ms")


def _embedded() -> Iterator[Row]:
    """Conversations at a time with pocketsphinx and eSpeak, in real time."""
    clients, seconds = (4, 10.0) if _SHORT else (20, 30.0)
    with _server("embedded") as url, _probes(url) as seen:
        found = _load("talk", url, clients, seconds)
    name = f"{clients} conversations, embedded engines"
    yield Row(f"{name}: turns answered, of those asked", found["answered"], "", found["asked"],
              equal=found["lost"] == 0 and found["answered"] == found["asked"])  # fmt: skip
    yield from _delays(name, found["delays"])
    yield Row(f"{name}: longest stall", max(each["stall"] for each in seen) * 1e3, "ms")


def _delays(name: str, delays: list[float]) -> Iterator[Row]:
    """From the user's last sound, with the silence that ends the turn, to the first one back."""
    for quantile in (50, 95):
        figure = float(np.percentile(delays, quantile)) * 1e3 if delays else float("nan")
        yield Row(f"{name}: time to first audio, p{quantile}", figure, "ms", n=len(delays))


# -- the two processes -------------------------------------------------------------------


@contextmanager
def _server(kind: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server_load", "serve", str(port), kind, folder],
            cwd=_ROOT,
            env=_environment(),
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, "/_load" if kind == "bare" else "/health/ready")
            yield url
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], path: str) -> None:
    deadline = monotonic() + _START
    while monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(url + path).status_code == 200:
                return
        sleep(0.1)
    raise RuntimeError("the server did not start")


def _load(role: str, url: str, *arguments: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.server_load", role, url, *map(str, arguments)]
    said = subprocess.run(
        command, cwd=_ROOT, env=_environment(), stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    found: dict[str, Any] = json.loads(said)
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_ROOT / "examples")}


def _probe(url: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{url}/_load", timeout=30).json()
    return found


@contextmanager
def _idle() -> Iterator[list[float]]:
    """The longest that a thread of this process waited beyond what it wanted to, s."""
    over, longest = Event(), [0.0]

    def idle() -> None:
        while not over.is_set():
            before = monotonic()
            sleep(_TICK)
            longest[0] = max(longest[0], monotonic() - before - _TICK)

    thread = Thread(target=idle)
    thread.start()
    try:
        yield longest
    finally:
        over.set()
        thread.join()


@contextmanager
def _probes(url: str) -> Iterator[list[dict[str, Any]]]:
    """Look each second."""
    over, seen = Event(), [_probe(url)]

    def look() -> None:
        while not over.wait(1.0):
            seen.append(_probe(url))

    thread = Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.append(_probe(url))
