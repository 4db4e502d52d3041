"""Models on the disk, sound devices, and settings that can or cannot work here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("rich")

from realtime_stts.cli import _checkup
from realtime_stts.cli._checkup import (
    ModelFiles,
    Problem,
    SettingsState,
    check_engines,
    check_settings,
    find_models,
    find_sound,
)
from realtime_stts.engines import EngineEntry
from realtime_stts.errors import AudioDeviceError, MissingExtraError
from realtime_stts.settings import Settings, validate

OFFERED = {
    "stt": [
        EngineEntry("pocketsphinx", "stt", "p", None),
        EngineEntry("whisper", "stt", "p", None),
        EngineEntry("deaf", "stt", "p", 'pip install "deaf"'),
    ],
    "tts": [
        EngineEntry("espeak", "tts", "p", None),
        EngineEntry("chatterbox", "tts", "p", None),
    ],
}


def settings(data: dict[str, Any]) -> Settings:
    return validate(data).checked()


class TestModels:
    def test_whispers_are_in_its_cache_and_where_settings_say(self, tmp_path: Path) -> None:
        for folder in ("cache/whisper", "mine", "models"):
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / f"{folder[:4]}.pt").write_bytes(b"12345")
        found = find_models(
            settings(
                {
                    "stt_engine.download_root": str(tmp_path / "mine"),
                    "paths.model_cache": str(tmp_path / "models"),
                }
            ),
            {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        )
        assert [(each.engine, each.name, each.size) for each in found] == [
            ("whisper", "cach", 5),
            ("whisper", "mine", 5),
            ("whisper", "mode", 5),
        ]

    @pytest.mark.parametrize(
        ("variable", "folder"), [("HF_HUB_CACHE", "."), ("HF_HOME", "hub"), ("", "")]
    )
    def test_chatterboxs_are_in_the_cache_of_hugging_face(
        self, variable: str, folder: str, tmp_path: Path
    ) -> None:
        environ = {variable: str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
        hub = tmp_path / (folder or "huggingface/hub")
        blobs = hub / "models--ResembleAI--chatterbox-turbo" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / "a").write_bytes(b"123")
        (blobs / "b").write_bytes(b"45")
        (found,) = find_models(Settings(), environ)
        assert found == ModelFiles("chatterbox", "chatterbox-turbo", str(blobs.parent), 5)

    def test_without_settings_and_files_there_are_none(self, tmp_path: Path) -> None:
        assert find_models(None, {"XDG_CACHE_HOME": str(tmp_path)}) == []
        elsewhere = settings({"paths.model_cache": str(tmp_path / "no")})
        assert find_models(elsewhere, {"XDG_CACHE_HOME": str(tmp_path)}) == []

    def test_the_cache_is_the_users(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Path, "home", lambda: tmp_path)
        (tmp_path / ".cache" / "whisper").mkdir(parents=True)
        (tmp_path / ".cache" / "whisper" / "base.pt").write_bytes(b"")
        assert [each.name for each in find_models(None, {})] == ["base"]


class TestSound:
    @pytest.fixture
    def microphone(self, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        module = ModuleType("microphone")
        monkeypatch.setitem(sys.modules, "realtime_stts.integrations.microphone", module)
        monkeypatch.setattr(_checkup, "find_spec", lambda name: importlib.util.find_spec("json"))
        return module

    def test_without_the_extra_nobody_asks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_checkup, "find_spec", lambda name: None)
        assert find_sound() == (None, [])

    def test_names_the_devices(self, microphone: ModuleType) -> None:
        microphone.devices = lambda: ("0 Headset (ALSA)",)  # type: ignore[attr-defined]
        assert find_sound() == (["0 Headset (ALSA)"], [])

    @pytest.mark.parametrize(
        ("error", "problem"),
        [
            (
                MissingExtraError("A microphone", "microphone", remedy="apt install libportaudio2"),
                Problem("microphones and loudspeakers cannot be used", "apt install libportaudio2"),
            ),
            (
                AudioDeviceError("the sound system hangs"),
                Problem(
                    "the sound system hangs", "see whether the system's own recorder finds them"
                ),
            ),
        ],
    )
    def test_what_is_broken_is_a_problem(
        self, error: Exception, problem: Problem, microphone: ModuleType
    ) -> None:
        def devices() -> Any:
            raise error

        microphone.devices = devices  # type: ignore[attr-defined]
        assert find_sound() == (None, [problem])

    def test_a_message_without_a_remedy_is_shown_whole(self) -> None:
        assert _checkup._after_colon(ValueError("odd")) == "odd"


class TestSettings:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_without_a_file_they_are_defaults_and_the_environment(self) -> None:
        state, problems = check_settings(None, {"REALTIME_STTS_SERVER__PORT": "80"})
        assert problems == []
        assert (state.path, state.asked) == (None, {"server.port"})
        assert [*state.warnings] == ["server.port"]

    def test_a_variable_that_is_wrong_is_asked_for(self) -> None:
        state, (problem,) = check_settings(None, {"REALTIME_STTS_SERVER__PORT": "x"})
        assert state.settings is None
        assert problem.asked
        assert problem.what.endswith("(from REALTIME_STTS_SERVER__PORT)")
        assert problem.remedy.startswith("correct it in the variable")

    def test_a_file_here_is_read_but_nobody_asked_for_it(self, here: Path) -> None:
        (here / "config.yaml").write_text("server: {port: 80}\n")
        state, problems = check_settings(None, {"REALTIME_STTS_SERVER__HOST": "::1"})
        assert (state.path, state.asked, problems) == ("config.yaml", {"server.host"}, [])
        (here / "config.yaml").write_text("another: program\n")
        state, (problem,) = check_settings(None, {})
        assert state == SettingsState("config.yaml", None)
        assert not problem.asked
        assert problem.remedy.startswith("correct it in config.yaml")

    @pytest.mark.parametrize("by", ["option", "variable"])
    def test_a_file_that_is_named_is_asked_for(self, by: str, here: Path) -> None:
        path = here / "mine.yaml"
        path.write_text("server: {port: 81}\n")
        given = path if by == "option" else None
        environ = {} if given else {"REALTIME_STTS_CONFIG": str(path)}
        state, _ = check_settings(given, environ)
        assert (state.path, state.asked) == (str(path), {"server.port"})
        path.write_text("server: {port: [\n")
        _, (problem,) = check_settings(given, environ)
        assert problem.asked
        path.unlink()
        _, (problem,) = check_settings(given, environ)
        assert problem.what == f"{path}: there is no such file"

    def test_a_file_that_cannot_be_read(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = here / "mine.yaml"
        path.write_text("")

        def refuse(*_: Any, **__: Any) -> Any:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(_checkup, "SettingsStore", refuse)
        _, (problem,) = check_settings(path, {})
        assert problem == Problem(f"{path}: Permission denied", "make it readable", True)

    def test_files_and_folders_must_be_there(self, here: Path) -> None:
        (here / "there").mkdir()
        (here / "mine.yaml").write_text(
            "stt_engine: {engine: whisper, model_path: no.pt}\n"
            "tts_engine: {predefined_voices_path: gone, reference_audio_path: there}\n"
        )
        _, problems = check_settings(here / "mine.yaml", {})
        assert problems == [
            Problem("stt_engine.model_path: there is no file no.pt", "put it there", True),
            Problem(
                "tts_engine.predefined_voices_path: there is no folder gone", "mkdir -p gone", True
            ),
        ]


class TestEngines:
    def check(
        self,
        data: dict[str, Any],
        torch: str | None = None,
        models: list[ModelFiles] | None = None,
        asked: frozenset[str] = frozenset(),
    ) -> list[Problem]:
        state = SettingsState(None, settings(data), asked=asked)
        return [*check_engines(state, OFFERED, torch, models or [])]

    def test_the_usual_ones_run(self) -> None:
        assert self.check({}) == []
        assert [*check_engines(SettingsState(None, None), OFFERED, None, [])] == []

    def test_one_that_nobody_offers_or_that_lacks_something(self) -> None:
        data = {"stt_engine.engine": "deaf:x", "tts_engine.engine": "mute"}
        assert self.check(data, asked=frozenset({"stt_engine.engine"})) == [
            Problem("stt_engine.engine: deaf cannot be used", 'pip install "deaf"', True),
            Problem(
                "tts_engine.engine: no engine is called mute", "take one of: espeak, chatterbox"
            ),
        ]

    def test_those_that_stand_by_must_run_too(self) -> None:
        standing_by = {"enabled": True, "stt": ["pocketsphinx", "deaf"]}
        (problem,) = self.check({"middleware.fallback": standing_by})
        assert problem.what == "middleware.fallback.stt: deaf cannot be used"

    @pytest.mark.parametrize(
        ("torch", "well"),
        [
            ("2.5, on NVIDIA H100 and cpu", True),
            ("2.5, on NVIDIA H100 and mps and cpu", True),
            ("2.5, on cpu", False),
            ("2.5, on mps and cpu", False),
            (None, True),  # then the engine itself is the problem
        ],
    )
    def test_a_device_that_is_asked_for_must_be_there(self, torch: str | None, well: bool) -> None:
        data = {"stt_engine": {"engine": "whisper", "device": "cuda:1", "model_path": "mine.pt"}}
        problems = self.check(data, torch)
        assert (problems == []) is well

    @pytest.mark.parametrize(
        ("data", "spec"),
        [
            ({"stt_engine.engine": "whisper"}, "whisper:base"),
            ({"stt_engine": {"engine": "whisper", "model_size": "turbo"}}, "whisper:turbo"),
            ({"stt_engine.engine": "whisper:large"}, "whisper:large"),
            ({"tts_engine.engine": "chatterbox"}, "chatterbox"),
            ({"tts_engine.engine": "chatterbox:turbo"}, "chatterbox:turbo"),
        ],
    )
    def test_a_model_that_is_not_on_the_disk_is_a_wait(
        self, data: dict[str, Any], spec: str
    ) -> None:
        assert self.check(data) == [
            Problem(
                f"{spec} is not on the disk, and the first call would download it",
                f"realtime-stts download {spec}",
            )
        ]
        there = [
            ModelFiles("whisper", name, "", 1) for name in ("base", "large-v3", "large-v3-turbo")
        ]
        there += [ModelFiles("chatterbox", f"chatterbox{of}", "", 1) for of in ("", "-turbo")]
        assert self.check(data, models=there) == []

    @pytest.mark.parametrize(
        "data",
        [
            {"stt_engine": {"engine": "whisper", "model_path": "mine.pt"}},
            {"stt_engine.engine": "whisper:/srv/mine.pt"},
            {"tts_engine.engine": "chatterbox", "model.local_path": "mine"},
            {"tts_engine.engine": "chatterbox:/srv/mine"},
        ],
    )
    def test_ones_own_model_is_not_downloaded(self, data: dict[str, Any]) -> None:
        assert self.check(data) == []
