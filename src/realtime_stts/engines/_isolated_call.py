"""A call of an engine's process, between the thread that hears it and the task that waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING

from anyio import lowlevel, move_on_after
from typing_extensions import Self

from ..audio import AudioData
from ..errors import EngineTimeoutError
from ._isolated_frames import Message
from ._isolated_wire import WINDOW
from ._lookout import lookout

if TYPE_CHECKING:
    from ._isolated_process import EngineProcess

__all__ = ["Call"]


class Call:
    """One call, as a context: withdrawn at its end, if it is still under way.

    Args:
        timeout: Seconds to wait for each result at most, or None.
    """

    def __init__(self, id: int, process: EngineProcess, timeout: float | None) -> None:
        self.id = id
        self._process = process
        self._timeout = timeout
        self._lookout = lookout()
        self._items: deque[Message] = deque()
        self._n_taken = 0  # that the process does not know of
        self._n_sendable = WINDOW
        self._ended = False
        self._error: BaseException | None = None
        self.over = Event()  # for who waits in a thread

    # -- the hearing thread's side

    def deliver(self, item: Message) -> None:
        self._items.append(item)
        self._lookout.ring()

    def let_send(self) -> None:
        self._n_sendable += 1
        self._lookout.ring()

    def end(self, error: BaseException | None) -> None:
        self._error, self._ended = error, True
        self.over.set()
        self._lookout.ring()

    # -- the caller's side

    @property
    def ready(self) -> bool:
        """Whether `take` has an answer now."""
        return bool(self._items) or self._ended

    @property
    def sendable(self) -> bool:
        """Whether another chunk may be sent now."""
        return self._n_sendable > 0

    def take(self) -> Message | None:
        """The next result, or None if there are no more.

        Raises:
            Exception: What the engine raised, after its results.
        """
        if self._items:
            self._n_taken += 1
            if self._n_taken >= WINDOW // 2:
                self._process.let_send(self.id, self._n_taken)
                self._n_taken = 0
            return self._items.popleft()
        error, self._error = self._error, None  # or it would hold the frames it is raised in
        if error is not None:
            try:
                raise error
            finally:
                del error
        return None

    async def next(self) -> Message | None:
        """Wait for the next result; None if there are no more.

        Raises:
            EngineTimeoutError: None has come within the time for that.
            Exception: As `take`.
        """
        await self.wait(lambda: self.ready)
        return self.take()

    async def wait(self, ready: Callable[[], bool]) -> None:
        """Wait for a result, or until more may be sent.

        Raises:
            EngineTimeoutError: It has taken too long.
        """
        if ready():
            await lowlevel.checkpoint()  # what is there at once must not starve others
            return
        with move_on_after(self._timeout):
            await self._lookout.wait(ready)
            return
        assert self._timeout is not None
        self._process.expire(self)
        raise EngineTimeoutError(self._process.name, self._timeout)

    def send(self, chunk: AudioData) -> None:
        """Send a chunk, which has to be `sendable`."""
        self._n_sendable -= 1
        self._process.send_audio(self.id, chunk)

    def send_end(self) -> None:
        self._process.send_end(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """The caller is gone: a call that is under way is withdrawn."""
        self._process.withdraw(self)
