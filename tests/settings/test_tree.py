"""The tree: the contract's keys and defaults, and the right switches."""

from __future__ import annotations

from typing import Any

import pytest

from realtime_stts.settings import validate
from realtime_stts.settings._validation import LEAVES

CONTRACT: dict[str, Any] = {
    "server.port": 8000,
    "server.use_auth": False,
    "server.auth_username": "user",
    "server.log_file_max_size_mb": 10,
    "server.log_file_backup_count": 5,
    "server.enable_performance_monitor": False,
    "model.repo_id": "ResembleAI/chatterbox",
    "tts_engine.device": "auto",
    "stt_engine.device": "auto",
    "stt_engine.model_size": "base",
    "stt_engine.language": "auto",
    "generation_defaults.temperature": 0.8,
    "generation_defaults.exaggeration": 0.5,
    "generation_defaults.cfg_weight": 0.5,
    "generation_defaults.seed": 0,
    "generation_defaults.speed_factor": 1.0,
    "generation_defaults.language": "en",
    "audio_output.format": "wav",
    "audio_output.sample_rate": 24_000,
    "audio_output.max_reference_duration_sec": 30.0,
    "audio.sample_rate": 16_000,
    "conversation.max_history_length": 50,
    "ui.show_language_select": True,
    "ui.max_predefined_voices_in_dropdown": 20,
    "ui_state.last_voice_mode": "predefined",
    "ui_state.last_chunk_size": 120,
    "ui_state.last_split_text_enabled": True,
    "ui_state.theme": "dark",
    "debug.save_intermediate_audio": False,
    "analytics.enable": True,
}


@pytest.mark.parametrize(("path", "default"), CONTRACT.items())
def test_the_contracts_keys_have_its_defaults(path: str, default: Any) -> None:
    assert LEAVES[path].default == default


def test_nobody_comes_in_by_default_from_elsewhere_or_with_a_known_password() -> None:
    assert LEAVES["server.host"].default == "127.0.0.1"
    assert LEAVES["server.auth_password"].default is None


def test_what_needs_a_restart() -> None:
    needs = {path.partition(".")[0] for path, each in LEAVES.items() if each.restart}
    assert needs == {
        "server", "model", "stt_engine", "tts_engine", "paths", "middleware", "analytics"
    }  # fmt: skip
    hot = {"server.log_level", "stt_engine.language", "tts_engine.default_voice_id"}
    assert hot == {
        path
        for path, each in LEAVES.items()
        if path.partition(".")[0] in needs and not each.restart
    }


def test_a_middleware_that_refuses_calls_or_changes_results_must_be_asked_for() -> None:
    on = {
        path.split(".")[1]
        for path, each in LEAVES.items()
        if path.startswith("middleware.") and path.endswith(".enabled") and each.default
    }
    assert on == {"redaction", "timing", "logging"}


@pytest.mark.parametrize(
    ("middleware", "options", "message"),
    [
        ("authentication", {"allow_anonymous": True}, "go together"),
        ("cache", {"max_bytes": 1, "max_entry_bytes": 2}, "at most max_bytes"),
        ("fallback", {"enabled": True}, "stands by"),
        ("timeout", {"first": None}, "first, between or total"),
        ("speech_guard", {"slowest": 40}, "below fastest"),
    ],
)
def test_options_that_do_not_go_together(
    middleware: str, options: dict[str, Any], message: str
) -> None:
    found = validate({"middleware": {middleware: options}})
    assert message in found.errors[f"middleware.{middleware}"]


def test_authentication_that_lets_nobody_in_is_odd() -> None:
    path = "middleware.authentication.enabled"
    assert [*validate({path: True}).warnings] == [path]
    tokens = {"server.auth_tokens": {"alice": {"token": "t" * 16}}}
    assert validate({path: True, **tokens}).warnings == {}
