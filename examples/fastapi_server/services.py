"""What the routers share: the engines in their chains, the voices, and who is here."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Literal

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup, TaskStatus

from realtime_stts import ConversationEngine
from realtime_stts.analytics import (
    AnalyticsStore,
    InMemoryAnalyticsStore,
    SQLiteAnalyticsStore,
)
from realtime_stts.errors import OverloadedError
from realtime_stts.instrumentation import Instrumentation
from realtime_stts.integrations.starlette import AudioDecoder, Seats, Tickets
from realtime_stts.settings import Settings, SettingsStore
from realtime_stts.voices import VoiceRegistry

from .access import Access
from .connections import Connections
from .parts import InFlight, Parts
from .trail import Trail
from .voices import Voices, folder_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["Services", "State"]

_log = logging.getLogger(__name__)

_POLL = 0.05  # s
_UNLOADING = 10.0  # s for engines to end
State = Literal["starting", "ready", "failed", "draining"]


class Services:
    """One server's state. `running` loads the engines, and unloads them at its end.

    Args:
        store: The settings. What a change of them needs a restart for, `reload` gives it,
            except for what is the server's own: its address, its limits, who may come in.
        management_token: As of `Access`.
        given: As of `Parts`; and ``analytics``, a store in the place of the settings'.
    """

    def __init__(
        self,
        store: SettingsStore,
        *,
        management_token: str | None = None,
        **given: Any,
    ) -> None:
        settings = store.current
        limits = settings.limits
        self.store = store
        self.started_at = time()
        self.access = Access(settings, management_token)
        self.trail = Trail(settings)
        self.tickets = Tickets()
        self.seats = Seats(limits.max_sessions, limits.max_sessions_per_client)
        self.connections = Connections()
        self.in_flight = InFlight()
        self.analytics: AnalyticsStore = given.pop("analytics", None) or _analytics(settings)
        self.decoder = AudioDecoder(
            max_seconds=limits.max_audio_seconds,
            cpu_seconds=limits.max_decoding_seconds,
            max_processes=limits.max_decoders,
        )
        self.voices = VoiceRegistry(folder_of(settings))
        self.catalogue = Voices(self)
        self.metrics, told = _metrics()
        self._given = {**given, "instrumentation": (*given.get("instrumentation", ()), *told)}
        self.parts = self._make()
        self.state: State = "starting"
        self.problem: str | None = None  # why the engines are not ready
        self._failure: Exception | None = None
        self._tasks: TaskGroup | None = None
        self._over, self._gone = anyio.Event(), anyio.Event()  # for the parts in use to go
        self._loading: anyio.CancelScope | None = None
        self._changing = anyio.Lock()

    # -- what is used

    @property
    def settings(self) -> Settings:
        return self.store.current

    @property
    def stt(self) -> Any:
        """A `ManagedSTTEngine`."""
        return self.parts.stt

    @property
    def tts(self) -> Any:
        """A `ManagedTTSEngine`."""
        return self.parts.tts

    @property
    def conversation(self) -> ConversationEngine:
        return self.parts.conversation

    @property
    def management_token(self) -> str | None:
        """What lets the owner in; None if it is one of the settings'."""
        return self.access.management_token

    @staticmethod
    def now() -> float:
        """Seconds of the clock that tickets are good by."""
        return monotonic()

    def may_upload(self, path: str, authorization: str | None) -> bool:
        """Whether a large body is worth reading; whether they may do it, the route says."""
        is_managed = path.startswith(("/files/", "/upload_"))
        return not (is_managed or self.access.is_asked) or self.access.knows(authorization)

    # -- life cycle

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Serve. The engines get ready meanwhile: `state` says how far they are."""
        try:
            async with self.analytics, self.decoder, anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._begin)
                try:
                    yield
                finally:
                    self.state = "draining"
                    if self._loading is not None:
                        self._loading.cancel()
                    self._over.set()  # the engines are unloaded in the tasks that loaded them
                    tasks.cancel_scope.deadline = anyio.current_time() + _UNLOADING
        finally:
            self._tasks = None
            self.trail.close()

    async def drain(self) -> None:
        """Take on nothing new, let what is under way end, and close the sockets.

        That may take `server.drain_seconds`; cancelled, it closes the sockets at once.
        """
        self.state = "draining"
        try:
            with anyio.move_on_after(self.settings.server.drain_seconds):
                while self.in_flight.calls or self.connections.is_busy:  # noqa: ASYNC110
                    await anyio.sleep(_POLL)
        finally:
            with anyio.CancelScope(shield=True):
                await self.connections.close(1001, "the server is stopping")

    def refuse_while_draining(self) -> None:
        """Nothing new is begun by a server that stops.

        Raises:
            OverloadedError: It does.
        """
        if self.state == "draining":
            raise OverloadedError("the server is stopping", retry_after=5.0)

    async def reload(self) -> None:
        """Make the engines anew of the settings in force, and load them.

        Conversations under way keep the engines that they began with; these load again by
        themselves if they are called.

        Raises:
            Exception: Whatever an engine raises that cannot be made or loaded. It is asked
                again at the next call.
        """
        # Whoever asked for it may leave meanwhile: half a reload would be no server.
        with anyio.CancelScope(shield=True):
            async with self._changing:
                await self._reload()

    async def _reload(self) -> None:
        self.refuse_while_draining()
        parts = await to_thread.run_sync(self._make)  # before anything is given up
        self._over.set()
        with anyio.move_on_after(_UNLOADING):  # two sets of models may not fit
            await self._gone.wait()
        self._over, self._gone = anyio.Event(), anyio.Event()
        self.parts = parts
        await self._load()
        if self._failure is not None:
            raise self._failure

    async def _begin(self) -> None:
        async with self._changing:
            await self._load()

    async def _load(self) -> None:
        if self._tasks is None or self.state == "draining":
            return
        self.state, self.problem, self._failure = "starting", None, None
        try:
            with anyio.CancelScope() as self._loading:
                await self._tasks.start(self._hold, self.parts, self._over, self._gone)
        except Exception as exc:  # noqa: BLE001 - an engine's: the server says so and goes on
            _log.exception("the engines are not ready")
            self._failure, self.problem = exc, type(exc).__name__
        if self.state == "starting":  # and does not stop meanwhile
            self.state = "failed" if self._failure else "ready"

    @staticmethod
    async def _hold(
        parts: Parts, over: anyio.Event, gone: anyio.Event, *, task_status: TaskStatus[None]
    ) -> None:
        # In a task of its own: what an engine opens is closed in the task that opened it.
        ready = False
        try:
            async with parts.loaded():
                ready = True
                task_status.started()
                await over.wait()
        except Exception:
            if not ready:
                raise
            _log.exception("an engine did not end as it should")  # it takes nothing else along
        finally:
            gone.set()

    def _make(self) -> Parts:
        return Parts(self.settings, self.voices, self.analytics, self.in_flight, self._given)


def _analytics(settings: Settings) -> AnalyticsStore:
    """Where calls are counted: in the settings' file, or in memory for the page to show."""
    given = settings.analytics
    if given.path is None:
        return InMemoryAnalyticsStore(retention_days=given.retention_days)
    return SQLiteAnalyticsStore(given.path, retention_days=given.retention_days)


def _metrics() -> tuple[CollectorRegistry | None, tuple[Instrumentation, ...]]:
    """What Prometheus reads, if its package is installed."""
    try:
        from prometheus_client import CollectorRegistry

        from realtime_stts.integrations.prometheus import PrometheusInstrumentation
    except ImportError:
        return None, ()
    registry = CollectorRegistry()
    return registry, (PrometheusInstrumentation(registry),)
