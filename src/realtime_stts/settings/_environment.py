"""PURE: settings from environment variables: ``REALTIME_STTS_SERVER__PORT=8004``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Final

from ._layers import nearest
from ._section import Option, kinds

__all__ = ["PREFIX", "PROFILE", "FromEnvironment", "from_environment", "variable"]

PREFIX: Final = "REALTIME_STTS_"
PROFILE: Final = "REALTIME_STTS_PROFILE"
_SEQUENCES: Final = frozenset({tuple, list, frozenset, set})


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """What the variables say.

    Attributes:
        values: By path.
        problems: What is wrong with a value, by path.
        warnings: Variables that look like settings and are none, by name.
    """

    values: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)


def variable(path: str) -> str:
    """The variable of an option: its path in capitals, with two underscores for each dot."""
    return f"{PREFIX}{path.replace('.', '__').upper()}"


def from_environment(environ: Mapping[str, str], options: Mapping[str, Option]) -> FromEnvironment:
    """Read all variables of options. Numbers and switches stay text: validation reads them.

    A list is JSON, or its items with commas between; a mapping is JSON. Empty text, ``null``
    and ``none`` are None where an option may be None. Variables without two underscores after
    the prefix are other programs' business.
    """
    read = FromEnvironment()
    known = {variable(path): each for path, each in options.items()}
    sections = {variable(path.partition(".")[0]) for path in options}
    for name, text in sorted(environ.items()):
        if (each := known.get(name)) is not None:
            try:
                read.values[each.path] = _value(each, text)
            except ValueError as exc:
                read.problems[each.path] = f"{name} is no JSON: {exc}"
        elif name in sections:
            read.warnings[name] = f"names a section; an option of it is {name}__…"
        elif name.startswith(PREFIX) and "__" in name[len(PREFIX) :]:
            close = nearest(_path(name), options)
            meant = f"; is {variable(close)} meant?" if close else ""
            read.warnings[name] = f"is no setting, and is ignored{meant}"
    return read


def _path(name: str) -> str:
    return name[len(PREFIX) :].replace("__", ".").lower()


def _value(option: Option, text: str) -> Any:
    allowed = kinds(option.field.annotation)
    plain = text.strip()
    if NoneType in allowed and plain.lower() in ("", "null", "none"):
        return None
    if dict in allowed:
        return json.loads(plain or "{}")
    if _SEQUENCES & allowed:
        if plain.startswith("["):
            return json.loads(plain)
        return [item.strip() for item in plain.split(",") if item.strip()]
    return text
