"""Errors and warnings by path; messages that help and give nothing away."""

from __future__ import annotations

from typing import Any

import pytest

from realtime_stts.errors import SettingsError
from realtime_stts.settings import Settings, validate
from realtime_stts.settings._validation import LEAVES, canonical, check

TOKENS = {"alice": {"token": "x" * 16}}


class TestValidate:
    def test_nothing_is_valid_and_odd_in_nothing(self) -> None:
        found = validate({})
        assert (found.valid, found.errors, found.warnings) == (True, {}, {})
        assert found.settings == Settings()
        assert found.checked() == Settings()

    def test_a_part_is_enough_and_keys_may_be_paths(self) -> None:
        found = validate({"server": {"port": "8004"}, "ui_state.theme": "light"})
        assert found.checked().server.port == 8004
        assert found.checked().ui.title == Settings().ui.title
        assert found.checked().ui_state.theme == "light"

    @pytest.mark.parametrize(
        ("data", "path", "message"),
        [
            ({"server": {"port": "abc"}}, "server.port", "valid integer"),
            ({"server": {"port": 70_000}}, "server.port", "less than or equal to 65535"),
            ({"server": {"port": True}}, "server.port", "true is a switch"),
            ({"server": "oops"}, "server", "is a section"),
            ({"server": {"prot": 1}}, "server.prot", "no such setting; is server.port meant?"),
            ({"colours": {}}, "colours", "there is no such setting"),
            ({"stt_engine": {"device": "quantum"}}, "stt_engine.device", "pattern"),
            ({"server": {"use_auth": True}}, "server", "nobody could come in"),
            (
                {"server": {"auth_tokens": {"alice": {"token": "short"}}}},
                "server.auth_tokens.alice.token",
                "at least 16",
            ),
            (
                {"server": {"auth_tokens": {**TOKENS, "bob": TOKENS["alice"]}}},
                "server",
                "two of auth_tokens are the same",
            ),
            ({"pause_detection": {"start_above": 0.3}}, "pause_detection", "stop_below"),
            (
                {"pause_detection": {"engine": "webrtc", "frame_duration_ms": 25}},
                "pause_detection",
                "10, 20 or 30",
            ),
        ],
    )
    def test_what_is_wrong_is_named_by_its_path(
        self, data: dict[str, Any], path: str, message: str
    ) -> None:
        found = validate(data)
        assert not found.valid
        assert found.settings is None
        assert [*found.errors] == [path]
        assert message in found.errors[path]
        with pytest.raises(SettingsError) as caught:
            found.checked()
        assert caught.value.problems == found.errors

    def test_all_errors_are_told_at_once(self) -> None:
        found = validate({"server": {"port": 0, "hsot": ""}, "ui": 3})
        assert {*found.errors} == {"server.port", "server.hsot", "ui"}

    def test_what_is_right_is_looked_at_beside_what_is_wrong(self) -> None:
        found = validate({"server": {"port": 80, "hsot": ""}, "ui": 3})
        assert {*found.errors} == {"server.hsot", "ui"}
        assert {*found.warnings} == {"server.port"}
        wrong_together = {"server.use_auth": True, "limits.max_upload_mb": 501}
        assert {*validate(wrong_together).warnings} == {"limits.max_upload_mb"}
        hopeless = {"server.port": 0, "middleware.timeout.first": None}
        assert validate(hopeless).warnings == {}

    def test_no_message_repeats_a_value(self) -> None:
        found = validate({"server": {"auth_password": ["hunter2"], "port": "hunter2"}})
        assert "hunter2" not in repr(found)

    def test_an_error_names_the_layer_that_it_came_from(self) -> None:
        found = check({"server.port": 0}, lambda path: f"the file of {path}")
        assert found.errors["server.port"].endswith(" (from the file of server.port)")


class TestNamesOfThePast:
    def test_generation_defaults_were_called_gen(self) -> None:
        found = validate({"gen": {"default_temperature": 0.11}})
        assert found.checked().generation_defaults.temperature == 0.11
        assert found.warnings == {
            "gen.default_temperature": "is called generation_defaults.temperature now"
        }

    def test_the_name_of_today_counts(self) -> None:
        both = {"gen.default_seed": 1, "generation_defaults": {"seed": 2}}
        flat, warnings = canonical(both)
        assert flat == {"generation_defaults.seed": 2}
        assert warnings["gen.default_seed"].endswith("which is there too and counts")

    def test_what_is_gone_is_a_warning(self) -> None:
        found = validate({"server": {"use_ngrok": True}})
        assert found.valid
        assert found.warnings["server.use_ngrok"].startswith("does nothing any more: ")


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"server": {"port": 80}}, "server.port"),
        ({"server": {"host": "0.0.0.0"}}, "server.host"),
        ({"server": {"host": "speech.example.org"}}, "server.host"),
        (
            {"server": {"cors_origins": ["*"], "cors_allow_credentials": True}},
            "server.cors_origins",
        ),
        ({"server": {"auth_password": "password"}}, "server.auth_password"),
        ({"limits": {"max_upload_mb": 501}}, "limits.max_upload_mb"),
        ({"tts_engine": {"engine": "chatterbox:turbo"}}, "tts_engine.default_voice_id"),
        ({"stt_engine": {"model_size": "tiny"}}, "stt_engine.model_size"),
        ({"tts_engine": {"device": "cuda"}}, "tts_engine.device"),
        ({"middleware": {"logging": {"log_text": True}}}, "middleware.logging.log_text"),
        (
            {"analytics": {"path": "a.db", "pseudonymous": True}},
            "middleware.redaction.pseudonym_key",
        ),
        ({"debug": {"save_intermediate_audio": True}}, "debug.save_intermediate_audio"),
    ],
)
def test_what_is_odd_is_a_warning(data: dict[str, Any], path: str) -> None:
    found = validate(data)
    assert found.valid
    assert [*found.warnings] == [path]


@pytest.mark.parametrize(
    "data",
    [
        {"server": {"host": "0.0.0.0", "use_auth": True, "auth_tokens": TOKENS}},
        {"server": {"host": "localhost"}},
        {"server": {"host": "::1"}},
        {"stt_engine": {"engine": "whisper", "model_size": "tiny", "device": "cuda:1"}},
        {"tts_engine": {"engine": "chatterbox", "device": "cpu", "default_voice_id": "v"}},
        {"server": {"cors_origins": ["*"]}},
    ],
)
def test_what_is_usual_is_none(data: dict[str, Any]) -> None:
    assert validate(data).warnings == {}


def test_every_default_is_valid_by_itself() -> None:
    assert validate({path: each.default for path, each in LEAVES.items()}).valid
