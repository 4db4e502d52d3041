"""What is made of settings as a whole: engines and conversations that share what they should."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Literal, overload

from typing_extensions import Self

from ..analytics import AnalyticsStore
from ..conversation import (
    ConversationEngine,
    EchoResponseGenerator,
    SessionLimits,
    TemplateResponseGenerator,
    TurnPolicy,
)
from ..instrumentation import Instrumentation
from ..middleware import Chain
from ..protocols import (
    Lifecycle,
    ManagedSTTEngine,
    ManagedTTSEngine,
    PauseDetector,
    ResponseGenerator,
)
from ..settings import Settings, SettingsProvider, SettingsStore
from ..voices import VoiceRegistry
from ._engines import chosen_detector, chosen_stt, chosen_tts
from ._layers import Kind, Layers, values

__all__ = ["Assembly", "build_chain", "build_conversation", "build_engine"]


class Assembly:
    """Engines, chains and a conversation of some settings, which share what is to be shared.

    Each part is made when it is first asked for, and once. Of all kinds of calls there is one
    rate limit, one cache, one log, one audit and one store of analytics; each engine has its
    own slots, circuit, and budget of retries.

    ``async with`` opens the store of analytics, loads the engines, and lets fallbacks look
    after engines that are down; at its end all is closed. What is asked for within it is
    opened when it is first used.

    Args:
        settings: Some settings. A later change of them makes another assembly necessary.
        instrumentation: Told of each call, load, turn and session.
        store: Of analytics, in the place of the settings'; it stays the caller's to close.
        kinds: What ``async with`` makes ready.
        voices: For Chatterbox, in the place of those in the settings' folder, which takes one
            registry at a time.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        instrumentation: Sequence[Instrumentation] = (),
        store: AnalyticsStore | None = None,
        kinds: Sequence[Literal["stt", "tts"]] = ("stt", "tts"),
        voices: VoiceRegistry | None = None,
    ) -> None:
        self.settings = settings
        self._instrumentation = tuple(instrumentation)
        self._kinds = tuple(kinds)
        self._voices = voices
        self._layers = Layers(settings, self._instrumentation, store)
        self._open = AsyncExitStack()

    # -- parts ---------------------------------------------------------------------------

    def chain(self, kind: Kind) -> Chain:
        """The middleware around an engine of that kind."""
        return self._layers.once("chain", kind, lambda: Chain(*self._layers.around(kind)))

    @property
    def stt(self) -> ManagedSTTEngine:
        """The engine that transcribes, in its chain.

        Raises:
            UnknownEngineError: No installed package offers the one that is set.
            MissingExtraError: Its package is not installed.
            ValueError: It refuses one of `stt_engine.options`.
        """
        return self._layers.once(
            "engine", "stt", lambda: self.chain("stt").wrap(chosen_stt(self.settings))
        )

    @property
    def tts(self) -> ManagedTTSEngine:
        """The engine that speaks, in its chain; otherwise as `stt`."""
        return self._layers.once(
            "engine", "tts", lambda: self.chain("tts").wrap(chosen_tts(self.settings, self._voices))
        )

    @property
    def responder(self) -> ResponseGenerator:
        """What answers, in its chain."""
        return self._layers.once("engine", "response", self._responder)

    @property
    def store(self) -> AnalyticsStore | None:
        """Where analytics go to last, if they do."""
        return self._layers.store

    def conversation(self, **options: Any) -> ConversationEngine:
        """A conversation of these engines.

        Args:
            options: Of `ConversationEngine`, in the place of the settings'.
        """
        said = self.settings.conversation
        given: dict[str, Any] = {
            "config_provider": SettingsProvider(self.settings),
            "policy": TurnPolicy(**values(said.policy)),
            "limits": SessionLimits(**values(said.limits)),
            "end_of_turn": "adaptive" if said.adaptive_end_of_turn else None,
            "partial_interval": said.partial_interval,
            "playout_lead": said.playout_lead,
            "instrumentation": self._instrumentation,
            **options,
        }
        for name, part in (
            ("stt", lambda: self.stt),
            ("tts", lambda: self.tts),
            ("responder", lambda: self.responder),
            ("pause_detector", self.pause_detector),
        ):
            if name not in given:
                given[name] = part()
        return ConversationEngine(given.pop("config_provider"), **given)

    def pause_detector(self) -> PauseDetector:
        """A new pause detector."""
        return chosen_detector(self.settings)

    # -- life cycle ----------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            opened.callback(self._close)
            store = self.store
            if store is not None and self._layers.is_ours(store):
                await opened.enter_async_context(store)
            for kind in self._kinds:
                engine = self.stt if kind == "stt" else self.tts
                for each in self._layers.standing_by(kind):
                    await opened.enter_async_context(each)
                await opened.enter_async_context(engine)
                fallback = self._layers.made("fallback", kind)
                if fallback is not None:
                    await opened.enter_async_context(fallback)
            self._open = opened.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Not told of the body's error: a task group of theirs would wrap it in a group.
        await self._open.aclose()

    # -- inside

    def _close(self) -> None:
        audit_log = self._layers.made("audit log", "")
        if audit_log is not None:
            audit_log.close()

    def _responder(self) -> ResponseGenerator:
        responder: ResponseGenerator = (
            EchoResponseGenerator()
            if self.settings.conversation.response_mode == "echo"
            else TemplateResponseGenerator()
        )
        return self.chain("response").wrap(responder)


def build_chain(settings: Settings, kind: Kind, **shared: Any) -> Chain:
    """The middleware that settings ask for, around calls of a kind.

    Args:
        shared: As of `Assembly`, which is for several chains that share limits and logs.
    """
    return Assembly(settings, **shared).chain(kind)


@overload
def build_engine(settings: Settings, kind: Literal["stt"], **shared: Any) -> ManagedSTTEngine: ...
@overload
def build_engine(settings: Settings, kind: Literal["tts"], **shared: Any) -> ManagedTTSEngine: ...
def build_engine(settings: Settings, kind: Literal["stt", "tts"], **shared: Any) -> Lifecycle:
    """The engine that settings name, in its chain: made, and loaded by ``async with``.

    Engines that stand by load on demand. Analytics and audits in files are opened at the first
    call, and closed with the process; an `Assembly` closes them at its own end.

    Args:
        shared: As of `Assembly`, which is for several engines that share limits and logs.

    Raises:
        UnknownEngineError: No installed package offers that engine.
        MissingExtraError: Its package is not installed.
        ValueError: It refuses one of its options.
    """
    assembly = Assembly(settings, **shared)
    return assembly.stt if kind == "stt" else assembly.tts


def build_conversation(settings: Settings | SettingsStore, **options: Any) -> ConversationEngine:
    """A conversation as settings have it.

    Args:
        settings: Some settings; or a store, whose changes of language, voice and history
            count for conversations that begin afterwards.
        options: Of `ConversationEngine`, in the place of the settings'.
    """
    if isinstance(settings, SettingsStore):
        options.setdefault("config_provider", SettingsProvider(settings))
        settings = settings.current
    return Assembly(settings).conversation(**options)
