"""PURE: what engines take and give, as JSON and bytes, and the other way round.

The two processes may have other versions of Python and of every package, so nothing is
pickled. What JSON lacks is an object with the key ``$``, which says what it is.
"""

from __future__ import annotations

import base64
import builtins
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any, Final

from .. import errors
from ..audio import AudioData
from ..errors import EngineError, EngineMemoryError
from ..protocols import (
    SynthesisResult,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
)
from ._isolated_frames import Message

__all__ = [
    "Foreign",
    "packed_audio",
    "packed_error",
    "packed_result",
    "plain",
    "unpacked_audio",
    "unpacked_error",
    "unpacked_result",
    "valued",
]

_PROJECT: Final = __name__.partition(".")[0] + "."
_MAX_TRACEBACK: Final = 8_000  # characters, the last of them


# -- values --------------------------------------------------------------------------------


class Foreign:
    """Stands for a value that cannot leave its process; an engine can only refuse it."""

    def __init__(self, described: str) -> None:
        self._described = described

    def __repr__(self) -> str:
        return self._described


def plain(value: Any, *, strict: bool = False) -> Any:
    """A value as JSON: numbers, texts, bytes, paths, audio, and lists and mappings of them.

    Also this library's own options, which are dataclasses.

    Args:
        strict: Whether other values are refused; else a `Foreign` arrives in their place.

    Raises:
        ValueError: A value cannot be sent.
    """

    def each(values: Any) -> list[Any]:
        return [plain(value, strict=strict) for value in values]

    match value:
        case None | bool() | str():
            return value
        case Integral():
            return int(value)
        case Real():
            return float(value)
        case list():
            return each(value)
        case tuple():
            return {"$": "tuple", "of": each(value)}
        case bytes():
            return {"$": "bytes", "of": base64.b64encode(value).decode()}
        case PurePath():
            return {"$": "path", "of": str(value)}
        case Mapping():
            if "$" not in value and all(isinstance(key, str) for key in value):
                return dict(zip(value, each(value.values()), strict=True))
            return {"$": "mapping", "of": [each(item) for item in value.items()]}
    kind = type(value)
    if is_dataclass(kind) and kind.__module__.startswith(_PROJECT):
        names = [field.name for field in fields(kind) if field.init]
        return {
            "$": "dataclass",
            "of": {name: plain(getattr(value, name), strict=strict) for name in names},
            "module": kind.__module__,
            "name": kind.__qualname__,
        }
    if strict:
        raise ValueError(f"{value!r} cannot be sent to another process")
    return {"$": "foreign", "of": repr(value)[:200]}


def valued(data: Any) -> Any:
    """The value that became ``data``."""
    if isinstance(data, list):
        return [valued(each) for each in data]
    if not isinstance(data, dict):
        return data
    if "$" not in data:
        return {key: valued(each) for key, each in data.items()}
    of = data["of"]
    match data["$"]:
        case "tuple":
            return tuple(map(valued, of))
        case "bytes":
            return base64.b64decode(of)
        case "path":
            return Path(of)
        case "mapping":
            return {valued(key): valued(each) for key, each in of}
        case "dataclass" if data["module"].startswith(_PROJECT):
            kind = getattr(import_module(data["module"]), data["name"])
            if isinstance(kind, type) and is_dataclass(kind):
                return kind(**{name: valued(each) for name, each in of.items()})
    return Foreign(str(of))


# -- audio and results ---------------------------------------------------------------------


def packed_audio(audio: AudioData) -> tuple[list[Any], bytes]:
    """Its layout, and its bytes."""
    return [int(audio.sample_rate), int(audio.channels), audio.format], audio.data


def unpacked_audio(layout: list[Any], data: bytes) -> AudioData:
    return AudioData(data, *layout)


def packed_result(result: object) -> Message:
    """What an engine returned or yielded."""
    match result:
        case AudioData():
            layout, data = packed_audio(result)
            return Message({"is": "audio", "layout": layout}, data)
        case SynthesisResult():
            layout, data = packed_audio(result.audio_data)
            rest = _fields(result, "audio_data")
            return Message({"is": "synthesis", "layout": layout, "of": rest}, data)
        case TranscriptionResult():
            return Message(
                {
                    "is": "transcription",
                    "of": _fields(result, "segments", "words"),
                    "segments": [_fields(segment) for segment in result.segments],
                    "words": [_fields(word) for word in result.words],
                }
            )
    return Message({"is": "value", "of": plain(result)})


def unpacked_result(message: Message) -> Any:
    """What became ``message``."""
    header = message.header
    if header["is"] == "audio":
        return unpacked_audio(header["layout"], message.payload)
    of = valued(header["of"])
    if header["is"] == "synthesis":
        return SynthesisResult(unpacked_audio(header["layout"], message.payload), **of)
    if header["is"] == "transcription":
        segments = [TranscriptionSegment(**valued(each)) for each in header["segments"]]
        words = [TranscriptionWord(**valued(each)) for each in header["words"]]
        return TranscriptionResult(segments=segments, words=words, **of)
    return of


def _fields(value: Any, *without: str) -> dict[str, Any]:
    names = [field.name for field in fields(value) if field.name not in without]
    return {name: plain(getattr(value, name)) for name in names}


# -- errors --------------------------------------------------------------------------------

# What a caller is told of its own mistakes; subclasses arrive as these.
_BUILTIN: Final = (ValueError, TypeError)


class _RemoteTraceback(Exception):
    """Where an error was raised in the engine's process: shown as its cause."""

    def __str__(self) -> str:
        return f"\n\nin the engine's process:\n{self.args[0]}"


def packed_error(error: BaseException, traceback: str = "") -> dict[str, Any]:
    """An error that was raised there, with the text of its traceback."""
    packed: dict[str, Any] = {"traceback": traceback[-_MAX_TRACEBACK:]}
    kind = type(error)
    if kind.__module__ == errors.__name__ and kind.__name__ in errors.__all__:
        # Errors are made of their arguments, and then given their fields: see `copy.copy`.
        return packed | {
            "is": kind.__name__,
            "args": plain(error.args),
            "fields": plain(vars(error)),
        }
    for builtin in _BUILTIN:
        if isinstance(error, builtin):
            return packed | {"is": builtin.__name__, "args": plain((str(error),)), "fields": {}}
    if isinstance(error, MemoryError):
        return packed | {"is": "MemoryError"}
    return packed | {"is": None, "message": f"{kind.__name__}: {error}"}


def unpacked_error(data: Mapping[str, Any], engine: str) -> Exception:
    """The error to raise here; one of no known class is an `EngineError` of ``engine``."""
    name = data["is"]
    error: Exception
    if name == "MemoryError":
        error = EngineMemoryError(engine, "the memory of its process is used up")
    elif name is None:
        error = EngineError(engine, data["message"])
    else:
        kind = getattr(errors, name) if name in errors.__all__ else getattr(builtins, name)
        error = kind(*valued(data["args"]))
        vars(error).update(valued(data["fields"]))
    if data["traceback"]:
        error.__cause__ = _RemoteTraceback(data["traceback"])
    return error
