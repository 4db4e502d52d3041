"""Turn-taking needs no audio, no event loop and no clock to be tested."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from realtime_stts.conversation._events import (
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
    SpeechStarted,
    SpeechStopped,
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
from realtime_stts.conversation._turns import (
    Idle,
    Paused,
    Speaking,
    TurnPolicy,
    TurnState,
    deadline,
    step,
    wants_voicing,
)
from realtime_stts.errors import TurnError

POLICY = TurnPolicy(
    end_of_turn=0.5, pre_roll=0.25, max_turn=10.0, max_waiting=2, idle_after=None, barge_in=0.3
)


def start(at: float) -> SpeechStarted:
    return SpeechStarted(at, at + 0.1)


def stop(at: float) -> SpeechStopped:
    return SpeechStopped(at, at + 0.3)


def run(*signals: Signal, policy: TurnPolicy = POLICY) -> list[Action]:
    """What is done; that pauses are to be judged is left out, as every one is."""
    state = TurnState()
    taken: list[Action] = []
    for signal in signals:
        state, actions = step(state, signal, policy)
        taken += [action for action in actions if not isinstance(action, JudgePause)]
    return taken


def reached(*signals: Signal, policy: TurnPolicy = POLICY) -> TurnState:
    """The state that they lead to."""
    state = TurnState()
    for signal in signals:
        state, _ = step(state, signal, policy)
    return state


TURN = (start(1.0), stop(2.0), Tick(2.5))
TAKEN = [ListenTo(1, 0.75), UserTurnEnded(1, end=2.0, audio_end=2.3, decided=2.5), Reply(1)]


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        pytest.param(TURN, TAKEN, id="silence ends the turn, and it is answered"),
        pytest.param(TURN[:2], TAKEN[:1], id="a pause alone does not"),
        pytest.param(
            (start(1.0), stop(2.0), start(2.35), stop(3.0), Tick(3.5)),
            [ListenTo(1, 0.75), UserTurnEnded(1, 3.0, 3.3, 3.5), Reply(1)],
            id="going on after a short pause is the same turn",
        ),
        pytest.param(
            (start(0.1),), [ListenTo(1, 0.0)], id="there is no sound before the beginning"
        ),
        pytest.param(
            (start(1.0), stop(2.0), start(2.45)),
            [*TAKEN, ListenTo(2, 2.2)],
            id="speech that is certain only after the deadline is the next turn",
        ),
        pytest.param(
            (*TURN, ReplyFinished(1, 3.0), start(4.0), stop(5.0), Tick(5.5)),
            [*TAKEN, ListenTo(2, 3.75), UserTurnEnded(2, 5.0, 5.3, 5.5), Reply(2)],
            id="turns alternate",
        ),
        pytest.param(
            (*TURN, start(3.0), stop(4.0), Tick(4.5), ReplyFinished(1, 5.0)),
            [*TAKEN, ListenTo(2, 2.75), UserTurnEnded(2, 4.0, 4.3, 4.5), Reply(2)],
            id="a turn taken during an answer waits for its own",
        ),
        pytest.param(
            (start(1.0), InputEnded(1.6)),
            [ListenTo(1, 0.75), UserTurnEnded(1, 1.6, 1.6, 1.6), Reply(1)],
            id="the end of the input ends the turn of a speaker",
        ),
        pytest.param(
            (start(1.0), stop(2.0), InputEnded(2.4)),
            [ListenTo(1, 0.75), UserTurnEnded(1, 2.0, 2.3, 2.4), Reply(1)],
            id="and of one who pauses",
        ),
        pytest.param((InputEnded(1.0),), [], id="and does nothing in silence"),
        pytest.param(
            (start(1.0), Tick(11.0)),
            [ListenTo(1, 0.75), UserTurnEnded(1, 11.0, 11.0, 11.0), Reply(1), ListenTo(2, 11.0)],
            id="the longest turn is cut, and goes on without a gap or an overlap",
        ),
        pytest.param(
            (start(1.0), Tick(25.0)),
            [
                ListenTo(1, 0.75),
                UserTurnEnded(1, 11.0, 11.0, 11.0),
                Reply(1),
                ListenTo(2, 11.0),
                UserTurnEnded(2, 21.0, 21.0, 21.0),
                ListenTo(3, 21.0),
            ],
            id="as often as needed, however late the tick",
        ),
    ],
)
def test_actions(signals: tuple[Signal, ...], expected: list[Action]) -> None:
    assert run(*signals) == expected


def test_too_many_waiting_turns_drop_the_oldest() -> None:
    """An answer that never ends does not gather turns without bound."""
    spoken = [s for at in (1.0, 3.0, 5.0, 7.0) for s in (start(at), stop(at + 1), Tick(at + 1.5))]
    dropped = [action for action in run(*spoken) if isinstance(action, Drop)]
    assert dropped == [Drop(2)]


def test_a_turn_that_needs_no_answer_does_not_wait_for_one() -> None:
    spoken = [s for at in (1.0, 3.0, 5.0) for s in (start(at), stop(at + 1), Tick(at + 1.5))]
    finished = [ReplyFinished(2, 7.0), ReplyFinished(1, 8.0)]
    assert run(*spoken, *finished)[-1] == Reply(3)


def test_waiting_turns_are_answered_in_order() -> None:
    spoken = [s for at in (1.0, 3.0, 5.0) for s in (start(at), stop(at + 1), Tick(at + 1.5))]
    finished = [ReplyFinished(1, 7.0), ReplyFinished(2, 8.0), ReplyFinished(3, 9.0)]
    replies = [action for action in run(*spoken, *finished) if isinstance(action, Reply)]
    assert replies == [Reply(1), Reply(2), Reply(3)]


def test_a_detector_slower_than_the_pause_ends_the_turn_as_soon_as_it_is_sure() -> None:
    hasty = TurnPolicy(end_of_turn=0.1, pre_roll=0.0)
    actions = run(start(1.0), stop(2.0), Tick(2.3), policy=hasty)
    assert UserTurnEnded(1, end=2.0, audio_end=2.3, decided=2.3) in actions


@given(n=st.integers(0, 100_000))
def test_a_turn_ends_on_its_frame_and_not_the_one_after(n: int) -> None:
    """Moments are frames over a rate, and sums of those differ in their last bits."""
    paused = stop(n / 50)
    assert run(start(n / 50), paused, Tick((n + 25) / 50))[-1] == Reply(1)


def test_the_deadline_is_the_moment_the_state_changes() -> None:
    state, _ = step(TurnState(), start(1.0), POLICY)
    assert deadline(state, POLICY) == 11.0
    state, _ = step(state, stop(2.0), POLICY)
    assert deadline(state, POLICY) == 2.5
    assert step(state, Tick(2.49), POLICY) == (state, ())
    state, actions = step(state, Tick(2.5), POLICY)
    assert actions == tuple(TAKEN[1:])
    assert deadline(state, POLICY) is None


@pytest.mark.parametrize(
    ("before", "signal"),
    [
        ((), stop(1.0)),
        ((start(1.0),), start(1.2)),
        ((start(1.0), stop(2.0)), stop(2.05)),
        ((), ReplyFinished(1, 1.0)),
        (TURN, ReplyFinished(2, 3.0)),
        ((*TURN, ReplyFinished(1, 3.0)), ReplyFinished(1, 3.0)),
    ],
)
def test_impossible_signals_raise(before: tuple[Signal, ...], signal: Signal) -> None:
    with pytest.raises(TurnError, match="impossible in") as caught:
        run(*before, signal)
    assert (caught.value.state, caught.value.event) == (reached(*before), signal)


@pytest.mark.parametrize(
    "values",
    [
        {"end_of_turn": -0.1},
        {"pre_roll": -1},
        {"min_turn": -1},
        {"max_turn": 0},
        {"max_waiting": 0},
        {"idle_after": -1},
        {"barge_in": -0.1},
        {"min_words": -1},
        {"false_interruption": -1},
        {"self_echo": 0},
        {"self_echo": 1.1},
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        TurnPolicy(**values)  # type: ignore[arg-type]


def test_a_policy_is_that_of_a_talk_in_turns_unless_asked_otherwise() -> None:
    assert TurnPolicy() == TurnPolicy(
        end_of_turn=0.6,
        pre_roll=0.3,
        min_turn=0.0,
        max_turn=60.0,
        max_waiting=8,
        manual=False,
        speculative=False,
        idle_after=30.0,
        barge_in=0.3,
        hold_on_speech=True,
        min_words=1,
        false_interruption=2.0,
        backchannels=None,
        self_echo=0.8,
    )


def test_a_policy_may_go_to_its_limits() -> None:
    limits = TurnPolicy(max_turn=0.01, max_waiting=1, self_echo=1.0)
    assert (limits.max_turn, limits.max_waiting, limits.self_echo) == (0.01, 1, 1.0)


def test_of_an_exchange_that_is_over_nothing_is_left() -> None:
    assert reached(*TURN, ReplyFinished(1, 3.0)) == TurnState(n_turns=1, quiet_since=3.0)


@st.composite
def talks(draw: st.DrawFn) -> list[Signal]:
    """Somebody speaks and pauses; detectors need a while to be sure of each."""
    now, signals = 0.0, list[Signal]()
    for gap in draw(st.lists(st.floats(0.5, 15.0), min_size=1, max_size=12)):
        now += gap
        decided = now + draw(st.floats(0.0, 0.4))
        signals.append(
            SpeechStopped(now, decided) if len(signals) % 2 else SpeechStarted(now, decided)
        )
    return signals


def at(signal: Signal) -> float:
    return signal.decided if isinstance(signal, SpeechStarted | SpeechStopped) else signal.at


@given(talks(), st.lists(st.floats(0.0, 100.0)))
def test_extra_ticks_never_change_the_outcome(talk: list[Signal], ticks: list[float]) -> None:
    """However finely the rim slices time, the conversation is the same."""
    end = InputEnded(1000.0)
    ticked = sorted([*talk, *map(Tick, ticks)], key=at)
    assert run(*ticked, end) == run(*talk, end)


# -- how long a pause may last -------------------------------------------------------


def test_every_pause_is_to_be_judged() -> None:
    state, _ = step(TurnState(), start(1.0), POLICY)
    assert step(state, stop(2.0), POLICY)[1] == (JudgePause(1),)


def test_a_pause_lasts_as_long_as_it_was_judged_to() -> None:
    longer = (start(1.0), stop(2.0), EndOfTurnJudged(1, 0.9, 2.35))
    assert run(*longer, Tick(2.89)) == TAKEN[:1]
    assert run(*longer, Tick(3.0))[1:] == [UserTurnEnded(1, 2.0, 2.3, 2.9), Reply(1)]
    shorter = (start(1.0), stop(2.0), EndOfTurnJudged(1, 0.35, 2.31), Tick(2.4))
    assert run(*shorter)[1:] == [UserTurnEnded(1, 2.0, 2.3, 2.35), Reply(1)]


def test_a_judgement_that_comes_too_late_changes_nothing() -> None:
    assert run(start(1.0), EndOfTurnJudged(1, 0.0, 1.2), Tick(1.5)) == TAKEN[:1]
    assert run(*TURN, EndOfTurnJudged(1, 5.0, 2.6), Tick(9.0)) == TAKEN
    assert run(start(1.0), stop(2.0), EndOfTurnJudged(7, 5.0, 2.4), Tick(2.5)) == TAKEN


def test_the_next_pause_is_judged_anew() -> None:
    spoken = (start(1.0), stop(2.0), EndOfTurnJudged(1, 2.0, 2.31), start(2.6), stop(3.0))
    assert run(*spoken, Tick(3.5))[1:] == [UserTurnEnded(1, 3.0, 3.3, 3.5), Reply(1)]


# -- too short -----------------------------------------------------------------------


def test_too_little_speech_is_no_turn_to_answer() -> None:
    policy = TurnPolicy(end_of_turn=0.5, min_turn=0.4, idle_after=None)
    assert run(start(1.0), stop(1.3), Tick(2.0), policy=policy)[1:] == [
        UserTurnEnded(1, 1.3, 1.6, 1.8),
        Discard(1),
    ]
    # Speech counts, and not the pauses in it.
    hesitant = (start(1.0), stop(1.2), start(1.5), stop(1.7), Tick(3.0))
    assert Reply(1) in run(*hesitant, policy=policy)
    assert Discard(1) in run(
        start(1.0), stop(1.2), start(1.5), stop(1.69), Tick(3.0), policy=policy
    )


def test_input_that_ends_in_the_middle_of_a_word_counts_what_there_was() -> None:
    policy = TurnPolicy(min_turn=0.4, idle_after=None)
    assert Discard(1) in run(start(1.0), InputEnded(1.3), policy=policy)
    assert Reply(1) in run(start(1.0), InputEnded(1.4), policy=policy)


# -- push to talk --------------------------------------------------------------------


def test_a_turn_held_open_by_a_key_ends_with_the_key_and_not_with_a_pause() -> None:
    held = (TurnOpened(1.0), start(1.2), stop(2.0), Tick(4.0), start(4.1), TurnCommitted(5.0))
    assert run(*held) == [ListenTo(1, 1.0), UserTurnEnded(1, 5.0, 5.0, 5.0), Reply(1)]


def test_a_turn_held_open_is_never_too_short() -> None:
    policy = TurnPolicy(min_turn=3.0, idle_after=None)
    assert Reply(1) in run(TurnOpened(1.0), TurnCommitted(1.5), policy=policy)


def test_the_longest_turn_is_cut_with_the_key_still_held() -> None:
    held = (TurnOpened(1.0), start(1.0), Tick(11.0), stop(11.5), Tick(14.0), TurnCommitted(15.0))
    assert run(*held)[-2:] == [ListenTo(2, 11.0), UserTurnEnded(2, 15.0, 15.0, 15.0)]


def test_the_key_takes_over_a_turn_that_speech_began() -> None:
    assert run(start(1.0), TurnOpened(1.5), stop(2.0), Tick(4.0)) == [ListenTo(1, 0.75)]
    in_its_pause = (start(1.0), stop(2.0), TurnOpened(2.4))
    assert reached(*in_its_pause).user == Speaking(1, 1.0, resumed=2.4, spoken=1.0, manual=True)
    assert run(*in_its_pause, Tick(4.0)) == [ListenTo(1, 0.75)]
    assert run(*in_its_pause, TurnCommitted(5.0))[1:] == [
        UserTurnEnded(1, 5.0, 5.0, 5.0),
        Reply(1),
    ]


def test_the_key_stops_the_answer_at_once() -> None:
    assert run(*TURN, TurnOpened(3.0)) == [*TAKEN, StopReply(1, 3.0), ListenTo(2, 3.0)]
    # What they say over it then was begun before the key, and has nothing left to stop.
    going_on = (start(1.0), TurnCommitted(2.0), TurnOpened(2.1), Voiced(2.5, 0.4))
    assert run(*going_on)[-2:] == [StopReply(1, 2.1), ListenTo(2, 2.1)]


def test_a_commit_ends_the_turn_at_once() -> None:
    assert run(start(1.0), TurnCommitted(1.5))[1:] == [UserTurnEnded(1, 1.5, 1.5, 1.5), Reply(1)]
    assert run(start(1.0), stop(2.0), TurnCommitted(2.4))[1:] == [
        UserTurnEnded(1, 2.0, 2.3, 2.4),
        Reply(1),
    ]
    assert run(TurnCommitted(1.0)) == []


def test_speech_that_goes_on_after_a_commit_is_the_next_turn() -> None:
    spoken = (start(1.0), TurnCommitted(2.0), Voiced(2.1, 0.1), Voiced(2.2, 0.1))
    assert run(*spoken) == run(*spoken[:2])
    # It is speech over the answer to the first, too.
    assert run(*spoken, Voiced(2.3, 0.1))[-2:] == [
        ListenTo(2, pytest.approx(2.0)),
        HoldReply(1, 2.3),
    ]


def test_a_turn_that_goes_on_after_a_commit_began_with_the_speech_that_proved_it() -> None:
    spoken = (start(1.0), TurnCommitted(2.0), Voiced(2.25, 0.25))
    assert run(*spoken)[-1] == ListenTo(2, 2.0)
    assert UserTurnEnded(2, 12.0, 12.0, 12.0) in run(*spoken, Tick(12.0))


def test_the_rest_of_a_committed_word_is_no_turn() -> None:
    rest = (start(1.0), TurnCommitted(2.0), Voiced(2.1, 0.1), stop(2.1), Tick(9.0))
    assert [action for action in run(*rest) if isinstance(action, ListenTo)] == [ListenTo(1, 0.75)]
    # And it is forgotten with the speech that it ended.
    assert reached(*rest).user == Idle()
    assert run(*rest, start(10.0), stop(10.2), Tick(11.0))[-2:] == [
        ListenTo(2, 9.75),
        UserTurnEnded(2, 10.2, 10.5, 10.7),
    ]


def test_where_the_host_opens_turns_speech_does_not() -> None:
    manual = TurnPolicy(manual=True, idle_after=None)
    spoken = (start(1.0), Voiced(1.2, 0.2), Voiced(1.6, 0.4), stop(2.0), Tick(5.0))
    assert run(*spoken, policy=manual) == []
    assert run(*spoken, TurnOpened(6.0), policy=manual) == [ListenTo(1, 6.0)]
    over = (TurnOpened(0.0), TurnCommitted(0.5), *spoken, Understood(2, 3, False, 6.0))
    assert not any(
        isinstance(action, HoldReply | StopReply) for action in run(*over, policy=manual)
    )


# -- quiet ---------------------------------------------------------------------------

PATIENT = TurnPolicy(end_of_turn=0.5, idle_after=5.0)


def test_a_user_who_does_not_begin_is_told_of_once() -> None:
    assert run(Tick(4.9), policy=PATIENT) == []
    assert run(Tick(5.2), Tick(60.0), policy=PATIENT) == [TellIdle(0.0, 5.0)]


def test_quiet_is_counted_from_the_end_of_the_answer() -> None:
    ended = run(*TURN, ReplyFinished(1, 7.0), Tick(11.9), Tick(12.0), Tick(30.0), policy=PATIENT)
    assert ended[3:] == [TellIdle(7.0, 12.0)]


def test_nobody_is_idle_while_somebody_speaks() -> None:
    assert TellIdle not in map(type, run(start(1.0), Tick(9.0), policy=PATIENT))
    assert TellIdle not in map(type, run(*TURN, Tick(30.0), policy=PATIENT))


def test_a_turn_too_short_to_answer_begins_the_quiet_anew() -> None:
    policy = TurnPolicy(end_of_turn=0.5, idle_after=5.0, min_turn=1.0)
    assert run(start(1.0), stop(1.3), Tick(9.0), policy=policy)[-1] == TellIdle(1.8, 6.8)


# -- what is said over an answer -----------------------------------------------------

OVER = (*TURN, start(3.0))  # 0.1 s of it is certain at 3.1


def after(*signals: Signal, policy: TurnPolicy = POLICY) -> list[Action]:
    """What is done about the answer to turn 1, once the user speaks over it."""
    taken = run(*OVER, *signals, policy=policy)[len(run(*TURN, policy=policy)) + 1 :]
    return [a for a in taken if isinstance(a, HoldReply | ResumeReply | StopReply)]


LONG = (Voiced(3.2, 0.1), Voiced(3.3, 0.1))  # enough, with what was certain before


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        pytest.param((Voiced(3.29, 0.19),), [], id="a cough is too short to hold it"),
        pytest.param(LONG, [HoldReply(1, 3.3)], id="speech holds it, before there are words"),
        pytest.param(
            (*LONG, Understood(2, 1, False, 3.6)),
            [HoldReply(1, 3.3), StopReply(1, 3.6)],
            id="words stop it, while they are still being said",
        ),
        pytest.param(
            (Understood(2, 2, False, 3.15), *LONG),
            [StopReply(1, 3.3)],
            id="words that are known already stop it as soon as there is enough speech",
        ),
        pytest.param(
            (*LONG, Understood(2, 0, False, 3.6), stop(3.7), Understood(2, 0, True, 4.3)),
            [HoldReply(1, 3.3), ResumeReply(1, 4.3)],
            id="speech without words lets it go on",
        ),
        pytest.param(
            (*LONG, stop(3.7), Tick(5.69), Tick(5.8), Understood(2, 0, True, 6.0)),
            [HoldReply(1, 3.3), ResumeReply(1, 5.7)],
            id="and so does silence, when the words take too long",
        ),
        pytest.param(
            (*LONG, stop(3.7), Tick(5.8), Understood(2, 3, True, 6.0)),
            [HoldReply(1, 3.3), ResumeReply(1, 5.7), StopReply(1, 6.0)],
            id="but words stop it whenever they come",
        ),
        pytest.param(
            (*LONG, stop(3.7), start(4.0), Tick(8.0)),
            [HoldReply(1, 3.3)],
            id="it is held as long as they speak",
        ),
        pytest.param(
            (stop(3.1), Understood(2, 4, True, 3.9)),
            [],
            id="words too short to take the floor wait for their own answer",
        ),
        pytest.param(
            (*LONG, stop(3.4), Tick(3.9), start(5.0), Tick(5.4)),
            [HoldReply(1, 3.3), ResumeReply(1, 5.4)],
            id="another short sound does not prolong it",
        ),
        pytest.param(
            (*LONG, Understood(2, 0, False, 3.6, echo=True)),
            [HoldReply(1, 3.3), ResumeReply(1, 3.6)],
            id="the bot does not interrupt itself",
        ),
        pytest.param(
            (*LONG, StopRequested(3.5), StopRequested(3.6), Understood(2, 1, True, 3.7)),
            [HoldReply(1, 3.3), StopReply(1, 3.5)],
            id="the host can stop it, once",
        ),
        pytest.param(
            (ReplyPart(1, False, 3.1), *LONG, Understood(2, 5, False, 3.6)),
            [],
            id="what may not be interrupted is heard out",
        ),
        pytest.param(
            (ReplyPart(1, False, 3.1), *LONG, ReplyPart(1, True, 4.0)),
            [HoldReply(1, 4.0)],
            id="and held when that is over, if they still speak",
        ),
        pytest.param(
            (*LONG, ReplyPart(1, False, 3.5), ReplyPart(9, True, 3.6)),
            [HoldReply(1, 3.3), ResumeReply(1, 3.5)],
            id="a part of an answer that is over changes nothing",
        ),
        pytest.param(
            (*LONG, Understood(1, 5, True, 3.6)),
            [HoldReply(1, 3.3)],
            id="the words that are being answered do not stop their own answer",
        ),
    ],
)
def test_what_becomes_of_an_answer(signals: tuple[Signal, ...], expected: list[Action]) -> None:
    assert after(*signals) == expected


def test_a_minimum_of_words() -> None:
    policy = TurnPolicy(end_of_turn=0.5, min_words=2, idle_after=None)
    assert after(*LONG, Understood(2, 1, False, 3.6), policy=policy) == [HoldReply(1, 3.3)]
    assert after(*LONG, Understood(2, 2, False, 3.6), policy=policy)[1:] == [StopReply(1, 3.6)]


def test_with_no_words_asked_for_speech_alone_stops_it() -> None:
    policy = TurnPolicy(end_of_turn=0.5, min_words=0, idle_after=None)
    assert after(*LONG, policy=policy) == [StopReply(1, 3.3)]
    echo = Understood(2, 0, False, 3.15, echo=True)
    assert after(echo, *LONG, policy=policy) == [], "the bot's own voice is nobody's"


def test_without_barge_in_nothing_that_is_said_stops_it() -> None:
    policy = TurnPolicy(end_of_turn=0.5, barge_in=None, idle_after=None)
    assert after(*LONG, Understood(2, 9, False, 3.6), policy=policy) == []


def test_it_need_not_be_held_before_there_are_words() -> None:
    policy = TurnPolicy(end_of_turn=0.5, hold_on_speech=False, idle_after=None)
    words = Understood(2, 1, False, 3.6)
    assert after(*LONG, words, policy=policy) == [StopReply(1, 3.6)]


def test_once_the_bot_has_heard_itself_speech_alone_holds_nothing() -> None:
    echo = (*LONG, Understood(2, 0, True, 3.6, echo=True), stop(3.7), Tick(4.2))
    again = (start(5.0), Voiced(5.5, 0.5))
    assert after(*echo, *again) == after(*echo)
    assert after(*echo, *again, Understood(3, 1, False, 5.6))[-1:] == [StopReply(1, 5.6)]


def test_a_turn_that_stopped_an_answer_is_answered_next() -> None:
    said = (*LONG, Understood(2, 1, False, 3.6), ReplyFinished(1, 3.6), stop(4.0), Tick(4.5))
    assert run(*OVER, *said)[-1] == Reply(2)


def test_an_answer_that_begins_while_the_user_speaks_is_held_and_stopped_like_any() -> None:
    spoken = (*TURN, start(3.0), stop(3.5), Tick(4.0), start(4.5), ReplyFinished(1, 4.7))
    assert run(*spoken)[-1] == Reply(2)
    assert run(*spoken, Voiced(5.0, 0.3))[-1] == HoldReply(2, 5.0)


def test_one_of_several_overlaps_with_words_is_enough() -> None:
    first = (*LONG, stop(3.6), Tick(4.1))
    second = (start(4.5), stop(4.6), Tick(5.1))
    assert after(*first, *second, Understood(3, 0, True, 5.2), Understood(2, 2, True, 5.3)) == [
        HoldReply(1, 3.3),
        StopReply(1, 5.3),
    ]


def test_a_long_turn_that_is_cut_goes_on_over_its_own_answer() -> None:
    monologue = (start(1.0), Tick(11.0), Voiced(11.3, 0.3), Understood(2, 4, False, 11.9))
    assert run(*monologue)[-2:] == [HoldReply(1, 11.3), StopReply(1, 11.9)]


def test_voicing_is_wanted_where_it_can_change_something() -> None:
    def wanted(*signals: Signal, policy: TurnPolicy = POLICY) -> bool:
        return wants_voicing(reached(*signals, policy=policy), policy)

    assert not wanted()
    assert not wanted(start(1.0))
    assert not wanted(*TURN)
    assert wanted(*OVER)
    assert wanted(start(1.0), TurnCommitted(2.0))
    assert not wanted(start(1.0), policy=TurnPolicy(manual=True))
    assert run(*TURN, Voiced(2.6, 0.1)) == TAKEN


# -- beginning before it is certain --------------------------------------------------

EAGER = TurnPolicy(end_of_turn=0.5, pre_roll=0.25, speculative=True, idle_after=None)


def test_an_answer_may_begin_in_the_pause_and_count_if_that_was_the_end() -> None:
    assert run(*TURN, policy=EAGER) == [TAKEN[0], Speculate(1), *TAKEN[1:]]


@pytest.mark.parametrize("onward", [start(2.35), TurnOpened(2.4)], ids=["speech", "key"])
def test_it_is_thrown_away_if_the_user_goes_on(onward: Signal) -> None:
    assert run(start(1.0), stop(2.0), onward, policy=EAGER) == [
        TAKEN[0],
        Speculate(1),
        Recall(1),
    ]


def test_nothing_is_begun_while_another_answer_is_under_way() -> None:
    spoken = run(*TURN, start(3.0), stop(4.0), policy=EAGER)
    assert spoken.count(Speculate(1)) == 1
    assert Speculate(2) not in spoken


def test_nothing_is_begun_for_what_may_be_too_short() -> None:
    policy = TurnPolicy(end_of_turn=0.5, min_turn=0.5, speculative=True, idle_after=None)
    assert Speculate(1) not in run(start(1.0), stop(1.4), policy=policy)
    assert Speculate(1) in run(start(1.0), stop(1.5), policy=policy)


# -- any talk at all -----------------------------------------------------------------


class AnyTalk(RuleBasedStateMachine):
    """Whatever happens, in whatever order: the promises that the rim builds on."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = TurnPolicy(
            end_of_turn=0.5,
            pre_roll=0.25,
            min_turn=0.2,
            max_turn=8.0,
            max_waiting=2,
            speculative=True,
            idle_after=6.0,
        )
        self.state = TurnState()
        self.now = 0.0
        self.listening: set[int] = set()
        self.ended: set[int] = set()
        self.speculating: int | None = None
        self.decided: dict[int, str] = {}  # what became of each turn
        self.answer: int | None = None
        self.course = "running"
        self.over = False

    def tell(self, signal: Signal) -> None:
        before = self.state
        self.state, actions = step(before, signal, self.policy)
        for action in actions:
            self.act(action)

    def act(self, action: Action) -> None:
        match action:
            case ListenTo(turn, at):
                assert turn == len(self.decided) + len(self.listening) + len(self.ended) + 1
                assert 0.0 <= at <= self.now
                self.listening.add(turn)
            case JudgePause(turn):
                assert turn in self.listening
            case Speculate(turn):
                assert self.speculating is None
                assert turn in self.listening
                assert self.answer is None
                self.speculating = turn
            case Recall(turn):
                assert self.speculating == turn
                self.speculating = None
            case UserTurnEnded(turn, end, audio_end, decided):
                assert end <= audio_end <= decided <= self.now
                self.listening.remove(turn)
                self.ended.add(turn)
                if self.speculating == turn:
                    self.speculating = None
            case Reply(turn):
                assert self.answer is None
                self.settle(turn, "answered")
                self.answer, self.course = turn, "running"
            case Drop(turn):
                self.settle(turn, "dropped")
            case Discard(turn):
                self.settle(turn, "discarded")
            case HoldReply(turn, at):
                assert (turn, self.course) == (self.answer, "running")
                assert at <= self.now
                self.course = "held"
            case ResumeReply(turn, at):
                assert (turn, self.course) == (self.answer, "held")
                assert at <= self.now
                self.course = "running"
            case StopReply(turn):
                assert turn == self.answer
                assert self.course != "stopped"
                self.course = "stopped"
            case TellIdle(since, at):
                assert at == since + 6.0 <= self.now
                assert self.answer is None

    def settle(self, turn: int, fate: str) -> None:
        self.ended.remove(turn)
        assert turn not in self.decided
        self.decided[turn] = fate

    @rule(seconds=st.floats(0.01, 3.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Tick(self.now))

    @precondition(lambda self: not self.over)
    @rule(seconds=st.floats(0.01, 1.0), delay=st.floats(0.0, 0.3))
    def detector(self, seconds: float, delay: float) -> None:
        at = self.now + seconds
        self.now = at + delay
        kind = SpeechStopped if self.state.speech else SpeechStarted
        self.tell(kind(at, self.now))

    @precondition(lambda self: self.state.speech)
    @rule(seconds=st.floats(0.01, 0.5))
    def voiced(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Voiced(self.now, seconds))

    @rule(turn=st.integers(1, 6), silence=st.floats(0.0, 2.0))
    def judged(self, turn: int, silence: float) -> None:
        self.tell(EndOfTurnJudged(turn, silence, self.now))

    @rule(turn=st.integers(1, 6), n=st.integers(0, 3), final=st.booleans(), echo=st.booleans())
    def understood(self, turn: int, n: int, final: bool, echo: bool) -> None:
        self.tell(Understood(turn, 0 if echo else n, final, self.now, echo))

    @rule(turn=st.integers(1, 6), interruptible=st.booleans())
    def part(self, turn: int, interruptible: bool) -> None:
        self.tell(ReplyPart(turn, interruptible, self.now))

    @precondition(lambda self: not self.over)
    @rule(signal=st.sampled_from([TurnOpened, TurnCommitted, StopRequested]))
    def host(self, signal: type[TurnOpened | TurnCommitted | StopRequested]) -> None:
        self.tell(signal(self.now))

    @precondition(lambda self: self.answer is not None)
    @rule()
    def answered(self) -> None:
        assert self.answer is not None
        turn, self.answer = self.answer, None
        self.tell(ReplyFinished(turn, self.now))

    @rule()
    def impossible(self) -> None:
        state = self.state
        signal = SpeechStarted if state.speech else SpeechStopped
        with pytest.raises(TurnError):
            step(state, signal(self.now, self.now), self.policy)
        with pytest.raises(TurnError):
            step(state, ReplyFinished(99, self.now), self.policy)

    @invariant()
    def the_machine_and_its_rim_agree(self) -> None:
        answer = self.state.answer
        assert (answer and answer.turn) == self.answer
        assert answer is None or answer.course == self.course
        assert {*self.state.waiting} == self.ended
        assert len(self.state.waiting) <= self.policy.max_waiting
        assert len(self.listening) == (not isinstance(self.state.user, Idle))
        if isinstance(self.state.user, Speaking | Paused):
            assert self.listening == {self.state.user.turn}

    @invariant()
    def a_tick_leaves_nothing_overdue(self) -> None:
        state, _ = step(self.state, Tick(self.now), self.policy)
        due = deadline(state, self.policy)
        assert due is None or due > self.now
        assert step(state, Tick(self.now), self.policy) == (state, ())

    def teardown(self) -> None:
        """When the input has ended and every answer is given, every turn has had its end."""
        self.tell(InputEnded(self.now))
        while self.answer is not None:
            self.answered()
        assert not self.listening
        assert not self.ended
        assert [*sorted(self.decided)] == [*range(1, self.state.n_turns + 1)]


TestAnyTalk = AnyTalk.TestCase
