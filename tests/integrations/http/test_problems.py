"""What errors are to a client."""

from __future__ import annotations

import inspect
import json

import pytest

pytest.importorskip("fastapi")

from realtime_stts import errors
from realtime_stts.errors import (
    AudioContainerError,
    AudioFormatError,
    AudioLimitError,
    AuthenticationError,
    EngineError,
    EngineLoadError,
    EngineRefusedError,
    EngineTimeoutError,
    MissingExtraError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    RealtimeSTTSError,
    SettingsError,
    UnknownVoiceError,
    VoiceError,
)
from realtime_stts.integrations._http._problems import INTERNAL, code_of
from realtime_stts.integrations.starlette import Problem, problem_of

SECRET = "/home/anna/voices/her secret.wav"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (AudioContainerError("a PNG is no audio"), 415, "unsupported_audio"),
        (AudioFormatError("no audio in it"), 422, "unusable_audio"),
        (AudioLimitError("longer than 60 s"), 413, "audio_too_long"),
        (UnknownVoiceError("anna", ["ben"]), 404, "unknown_voice"),
        (VoiceError("too short"), 422, "unusable_voice"),
        (SettingsError({"server.port": "is no number"}), 422, "invalid_settings"),
        (AuthenticationError("no token"), 401, "not_authenticated"),
        (PermissionDeniedError("no"), 403, "not_permitted"),
        (RateLimitError("too many"), 429, "too_many_requests"),
        (OverloadedError("full"), 503, "overloaded"),
        (EngineTimeoutError("tts", 3.0), 503, "engine_timeout"),
        (EngineLoadError("tts", SECRET), 503, "engine_unavailable"),
        (EngineRefusedError("tts", SECRET), 422, "engine_refused"),
        (EngineError("tts", SECRET), 500, "engine_failed"),
        (MissingExtraError("Whisper", "whisper"), 503, "engine_unavailable"),
        (ValueError(SECRET), 500, "internal_error"),
    ],
)
def test_each_error_has_a_status_and_a_code(error: Exception, status: int, code: str) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.code) == (status, code)
    assert SECRET not in str(problem.detail)
    assert "ben" not in str(problem.detail), "other users' voices are nobody's business"


def test_no_error_of_the_library_is_forgotten() -> None:
    """But those that cannot reach a request; and a root is only a root."""
    elsewhere = {
        "RealtimeSTTSError",
        "AudioError",
        "AudioDeviceError",
        "TurnError",
        "SessionClosedError",
        "SettingsError",  # above
    }
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, RealtimeSTTSError) and name not in elsewhere:
            assert problem_of(kind.__new__(kind)) != INTERNAL, f"{name} would be a bare 500"


def test_what_the_caller_did_wrong_is_said() -> None:
    assert problem_of(AudioLimitError("longer than 60 s")).detail == "longer than 60 s"
    wrong = {"server.port": "is no number"}
    assert problem_of(SettingsError(wrong)).body("id")["detail"] == wrong


def test_whoever_may_ask_again_is_told_when() -> None:
    assert problem_of(RateLimitError("", retry_after=2.2)).headers == {"Retry-After": "3"}
    assert problem_of(OverloadedError("")).headers == {"Retry-After": "1"}
    assert problem_of(OverloadedError("", retry_after=0.0)).headers == {"Retry-After": "1"}
    assert problem_of(VoiceError("")).headers == {}


def test_whoever_is_not_known_is_told_how_to_be() -> None:
    assert problem_of(AuthenticationError("")).headers == {"WWW-Authenticate": "Bearer"}


def test_a_body_is_json_with_the_requests_id() -> None:
    body = Problem(404, "not_found", "There is none.").body("abc")
    assert json.loads(json.dumps(body)) == {
        "detail": "There is none.",
        "error_code": "not_found",
        "request_id": "abc",
    }


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "not_found"), (409, "conflict"), (418, "bad_request"), (502, "internal_error")],
)
def test_a_bare_status_has_a_code_too(status: int, code: str) -> None:
    assert code_of(status) == code
