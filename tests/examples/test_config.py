"""Settings over HTTP: changed safely, kept in their file, and without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

import yaml
from fastapi_server.management.changes import merged, permitted, without_sources
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.settings import Settings, SettingsStore, json_schema, validate
from tests.examples.management_tools import Served, served

SECRET = "a-secret-of-the-owner"


def store_in(folder: Path, environ: dict[str, str] | None = None) -> SettingsStore:
    path = folder / "config.yaml"
    path.write_text(
        json.dumps(
            {
                "paths": {"output": str(folder / "outputs")},
                "server": {"auth_password": SECRET},
                "ui": {"title": "A server"},
            }
        )
    )
    return SettingsStore(path, environ=environ or {})


def serving_in(
    folder: Path, environ: dict[str, str] | None = None
) -> AbstractContextManager[Served]:
    return served(folder, store=store_in(folder, environ))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving_in(tmp_path_factory.mktemp("config")) as it:
        yield it


@pytest.fixture
def server(shared: Served) -> Iterator[Served]:
    """The server with its first settings."""
    path = shared.folder / "config.yaml"
    before = path.read_text()
    yield shared
    store: SettingsStore = shared.services.store
    store.reset()
    path.write_text(before)
    store.reload()


def on_disk(server: Served) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((server.folder / "config.yaml").read_text())
    return found


# -- reading


@pytest.mark.parametrize("path", ["/config", "/config/current"])
def test_the_settings_in_force(server: Served, path: str) -> None:
    found = server.owner.get(path).json()
    assert found == server.services.settings.masked()
    assert found["ui"]["title"] == "A server"
    assert found["server"]["auth_password"] == "**********"


def test_no_secret_is_in_any_answer(server: Served) -> None:
    for path in ("", "/current", "/defaults", "/schema", "/environment", "/validation"):
        answer = server.owner.get(f"/config{path}")
        assert answer.status_code == 200
        assert SECRET not in answer.text
    explained = server.owner.get("/config/explain", params={"path": "server.auth_password"})
    assert SECRET not in explained.text


def test_the_defaults_are_those_of_nobody(server: Served) -> None:
    assert server.owner.get("/config/defaults").json() == Settings().masked()


def test_the_schema(server: Served) -> None:
    found = server.owner.get("/config/schema").json()
    locked = {
        f"{section}.{name}"
        for section, each in found["properties"].items()
        for name, option in found["$defs"][each["$ref"].rpartition("/")[2]]["properties"].items()
        if option.pop("readOnly", False)
    }
    assert {"paths.output", "server.use_auth", "stt_engine.options", "model.local_path"} <= locked
    assert not {"server.port", "ui.title", "tts_engine.engine"} & locked
    for option in found["$defs"]["AuditSettings"]["properties"].values():
        assert option.pop("readOnly")
    for option in found["$defs"]["AuthenticationSettings"]["properties"].values():
        assert option.pop("readOnly")
    assert found["$defs"]["RedactionSettings"]["properties"]["pseudonym_key"].pop("readOnly")
    assert found == json.loads(json.dumps(json_schema()))


def test_where_a_value_comes_from(tmp_path: Path) -> None:
    with serving_in(tmp_path, {"REALTIME_STTS_UI__TITLE": "Of the environment"}) as it:
        it.owner.post("/config/update", json={"ui.show_language_select": False})
        for path, layer, source, hides in (
            ("ui.title", "environment", "REALTIME_STTS_UI__TITLE", ["file"]),
            ("ui.show_language_select", "runtime", None, []),
            ("paths.output", "file", "config.yaml", []),  # and not where it is
            ("server.port", "default", None, []),
        ):
            found = it.owner.get("/config/explain", params={"path": path}).json()
            assert (found["layer"], found["source"], found["hides"]) == (layer, source, hides)
        missing = it.owner.get("/config/explain", params={"path": "server.prt"})
        assert missing.status_code == 404
        assert "server.port" in missing.text


def test_the_environments_part(tmp_path: Path) -> None:
    environ = {
        "REALTIME_STTS_UI__TITLE": "Of the environment",
        "REALTIME_STTS_SERVER__AUTH_PASSWORD": SECRET,
        "REALTIME_STTS_LIMITS__MAX_VOICES": "7",
    }
    with serving_in(tmp_path, environ) as it:
        it.owner.post("/config/update", json={"ui": {"title": "Of now"}})
        assert it.owner.get("/config/environment").json() == [
            {
                "variable": "REALTIME_STTS_SERVER__AUTH_PASSWORD",
                "path": "server.auth_password",
                "value": "**********",
                "in_force": True,
            },
            {
                "variable": "REALTIME_STTS_LIMITS__MAX_VOICES",
                "path": "limits.max_voices",
                "value": 7,
                "in_force": True,
            },
            {
                "variable": "REALTIME_STTS_UI__TITLE",
                "path": "ui.title",
                "value": "Of now",
                "in_force": False,
            },
        ]


def test_what_is_odd(tmp_path: Path) -> None:
    with serving_in(tmp_path, {"REALTIME_STTS_SERVER__PORT": "80"}) as it:
        found = it.owner.get("/config/validation").json()
        assert (found["valid"], found["errors"]) == (True, [])
        assert any(each.startswith("server.port: ") for each in found["warnings"])


# -- changing


def test_a_change_is_in_force_and_in_the_file(server: Served) -> None:
    answer = server.owner.post(
        "/config/save", json={"ui": {"show_language_select": False}, "limits.max_voices": 5}
    )
    assert answer.status_code == 200
    assert answer.json() == {
        "message": "The settings have been saved.",
        "restart_needed": False,
        "updated_keys": ["limits.max_voices", "ui.show_language_select"],
        "restart_required": [],
        "applied_immediately": ["limits.max_voices", "ui.show_language_select"],
        "warnings": {},
    }
    assert server.services.settings.limits.max_voices == 5
    assert on_disk(server)["ui"] == {"title": "A server", "show_language_select": False}
    assert on_disk(server)["server"]["auth_password"] == SECRET


def test_what_needs_a_restart_is_said(server: Served) -> None:
    body = server.owner.post("/config/save", json={"stt_engine": {"model_size": "tiny"}}).json()
    assert body["restart_needed"] is True
    assert body["restart_required"] == ["stt_engine.model_size"]


def test_an_update_lasts_until_the_server_stops(server: Served) -> None:
    before = on_disk(server)
    answer = server.owner.post("/config/update", json={"ui.title": "Another"}).json()
    assert answer["updated_keys"] == ["ui.title"]
    assert server.services.settings.ui.title == "Another"
    assert on_disk(server) == before


def test_a_reset_forgets_the_file(server: Served) -> None:
    server.owner.post("/config/save", json={"limits.max_voices": 5})
    answer = server.owner.post("/config/reset").json()
    assert answer["restart_needed"] is True
    assert answer["message"].startswith("The settings are the defaults again.")
    assert server.services.settings == Settings()
    assert not on_disk(server)


def test_all_that_was_shown_can_be_sent_back(server: Served) -> None:
    """A page's form has everything in it, locked options and asterisks too."""
    form = server.owner.get("/config/current").json()
    form["generation_defaults"]["speed_factor"] = 1.5
    answer = server.owner.post("/config/save", json=form)
    assert answer.status_code == 200, answer.text
    assert answer.json()["updated_keys"] == ["generation_defaults.speed_factor"]
    password = server.services.settings.server.auth_password
    assert password.get_secret_value() == SECRET


def test_wrong_values_change_nothing(server: Served) -> None:
    before = on_disk(server), server.services.settings
    answer = server.owner.post(
        "/config/save",
        json={"ui": {"title": "Another"}, "server": {"port": "abc", "prt": 1}, "limits": []},
    )
    assert (answer.status_code, answer.json()["error_code"]) == (422, "invalid_settings")
    assert {*answer.json()["detail"]} == {"server.port", "server.prt", "limits"}
    assert str(server.folder) not in answer.text
    assert (on_disk(server), server.services.settings) == before


def test_an_error_in_the_file_is_told_without_its_path(server: Served) -> None:
    """Options of the file that do not go together with a change are named, the file is not."""
    server.owner.post("/config/save", json={"pause_detection.start_above": 0.9})
    answer = server.owner.post("/config/save", json={"pause_detection.stop_below": 0.95})
    assert answer.status_code == 422
    assert "stop_below" in answer.text
    assert str(server.folder) not in answer.text
    assert "config.yaml" not in answer.text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"[1, 2]", "application/json", 400),
        (b"7", "application/json", 400),
        (b"null", "application/json", 400),
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe\xfa", "application/json", 400),
        (b'{"limits": {"max_voice_mb": NaN}}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"a":' * 400 + b"1" + b"}" * 400, "application/json", 422),
        (b'{"a\\ud800": 1}', "application/json", 422),
        (b'{"ui": {"title": "\\ud800"}}', "application/json", 422),
        (b'{"ui_state": {"last_seed": ' + b"9" * 4000 + b"}}", "application/json", 422),
        (b"{" + b" " * 1_000_000 + b"}", "application/json", 413),
        (b'{"ui.title": "x"}', "text/plain", 415),
        (b"ui.title=x", "application/x-www-form-urlencoded", 415),
    ],
    ids=range(15),
)
@pytest.mark.parametrize("path", ["/config/save", "/config/validate", "/save_settings"])
def test_what_is_no_object_of_settings(
    server: Served, path: str, content: bytes, kind: str, status: int
) -> None:
    answer = server.owner.post(path, content=content, headers={"Content-Type": kind})
    if status == 422 and path == "/config/validate":
        assert answer.status_code == 200, answer.text
        assert answer.json()["valid"] is False
    else:
        assert answer.status_code == status, answer.text
        assert answer.json()["error_code"]


def test_many_errors_are_not_all_told(server: Served) -> None:
    answer = server.owner.post("/config/save", json={f"k{n}" * 100: n for n in range(2000)})
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) == 100
    assert max(map(len, answer.json()["detail"])) <= 200


def test_changes_are_checked_without_being_made(server: Served) -> None:
    def checked(changes: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = server.owner.post("/config/validate", json=changes).json()
        return found

    before = server.services.settings
    assert checked({"ui.title": "x"})["valid"] is True
    assert checked({"server.port": 80})["warnings"]
    # With what is in force, and not with the defaults.
    assert checked({"server.use_auth": True})["errors"] == [
        "server.use_auth: can be set in the server's file or environment alone, and not over HTTP"
    ]
    server.owner.post("/config/update", json={"pause_detection.start_above": 0.9})
    assert checked({"pause_detection.stop_below": 0.8})["valid"] is True
    assert checked({"pause_detection.stop_below": 0.95})["valid"] is False
    server.owner.post("/config/update", json={"pause_detection.start_above": 0.5})
    assert server.services.settings == before


# -- what may not be changed

LOCKED: dict[str, Any] = {
    "paths.output": "/etc",
    "paths": {"output": "/"},
    "paths.model_cache": "/tmp/x",
    "tts_engine": {"predefined_voices_path": "/etc"},
    "tts_engine.reference_audio_path": "/etc",
    "tts_engine.options": {"data_path": "/etc"},
    "stt_engine.options": {"x": 1},
    "stt_engine.model_path": "/tmp/evil.pt",
    "stt_engine.download_root": "/tmp",
    "stt_engine.engine": "whisper:/tmp/evil.pt",
    "stt_engine.model_size": "../evil",
    "tts_engine.engine": "chatterbox:..\\evil",
    "middleware.fallback.stt": ["whisper:/tmp/evil.pt"],
    "model.local_path": "/tmp/evil",
    "middleware.audit.path": "/etc/cron.d/x",
    "middleware.audit": {"enabled": True},
    "middleware": {"authentication": {"enabled": True}},
    "middleware.redaction.pseudonym_key": "0123456789abcdef",
    "analytics.path": "/tmp/x.db",
    "server.log_file_path": "/etc/x",
    "server.auth_password": "let-me-in",
    "server.auth_tokens": {"me": {"token": "0123456789abcdef", "permissions": ["manage"]}},
    "server.use_auth": True,
    "server.cors_origins": ["*"],
    "server.allowed_hosts": ["*"],
}


@pytest.mark.parametrize("path", LOCKED)
def test_what_leads_out_of_the_sandbox_is_refused(path: str) -> None:
    wanted, refused = permitted({path: LOCKED[path], "ui.title": "x"}, Settings())
    assert wanted == {"ui.title": "x"}
    (refusal,) = refused.items()
    assert refusal[0].startswith(path)
    assert "not over HTTP" in refusal[1]


def test_one_locked_option_spoils_the_whole_change(server: Served) -> None:
    """The chain of point a folder somewhere, and delete the voices there, has no first link."""
    before = on_disk(server), server.services.settings
    for body in (
        {"ui.title": "x", "tts_engine.predefined_voices_path": "/etc"},
        {"ui": {"title": "x"}, "tts_engine": {"predefined_voices_path": "/etc"}},
    ):
        answer = server.owner.post("/config/save", json=body)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "setting_locked")
        assert [*answer.json()["detail"]] == ["tts_engine.predefined_voices_path"]
    assert (on_disk(server), server.services.settings) == before


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(["paths", "output", "server", "port", "ui", "title", "a.b", "."]),
            inner,
            max_size=3,
        ),
        max_leaves=6,
    )
)
def test_whatever_is_permitted_touches_no_locked_option(value: Any) -> None:
    changes = {"paths": value} if not isinstance(value, dict) else value
    wanted, _ = permitted(changes, Settings())
    found = validate(merged(wanted, Settings()))
    if found.settings is not None:
        assert found.settings.paths == Settings().paths


def test_problems_lose_their_sources() -> None:
    assert without_sources({"a": "is wrong (from /etc/config.yaml)", "b": "so (is) this"}) == {
        "a": "is wrong",
        "b": "so (is) this",
    }


# -- keeping


def test_a_server_without_a_file_says_so(tmp_path: Path) -> None:
    store = SettingsStore(environ={"REALTIME_STTS_PATHS__OUTPUT": str(tmp_path / "outputs")})
    with served(tmp_path, store=store) as it:
        answer = it.owner.post("/config/save", json={"ui.title": "x"})
        assert answer.status_code == 200
        assert "no settings' file" in answer.json()["message"]
        assert it.owner.get("/config/validation").json()["info"]
        assert it.services.settings.ui.title == "x"


def test_what_the_environment_hides_is_said(tmp_path: Path) -> None:
    with serving_in(tmp_path, {"REALTIME_STTS_UI__TITLE": "Of the environment"}) as it:
        answer = it.owner.post("/config/save", json={"ui.title": "x"}).json()
        assert "ui.title" in answer["message"]


def test_a_broken_file_is_left_as_it_is(server: Served) -> None:
    path = server.folder / "config.yaml"
    path.write_text("ui: {title: [")
    answer = server.owner.post("/config/save", json={"limits.max_voices": 5})
    assert (answer.status_code, answer.json()["error_code"]) == (409, "settings_file_broken")
    assert path.read_text() == "ui: {title: ["
    assert server.services.settings.limits.max_voices == 5


def test_a_full_disk_is_said(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device", "/secret/path")

    monkeypatch.setattr(server.services.store, "save", full)
    answer = server.owner.post("/config/save", json={"limits.max_voices": 5})
    assert (answer.status_code, answer.json()["error_code"]) == (507, "storage_failed")
    assert "/secret" not in answer.text


# -- restarting


def test_a_restart_makes_new_engines(server: Served) -> None:
    before = server.services.parts
    server.owner.post("/config/save", json={"conversation.response_mode": "echo"})
    answer = server.owner.post("/config/restart")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "message": "The engines were made anew.",
        "restart_needed": False,
        "process_restart_required": [],
    }
    assert server.services.parts is not before
    assert server.services.state == "ready"


def test_a_restart_says_what_it_does_not_bring(server: Served) -> None:
    server.owner.post("/config/save", json={"server.port": 9999, "limits.max_sessions": 3})
    answer = server.owner.post("/config/restart").json()
    assert answer["restart_needed"] is True
    assert {*answer["process_restart_required"]} == {"server.port", "limits.max_sessions"}


def test_a_profile_is_named(tmp_path: Path) -> None:
    store_in(tmp_path)
    (tmp_path / "config.studio.yaml").write_text("ui: {title: Studio}")
    store = SettingsStore(tmp_path / "config.yaml", profile="studio", environ={})
    with served(tmp_path, store=store) as it:
        assert it.owner.get("/config/validation").json()["info"] == ["Profile: studio"]
        found = it.owner.get("/config/explain", params={"path": "ui.title"}).json()
        assert (found["layer"], found["source"]) == ("profile", "config.studio.yaml")


# -- who may


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/config"),
        ("GET", "/config/current"),
        ("GET", "/config/defaults"),
        ("GET", "/config/schema"),
        ("GET", "/config/explain?path=ui.title"),
        ("GET", "/config/environment"),
        ("GET", "/config/validation"),
        ("POST", "/config/validate"),
        ("POST", "/config/save"),
        ("POST", "/config/update"),
        ("POST", "/config/reset"),
        ("POST", "/config/restart"),
    ],
)
def test_only_the_owner(shared: Served, method: str, path: str) -> None:
    before = shared.services.settings
    more: Any = {"json": {"ui.title": "x"}} if method == "POST" else {}
    assert shared.anybody.request(method, path, **more).status_code == 401
    assert shared.services.settings == before


def test_who_is_nobody_is_not_read(shared: Served) -> None:
    """A body is read only once it is known whose it is, and a large one not even then."""
    for size, status in ((500_000, 401), (2_000_000, 413)):
        answer = shared.anybody.post(
            "/config/save", content=b"{" * size, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == status
