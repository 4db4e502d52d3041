"""Paths of older clients, and what a page begins with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

from realtime_stts.testing import ScriptedTTSEngine
from tests.examples.management_tools import CONSENT, Served, as_files, recording, served

PASSWORD = "nobody-may-know-this"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(
        tmp_path_factory.mktemp("legacy"),
        {"server.auth_password": PASSWORD, "ui_state.last_text": "What I typed."},
    ) as it:
        yield it


# -- older clients


def test_settings(server: Served) -> None:
    saved = server.owner.post("/save_settings", json={"limits.max_voices": 5})
    assert saved.status_code == 200
    assert saved.json()["restart_needed"] is False
    assert server.services.settings.limits.max_voices == 5
    restarted = server.owner.post("/restart_server")
    assert restarted.status_code == 200
    assert {"message", "restart_needed"} <= {*restarted.json()}


def test_a_reset(tmp_path: Path) -> None:
    with served(tmp_path, {"limits.max_voices": 5}) as it:
        reset = it.owner.post("/reset_settings")
        assert reset.json()["restart_needed"] is True
        assert it.services.settings.limits.max_voices == 100


@pytest.mark.parametrize(
    ("path", "listing", "field", "filename"),
    [
        ("/upload_reference", "/get_reference_files", "all_reference_files", "ref-rex.wav"),
        (
            "/upload_predefined_voice",
            "/get_predefined_voices",
            "all_predefined_voices",
            {"display_name": "Rex", "filename": "rex.wav"},
        ),
    ],
)
def test_uploads(server: Served, path: str, listing: str, field: str, filename: Any) -> None:
    assert server.owner.post(path, files=as_files(Rex_wav=recording())).status_code == 400
    taken = server.owner.post(path, files=as_files(Rex_wav=recording(len(path))), data=CONSENT)
    assert taken.status_code == 200, taken.text
    assert filename in taken.json()[field]
    assert server.anybody.get(listing).json() == taken.json()[field]
    for voice in server.services.voices.list():
        server.services.voices.delete(voice.id)


@pytest.mark.parametrize(
    "path",
    [
        "/save_settings",
        "/reset_settings",
        "/restart_server",
        "/upload_reference",
        "/upload_predefined_voice",
        "/api/ui/state",
    ],
)
def test_only_the_owner(server: Served, path: str) -> None:
    more: dict[str, Any] = {"json": {}}
    if "upload" in path:
        more = {"files": as_files(A_wav=recording()), "data": CONSENT}
    assert server.anybody.post(path, **more).status_code == 401


# -- the page


def test_what_a_page_begins_with(server: Served) -> None:
    given = server.anybody.get("/api/ui/initial-data")
    assert given.status_code == 200, given.text
    data = given.json()
    assert {
        "config",
        "reference_files",
        "predefined_voices",
        "presets",
        "initial_gen_result",
    } <= {*data}
    assert data["title"] == "Realtime STTS"
    assert data["predefined_voices"] == [{"display_name": "Scripted", "filename": "scripted.wav"}]
    assert data["voices"] == [
        {
            "id": "scripted",
            "name": "Scripted",
            "type": "predefined",
            "language": "en",
            "usable": True,
        }
    ]
    assert data["config"]["generation_defaults"]["speed_factor"] == 1.0
    assert data["limits"]["max_text_length"] == 20_000
    assert data["capabilities"]["cloning"] is False
    assert data["capabilities"]["speech_parameters"] == ["speed_factor"]
    assert all(preset["text"] for preset in data["presets"])


def test_anybody_may_read_it(server: Served) -> None:
    given = server.anybody.get("/api/ui/initial-data")
    assert PASSWORD not in given.text
    assert "What I typed." not in given.text
    assert str(server.folder) not in given.text
    assert not {"server", "paths", "middleware"} & {*given.json()["config"]}


def test_a_server_that_asks_who_one_is_shows_no_voices(tmp_path: Path) -> None:
    settings = {"server": {"use_auth": True, "auth_password": PASSWORD}}
    with served(tmp_path, settings) as it:
        data = it.anybody.get("/api/ui/initial-data").json()
        assert (data["voices"], data["predefined_voices"], data["reference_files"]) == ([], [], [])


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (
            "ResembleAI/chatterbox",
            ["temperature", "exaggeration", "cfg_weight", "seed", "speed_factor"],
        ),
        ("ResembleAI/chatterbox-turbo", ["temperature", "seed", "speed_factor"]),
    ],
)
def test_an_engine_that_clones(tmp_path: Path, model: str, parameters: list[str]) -> None:
    engine: Any = ScriptedTTSEngine()
    engine.name = "chatterbox"
    with served(tmp_path, {"model.repo_id": model}, tts=engine) as it:
        assert it.anybody.get("/api/ui/initial-data").json()["capabilities"]["cloning"] is False
        engine.voices = it.services.voices
        found = it.anybody.get("/api/ui/initial-data").json()["capabilities"]
        assert found["cloning"] is True
        assert found["speech_parameters"] == parameters


def test_where_the_user_leaves_the_page(server: Served) -> None:
    answer = server.owner.post("/api/ui/state", json={"theme": "light", "last_seed": 7})
    assert answer.json()["updated_keys"] == ["ui_state.last_seed", "ui_state.theme"]
    state = server.anybody.get("/api/ui/initial-data").json()["config"]["ui_state"]
    assert (state["theme"], state["last_seed"]) == ("light", 7)
    assert server.services.settings.ui_state.last_text == "What I typed."


@pytest.mark.parametrize("state", [{"theme": "pink"}, {"last_seed": -1}, {"x": 1}])
def test_a_state_that_is_none(server: Served, state: dict[str, Any]) -> None:
    assert server.owner.post("/api/ui/state", json=state).status_code == 422
