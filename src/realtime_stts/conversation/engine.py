"""The conversation's front door: configured once, shared by every session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, Literal

import anyio

from .._edge import streaming_responder, streaming_stt, streaming_tts
from .._registry import load_pause_detector
from ..audio import AudioData
from ..errors import AudioFormatError, MissingExtraError, SessionClosedError
from ..instrumentation import Instrumentation
from ..protocols import (
    ConfigurationProvider,
    ConversationContext,
    ConversationEvent,
    ConversationMiddleware,
    EventHandler,
    PauseDetector,
    ResponseGenerator,
    StreamingResponseGenerator,
    STTEngine,
    TTSEngine,
    WebSocketAdapter,
)
from ._answer import FRAME
from ._bus import InProcessEventBus
from ._end_of_turn import AdaptiveEndOfTurn, EndOfTurnDetector
from ._limits import SessionLimits
from ._messages import (
    BeginTurn,
    ChangeMode,
    Command,
    CommitTurn,
    Delivery,
    Interrupt,
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

__all__ = ["ConversationEngine", "own_detector"]

_STREAM_LEAD = 0.25  # s; covers what a wireless network is late by, and is soon forgotten
_STREAM_FRAME = 0.06  # s; a message costs more than its sound, and a client drops what it has
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
        policy: When the user is taken to have finished, and when to have taken the floor.
        end_of_turn: Judges how long each pause may last; by default from the words, and None
            keeps to the policy's silence.
        limits: How long a session waits for whom.
        modes: Responders that a client may switch its session to, by name. Default:
            ``echo`` and ``template``.
        language: ISO 639-1, or None to let the engine detect it.
        voice_config: Passed to every synthesis.
        partial_interval: Seconds of speech between two transcriptions of what has been said so
            far, where the STT engine takes only whole clips; None transcribes once, at the end.
        playout_lead: Seconds by which a sound may be handed over before its time; with
            infinity, as soon as it is made. What is heard is counted as if the host plays
            each sound when it gets it or the last one has ended.
        instrumentation: Told of each turn and each session that ends. The engines' calls are
            told by an `InstrumentationMiddleware` in their chains.

    Raises:
        ValueError: ``playout_lead`` is negative.
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
        end_of_turn: EndOfTurnDetector | Literal["adaptive"] | None = "adaptive",
        limits: SessionLimits | None = None,
        modes: Mapping[str, ResponseGenerator | Answer] | None = None,
        language: str | None = None,
        voice_config: Mapping[str, Any] | None = None,
        partial_interval: float | None = 1.0,
        playout_lead: float = 0.1,
        instrumentation: Sequence[Instrumentation] = (),
    ) -> None:
        self.config_provider = config_provider
        self.stt_engine = stt
        self.tts_engine = tts
        self.response_generator = as_responder(responder or TemplateResponseGenerator())
        self.pause_detector: PauseDetector | _DetectorFactory = (
            pause_detector or _default_detector()
        )
        self.policy = policy or TurnPolicy()
        self.limits = limits or SessionLimits()
        self._end_of_turn = end_of_turn
        self._partial_interval = partial_interval
        if not playout_lead >= 0:
            raise ValueError(f"playout_lead must not be negative, but is {playout_lead}")
        self._playout_lead = playout_lead
        self._instrumentation = tuple(instrumentation)
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
        pause_detector: PauseDetector | _DetectorFactory | None = None,
        playout_lead: float | None = None,
        playout_frame: float = FRAME,
    ) -> Session:
        """A new conversation, without any transport: push audio, iterate events.

        Args:
            language: For this session, instead of the engine's.
            voice_config: For this session; its keys go over the engine's.
            policy: For this session, instead of the engine's.
            pause_detector: For this session, instead of the engine's.
            playout_lead: For this session, instead of the engine's.
            playout_frame: Seconds of sound that are handed over at a time, where there is a
                lead: what is in one cannot be held back.

        Raises:
            ValueError: No STT or no TTS engine has been configured.
        """
        if self.stt_engine is None or self.tts_engine is None:
            missing = "STT" if self.stt_engine is None else "TTS"
            raise ValueError(f"the conversation has no {missing} engine: give it one first")
        provider = self.config_provider
        stt_config = provider.get_stt_config() if provider else {}
        conversation_config = provider.get_conversation_config() if provider else {}
        policy = policy or self.policy
        lead = self._playout_lead if playout_lead is None else playout_lead
        end_of_turn = self._end_of_turn
        return Session(
            Parts(
                stt=streaming_stt(self.stt_engine, self._partial_interval),
                tts=streaming_tts(self.tts_engine),
                responder=streaming_responder(self.response_generator),
                detector=own_detector(
                    self.pause_detector if pause_detector is None else pause_detector
                ),
                middleware=(*self._announcements(), *self._middleware),
                policy=policy,
                limits=self.limits,
                end_of_turn=(
                    AdaptiveEndOfTurn(policy.end_of_turn)
                    if isinstance(end_of_turn, str)
                    else end_of_turn
                ),
                language=language or self._language or stt_config.get("language"),
                voice_config=self.voice_config(voice_config),
                max_history=conversation_config.get("max_history_length", 50),
                playout_frame=None if lead == inf else playout_frame,
                playout_lead=lead,
                instrumentation=self._instrumentation,
            )
        )

    def voice_config(self, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What a synthesis is given: the configuration's keys, the engine's, and ``own``.

        A later one goes over an earlier one.
        """
        provider = self.config_provider
        configured = provider.get_tts_config() if provider else {}
        return {**configured, **(self._voice_config or {}), **(own or {})}

    async def handle_conversation(
        self,
        websocket_adapter: WebSocketAdapter,
        *,
        version: Version = 2,
        audio: Delivery = "files",
        mode: str | None = None,
        language: str | None = None,
        voice_config: Mapping[str, Any] | None = None,
        policy: TurnPolicy | None = None,
        pause_detector: PauseDetector | _DetectorFactory | None = None,
    ) -> None:
        """Hold one conversation over a client's connection, until either side ends it.

        Speaks the JSON messages of either protocol version. Commands that cannot be
        understood are answered with an ``error`` and change nothing. A client that takes no
        message within ``limits.send`` counts as gone.

        Args:
            version: Of the protocol.
            audio: ``files`` sends each sentence as a WAV in JSON, as soon as there is one;
                ``stream`` each sound through the adapter's ``send_audio``, a quarter of a
                second ahead of its time, which is for clients that play as they receive.
            mode: How this session is answered, one of the engine's ``modes``.
            language: For this session, instead of the engine's; so are ``voice_config``,
                whose keys go over the engine's, ``policy`` and ``pause_detector``.

        Raises:
            ValueError: No STT or no TTS engine has been configured, or there is no such
                version, delivery or mode; the connection was not accepted.
        """
        encoder = MessageEncoder(version, audio)
        session = self.session(
            language=language,
            voice_config=voice_config,
            policy=policy,
            pause_detector=pause_detector,
            # What is a file is played when it comes, however early.
            playout_lead=_STREAM_LEAD if audio == "stream" else inf,
            playout_frame=_STREAM_FRAME,
        )
        if mode is not None:
            session.answer_with(self._answering(mode))
        await websocket_adapter.accept_connection()
        self._n_running += 1
        try:
            async with session, anyio.create_task_group() as tasks:
                client = _Client(websocket_adapter, encoder, self.limits.send, tasks.cancel_scope)
                await client.send(client.encoder.ready(self._ready_config()))
                tasks.start_soon(self._obey, session, client)
                tasks.start_soon(_listen, session, client)
                async for event in session:
                    for message in client.encoder.encode(event):
                        await client.send(message)
        finally:
            self._n_running -= 1
            if websocket_adapter.is_connected:
                with anyio.CancelScope(shield=True), anyio.move_on_after(1.0):
                    await websocket_adapter.close(1000)

    async def _obey(self, session: Session, client: _Client) -> None:
        while client.adapter.is_connected:
            raw = await client.adapter.receive_command()
            if raw is None:
                await anyio.sleep(_POLL)
                continue
            try:
                command = parse_command(raw)
                await client.send(await self._carry_out(command, session, client.encoder))
            except (ValueError, SessionClosedError) as exc:
                await client.send(client.encoder.error(str(exc)))
                continue
            if isinstance(command, Stop):
                client.leave()
                return

    async def _carry_out(
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
            case BeginTurn():
                await session.begin_turn()
                return encoder.turn_begun()
            case CommitTurn():
                await session.commit_turn()
                return encoder.turn_committed()
            case Interrupt():
                await session.interrupt()
                return encoder.interrupting()
            case ChangeMode(mode):
                session.answer_with(self._answering(mode))
                return encoder.mode_changed(mode)
            case Statistics():
                statistics = session.statistics
                return encoder.statistics(
                    {
                        "audio_seconds": statistics.audio_seconds,
                        "total_exchanges": statistics.exchanges,
                        "turns_under_way": statistics.turns_under_way,
                        "dropped_turns": statistics.dropped_turns,
                    }
                )

    def _answering(self, mode: str) -> StreamingResponseGenerator:
        if mode not in self._modes:
            known = ", ".join(self._modes)
            raise ValueError(f"unknown mode {mode[:40]!r}; known: {known}")
        return streaming_responder(self._modes[mode])

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


class _Client:
    """One client: messages to it go one at a time, and one that takes none counts as gone."""

    def __init__(
        self,
        adapter: WebSocketAdapter,
        encoder: MessageEncoder,
        patience: float | None,
        conversation: anyio.CancelScope,
    ) -> None:
        self.adapter, self.encoder = adapter, encoder
        self._patience = patience
        self._conversation = conversation
        self._sending = anyio.Lock()

    async def send(self, message: dict[str, Any] | AudioData) -> None:
        """Send it, if there is anybody to send it to."""
        async with self._sending:
            if self.adapter.is_connected:
                with anyio.move_on_after(self._patience or inf):
                    if isinstance(message, AudioData):
                        await self.adapter.send_audio(message)
                    else:
                        await self.adapter.send_json(message)
                    return
                self.leave()

    def leave(self) -> None:
        """The conversation is over."""
        self._conversation.cancel()


async def _listen(session: Session, client: _Client) -> None:
    while client.adapter.is_connected:
        audio = await client.adapter.receive_audio()
        if audio is None:
            await anyio.sleep(_POLL)
            continue
        try:
            await session.push(audio)
        except AudioFormatError as exc:
            await client.send(client.encoder.error(str(exc)))
        except SessionClosedError:
            return
    client.leave()


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


def own_detector(detector: PauseDetector | _DetectorFactory) -> PauseDetector:
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
