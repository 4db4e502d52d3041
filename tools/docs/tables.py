"""Tables of the reference that are made of the code: errors and metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from realtime_stts import errors
from realtime_stts.integrations import _genai
from realtime_stts.integrations._http._problems import problem_of
from realtime_stts.integrations.opentelemetry import ATTRIBUTES, OpenTelemetryInstrumentation
from realtime_stts.integrations.prometheus import METRICS, Metric
from realtime_stts.middleware.retry import transient

__all__ = ["errors_table", "prometheus_table", "spans_table", "telemetry_table"]

_BRANCH = re.compile(r"^[ │├└─]*(?P<name>[A-Z]\w+)(?: \(\w+\))?(?:  +(?P<fault>.+))?$")
_OWNER = re.compile(r"(the \w+'s|ours|nobody's):")

# What an error is made with, where its message is not enough.
_MADE_WITH: dict[type[Exception], tuple[Any, ...]] = {
    errors.AudioDeviceError: ("message",),
    errors.CircuitOpenError: ("engine", 1.0),
    errors.EngineTimeoutError: ("engine", 1.0),
    errors.MissingExtraError: ("feature", "extra"),
    errors.SettingsError: ({"path": "problem"},),
    errors.TurnError: ("state", "event"),
    errors.UnknownEngineError: ("kind", "name", ()),
    errors.UnknownVoiceError: ("voice", ()),
}


def errors_table() -> str:
    """Every error: its place in the tree, whose fault it is, what HTTP makes of it."""
    rows = ["| error | whose fault | asked again | HTTP | `error_code` |", "|---|---|---|---|---|"]
    for kind, depth, fault in _tree():
        also = ", ".join(f"`{base.__name__}`" for base in _builtins(kind))
        name = f"[`{kind.__name__}`][realtime_stts.errors.{kind.__name__}]"
        if also:
            name += f"<br><small>also {also}</small>"
        problem = problem_of(_made(kind))
        rows.append(
            f'| <span class="tree" style="margin-left: {depth}em">{name}</span> | {fault} '
            f"| {'yes' if transient(_made(kind)) else ''} | {problem.status} | `{problem.code}` |"
        )
    return "\n".join(rows)


def _tree() -> Iterator[tuple[type[Exception], int, str]]:
    """The errors in the order of the module's docstring, with their depth and its remark."""
    owners: dict[type, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        branch = _BRANCH.match(line)
        if branch and branch["name"] in errors.__all__:
            kind = getattr(errors, branch["name"])
            depth = sum(issubclass(kind, getattr(errors, name)) for name in errors.__all__) - 1
            fault = branch["fault"] or ""
            if owner := _OWNER.match(fault):
                owners[kind] = owner.group()
            elif fault:  # as of what it is a kind of
                fault = f"{next(owners[base] for base in kind.__mro__ if base in owners)} {fault}"
            yield kind, depth, fault


def _builtins(kind: type[Exception]) -> list[type]:
    own = [base for base in kind.__bases__ if base.__module__ == "builtins"]
    return [base for base in own if base is not Exception]


def _made(kind: type[Exception]) -> Exception:
    if kind in _MADE_WITH:
        return kind(*_MADE_WITH[kind])
    return kind("engine", "message") if issubclass(kind, errors.EngineError) else kind("message")


def prometheus_table() -> str:
    """The metrics that Prometheus is told, with the names it gives them."""
    rows = ["| metric | kind | unit | labels | |", "|---|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        kind = "counter" if metric.buckets is None else "histogram"
        said = metric.help.replace("|", "\\|")
        rows.append(
            f"| `{_prometheus_name(metric)}` | {kind} | {_unit(metric)} | {labels} | {said} |"
        )
    return "\n".join(rows)


def _prometheus_name(metric: Metric) -> str:
    return f"realtime_stts_{metric.name}{'_total' if metric.buckets is None else ''}"


def _unit(metric: Metric) -> str:
    return "s" if metric.name.endswith("_seconds") else ""


def telemetry_table() -> str:
    """The metrics that OpenTelemetry is told, as its meter is asked for them."""
    meter = _Meter()
    OpenTelemetryInstrumentation(meter_provider=meter)  # type: ignore[arg-type]
    rows = ["| metric | kind | unit | |", "|---|---|---|---|"]
    rows += [f"| `{name}` | {kind} | {unit} | {said} |" for name, kind, unit, said in meter.asked]
    return "\n".join(rows)


class _Meter:
    """A provider and its meter that keep what they are asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, str]] = []

    def get_meter(self, *_: object, **__: object) -> _Meter:
        return self

    def create_histogram(self, name: str, unit: str, description: str, **_: object) -> None:
        self.asked.append((name, "histogram", unit, description))

    def create_counter(self, name: str, unit: str, description: str) -> None:
        self.asked.append((name, "counter", unit, description))


def spans_table() -> str:
    """What a span of each kind carries: the field and the attribute's name."""
    rows = ["| field | attribute | in spans of |", "|---|---|---|"]
    fields: dict[tuple[str, str], list[str]] = {}
    for of, attributes in ATTRIBUTES.items():
        for field, attribute in attributes.items():
            kind = of.__name__.removesuffix("Details").lower()
            fields.setdefault((field, attribute), []).append(f"{kind}s")
    for (field, attribute), kinds in sorted(fields.items()):
        rows.append(f"| `{field}` | `{attribute}` | {', '.join(kinds)} |")
    own = {
        "operation": _genai.OPERATION_NAME,
        "output": _genai.OUTPUT_TYPE,
        "first result": _genai.TIME_TO_FIRST_CHUNK,
    }
    rows += [f"| *{what}* | `{name}` | calls |" for what, name in own.items()]
    return "\n".join(rows)
