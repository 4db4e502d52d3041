"""`realtime-stts wyoming`: what it says, what it refuses, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("wyoming")

from typer.testing import CliRunner
from wyoming.client import AsyncClient
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize

from realtime_stts.cli import _wyoming
from realtime_stts.cli._app import app
from realtime_stts.cli._wyoming import Wanted
from realtime_stts.errors import MissingExtraError
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine

COMMAND = (sys.executable, "-W", "error::ResourceWarning", "-m", "realtime_stts.cli", "wyoming")


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, ("wyoming", *args))
    return result.exit_code, result.stdout, result.stderr


@contextmanager
def served(*args: str) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """The command in a process of its own, the URI it listens at, and what it said before."""
    process = subprocess.Popen(
        [*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("listening at "):
                break
        else:
            pytest.fail(f"it ended: {process.communicate()[1]}")
        yield process, lines[-1].removeprefix("listening at ").partition(";")[0], lines[:-1]
    finally:
        process.kill()
        process.communicate()


async def asked(uri: str, event: Event, last: str) -> list[Event]:
    async with AsyncClient.from_uri(uri, read_timeout=30) as client:
        await client.write_event(event)
        events: list[Event] = []
        while not events or events[-1].type != last:
            found = await client.read_event()
            assert found is not None
            events.append(found)
        return events


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal(number: signal.Signals) -> None:
    for module in ("espeak", "pocketsphinx"):
        pytest.importorskip(f"realtime_stts.engines.{module}", exc_type=MissingExtraError)
    with served("--uri", "tcp://127.0.0.1:0", "--pause-detector", "energy") as (process, uri, said):
        assert said[0] == "pocketsphinx hears en"
        assert said[1].startswith("espeak speaks with ")
        events = anyio.run(asked, uri, Synthesize("hello").event(), "audio-stop")
        assert "audio-chunk" in [event.type for event in events]
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "stopped"


def test_settings_give_the_engines(tmp_path: Path) -> None:
    for module in ("espeak", "pocketsphinx"):
        pytest.importorskip(f"realtime_stts.engines.{module}", exc_type=MissingExtraError)
    config = tmp_path / "config.yaml"
    config.write_text("tts_engine: {engine: espeak}\nstt_engine: {engine: pocketsphinx}\n")
    path = tmp_path / "speech.sock"
    arguments = ("--config", str(config), "--no-stt", "--uri", f"unix://{path}")
    with served(*arguments) as (process, uri, _):
        (event,) = anyio.run(asked, uri, Describe().event(), "info")
        info = Info.from_event(event)
        assert (info.asr, [program.name for program in info.tts]) == ([], ["espeak"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not path.exists()


def test_a_port_that_is_taken_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wyoming, "load_tts", lambda spec: ScriptedTTSEngine())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        uri = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert run("--no-stt", "--uri", uri) == (
            1,
            "",
            f"error: {uri} is taken: stop what listens there, or choose another address by --uri\n",
        )


def test_a_host_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_wyoming, "load_tts", lambda spec: ScriptedTTSEngine())
    uri = f"unix://{tmp_path}/none/speech.sock"
    code, out, err = run("--no-stt", "--uri", uri)
    assert (code, out, err) == (1, "", f"error: {uri}: No such file or directory\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--uri", "127.0.0.1:10300"), "'127.0.0.1:10300' is neither tcp://host:port nor"),
        (("--stt", "nope"), "no speech-to-text engine is called 'nope'"),
        (("--tts", "nope"), "no text-to-speech engine is called 'nope'"),
        (("--pause-detector", "nope"), "no pause detection engine is called 'nope'"),
        (("--no-stt", "--no-tts"), "there is nothing to serve"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--stt" not in arguments:
        monkeypatch.setattr(_wyoming, "load_stt", lambda spec: ScriptedSTTEngine([]))
    if "--tts" not in arguments:
        monkeypatch.setattr(_wyoming, "load_tts", lambda spec: ScriptedTTSEngine())
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


class Server:
    """What the command makes of its options, instead of a server."""

    uri, is_local, offers = "tcp://0.0.0.0:10300", False, ("it hears",)

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.is_stopping = False
        self.stopped = anyio.Event()

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def serve(self) -> None:
        signal.raise_signal(signal.SIGINT)
        await self.stopped.wait()
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()  # an answer takes long

    def stop(self) -> None:
        self.is_stopping = True
        self.stopped.set()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    from realtime_stts.integrations import wyoming

    made: list[Server] = []

    def make(**options: Any) -> Server:
        made.append(Server(**options))
        return made[-1]

    monkeypatch.setattr(wyoming, "WyomingServer", make)
    monkeypatch.setattr(_wyoming, "load_stt", lambda spec: spec)
    monkeypatch.setattr(_wyoming, "load_tts", lambda spec: spec)
    return made


def test_it_warns_where_others_can_reach_it_and_a_second_signal_ends_it(
    made: list[Server],
) -> None:
    code, out, err = run("--language", "de", "--language", "en", "--no-tts")
    assert (code, out.splitlines()) == (
        0,
        [
            "it hears",
            "listening at tcp://0.0.0.0:10300; Ctrl-C stops",
            "stopping; answers that have begun are ended, once more ends them now",
            "stopped",
        ],
    )
    assert err.startswith("warning: the protocol has no password")
    assert made[0].options == {
        "stt": "pocketsphinx",
        "tts": None,
        "pause_detector": None,
        "languages": ["de", "en"],
        "uri": "tcp://127.0.0.1:10300",
    }


def test_where_signals_cannot_be_received_ctrl_c_ends_it(
    made: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*signals: int) -> None:
        raise NotImplementedError

    async def serve(self: Server) -> None:
        return

    monkeypatch.setattr(anyio, "open_signal_receiver", none)
    monkeypatch.setattr(Server, "serve", serve)
    assert run()[0] == 0


def test_settings_are_for_both_engines(
    made: list[Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in ("espeak", "pocketsphinx"):
        pytest.importorskip(f"realtime_stts.engines.{module}", exc_type=MissingExtraError)
    config = tmp_path / "config.yaml"
    config.write_text("tts_engine: {engine: espeak}\nstt_engine: {engine: pocketsphinx}\n")

    async def serve(self: Server) -> None:
        return

    monkeypatch.setattr(Server, "serve", serve)
    monkeypatch.setattr(Server, "is_local", True)
    code, _, err = run("--config", str(config))
    assert (code, err) == (0, "")
    assert [made[0].options[kind].name for kind in ("stt", "tts")] == ["pocketsphinx", "espeak"]


def test_its_help_helps() -> None:
    code, out, _ = run("--help")
    assert code == 0
    for word in ("Home Assistant", "Wyoming", "--uri", "no password", "realtime-stts[wyoming]"):
        assert word in out


def test_by_default_only_this_machine_is_listened_to() -> None:
    assert run("--help")[1].count("tcp://127.0.0.1:10300") == 1
    assert Wanted("tcp://127.0.0.1:1").languages == ()
