"""Packets on a clock: whatever comes when, the stream has no gaps and loses no time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("realtime_stts.integrations.discord", exc_type=ImportError)

from realtime_stts.integrations._discord._lanes import RATE, Lane, Mixer, mixed, mono

PACKET = 960
PATIENCE, MAX_WAITING = 0.1, 2.0


def sound(value: int, n: int = PACKET) -> np.ndarray:
    return np.full(n, value, np.int16)


def lane() -> Lane:
    return Lane(PATIENCE, MAX_WAITING)


def all_of(lane: Lane) -> list[int]:
    return [int(value) for value in lane.take(10**9)]


def test_nothing_is_heard_before_the_first_sound() -> None:
    one = lane()
    one.fill(100.0)
    assert one.waiting == 0
    assert not one.begun
    one.put(sound(7), 100.02)
    assert one.begun
    assert all_of(one) == [7] * PACKET


def test_sound_that_comes_steadily_is_passed_on_as_it_is() -> None:
    one = lane()
    for i in range(50):
        one.fill(i * 0.02)
        one.put(sound(i + 1), i * 0.02)
    assert all_of(one) == [i + 1 for i in range(50) for _ in range(PACKET)]


def test_a_packet_that_is_late_but_within_the_patience_makes_no_gap() -> None:
    one = lane()
    for i, late in enumerate([0.0, 0.07, 0.06, 0.05, 0.07, 0.07]):
        one.fill(i * 0.02 + late)
        one.put(sound(i + 1), i * 0.02 + late)
    assert all_of(one) == [i + 1 for i in range(6) for _ in range(PACKET)]


def test_a_pause_is_silence_of_its_length() -> None:
    one = lane()
    one.put(sound(1), 0.02)
    one.put(sound(2), 1.02)
    heard = all_of(one)
    assert len(heard) == round(1.02 * RATE)
    assert heard[-PACKET:] == [2] * PACKET
    assert not any(heard[PACKET:-PACKET])


def test_a_pause_is_heard_before_it_is_over() -> None:
    one = lane()
    one.put(sound(1), 0.02)
    one.fill(1.0)
    assert len(all_of(one)) == round((1.0 - PATIENCE) * RATE)
    one.put(sound(2), 1.02)  # and what is said after it is where it belongs
    assert len(all_of(one)) == round((0.02 + PATIENCE) * RATE)


def test_a_burst_after_a_stall_is_heard_whole_and_the_next_pause_is_shorter() -> None:
    one = lane()
    one.put(sound(1), 0.02)
    for i in range(5):
        one.put(sound(i + 2), 0.2)
    heard = all_of(one)
    assert heard[-5 * PACKET :] == [i + 2 for i in range(5) for _ in range(PACKET)]
    one.fill(2.0)
    assert len(heard) + len(all_of(one)) == round((2.0 - PATIENCE) * RATE)


def test_the_oldest_sound_becomes_silence_where_nobody_takes_it() -> None:
    one = lane()
    for i in range(150):
        one.put(sound(i + 1), (i + 1) * 0.02)
    assert one.dropped == pytest.approx(1.0)
    heard = all_of(one)
    assert len(heard) == 150 * PACKET
    assert not any(heard[: 50 * PACKET])
    assert heard[50 * PACKET :] == [i + 1 for i in range(50, 150) for _ in range(PACKET)]


def test_a_part_of_a_packet_may_be_dropped() -> None:
    one = Lane(PATIENCE, 0.01)
    one.put(sound(1), 0.02)
    one.put(sound(2), 1.02)
    assert one.dropped == pytest.approx(0.03)
    heard = all_of(one)
    assert heard[-480:] == [2] * 480
    assert not any(heard[:-480])


def test_silence_in_the_place_of_what_was_dropped_is_one_with_the_pause_after_it() -> None:
    one = Lane(PATIENCE, 0.02)
    one.put(sound(1), 0.02)
    one.put(sound(2), 1.02)
    assert one.dropped == pytest.approx(0.02)
    heard = all_of(one)
    assert len(heard) == round(1.02 * RATE)
    assert heard[-PACKET:] == [2] * PACKET
    assert not any(heard[:-PACKET])


@given(
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 2000)), min_size=1, max_size=40),
    st.floats(0.001, 0.2),
)
def test_whatever_is_dropped_the_rest_is_where_it_was(
    packets: list[tuple[float, int]], max_waiting: float
) -> None:
    bounded, whole, now = Lane(PATIENCE, max_waiting), Lane(PATIENCE, 1e6), 0.0
    for i, (gap, n) in enumerate(packets):
        now += gap + n / RATE  # nobody is ahead of the clock
        for one in (bounded, whole):
            one.fill(now)
            one.put(sound(i + 1, n), now)
    kept, expected = bounded.take(10**9), whole.take(10**9)
    assert len(kept) == len(expected)
    assert np.count_nonzero(kept) <= round(max_waiting * RATE)
    assert np.array_equal(kept[kept != 0], expected[kept != 0])
    n_dropped = np.count_nonzero(expected) - np.count_nonzero(kept)
    assert bounded.dropped == pytest.approx(n_dropped / RATE)


def test_who_sends_faster_than_time_goes_is_cut_off() -> None:
    one = lane()
    for i in range(1000):
        one.put(sound(1), 0.02)
        if i % 10 == 0:
            all_of(one)
    assert one.dropped > 17


def test_silence_takes_no_memory_however_long_it_is() -> None:
    one = lane()
    one.put(sound(1), 0.02)
    one.fill(1e6)
    one.fill(1e6 + 1)
    assert one.waiting == round((1e6 + 1 - PATIENCE) * RATE)
    assert len(one.take(RATE)) == RATE


@given(
    st.lists(
        st.tuples(st.floats(0, 0.5), st.integers(1, 2000), st.booleans()), min_size=1, max_size=30
    ),
    st.lists(st.integers(1, 3000), min_size=1, max_size=10),
)
def test_however_it_is_taken_it_is_the_same_stream(
    packets: list[tuple[float, int, bool]], sizes: list[int]
) -> None:
    whole, cut = Lane(PATIENCE, 1e6), Lane(PATIENCE, 1e6)
    now, taken = 100.0, []
    for i, (gap, n, looked) in enumerate(packets):
        now += gap
        for one in (whole, cut):
            if looked:
                one.fill(now)
            one.put(sound(i + 1, n), now)
        taken.append(cut.take(sizes[i % len(sizes)]))
    taken.append(cut.take(10**9))
    joined = np.concatenate(taken)
    assert np.array_equal(joined, whole.take(10**9))
    # Nothing is lost, nothing is out of order, and it is about as long as it took.
    spoken = [i + 1 for i, (_, n, _) in enumerate(packets) for _ in range(n)]
    assert list(joined[joined != 0]) == spoken
    n_first = packets[0][1]
    lasted = (now - 100.0 - packets[0][0]) * RATE + n_first
    assert len(joined) >= lasted - PATIENCE * RATE - 1


@given(
    st.lists(st.tuples(st.floats(0, 0.3), st.sampled_from([0, 1, 2])), max_size=40),
    st.lists(st.floats(0.001, 2.0), min_size=1, max_size=5),
)
def test_a_room_is_the_sum_of_its_people_each_where_the_clock_has_them(
    packets: list[tuple[float, int]], looks: list[float]
) -> None:
    lanes = [Lane(PATIENCE, 1e6) for _ in range(3)]
    alone = [Lane(PATIENCE, 1e6) for _ in range(3)]
    room, start = Mixer(PATIENCE, 50.0), 50.0
    for one in lanes:
        room.join(one)
    for one in alone:
        one.begin(start)
    now, heard = start, []
    for i, (gap, who) in enumerate(packets):
        now += gap
        for one in (lanes[who], alone[who]):
            one.fill(now)
            one.put(sound(100 * (who + 1)), now)
        heard.append(room.take(lanes, round(looks[i % len(looks)] * RATE), now))
    now += 1.0
    heard.append(room.take(lanes, 10**9, now))
    joined = np.concatenate(heard)
    n = round((now - start) * RATE) - round(PATIENCE * RATE)
    assert len(joined) == n
    for one in alone:
        one.fill(now)
    apart = [one.take(n) for one in alone]
    assert np.array_equal(joined, mixed(apart, n))


def test_people_who_come_later_are_heard_where_the_clock_has_them() -> None:
    room, first, second = Mixer(PATIENCE, 0.0), lane(), lane()
    room.join(first)
    first.put(sound(1), 0.02)
    assert len(room.take([first], 10**9, 0.5)) == round(0.4 * RATE)
    room.join(second)
    second.put(sound(2), 0.52)
    first.put(sound(1), 0.52)
    heard = room.take([first, second], 10**9, 1.0)
    assert len(heard) == round(0.5 * RATE)
    assert list(heard[round(0.1 * RATE) : round(0.12 * RATE)]) == [3] * PACKET
    assert int(heard.sum()) == 3 * PACKET


def test_an_empty_room_is_silent_and_keeps_to_the_clock() -> None:
    room = Mixer(PATIENCE, 0.0)
    assert len(room.take([], 10**9, 0.05)) == 0
    heard = room.take([], 10**9, 3.1)
    assert len(heard) == 3 * RATE
    assert not heard.any()


def test_what_is_too_loud_together_is_cut_off_and_does_not_wrap() -> None:
    assert list(mixed([sound(30_000, 2), sound(30_000, 2)], 2)) == [32_767, 32_767]
    assert list(mixed([sound(-30_000, 2), sound(-30_000, 2)], 2)) == [-32_768, -32_768]


def test_two_channels_become_their_mean() -> None:
    pcm = np.array([32_767, 32_767, -32_768, -32_768, 100, 300], "<i2").tobytes()
    assert list(mono(pcm)) == [32_767, -32_768, 200]
