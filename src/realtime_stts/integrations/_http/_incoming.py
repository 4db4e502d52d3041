"""PURE: what a client's messages are, and where they wait."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..._formats import PCM
from ...audio import AudioData

__all__ = ["Queue", "parsed"]

T = TypeVar("T")


@dataclass(slots=True)
class Queue(Generic[T]):
    """Messages of one kind that wait to be received; it may be overfull by one."""

    max_length: int
    max_bytes: int
    _items: deque[tuple[T, int]] = field(default_factory=deque)
    _n_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def is_full(self) -> bool:
        return len(self._items) >= self.max_length or self._n_bytes >= self.max_bytes

    def put(self, item: T, n_bytes: int) -> None:
        self._items.append((item, n_bytes))
        self._n_bytes += n_bytes

    def take(self) -> T:
        item, n_bytes = self._items.popleft()
        self._n_bytes -= n_bytes
        return item


def parsed(text: str) -> dict[str, Any] | AudioData:
    """A command, or audio.

    Raises:
        ValueError: It is neither; the text can be shown to the client.
    """
    try:
        message = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ValueError("this is not JSON") from None
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")  # noqa: TRY004 - the client's fault
    return _audio_of(message) if "audio_data" in message else message


def _audio_of(message: Mapping[str, Any]) -> AudioData:
    format = message.get("format", "pcm")
    if format not in _names(PCM):
        raise ValueError(f"audio in a message is one of {', '.join(PCM)}")
    try:
        data = b64decode(message["audio_data"], validate=True)
    except (TypeError, ValueError):
        raise ValueError("audio_data is not base64") from None
    layout = (message.get("sample_rate", 16_000), message.get("channels", 1))
    if not all(isinstance(each, int) for each in layout):
        raise ValueError("sample_rate and channels are whole numbers")
    return AudioData(data, *layout, format)


def _names(formats: Mapping[str, object]) -> Sequence[str]:
    return [*formats]  # a list is searched by ==, so that anything may be looked for


def _no_number(name: str) -> None:
    raise ValueError(name)  # as NaN, which Python reads and browsers do not
