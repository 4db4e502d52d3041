"""Turn-taking needs no audio, no event loop and no clock to be tested."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.conversation._events import (
    Action,
    Drop,
    InputEnded,
    ListenTo,
    Reply,
    ReplyFinished,
    Signal,
    SpeechStarted,
    SpeechStopped,
    Tick,
    UserTurnEnded,
)
from realtime_stts.conversation._turns import TurnPolicy, TurnState, deadline, step
from realtime_stts.errors import TurnError

POLICY = TurnPolicy(end_of_turn=0.5, pre_roll=0.25, max_turn=10.0, max_waiting=2)


def start(at: float) -> SpeechStarted:
    return SpeechStarted(at, at + 0.1)


def stop(at: float) -> SpeechStopped:
    return SpeechStopped(at, at + 0.3)


def run(*signals: Signal, policy: TurnPolicy = POLICY) -> list[Action]:
    state = TurnState()
    taken: list[Action] = []
    for signal in signals:
        state, actions = step(state, signal, policy)
        taken += actions
    return taken


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


def test_waiting_turns_are_answered_in_order() -> None:
    spoken = [s for at in (1.0, 3.0, 5.0) for s in (start(at), stop(at + 1), Tick(at + 1.5))]
    finished = [ReplyFinished(1, 7.0), ReplyFinished(2, 8.0), ReplyFinished(3, 9.0)]
    replies = [action for action in run(*spoken, *finished) if isinstance(action, Reply)]
    assert replies == [Reply(1), Reply(2), Reply(3)]


def test_a_detector_slower_than_the_pause_ends_the_turn_as_soon_as_it_is_sure() -> None:
    hasty = TurnPolicy(end_of_turn=0.1, pre_roll=0.0)
    actions = run(start(1.0), stop(2.0), Tick(2.3), policy=hasty)
    assert UserTurnEnded(1, end=2.0, audio_end=2.3, decided=2.3) in actions


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
    ],
)
def test_impossible_signals_raise(before: tuple[Signal, ...], signal: Signal) -> None:
    with pytest.raises(TurnError, match="impossible in"):
        run(*before, signal)


@pytest.mark.parametrize(
    "values",
    [{"end_of_turn": -0.1}, {"pre_roll": -1}, {"max_turn": 0}, {"max_waiting": 0}],
)
def test_a_policy_that_cannot_be_kept_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        TurnPolicy(**values)  # type: ignore[arg-type]


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


@given(talks())
def test_every_turn_ends_once_and_at_most_one_is_answered_at_a_time(talk: list[Signal]) -> None:
    state, begun, ended, replying = TurnState(), list[int](), list[int](), None
    over = list[int]()  # answered or dropped
    queue: list[Signal] = [*talk, InputEnded(1000.0)]
    while queue:
        state, actions = step(state, queue.pop(0), POLICY)
        for action in actions:
            match action:
                case ListenTo(turn):
                    begun.append(turn)
                case UserTurnEnded(turn):
                    ended.append(turn)
                case Drop(turn):
                    over.append(turn)
                case Reply(turn):
                    assert replying is None
                    replying = turn
        if replying is not None and not queue:
            queue.append(ReplyFinished(replying, 1000.0))
            over.append(replying)
            replying = None
    assert begun == ended == [*range(1, len(begun) + 1)]
    assert sorted(over) == begun
    assert state.replying is None
    assert state.waiting == ()
