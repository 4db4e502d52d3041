"""What there is to set, for machines (JSON Schema) and for people, from the one tree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Final

from pydantic import SecretStr

from ._plain import plain
from ._section import Option, kinds
from ._tree import Settings
from ._validation import LEAVES

__all__ = ["json_schema", "reference"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a file of settings, draft 2020-12.

    Beside the standard's words it has ``unit`` (``s``, ``Hz``, ``MB``) and ``restart``, where
    a change of a section or an option counts only after a restart. Secrets are ``writeOnly``.
    """
    schema = Settings.model_json_schema()
    return {"$schema": _DIALECT, **_without_titles(schema), "title": "Settings of realtime-stts"}


def _without_titles(schema: Any) -> Any:
    """Pydantic makes a title of every name, which says nothing more than the name."""
    match schema:
        case dict():
            return {
                key: _without_titles(value)
                for key, value in schema.items()
                # A title is text; a property of that name is a schema.
                if not (key == "title" and isinstance(value, str))
            }
        case list():
            return [_without_titles(each) for each in schema]
        case _:
            return schema


def reference() -> str:
    """Every option, as tables in Markdown, a section each."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    section = None
    for path, option in LEAVES.items():
        if (of := path.rpartition(".")[0]) != section:
            section = of
            yield from ("", f"## {section}", "")
            yield "| key | type | default | range | unit | meaning |"
            yield "|---|---|---|---|---|---|"
        name = f"`{path.rpartition('.')[2]}`" + (" ⟳" if option.restart else "")
        yield f"| {' | '.join((name, *_cells(option)))} |"


def _cells(option: Option) -> tuple[str, ...]:
    return (
        _type(option),
        _default(option),
        _range(option),
        option.unit or "",
        (option.field.description or "").replace("|", "\\|"),
    )


def _default(option: Option) -> str:
    value = plain(option.default)
    return "none" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


_SPOKEN: Final = {
    bool: "switch",
    int: "whole number",
    float: "number",
    str: "text",
    dict: "mapping",
    tuple: "list",
    frozenset: "list",
    Path: "path",
    SecretStr: "secret",
}


def _type(option: Option) -> str:
    schema = _property(option.path)
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    (kind,) = kinds(option.field.annotation) - {NoneType}
    return _SPOKEN[kind]


def _range(option: Option) -> str:
    schema = _property(option.path)
    said = (
        f"{sign} {schema[word] if isinstance(schema[word], int) else format(schema[word], 'g')}"
        for word, sign in _BOUNDS.items()
        if word in schema
    )
    return ", ".join(said)


_BOUNDS: Final = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "minLength": "characters ≥",
    "maxLength": "characters ≤",
}


def _property(path: str) -> dict[str, Any]:
    """The schema of an option's value that is not None."""
    schema = _schema()
    for name in path.split("."):
        schema = _resolved(schema["properties"][name])
    given: list[dict[str, Any]] = [
        each for each in schema.get("anyOf", (schema,)) if each.get("type") != "null"
    ]
    return given[0]


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found: dict[str, Any] = _schema()["$defs"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


@cache
def _schema() -> dict[str, Any]:
    return json_schema()
