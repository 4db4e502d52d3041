"""The contract's provider of environment variables, and files of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import pytest

from realtime_stts.errors import SettingsError
from realtime_stts.settings import EnvConfigurationProvider, load_env_file


def provider(**environ: str) -> EnvConfigurationProvider:
    return EnvConfigurationProvider(environ=environ)


def test_has_the_contracts_defaults() -> None:
    assert provider().get_all_config() == {
        "stt_engine": {
            "model_size": "base",
            "device": "auto",
            "language": None,
            "model_path": None,
            "cache_dir": None,
        },
        "tts_engine": {
            "device": "auto",
            "model_path": None,
            "temperature": 0.7,
            "speed_factor": 1.0,
            "voice_id": None,
            "cache_dir": None,
        },
        "conversation": {
            "response_mode": "echo",
            "max_history_length": 50,
            "enable_middleware": True,
            "timeout_seconds": 30.0,
        },
        "pause_detection": {
            "aggressiveness": 2,
            "min_speech_frames": 3,
            "min_pause_frames": 10,
            "frame_duration_ms": 30,
            "enable_webrtc": True,
        },
        "audio": {
            "sample_rate": 16_000,
            "channels": 1,
            "format": "pcm",
            "buffer_duration": 10.0,
            "enable_normalization": True,
            "target_level": 0.95,
        },
    }


def test_reads_each_section_with_plain_keys_and_types() -> None:
    env = provider(
        CONV_STT_ENGINE_MODEL_SIZE="tiny",
        CONV_TTS_ENGINE_TEMPERATURE="0.5",
        CONV_CONVERSATION_ENABLE_MIDDLEWARE="off",
        CONV_PAUSE_DETECTION_AGGRESSIVENESS="3",
        CONV_AUDIO_CHANNELS="2",
    )
    assert env.get_stt_config()["model_size"] == "tiny"
    assert env.get_tts_config()["temperature"] == 0.5
    assert env.get_conversation_config()["enable_middleware"] is False
    assert env.get_pause_detection_config()["aggressiveness"] == 3
    assert env.get_audio_config()["channels"] == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), ("YES", True), (" on ", True), ("0", False), ("No", False)],
)
def test_switches(text: str, value: bool) -> None:
    assert provider(CONV_X=text).get_value("x", type=bool) is value


@pytest.mark.parametrize("kind", [int, bool, float])
def test_what_is_of_another_type_is_an_error_that_does_not_quote_it(kind: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        provider(CONV_A_B="secret").get_value("a.b", 1, kind)
    assert caught.value.problems == {"a.b": f"CONV_A_B is no {kind.__name__}"}


def test_any_path_with_any_default() -> None:
    assert provider().get_value("a.b", 3, int) == 3
    assert provider(CONV_A_B="x").get_value("a.b") == "x"


def test_prefix_separator_and_case() -> None:
    environ = {"my_audio__channels": "2", "MY_AUDIO__CHANNELS": "3", "OTHER": "4"}
    any_case = EnvConfigurationProvider("my_", "__", environ=environ)
    exact = EnvConfigurationProvider("my_", "__", case_sensitive=True, environ=environ)
    assert any_case.get_audio_config()["channels"] == 3
    assert exact.get_audio_config()["channels"] == 2
    assert any_case.list_env_vars() == {"MY_AUDIO__CHANNELS": "3"}
    assert exact.list_env_vars() == {"my_audio__channels": "2"}


def test_the_environment_is_the_process_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV_AUDIO_CHANNELS", "2")
    assert EnvConfigurationProvider().get_audio_config()["channels"] == 2


class TestFile:
    TEXT = (
        "# mine\n\nCONV_A=1\nexport CONV_B = 'x # y' \nCONV_C=\"\"\nCONV_D=a # b\nCONV_E=x=y\n"
        "CONV_F='\n"
    )
    VALUES: ClassVar = {
        "CONV_A": "1", "CONV_B": "x # y", "CONV_C": "", "CONV_D": "a", "CONV_E": "x=y",
        "CONV_F": "'",
    }  # fmt: skip

    def test_sets_what_is_not_set(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text(self.TEXT)
        environ = {"CONV_A": "9"}
        assert load_env_file(tmp_path / ".env", environ) == self.VALUES
        assert environ == {**self.VALUES, "CONV_A": "9"}
        load_env_file(tmp_path / ".env", environ, override=True)
        assert environ == self.VALUES

    def test_sets_the_process_s(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CONV_A", "9")
        (tmp_path / ".env").write_text("CONV_A=1")
        load_env_file(tmp_path / ".env", override=True)
        assert os.environ["CONV_A"] == "1"

    @pytest.mark.parametrize("line", ["nothing", "1A=2", "=x", "a b=1"])
    def test_a_line_that_is_none_sets_nothing(self, line: str, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text(f"A=1\n{line}\n")
        environ: dict[str, str] = {}
        with pytest.raises(SettingsError, match="line 2: no NAME=value"):
            load_env_file(tmp_path / ".env", environ)
        assert environ == {}
