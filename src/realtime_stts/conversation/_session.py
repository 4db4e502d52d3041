"""One conversation: audio in, one ordered stream of events out. The file that owns the tasks.

`push` does the listening itself, in the caller's task: it hears the chunk, tells the turn
machine, and carries out what that answers. Each turn of the user then has one task, which
transcribes while they speak and gives its `Answer` when it is that turn's time. All tasks
live in one group that ends with ``async with session``.
"""

from __future__ import annotations

import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial
from math import ceil, inf
from time import time
from types import TracebackType
from typing import Any

import anyio
from anyio import lowlevel
from anyio.abc import TaskGroup, TaskStatus
from typing_extensions import Self

from .._edge import engine_name
from .._failures import content_free
from .._request import new_request_id, request_scope
from ..audio import AudioData, StreamResampler
from ..errors import EngineError, EngineTimeoutError, OverloadedError, SessionClosedError
from ..instrumentation import Details, Instrumentation, SessionDetails, TurnDetails
from ..protocols import (
    ConversationContext,
    ConversationMiddleware,
    ConversationState,
    Exchange,
    PauseDetector,
    StreamingResponseGenerator,
    StreamingSTTEngine,
    StreamingTTSEngine,
    TranscriptionResult,
)
from ._answer import Answer
from ._detection import heard
from ._end_of_turn import EndOfTurnDetector
from ._events import (
    Action,
    Discard,
    Drop,
    EndOfTurnJudged,
    EndReason,
    Event,
    FinalTranscript,
    HoldReply,
    InputEnded,
    Interrupted,
    JudgePause,
    ListenTo,
    Outcome,
    PartialTranscript,
    Recall,
    Reply,
    ReplyFinished,
    ReplyPart,
    ReplyPaused,
    ReplyResumed,
    ResumeReply,
    SessionEnded,
    Signal,
    Speculate,
    SpeechStarted,
    SpeechStopped,
    StateChanged,
    StopReply,
    StopRequested,
    TellIdle,
    Tick,
    TurnCommitted,
    TurnEnded,
    TurnFailed,
    TurnOpened,
    Understood,
    UserIdle,
    UserTurnEnded,
)
from ._history import History
from ._ledger import Ledger
from ._limits import SessionLimits
from ._mailbox import Mailbox
from ._overlap import Heard, agreed, judge
from ._playout import Playout
from ._recording import SAMPLE_RATE, Recent, Utterance
from ._turns import Idle, Paused, TurnPolicy, TurnState, step, wants_voicing

__all__ = ["Parts", "Session", "SessionStatistics"]

_MAX_EVENTS = 256  # undelivered; then whoever makes the next one waits
_LOOK_BACK = 2.0  # s; how late after an onset a detector may be sure of it
_ECHO_LATENESS = 0.5  # s from a loudspeaker through the room and the network back to the detector

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a session is made of. Engines are shared; the detector is this session's own."""

    stt: StreamingSTTEngine
    tts: StreamingTTSEngine
    responder: StreamingResponseGenerator
    detector: PauseDetector
    middleware: Sequence[ConversationMiddleware]
    policy: TurnPolicy
    limits: SessionLimits
    end_of_turn: EndOfTurnDetector | None
    language: str | None
    voice_config: Mapping[str, Any]
    max_history: int
    playout_frame: float | None
    playout_lead: float
    instrumentation: Sequence[Instrumentation]


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """How a session goes."""

    audio_seconds: float  # heard so far
    turns: int  # begun so far
    turns_under_way: int
    dropped_turns: int  # given up because too many waited
    undelivered_events: int
    exchanges: int  # in the history


@dataclass(slots=True, eq=False)
class _Attempt:
    """What is done for one turn; done anew if the user goes on after a speculative start."""

    answer: Answer
    ledger: Ledger
    untold: list[Event]  # until the user's part is over
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    transcribing: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    may_begin: anyio.Event = field(default_factory=anyio.Event)  # to answer, unheard as yet
    transcript: str = ""  # so far
    certain: str = ""  # of it, what will hardly change any more


@dataclass(slots=True, eq=False)
class _Turn:
    """One turn while it lasts."""

    number: int
    request_id: str
    began: float  # on the event loop's clock
    start: float  # on the audio clock
    speech: tuple[float, float]  # on the audio clock, pauses and all
    heard_until: float  # on the audio clock: what the utterance has
    audio_end: float | None = None  # on the audio clock, once the user has finished
    utterance: Utterance = field(default_factory=Utterance)
    ended: anyio.Event = field(default_factory=anyio.Event)  # the user's part is over
    may_reply: anyio.Event = field(default_factory=anyio.Event)  # and be heard
    dropped: bool = False
    outcome: Outcome = "answered"
    n_pauses: int = 0
    finished: bool = False  # the host was told how it ended
    attempt: _Attempt = field(init=False)


class Session:
    """A live conversation, made by `ConversationEngine.session`.

    Use it as ``async with``; push audio from one task and iterate the events in another.
    Iteration ends with `SessionEnded`, once the input has ended and every turn is over.
    Leaving the block cancels what is still under way.

    Queues are bounded and lossless: with 256 undelivered events, whoever makes the next
    one waits, `push` included. A host that stops iterating stops being heard, and the bot
    falls silent: the next sound is made ready, and handed over when the host asks for it.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.id = new_request_id()
        self._events: Mailbox[Event] = Mailbox(_MAX_EVENTS)
        self._resampler = StreamResampler(SAMPLE_RATE)
        self._recent = Recent()
        self._state = TurnState()
        self._turns: dict[int, _Turn] = {}
        self._n_dropped = 0
        self._last_playout: Playout | None = None
        self._history = History(parts.max_history)
        self._pushing = anyio.ResourceGuard("pushing audio into")
        self._input_ended = anyio.Event()
        self._pushed_at = self._began = 0.0
        self._ended: EndReason | None = None
        self._over = anyio.Event()
        self._responder = parts.responder
        self._tasks: TaskGroup | None = None
        self._turn_tasks: TaskGroup | None = None  # set while the session is open

    # -- the host's side -----------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._pushed_at = self._began = anyio.current_time()
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
        n_undelivered = len(self._events)  # not counting that the host has left
        self._end("closed")
        self._tasks.cancel_scope.cancel()
        try:
            return await self._tasks.__aexit__(exc_type, exc, traceback)
        finally:
            self._account(n_undelivered)

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

    @property
    def statistics(self) -> SessionStatistics:
        """How it goes."""
        return SessionStatistics(
            audio_seconds=self.clock,
            turns=self._state.n_turns,
            turns_under_way=len(self._turns),
            dropped_turns=self._n_dropped,
            undelivered_events=len(self._events),
            exchanges=len(self._history.snapshot()),
        )

    def answer_with(self, responder: StreamingResponseGenerator) -> None:
        """Let another responder give the answers that are not yet begun."""
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
            if self._ended or self._turn_tasks is None or self._input_ended.is_set():
                raise SessionClosedError("the session takes no more audio")
            self._pushed_at = anyio.current_time()
            await self._hear(self._resampler.push(audio))

    async def end_input(self) -> None:
        """No more audio will come: what the user is saying now is complete."""
        with self._pushing:
            if not self._input_ended.is_set() and not self._ended:
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

    async def begin_turn(self) -> None:
        """Push to talk: the user's turn begins now, and lasts until `commit_turn`.

        An answer under way stops.

        Raises:
            SessionClosedError: The input has ended, or the session has.
        """
        self._command(TurnOpened(self.clock))
        await self._events.room()

    async def commit_turn(self) -> None:
        """The user's turn is over now; nothing happens if there is none.

        Raises:
            SessionClosedError: The input has ended, or the session has.
        """
        self._command(TurnCommitted(self.clock))
        await self._events.room()

    async def interrupt(self) -> None:
        """Stop the answer under way, as if the user had; nothing happens if there is none.

        Raises:
            SessionClosedError: The session has ended.
        """
        if self._ended or self._turn_tasks is None:
            raise SessionClosedError("the session takes no more commands")
        self._tell(StopRequested(self.clock))
        await self._events.room()

    async def drain(self, seconds: float) -> bool:
        """End the input and wait for the turns under way, at most so long.

        What is not over by then is cancelled. Somebody has to go on iterating meanwhile.

        Returns:
            Whether everything was over in time.

        Raises:
            anyio.BusyResourceError: Another task is pushing at this moment.
        """
        with anyio.move_on_after(seconds):
            await self.end_input()
            await self._over.wait()
        in_time = self._over.is_set()
        if self._turn_tasks is not None:
            self._turn_tasks.cancel_scope.cancel()
        return in_time

    def _command(self, signal: Signal) -> None:
        if self._ended or self._turn_tasks is None or self._input_ended.is_set():
            raise SessionClosedError("the session takes no more commands")
        self._tell(signal)
        self._hand_over()

    # -- listening -----------------------------------------------------------------------

    async def _hear(self, audio: AudioData) -> None:
        n_seconds = ceil(len(audio.data) / (2 * SAMPLE_RATE))
        for second in range(n_seconds):
            piece = audio if n_seconds == 1 else audio.sliced(second, second + 1)
            detection = await self._parts.detector.process_chunk(piece)
            # Nothing suspends until the piece has been heard by all, or by none.
            self._recent.append(piece.data)
            duration = len(piece.data) / (2 * SAMPLE_RATE)
            for signal in heard(detection, duration, self.clock, self._wants_voicing):
                if isinstance(signal, SpeechStarted | SpeechStopped):
                    self._events.post(signal)
                self._tell(signal)
            self._tell(Tick(self.clock))
            self._hand_over()
            await self._events.room()
            await lowlevel.checkpoint()  # a host with much audio at hand must not starve the turns

    def _wants_voicing(self) -> bool:
        return wants_voicing(self._state, self._parts.policy)

    def _tell(self, signal: Signal) -> None:
        """Tell the turn machine, and carry out what it answers."""
        self._state, actions = step(self._state, signal, self._parts.policy)
        for action in actions:
            self._act(action)

    def _act(self, action: Action) -> None:
        match action:
            case ListenTo(number, start):
                turn = self._turns[number] = self._new_turn(number, start)
                assert self._turn_tasks is not None
                self._turn_tasks.start_soon(self._run, turn)
            case JudgePause(number):
                self._turns[number].n_pauses += 1
                self._judge_pause(self._turns[number])
            case Speculate(number):
                turn = self._turns[number]
                self._hand_over()
                turn.utterance.close()
                turn.attempt.may_begin.set()
            case Recall(number):
                turn = self._turns[number]
                turn.attempt.scope.cancel()
                turn.attempt = self._new_attempt(turn)
                turn.utterance.reopen()
            case UserTurnEnded(number, end, audio_end):
                self._user_turn_ended(self._turns[number], end, audio_end)
            case Discard(number):
                self._turns[number].outcome = "short"
                self._turns[number].attempt.scope.cancel()
            case Reply(number):
                self._events.post(StateChanged(ConversationState.PROCESSING))
                self._turns[number].attempt.may_begin.set()
                self._turns[number].may_reply.set()
            case Drop(number):
                self._n_dropped += 1
                self._turns[number].dropped = True
                self._turns[number].attempt.may_begin.set()
                self._turns[number].may_reply.set()
            case HoldReply() | ResumeReply() | StopReply():
                self._steer(action)
            case TellIdle(since, at):
                self._events.post(UserIdle(since, at))

    def _new_turn(self, number: int, start: float) -> _Turn:
        user = self._state.user
        since = user.since if not isinstance(user, Idle) and user.turn == number else start
        request_id, now = f"{self.id}-{number}", anyio.current_time()
        turn = _Turn(number, request_id, now, start, (since, since), start)
        turn.attempt = self._new_attempt(turn)
        return turn

    def _new_attempt(self, turn: _Turn) -> _Attempt:
        parts, ledger, number = self._parts, Ledger(), turn.number
        untold: list[Event] = []
        answer = Answer(
            turn=number,
            tts=parts.tts,
            voice_config=parts.voice_config,
            limits=parts.limits,
            ledger=ledger,
            playout=Playout(parts.playout_frame, parts.playout_lead),
            tell=lambda event: (
                self._events.post(event) if turn.ended.is_set() else untold.append(event)
            ),
            sink=self._events,
            guard=lambda interruptible: self._tell(ReplyPart(number, interruptible, self.clock)),
            may_sound=turn.may_reply,
            keep_sound=bool(parts.middleware),
        )
        return _Attempt(answer, ledger, untold)

    def _user_turn_ended(self, turn: _Turn, end: float, audio_end: float) -> None:
        attempt, now = turn.attempt, anyio.current_time()
        turn.audio_end = audio_end
        turn.speech = (turn.speech[0], end)
        attempt.ledger.end_of_turn_delay = self.clock - end
        attempt.ledger.decided_at = now
        if (limit := self._parts.limits.transcription) is not None:
            attempt.transcribing.deadline = now + limit
        self._hand_over()
        turn.utterance.close()
        turn.ended.set()
        for event in attempt.untold:
            self._events.post(event)
        attempt.untold.clear()

    def _steer(self, action: HoldReply | ResumeReply | StopReply) -> None:
        turn, now = self._turns[action.turn], anyio.current_time()
        answer = turn.attempt.answer
        if not isinstance(action, ResumeReply) and not answer.playout.held:
            turn.attempt.ledger.interruptions += 1
            answer.hold(now)
        played = answer.playout.played(now)
        match action:
            case HoldReply(number, at):
                self._events.post(ReplyPaused(number, at, played))
                self._events.post(StateChanged(ConversationState.LISTENING))
            case ResumeReply(number, at):
                answer.resume()
                self._events.post(ReplyResumed(number, at, played))
            case StopReply(number, at):
                turn.outcome = "interrupted"
                self._events.post(Interrupted(number, at, answer.playout.heard(now)))
                turn.attempt.scope.cancel()

    def _judge_pause(self, turn: _Turn) -> None:
        if self._parts.end_of_turn is not None and self._turn_tasks is not None:
            self._turn_tasks.start_soon(self._judge, self._parts.end_of_turn, turn, turn.n_pauses)

    async def _judge(self, detector: EndOfTurnDetector, turn: _Turn, pause: int) -> None:
        try:
            silence = await detector.silence(turn.attempt.transcript, turn.utterance.audio)
        except Exception as failure:
            _logger.error(  # noqa: TRY400
                "judging a pause failed; the policy's silence counts",
                exc_info=content_free(failure),
            )
            return
        if turn.n_pauses == pause:
            self._tell(EndOfTurnJudged(turn.number, max(0.0, silence), self.clock))

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
            if turn.audio_end is None:
                needed = min(needed, turn.heard_until)
        self._recent.forget(needed)

    # -- the session's tasks -------------------------------------------------------------

    async def _serve(self, *, task_status: TaskStatus[TaskGroup]) -> None:
        async with anyio.create_task_group() as turn_tasks:
            task_status.started(turn_tasks)
            limits = self._parts.limits
            watch = None
            if limits.duration is not None or limits.input_gap is not None:
                watch = anyio.CancelScope()
                turn_tasks.start_soon(self._watch, watch, turn_tasks.cancel_scope)
            await self._input_ended.wait()
            if watch is not None and limits.duration is None:
                watch.cancel()
            self._if_over()
        self._end("input ended")

    async def _watch(self, scope: anyio.CancelScope, turns: anyio.CancelScope) -> None:
        limits = self._parts.limits
        with scope:
            duration = inf if limits.duration is None else limits.duration
            until = anyio.current_time() + duration
            gap = inf if limits.input_gap is None else limits.input_gap
            # A push only ever moves the moment, so looking again then is enough.
            while (now := anyio.current_time()) < (due := min(until, self._last_input + gap)):  # noqa: ASYNC110
                await anyio.sleep(due - now)
            self._end("duration limit" if now >= until else "no audio came")
            turns.cancel()

    @property
    def _last_input(self) -> float:
        return inf if self._input_ended.is_set() else self._pushed_at

    def _if_over(self) -> None:
        if self._input_ended.is_set() and not self._turns:
            self._over.set()
            assert self._turn_tasks is not None
            # A watch over the session's duration, or a pause being judged, has no more use.
            self._turn_tasks.cancel_scope.cancel()

    def _end(self, reason: EndReason) -> None:
        if self._ended is None:
            self._ended = reason
            self._events.post(SessionEnded(reason))
            self._events.close()

    # -- turns ---------------------------------------------------------------------------

    async def _run(self, turn: _Turn) -> None:
        failure: Exception | None = None
        with request_scope(turn.request_id, session_id=self.id):
            while True:
                attempt = turn.attempt
                failure = await self._attempt(turn, attempt)
                if turn.attempt is attempt:
                    break
        self._finish(turn, failure)
        if not turn.ended.is_set():
            await turn.ended.wait()  # it failed while the user spoke
        # Nothing suspends between its end and telling of it: nobody can interrupt what is over.
        del self._turns[turn.number]
        if turn.outcome != "short" and not turn.dropped:
            self._tell(ReplyFinished(turn.number, self.clock))
            if self._state.answer is None:
                self._events.post(StateChanged(ConversationState.LISTENING))
        await self._events.room()
        self._if_over()

    async def _attempt(self, turn: _Turn, attempt: _Attempt) -> Exception | None:
        """Transcribe and answer; return what failed, if anything did."""
        failure: Exception | None = None
        with attempt.scope:
            try:
                await self._converse(turn, attempt)
            except Exception as exc:  # noqa: BLE001 - the host's code and foreign engines run in there
                failure = _cause(exc)
            if attempt.may_begin.is_set():
                await turn.ended.wait()  # until then the user may go on
        return failure

    def _finish(self, turn: _Turn, failure: Exception | None) -> None:
        attempt, now = turn.attempt, anyio.current_time()
        playout = self._last_playout = attempt.answer.playout
        attempt.ledger.playout = playout.played(now)
        reply, played = " ".join(attempt.answer.written), playout.heard(now)
        turn.finished = True
        if failure is not None or turn.outcome == "short":
            # No words will come: nobody need hold an answer for them.
            self._tell(Understood(turn.number, 0, True, self.clock))
        if attempt.transcript and turn.outcome in ("answered", "interrupted"):
            self._history.add(Exchange(turn.number, attempt.transcript, reply, played))
        if failure is not None and turn.outcome == "answered":
            self._events.post(StateChanged(ConversationState.ERROR))
            self._events.post(TurnFailed(turn.number, failure, turn.request_id, turn.speech))
            self._tell_of(turn, "failed", type(failure).__name__)
            return
        self._tell_of(turn, turn.outcome)
        metrics = attempt.ledger.metrics()
        self._events.post(
            TurnEnded(
                turn.number,
                attempt.transcript,
                reply,
                metrics,
                played,
                turn.outcome,
                turn.speech,
            )
        )

    # -- whoever wants to know -----------------------------------------------------------

    def _tell_of(self, turn: _Turn, outcome: str, error_type: str | None = None) -> None:
        if not self._parts.instrumentation:
            return
        metrics = turn.attempt.ledger.metrics()
        self._instrument(
            TurnDetails(
                session_id=self.id,
                request_id=turn.request_id,
                turn=turn.number,
                outcome=outcome,
                ended_at=time(),
                duration=anyio.current_time() - turn.began,
                error_type=error_type,
                time_to_first_audio=metrics.time_to_first_audio,
                end_of_turn_delay=metrics.end_of_turn_delay if turn.ended.is_set() else None,
                transcription_delay=metrics.transcription_delay,
                time_to_first_text=metrics.time_to_first_text,
                tts_time_to_first_byte=metrics.tts_time_to_first_byte,
                handover_delay=metrics.handover_delay,
                interruptions=metrics.interruptions,
            )
        )

    def _account(self, n_undelivered: int) -> None:
        """Everything is over."""
        for turn in self._turns.values():
            if not turn.finished:
                self._tell_of(turn, "closed")
        if not self._parts.instrumentation:
            return
        statistics = self.statistics
        self._instrument(
            SessionDetails(
                session_id=self.id,
                reason=self._ended or "closed",
                ended_at=time(),
                duration=anyio.current_time() - self._began,
                audio_seconds=statistics.audio_seconds,
                turns=statistics.turns,
                dropped_turns=statistics.dropped_turns,
                undelivered_events=n_undelivered,
            )
        )

    def _instrument(self, details: Details) -> None:
        for tell in self._parts.instrumentation:
            try:
                tell(details)
            except Exception as failure:  # noqa: PERF203 - the host's code
                _logger.error(  # noqa: TRY400
                    "[%s] an instrumentation failed", self.id, exc_info=content_free(failure)
                )

    async def _converse(self, turn: _Turn, attempt: _Attempt) -> None:
        result, said = await self._transcribe(turn, attempt)
        if said.kind != "words":
            await turn.ended.wait()
            turn.outcome = said.kind
            return
        await attempt.may_begin.wait()
        if turn.dropped:
            raise OverloadedError("too many turns were waiting for an answer")
        context = ConversationContext(
            audio_input=turn.utterance.audio,
            transcription=result,
            state=ConversationState.PROCESSING,
            metadata={"session_id": self.id, "turn": turn.number, "request_id": turn.request_id},
            history=self._history.snapshot(),
        )
        answer: Any = partial(attempt.answer.give, self._responder)
        for middleware in reversed(self._parts.middleware):
            answer = partial(_through, middleware, answer)
        await answer(context)

    async def _transcribe(
        self, turn: _Turn, attempt: _Attempt
    ) -> tuple[TranscriptionResult, Heard]:
        stt = self._parts.stt
        result: TranscriptionResult | None = None
        with attempt.transcribing as scope:
            chunks = turn.utterance.chunks()
            async with aclosing(stt.stream(chunks, self._parts.language)) as results:
                async for result in results:
                    if result.partial:
                        await self._understand_so_far(turn, attempt, result)
        if scope.cancelled_caught:
            raise EngineTimeoutError(engine_name(stt), self._parts.limits.transcription or 0.0)
        if result is None or result.partial:
            raise EngineError(engine_name(stt), "ended without a final result")
        result = result.shifted(turn.start)
        attempt.ledger.understood_at = anyio.current_time()
        attempt.transcript = attempt.certain = result.text.strip()
        said = self._judged(turn, attempt)
        attempt.answer.tell(FinalTranscript(turn.number, attempt.transcript, result))
        if turn.ended.is_set():
            self._understood(turn, said, final=True)
        await self._events.room()
        return result, said

    async def _understand_so_far(
        self, turn: _Turn, attempt: _Attempt, result: TranscriptionResult
    ) -> None:
        result, before = result.shifted(turn.start), attempt.transcript
        attempt.transcript = result.text.strip()
        attempt.certain = result.committed or agreed(before, attempt.transcript)
        self._events.post(PartialTranscript(turn.number, attempt.transcript, result))
        self._understood(turn, self._judged(turn, attempt), final=False)
        user = self._state.user
        if isinstance(user, Paused) and user.turn == turn.number:
            self._judge_pause(turn)
        await self._events.room()

    def _understood(self, turn: _Turn, said: Heard, *, final: bool) -> None:
        echo = said.kind == "echo"
        self._tell(Understood(turn.number, said.n_words, final, self.clock, echo))

    def _judged(self, turn: _Turn, attempt: _Attempt) -> Heard:
        """What the words so far amount to, as against what the bot says meanwhile."""
        policy, answering = self._parts.policy, self._state.answer
        over, playout = False, self._last_playout
        if answering is not None and answering.turn != turn.number:
            over, playout = True, self._turns[answering.turn].attempt.answer.playout
        said = ""
        if playout is not None and policy.self_echo is not None:
            now = anyio.current_time()
            since = now - (self.clock - turn.start) + policy.pre_roll - _ECHO_LATENESS
            said = playout.said_between(since, now)
        # While the bot is silent, "yes" is an answer.
        backchannels = policy.backchannels if over else frozenset[str]()
        return judge(attempt.certain, said, backchannels, policy.self_echo)


async def _through(
    middleware: ConversationMiddleware, rest: Any, context: ConversationContext
) -> ConversationContext:
    return await middleware.process(context, rest)


def _cause(exc: Exception) -> Exception:
    """The one error inside of nested task groups, if there is but one."""
    inner: tuple[Exception, ...] = getattr(exc, "exceptions", ())
    return _cause(inner[0]) if len(inner) == 1 else exc
