"""PURE: variables of the environment within a configuration: ``${NAME}``, ``${NAME:default}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from ..errors import SettingsError

__all__ = ["scalar", "substituted"]

_VARIABLE: Final = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<default>[^{}]*))?\}")


def substituted(config: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """A tree with the variables' values in their place, in values and never in keys.

    Raises:
        SettingsError: A variable is not set and has no default; all such at once, by path.
    """
    problems: dict[str, str] = {}

    def put(value: Any, path: str) -> Any:
        match value:
            case str():
                return _text(value, path)
            case Mapping():
                return {
                    key: put(each, f"{path}.{key}" if path else str(key))
                    for key, each in value.items()
                }
            case list():
                return [put(each, f"{path}.{n}") for n, each in enumerate(value)]
            case _:
                return value

    def _text(text: str, path: str) -> Any:
        def found(match: re.Match[str]) -> str:
            value = environ.get(match["name"], match["default"])
            if value is None:
                problems[path] = f"the variable {match['name']} is not set, and has no default"
                return ""
            return value

        replaced = _VARIABLE.sub(found, text)
        return scalar(replaced) if _VARIABLE.fullmatch(text) else replaced

    tree: dict[str, Any] = put(config, "")
    if problems:
        raise SettingsError(problems)
    return tree


def scalar(text: str) -> Any:
    """A text as YAML understands it, if that is a number, a switch, null or a text."""
    if not text.strip():
        return text
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # the latter of a date that there is not
        return text
    return value if value is None or isinstance(value, bool | int | float) else text
