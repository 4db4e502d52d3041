"""Speech probabilities become "speech started" and "speech stopped"."""

from __future__ import annotations

from itertools import pairwise
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts._endpoint import (
    INITIAL,
    EndpointPolicy,
    EndpointState,
    Paused,
    Quiet,
    Rising,
    SpeechEvent,
    SpeechStarted,
    SpeechStopped,
    Talking,
    step,
)

FRAME = 0.1  # s
POLICY = EndpointPolicy(start_above=0.6, stop_below=0.4, min_speech=0.2, min_silence=0.3)


def run(
    probabilities: list[float], policy: EndpointPolicy = POLICY
) -> tuple[EndpointState, list[SpeechEvent]]:
    state, events = INITIAL, []
    for index, probability in enumerate(probabilities):
        state, event = step(state, index * FRAME, (index + 1) * FRAME, probability, policy)
        if event is not None:
            events.append(event)
    return state, events


def times(events: list[SpeechEvent]) -> list[tuple[str, float, float]]:
    """Events by kind, with times rounded to what a frame can tell apart."""
    return [(type(e).__name__, round(e.at, 6), round(e.decided, 6)) for e in events]


def started(at: float, decided: float) -> tuple[str, float, float]:
    return "SpeechStarted", at, decided


def stopped(at: float, decided: float) -> tuple[str, float, float]:
    return "SpeechStopped", at, decided


@pytest.mark.parametrize(
    ("probabilities", "expected", "state"),
    [
        pytest.param([], [], Quiet(), id="nothing heard"),
        pytest.param([0.0, 0.59], [], Quiet(), id="below the upper threshold nobody speaks"),
        pytest.param([0.0, 0.6], [], Rising(0.1), id="one frame of speech is too short"),
        pytest.param([0.6, 0.0, 0.6, 0.0], [], Quiet(), id="clicks do not add up"),
        pytest.param([0.6, 0.59, 0.6], [], Rising(0.2), id="an onset begins again after a dip"),
        pytest.param(
            [0.0, 0.6, 0.6], [started(0.1, 0.3)], Talking(),
            id="speech starts at its first frame once it is long enough",
        ),
        pytest.param(
            [0.9, 0.9, 0.4, 0.5, 0.4, 0.5], [started(0.0, 0.2)], Talking(),
            id="between the thresholds speech goes on",
        ),
        pytest.param(
            [0.9, 0.9, 0.3, 0.3], [started(0.0, 0.2)], Paused(0.2),
            id="a pause is at first only a pause",
        ),
        pytest.param(
            [0.9, 0.9, 0.3, 0.3, 0.4, 0.3, 0.3], [started(0.0, 0.2)], Paused(0.5),
            id="a pause begins again after a sound",
        ),
        pytest.param(
            [0.9, 0.9, 0.3, 0.3, 0.3], [started(0.0, 0.2), stopped(0.2, 0.5)], Quiet(),
            id="speech stops at the first frame of a pause once that is long enough",
        ),
        pytest.param(
            [0.9, 0.9, 0.0, 0.0, 0.0, 0.5, 0.9, 0.9],
            [started(0.0, 0.2), stopped(0.2, 0.5), started(0.6, 0.8)], Talking(),
            id="speech starts again, over the upper threshold only",
        ),
    ],
)  # fmt: skip
def test_frames_become_events(
    probabilities: list[float], expected: list[tuple[str, float, float]], state: EndpointState
) -> None:
    final, events = run(probabilities)
    assert times(events) == expected
    assert type(final) is type(state)
    assert getattr(final, "since", None) == pytest.approx(getattr(state, "since", None))


def test_durations_shorter_than_a_frame_are_decided_within_it() -> None:
    policy = EndpointPolicy(min_speech=0.0, min_silence=0.0)
    assert times(run([1.0, 0.0], policy)[1]) == [started(0.0, 0.1), stopped(0.1, 0.2)]


def test_a_duration_of_n_frames_takes_n_frames_however_long_the_stream_has_run() -> None:
    """0.3 s is three frames of 0.1 s, although no sum of floats says so exactly."""
    policy = EndpointPolicy(min_speech=3 * FRAME, min_silence=3 * FRAME)
    for lead in range(0, 400_000, 9_973):
        state: EndpointState = Quiet()
        decided = []
        for index in range(lead, lead + 6):
            probability = 1.0 if index < lead + 3 else 0.0
            state, event = step(state, index * FRAME, (index + 1) * FRAME, probability, policy)
            if event is not None:
                decided.append(index - lead)
        assert decided == [2, 5]


@pytest.mark.parametrize(
    "setting",
    [
        {"start_above": 0.3, "stop_below": 0.4},
        {"start_above": 1.1},
        {"stop_below": -0.1},
        {"start_above": nan},
        {"min_speech": -0.01},
        {"min_silence": -0.01},
        {"min_silence": nan},
    ],
    ids=str,
)
def test_a_policy_that_makes_no_sense_is_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        EndpointPolicy(**setting)


def test_by_default_a_click_is_no_speech_and_the_closure_of_a_consonant_no_pause() -> None:
    assert EndpointPolicy() == EndpointPolicy(
        start_above=0.5, stop_below=0.35, min_speech=0.09, min_silence=0.3
    )


def test_a_pause_may_be_asked_never_to_end_speech() -> None:
    policy = EndpointPolicy(min_silence=inf)
    assert isinstance(run([1.0] * 2 + [0.0] * 1000, policy)[0], Paused)


probabilities = st.lists(st.floats(0.0, 1.0), max_size=80)
policies = st.builds(
    lambda low, high, speech, silence: EndpointPolicy(
        max(low, high), min(low, high), speech * FRAME, silence * FRAME
    ),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
    st.integers(1, 6),
    st.integers(1, 6),
)


@given(probabilities, policies)
def test_events_alternate_and_their_times_only_grow(
    heard: list[float], policy: EndpointPolicy
) -> None:
    _, events = run(heard, policy)
    kinds = [type(event) for event in events]
    assert kinds == [SpeechStarted, SpeechStopped] * (len(kinds) // 2) + [SpeechStarted] * (
        len(kinds) % 2
    )
    assert all(event.at < event.decided for event in events)
    assert all(a.decided <= b.at for a, b in pairwise(events))


@given(probabilities, policies)
def test_every_event_is_borne_out_by_the_frames_it_was_decided_on(
    heard: list[float], policy: EndpointPolicy
) -> None:
    """No shorter than the policy asks, no longer, and all on the right side of its threshold."""
    for event in run(heard, policy)[1]:
        first, end = round(event.at / FRAME), round(event.decided / FRAME)
        frames = heard[first:end]
        if isinstance(event, SpeechStarted):
            assert min(frames) >= policy.start_above
            assert len(frames) == round(policy.min_speech / FRAME)
        else:
            assert max(frames) < policy.stop_below
            assert len(frames) == round(policy.min_silence / FRAME)


@given(probabilities, policies)
def test_no_speech_or_pause_that_was_long_enough_is_missed(
    heard: list[float], policy: EndpointPolicy
) -> None:
    """Against the rule said for a whole recording: where, from here, does it change next?"""
    n_speech, n_silence = round(policy.min_speech / FRAME), round(policy.min_silence / FRAME)
    position, talking, expected = 0, False, []
    while True:
        needed = n_silence if talking else n_speech
        ends = [
            end
            for end in range(position + needed, len(heard) + 1)
            if all(
                p < policy.stop_below if talking else p >= policy.start_above
                for p in heard[end - needed : end]
            )
        ]
        if not ends:
            break
        position, talking = ends[0], not talking
        expected.append((position - needed, position))
    assert [
        (round(e.at / FRAME), round(e.decided / FRAME)) for e in run(heard, policy)[1]
    ] == expected
