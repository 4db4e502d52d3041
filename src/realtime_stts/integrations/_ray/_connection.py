"""What one engine knows of a deployment while it is connected, and when it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Lock
from types import TracebackType
from typing import Any, Final

import ray
from ray import serve
from ray.serve.exceptions import RayServeException
from typing_extensions import Self

from ...engines._failures import own_copy
from ...engines._lookout import lookout
from ...errors import EngineLoadError, EngineUnavailableError, RealtimeSTTSError
from ._admission import Admission, Slot
from ._call import Call
from ._deploying import DEPLOYMENT
from ._messages import PROTOCOL, Request
from ._ray_thread import RayThread, current_thread, hold, let_go, outcome
from ._settings import EdgeOptions
from ._translation import Displaced, translated

__all__ = ["Connection", "Place"]

_LOOK: Final = 2.0  # s between looks at how many replicas run, while there are calls
_REST: Final = 0.5  # s
_connecting = Lock()


class Connection:
    """From its opening until nobody uses it; as a context, it is left at the end."""

    def __init__(self, thread: RayThread, name: str, kind: str, options: EdgeOptions) -> None:
        self.thread = thread
        self.name = name
        self.options = options
        self.admission = Admission(name, 1, options.places(1))
        self.replicas = 0
        self.retried = 0
        self._kind = kind
        self._slots_each = 1
        self._handle: Any = None
        self._stale = True  # whether the handle is to be asked for again
        self._lock = Lock()
        self._n_users = 0
        self._bells: set[Callable[[], None]] = set()
        self._watching = False

    # -- from any thread

    def take(self) -> None:
        """Use it, until it is left."""
        with self._lock:
            self._n_users += 1

    def leave(self) -> None:
        with self._lock:
            self._n_users -= 1
            bells = [] if self._n_users else [*self._bells]
        for bell in bells:
            bell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()

    def call(self, request: Request, slot: Slot | None) -> Call:
        return Call(self, request, slot)

    def begin(self, call: Call) -> None:
        """Have a call run in the thread, until it has `ended`."""
        self.take()
        self.thread.start(call.run)

    def ended(self, call: Call) -> None:
        self.leave()

    def watch(self) -> None:
        """Know how many replicas run, for as long as somebody uses the connection."""
        with self._lock:
            if self._watching:
                return
            self._watching = True
        self.thread.start(self._watch)

    def displaced(self, *, again: bool) -> None:
        """A replica was not there: look for others, as the call does that is made again."""
        self.retried += again
        self._stale = True
        self.thread.start(self._look_quietly)

    async def idle(self) -> None:
        """Wait until nobody uses it."""
        waiting = lookout()
        with self._lock:
            self._bells.add(waiting.ring)
        await waiting.wait(lambda: self._n_users == 0)

    # -- in the thread

    async def open(self) -> None:
        """Find the deployment, and a replica of it.

        Raises:
            EngineUnavailableError: There is no cluster, no deployment or no replica.
            EngineLoadError: It is not an engine of this kind and version.
        """
        about = await self._greet(self.options.retries)
        if about.get("protocol") != PROTOCOL or about.get("kind") != self._kind:
            raise EngineLoadError(
                self.name,
                f"what is deployed there is {about.get('kind')} of version "
                f"{about.get('protocol')}, and not {self._kind} of version {PROTOCOL}",
            )
        await self.look()

    async def _greet(self, retries: int) -> Mapping[str, Any]:
        """What a replica says of itself."""
        call = Call(self, Request("hello", {}), None)
        self.take()
        await call.run()
        error = call.error
        if isinstance(error, Displaced) and retries:
            self._stale = True
            await asyncio.sleep(_REST)
            return await self._greet(retries - 1)
        if error is not None:
            raise error.error if isinstance(error, Displaced) else error
        return call.about

    async def handle(self) -> Any:
        """Serve's handle of the deployment."""
        if self._stale:
            self._handle = await asyncio.to_thread(self._find)
            self._stale = False
        return self._handle

    def met(self, about: Mapping[str, Any]) -> None:
        """A replica has said what it is."""
        if about.get("slots", self._slots_each) != self._slots_each:
            self._slots_each = about["slots"]
            self._resize()

    async def look(self) -> int:
        """How many replicas run now."""
        self.replicas = await asyncio.to_thread(self._n_replicas)
        self._resize()
        return self.replicas

    def _find(self) -> Any:
        try:
            with _connecting:
                if not ray.is_initialized():
                    if self.options.address is None:
                        raise EngineUnavailableError(
                            self.name,
                            "this program is not connected to Ray: call ray.init(), "
                            "or say the cluster's address",
                        )
                    ray.init(self.options.address, log_to_driver=False)
            return serve.get_app_handle(self.name)
        except (ConnectionError, RayServeException) as exc:
            raise EngineUnavailableError(self.name, f"it is not deployed there: {exc}") from exc

    def _n_replicas(self) -> int:
        if not ray.is_initialized():  # or Serve would start a cluster of its own
            return 0
        application = serve.status().applications.get(self.name)
        deployment = application and application.deployments.get(DEPLOYMENT)
        if not deployment:
            return 0
        return sum(n for state, n in deployment.replica_states.items() if state == "RUNNING")

    def _resize(self) -> None:
        slots = self.options.slots(self.replicas, self._slots_each)
        self.admission.resize(slots, self.options.places(slots))

    async def _watch(self) -> None:
        while True:
            await self._look_quietly()
            await asyncio.sleep(_LOOK)
            with self._lock:
                if not self._n_users:
                    self._watching = False
                    return

    async def _look_quietly(self) -> None:
        try:
            await self.look()
        except Exception as exc:  # noqa: BLE001 - the next call is told what is wrong
            translated(exc, self.name)


class Place:
    """Where an engine's connection is, if there is one.

    Its own object, so that the engine can go.
    """

    def __init__(self, name: str, kind: str, options: EdgeOptions) -> None:
        self._name, self._kind, self._options = name, kind, options
        self._lock = Lock()
        self._opening: Future[Connection] | None = None

    @property
    def connection(self) -> Connection | None:
        """The connection, if it is open."""
        opening = self._opening
        if opening is None or not opening.done() or opening.exception() is not None:
            return None
        return opening.result()

    async def use(self) -> Connection:
        """The connection, opened now if it is not, and used until it is left as a context.

        Raises:
            EngineError: It cannot be opened.
        """
        while True:
            with self._lock:
                connection = self.connection
                if connection is not None:
                    connection.take()
                    return connection
            await self.open()

    async def open(self) -> None:
        """Connect, once, however many ask. Who is cancelled just waits no longer.

        Raises:
            EngineError: It cannot be done.
        """
        begun = None
        with self._lock:
            if self._opening is None:
                begun = self._opening = hold().start(self._open)
            opening = self._opening
        if begun is not None:
            begun.add_done_callback(self._opened)
        try:
            await outcome(opening)
        except RealtimeSTTSError as exc:
            raise own_copy(exc, self._name) from exc.__cause__

    async def close(self) -> None:
        """Wait for those who use it, and let it go."""
        opening = self._opening
        if opening is None:
            return
        try:
            connection = await outcome(opening)
        except RealtimeSTTSError:  # it is told to who opened it
            return
        try:
            await connection.idle()
        finally:
            self._drop(opening)

    def clear(self) -> None:
        """Let it go, now."""
        if self._opening is not None:
            self._drop(self._opening)

    async def _open(self) -> Connection:
        connection = Connection(current_thread(), self._name, self._kind, self._options)
        try:
            await connection.open()
        except Exception as exc:
            error = translated(exc, self._name)
            raise (error.error if isinstance(error, Displaced) else error) from exc
        return connection

    def _opened(self, opening: Future[Connection]) -> None:
        if opening.cancelled() or opening.exception() is not None:
            self._drop(opening)  # the next one tries again

    def _drop(self, opening: Future[Connection]) -> None:
        with self._lock:
            if opening is not self._opening:
                return
            self._opening = None
        let_go()
