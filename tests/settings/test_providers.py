"""The contract's providers: plain keys, copies, and values that are right the first time."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from realtime_stts.errors import SettingsError
from realtime_stts.protocols import ConfigurationProvider
from realtime_stts.settings import (
    DictConfigurationProvider,
    EnvConfigurationProvider,
    Settings,
    SettingsProvider,
    SettingsStore,
    YAMLConfigurationProvider,
    create_default_config,
    create_test_config,
    validate,
)

TREE = {
    "stt_engine": {"model_size": "tiny"},
    "tts_engine": {"voice_id": "ann"},
    "conversation": {"max_history_length": 3},
    "pause_detection": {"aggressiveness": 1},
    "audio": {"sample_rate": 8000},
}


def sections(provider: ConfigurationProvider) -> dict[str, Any]:
    return {
        "stt_engine": provider.get_stt_config(),
        "tts_engine": provider.get_tts_config(),
        "conversation": provider.get_conversation_config(),
        "pause_detection": provider.get_pause_detection_config(),
        "audio": provider.get_audio_config(),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text("stt_engine: {model_size: tiny}\n")
    return path


def edit(path: Path, text: str) -> None:
    """Change a file, in a moment that any clock can tell from the last one."""
    at = path.stat().st_mtime_ns + 10**9 if path.exists() else 10**18
    path.write_text(text)
    os.utime(path, ns=(at, at))


def test_all_are_providers(path: Path) -> None:
    for provider in (
        DictConfigurationProvider({}),
        YAMLConfigurationProvider(path),
        EnvConfigurationProvider(environ={}),
        SettingsProvider(Settings()),
    ):
        assert isinstance(provider, ConfigurationProvider)


class TestDict:
    def test_gives_each_section(self) -> None:
        assert sections(DictConfigurationProvider(TREE)) == TREE

    def test_a_section_that_is_not_there_or_empty_is_empty(self) -> None:
        assert DictConfigurationProvider({"audio": None}).get_audio_config() == {}
        assert DictConfigurationProvider().get_stt_config() == {}

    def test_a_section_that_is_a_value_is_an_error(self) -> None:
        with pytest.raises(SettingsError, match="audio: is a section"):
            DictConfigurationProvider({"audio": 3}).get_audio_config()

    def test_copies_in_and_out(self) -> None:
        given: dict[str, Any] = {"audio": {"rates": [1]}}
        provider = DictConfigurationProvider(given)
        change: dict[str, Any] = {"stt_engine": {"words": ["a"]}}
        provider.update_config(change)
        given["audio"]["rates"].append(2)
        change["stt_engine"]["words"].append("b")
        provider.get_audio_config()["rates"].append(3)
        provider.get_all_config()["audio"]["rates"].append(4)
        provider.get_value("audio.rates").append(5)
        assert provider.get_all_config() == {
            "audio": {"rates": [1]},
            "stt_engine": {"words": ["a"]},
        }

    def test_updates_deep(self) -> None:
        provider = DictConfigurationProvider({"a": {"b": {"c": 1, "d": 2}}, "e": {"f": 1}})
        provider.update_config({"a": {"b": {"c": 3}}, "e": 4, "g": {"h": 5}})
        assert provider.get_all_config() == {
            "a": {"b": {"c": 3, "d": 2}},
            "e": 4,
            "g": {"h": 5},
        }

    def test_sets_and_gets_by_paths(self) -> None:
        provider = DictConfigurationProvider()
        provider.set_value("a.b.c", [1])
        provider.set_value("a.d", None)
        assert provider.get_value("a") == {"b": {"c": [1]}, "d": None}
        assert provider.get_value("a.d", 3) is None
        assert provider.get_value("a.x.y", 3) == 3
        assert provider.get_value("a.b.c.d") is None
        with pytest.raises(SettingsError, match=r"a\.b\.c: is a value, and cannot hold d"):
            provider.set_value("a.b.c.d", 1)

    def test_clears(self) -> None:
        provider = DictConfigurationProvider(TREE)
        provider.clear_config()
        assert provider.get_all_config() == {}

    def test_presets(self) -> None:
        assert create_default_config().get_tts_config() == {
            "device": "auto",
            "temperature": 0.7,
            "speed_factor": 1.0,
        }
        small = create_test_config()
        assert small.get_stt_config() == {"model_size": "tiny", "device": "cpu", "language": None}
        assert create_default_config().get_stt_config()["model_size"] == "base"


class TestYAML:
    def test_gives_each_section_and_more(self, path: Path) -> None:
        text = "websocket: {a: 1}\nmiddleware: {b: 2}\nlogging: {c: 3}\naudio: {format: pcm}\n"
        path.write_text(text)
        provider = YAMLConfigurationProvider(path)
        assert provider.get_websocket_config() == {"a": 1}
        assert provider.get_middleware_config() == {"b": 2}
        assert provider.get_logging_config() == {"c": 3}
        assert provider.get_value("audio.format") == "pcm"
        assert {*provider.get_all_config()} == {"websocket", "middleware", "logging", "audio"}

    def test_puts_variables_in_their_place(self, path: Path) -> None:
        path.write_text("audio: {sample_rate: '${RATE:8000}', format: '${FORMAT}'}\n")
        environ = {"FORMAT": "pcm"}
        assert YAMLConfigurationProvider(path, environ=environ).get_audio_config() == {
            "sample_rate": 8000,
            "format": "pcm",
        }
        plain = YAMLConfigurationProvider(path, env_substitution=False, environ={})
        assert plain.get_value("audio.format") == "${FORMAT}"
        with pytest.raises(SettingsError, match=r"audio\.format: the variable FORMAT is not set"):
            YAMLConfigurationProvider(path, environ={})

    def test_a_file_must_be_there_unless_it_need_not(self, tmp_path: Path) -> None:
        path = tmp_path / "no.yaml"
        with pytest.raises(SettingsError, match="there is no such file"):
            YAMLConfigurationProvider(path)
        provider = YAMLConfigurationProvider(path, required=False, auto_reload=True)
        assert (provider.get_all_config(), provider.config_exists()) == ({}, False)
        assert provider.last_modified() is None
        edit(path, "audio: {channels: 1}\n")
        assert provider.get_audio_config() == {"channels": 1}
        assert provider.config_exists()
        assert provider.last_modified() == 10**9

    def test_the_access_that_notices_has_the_new_value(self, path: Path) -> None:
        provider = YAMLConfigurationProvider(path, auto_reload=True)
        for size in ("base", "small", "medium"):
            edit(path, f"stt_engine: {{model_size: {size}}}\n")
            assert provider.get_stt_config() == {"model_size": size}

    def test_without_auto_reload_it_waits_to_be_told(self, path: Path) -> None:
        provider = YAMLConfigurationProvider(path)
        edit(path, "stt_engine: {model_size: base}\n")
        assert provider.get_stt_config() == {"model_size": "tiny"}
        provider.reload_config()
        assert provider.get_stt_config() == {"model_size": "base"}

    def test_a_file_that_breaks_is_logged_once_and_the_last_good_values_hold(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        provider = YAMLConfigurationProvider(path, auto_reload=True)
        edit(path, "stt_engine: [\n")
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                assert provider.get_stt_config() == {"model_size": "tiny"}
        assert len(caplog.records) == 1
        assert "line 2, column 1" in caplog.text
        with pytest.raises(SettingsError):
            provider.reload_config()
        edit(path, "stt_engine: {model_size: base}\n")
        assert provider.get_stt_config() == {"model_size": "base"}


class TestSettings:
    def test_an_engine_detects_the_language_unless_one_is_set(self) -> None:
        assert SettingsProvider(Settings()).get_stt_config()["language"] is None
        german = validate({"stt_engine.language": "de"}).checked()
        assert SettingsProvider(german).get_stt_config()["language"] == "de"

    def test_speech_is_left_to_the_engine_but_for_what_was_set(self) -> None:
        assert SettingsProvider(Settings()).get_tts_config() == {}
        changed = validate(
            {"generation_defaults.temperature": 0.3, "tts_engine.default_voice_id": "ann"}
        ).checked()
        assert SettingsProvider(changed).get_tts_config() == {"temperature": 0.3, "voice_id": "ann"}

    def test_other_sections_are_plain(self) -> None:
        provider = SettingsProvider(Settings())
        assert provider.get_conversation_config()["max_history_length"] == 50
        assert provider.get_conversation_config()["policy"]["end_of_turn"] == 0.6
        assert provider.get_pause_detection_config()["aggressiveness"] == 2
        assert provider.get_audio_config() == {
            "sample_rate": 16_000,
            "channels": 1,
            "format": "pcm",
        }

    def test_a_stores_changes_count(self) -> None:
        store = SettingsStore(environ={})
        provider = SettingsProvider(store)
        store.update({"conversation.max_history_length": 7})
        assert provider.get_conversation_config()["max_history_length"] == 7
