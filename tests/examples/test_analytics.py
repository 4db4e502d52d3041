"""The owner sees what was asked for; nobody else does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

from realtime_stts.analytics import InMemoryAnalyticsStore
from realtime_stts.instrumentation import CallDetails
from tests.examples.management_tools import Served, served

NOW = 1_700_000_000.0
QUESTIONS = (
    "usage",
    "engines",
    "voices",
    "formats",
    "languages",
    "errors",
    "hourly",
    "daily",
    "percentiles",
    "trend",
    "recent",
)


def call(request_type: str, engine: str, **more: Any) -> CallDetails:
    facts: dict[str, Any] = {
        "streaming": False,
        "outcome": "completed",
        "started_at": NOW - 60.0,
        "duration": 0.5,
        "request_id": "1",
        "engine_time": 0.4,
        "audio_seconds": 2.0,
        "characters": 10,
        **more,
    }
    return CallDetails(request_type=request_type, engine=engine, **facts)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = InMemoryAnalyticsStore(clock=lambda: NOW)
    for details in (
        call("tts", "espeak", voice="anna", language="en", audio_format="pcm"),
        call("tts", "espeak", voice="anna", language="de", audio_format="pcm", duration=1.5),
        call("stt", "whisper", outcome="error", error_type="EngineError"),
        call("stt", "whisper", outcome="cancelled", started_at=NOW - 2.5 * 86_400),
    ):
        store(details)
    with served(tmp_path_factory.mktemp("analytics"), analytics=store) as it:
        yield it


def answer(server: Served, question: str, **params: Any) -> Any:
    given = server.owner.get(f"/api/analytics/{question}", params=params)
    assert given.status_code == 200, given.text
    return given.json()


@pytest.fixture
def only() -> dict[str, Any]:
    """The calls above, and not those of the server's own engines as they warm up."""
    return {"until": NOW}


def test_usage_in_all_and_of_some(server: Served, only: dict[str, Any]) -> None:
    assert answer(server, "usage", **only) == {
        "calls": 4,
        "errors": 1,
        "cancelled": 1,
        "audio_seconds": 8.0,
        "characters": 40,
        "error_rate": 25.0,
    }
    assert answer(server, "usage", request_type="tts", **only)["calls"] == 2
    assert answer(server, "usage", engine="whisper", **only)["calls"] == 2
    assert answer(server, "usage", since=NOW - 3600, **only)["calls"] == 3
    assert answer(server, "usage", engine="nobody")["calls"] == 0


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("engines", ["espeak", "whisper"]),
        ("voices", ["anna"]),
        ("formats", ["pcm"]),
        ("languages", ["de", "en"]),
    ],
)
def test_usage_by_what_was_asked_for(
    server: Served, only: dict[str, Any], question: str, names: list[str]
) -> None:
    found = answer(server, question, **only)
    assert [each["name"] for each in found] == names
    assert found[0]["usage"]["calls"] >= 1
    assert len(answer(server, question, limit=1, **only)) == 1


def test_errors_by_their_class(server: Served, only: dict[str, Any]) -> None:
    assert answer(server, "errors", **only) == [
        {"error_type": "EngineError", "calls": 1, "last_at": NOW - 60}
    ]


def test_hours_and_days(server: Served, only: dict[str, Any]) -> None:
    for question, length in (("hourly", 3600), ("daily", 86_400)):
        found = answer(server, question, **only)
        assert [each["usage"]["calls"] for each in found] == [1, 3]
        assert all(each["start"] % length == 0 for each in found)


def test_percentiles(server: Served, only: dict[str, Any]) -> None:
    found = answer(server, "percentiles", request_type="tts", **only)
    assert (found["measure"], found["calls"], found["min"], found["max"]) == (
        "duration",
        2,
        0.5,
        1.5,
    )
    assert found["values"] == {"p50": 0.5, "p90": 1.5, "p95": 1.5, "p99": 1.5}
    found = answer(server, "percentiles", measure="rtf", rank=[50, 99.9], **only)
    assert found["values"] == {"p50": 0.2, "p99.9": 0.2}


def test_a_trend(server: Served, only: dict[str, Any]) -> None:
    found = answer(server, "trend", days=2, **only)
    assert len(found["days"]) == 2
    assert (found["usage"]["calls"], found["previous"]["calls"]) == (3, 1)
    assert found["change"]["calls"] == 200.0


def test_the_last_calls(server: Served, only: dict[str, Any]) -> None:
    found = answer(server, "recent", limit=2, **only)
    assert [each["outcome"] for each in found] == ["cancelled", "error"]
    assert "session_id" not in found[0]
    assert "subject" not in found[0]


@pytest.mark.parametrize(
    ("question", "params"),
    [
        ("usage", {"since": "nan"}),
        ("usage", {"since": "inf"}),
        ("usage", {"until": "1e300"}),
        ("usage", {"until": "-1"}),
        ("usage", {"request_type": "video"}),
        ("usage", {"engine": "x" * 129}),
        ("engines", {"limit": 0}),
        ("hourly", {"limit": 10**9}),
        ("percentiles", {"measure": "luck"}),
        ("percentiles", {"rank": 0}),
        ("percentiles", {"rank": "nan"}),
        ("percentiles", {"rank": 101}),
        ("percentiles", {"rank": [50] * 21}),
        ("trend", {"days": 0}),
        ("trend", {"days": 10_000}),
        ("trend", {"since": 1}),
    ],
)
def test_nonsense_is_the_askers_fault(
    server: Served, question: str, params: dict[str, Any]
) -> None:
    given = server.owner.get(f"/api/analytics/{question}", params=params)
    assert given.status_code == 422
    assert given.json()["error_code"] == "invalid_request"


def test_a_call_of_an_endpoint_is_counted(server: Served) -> None:
    since = time() - 1
    spoken = server.anybody.post("/tts", json={"text": "Hello."})
    assert spoken.status_code == 200
    assert answer(server, "usage", since=since, request_type="tts")["calls"] >= 1
    latest = answer(server, "recent", limit=1)[0]
    assert (latest["request_type"], latest["outcome"]) == ("tts", "completed")


def test_how_the_chains_are_doing(tmp_path: Path) -> None:
    layers = ("circuit_breaker", "concurrency_limit", "cache", "load_shed")
    settings = {f"middleware.{layer}.enabled": True for layer in layers}
    with served(tmp_path, settings) as it:
        it.anybody.post("/tts", json={"text": "Hello."})
        given = it.owner.get("/api/metrics/performance")
        assert given.status_code == 200, given.text
        found = given.json()
    assert found["timing"]["tts"]["count"] >= 1
    assert {"p50", "p95", "p99"} <= {*found["timing"]["tts"]["engine"]}
    assert {*layers} <= {*found["middleware"]["tts"]}
    assert found["middleware"]["tts"]["circuit_breaker"]["state"] == "closed"
    assert found["middleware"]["tts"]["cache"]["misses"] >= 1
    assert found["engines"] == {"stt": True, "tts": True}
    assert found["conversations"] == {"active": 0, "max": 100}
    assert found["store"]["written"] >= 1


def test_a_store_that_counts_nothing_of_itself_will_do(tmp_path: Path) -> None:
    class Plain(InMemoryAnalyticsStore):
        statistics = None  # type: ignore[assignment]

    with served(tmp_path, analytics=Plain()) as it:
        assert it.owner.get("/api/metrics/performance").json()["store"] == {}


def test_prometheus(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("prometheus_client")
    server.anybody.post("/tts", json={"text": "Hello."})
    given = server.owner.get("/metrics")
    assert given.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "realtime_stts_calls_total{" in given.text
    monkeypatch.setattr(server.services, "metrics", None)
    assert server.owner.get("/metrics").status_code == 404


@pytest.mark.parametrize(
    "path",
    [*(f"/api/analytics/{each}" for each in QUESTIONS), "/api/metrics/performance", "/metrics"],
)
def test_only_the_owner(server: Served, path: str) -> None:
    assert server.anybody.get(path).status_code == 401
