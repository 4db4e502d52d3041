"""PURE: values of settings as a file or a display has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import SecretStr

from ._section import MASK, Section

__all__ = ["holds_secret", "plain", "unmask"]


def plain(value: Any, *, secrets: bool = True) -> Any:
    """A value in the types of YAML and JSON.

    Args:
        secrets: Whether they are there, or asterisks in their place.
    """
    match value:
        case SecretStr():
            return value.get_secret_value() if secrets else MASK
        case Section():
            return {
                name: plain(getattr(value, name), secrets=secrets)
                for name in type(value).model_fields
            }
        case PurePath():
            return str(value)
        case Mapping():
            return {str(key): plain(each, secrets=secrets) for key, each in value.items()}
        case frozenset() | set():
            return sorted(plain(each, secrets=secrets) for each in value)
        case list() | tuple():
            return [plain(each, secrets=secrets) for each in value]
        case _:
            return value


def holds_secret(value: Any) -> bool:
    """Whether a value of the settings has a secret in it."""
    match value:
        case SecretStr():
            return True
        case Section():
            return any(holds_secret(getattr(value, name)) for name in type(value).model_fields)
        case Mapping():
            return any(map(holds_secret, value.values()))
        case _:
            return False


def unmask(value: Any, current: Any) -> Any:
    """A value that may have a display's asterisks in it, with the secrets that they hid.

    Args:
        current: What was displayed, in plain types and with its secrets.
    """
    if value == MASK and current is not None:
        return current
    if isinstance(value, Mapping) and isinstance(current, Mapping):
        return {key: unmask(each, current.get(key)) for key, each in value.items()}
    return value
