"""A call to a replica, between the thread that talks with Ray and the task that waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import lowlevel
from typing_extensions import Self

from ..._request import current_origin, new_request_id
from ...audio import AudioData
from ...engines._isolated_frames import Message
from ...engines._isolated_values import unpacked_error
from ...engines._lookout import lookout
from ...errors import EngineCrashedError, EngineTimeoutError, EngineUnavailableError
from ._admission import Slot
from ._messages import WINDOW, Request, joined_sound, packed, unpacked
from ._replica import steer
from ._replica_call import SILENCE
from ._translation import Displaced, translated

if TYPE_CHECKING:
    from ._connection import Connection

__all__ = ["Call"]

_MAX_CHUNKS: Final = 256  # that wait to be sent, however short they are


class Call:
    """One attempt, as a context: withdrawn at its end, if it is still under way.

    The slot is taken until the replica has been told that nobody waits any more.
    """

    def __init__(self, connection: Connection, request: Request, slot: Slot | None) -> None:
        self.about: dict[str, Any] = {}  # the replica, once it has begun
        self.error: Exception | None = None
        self._id = new_request_id()
        self._connection = connection
        self._request = request
        self._slot = slot
        self._lookout = lookout()
        self._deadline = anyio.current_effective_deadline()
        self._asked_at = anyio.current_time()
        self._made_at = monotonic()  # the same moment, on the thread's clock
        origin = current_origin()
        self._origin = [origin.request_id or self._id, origin.session_id]
        # From thread to task.
        self._items: deque[Message] = deque()
        self._ended = False
        self._expired = False
        # From task to thread.
        self._lock = Lock()
        self._pending: list[AudioData] = []
        self._pending_seconds = 0.0
        self._pending_since = 0.0
        self._sound_ended = False
        self._n_taken = 0  # results that the replica does not know of
        # The thread's own.
        self._task: asyncio.Task[Any] | None = None
        self._withdrawn = False
        self._wake: asyncio.Event | None = None
        self._n_under_way = 0  # parcels of sound
        self._end_sent = False

    # -- the caller's side

    def __enter__(self) -> Self:
        if self._slot is not None:
            self._slot.take()
        self._connection.begin(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.thread.tell(self._withdraw)

    @property
    def ready(self) -> bool:
        """Whether `take` has an answer now."""
        return bool(self._items) or self._ended

    @property
    def sendable(self) -> bool:
        """Whether another chunk may be sent now."""
        with self._lock:
            return not self._pending or (
                self._pending_seconds < self._connection.options.batch
                and len(self._pending) < _MAX_CHUNKS
            )

    def send(self, chunk: AudioData) -> None:
        """Send a chunk, when it is `sendable`; with those that still wait, and soon."""
        with self._lock:
            if not self._pending:
                self._pending_since = monotonic()
            self._pending.append(chunk)
            self._pending_seconds += chunk.duration_seconds
        self._ring()

    def send_end(self) -> None:
        self._sound_ended = True
        self._ring()

    def take(self) -> Message | None:
        """The next result, or None if there are no more.

        Raises:
            Displaced: The replica is gone, or there is none.
            Exception: What the engine raised, after its results.
        """
        if self._items:
            with self._lock:
                self._n_taken += 1
                due = self._n_taken >= WINDOW // 2
            if due:
                self._ring()
            return self._items.popleft()
        error, self.error = self.error, None  # or it would hold the frames it is raised in
        if error is not None:
            try:
                raise error
            finally:
                del error
        return None

    async def next(self, timeout: float | None = None) -> Message | None:
        """Wait for the next result; None if there are no more.

        Raises:
            EngineTimeoutError: It has taken too long.
            Exception: As `take`.
        """
        await self.wait(lambda: self.ready, timeout)
        if self._expired and not self._items:
            await anyio.sleep_until(self._deadline)  # its caller's, who is cancelled now
            seconds = self._deadline - self._asked_at
            raise EngineTimeoutError(self._connection.name, seconds)
        return self.take()

    async def wait(self, ready: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait for a result, or until more may be sent.

        Raises:
            EngineTimeoutError: It has taken too long.
        """
        if ready():
            await lowlevel.checkpoint()  # what is there at once must not starve others
            return
        with anyio.move_on_after(inf if timeout is None else timeout):
            await self._lookout.wait(ready)
            return
        assert timeout is not None
        raise EngineTimeoutError(self._connection.name, timeout)

    def _ring(self) -> None:
        self._connection.thread.tell(self._awake)

    # -- the thread's side

    def _awake(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def _withdraw(self) -> None:
        self._withdrawn = True
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """All of it. Raises nothing: what happens is in `error`."""
        self._task = asyncio.current_task()
        self._wake = asyncio.Event()
        error: Exception | None = None
        try:
            if not self._withdrawn:
                await self._talk()
        except asyncio.CancelledError:
            pass  # withdrawn, or the thread ends
        except Exception as exc:  # noqa: BLE001 - it is raised where the call was made
            error = translated(exc, self._connection.name)
        self._task = None  # it is no use to cancel what has nothing left to do
        self._end(error)

    async def _talk(self) -> None:
        connection, request = self._connection, self._request
        handle = await connection.handle()
        remaining = self._deadline - self._asked_at - (monotonic() - self._made_at)
        header = {
            "method": request.method,
            "voice": request.voice,
            "remaining": None if remaining == inf else remaining,
            "origin": self._origin,
            **request.arguments,
        }
        there = handle.options(stream=True, multiplexed_model_id=request.voice)
        stream = there.call.remote(self._id, *packed(Message(header, request.payload)))
        steering: asyncio.Task[None] | None = None
        try:
            first, _, actor = await self._first(stream)
            self.about = dict(unpacked(first, b"").header)
            connection.met(self.about)
            steering = asyncio.create_task(self._steer(actor))
            async for header, payload, _ in stream:
                self._receive(unpacked(header, payload))
        finally:
            stream.cancel()  # Serve does not hear of a cancelled task by itself
            if steering is not None:
                steering.cancel()
                await asyncio.gather(steering, return_exceptions=True)

    async def _first(self, stream: Any) -> Any:
        """The first thing that a replica says.

        Raises:
            EngineUnavailableError: There is no replica, and none came.
        """
        patience = self._connection.options.patience
        first = asyncio.ensure_future(anext(stream))
        try:
            while not (await asyncio.wait([first], timeout=patience))[0]:
                if not await self._connection.look():
                    raise EngineUnavailableError(
                        self._connection.name, f"no replica has come up for {patience:g} s"
                    )
            return first.result()
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)  # or its error goes to a log

    def _receive(self, message: Message) -> None:
        header = message.header
        match header["do"]:
            case "item":
                self._items.append(message)
            case "taken":
                with self._lock:
                    self._n_under_way -= header["n"]
                self._awake()
            case "end":
                if header["error"] is not None:
                    self.error = unpacked_error(header["error"], self._connection.name)
                self._expired = header["expired"]
                self._give_back()  # the replica has no more to do, and the caller may ask again
                self._ended = True
        self._lookout.ring()

    def _end(self, error: Exception | None) -> None:
        self._give_back()
        if not self._ended:
            gone = EngineCrashedError(
                self._connection.name, "its replica ended in the middle of it"
            )
            self.error = error or Displaced(gone)
            self._ended = True
        self._connection.ended(self)
        self._lookout.ring()

    def _give_back(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.give_back()

    async def _steer(self, actor: Any) -> None:
        """Tell the replica what it needs to know; one message after the other."""
        assert self._wake is not None
        told_at = monotonic()
        while True:
            message = self._due()
            if message is None and monotonic() - told_at > SILENCE / 8:
                message = Message({})  # that the caller is still there
            if message is not None:
                told_at = monotonic()
                if not await actor.__ray_call__.remote(steer, self._id, *packed(message)):
                    return  # it has ended there
                self._lookout.ring()  # more may be sent
                continue
            rest = self._connection.options.batch if self._pending else SILENCE / 8
            with anyio.move_on_after(max(rest, 0.001)):
                await self._wake.wait()
            self._wake.clear()

    def _due(self) -> Message | None:
        """What the replica is to be told now, if anything."""
        header: dict[str, Any] = {}
        payload = b""
        batch = self._connection.options.batch
        with self._lock:
            if self._n_taken >= WINDOW // 2:
                header["taken"], self._n_taken = self._n_taken, 0
            whole = self._sound_ended or self._pending_seconds >= batch
            late = monotonic() - self._pending_since >= batch
            if self._pending and self._n_under_way < WINDOW and (whole or late):
                sound = joined_sound(self._pending)
                header |= sound.header
                payload = sound.payload
                self._n_under_way += 1
                self._pending, self._pending_seconds = [], 0.0
            if self._sound_ended and not self._pending and not self._end_sent:
                header["end"] = self._end_sent = True
        return Message(header, payload) if header else None
