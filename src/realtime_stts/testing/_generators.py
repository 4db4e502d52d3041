"""Finds async generators that nobody closed.

What such a generator holds (a microphone, a call of an engine) is let go when the garbage
collector finds it, in another task, at any time; or never.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import AsyncGeneratorType, CodeType
from typing import Any
from weakref import WeakSet

__all__ = ["OpenGenerators", "watched_generators"]

_Generator = AsyncGeneratorType[Any, Any]
_Hook = Callable[[Any], None]  # typeshed has a wider type for a generator


class OpenGenerators:
    """Async generators that began while they were watched, and were not closed.

    Args:
        is_ours: Whether a generator that begins at this moment is to be watched.
    """

    def __init__(self, is_ours: Callable[[], bool]) -> None:
        self._is_ours = is_ours
        self._begun: WeakSet[_Generator] = WeakSet()
        # A generator that is being collected is in no set of weak references any more.
        self._codes: dict[int, CodeType] = {}
        self._dropped: list[str] = []

    def begin(self, generator: _Generator) -> None:
        """It is asked for its first item."""
        if self._is_ours():
            self._begun.add(generator)
            self._codes[id(generator)] = generator.ag_code

    def drop(self, generator: _Generator) -> None:
        """It is collected, and had not ended."""
        if self._codes.get(id(generator)) is generator.ag_code:
            self._dropped.append(generator.__qualname__)

    @property
    def names(self) -> list[str]:
        """The functions whose generators they are."""
        left = (each for each in self._begun if each.ag_frame is not None)
        return sorted({*(each.__qualname__ for each in left), *self._dropped})


class _Hooks(threading.local):
    """Stands before the event loop's own hooks while anybody watches, in each thread."""

    def __init__(self) -> None:
        self.watchers: list[OpenGenerators] = []
        self._before = sys.get_asyncgen_hooks()

    def install(self) -> None:
        self._before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self._first_iteration, self._finalizer(self._before.finalizer))

    def uninstall(self) -> None:
        sys.set_asyncgen_hooks(*self._before)

    def _first_iteration(self, generator: Any) -> None:
        for watcher in self.watchers:
            watcher.begin(generator)
        if self._before.firstiter is not None:
            self._before.firstiter(generator)

    def _finalizer(self, before: _Hook | None) -> _Hook:
        # A generator keeps the one it began with, though that may have been uninstalled.
        def finalize(generator: Any) -> None:
            for watcher in self.watchers:
                watcher.drop(generator)
            if before is not None:
                before(generator)

        return finalize


_hooks = _Hooks()


@contextmanager
def watched_generators(is_ours: Callable[[], bool]) -> Iterator[OpenGenerators]:
    """Watch the generators that begin inside, in this thread. Blocks may overlap."""
    watcher = OpenGenerators(is_ours)
    if not _hooks.watchers:
        _hooks.install()
    _hooks.watchers.append(watcher)
    try:
        yield watcher
    finally:
        _hooks.watchers.remove(watcher)
        if not _hooks.watchers:
            _hooks.uninstall()
