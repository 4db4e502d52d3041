"""The conversation's front door: configured once, shared by every session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anyio

from .._edge import streaming_responder, streaming_stt, streaming_tts
from .._registry import load_pause_detector
from ..errors import AudioFormatError, MissingExtraError, SessionClosedError
from ..protocols import (
    ConfigurationProvider,
    ConversationContext,
    ConversationEvent,
    ConversationMiddleware,
    EventHandler,
    PauseDetector,
    ResponseGenerator,
    STTEngine,
    TTSEngine,
    WebSocketAdapter,
)
from ._bus import InProcessEventBus
from ._messages import (
    ChangeMode,
    Command,
    MessageEncoder,
    Ping,
    Reset,
    Statistics,
    Stop,
    Version,
    parse_command,
)
from ._session import Parts, Session
from ._turns import TurnPolicy
from .responders import Answer, EchoResponseGenerator, TemplateResponseGenerator, as_responder

__all__ = ["ConversationEngine"]

_POLL = 0.01  # s; for adapters that answer "nothing yet" instead of waiting

_DetectorFactory = Callable[[], PauseDetector]


class ConversationEngine:
    """Makes conversations of engines that it is given, already wrapped in their chains.

    Any number of sessions may run at a time: they share the engines and the responder, and
    each has its own detector, turns and history. Changing the configuration changes the
    sessions made afterwards.

    Args:
        config_provider: Where `language`, the voice configuration and the history's length
            come from, unless they are given here.
        stt: Any `STTEngine`; one that streams transcribes while the user speaks.
        tts: Any `TTSEngine`; one that streams is heard sooner.
        responder: A `ResponseGenerator`, or an async function of the transcription and the
            context that returns the answer or yields it in pieces. Default: templates.
        pause_detector: A detector with a ``clone`` method, as those of this library have,
            or a function that makes one for each session. Default: Silero if the ``local``
            extra is installed, else the energy detector.
        policy: When the user is taken to have finished.
        modes: Responders that a client may switch its session to, by name. Default:
            ``echo`` and ``template``.
        language: ISO 639-1, or None to let the engine detect it.
        voice_config: Passed to every synthesis.
    """

    def __init__(
        self,
        config_provider: ConfigurationProvider | None = None,
        *,
        stt: STTEngine | None = None,
        tts: TTSEngine | None = None,
        responder: ResponseGenerator | Answer | None = None,
        pause_detector: PauseDetector | _DetectorFactory | None = None,
        policy: TurnPolicy | None = None,
        modes: Mapping[str, ResponseGenerator | Answer] | None = None,
        language: str | None = None,
        voice_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.config_provider = config_provider
        self.stt_engine = stt
        self.tts_engine = tts
        self.response_generator = as_responder(responder or TemplateResponseGenerator())
        self.pause_detector: PauseDetector | _DetectorFactory = (
            pause_detector or _default_detector()
        )
        self.policy = policy or TurnPolicy()
        self._modes = {
            name: as_responder(mode) for name, mode in (modes or _default_modes()).items()
        }
        self._language = language
        self._voice_config = voice_config
        self._middleware: tuple[ConversationMiddleware, ...] = ()
        self._bus = InProcessEventBus()
        self._n_running = 0

    # -- configuration -------------------------------------------------------------------

    def configure_stt(self, engine: STTEngine) -> None:
        """Transcribe with ``engine``."""
        self.stt_engine = engine

    def configure_tts(self, engine: TTSEngine) -> None:
        """Speak with ``engine``."""
        self.tts_engine = engine

    def configure_pause_detection(self, detector: PauseDetector | _DetectorFactory) -> None:
        """Listen for pauses with clones of ``detector``, or with what it makes."""
        self.pause_detector = detector

    def configure_response_generation(self, responder: ResponseGenerator | Answer) -> None:
        """Answer with ``responder``."""
        self.response_generator = as_responder(responder)

    def add_middleware(self, middleware: ConversationMiddleware) -> None:
        """Wrap the answer to each turn in ``middleware``, inside those added before."""
        self._middleware += (middleware,)

    def remove_middleware(self, middleware: ConversationMiddleware) -> None:
        """Wrap it no more.

        Raises:
            ValueError: It had not been added.
        """
        remaining = [*self._middleware]
        remaining.remove(middleware)
        self._middleware = tuple(remaining)

    def subscribe_to_events(self, event_type: str, handler: EventHandler) -> None:
        """Be told of ``processing_start``, ``processing_complete``, ``processing_error``.

        The event's data hold the turn's ``context``, and an ``error``'s the ``error``.
        """
        self._bus.subscribe(event_type, handler)

    @property
    def is_running(self) -> bool:
        """Whether `handle_conversation` has a client now."""
        return self._n_running > 0

    # -- conversations -------------------------------------------------------------------

    def session(
        self,
        *,
        language: str | None = None,
        voice_config: Mapping[str, Any] | None = None,
        policy: TurnPolicy | None = None,
    ) -> Session:
        """A new conversation, without any transport: push audio, iterate events.

        Args:
            language: For this session, instead of the engine's.
            voice_config: For this session; its keys go over the engine's.
            policy: For this session, instead of the engine's.

        Raises:
            ValueError: No STT or no TTS engine has been configured.
        """
        if self.stt_engine is None or self.tts_engine is None:
            missing = "STT" if self.stt_engine is None else "TTS"
            raise ValueError(f"the conversation has no {missing} engine: give it one first")
        provider = self.config_provider
        stt_config = provider.get_stt_config() if provider else {}
        tts_config = provider.get_tts_config() if provider else {}
        conversation_config = provider.get_conversation_config() if provider else {}
        return Session(
            Parts(
                stt=streaming_stt(self.stt_engine),
                tts=streaming_tts(self.tts_engine),
                responder=streaming_responder(self.response_generator),
                detector=_own_detector(self.pause_detector),
                middleware=(*self._announcements(), *self._middleware),
                policy=policy or self.policy,
                language=language or self._language or stt_config.get("language"),
                voice_config={**tts_config, **(self._voice_config or {}), **(voice_config or {})},
                max_history=conversation_config.get("max_history_length", 50),
            )
        )

    async def handle_conversation(
        self, websocket_adapter: WebSocketAdapter, *, version: Version = 2
    ) -> None:
        """Hold one conversation over a client's connection, until either side ends it.

        Speaks the JSON messages of either protocol version. Commands that cannot be
        understood are answered with an ``error`` and change nothing.

        Raises:
            ValueError: No STT or no TTS engine has been configured; the connection was not
                accepted.
        """
        session, encoder = self.session(), MessageEncoder(version)
        client = websocket_adapter
        await client.accept_connection()
        self._n_running += 1
        try:
            async with session, anyio.create_task_group() as tasks:
                await client.send_json(encoder.ready(self._ready_config()))
                tasks.start_soon(self._obey, session, client, encoder, tasks.cancel_scope)
                tasks.start_soon(_listen, session, client, encoder, tasks.cancel_scope)
                async for event in session:
                    for message in encoder.encode(event):
                        if client.is_connected:
                            await client.send_json(message)
        finally:
            self._n_running -= 1
            if client.is_connected:
                with anyio.CancelScope(shield=True), anyio.move_on_after(1.0):
                    await client.close(1000)

    async def _obey(
        self,
        session: Session,
        client: WebSocketAdapter,
        encoder: MessageEncoder,
        scope: anyio.CancelScope,
    ) -> None:
        while client.is_connected:
            raw = await client.receive_command()
            if raw is None:
                await anyio.sleep(_POLL)
                continue
            try:
                command = parse_command(raw)
                await client.send_json(self._carry_out(command, session, encoder))
            except ValueError as exc:
                await client.send_json(encoder.error(str(exc)))
                continue
            if isinstance(command, Stop):
                scope.cancel()
                return

    def _carry_out(
        self, command: Command, session: Session, encoder: MessageEncoder
    ) -> dict[str, Any]:
        match command:
            case Ping():
                return encoder.pong()
            case Stop():
                return encoder.stopping()
            case Reset():
                session.clear_history()
                return encoder.reset_complete()
            case ChangeMode(mode):
                if mode not in self._modes:
                    known = ", ".join(self._modes)
                    raise ValueError(f"unknown mode {mode[:40]!r}; known: {known}")
                session.answer_with(streaming_responder(self._modes[mode]))
                return encoder.mode_changed(mode)
            case Statistics():
                return encoder.statistics(
                    {
                        "audio_seconds": session.clock,
                        "total_exchanges": len(session.history),
                        "turns_under_way": session.turns_under_way,
                    }
                )

    def _announcements(self) -> Iterator[ConversationMiddleware]:
        if self._bus.has_handlers:
            yield _Announce(self._bus)

    def _ready_config(self) -> dict[str, Any]:
        return {
            "stt_available": self.stt_engine is not None,
            "tts_available": self.tts_engine is not None,
            "pause_detection_available": True,
            "response_generation_available": True,
            "middleware_count": len(self._middleware),
        }


async def _listen(
    session: Session, client: WebSocketAdapter, encoder: MessageEncoder, scope: anyio.CancelScope
) -> None:
    while client.is_connected:
        audio = await client.receive_audio()
        if audio is None:
            await anyio.sleep(_POLL)
            continue
        try:
            await session.push(audio)
        except AudioFormatError as exc:
            await client.send_json(encoder.error(str(exc)))
        except SessionClosedError:
            return
    scope.cancel()


class _Announce:
    """The contract's ``processing_...`` events, as the outermost middleware."""

    def __init__(self, bus: InProcessEventBus) -> None:
        self._bus = bus

    async def process(
        self, context: ConversationContext, next_middleware: Callable[[ConversationContext], Any]
    ) -> ConversationContext:
        publish = self._bus.publish
        await publish(ConversationEvent("processing_start", {"context": context}))
        try:
            context = await next_middleware(context)
        except Exception as exc:
            context.error = exc
            data = {"context": context, "error": exc}
            await publish(ConversationEvent("processing_error", data))
            raise
        await publish(ConversationEvent("processing_complete", {"context": context}))
        return context


def _own_detector(detector: PauseDetector | _DetectorFactory) -> PauseDetector:
    """A detector that no other session listens with."""
    make: _DetectorFactory | None
    if isinstance(detector, type) or not isinstance(detector, PauseDetector):
        make = detector
    else:
        make = getattr(detector, "clone", None)
    if make is None:
        raise TypeError(
            f"{type(detector).__name__} cannot be cloned, and sessions cannot share it: "
            "give a function that makes one"
        )
    return make()


def _default_detector() -> PauseDetector:
    try:
        return load_pause_detector("silero")
    except MissingExtraError:
        return load_pause_detector("energy")


def _default_modes() -> dict[str, ResponseGenerator]:
    return {"echo": EchoResponseGenerator(), "template": TemplateResponseGenerator()}
