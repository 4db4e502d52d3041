"""The Grafana dashboard shows metrics that there are, by labels that they have."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("realtime_stts.integrations.prometheus", exc_type=ImportError)

from prometheus_client import CollectorRegistry

from realtime_stts.integrations.prometheus import METRICS, PrometheusInstrumentation

from .told import CALL, LOAD, SESSION, TURN

ROOT = Path(__file__).parents[2]
DASHBOARD: Any = json.loads((ROOT / "docs/dashboards/realtime-stts.json").read_text("utf-8"))
PANELS: list[Any] = DASHBOARD["panels"]
SHOWN = [panel for panel in PANELS if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in SHOWN for target in panel["targets"]]

_SELECTOR = re.compile(r"(realtime_stts_\w+)(?:\{([^}]*)\})?")


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """The labels of each sample that Prometheus has after one event of each kind."""
    registry = CollectorRegistry()
    instrumentation = PrometheusInstrumentation(registry)
    for details in (CALL, LOAD, TURN, SESSION):
        instrumentation(details)
    return {
        sample.name: {*sample.labels} for family in registry.collect() for sample in family.samples
    }


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_expression_asks_for_what_there_is(
    expression: str, exposed: dict[str, set[str]]
) -> None:
    found = _SELECTOR.findall(expression)
    assert found
    labels: set[str] = set()
    for name, selector in found:
        assert name in exposed
        assert {*re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)} <= exposed[name]
        labels = labels & exposed[name] if labels else exposed[name]
    for grouping in re.findall(r"by \(([^)]*)\)", expression):
        assert {*grouping.split(", ")} <= labels
    assert expression.count("(") == expression.count(")")
    assert ("histogram_quantile" in expression) == ("_bucket" in expression)


@pytest.mark.parametrize("panel", SHOWN, ids=lambda panel: panel["title"])
def test_each_legend_names_what_its_expression_groups_by(panel: Any) -> None:
    for target in panel["targets"]:
        grouping = re.search(r"by \(([^)]*)\)", target["expr"])
        groups = {*(grouping[1].split(", ") if grouping else ())} - {"le"}
        assert {*re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])} == groups


def test_each_metric_is_shown() -> None:
    shown = " ".join(EXPRESSIONS)
    assert not [each.name for each in METRICS if f"realtime_stts_{each.name}" not in shown]


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids))
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
    assert all(
        place["x"] >= 0 and place["x"] + place["w"] <= 24
        for place in [panel["gridPos"] for panel in PANELS]
    )


def test_it_asks_for_the_data_source_and_says_what_it_shows() -> None:
    assert DASHBOARD["schemaVersion"] >= 39  # Grafana 10.4 and later
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["engine"]["definition"] == "label_values(realtime_stts_calls_total, engine)"
    for panel in SHOWN:
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
