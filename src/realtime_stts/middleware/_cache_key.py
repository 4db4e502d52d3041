"""What makes two calls the same call: a digest of all that an engine is given.

Values are written with their type and length, so that no two different ones are written
alike: 1, 1.0, True and "1" are four keys. The digest (BLAKE2b, 256 bits) is as good as what
it is made from, holds nothing of what is said, and takes the same room for any text.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from ..audio import AudioData
from ._context import RequestContext

__all__ = ["cache_key"]

_MAX_DEPTH: Final = 16  # of nested values; what holds itself is deeper than any
_PLAIN: Final = "biufcSU"  # kinds of numpy types that are their bytes: numbers and strings


def cache_key(context: RequestContext) -> bytes | None:
    """The text or the audio, and the whole configuration; None if it has no exact key.

    It takes about 5 us for a text and 1 ms for a megabyte of audio. Files are known by
    their path, not by what is in them.
    """
    given = context.input_data.get("audio" if context.request_type == "stt" else "text")
    digest = blake2b(digest_size=32)
    try:
        _write(digest.update, given, 0)
        _write(digest.update, context.config, 0)
    except _NoKeyError:
        return None
    return digest.digest()


class _NoKeyError(Exception):
    """A value that may be equal to another one without being the same, or the other way."""


def _write(put: Callable[[bytes], object], value: Any, depth: int) -> None:
    if isinstance(value, np.generic) and value.dtype.kind in _PLAIN:
        put(b"g")
        _write_leaf(put, value.dtype.str.encode(), value.tobytes())
    elif isinstance(value, dict):
        _write_items(put, value, depth)
    elif isinstance(value, list | tuple):
        _enter(depth)
        put(b"%c%d:" % (b"l" if isinstance(value, list) else b"t", len(value)))
        for each in value:
            _write(put, each, depth + 1)
    elif isinstance(value, AudioData):
        layout = f"{value.format}/{value.sample_rate}/{value.channels}"
        _write_leaf(put, b"a" + layout.encode(), value.data)
    elif isinstance(value, np.ndarray) and value.dtype.kind in _PLAIN:
        layout = f"{value.dtype.str}{value.shape}"
        _write_leaf(put, b"n" + layout.encode(), value.tobytes())
    elif isinstance(value, PurePath):
        _write_leaf(put, b"p", str(value).encode("utf-8", "surrogatepass"))
    else:
        _write_scalar(put, value)


def _write_scalar(put: Callable[[bytes], object], value: Any) -> None:
    kind = type(value)
    if kind is str:
        _write_leaf(put, b"s", value.encode("utf-8", "surrogatepass"))
    elif kind is bytes:
        _write_leaf(put, b"b", value)
    elif kind is int:
        _write_leaf(put, b"i", f"{value:x}".encode())  # decimal digits have a limit
    elif value is None or kind is bool or kind is float:
        _write_leaf(put, kind.__name__.encode(), repr(value).encode())
    else:
        raise _NoKeyError


def _write_items(put: Callable[[bytes], object], items: dict[Any, Any], depth: int) -> None:
    _enter(depth)
    if not all(type(key) is str for key in items):
        raise _NoKeyError
    put(b"d%d:" % len(items))
    for key in sorted(items):  # the order in which they were said changes nothing
        _write_scalar(put, key)
        _write(put, items[key], depth + 1)


def _write_leaf(put: Callable[[bytes], object], kind: bytes, data: bytes) -> None:
    put(b"%b %d:" % (kind, len(data)))
    put(data)


def _enter(depth: int) -> None:
    if depth >= _MAX_DEPTH:
        raise _NoKeyError
