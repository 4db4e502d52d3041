"""PURE: which of the calls that wait for a model make up its next batch.

Calls share a batch only within a group: what cannot be mixed in one call of the model.
Sessions take turns. A batch is filled in rounds, each session giving one call in a round,
and whoever gave last goes to the end of the line; the session at its head decides the group.
So with one call each, the oldest call is served first; a session with a hundred calls delays
another by a batch at most; and no call waits for ever, whatever comes after it: each batch
serves the head of the line, and new sessions join at its end.

Within a session the calls of a group keep their order. Those of another group may overtake
them, or a batch would be no larger than the session's run of equal options.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Batch", "Schedule"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Calls to be run together, in the order in which they were chosen; at least one."""

    calls: tuple[T, ...]
    background: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[T]):
    call: T
    group: Hashable
    session: Hashable


class Schedule(Generic[T]):
    """The calls that wait, interactive ones before those of the background.

    Args:
        max_batch: Calls in a batch, at most.
        max_waiting: Interactive calls that wait, at most, and as many of the background:
            counted apart, so that background work never shuts interactive calls out.
    """

    def __init__(self, max_batch: int, max_waiting: int) -> None:
        if max_batch < 1 or max_waiting < 1:
            raise ValueError("max_batch and max_waiting must be at least 1")
        self._max_batch = max_batch
        self._interactive = _Line[T](max_waiting)
        self._background = _Line[T](max_waiting)

    def __len__(self) -> int:
        return len(self._interactive) + len(self._background)

    def add(
        self,
        call: T,
        *,
        group: Hashable = None,
        session: Hashable = None,
        background: bool = False,
    ) -> bool:
        """Let ``call`` wait, unless as many do as may: return whether it does.

        A call that names no session is a session of its own.
        """
        line = self._background if background else self._interactive
        if line.full:
            return False
        line.append(_Waiting(call, group, object() if session is None else session))
        return True

    def discard(self, call: T) -> None:
        """``call`` waits no more, if it did."""
        self._interactive.discard(call)
        self._background.discard(call)

    @property
    def fills_a_batch(self) -> bool:
        """Whether the next batch would be as large as one may be."""
        line = self._interactive or self._background
        return len(line) > 0 and line.n_of_next_group >= self._max_batch

    def take(self, *, interactive_only: bool = False) -> Batch[T] | None:
        """The next batch, whose calls wait no more; None if there is none."""
        if len(self._interactive):
            return Batch(self._interactive.take(self._max_batch), background=False)
        if len(self._background) and not interactive_only:
            return Batch(self._background.take(self._max_batch), background=True)
        return None


class _Line(Generic[T]):
    """The sessions that wait, in the order of their turns, and the calls of each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sessions: dict[Hashable, deque[_Waiting[T]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._sessions.values()))

    def __iter__(self) -> Iterator[_Waiting[T]]:
        for calls in self._sessions.values():
            yield from calls

    @property
    def full(self) -> bool:
        return len(self) >= self._limit

    def append(self, waiting: _Waiting[T]) -> None:
        self._sessions.setdefault(waiting.session, deque()).append(waiting)

    def discard(self, call: T) -> None:
        for waiting in self:
            if waiting.call == call:
                self._remove(waiting)
                return

    @property
    def n_of_next_group(self) -> int:
        group = next(iter(self)).group
        return sum(waiting.group == group for waiting in self)

    def take(self, n_calls: int) -> tuple[T, ...]:
        group = next(iter(self)).group
        taken: list[T] = []
        while len(taken) < n_calls and (turns := self._round(group)):
            for waiting in turns[: n_calls - len(taken)]:
                self._remove(waiting)
                self._to_the_end(waiting.session)
                taken.append(waiting.call)
        return tuple(taken)

    def _round(self, group: Hashable) -> list[_Waiting[T]]:
        """The first call of ``group`` of each session that has any."""
        firsts = (
            next((waiting for waiting in calls if waiting.group == group), None)
            for calls in self._sessions.values()
        )
        return [waiting for waiting in firsts if waiting is not None]

    def _remove(self, waiting: _Waiting[T]) -> None:
        calls = self._sessions[waiting.session]
        calls.remove(waiting)
        if not calls:
            del self._sessions[waiting.session]

    def _to_the_end(self, session: Hashable) -> None:
        if calls := self._sessions.pop(session, None):
            self._sessions[session] = calls
