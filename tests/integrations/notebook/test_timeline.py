"""The picture of a call: readable at any length, and drawn from the recording alone."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from realtime_stts import (
    AudioData,
    Interrupted,
    PartialTranscript,
    ReplyPaused,
    ReplyResumed,
    TranscriptionResult,
    TurnMetrics,
)
from realtime_stts.integrations._notebook._recording import Moment, Recording, Turn
from realtime_stts.integrations._notebook._timeline import compose, draw_timeline
from realtime_stts.integrations._notebook._words import wrap

RATE = 8_000


def call(*turns: Turn, duration: float = 30.0, moments: Sequence[Moment] = ()) -> Recording:
    """A recording that hums wherever a turn says that somebody speaks."""

    def side(spans: list[tuple[float, float]]) -> AudioData:
        samples = np.zeros(round(duration * RATE), np.float32)
        for start, end in spans:
            samples[round(start * RATE) : round(end * RATE)] = 0.5
        return AudioData.from_samples(samples, RATE)

    speech = [(turn.start, turn.end) for turn in turns]
    replies = [span for turn in turns for span in turn.replies]
    return Recording(side(speech), side(replies), tuple(speech), turns, tuple(moments))


def answered(
    number: int,
    start: float,
    heard: str = "what time is it",
    reply_start: float | None = None,
    reply_end: float | None = None,
    **values: object,
) -> Turn:
    """A turn of a second, answered 0.7 s later for two seconds."""
    begins = start + 1.7 if reply_start is None else reply_start
    ends = start + 3.7 if reply_end is None else reply_end
    turn = {
        "said": "what time is it",
        "reply": "I carry no watch. But there is always time for a good talk.",
        "replies": ((begins, ends),),
    } | values
    return Turn(number, start, start + 1.0, heard=heard, **turn)  # type: ignore[arg-type]


def texts(figure: Figure) -> list[Text]:
    """What is written in the picture, without the axis."""
    return [text for text in figure.axes[0].texts if text.get_text()]


def written(figure: Figure) -> str:
    return " ".join(text.get_text() for text in texts(figure))


def test_it_is_a_png_of_1600_by_700_pixels() -> None:
    png = draw_timeline(call(answered(1, 1.0)))
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (1600, 700)


def test_a_long_call_gets_a_wider_picture_up_to_a_limit() -> None:
    wide = [compose(call(duration=d)).get_size_inches()[0] * 100 for d in (60, 120, 600)]
    assert wide[0] <= 1650 < wide[1] < wide[2] == 12_000


def test_it_says_what_was_heard_answered_and_waited_for() -> None:
    picture = written(compose(call(answered(1, 1.0), answered(2, 10.0)), "ears: silero"))
    assert "2 turns: the bot answers 700 ms after the caller stops (median)" in picture
    assert "ears: silero" in picture
    assert "what time is it" in picture
    assert "I carry no watch." in picture
    assert picture.count("700 ms") == 3


def test_the_wait_is_drawn_from_the_last_sound_of_the_one_to_the_first_of_the_other() -> None:
    figure = compose(call(answered(1, 1.0)))
    (arrow,) = [p for p in figure.axes[0].patches if hasattr(p, "get_arrowstyle")]
    (start, _), (end, _) = arrow.get_path().vertices[[0, -1]]
    to_seconds = figure.axes[0].transData.inverted()
    assert start < end
    ends = to_seconds.transform([(start, 0), (end, 0)]) if start > 40 else [(start, 0), (end, 0)]
    assert [round(x, 2) for x, _ in ends] == [2.0, 2.7]


def test_words_heard_wrong_stand_beside_those_that_were_said() -> None:
    picture = written(compose(call(answered(1, 1.0, heard="what dime is it"))))
    assert "what dime is it (said: what time is it)" in picture


def test_a_turn_without_words_and_one_that_failed_say_so() -> None:
    silent = Turn(1, 1.0, 2.0, said="hello")
    failed = Turn(2, 10.0, 11.0, heard="hello", error="the model is gone")
    picture = written(compose(call(silent, failed)))
    assert "2 turns, none of them answered" in picture
    assert "(no words) (said: hello)" in picture
    assert "hello (failed: the model is gone)" in picture


def test_an_answer_that_waited_for_the_one_before_it_has_a_bracket_above() -> None:
    first = answered(1, 1.0, reply_end=12.0, metrics=TurnMetrics(0.6, time_to_first_audio=0.7))
    second = answered(2, 4.0, reply_start=12.0, reply_end=14.0)
    third = answered(3, 7.0, reply_start=14.0, reply_end=16.0)
    figure = compose(call(first, second, third))
    heights = {
        text.get_text(): text.get_position()[1]
        for text in texts(figure)
        if text.get_text() in {"700 ms", "7.00 s", "6.00 s"}
    }
    assert heights["700 ms"] == heights["7.00 s"] < heights["6.00 s"]


def test_an_answer_that_is_held_shows_the_gap_and_what_came_of_it() -> None:
    first = answered(1, 1.0, replies=((2.7, 4.0), (5.0, 6.0)), spoken="All of it.")
    cough = Turn(2, 3.5, 4.2, outcome="silent")
    third = answered(3, 10.0, replies=((11.7, 13.0),), outcome="interrupted", spoken="I carry no")
    moments = [
        Moment(4.0, ReplyPaused(1, 4.0, 1.3)),
        Moment(5.0, ReplyResumed(1, 5.0, 1.3)),
        Moment(13.0, ReplyPaused(3, 13.0, 1.3)),
        Moment(13.5, Interrupted(3, 13.5, "I carry no")),
        Moment(20.0, Interrupted(9, 20.0, "")),
    ]
    figure = compose(call(first, cough, third, moments=moments))
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in hatched]
    assert spans == [(4.0, 5.0), (13.0, 13.5), (20.0, 20.0)]
    picture = written(figure)
    assert "goes on after 1.00 s" in picture
    assert "stops after 500 ms" in picture
    assert "I carry no …" in picture
    assert "(not heard: watch." in picture


@pytest.mark.parametrize(
    ("outcome", "words"),
    [("backchannel", "they listen"), ("echo", "heard itself"), ("short", "too short")],
)
def test_words_that_get_no_answer_say_why(outcome: str, words: str) -> None:
    turn = Turn(1, 1.0, 2.0, heard="mm-hm", outcome=outcome)  # type: ignore[arg-type]
    assert words in written(compose(call(turn)))


def test_each_partial_transcript_is_a_dot_where_it_came() -> None:
    result = TranscriptionResult("what", "en", [], partial=True)
    moments = [Moment(t, PartialTranscript(1, "what", result)) for t in (1.2, 1.6)]
    figure = compose(call(answered(1, 1.0), moments=moments))
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == [[1.2, 1.6]]


def test_silence_can_be_drawn() -> None:
    assert "0 turns, none of them answered" in written(compose(call(duration=0.1)))


def test_any_script_and_dollar_signs_are_written_as_they_are() -> None:
    turn = answered(1, 1.0, heard="$x_1^2$ 今日は", said=None)
    assert "$x_1^2$" in written(compose(call(turn)))
    assert draw_timeline(call(turn)).startswith(b"\x89PNG")  # and warns of nothing


@settings(max_examples=6, deadline=None)
@given(
    gaps=st.lists(st.floats(0.3, 6.0), min_size=1, max_size=12),
    reply=st.text("abc def", max_size=200),
    reply_lasts=st.floats(2.0, 6.0),
)
def test_no_two_labels_overlap_and_none_leaves_the_picture(
    gaps: list[float], reply: str, reply_lasts: float
) -> None:
    turns, start, free = [], 0.5, 0.0
    for number, gap in enumerate(gaps, 1):
        begins = max(free, start + 1.7)  # answers queue
        free = begins + reply_lasts
        words = {"heard": f"turn {number} {reply}", "reply": f"well {reply}"}
        turns.append(answered(number, start, reply_start=begins, reply_end=free, **words))
        start += 1.0 + gap
    figure = compose(call(*turns, duration=free + 0.6))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in texts(figure)]
    width, height = figure.canvas.get_width_height()
    assert all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= width and b.y1 <= height for b in boxes)
    shrunk = [box.padded(-1) for box in boxes]
    assert not any(a.overlaps(b) for a, b in combinations(shrunk, 2))


def test_where_there_is_no_room_numbers_and_waits_are_left_out() -> None:
    turns = [
        answered(n, 1.0 + 0.2 * n, reply_start=20.0 + n, reply_end=21.0 + n) for n in range(1, 9)
    ]
    figure = compose(call(*turns))
    labels = [text.get_text() for text in texts(figure)]
    assert [label for label in labels if label.isdigit()] == ["1", "4", "7"]
    assert sum(label.endswith(" s") for label in labels) == 3


def test_wrapping_fills_lines_and_keeps_every_word() -> None:
    assert wrap("a bb ccc dddd", 6, 3, len) == ["a bb", "ccc", "dddd"]


def test_wrapping_ends_in_an_ellipsis_where_there_is_no_room() -> None:
    assert wrap("a bb ccc dddd", 6, 2, len) == ["a bb", "ccc…"]
    assert wrap("incomprehensible words", 6, 2, len) == ["incom…"]
    assert wrap("a", 6, 0, len) == []


@given(st.text("ab .", max_size=60), st.integers(1, 30), st.integers(1, 5))
def test_wrapped_lines_fit(text: str, width: int, max_lines: int) -> None:
    lines = wrap(text, width, max_lines, len)
    assert len(lines) <= max_lines
    assert all(len(line) <= width for line in lines)
    if not any(line.endswith("…") for line in lines):
        assert " ".join(lines).split() == text.split()
