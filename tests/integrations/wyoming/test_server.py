"""The server, as the package's own client meets it on real sockets."""

from __future__ import annotations

import errno
import importlib
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("wyoming")

from wyoming.asr import Transcribe
from wyoming.audio import AudioStart, AudioStop
from wyoming.client import AsyncClient, AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Describe
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop

from realtime_stts import AudioData
from realtime_stts.errors import EngineLoadError, MissingExtraError
from realtime_stts.integrations import wyoming
from realtime_stts.integrations._wyoming import _server
from realtime_stts.integrations._wyoming._address import Address
from realtime_stts.integrations.wyoming import WyomingLimits, WyomingServer, serve_wyoming
from realtime_stts.testing import (
    FaultyTTSEngine,
    Hang,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    speech,
    tone_text,
)
from tests.integrations.wyoming.peers import chunks, sound

# On the real clock, and on asyncio, which the package's client is written for.
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
]

ANY_PORT = "tcp://127.0.0.1:0"


@asynccontextmanager
async def serving(**options: Any) -> AsyncGenerator[WyomingServer]:
    """A server that serves; it has no client left at its end."""
    async with (
        WyomingServer(**{"uri": ANY_PORT} | options) as server,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(server.serve)
        yield server
        await until(lambda: not server.n_connections)
        server.stop()


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110 - engines tell nobody
            await anyio.sleep(0.005)


async def answers(client: AsyncClient, last: str) -> list[Event]:
    events: list[Event] = []
    with anyio.fail_after(30):
        while not events or events[-1].type != last:
            event = await client.read_event()
            assert event is not None, f"the connection ended after {events}"
            events.append(event)
    return events


async def said(client: AsyncClient, text: str) -> AudioData:
    await client.write_event(Synthesize(text).event())
    return sound(await answers(client, "audio-stop"))


async def heard(client: AsyncClient, clip: AudioData) -> str:
    await client.write_event(Transcribe(language="en").event())
    await client.write_event(AudioStart(clip.sample_rate, 2, 1).event())
    for chunk in chunks(clip):
        await client.write_event(chunk.event())
    await client.write_event(AudioStop().event())
    return str((await answers(client, "transcript-stop"))[-2].data["text"])


async def test_what_espeak_says_pocketsphinx_hears() -> None:
    for module in ("espeak", "pocketsphinx"):
        pytest.importorskip(f"realtime_stts.engines.{module}", exc_type=MissingExtraError)
    from realtime_stts.engines import load_stt, load_tts

    phrases = ["tell me a joke", "what time is it"]
    stt, tts = load_stt("pocketsphinx", phrases=phrases), load_tts("espeak:en-us+f3")
    async with serving(stt=stt, tts=tts) as server:
        assert stt.model_loaded
        assert tts.model_loaded
        async with AsyncClient.from_uri(server.uri) as client:
            await client.write_event(Describe().event())
            (info,) = await answers(client, "info")
            assert info.data["asr"][0]["name"] == "pocketsphinx"
            assert "en-us" in [voice["name"] for voice in info.data["tts"][0]["voices"]]
            clip = await said(client, "tell me a joke")
            assert clip.sample_rate == 22_050
            assert await heard(client, clip) == "tell me a joke"
    assert not tts.model_loaded, "what it loaded it unloads"


async def test_sound_comes_before_the_last_text() -> None:
    async with (
        serving(tts=ScriptedTTSEngine(latency=0.0, real_time_factor=0.0)) as server,
        AsyncClient.from_uri(server.uri) as client,
    ):
        await client.write_event(SynthesizeStart().event())
        await client.write_event(SynthesizeChunk("It is late. And").event())
        await answers(client, "audio-chunk")
        await client.write_event(SynthesizeChunk(" dark").event())
        await client.write_event(SynthesizeStop().event())
        events = await answers(client, "synthesize-stopped")
    assert tone_text(sound(events)).endswith("And dark")


async def test_many_clients_at_once_have_their_own_answers() -> None:
    stt = ScriptedSTTEngine(["hello"] * 10, latency=0.0)
    tts = ScriptedTTSEngine(latency=0.0, real_time_factor=0.0)
    done = []

    async def talk(server: WyomingServer, n: int) -> None:
        async with AsyncClient.from_uri(server.uri) as client:
            assert tone_text(await said(client, f"client number {n}")) == f"client number {n}"
            assert await heard(client, speech(0.5, sample_rate=16_000)) == "hello"
            done.append(n)

    async with serving(stt=stt, tts=tts) as server, anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(talk, server, n)
        await until(lambda: len(done) == 10)


async def test_a_client_that_vanishes_has_its_engine_released() -> None:
    tts = FaultyTTSEngine([Hang(1)])
    async with serving(tts=tts) as server:
        client = AsyncTcpClient("127.0.0.1", server.port or 0)
        await client.connect()
        await client.write_event(Synthesize("hello").event())
        await answers(client, "audio-chunk")
        assert tts.running == 1
        assert client._writer is not None
        client._writer.transport.abort()
        await until(lambda: not tts.running)


class Plenty(ScriptedTTSEngine):
    """Speaks five minutes at once, and counts the seconds that are asked for: 14 MB."""

    seconds = 0

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        for _ in range(300):
            self.seconds += 1
            yield AudioData(bytes(48_000), 24_000)


async def test_a_slow_reader_holds_the_engine_back() -> None:
    tts = Plenty()
    async with serving(tts=tts) as server, AsyncClient.from_uri(server.uri) as client:
        await client.write_event(Synthesize("hello").event())
        await until(lambda: tts.seconds > 0)
        before = 0
        while tts.seconds != before:  # until what the system keeps for a socket is full
            before = tts.seconds
            await anyio.sleep(0.2)
        assert tts.seconds < 300
        assert sound(await answers(client, "audio-stop")).duration_seconds == 300.0


async def test_an_error_is_read_though_the_client_still_sends() -> None:
    limits = WyomingLimits(max_audio_seconds=0.5)
    async with serving(stt=ScriptedSTTEngine(["a"]), limits=limits) as server:
        for _ in range(5):
            async with AsyncClient.from_uri(server.uri) as client:
                for chunk in chunks(speech(5.0, sample_rate=16_000)):
                    await client.write_event(chunk.event())
                events = await answers(client, "error")
                assert events[-1].data["code"] == "audio_too_long"
                assert await client.read_event() is None


async def test_who_comes_when_all_places_are_taken_is_told_so() -> None:
    limits = WyomingLimits(max_connections=1)
    async with serving(tts=ScriptedTTSEngine(), limits=limits) as server:
        async with AsyncClient.from_uri(server.uri) as first:
            await until(lambda: server.n_connections == 1)
            async with AsyncClient.from_uri(server.uri) as second:
                (error,) = await answers(second, "error")
                assert error.data["code"] == "overloaded"
                assert await second.read_event() is None
            await first.write_event(Describe().event())
            await answers(first, "info")
        await until(lambda: not server.n_connections)
        async with AsyncClient.from_uri(server.uri) as third:
            await third.write_event(Describe().event())
            await answers(third, "info")


async def test_one_that_is_turned_away_may_be_gone_already() -> None:
    class Gone:
        async def send(self, data: bytes) -> None:
            raise anyio.BrokenResourceError

    await _server._turn_away(Gone())  # type: ignore[arg-type]


async def test_a_system_without_sockets_left_is_asked_again() -> None:
    class Listener:
        n_asked = 0

        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *exc_info: object) -> None: ...

        async def accept(self) -> None:
            self.n_asked += 1
            if self.n_asked < 3:
                raise OSError(errno.EMFILE, "too many open files")
            await anyio.sleep_forever()

    listener: Any = Listener()
    server = WyomingServer(tts=ScriptedTTSEngine(), uri=ANY_PORT)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server._admit, listener, tasks)
        await until(lambda: listener.n_asked == 3)
        tasks.cancel_scope.cancel()


# -- its life


async def test_stopped_it_ends_what_was_asked_for_and_lets_nobody_in() -> None:
    tts = ScriptedTTSEngine(latency=0.2)
    async with (
        WyomingServer(tts=tts, uri=ANY_PORT) as server,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(server.serve)
        async with (
            AsyncClient.from_uri(server.uri) as busy,
            AsyncClient.from_uri(server.uri) as idle,
        ):
            await busy.write_event(Synthesize("hello").event())
            await until(lambda: bool(tts.calls) and server.n_connections == 2)
            assert not server.is_stopping
            server.stop()
            assert server.is_stopping
            assert await idle.read_event() is None
            assert tone_text(sound(await answers(busy, "audio-stop"))) == "hello"
            with pytest.raises(OSError):  # noqa: PT011 - which one, the system says
                await anyio.connect_tcp("127.0.0.1", server.port or 0)


async def test_answers_that_take_too_long_are_broken_off() -> None:
    tts = FaultyTTSEngine([Hang()])
    async with (
        WyomingServer(tts=tts, uri=ANY_PORT) as server,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(partial(server.serve, grace=0.05))
        async with AsyncClient.from_uri(server.uri) as client:
            await client.write_event(Synthesize("hello").event())
            await until(lambda: bool(tts.calls))
            server.stop()
            assert await client.read_event() is None
    assert tts.running == 0


async def test_as_a_task_it_says_when_it_listens() -> None:
    async with anyio.create_task_group() as tasks:
        tts = ScriptedTTSEngine(latency=0.0)
        server = await tasks.start(partial(serve_wyoming, tts=tts, uri=ANY_PORT))
        async with AsyncClient.from_uri(server.uri) as client:
            assert tone_text(await said(client, "hello")) == "hello"
        tasks.cancel_scope.cancel()


async def test_an_engine_that_is_loaded_stays_its_owners() -> None:
    tts = ScriptedTTSEngine()
    async with tts:
        async with WyomingServer(tts=tts, uri=ANY_PORT):
            pass
        assert tts.model_loaded


async def test_an_engine_that_cannot_be_loaded_says_so() -> None:
    class Broken(ScriptedTTSEngine):
        async def __aenter__(self) -> Any:
            raise EngineLoadError("broken", "no such file")

    with pytest.raises(EngineLoadError, match="no such file"):
        async with WyomingServer(tts=Broken(), uri=ANY_PORT):
            pass


async def test_one_that_is_stopped_before_it_serves_does_not() -> None:
    async with WyomingServer(tts=ScriptedTTSEngine(), uri=ANY_PORT) as server:
        server.stop()
        with anyio.fail_after(20):
            await server.serve()


async def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        uri = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError) as caught:  # noqa: PT011 - by its number, below
            async with WyomingServer(tts=ScriptedTTSEngine(), uri=uri):
                pass
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such sockets here")
class TestUnixSocket:
    async def test_it_serves_this_user_alone_and_leaves_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "speech.sock"
        async with serving(tts=ScriptedTTSEngine(latency=0.0), uri=f"unix://{path}") as server:
            assert (server.uri, server.port, server.is_local) == (f"unix://{path}", None, True)
            assert path.stat().st_mode & 0o777 == 0o600
            async with AsyncClient.from_uri(server.uri) as client:
                assert tone_text(await said(client, "hello")) == "hello"
        assert not await anyio.Path(path).exists()

    async def test_what_a_killed_server_left_is_in_nobodys_way(self, tmp_path: Path) -> None:
        path = tmp_path / "speech.sock"
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(path))
        async with WyomingServer(tts=ScriptedTTSEngine(), uri=f"unix://{path}"):
            pass

    async def test_what_others_use_is_not_taken_away(self, tmp_path: Path) -> None:
        taken, file = tmp_path / "speech.sock", tmp_path / "letter.txt"
        file.write_text("dear anna")
        async with serving(tts=ScriptedTTSEngine(), uri=f"unix://{taken}"):
            for path in (taken, file):
                with pytest.raises(OSError) as caught:  # noqa: PT011
                    async with WyomingServer(tts=ScriptedTTSEngine(), uri=f"unix://{path}"):
                        pass
                assert caught.value.errno == errno.EADDRINUSE
        assert file.read_text() == "dear anna"

    async def test_one_that_is_gone_at_the_end_is_no_error(self, tmp_path: Path) -> None:
        path = tmp_path / "speech.sock"
        async with WyomingServer(tts=ScriptedTTSEngine(), uri=f"unix://{path}"):
            path.unlink()


async def test_there_is_something_to_serve() -> None:
    with pytest.raises(ValueError, match="nothing to serve"):
        WyomingServer()


async def test_languages_are_those_given_or_what_the_engine_says() -> None:
    class German(ScriptedSTTEngine):
        name = "german"
        languages = ("de", "nds")

    async with WyomingServer(stt=German([]), uri=ANY_PORT) as server:
        assert server.offers == ["german hears de, nds"]

    class Polyglot(German):
        languages = ("de",) * 9

    async with WyomingServer(stt=Polyglot([]), uri=ANY_PORT) as server:
        assert server.offers == ["german hears 9 languages"]
    tts = ScriptedTTSEngine(voices=("a", "b"))
    async with WyomingServer(stt=German([]), tts=tts, languages=["de"], uri=ANY_PORT) as server:
        assert server.offers == ["german hears de", "ScriptedTTSEngine speaks with 2 voices"]


@pytest.mark.parametrize(
    ("uri", "is_local"),
    [
        ("tcp://127.0.0.1:10300", True),
        ("tcp://[::1]:10300", True),
        ("tcp://localhost:1", True),
        ("unix:///run/speech.sock", True),
        ("tcp://0.0.0.0:10300", False),
        ("tcp://192.168.1.7:10300", False),
        ("tcp://nas.lan:10300", False),
    ],
)
async def test_an_address_says_who_can_reach_it(uri: str, is_local: bool) -> None:
    address = Address.of(uri)
    assert str(address) == uri
    assert address.is_local is is_local


@pytest.mark.parametrize(
    "uri", ["", "127.0.0.1:10300", "tcp://host", "tcp://:1", "tcp://a:b", "tcp://a:99999",
            "unix://a/b", "unix:", "http://a:1", "tcp://[::1"]
)  # fmt: skip
async def test_all_else_is_no_address(uri: str) -> None:
    with pytest.raises(ValueError, match="neither tcp://host:port nor unix:///path"):
        WyomingServer(tts=ScriptedTTSEngine(), uri=uri)


async def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wyoming", None)
    with pytest.raises(MissingExtraError, match=r"realtime-stts\[wyoming\]"):
        importlib.reload(wyoming)
