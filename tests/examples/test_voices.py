"""Voices by what clients call them; nothing that a client sends becomes a path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

import anyio
from fastapi import HTTPException
from fastapi_server.names import voice_id_of
from fastapi_server.previews import Previews
from fastapi_server.voices import Voice
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.errors import EngineLoadError, MissingExtraError, UnknownVoiceError
from realtime_stts.testing import ScriptedTTSEngine
from tests.examples.management_tools import (
    CONSENT,
    CloningEngine,
    Served,
    as_files,
    recording,
    served,
)

PATHS = [
    "../config.yaml",
    "..",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "emily/../emily",
    "emily\0",
    "voice-emily",
    "%2e%2e%2fconfig.yaml",
    "",
    "e" * 10_000,
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(
        tmp_path_factory.mktemp("voices"), tts=ScriptedTTSEngine(voices=("anna", "Bob"))
    ) as it:
        for kind, name in (("predefined-voices", "Emily_wav"), ("reference-audio", "Rex_wav")):
            answer = it.owner.post(
                f"/files/{kind}/upload",
                files=as_files(**{name: recording(len(kind))}),
                data=CONSENT,
            )
            assert answer.status_code == 200, answer.text
        yield it


def resolved(server: Served, name: str | None, mode: str | None = None) -> str | None:
    found: str | None = anyio.run(lambda: server.services.catalogue.resolve(name, mode=mode))
    return found


# -- which there are


def test_the_engines_own_come_first_and_then_the_uploaded_ones(server: Served) -> None:
    voices = anyio.run(server.services.catalogue.all)
    assert [(voice.id, voice.type, voice.built_in, voice.usable) for voice in voices] == [
        ("anna", "predefined", True, True),
        ("Bob", "predefined", True, True),
        ("emily", "predefined", False, False),
        ("ref-rex", "reference", False, False),
    ]
    assert [voice.filename for voice in voices][2:] == ["emily.wav", "ref-rex.wav"]


def test_an_engine_is_asked_for_its_voices_once(tmp_path: Path) -> None:
    class Counting(ScriptedTTSEngine):
        asked = 0

        async def list_voices(self) -> list[dict[str, Any]]:
            self.asked += 1
            return await super().list_voices()

    engine = Counting()
    with served(tmp_path, tts=engine) as it:
        for _ in range(3):
            assert it.anybody.get("/tts/voices").status_code == 200
        assert engine.asked == 1
        taken = it.owner.post(
            "/files/predefined-voices/upload", files=as_files(A_wav=recording()), data=CONSENT
        )
        assert taken.status_code == 200
        assert [voice["id"] for voice in it.anybody.get("/tts/voices").json()] == ["scripted", "a"]
        assert engine.asked == 2


def test_uploaded_voices_are_known_while_the_engine_is_not(tmp_path: Path) -> None:
    class Broken(ScriptedTTSEngine):
        async def list_voices(self) -> list[dict[str, Any]]:
            raise EngineLoadError("scripted", "no")

    with served(tmp_path, tts=Broken()) as it:
        taken = it.owner.post(
            "/files/predefined-voices/upload", files=as_files(A_wav=recording()), data=CONSENT
        )
        assert taken.json()["all_predefined_voices"] == [{"display_name": "A", "filename": "a.wav"}]
        assert it.anybody.get("/tts/voices").status_code == 503
        assert it.owner.delete("/files/predefined-voices/a.wav").status_code == 200


# -- by name


@pytest.mark.parametrize(
    ("name", "mode", "voice_id"),
    [
        ("anna", None, "anna"),
        ("anna", "predefined", "anna"),
        ("Anna", None, "anna"),  # its name
        ("anna.wav", None, "anna"),
        ("bob", None, "Bob"),
        ("Bob.mp3", None, "Bob"),
    ],
)
def test_a_voice_has_several_names(
    server: Served, name: str, mode: str | None, voice_id: str
) -> None:
    assert resolved(server, name, mode) == voice_id


def test_without_a_name_it_is_the_default(tmp_path: Path, server: Served) -> None:
    assert resolved(server, None) is None  # the engine's own choice
    engine = ScriptedTTSEngine(voices=("anna", "bob"))
    with served(tmp_path, {"tts_engine.default_voice_id": "Bob.wav"}, tts=engine) as it:
        assert resolved(it, None) == "bob"
        assert resolved(it, None, "clone") == "bob"


@pytest.mark.parametrize("mode", [None, "predefined", "clone"])
@pytest.mark.parametrize("name", PATHS, ids=range(len(PATHS)))
def test_paths_are_no_voices(server: Served, name: str, mode: str | None) -> None:
    with pytest.raises(UnknownVoiceError):
        resolved(server, name, mode)


@given(name=st.text(max_size=50), mode=st.sampled_from([None, "predefined", "clone"]))
def test_a_text_is_an_id_of_the_engines_or_no_voice(
    server: Served, name: str, mode: str | None
) -> None:
    with suppress(UnknownVoiceError, HTTPException):
        assert resolved(server, name, mode) in ("anna", "Bob")


@pytest.mark.parametrize(
    ("name", "mode"),
    [("emily", None), ("Emily.wav", "predefined"), ("Rex.wav", "clone"), ("ref-rex", None)],
)
def test_an_uploaded_voice_needs_an_engine_that_clones(
    server: Served, name: str, mode: str | None
) -> None:
    with pytest.raises(HTTPException) as refused:
        resolved(server, name, mode)
    assert refused.value.status_code == 409


@pytest.mark.parametrize(("name", "mode"), [("Emily.wav", "clone"), ("Rex.wav", "predefined")])
def test_the_mode_says_which_kind_is_meant(server: Served, name: str, mode: str) -> None:
    with pytest.raises(UnknownVoiceError):
        resolved(server, name, mode)


def test_an_engine_that_clones_speaks_in_uploaded_voices(tmp_path: Path) -> None:
    engine = CloningEngine(voices=("anna",))
    with served(tmp_path, tts=engine) as it:
        engine.registry = it.services.voices
        for kind in ("predefined-voices", "reference-audio"):
            answer = it.owner.post(
                f"/files/{kind}/upload",
                files=as_files(Emily_wav=recording(len(kind))),
                data=CONSENT,
            )
            assert answer.status_code == 200, answer.text
        assert resolved(it, "Emily.wav") == "emily"
        assert resolved(it, "Emily.wav", "predefined") == "emily"
        assert resolved(it, "Emily.wav", "clone") == "ref-emily"
        assert [voice.id for voice in anyio.run(it.services.catalogue.all)] == [
            "anna",
            "emily",
            "ref-emily",
        ]


def test_espeaks_variants_are_voices(tmp_path: Path) -> None:
    espeak = pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
    with served(tmp_path, tts=espeak.ESpeakTTSEngine()) as it:
        assert resolved(it, "en-us+f3") == "en-us+f3"
        for name in ("en-us+nobody", "nobody+f3", "en-us+../f3", "+f3"):
            with pytest.raises(UnknownVoiceError):
                resolved(it, name)
        with pytest.raises(UnknownVoiceError):
            resolved(it, "en-us+f3", "clone")


# -- the id of a file


@pytest.mark.parametrize(
    ("filename", "voice_id"),
    [
        ("Emily Rose.wav", "emily-rose"),
        ("Émilie.flac", "emilie"),
        ("Straße_2.wav", "strae-2"),
        ("../../etc/passwd", "passwd"),
        ("C:\\voices\\Anna.wav", "anna"),
        (".hidden", "hidden"),
        ("a\0b.wav", "a-b"),
        ("ref-anna.wav", "voice-ref-anna"),  # the prefix is not for anybody to choose
        ("con.wav", "con"),
    ],
)
def test_the_id_is_made_of_the_files_name(filename: str, voice_id: str) -> None:
    assert voice_id_of(filename, "predefined") == voice_id


@given(st.text(max_size=300), st.sampled_from(["predefined", "reference"]))
def test_every_name_makes_an_id_and_the_same_each_time(filename: str, type: Any) -> None:
    voice_id = voice_id_of(filename, type)
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", voice_id)
    assert voice_id == voice_id_of(filename, type)
    assert voice_id.startswith("ref-") == (type == "reference")


def test_names_in_other_scripts_are_told_apart() -> None:
    assert voice_id_of("音声.wav", "reference") != voice_id_of("声音.wav", "reference")


# -- previews


def test_previews_used_longest_ago_are_forgotten() -> None:
    a, b, c = (Voice(name, name, "predefined", "en", True, True) for name in "abc")
    previews = Previews[Voice](lambda voice: True, max_bytes=20)
    previews.keep(a, b"." * 8)
    previews.keep(b, b"." * 8)
    assert previews.get(a)
    previews.keep(c, b"." * 8)
    assert previews.get(b) is None
    assert previews.get(a)
    assert previews.get(c)
    previews.keep(c, b"." * 100)  # alone it is too much
    assert not any(map(previews.get, (a, b, c)))


def test_a_preview_of_what_was_deleted_is_not_kept() -> None:
    voice = Voice("a", "A", "predefined", "en", False, True)
    previews = Previews[Voice](lambda voice: False)
    previews.keep(voice, b"wav")
    assert previews.get(voice) is None


def test_only_voices_that_there_are_keep_their_previews() -> None:
    a, b = (Voice(name, name, "predefined", "en", True, True) for name in "ab")
    previews = Previews[Voice](lambda voice: True)
    previews.keep(a, b"wav")
    previews.keep(b, b"wav")
    previews.retain([b])
    assert previews.get(a) is None
    assert previews.get(b)


def test_a_preview_goes_with_its_voice(server: Served) -> None:
    upload = {"files": as_files(Gone_wav=recording(77)), "data": CONSENT}
    for round in range(2):
        taken = server.owner.post("/files/predefined-voices/upload", **upload)
        assert taken.status_code == 200, (round, taken.text)
        assert server.anybody.get("/tts/voices/gone/preview").status_code == 200
        voice = anyio.run(server.services.catalogue.find, "gone")
        assert server.services.catalogue.previews.get(voice)
        assert server.owner.delete("/files/predefined-voices/gone.wav").status_code == 200
        assert server.services.catalogue.previews.get(voice) is None
        assert server.anybody.get("/tts/voices/gone/preview").status_code == 404


def test_another_engine_has_other_previews(server: Served) -> None:
    assert server.anybody.get("/tts/voices/anna/preview").status_code == 200
    voice = anyio.run(server.services.catalogue.find, "anna")
    assert server.services.catalogue.previews.get(voice)
    assert server.owner.post("/config/restart").status_code == 200
    assert anyio.run(server.services.catalogue.find, "anna") == voice
    assert server.services.catalogue.previews.get(voice) is None
