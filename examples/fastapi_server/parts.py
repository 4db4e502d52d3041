"""The engines, each in its chain: replaced as one by a reload."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, Literal

from realtime_stts import ConversationEngine
from realtime_stts.analytics import AnalyticsStore
from realtime_stts.building import Assembly
from realtime_stts.middleware import CallNext, Chain, RequestContext
from realtime_stts.protocols import Lifecycle
from realtime_stts.settings import Settings
from realtime_stts.voices import VoiceRegistry

__all__ = ["InFlight", "Parts"]

_Kind = Literal["stt", "tts"]


class InFlight:
    """Counts the calls that are under way: a server that stops waits for them."""

    name = "in_flight"

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(
        self, context: RequestContext, call_next: CallNext, /
    ) -> AsyncGenerator[Any]:
        self.calls += 1
        try:
            async with aclosing(call_next(context)) as results:
                async for result in results:
                    yield result
        finally:
            self.calls -= 1


class Parts:
    """The engines of some settings, and the conversations they hold.

    Args:
        in_flight: Goes around every chain.
        given: Engines in the place of the settings': ``stt``, ``tts``, ``responder`` and other
            options of `ConversationEngine`. They get the same chains.
    """

    def __init__(
        self,
        settings: Settings,
        voices: VoiceRegistry,
        store: AnalyticsStore,
        in_flight: InFlight,
        given: dict[str, Any],
    ) -> None:
        rest = dict(given)
        self._around = Chain(in_flight)
        self._given = [kind for kind in ("stt", "tts") if kind in rest]
        self.assembly = Assembly(
            settings,
            store=store,
            voices=voices,
            kinds=[kind for kind in ("stt", "tts") if kind not in rest],
            instrumentation=rest.pop("instrumentation", ()),
        )
        self.stt = self._engine("stt", rest.pop("stt", None))
        self.tts = self._engine("tts", rest.pop("tts", None))
        if "responder" not in rest:
            rest["responder"] = self._around.wrap(self.assembly.responder)
        self.conversation: ConversationEngine = self.assembly.conversation(
            stt=self.stt, tts=self.tts, **rest
        )

    @asynccontextmanager
    async def loaded(self) -> AsyncGenerator[None]:
        """Load the engines and let them try; unload them at the end.

        Raises:
            Exception: Whatever an engine raises that cannot be loaded.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.assembly)
            for kind, engine in (("stt", self.stt), ("tts", self.tts)):
                if isinstance(engine, Lifecycle):
                    if kind in self._given:
                        await stack.enter_async_context(engine)
                    await engine.warmup()
            yield

    def _engine(self, kind: _Kind, given: Any) -> Any:
        if given is not None:
            return self._around.wrap(self.assembly.chain(kind).wrap(given))
        return self._around.wrap(self.assembly.stt if kind == "stt" else self.assembly.tts)
