"""The nginx of the how-to page, taken from there, real, and in front of a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from threading import Event
from typing import Any

import anyio
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi_server.serving import options_of
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from realtime_stts import AudioData, SynthesisResult
from realtime_stts.testing import ScriptedTTSEngine, ToneSTTEngine, speak_tones, speech, tone_text
from tests.examples.apps import OWNER, running, scripted_app, soon

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
if sys.platform != "linux" or NGINX is None or shutil.which("openssl") is None:
    pytest.skip("needs Linux's loopback, nginx and openssl", allow_module_level=True)

HOW_TO = Path(__file__).parent.parent / "docs/how-to"


def shown(page: str) -> list[str]:
    """What a page shows of nginx's configuration."""
    return re.findall(r"```nginx\n(.*?)```", (HOW_TO / page).read_text("utf-8"), re.DOTALL)


SITE, MAIN = shown("run-behind-nginx.md")
(SEVERAL,) = shown("scale-out.md")
NAME = "talk.example.org"
LIMIT = 20.0  # s for anything
TALKER = "the-token-of-a-talker"
BEARER = {"Authorization": f"Bearer {TALKER}"}
ELSEWHERE = "127.0.0.2"  # another address of this machine: a client that is not the proxy
SETTINGS = {
    "server": {"allowed_hosts": [NAME]},
    "pause_detection": {"engine": "energy"},
    "conversation": {
        "response_mode": "echo",
        "adaptive_end_of_turn": False,
        "policy": {"end_of_turn": 0.3},
    },
    "limits": {"max_sessions_per_client": 1},
}


class Gated:
    """A voice that says a little, and the rest when it may."""

    name = "gated"
    model_loaded = True

    def __init__(self) -> None:
        self.may_go_on = Event()

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        yield speech(0.02, 24_000)  # less than nginx keeps back when it buffers
        while not self.may_go_on.is_set():  # noqa: ASYNC110 - another thread sets it
            await anyio.sleep(0.005)
        yield speech(1.0, 24_000)

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        chunks = [chunk async for chunk in self.stream(text)]
        return SynthesisResult(AudioData.concat(chunks), text, "gated")

    async def list_voices(self) -> list[dict[str, Any]]:
        return [{"id": "gated", "name": "Gated", "language": "en"}]


@dataclass
class Talk:
    """A WebSocket of asyncio: in one of threads, two are in one TLS connection at a time."""

    portal: BlockingPortal
    connection: ClientConnection

    def send(self, message: str | bytes) -> None:
        self.portal.call(self.connection.send, message)

    def receive(self) -> str | bytes:
        async def received() -> str | bytes:
            with anyio.fail_after(LIMIT):
                return await self.connection.recv()

        return self.portal.call(received)


@dataclass
class Site:
    """The page's site, as clients meet it."""

    folder: Path
    process: subprocess.Popen[bytes]
    http: int
    https: int
    trust: ssl.SSLContext

    @property
    def host(self) -> str:
        return f"{NAME}:{self.https}"

    @contextmanager
    def client(self, address: str = "127.0.0.1", **headers: str) -> Iterator[httpx.Client]:
        """A client at that address of this machine."""
        with httpx.Client(
            base_url=f"https://127.0.0.1:{self.https}",
            headers={"Host": self.host, **headers},
            transport=httpx.HTTPTransport(verify=self.trust, local_address=address),
            timeout=LIMIT,
        ) as client:
            yield client

    @contextmanager
    def open(self, path: str, address: str, **options: Any) -> Iterator[Talk]:
        """A WebSocket from that address, which has one seat."""

        async def connected() -> ClientConnection:
            return await connect(
                f"wss://{self.host}{path}",
                ssl=self.trust,
                host="127.0.0.1",
                port=self.https,
                local_addr=(address, 0),
                open_timeout=LIMIT,
                proxy=None,
                **options,
            )

        with start_blocking_portal() as portal:
            talk = Talk(portal, portal.call(connected))
            try:
                yield talk
            finally:
                portal.call(talk.connection.close)

    def said(self) -> str:
        return (self.folder / "error.log").read_text()


@contextmanager
def nginx(folder: Path, *servers: str) -> Iterator[Site]:
    """The site before one server or two, by a process that is gone afterwards."""
    folder.mkdir()
    certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={NAME}", "-keyout", str(key)]
    command += ["-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1", "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    trust = ssl.create_default_context(cafile=str(certificate))
    for _ in range(5):  # somebody else may take a port between here and there
        http, https = free_ports()
        site = Site(folder, started(folder, servers, http, https), http, https, trust)
        try:
            if is_listening(site):
                yield site
                break
        finally:
            site.process.terminate()
            site.process.wait(LIMIT)
    else:
        raise AssertionError((folder / "error.log").read_text())
    assert site.process.returncode == 0, site.said()
    workers = set(re.findall(r"start worker process (\d+)", site.said()))
    gone = set(re.findall(r"worker process (\d+) exited with code 0", site.said()))
    assert workers == gone, site.said()


def started(
    folder: Path, servers: tuple[str, ...], http: int, https: int
) -> subprocess.Popen[bytes]:
    """nginx with the page's configuration, but for what only root, or that host, has."""
    changes = {
        f"127.0.0.1:{8004 + n}": server.removeprefix("http://") for n, server in enumerate(servers)
    }
    changes |= {
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen 443 ssl;": f"listen 127.0.0.1:{https} ssl;",
        "    listen [::]:80;\n": "",
        "    listen [::]:443 ssl;\n": "",
        f"/etc/letsencrypt/live/{NAME}": str(folder),
        "/var/log/nginx": str(folder),
    }
    site = SITE
    if len(servers) > 1:
        site = re.sub(
            r"upstream realtime_stts \{.*?\n\}\n", lambda _: SEVERAL, site, flags=re.DOTALL
        )
    for there, here in changes.items():
        assert there in site, f"the page no longer has {there!r}"
        site = site.replace(there, here)
    (folder / "site.conf").write_text(site)
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""  # else its workers cannot read the folder
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log notice;\n{MAIN}\n"
        f"http {{\n{temporary}    include {folder}/site.conf;\n}}\n"
    )
    (folder / "error.log").write_text("")
    command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert "test is successful" in checked.stderr, checked.stderr
    assert "[warn]" not in checked.stderr, checked.stderr
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def free_ports() -> tuple[int, int]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return one.getsockname()[1], two.getsockname()[1]


def is_listening(site: Site) -> bool:
    """Whether it serves; False if it has given up."""

    def connects() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", site.https)) == 0

    soon(lambda: site.process.poll() is not None or connects())
    return site.process.poll() is None


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("server")
    audit = {"middleware": {"audit": {"enabled": True, "path": str(folder / "audit.jsonl")}}}
    tts = ScriptedTTSEngine(latency=0.0, real_time_factor=0.0, sample_rate=16_000)
    app = scripted_app(folder, {**SETTINGS, **audit}, stt=ToneSTTEngine(latency=0.0), tts=tts)
    app.state.folder = folder
    return app


@pytest.fixture(scope="module")
def site(app: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        running(app, ready=False) as server,
        nginx(tmp_path_factory.mktemp("nginx") / "site", server) as site,
        site.client() as client,
    ):
        soon(lambda: client.get("/health/ready").status_code == 200)
        yield site


def configured(name: str) -> str:
    """What the page sets a directive to."""
    (value,) = re.findall(rf"^ +{name} +([^;]+);", SITE, re.MULTILINE)
    return str(value)


def seconds(name: str) -> float:
    return float(configured(name).removesuffix("s"))


# -- HTTP


def test_plain_http_is_sent_to_tls(site: Site) -> None:
    answer = httpx.post(
        f"http://127.0.0.1:{site.http}/tts?a=b", headers={"Host": NAME}, timeout=LIMIT
    )
    assert answer.status_code == 308  # which repeats the body
    assert answer.headers["location"] == f"https://{NAME}/tts?a=b"


def test_answers_are_the_servers(site: Site) -> None:
    with site.client() as client:
        answer = client.post("/tts", json={"text": "hello"})
        assert tone_text(AudioData.from_file(answer.content)) == "hello"
        assert "max-age" in answer.headers["strict-transport-security"]
        refused = client.post("/tts", json={"text": ""})
    assert refused.status_code == 422
    assert refused.json()["request_id"] == refused.headers["x-request-id"]


def test_streamed_speech_is_heard_before_its_end(tmp_path: Path) -> None:
    voice = Gated()
    app = scripted_app(tmp_path, SETTINGS, tts=voice)
    with (
        running(app, ready=False) as server,
        nginx(tmp_path / "nginx", server) as site,
        site.client() as client,
    ):
        soon(lambda: client.get("/health/ready").status_code == 200)
        with client.stream("POST", "/tts/stream", json={"text": "hello"}) as answer:
            assert answer.status_code == 200
            pieces = answer.iter_raw()
            beginning = b""
            while len(beginning) < 500:  # more than the head of a WAV
                beginning += next(pieces)
            assert not voice.may_go_on.is_set()
            voice.may_go_on.set()
            rest = b"".join(pieces)
    assert AudioData.from_file(beginning + rest).duration_seconds == pytest.approx(1.02, abs=0.01)


def test_what_is_too_large_is_refused_by_nginx_as_by_the_server(site: Site) -> None:
    head = f"POST /stt HTTP/1.1\r\nHost: {site.host}\r\nContent-Length: 200000000\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", site.https), LIMIT) as plain,
        site.trust.wrap_socket(plain, server_hostname=NAME) as connection,
    ):
        connection.sendall(head.encode())  # it says so: nothing of it need be sent
        answer = HTTPResponse(connection)
        answer.begin()
        body = json.loads(answer.read())
    assert answer.status == 413
    assert answer.headers["content-type"] == "application/json"
    assert body.keys() == {"detail", "error_code", "request_id"}
    assert body["error_code"] == "too_large"


def test_an_upload_of_some_size_passes(site: Site) -> None:
    """More than nginx takes unless it is told to."""
    recording = speak_tones("hello there", 16_000)
    silence = AudioData.silence(60.0, 16_000)
    file = AudioData.concat([recording, silence]).encode("wav")
    assert len(file) > 1_500_000
    with site.client() as client:
        answer = client.post("/stt", files={"audio_file": ("a.wav", file, "audio/wav")})
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == "hello there"
    assert not any((site.folder / "client_body").rglob("*")), "a copy was left on the disk"


# -- who the client is


def test_the_server_learns_the_clients_address_and_not_what_it_claims(site: Site, app: Any) -> None:
    wrong = {"Authorization": "Bearer wrong", "X-Request-ID": "a-request-from-elsewhere"}
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"}
    with site.client(ELSEWHERE, **wrong, **forged) as client:
        assert client.get("/config").status_code == 401
    lines = (app.state.folder / "audit-management.jsonl").read_text().splitlines()
    (record,) = [line for line in map(json.loads, lines) if line["outcome"] == "refused"]
    assert record["request_id"] == "a-request-from-elsewhere"
    assert record["session_id"] == ELSEWHERE


def test_the_server_learns_that_it_is_tls(site: Site) -> None:
    with site.client() as client:
        moved = client.get("/health/")
    assert moved.headers["location"] == f"https://{site.host}/health"


def test_other_names_are_refused(site: Site) -> None:
    with site.client() as client:
        assert client.get("/health", headers={"Host": "evil.example.com"}).status_code == 400


def test_forms_of_other_pages_are_refused(site: Site) -> None:
    with site.client() as client:
        own = client.post("/tts", json={"text": "a"}, headers={"Origin": f"https://{site.host}"})
        other = client.post("/tts", json={"text": "a"}, headers={"Origin": "https://evil.example"})
    assert (own.status_code, other.status_code) == (200, 403)


# -- WebSockets


def received(client: Talk, *types: str) -> list[Any]:
    """Messages up to and with the first of these types."""
    messages: list[Any] = []
    while not (messages and isinstance(messages[-1], dict) and messages[-1]["type"] in types):
        data = client.receive()
        messages.append(data if isinstance(data, bytes) else json.loads(data))
    return messages


def opened(site: Site, address: str, **options: Any) -> None:
    """Open a conversation, and close it."""
    with site.open("/ws/conversation/v2", address, **options) as client:
        received(client, "ready")


def test_a_conversation_is_held_through_it(site: Site) -> None:
    with site.open(
        "/ws/conversation/v2?audio=stream", "127.0.0.3", origin=f"https://{site.host}"
    ) as client:
        quiet = AudioData.silence(1.0, 16_000).data
        data = quiet + speak_tones("hello there", 16_000).data + quiet
        for first in range(0, len(data), 3200):
            client.send(data[first : first + 3200])
        messages = received(client, "turn_ended")
    sound = b"".join(each for each in messages if isinstance(each, bytes))
    assert tone_text(AudioData(sound, 16_000)) == "hello there"


def test_pages_of_other_sites_open_no_socket(site: Site) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(site, "127.0.0.4", origin="https://evil.example")
    assert refused.value.response.status_code == 403


def test_each_client_has_seats_of_its_own(site: Site) -> None:
    with site.open("/ws/conversation/v2", ELSEWHERE) as one:
        received(one, "ready")
        with pytest.raises(InvalidStatus) as refused:
            opened(site, ELSEWHERE)
        assert refused.value.response.status_code == 429
        with site.open("/ws/conversation/v2", "127.0.0.5") as another:
            received(another, "ready")


def test_a_quiet_socket_outlives_nginx(app: Any) -> None:
    """By what is set: nginx waits longer than it takes to the next ping."""
    pings = options_of(app.state.services.settings)["ws_ping_interval"]
    assert 2 * pings < seconds("proxy_read_timeout")
    assert 2 * pings <= seconds("proxy_send_timeout")


def test_nginx_lets_idle_connections_go_before_the_server_does(app: Any) -> None:
    kept = options_of(app.state.services.settings)["timeout_keep_alive"]
    assert seconds("keepalive_timeout") < kept


def test_nginx_takes_uploads_as_large_as_the_server_does(app: Any) -> None:
    assert configured("client_max_body_size") == "100m"
    assert app.state.services.settings.limits.max_upload_mb * 1e6 <= 100 * 2**20


def test_tickets_are_not_in_the_log(site: Site) -> None:
    with site.client(Authorization=f"Bearer {OWNER}") as client:
        ticket = client.post("/api/tickets").json()["ticket"]
    with site.open(f"/ws/conversation/v2?ticket={ticket}", "127.0.0.6") as socket_:
        received(socket_, "ready")
    log = site.folder / "realtime-stts.log"
    soon(lambda: "GET /ws/conversation/v2" in log.read_text())
    assert ticket not in log.read_text()


# -- without the server


def test_a_reload_cuts_no_conversation(site: Site) -> None:
    with site.open("/ws/conversation/v2", "127.0.0.7") as client:
        received(client, "ready")
        site.process.send_signal(signal.SIGHUP)  # as `nginx -s reload` sends
        soon(lambda: "gracefully shutting down" in site.said())
        client.send(json.dumps({"action": "ping"}))
        received(client, "pong")
    with site.client() as fresh:
        assert fresh.get("/health/live").status_code == 200


def test_a_server_that_is_away_is_a_503(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and not listening
        server = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with nginx(tmp_path / "nginx", server) as site, site.client() as client:
            answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["error_code"] == "unavailable"
    assert int(answer.headers["retry-after"]) > 0


# -- several servers


def test_of_several_servers_one_gives_a_ticket_and_takes_it(tmp_path: Path) -> None:
    with several(tmp_path) as (site, _):
        for address in ("127.0.0.11", "127.0.0.12"):
            with site.client(address, **BEARER) as client:
                ticket = client.post("/api/tickets").json()["ticket"]
            with site.open(f"/ws/conversation/v2?ticket={ticket}", address) as client_:
                received(client_, "ready")


def test_of_several_servers_one_that_drains_is_passed_by(tmp_path: Path) -> None:
    clients = [f"127.0.0.{n}" for n in (11, 12)]
    with several(tmp_path) as (site, apps):
        for app in apps:
            app.state.services.state = "draining"
            for address in clients:
                opened(site, address, additional_headers=BEARER)
            app.state.services.state = "ready"
        for app in apps:
            app.state.services.state = "draining"
        with pytest.raises(InvalidStatus) as refused:
            opened(site, "127.0.0.15", additional_headers=BEARER)
    assert refused.value.response.status_code == 503
    assert "Retry-After" in refused.value.response.headers


@contextmanager
def several(folder: Path) -> Iterator[tuple[Site, list[Any]]]:
    """The site before two servers that ask who everybody is."""
    talker = {"token": TALKER, "permissions": ["response"]}
    server = {"allowed_hosts": [NAME], "use_auth": True, "auth_tokens": {"talker": talker}}
    settings = {**SETTINGS, "server": server, "limits": {}}
    apps = [scripted_app(folder / f"server-{n}", settings) for n in range(2)]
    with (
        running(apps[0], ready=False) as one,
        running(apps[1], ready=False) as another,
        nginx(folder / "nginx", one, another) as site,
    ):
        soon(lambda: all(app.state.services.state == "ready" for app in apps))
        yield site, apps
