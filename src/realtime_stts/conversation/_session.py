"""One conversation: audio in, one ordered stream of events out. The only file with tasks.

`push` does the listening itself, in the caller's task: it hears the chunk, tells the turn
machine, and carries out what that answers. Each turn of the user then has one task, which
transcribes while they speak and answers when it is that turn's time. All tasks live in one
group that ends with ``async with session``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from types import TracebackType
from typing import Any

import anyio
from anyio import lowlevel
from anyio.abc import TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectSendStream
from typing_extensions import Self

from .._edge import engine_name
from .._request import new_request_id, request_scope
from ..audio import AudioData, StreamResampler
from ..errors import EngineError, OverloadedError, SessionClosedError
from ..protocols import (
    ConversationContext,
    ConversationMiddleware,
    ConversationState,
    Exchange,
    PauseDetector,
    StreamingResponseGenerator,
    StreamingSTTEngine,
    StreamingTTSEngine,
    SynthesisResult,
    TranscriptionResult,
)
from ._events import (
    Action,
    Drop,
    Event,
    FinalTranscript,
    InputEnded,
    ListenTo,
    PartialTranscript,
    Reply,
    ReplyAudio,
    ReplyFinished,
    ReplyText,
    SentenceSpoken,
    Signal,
    SpeechStarted,
    SpeechStopped,
    StateChanged,
    Tick,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
    UserTurnEnded,
)
from ._history import History
from ._mailbox import Mailbox
from ._recording import SAMPLE_RATE, Recent, Utterance
from ._sentences import SentenceSplitter
from ._turns import Paused, TurnPolicy, TurnState, step

__all__ = ["Parts", "Session"]

_MAX_EVENTS = 256  # undelivered; then whoever makes the next one waits
_MAX_SENTENCES = 4  # written ahead of the voice; then the responder waits
_LOOK_BACK = 2.0  # s; how late after an onset a detector may be sure of it


@dataclass(frozen=True, slots=True)
class Parts:
    """What a session is made of. Engines are shared; the detector is this session's own."""

    stt: StreamingSTTEngine
    tts: StreamingTTSEngine
    responder: StreamingResponseGenerator
    detector: PauseDetector
    middleware: Sequence[ConversationMiddleware]
    policy: TurnPolicy
    language: str | None
    voice_config: Mapping[str, Any]
    max_history: int


@dataclass(slots=True)
class _Turn:
    """One turn while it lasts. Moments are of the event loop's clock, in seconds."""

    number: int
    request_id: str
    heard_until: float  # on the audio clock: what the utterance has
    audio_end: float | None = None  # on the audio clock, once the user has finished
    utterance: Utterance = field(default_factory=Utterance)
    may_reply: anyio.Event = field(default_factory=anyio.Event)
    dropped: bool = False
    end_of_turn_delay: float = 0.0
    decided_at: float = 0.0
    understood_at: float | None = None
    worded_at: float | None = None
    sounded_at: float | None = None
    transcript: str = ""
    reply: list[str] = field(default_factory=list)  # sentences written
    heard: list[str] = field(default_factory=list)  # sentences whose sound was handed over
    audio_duration: float = 0.0
    spoken: list[AudioData] | None = None  # kept only for middleware, which may ask for it

    def metrics(self) -> TurnMetrics:
        def between(start: float | None, end: float | None) -> float | None:
            return None if start is None or end is None else end - start

        sounded = between(self.decided_at, self.sounded_at)
        return TurnMetrics(
            end_of_turn_delay=self.end_of_turn_delay,
            transcription_delay=between(self.decided_at, self.understood_at),
            time_to_first_text=between(self.understood_at, self.worded_at),
            tts_time_to_first_byte=between(self.worded_at, self.sounded_at),
            time_to_first_audio=None if sounded is None else self.end_of_turn_delay + sounded,
            audio_duration=self.audio_duration,
        )


class Session:
    """A live conversation, made by `ConversationEngine.session`.

    Use it as ``async with``; push audio from one task and iterate the events in another.
    Iteration ends once the input has ended and every turn is over. Leaving the block
    cancels what is still under way.

    Queues are bounded and lossless: with 256 undelivered events, whoever makes the next
    one waits, `push` included. A host that stops iterating stops being heard.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.id = new_request_id()
        self._events: Mailbox[Event] = Mailbox(_MAX_EVENTS)
        self._resampler = StreamResampler(SAMPLE_RATE)
        self._recent = Recent()
        self._state = TurnState()
        self._turns: dict[int, _Turn] = {}
        self._history = History(parts.max_history)
        self._pushing = anyio.ResourceGuard("pushing audio into")
        self._input_ended = anyio.Event()
        self._responder = parts.responder
        self._tasks: TaskGroup | None = None
        self._turn_tasks: TaskGroup | None = None  # set while the session is open

    # -- the host's side -----------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        self._turn_tasks = await self._tasks.start(self._serve)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._tasks is not None
        self._turn_tasks = None
        self._events.close()
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(exc_type, exc, traceback)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events

    @property
    def clock(self) -> float:
        """Seconds of audio heard so far."""
        return self._recent.end

    @property
    def history(self) -> tuple[Exchange, ...]:
        """The exchanges so far, oldest first."""
        return self._history.snapshot()

    @property
    def turns_under_way(self) -> int:
        """How many turns have begun and not ended."""
        return len(self._turns)

    def answer_with(self, responder: StreamingResponseGenerator) -> None:
        """Let another responder answer the turns from the next one on."""
        self._responder = responder

    def clear_history(self) -> None:
        """Forget the exchanges so far."""
        self._history.clear()

    async def push(self, audio: AudioData) -> None:
        """Hear the next chunk, of any length.

        Returns when it has been heard and there is room for what follows from it. It is
        heard a second at a time: a push that is cancelled has heard the first of them.

        Raises:
            AudioFormatError: It cannot be decoded, or its rate or channel count is not
                that of the chunks before. Nothing of it was heard.
            SessionClosedError: The input has ended, or the session has.
            anyio.BusyResourceError: Another task is pushing at this moment.
        """
        with self._pushing:
            if self._turn_tasks is None or self._input_ended.is_set():
                raise SessionClosedError("the session takes no more audio")
            await self._hear(self._resampler.push(audio))

    async def end_input(self) -> None:
        """No more audio will come: what the user is saying now is complete."""
        with self._pushing:
            if not self._input_ended.is_set():
                await self._hear(self._resampler.flush())
                self._tell(InputEnded(self.clock))
                self._input_ended.set()

    async def feed(self, source: AsyncIterable[AudioData]) -> None:
        """Push everything that ``source`` has, then end the input.

        A generator is closed in the end, whatever happens: it may hold a microphone.
        """
        async with AsyncExitStack() as stack:
            if isinstance(source, AsyncGenerator):
                await stack.enter_async_context(aclosing(source))
            async for chunk in source:
                await self.push(chunk)
        await self.end_input()

    # -- listening -----------------------------------------------------------------------

    async def _hear(self, audio: AudioData) -> None:
        for second in range(ceil(audio.duration_seconds)):
            piece = audio.sliced(second, second + 1)
            detection = await self._parts.detector.process_chunk(piece)
            # Nothing suspends until the piece has been heard by all, or by none.
            self._recent.append(piece.data)
            for event in _speech_events(detection, piece.duration_seconds, self.clock):
                self._events.post(event)
                self._tell(event)
            self._tell(Tick(self.clock))
            self._hand_over()
            await self._events.room()
            await lowlevel.checkpoint()  # a host with much audio at hand must not starve the turns

    def _tell(self, signal: Signal) -> None:
        """Tell the turn machine, and carry out what it answers."""
        self._state, actions = step(self._state, signal, self._parts.policy)
        for action in actions:
            self._act(action)

    def _act(self, action: Action) -> None:
        match action:
            case ListenTo(number, start):
                turn = self._turns[number] = _Turn(number, f"{self.id}-{number}", start)
                assert self._turn_tasks is not None
                self._turn_tasks.start_soon(self._run, turn)
            case UserTurnEnded(number, end, audio_end):
                turn = self._turns[number]
                turn.audio_end = audio_end
                turn.end_of_turn_delay = self.clock - end
                turn.decided_at = anyio.current_time()
                self._hand_over()
                turn.utterance.close()
            case Reply(number):
                self._events.post(StateChanged(ConversationState.PROCESSING))
                self._turns[number].may_reply.set()
            case Drop(number):
                self._turns[number].dropped = True
                self._turns[number].may_reply.set()

    def _hand_over(self) -> None:
        """Give each turn that still listens what it has not had yet."""
        # The sound of a pause is held back: it is the turn's only if the user goes on.
        user = self._state.user
        now = user.decided if isinstance(user, Paused) else self.clock
        needed = self.clock - self._parts.policy.pre_roll - _LOOK_BACK
        for turn in self._turns.values():
            if not turn.utterance.closed:
                end = now if turn.audio_end is None else turn.audio_end
                if end > turn.heard_until:
                    turn.utterance.write(self._recent.between(turn.heard_until, end))
                    turn.heard_until = end
                needed = min(needed, turn.heard_until)
        self._recent.forget(needed)

    # -- turns ---------------------------------------------------------------------------

    async def _serve(self, *, task_status: TaskStatus[TaskGroup]) -> None:
        async with anyio.create_task_group() as turn_tasks:
            task_status.started(turn_tasks)
            await self._input_ended.wait()
        self._events.close()

    async def _run(self, turn: _Turn) -> None:
        try:
            with request_scope(turn.request_id):
                await self._converse(turn)
        except Exception as exc:  # noqa: BLE001 - the host's own code and foreign engines run in there
            self._remember(turn)
            self._events.post(StateChanged(ConversationState.ERROR))
            self._events.post(TurnFailed(turn.number, _cause(exc), turn.request_id))
        else:
            self._remember(turn)
            self._events.post(
                TurnEnded(turn.number, turn.transcript, " ".join(turn.reply), turn.metrics())
            )
        # A turn that failed early still takes its place in the order of answers.
        await turn.may_reply.wait()
        del self._turns[turn.number]
        if not turn.dropped:
            self._tell(ReplyFinished(turn.number, self.clock))
            if self._state.replying is None:
                self._events.post(StateChanged(ConversationState.LISTENING))
        await self._events.room()

    def _remember(self, turn: _Turn) -> None:
        if turn.transcript:
            self._history.add(
                Exchange(turn.number, turn.transcript, " ".join(turn.reply), " ".join(turn.heard))
            )

    async def _converse(self, turn: _Turn) -> None:
        result = await self._transcribe(turn)
        await turn.may_reply.wait()
        if turn.dropped:
            raise OverloadedError("too many turns were waiting for an answer")
        if not turn.transcript:
            return
        context = ConversationContext(
            audio_input=turn.utterance.audio,
            transcription=result,
            state=ConversationState.PROCESSING,
            metadata={"session_id": self.id, "turn": turn.number, "request_id": turn.request_id},
            history=self._history.snapshot(),
        )
        answer = partial(self._answer, turn)
        for middleware in reversed(self._parts.middleware):
            answer = partial(_through, middleware, answer)
        await answer(context)

    async def _transcribe(self, turn: _Turn) -> TranscriptionResult:
        stt = self._parts.stt
        result: TranscriptionResult | None = None
        async with (
            aclosing(turn.utterance.chunks()) as chunks,
            aclosing(stt.stream(chunks, self._parts.language)) as results,
        ):
            async for result in results:
                if result.partial:
                    self._events.post(PartialTranscript(turn.number, result.text, result))
                    await self._events.room()
        if result is None or result.partial:
            raise EngineError(engine_name(stt), "ended without a final result")
        turn.understood_at = anyio.current_time()
        turn.transcript = result.text.strip()
        self._events.post(FinalTranscript(turn.number, turn.transcript, result))
        await self._events.room()
        return result

    async def _answer(self, turn: _Turn, context: ConversationContext) -> ConversationContext:
        if self._parts.middleware:
            turn.spoken = []
        send, receive = anyio.create_memory_object_stream[str](_MAX_SENTENCES)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write, turn, context, send)
                async with receive:
                    async for sentence in receive:
                        await self._speak(turn, sentence)
        except Exception as exc:
            raise _cause(exc) from exc
        context.response_text = " ".join(turn.reply)
        if turn.spoken:
            context.synthesis_result = SynthesisResult(
                AudioData.concat(turn.spoken),
                context.response_text,
                str(self._parts.voice_config.get("voice_id") or ""),
            )
        return context

    async def _write(
        self, turn: _Turn, context: ConversationContext, send: MemoryObjectSendStream[str]
    ) -> None:
        assert context.transcription is not None
        splitter = SentenceSplitter()
        pieces = self._responder.stream_response(context.transcription, context)
        async with send, aclosing(pieces):
            async for piece in pieces:
                for sentence in splitter.feed(piece):
                    await self._say(turn, sentence, send)
            if rest := splitter.flush():
                await self._say(turn, rest, send)

    async def _say(self, turn: _Turn, sentence: str, send: MemoryObjectSendStream[str]) -> None:
        if turn.worded_at is None:
            turn.worded_at = anyio.current_time()
        turn.reply.append(sentence)
        self._events.post(ReplyText(turn.number, sentence))
        await send.send(sentence)

    async def _speak(self, turn: _Turn, sentence: str) -> None:
        speech = self._parts.tts.stream(sentence, dict(self._parts.voice_config))
        async with aclosing(speech):
            async for audio in speech:
                if turn.sounded_at is None:
                    turn.sounded_at = anyio.current_time()
                    self._events.post(StateChanged(ConversationState.SPEAKING))
                turn.audio_duration += audio.duration_seconds
                if turn.spoken is not None:
                    turn.spoken.append(audio)
                self._events.post(ReplyAudio(turn.number, audio))
                await self._events.room()
        turn.heard.append(sentence)
        self._events.post(SentenceSpoken(turn.number, sentence))


async def _through(
    middleware: ConversationMiddleware, rest: Any, context: ConversationContext
) -> ConversationContext:
    return await middleware.process(context, rest)


def _cause(exc: Exception) -> Exception:
    """The one error inside of nested task groups, if there is but one."""
    inner: tuple[Exception, ...] = getattr(exc, "exceptions", ())
    return _cause(inner[0]) if len(inner) == 1 else exc


def _speech_events(
    detection: Mapping[str, Any], duration: float, clock: float
) -> Sequence[SpeechStarted | SpeechStopped]:
    """A detector's events with their times, which one made for the contract does not give."""
    if "speech_events" in detection:
        timed: Sequence[SpeechStarted | SpeechStopped] = detection["speech_events"]
        return timed
    silence = detection.get("silence_duration_ms", 0) / 1000
    moments: dict[str, SpeechStarted | SpeechStopped] = {
        "speech_start": SpeechStarted(max(0.0, clock - duration), clock),
        "speech_end": SpeechStopped(max(0.0, clock - silence), clock),
    }
    return [moments[event] for event in detection["events"] if event in moments]
