"""Metrics for Prometheus: what is counted, and that no label is about a person."""

from __future__ import annotations

import re
import sys
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("realtime_stts.integrations.prometheus", exc_type=ImportError)

from prometheus_client import CollectorRegistry

from realtime_stts.errors import MissingExtraError
from realtime_stts.instrumentation import (
    TURN_STAGES,
    CallDetails,
    Details,
    LoadDetails,
    Sensitivity,
    SessionDetails,
    TurnDetails,
    sensitivity,
)
from realtime_stts.integrations.prometheus import METRICS, PrometheusInstrumentation

from .told import CALL, LOAD, SESSION, TURN

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "watch-it-run.md"

Counted = dict[tuple[str, tuple[str, ...]], float]


def counted(*told: Details, **options: Any) -> Counted:
    """Every sum and count that is not 0, by its name without the prefix and its labels."""
    registry = CollectorRegistry()
    instrumentation = PrometheusInstrumentation(registry, **options)
    for details in told:
        instrumentation(details)
    prefix = f"{options.get('prefix', 'realtime_stts')}_"
    order = {each.name: each.labels for each in METRICS}
    return {
        (
            sample.name.removeprefix(prefix),
            tuple(sample.labels[label] for label in order[family.name.removeprefix(prefix)]),
        ): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.value and sample.name.endswith(("_total", "_sum", "_count"))
    }


def test_a_call() -> None:
    of = "tts", "mouth"
    assert counted(CALL) == {
        ("calls_total", (*of, "true", "completed", "")): 1,
        ("call_duration_seconds_count", (*of, "true", "completed")): 1,
        ("call_duration_seconds_sum", (*of, "true", "completed")): 1.0,  # 2 s were the caller's
        ("time_to_first_result_seconds_count", of): 1,
        ("time_to_first_result_seconds_sum", of): 0.125,
        ("real_time_factor_count", (*of, "true")): 1,
        ("real_time_factor_sum", (*of, "true")): 0.2,
        ("engine_seconds_total", of): 0.5,
        ("audio_seconds_total", of): 2.5,
        ("characters_total", of): 40,
        ("queue_wait_seconds_count", of): 1,
        ("queue_wait_seconds_sum", of): 0.25,
        ("retries_total", of): 2,
        ("cache_results_total", (*of, "miss")): 1,
    }


def test_a_call_that_failed_before_anything_was_measured() -> None:
    failed = CallDetails(
        request_type="stt",
        engine="ear",
        streaming=False,
        outcome="error",
        error_type="EngineError",
        started_at=0.0,
        duration=0.5,
        request_id="r1",
    )
    assert counted(failed) == {
        ("calls_total", ("stt", "ear", "false", "error", "EngineError")): 1,
        ("call_duration_seconds_count", ("stt", "ear", "false", "error")): 1,
        ("call_duration_seconds_sum", ("stt", "ear", "false", "error")): 0.5,
    }


def test_what_is_no_measure_of_an_engine_is_not_taken_for_one() -> None:
    names = {name for name, _ in counted(replace(CALL, engine_time=0.0, cache="hit"))}
    assert "real_time_factor_count" not in names
    names = {name for name, _ in counted(replace(CALL, outcome="cancelled"))}
    assert "real_time_factor_count" not in names
    names = {name for name, _ in counted(replace(CALL, streaming=False))}
    assert "time_to_first_result_seconds_count" not in names


def test_a_loading() -> None:
    assert counted(LOAD) == {
        ("model_load_seconds_count", ("mouth", "completed")): 1,
        ("model_load_seconds_sum", ("mouth", "completed")): 4.0,
    }


def test_a_turn() -> None:
    stages = {
        ("turn_stage_seconds_sum", (stage,)): getattr(TURN, stage) for stage in TURN_STAGES
    } | {("turn_stage_seconds_count", (stage,)): 1 for stage in TURN_STAGES}
    assert counted(TURN) == {
        ("turns_total", ("answered", "")): 1,
        ("turn_time_to_first_audio_seconds_count", ()): 1,
        ("turn_time_to_first_audio_seconds_sum", ()): 0.9,
        ("interruptions_total", ()): 2,
        **stages,
    }
    failed = TurnDetails(
        session_id="s1",
        request_id="s1-1",
        turn=1,
        outcome="failed",
        ended_at=0.0,
        error_type="EngineError",
    )
    assert counted(failed) == {("turns_total", ("failed", "EngineError")): 1}


def test_a_session() -> None:
    assert counted(SESSION) == {
        ("sessions_total", ("input ended",)): 1,
        ("session_audio_seconds_total", ()): 60.0,
        ("dropped_turns_total", ()): 1,
        ("undelivered_events_total", ()): 3,
    }


def test_something_new_is_passed_by() -> None:
    assert counted(object()) == {}  # type: ignore[arg-type]


def test_no_label_is_about_a_person() -> None:
    for metric in METRICS:
        for label in metric.labels:
            if label == "stage":
                assert all(
                    sensitivity(metric.of, s) is Sensitivity.OPERATIONAL for s in TURN_STAGES
                )
            else:
                assert sensitivity(metric.of, label) is Sensitivity.OPERATIONAL
    shown = repr(counted(CALL, LOAD, TURN, SESSION))
    assert not [private for private in ("r1", "s1", "ada", "'bo'") if private in shown]


def test_every_field_that_is_no_label_is_measured_or_left_out_on_purpose() -> None:
    left_out = {
        CallDetails: {
            *("started_at", "request_id", "session_id", "subject", "voice", "n_results"),
            *("language", "audio_format"),  # chosen by callers, from more than a label can have
        },
        LoadDetails: {"started_at", "error_type"},
        TurnDetails: {"session_id", "request_id", "turn", "ended_at", "duration"},
        SessionDetails: {"session_id", "ended_at", "duration", "turns"},
    }
    measured = {
        CallDetails: {
            *("duration", "time_to_first_result", "engine_time", "consumer_time"),
            *("audio_seconds", "characters", "queue_wait", "attempts"),
        },
        LoadDetails: {"duration"},
        TurnDetails: {*TURN_STAGES, "time_to_first_audio", "interruptions"},
        SessionDetails: {"audio_seconds", "dropped_turns", "undelivered_events"},
    }
    for of, out in left_out.items():
        labels = {label for each in METRICS if each.of is of for label in each.labels} - {"stage"}
        assert {each.name for each in fields(of)} == out | measured[of] | labels


def test_names_that_software_chooses_are_bounded() -> None:
    calls = [replace(CALL, engine=f"engine {n}") for n in (1, 2, 3, 4, 1)]
    kept = counted(*calls, max_names=2)
    assert {labels[1]: n for (name, labels), n in kept.items() if name == "calls_total"} == {
        "engine 1": 2,
        "engine 2": 1,
        "other": 2,
    }
    failures = [replace(CALL, outcome="error", error_type=f"Error{n}") for n in range(9)]
    kept = counted(*failures, max_names=2)
    errors = {labels[4] for name, labels in kept if name == "calls_total"}
    assert errors == {"Error0", "Error1", "other"}
    with pytest.raises(ValueError, match="at least 1"):
        PrometheusInstrumentation(CollectorRegistry(), max_names=0)


def test_two_in_one_registry_need_two_prefixes() -> None:
    registry = CollectorRegistry()
    PrometheusInstrumentation(registry)
    with pytest.raises(ValueError, match=r"has metrics called realtime_stts_\.\.\. already"):
        PrometheusInstrumentation(registry)
    PrometheusInstrumentation(registry, prefix="other")


def test_one_that_is_refused_leaves_nothing_behind() -> None:
    registry = CollectorRegistry()
    taken = PrometheusInstrumentation(registry)
    for name, family in list(taken._families.items()):
        if name != METRICS[-1].name:
            registry.unregister(family.collector)
    with pytest.raises(ValueError, match="already"):
        PrometheusInstrumentation(registry)
    assert [family.name for family in registry.collect()] == [f"realtime_stts_{METRICS[-1].name}"]


def test_the_usual_registry_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    monkeypatch.setattr("realtime_stts.integrations.prometheus.REGISTRY", registry)
    PrometheusInstrumentation()
    assert registry.get_sample_value("realtime_stts_interruptions_total") == 0.0


def test_threads_may_tell_at_the_same_time() -> None:
    registry = CollectorRegistry()
    instrumentation = PrometheusInstrumentation(registry)

    def tell() -> None:
        for _ in range(200):
            instrumentation(CALL)

    threads = [Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = {"request_type": "tts", "engine": "mouth"}
    assert registry.get_sample_value("realtime_stts_retries_total", labels) == 4 * 200 * 2


def test_buckets_are_in_order_and_hold_what_matters() -> None:
    for metric in METRICS:
        if metric.buckets is not None:
            assert [*metric.buckets] == sorted(set(metric.buckets))
            assert len(metric.buckets) < 20  # each is a time series for each engine
            assert 1.0 in metric.buckets


def test_the_page_lists_each_metric_with_its_unit_and_labels() -> None:
    told = {
        name: (kind, unit, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, unit, labels in re.findall(
            r"^\| `realtime_stts_(\w+)` \| (\w+) \| (\w*) ?\|([^|]*)\|",
            PAGE.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    }
    assert told == {
        each.name + ("_total" if each.buckets is None else ""): (
            "counter" if each.buckets is None else "histogram",
            "s" if each.name.endswith("_seconds") else "",
            set(each.labels),
        )
        for each in METRICS
    }


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "realtime_stts.integrations.prometheus")
    with pytest.raises(MissingExtraError, match=r"realtime-stts\[prometheus\]"):
        import_module("realtime_stts.integrations.prometheus")
