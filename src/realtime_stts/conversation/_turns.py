"""PURE: who has the floor.

The machine is told what is heard and answers with what to do. It keeps two things apart
that overlap in real talk: what the user is doing (`Idle`, `Speaking`, `Paused`), and the
answers, of which at most one is under way (`Answering`) while later turns wait for theirs
in order.

While an answer is under way, what the user says over it is an `Overlap`. Whether the answer
then runs, is held or stops is not a step from one to the other but follows from the overlaps
as they are known (`_wanted`): enough speech holds it, words that count stop it, and no words
let it go on. The machine compares that with what was last done, and acts on the difference.

Time is an argument, in seconds of input audio. A deadline is derived from the state, never
stored, and is applied before anything at or past it: late or extra ticks change nothing.
A signal that cannot happen raises and changes nothing. Signals that are merely late, of
turns that are over or pauses that have ended, are ignored: `EndOfTurnJudged`, `Understood`,
`ReplyPart`, and `StopRequested` and `TurnCommitted` where there is nothing to stop or commit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from .._endpoint import SpeechStarted, SpeechStopped
from ..errors import TurnError
from ._events import (
    Action,
    Discard,
    Drop,
    EndOfTurnJudged,
    HoldReply,
    InputEnded,
    JudgePause,
    ListenTo,
    Recall,
    Reply,
    ReplyFinished,
    ReplyPart,
    ResumeReply,
    Signal,
    Speculate,
    StopReply,
    StopRequested,
    TellIdle,
    Tick,
    TurnCommitted,
    TurnOpened,
    Understood,
    UserTurnEnded,
    Voiced,
)

__all__ = [
    "Answering",
    "Idle",
    "Overlap",
    "Paused",
    "Speaking",
    "TurnPolicy",
    "TurnState",
    "deadline",
    "step",
    "wants_voicing",
]

# Durations are sums of frames and differences of moments: this forgives their rounding.
_TOLERANCE = 1e-4  # s; far under any frame

_STILL_TALKING = 0.25  # s of speech after a commit that make a new turn; more than a last syllable


@dataclass(frozen=True, slots=True)
class TurnPolicy:
    """When the user is taken to have finished, and when to have taken the floor.

    Durations are seconds. None switches off what a field is for.
    """

    end_of_turn: float = 0.6  # silence that ends a turn; people pause 0.2 to 0.5 s within one
    pre_roll: float = 0.3  # audio kept from before the onset: detectors miss soft first consonants
    min_turn: float = 0.0  # a turn with less speech than this is not transcribed to the end
    max_turn: float = 60.0  # a longer turn is cut here and goes on as the next one
    max_waiting: int = 8  # turns that wait while another is answered; the oldest is dropped
    manual: bool = False  # speech opens and ends no turns: the host does (push-to-talk)
    speculative: bool = False  # begin to answer in every pause, before the turn is over
    idle_after: float | None = 30.0  # silence on both sides until the host is told
    barge_in: float | None = 0.3  # speech over an answer that holds it; a cough is shorter
    hold_on_speech: bool = True  # hold it before there are words; False: only words stop it
    min_words: int = 1  # words over an answer that stop it; 0: the speech alone does
    false_interruption: float = 2.0  # silence without words after which a held answer goes on
    backchannels: frozenset[str] | None = None  # words that take no floor; None: the usual ones
    self_echo: float | None = 0.8  # share of words just spoken by the bot that makes an echo

    def __post_init__(self) -> None:
        never_negative = (
            "end_of_turn",
            "pre_roll",
            "min_turn",
            "min_words",
            "false_interruption",
            "idle_after",
            "barge_in",
        )
        for name in never_negative:
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must not be negative, but is {value}")
        if not (self.max_turn > 0 and self.max_waiting >= 1):
            raise ValueError("max_turn must be positive and max_waiting at least 1")
        if self.self_echo is not None and not 0 < self.self_echo <= 1:
            raise ValueError(f"self_echo is over 0 and at most 1, not {self.self_echo}")


# -- the user ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Idle:
    """No turn of the user is open; ``voiced`` seconds of speech have gone by in none."""

    voiced: float = 0.0


@dataclass(frozen=True, slots=True)
class Speaking:
    """The user speaks, in a turn that began at ``since``.

    ``resumed`` is when they last began to, after ``spoken`` seconds of speech before that.
    """

    turn: int
    since: float
    resumed: float
    spoken: float = 0.0
    manual: bool = False  # until it is committed, whatever the detector hears


@dataclass(frozen=True, slots=True)
class Paused:
    """The user fell silent at ``paused_at``, which was certain at ``decided``."""

    turn: int
    since: float
    paused_at: float
    decided: float
    spoken: float
    silence: float | None = None  # how long it may last, if that was judged
    speculating: bool = False


# -- the answers ---------------------------------------------------------------------

_Course = Literal["running", "held", "stopped"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """A turn of the user that overlaps the answer: what is known of it."""

    turn: int
    voiced: float = 0.0  # s of speech over the answer
    n_words: int = 0  # that count
    final: bool = False  # all its words are known
    silent_since: float | None = None  # None: they speak
    echo: bool = False  # so far, it is what the bot said


@dataclass(frozen=True, slots=True)
class Answering:
    """One answer, under way."""

    turn: int
    interruptible: bool = True
    course: _Course = "running"  # what was last done
    overlaps: tuple[Overlap, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnState:
    """The whole state: the user, the answer under way, and the turns waiting for theirs."""

    user: Idle | Speaking | Paused = Idle()
    n_turns: int = 0
    answer: Answering | None = None
    waiting: tuple[int, ...] = ()
    speech: bool = False  # the detector hears speech
    quiet_since: float | None = 0.0  # when it fell quiet on both sides; None once that was told
    echoes: bool = False  # the bot has heard itself: speech alone proves nothing any more


def wants_voicing(state: TurnState, policy: TurnPolicy) -> bool:
    """Whether `Voiced` could change anything now: it need not be told otherwise."""
    if not state.speech:
        return False
    if isinstance(state.user, Idle):
        return not policy.manual
    return state.answer is not None


def deadline(state: TurnState, policy: TurnPolicy) -> float | None:
    """When the state changes by itself, or None if only a signal can change it."""
    due = _turn_due(state, policy)
    for other in (_idle_due(state, policy), _resume_due(state, policy)):
        if other is not None and (due is None or other < due):
            due = other
    return due


def _turn_due(state: TurnState, policy: TurnPolicy) -> float | None:
    match state.user:
        case Speaking(since=since):
            return since + policy.max_turn
        case Paused(paused_at=at, decided=decided, silence=judged):
            silence = policy.end_of_turn if judged is None else judged
            # A detector may need longer to be sure of a pause than the pause may last.
            return max(at + silence, decided)
        case _:
            return None


def _idle_due(state: TurnState, policy: TurnPolicy) -> float | None:
    if policy.idle_after is None or state.quiet_since is None or not _is_quiet(state):
        return None
    return state.quiet_since + policy.idle_after


def _resume_due(state: TurnState, policy: TurnPolicy) -> float | None:
    if state.answer is None or state.answer.course != "held":
        return None
    # It is held for every overlap that holds it: until the last of those gives up.
    holding = [o for o in state.answer.overlaps if _may_hold(o, state, policy)]
    if not holding or any(overlap.silent_since is None for overlap in holding):
        return None
    return max(o.silent_since or 0.0 for o in holding) + policy.false_interruption


def _is_quiet(state: TurnState) -> bool:
    return isinstance(state.user, Idle) and state.answer is None and not state.waiting


# -- stepping ------------------------------------------------------------------------

_Step = tuple[TurnState, tuple[Action, ...]]


def step(state: TurnState, signal: Signal, policy: TurnPolicy) -> _Step:
    """Apply every deadline that ``signal`` is at or past, then ``signal`` itself.

    Raises:
        TurnError: ``signal`` cannot happen in ``state``.
    """
    at = signal.decided if isinstance(signal, SpeechStarted | SpeechStopped) else signal.at
    actions: tuple[Action, ...] = ()
    while (due := deadline(state, policy)) is not None and at >= due - _TOLERANCE:
        state, taken = _fall_due(state, due, policy)
        actions += taken
    if isinstance(signal, Tick):
        return state, actions
    before = state
    state, taken = _take(state, signal, policy)
    actions += taken
    state, taken = _settle(state, at, policy)
    return _dated(before, state, at), actions + taken


def _dated(before: TurnState, state: TurnState, at: float) -> TurnState:
    """With the moment at which it fell quiet, if it did."""
    return replace(state, quiet_since=at) if _is_quiet(before) != _is_quiet(state) else state


def _fall_due(state: TurnState, due: float, policy: TurnPolicy) -> _Step:
    before = state
    if due == _turn_due(state, policy):
        cut = state.user if isinstance(state.user, Speaking) else None
        state, actions = _end_user_turn(state, due, policy)
        if cut is not None:
            state, taken = _begin(state, due, due, manual=cut.manual)
            state, actions = _overlapped(state), actions + taken
    elif due == _idle_due(state, policy):
        assert state.quiet_since is not None
        actions = (TellIdle(state.quiet_since, due),)
        state = replace(state, quiet_since=None)
    else:
        actions = ()
    state, taken = _settle(state, due, policy)
    return _dated(before, state, due), actions + taken


def _take(state: TurnState, signal: Signal, policy: TurnPolicy) -> _Step:
    match signal:
        case SpeechStarted() if not state.speech:
            return _speech_started(replace(state, speech=True), signal, policy)
        case SpeechStopped() if state.speech:
            return _speech_stopped(replace(state, speech=False), signal, policy)
        case Voiced(at, seconds):
            return _voiced(state, at, seconds, policy)
        case TurnOpened(at):
            return _opened(state, at)
        case TurnCommitted(at) | InputEnded(at):
            return _end_user_turn(state, at, policy)
        case EndOfTurnJudged(turn, silence):
            if isinstance(state.user, Paused) and state.user.turn == turn:
                state = replace(state, user=replace(state.user, silence=silence))
            return state, ()
        case Understood():
            return _understood(state, signal), ()
        case ReplyPart(turn, interruptible):
            if state.answer is not None and state.answer.turn == turn:
                state = replace(state, answer=replace(state.answer, interruptible=interruptible))
            return state, ()
        case StopRequested(at):
            return _stop(state, at)
        case ReplyFinished(turn) if state.answer is not None and turn == state.answer.turn:
            return _reply_to_next(replace(state, answer=None))
        case ReplyFinished(turn) if turn in state.waiting:
            waiting = tuple(other for other in state.waiting if other != turn)
            return replace(state, waiting=waiting), ()
        case _:
            raise TurnError(state, signal)


# -- the user's turns ----------------------------------------------------------------


def _speech_started(state: TurnState, signal: SpeechStarted, policy: TurnPolicy) -> _Step:
    at = signal.at
    actions: tuple[Action, ...] = ()
    match state.user:
        case Idle() if policy.manual:
            return state, ()
        case Idle():
            state, actions = _begin(state, at, max(0.0, at - policy.pre_roll))
        case Paused(turn, since, spoken=spoken, speculating=speculating):
            state = replace(state, user=Speaking(turn, since, at, spoken))
            actions = (Recall(turn),) if speculating else ()
        case Speaking():  # held open by a key
            pass
    return _overlapped(state, voiced=signal.decided - at), actions


def _speech_stopped(state: TurnState, signal: SpeechStopped, policy: TurnPolicy) -> _Step:
    user, at = state.user, signal.at
    if isinstance(user, Idle):
        return replace(state, user=Idle()), ()
    if isinstance(user, Paused) or user.manual:
        return state, ()
    # What was taken for a new turn after a commit may be sound from before it.
    spoken = user.spoken + max(0.0, at - user.resumed)
    speculating = (
        policy.speculative
        and state.answer is None
        and not state.waiting
        and spoken >= policy.min_turn - _TOLERANCE
    )
    paused = Paused(user.turn, user.since, at, signal.decided, spoken, speculating=speculating)
    state = replace(state, user=paused)
    if state.answer is not None:
        state = _with_overlap(state, state.answer, user.turn, silent_since=at)
    actions: tuple[Action, ...] = (JudgePause(user.turn),)
    return state, (*actions, Speculate(user.turn)) if speculating else actions


def _voiced(state: TurnState, at: float, seconds: float, policy: TurnPolicy) -> _Step:
    match state.user:
        case Idle(voiced) if state.speech and not policy.manual:
            # A turn was committed while they spoke, and they go on.
            voiced += seconds
            if voiced < _STILL_TALKING - _TOLERANCE:
                return replace(state, user=Idle(voiced)), ()
            state, actions = _begin(state, at - voiced, at - voiced)
            return _overlapped(state, voiced=voiced), actions
        case Speaking(turn) if state.answer is not None:
            overlap = _overlap(state.answer, turn)
            voiced = seconds + (overlap.voiced if overlap else 0.0)
            return _with_overlap(state, state.answer, turn, voiced=voiced), ()
        case _:
            return state, ()


def _opened(state: TurnState, at: float) -> _Step:
    actions: tuple[Action, ...] = ()
    match state.user:
        case Speaking():
            state = replace(state, user=replace(state.user, manual=True))
        case Paused(turn, since, spoken=spoken, speculating=speculating):
            state = replace(state, user=Speaking(turn, since, at, spoken, manual=True))
            actions = (Recall(turn),) if speculating else ()
        case Idle():
            state, actions = _begin(state, at, at, manual=True)
    # Who presses the key wants to be heard.
    state, stopped = _stop(state, at)
    return state, stopped + actions


def _begin(state: TurnState, at: float, start: float, *, manual: bool = False) -> _Step:
    turn = state.n_turns + 1
    user = Speaking(turn, at, at, manual=manual)
    return replace(state, user=user, n_turns=turn), (ListenTo(turn, start),)


def _end_user_turn(state: TurnState, at: float, policy: TurnPolicy) -> _Step:
    match state.user:
        case Paused(turn, _, paused_at, decided, spoken):
            ended = UserTurnEnded(turn, end=paused_at, audio_end=decided, decided=at)
        case Speaking(turn, _, resumed, spoken, manual):
            ended = UserTurnEnded(turn, end=at, audio_end=at, decided=at)
            spoken = policy.min_turn if manual else spoken + at - resumed
        case Idle():
            return state, ()
    state = replace(state, user=Idle())
    if spoken < policy.min_turn - _TOLERANCE:
        return state, (ended, Discard(turn))
    state = replace(state, waiting=(*state.waiting, turn))
    state, actions = _reply_to_next(state)
    if len(state.waiting) <= policy.max_waiting:
        return state, (ended, *actions)
    dropped, *waiting = state.waiting
    return replace(state, waiting=tuple(waiting)), (ended, Drop(dropped))


# -- the answers ---------------------------------------------------------------------


def _reply_to_next(state: TurnState) -> _Step:
    if state.answer is not None or not state.waiting:
        return state, ()
    turn, *waiting = state.waiting
    state = replace(state, answer=Answering(turn), waiting=tuple(waiting))
    return _overlapped(state), (Reply(turn),)


def _overlapped(state: TurnState, *, voiced: float = 0.0) -> TurnState:
    """With the turn that the user speaks in, if there is an answer for it to overlap."""
    if state.answer is None or not isinstance(state.user, Speaking):
        return state
    known = _overlap(state.answer, state.user.turn)
    before = known.voiced if known else 0.0
    return _with_overlap(
        state, state.answer, state.user.turn, voiced=before + voiced, silent_since=None
    )


def _overlap(answer: Answering, turn: int) -> Overlap | None:
    return next((overlap for overlap in answer.overlaps if overlap.turn == turn), None)


def _with_overlap(state: TurnState, answer: Answering, turn: int, **known: Any) -> TurnState:
    overlap = replace(_overlap(answer, turn) or Overlap(turn), **known)
    others = tuple(other for other in answer.overlaps if other.turn != turn)
    return replace(state, answer=replace(answer, overlaps=(*others, overlap)))


def _understood(state: TurnState, signal: Understood) -> TurnState:
    if state.answer is None or _overlap(state.answer, signal.turn) is None:
        return state
    return replace(
        _with_overlap(
            state,
            state.answer,
            signal.turn,
            n_words=signal.n_words,
            final=signal.final,
            echo=signal.echo,
        ),
        echoes=state.echoes or signal.echo,
    )


def _may_hold(overlap: Overlap, state: TurnState, policy: TurnPolicy) -> bool:
    """Whether it is speech that may yet turn out to have words."""
    return (
        policy.barge_in is not None
        and policy.hold_on_speech
        and not state.echoes
        and not overlap.echo
        and not overlap.final
        and overlap.voiced >= policy.barge_in - _TOLERANCE
    )


def _wanted(state: TurnState, answer: Answering, at: float, policy: TurnPolicy) -> _Course:
    """What should become of the answer, from what is known of what is said over it."""
    if policy.barge_in is None or policy.manual or not answer.interruptible:
        return "running"
    if any(
        overlap.voiced >= policy.barge_in - _TOLERANCE
        and overlap.n_words >= policy.min_words
        and not overlap.echo
        for overlap in answer.overlaps
    ):
        return "stopped"
    for overlap in answer.overlaps:
        silent = overlap.silent_since
        if _may_hold(overlap, state, policy) and (
            silent is None or at < silent + policy.false_interruption
        ):
            return "held"
    return "running"


def _settle(state: TurnState, at: float, policy: TurnPolicy) -> _Step:
    answer = state.answer
    if answer is None or answer.course == "stopped":
        return state, ()
    wanted = _wanted(state, answer, at, policy)
    if wanted == answer.course:
        return state, ()
    action: Action
    match wanted:
        case "stopped":
            return _stop(state, at)
        case "held":
            action = HoldReply(answer.turn, at)
        case "running":
            action = ResumeReply(answer.turn, at)
    return replace(state, answer=replace(answer, course=wanted)), (action,)


def _stop(state: TurnState, at: float) -> _Step:
    answer = state.answer
    if answer is None or answer.course == "stopped":
        return state, ()
    state = replace(state, answer=replace(answer, course="stopped"))
    return state, (StopReply(answer.turn, at),)
