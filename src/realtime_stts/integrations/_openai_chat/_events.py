"""PURE: the data of server-sent events, from a body that arrives in pieces.

As the HTML standard has them (section 9.2.6), as far as answers use them: of each event the
``data`` lines, joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["EventReader"]

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_MAX_EVENT: Final = 1 << 20  # bytes, of a line and of an event; a token takes a few hundred


class EventReader:
    """One body's events, however it is cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._begun = False

    def push(self, piece: bytes) -> Iterator[str]:
        """The data of each event that is whole now.

        Raises:
            ValueError: A line or an event is longer than a MiB.
        """
        rest = self._rest + piece
        if not self._begun and len(rest) >= 3:
            rest, self._begun = rest.removeprefix(b"\xef\xbb\xbf"), True
        at = 0
        while (end := _LINE_END.search(rest, at)) is not None:
            if end.group() == b"\r" and end.end() == len(rest):
                break  # perhaps half of a line's end
            line, at = rest[at : end.start()], end.end()
            if line:
                self._keep(line)
            elif self._data:
                yield b"\n".join(self._data).decode("utf-8", "replace")
                self._data, self._size = [], 0
        self._rest = rest[at:]
        if len(self._rest) > _MAX_EVENT:
            raise ValueError("has a line that does not end")

    def _keep(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field != b"data":
            return
        self._size += len(value)
        if self._size > _MAX_EVENT:
            raise ValueError("has an event that does not end")
        self._data.append(value.removeprefix(b" "))
