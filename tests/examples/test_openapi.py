"""The API as it describes itself: complete, and true of whatever is sent.

Schemathesis makes requests of the description, fit and unfit ones, and compares the answers
with it. Of its checks these are left out:

* `ignored_auth`: most endpoints ask for no token until `server.use_auth` is set, which OpenAPI
  cannot say; `test_security` has who may do what.
* `positive_data_acceptance`: what fits the description may still be no voice, no recording and
  no setting; it is refused with 4xx.
* `use_after_free`, `ensure_resource_availability`: they are about several requests in order.

No endpoint is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
pytest.importorskip("schemathesis")
pytest.importorskip("websockets")

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from websockets.sync.client import connect

from tests.examples.apps import OWNER, running
from tests.examples.management_tools import app_in

_EXAMPLES = 6  # of each endpoint and each kind of data

_CHECKS = [
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
# A request without a token is none that goes wrong: see `ignored_auth` above.
_CONFIG = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})


def _described() -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        described: dict[str, Any] = app_in(Path(folder)).openapi()
        return described


DESCRIPTION = _described()
OPERATIONS = {
    operation.ok().label: operation.ok()
    for operation in schemathesis.openapi.from_dict(
        DESCRIPTION, config=_CONFIG
    ).get_all_operations()
}


# The contract's table, with the endpoints that its documentation names and nobody had built.
CONTRACT = """
POST /tts
POST /v1/audio/speech
POST /v1/audio/transcriptions
GET /v1/models
GET /tts/voices
GET /tts/voices/{}
POST /tts/voices/validate
GET /tts/middleware/status
POST /tts/middleware/reload
GET /tts/statistics
POST /stt
POST /stt/stream
GET /stt/models
GET /stt/status
GET /stt/config
POST /stt/reload
POST /conversation
GET /conversation/status
POST /conversation/reload
GET /config
POST /config/save
POST /config/update
POST /config/reset
POST /config/restart
POST /config/validate
GET /config/current
GET /config/defaults
GET /config/validation
GET /config/schema
GET /config/environment
POST /files/reference-audio/upload
POST /files/predefined-voices/upload
GET /files/reference-audio
GET /files/predefined-voices
GET /files/reference-audio/{}
DELETE /files/reference-audio/{}
DELETE /files/predefined-voices/{}
GET /files/reference-audio/{}/info
GET /files/predefined-voices/{}/info
GET /files/storage/usage
GET /files/storage/health
POST /files/storage/cleanup
POST /files/cleanup
POST /files/validate
GET /files/supported_formats
GET /ws/conversation/status
GET /ws/conversation/config
POST /ws/conversation/reload
GET /ws/conversation/migration-info
GET /health
GET /api/health/detailed
GET /info
GET /api/ui/initial-data
GET /api/analytics/usage
GET /api/metrics/performance
POST /save_settings
POST /reset_settings
POST /restart_server
POST /upload_reference
POST /upload_predefined_voice
GET /get_reference_files
GET /get_predefined_voices
"""
HIDDEN = (
    ("POST", "/stt/legacy"),
    ("POST", "/conversation/legacy"),
    ("POST", "/tts/v1/audio/speech"),
    ("GET", "/"),
    ("GET", "/ui/app.js"),
    ("GET", "/docs"),
)
SOCKETS = (
    "/ws/transcribe",
    "/ws/conversation",
    "/ws/conversation/v2",
    "/ws/conversation/custom",
    "/ws/conversation/test",
    "/v1/realtime",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(app_in(tmp_path_factory.mktemp("openapi"))) as url:
        yield url


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {OWNER}"
        yield session


# -- complete


def test_every_endpoint_of_the_contract_is_there() -> None:
    described = {
        f"{method.upper()} {re.sub('{[^}]*}', '{}', path)}"
        for path, methods in DESCRIPTION["paths"].items()
        for method in methods
    }
    assert {*CONTRACT.split("\n")} - {""} <= described


@pytest.mark.parametrize(("method", "path"), HIDDEN)
def test_what_is_not_described_is_there_too(
    url: str, session: requests.Session, method: str, path: str
) -> None:
    answer = session.request(method, f"{url}{path}", timeout=20)
    assert answer.status_code not in (404, 405)


@pytest.mark.parametrize("path", SOCKETS)
def test_every_socket_is_there(url: str, path: str) -> None:
    address = f"ws{url.removeprefix('http')}{path}"
    token = {"Authorization": f"Bearer {OWNER}"}
    with connect(address, additional_headers=token, origin=None) as socket:
        assert socket.response is not None
        assert socket.response.status_code == 101


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_endpoint_is_explained(label: str) -> None:
    method, path = label.split(" ")
    operation = DESCRIPTION["paths"][path][method.lower()]
    assert operation["summary"]
    assert operation["tags"]
    assert any(status.startswith("2") for status in operation["responses"])
    for status, response in operation["responses"].items():
        assert response["description"], status


# -- true


def _can_be_wrong(operation: Any) -> bool:
    return any(operation.iter_parameters()) or bool(operation.body)


@pytest.mark.parametrize(
    ("label", "mode"),
    [
        *((label, GenerationMode.POSITIVE) for label in OPERATIONS),
        *(
            (label, GenerationMode.NEGATIVE)
            for label, operation in OPERATIONS.items()
            if _can_be_wrong(operation)
        ),
    ],
)
def test_answers_are_as_described(
    url: str, session: requests.Session, label: str, mode: GenerationMode
) -> None:
    operation = OPERATIONS[label]

    @settings(
        max_examples=_EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call(base_url=url, session=session, timeout=20)
        case.validate_response(response, checks=_CHECKS)

    try:
        ask()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE
        pytest.skip("whatever is sent fits: every text is an id")
