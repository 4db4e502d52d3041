"""PURE: which changes of the settings may come over HTTP.

Whoever may change settings could otherwise choose what the server reads, writes and runs:
point a folder of voices somewhere and delete "voices" there, load a model that is a program,
or let themselves in for good. Such options are set where the server is started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from itertools import islice
from typing import Any, Final

from pydantic import BaseModel

from realtime_stts.settings import Settings

__all__ = ["is_at", "leaves", "marked", "merged", "permitted", "without_sources"]

_LOCKED: Final = (
    # what is read and written
    "analytics.path",
    "middleware.audit",
    "model.local_path",
    "paths",
    "server.log_file_path",
    "stt_engine.download_root",
    "stt_engine.model_path",
    "tts_engine.predefined_voices_path",
    "tts_engine.reference_audio_path",
    # what is run
    "stt_engine.options",
    "tts_engine.options",
    # who comes in
    "middleware.authentication",
    "middleware.redaction.pseudonym_key",
    "server.allowed_hosts",
    "server.auth_password",
    "server.auth_tokens",
    "server.auth_username",
    "server.cors_allow_credentials",
    "server.cors_origins",
    "server.use_auth",
)
# Names of engines and models: one with a slash in it would be a file of the server's.
_NAMES: Final = (
    "middleware.fallback.stt",
    "middleware.fallback.tts",
    "stt_engine.engine",
    "stt_engine.model_size",
    "tts_engine.engine",
)
_MAX_PROBLEMS: Final = 100
_MAX_PATH: Final = 200  # characters
_DEEPEST: Final = 8  # sections within sections: more than there are
_ELSEWHERE: Final = "can be set in the server's file or environment alone, and not over HTTP"


def leaves(settings: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Every option by its path."""
    found: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def permitted(
    changes: Mapping[str, Any], current: Settings
) -> tuple[dict[str, Any], dict[str, str]]:
    """Changes by path without those that change nothing, and why others may not be made.

    A page may send back all that it was shown: what is locked, or asterisks, and is as it was.

    Args:
        changes: A tree, or paths, as `SettingsStore.update` takes it.
    """
    options = leaves(current)
    shown = dict(_flat(current.masked(), options, ""))
    wanted: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for path, value in _flat(changes, options, ""):
        if path in shown and shown[path] == value:
            continue
        if any(is_at(path, locked) for locked in _LOCKED):
            refused[path] = _ELSEWHERE
        elif path in _NAMES and any(mark in str(value) for mark in ("/", "\\", "..")):
            refused[path] = f"takes names over HTTP; a file {_ELSEWHERE}"
        else:
            wanted[path] = value
    return wanted, refused


def merged(changes: Mapping[str, Any], current: Settings) -> dict[str, Any]:
    """All settings by path, with changes."""
    return {**leaves(current), **changes}


def is_at(path: str, place: str) -> bool:
    """Whether a path is a place in the tree, or below it."""
    return f"{path}.".startswith(f"{place}.")


def marked(schema: dict[str, Any]) -> dict[str, Any]:
    """The settings' JSON Schema in which what may not be set over HTTP is ``readOnly``."""
    schema = deepcopy(schema)
    _mark(schema, schema, "")
    return schema


def _mark(node: dict[str, Any], root: dict[str, Any], prefix: str) -> None:
    for name, each in node.get("properties", {}).items():
        path = f"{prefix}{name}"
        section = root["$defs"].get(each.get("$ref", "").rpartition("/")[2])
        if section is not None:
            _mark(section, root, f"{path}.")
        elif any(is_at(path, locked) for locked in _LOCKED):
            each["readOnly"] = True


def without_sources(problems: Mapping[str, str]) -> dict[str, str]:
    """Problems without the files that values came from, and no more than anybody reads."""
    return {
        _shown(path): problem.partition(" (from ")[0]
        for path, problem in islice(problems.items(), _MAX_PROBLEMS)
    }


def _shown(path: str) -> str:
    """A path as a client wrote it, in text that JSON can have."""
    return path[:_MAX_PATH].encode("utf-8", "replace").decode()


def _flat(
    tree: Mapping[str, Any], options: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if path in options or not isinstance(value, Mapping):
            yield path, value
        elif path.count(".") >= _DEEPEST:
            yield path, None  # no setting, whatever is in it
        else:
            yield from _flat(value, options, f"{path}.")
