"""How the server says that it is well, and that it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")

import httpx
from fastapi import FastAPI

from realtime_stts.errors import EngineError
from realtime_stts.testing import FaultyTTSEngine, ScriptedTTSEngine
from tests.examples.apps import OWNER, running, scripted_app, soon

_OWNERS = {"Authorization": f"Bearer {OWNER}"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: Any) -> FastAPI:
    return scripted_app(tmp_path_factory.mktemp("system"))


@pytest.fixture(scope="module")
def server(app: FastAPI) -> Iterator[str]:
    with running(app) as url:
        yield url


class TestHealth:
    def test_is_healthy_once_the_engines_are_warm(self, server: str) -> None:
        answer = httpx.get(f"{server}/health")
        assert answer.status_code == 200
        body = answer.json()
        assert body["status"] == "healthy"
        assert body["components"] == {
            "stt_loaded": True,
            "tts_loaded": True,
            "config_manager": True,
            "adapters_available": True,
            "middleware_pipeline": True,
        }
        assert {"version", "architecture", "paths", "features"} <= set(body)

    def test_is_503_while_engines_load_and_the_process_lives(self, tmp_path: Path) -> None:
        app = scripted_app(tmp_path, tts=ScriptedTTSEngine(load_time=3600.0))
        with running(app, ready=False) as url:
            assert httpx.get(f"{url}/health/live").json() == {"status": "alive"}
            for path in ("/health", "/health/ready"):
                answer = httpx.get(url + path)
                assert answer.status_code == 503
                assert answer.json()["state"] == "starting"
                assert int(answer.headers["Retry-After"]) > 0

    def test_is_503_with_an_engine_that_cannot_be_loaded(self, tmp_path: Path) -> None:
        class Broken(ScriptedTTSEngine):
            async def load(self) -> None:
                raise EngineError("broken", "/secret/model is broken")

        with running(scripted_app(tmp_path, tts=Broken()), ready=False) as url:
            soon(lambda: httpx.get(f"{url}/health").json()["state"] == "failed")
            answer = httpx.get(f"{url}/health")
            assert answer.status_code == 503
            assert answer.json()["status"] == "error"
            detailed = httpx.get(f"{url}/api/health/detailed", headers=_OWNERS)
            assert detailed.json()["problem"] == "EngineError"
            assert "secret" not in answer.text + detailed.text

    def test_is_degraded_while_an_engine_that_fails_is_left_alone(self, tmp_path: Path) -> None:
        class Failing(ScriptedTTSEngine):
            async def warmup(self) -> None:
                await self.load()

        tts = Failing(failures=[EngineError("tts", "no")] * 20)
        breaker = {"middleware": {"circuit_breaker": {"enabled": True, "failures": 2}}}
        with running(scripted_app(tmp_path, breaker, tts=tts)) as url:
            statuses = [
                httpx.post(f"{url}/tts", json={"text": "Hello."}).status_code for _ in range(3)
            ]
            assert statuses == [500, 500, 503]
            answer = httpx.get(f"{url}/health")
            assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
            detailed = httpx.get(f"{url}/api/health/detailed", headers=_OWNERS).json()
            assert detailed["circuits"]["tts"] == "open"

    def test_says_more_to_its_owner(self, server: str) -> None:
        body = httpx.get(f"{server}/api/health/detailed", headers=_OWNERS).json()
        assert body["engines"] == {"stt": "ScriptedSTTEngine", "tts": "ScriptedTTSEngine"}
        assert body["conversations"] == 0
        assert body["requests"] == 1  # this one
        assert body["uptime_seconds"] >= 0


class TestInfo:
    def test_says_what_there_is(self, server: str) -> None:
        body = httpx.get(f"{server}/info").json()
        assert {"server", "routers", "features", "middleware", "adapters"} == set(body)
        assert "/health" in body["routers"]["system"]
        assert "analytics" in body["middleware"]["tts"]


class TestTickets:
    def test_are_there_for_anybody_where_nobody_is_asked(self, server: str) -> None:
        answer = httpx.post(f"{server}/api/tickets")
        assert answer.status_code == 200
        assert len(answer.json()["ticket"]) >= 32

    def test_are_not_cached(self, server: str) -> None:
        assert httpx.post(f"{server}/api/tickets").headers["Cache-Control"] == "no-store"


class TestRequestIds:
    def test_are_the_callers(self, server: str) -> None:
        answer = httpx.get(f"{server}/health", headers={"X-Request-ID": "mine-1"})
        assert answer.headers["X-Request-ID"] == "mine-1"
        assert float(answer.headers["X-Processing-Time"]) < 30

    def test_are_made_where_there_is_none_or_one_that_no_log_can_hold(self, server: str) -> None:
        ids = {
            httpx.get(f"{server}/health", headers=headers).headers["X-Request-ID"]
            for headers in ({}, {"X-Request-ID": "a b"}, {"X-Request-ID": "x" * 1000})
        }
        assert len(ids) == 3
        assert all(len(each) == 32 for each in ids)


def test_hanging_engines_are_given_up(tmp_path: Path) -> None:
    from realtime_stts.testing import Hang

    tts = FaultyTTSEngine([None, Hang()])
    limits = {"middleware": {"timeout": {"enabled": True, "first": 0.3}}}
    with running(scripted_app(tmp_path, limits, tts=tts)) as url:
        answer = [httpx.post(f"{url}/tts", json={"text": "Hello."}) for _ in range(2)][-1]
        assert answer.status_code == 503
        assert answer.json()["error_code"] == "engine_timeout"
        assert "Retry-After" in answer.headers
        soon(lambda: tts.running == 0)
