"""Who may do what: tokens, passwords, tickets, other sites' pages, and what is written down."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import httpx
from fastapi_server import create_app
from fastapi_server.access import Access, Attempts
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from realtime_stts.errors import AuthenticationError, RateLimitError
from realtime_stts.middleware import FileAuditLog
from realtime_stts.testing import speech
from tests.examples.apps import OWNER, running, scripted_app, settings_in

_ROOT = Path(__file__).parents[2]
_TALKER, _READER = "talker-0123456789abcdef", "reader-0123456789abcdef"

_OWNERS = {"Authorization": f"Bearer {OWNER}"}
_TALKERS = {"Authorization": f"Bearer {_TALKER}"}

_CLOSED = {
    "server": {
        "use_auth": True,
        "auth_username": "user",
        "auth_password": "correct horse battery",
        "auth_tokens": {
            "talker": {"token": _TALKER},
            "reader": {"token": _READER, "permissions": ["stt"]},
        },
    }
}


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: Any) -> Iterator[str]:
    """A server as it is by default: anybody on this machine may talk."""
    with running(scripted_app(tmp_path_factory.mktemp("open"))) as url:
        yield url


@pytest.fixture(scope="module")
def closed_server(tmp_path_factory: Any) -> Iterator[str]:
    """A server that asks everybody who they are."""
    folder = tmp_path_factory.mktemp("closed")
    audit = {"middleware": {"audit": {"enabled": True, "path": str(folder / "audit.jsonl")}}}
    with running(scripted_app(folder, {**_CLOSED, **audit})) as url:
        yield url


def _routes(url: str) -> dict[str, Any]:
    paths: dict[str, Any] = httpx.get(f"{url}/openapi.json").json()["paths"]
    return paths


class TestManagement:
    def test_takes_a_token_by_default(self, open_server: str) -> None:
        answer = httpx.get(f"{open_server}/api/health/detailed")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["error_code"] == "not_authenticated"
        allowed = httpx.get(f"{open_server}/api/health/detailed", headers=_OWNERS)
        assert allowed.status_code == 200

    def test_every_route_that_changes_something_takes_one(self, open_server: str) -> None:
        for path in (
            "/config/save",
            "/config/reset",
            "/config/restart",
            "/files/reference-audio/upload",
            "/files/predefined-voices/upload",
            "/files/cleanup",
            "/stt/reload",
            "/conversation/reload",
            "/tts/middleware/reload",
            "/ws/conversation/reload",
            "/save_settings",
            "/reset_settings",
            "/restart_server",
            "/upload_reference",
            "/upload_predefined_voice",
        ):
            assert httpx.post(open_server + path, json={}).status_code == 401, path
        for path in ("/files/reference-audio/x.wav", "/files/predefined-voices/x.wav"):
            assert httpx.delete(open_server + path).status_code == 401, path
        for path in ("/config/current", "/config", "/api/analytics/usage"):
            assert httpx.get(open_server + path).status_code == 401, path

    def test_a_token_that_permits_talking_does_not_manage(self, closed_server: str) -> None:
        answer = httpx.get(f"{closed_server}/api/health/detailed", headers=_TALKERS)
        assert answer.status_code == 403
        assert answer.json()["error_code"] == "not_permitted"

    def test_a_new_token_is_made_at_each_start_if_none_manages(self, tmp_path: Path) -> None:
        tokens = {
            create_app(settings_in(tmp_path / name)).state.services.management_token
            for name in ("a", "b")
        }
        assert len(tokens) == 2
        assert all(len(token) >= 32 for token in tokens)

    def test_none_is_made_where_the_settings_have_one(self, tmp_path: Path) -> None:
        token = {"token": "admin-0123456789abcdef", "permissions": ["manage"]}
        settings = settings_in(tmp_path, {"server": {"auth_tokens": {"admin": token}}})
        assert Access(settings.current).management_token is None


class TestTalking:
    def test_is_open_to_this_machine_by_default(self, open_server: str) -> None:
        assert httpx.post(f"{open_server}/tts", json={"text": "Hello."}).status_code == 200

    def test_what_is_shown_where_nobody_asks_does_not_matter(self, open_server: str) -> None:
        """OpenAI's clients have to send some key."""
        headers = {"Authorization": "Bearer anything"}
        answer = httpx.post(f"{open_server}/tts", json={"text": "Hello."}, headers=headers)
        assert answer.status_code == 200

    def test_takes_a_token_if_the_settings_say_so(self, closed_server: str) -> None:
        speak = f"{closed_server}/tts"
        assert httpx.post(speak, json={"text": "Hello."}).status_code == 401
        assert httpx.post(speak, json={"text": "Hello."}, headers=_TALKERS).status_code == 200

    def test_a_token_permits_what_it_says_and_no_more(self, closed_server: str) -> None:
        headers = {"Authorization": f"Bearer {_READER}"}
        answer = httpx.post(f"{closed_server}/tts", json={"text": "Hello."}, headers=headers)
        assert answer.status_code == 403

    @pytest.mark.parametrize(
        "shown",
        ["Bearer", "Bearer ", "Bearer wrong", f"bearer {_TALKER}x", f"Token {_TALKER}", "Basic !"],
    )
    def test_nothing_else_lets_in(self, tmp_path: Path, shown: str) -> None:
        access = Access(settings_in(tmp_path, _CLOSED).current, OWNER)
        with pytest.raises(AuthenticationError):
            access.header(shown, "192.0.2.1", 0.0)

    def test_refusals_are_all_the_same(self, closed_server: str) -> None:
        said = set()
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic dXNlcjp3cm9uZw=="},  # that name, another password
            {"Authorization": "Basic bm9ib2R5Ondyb25n"},  # nobody's name
        ):
            answer = httpx.post(f"{closed_server}/tts", json={"text": "Hi."}, headers=headers)
            body = {**answer.json(), "request_id": ""}
            said.add((answer.status_code, str(body), answer.headers["WWW-Authenticate"]))
        assert len(said) == 1

    def test_a_name_and_password_let_in_but_do_not_manage(self, closed_server: str) -> None:
        auth = ("user", "correct horse battery")
        speak = httpx.post(f"{closed_server}/tts", json={"text": "Hello."}, auth=auth)
        assert speak.status_code == 200
        assert httpx.get(f"{closed_server}/config/current", auth=auth).status_code == 403

    def test_a_browser_is_asked_for_them(self, closed_server: str) -> None:
        answer = httpx.post(f"{closed_server}/tts", json={"text": "Hello."})
        assert 'Basic realm="' in answer.headers["WWW-Authenticate"]

    def test_nobody_is_let_in_by_a_default_password(self, tmp_path: Path) -> None:
        with pytest.raises(Exception, match="nobody could come in"):
            settings_in(tmp_path, {"server": {"use_auth": True}})


class TestGuessing:
    def test_ends_after_ten_wrong_attempts_in_a_minute(self) -> None:
        attempts = Attempts(limit=10, period=60.0)
        for _ in range(10):
            attempts.check("192.0.2.1", 0.0)
            attempts.failed("192.0.2.1", 0.0)
        with pytest.raises(RateLimitError) as refused:
            attempts.check("192.0.2.1", 1.0)
        assert refused.value.retry_after == 59.0
        attempts.check("192.0.2.2", 1.0)  # somebody else
        attempts.check("192.0.2.1", 60.0)  # later
        attempts.failed("192.0.2.1", 60.0)
        attempts.check("192.0.2.1", 60.0)

    def test_is_counted_by_network_where_addresses_are_free(self) -> None:
        attempts = Attempts(limit=2)
        for host in ("2001:db8::1", "2001:db8::2"):
            attempts.failed(host, 0.0)
        with pytest.raises(RateLimitError):
            attempts.check("2001:db8::3", 0.0)
        attempts.check("2001:db8:0:1::1", 0.0)

    def test_takes_no_more_memory_the_more_do_it(self) -> None:
        attempts = Attempts(max_clients=100)
        for number in range(1000):
            attempts.failed(f"client {number}", 0.0)
        assert len(attempts) == 100

    def test_is_answered_with_429_even_if_the_next_is_right(self, tmp_path: Path) -> None:
        with running(scripted_app(tmp_path)) as url, httpx.Client(base_url=url) as client:
            wrong = {"Authorization": "Bearer wrong"}
            statuses = [
                client.get("/api/health/detailed", headers=wrong).status_code for _ in range(11)
            ]
            assert statuses == [401] * 10 + [429]
            answer = client.get("/api/health/detailed", headers=_OWNERS)
            assert answer.status_code == 429
            assert 1 <= int(answer.headers["Retry-After"]) <= 60

    def test_on_sockets_counts_too(self, tmp_path: Path) -> None:
        with running(scripted_app(tmp_path, _CLOSED)) as url:
            address = url.replace("http", "ws") + "/ws/transcribe"
            wrong = {"Authorization": "Bearer wrong"}
            statuses = []
            for _ in range(11):
                with (
                    pytest.raises(InvalidStatus) as refused,
                    connect(address, additional_headers=wrong),
                ):
                    pass
                statuses.append(refused.value.response.status_code)
            assert statuses == [401] * 10 + [429]
            assert httpx.post(f"{url}/api/tickets", headers=_TALKERS).status_code == 429

    def test_asking_without_anything_is_no_guess(self, open_server: str) -> None:
        for _ in range(20):
            assert httpx.get(f"{open_server}/api/health/detailed").status_code == 401
        allowed = httpx.get(f"{open_server}/api/health/detailed", headers=_OWNERS)
        assert allowed.status_code == 200


class TestRates:
    def test_are_limited_for_each_client_if_settings_say_so(self, tmp_path: Path) -> None:
        limits = {"middleware.rate_limit": {"enabled": True, "rate": 0.01, "burst": 2.0}}
        with running(scripted_app(tmp_path, limits)) as url:
            answers = [httpx.post(f"{url}/tts", json={"text": "Good day."}) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            assert answers[-1].json()["error_code"] == "too_many_requests"
            assert 1 <= int(answers[-1].headers["Retry-After"]) <= 100


class TestTickets:
    def test_let_a_socket_in_once(self, closed_server: str) -> None:
        issued = httpx.post(f"{closed_server}/api/tickets", headers=_TALKERS).json()
        assert issued["expires_in"] == 30.0
        address = closed_server.replace("http", "ws") + "/ws/conversation/v2?ticket="
        with connect(address + issued["ticket"]) as socket:
            assert '"ready"' in str(socket.recv(timeout=10))
        with pytest.raises(InvalidStatus) as refused, connect(address + issued["ticket"]):
            pass
        assert refused.value.response.status_code == 401

    def test_are_for_those_who_are_known(self, closed_server: str) -> None:
        assert httpx.post(f"{closed_server}/api/tickets").status_code == 401

    def test_stand_for_the_token_where_calls_ask_for_one(self, tmp_path: Path) -> None:
        settings = {
            **_CLOSED,
            "middleware.authentication": {"enabled": True},
            "pause_detection": {"engine": "energy"},
        }
        with running(scripted_app(tmp_path, settings)) as url:
            ticket = httpx.post(f"{url}/api/tickets", headers=_TALKERS).json()["ticket"]
            address = url.replace("http", "ws") + f"/ws/transcribe?ticket={ticket}"
            with connect(address) as socket:
                socket.send(bytes(16_000) + speech(1.0).resampled(16_000).data + bytes(64_000))
                socket.send('{"action": "stop"}')
                kinds = {json.loads(message)["type"] for message in socket}
            assert "transcription" in kinds
            assert "error" not in kinds

    def test_permit_what_their_owner_may(self, closed_server: str) -> None:
        headers = {"Authorization": f"Bearer {_READER}"}
        ticket = httpx.post(f"{closed_server}/api/tickets", headers=headers).json()["ticket"]
        address = closed_server.replace("http", "ws") + "/ws/conversation/v2?ticket="
        with pytest.raises(InvalidStatus) as refused, connect(address + ticket):
            pass
        assert refused.value.response.status_code == 403

    def test_a_socket_without_one_is_refused(self, closed_server: str) -> None:
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(closed_server.replace("http", "ws") + "/ws/conversation/v2"),
        ):
            pass
        assert refused.value.response.status_code == 401


class TestOtherSites:
    def test_pages_open_no_socket(self, open_server: str) -> None:
        address = open_server.replace("http", "ws") + "/ws/conversation/v2"
        with pytest.raises(InvalidStatus) as refused, connect(address, origin="https://evil.test"):
            pass
        assert refused.value.response.status_code == 403

    def test_pages_send_no_form(self, open_server: str) -> None:
        headers = {"Origin": "https://evil.test", **_OWNERS}
        answer = httpx.post(f"{open_server}/tts", json={"text": "Hi."}, headers=headers)
        assert answer.status_code == 403

    def test_the_servers_own_page_does(self, open_server: str) -> None:
        headers = {"Origin": open_server}
        answer = httpx.post(f"{open_server}/tts", json={"text": "Hi."}, headers=headers)
        assert answer.status_code == 200

    def test_pages_read_nothing(self, open_server: str) -> None:
        answer = httpx.get(f"{open_server}/health", headers={"Origin": "https://evil.test"})
        assert "access-control-allow-origin" not in answer.headers

    def test_names_that_are_not_the_servers_are_not_answered(self, open_server: str) -> None:
        """So that no page's own name can be pointed at this machine."""
        answer = httpx.get(f"{open_server}/health", headers={"Host": "evil.test"})
        assert answer.status_code == 400

    def test_answers_are_what_they_say(self, open_server: str) -> None:
        for path in ("/", "/health", "/nowhere", "/openapi.json"):
            headers = httpx.get(open_server + path).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"

    def test_the_page_runs_no_script_but_its_own(self, open_server: str) -> None:
        policy = httpx.get(f"{open_server}/").headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"""(src|href)=["']?(https?:)?//""", httpx.get(f"{open_server}/").text)


class TestTrail:
    def test_says_who_changed_what_and_who_was_refused(
        self, closed_server: str, tmp_path_factory: Any
    ) -> None:
        save = f"{closed_server}/config/save"
        httpx.post(save, json={"ui": {"title": "New"}}, headers=_OWNERS).raise_for_status()
        assert httpx.post(save, json={}, headers=_TALKERS).status_code == 403
        assert httpx.post(save, json=["x"], headers=_OWNERS).status_code in (400, 422)
        (file,) = tmp_path_factory.getbasetemp().glob("closed[0-9]/audit-management.jsonl")
        lines = file.read_text()
        assert FileAuditLog.verify(file).ok
        assert re.findall(r'"outcome": ?"(\w+)"', lines)[-5:] == [
            "begun",
            "ok",
            "refused",
            "begun",
            "error",
        ]
        assert "owner" in lines
        assert "POST /config/save" in lines
        assert OWNER not in lines
        assert "New" not in lines

    def test_what_cannot_be_written_down_is_not_done(self, tmp_path: Path) -> None:
        path = str(tmp_path / "nowhere" / "audit.jsonl")
        app = scripted_app(tmp_path, {"middleware": {"audit": {"enabled": True, "path": path}}})
        with running(app) as url:
            answer = httpx.post(
                f"{url}/config/save", json={"ui": {"title": "New"}}, headers=_OWNERS
            )
            assert answer.status_code == 503
            assert answer.json()["error_code"] == "audit_unavailable"
            assert app.state.services.settings.ui.title != "New"


class TestErrors:
    def test_hold_no_path_and_no_stack(self, open_server: str) -> None:
        for answer in (
            httpx.get(f"{open_server}/nowhere"),
            httpx.post(f"{open_server}/tts", json={"text": "x", "predefined_voice_id": "../x"}),
            httpx.post(f"{open_server}/stt", files={"audio_file": ("x.wav", b"no audio")}),
            httpx.post(f"{open_server}/tts", content=b"{"),
        ):
            assert 400 <= answer.status_code < 500
            assert {"detail", "error_code", "request_id"} <= set(answer.json())
            assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
            assert not re.search(r"/work|/tmp|/usr|\.py\b|Traceback", answer.text)

    def test_other_methods_are_refused(self, open_server: str) -> None:
        for method in ("TRACE", "PUT", "DELETE"):
            assert httpx.request(method, f"{open_server}/health").status_code == 405

    def test_secrets_are_in_no_answer(self, closed_server: str) -> None:
        for path in ("/config/current", "/config/environment", "/config/schema", "/openapi.json"):
            text = httpx.get(closed_server + path, headers=_OWNERS).text
            assert _TALKER not in text
            assert OWNER not in text
            assert "correct horse" not in text


class TestTheClaims:
    """SECURITY.md names a test for each thing that it claims."""

    def test_every_test_that_it_names_is_there(self) -> None:
        named = set(re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", _security()))
        assert len(named) > 20
        missing = [f"{file}::{test}" for file, test in sorted(named) if not _has(file, test)]
        assert not missing

    def test_every_claim_names_one(self) -> None:
        rows = re.findall(r"^\| V\d+\.\d+\.\d+ \|.*$", _security(), re.MULTILINE)
        assert len(rows) > 15
        assert not [row for row in rows if "::" not in row]


def _security() -> str:
    return (_ROOT / "SECURITY.md").read_text(encoding="utf-8")


def _has(file: str, test: str) -> bool:
    path = _ROOT / file
    if not path.exists():
        return False
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for name in test.split("::"):
        found = [
            each
            for each in body
            if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and each.name == name
        ]
        if not found:
            return False
        body = found[0].body
    return True
