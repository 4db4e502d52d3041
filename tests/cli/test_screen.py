"""A call as it is read along in a terminal, and line by line where there is none."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("rich")

from rich.console import Console
from rich.text import Text

from realtime_stts import (
    AudioData,
    ConversationState,
    EngineError,
    Event,
    FinalTranscript,
    Interrupted,
    PartialTranscript,
    ReplyPaused,
    ReplyResumed,
    ReplyText,
    SpeechStarted,
    StateChanged,
    TranscriptionResult,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
)
from realtime_stts.cli._call import Phrase
from realtime_stts.cli._recording import Moment
from realtime_stts.cli._screen import Screen, latency_table, same_words
from realtime_stts.conversation._events import Outcome

RESULT = TranscriptionResult("", "en", [])
METRICS = TurnMetrics(0.604, 0.101, 0.002, 0.013, 0.015, 0.735)
SAID = Phrase(AudioData.silence(1.0, 16_000), "what time is it")


def shown(*events: Event, phrase: Phrase | None = SAID, terminal: bool = False) -> str:
    """What the screen prints of these events."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, color_system=None)
    with Screen(console) as screen:
        for event in events:
            screen.show(Moment(0.0, event), phrase)
    return file.getvalue()


def test_a_turn_in_plain_lines() -> None:
    assert shown(
        SpeechStarted(1.0, 1.1),
        PartialTranscript(3, "what", RESULT),
        StateChanged(ConversationState.PROCESSING),
        FinalTranscript(3, "what time is it", RESULT),
        ReplyText(3, "I carry no watch."),
        ReplyText(3, "But there is time."),
        StateChanged(ConversationState.SPEAKING),
        TurnEnded(3, "what time is it", "I carry no watch. But there is time.", METRICS),
        StateChanged(ConversationState.LISTENING),
    ).splitlines() == [
        " 3  caller  what time is it  ✓",
        "    bot     I carry no watch.",
        "            But there is time.",
        (
            "            first sound after 735 ms = "
            "604 end of turn + 101 transcription + 2 answer + 13 voice + 15 handover"
        ),
    ]


def test_words_heard_wrong_are_marked_and_those_said_stand_beside() -> None:
    line = shown(FinalTranscript(1, "what dime is it", RESULT))
    assert line == " 1  caller  what dime is it  ✗ said: what time is it\n"


def test_where_nobody_knows_the_words_there_is_no_verdict() -> None:
    recorded = Phrase(SAID.audio)
    assert shown(FinalTranscript(1, "hi", RESULT), phrase=recorded) == " 1  caller  hi\n"
    assert shown(FinalTranscript(1, "hi", RESULT), phrase=None) == " 1  caller  hi\n"


def test_a_turn_without_words_and_one_that_failed() -> None:
    lines = shown(
        FinalTranscript(1, "", RESULT),
        TurnEnded(1, "", "", TurnMetrics(0.6, 0.1)),
        TurnFailed(2, EngineError("scripted", "gone"), "r-2"),
        phrase=None,
    )
    assert lines == " 1  caller  (no words)\n 2  failed  scripted: gone (request r-2)\n"


def test_an_answer_that_was_interrupted() -> None:
    lines = shown(
        ReplyText(1, "I carry no watch."),
        ReplyPaused(1, 4.0, 0.8),
        ReplyResumed(1, 6.0, 0.8),
        ReplyPaused(1, 7.0, 1.2),
        Interrupted(1, 7.4, "I carry"),
        TurnEnded(1, "", "I carry no watch.", METRICS, "I carry", "interrupted"),
    )
    first, interrupted, ended = lines.splitlines()
    assert first == "    bot     I carry no watch."
    assert interrupted == "            interrupted; heard of it: I carry"
    assert ended.startswith("            first sound after 735 ms")


def test_an_answer_that_was_interrupted_before_it_was_heard() -> None:
    assert shown(Interrupted(1, 7.4, "")) == "            interrupted\n"


@pytest.mark.parametrize(
    ("outcome", "note"),
    [
        ("backchannel", "taken for a backchannel: the bot goes on"),
        ("echo", "taken for the bot's own voice"),
        ("short", "too short for a turn"),
    ],
)
def test_words_that_get_no_answer_say_why(outcome: Outcome, note: str) -> None:
    lines = shown(
        FinalTranscript(2, "mm-hm", RESULT),
        TurnEnded(2, "mm-hm", "", TurnMetrics(0.6, 0.1), outcome=outcome),
        phrase=None,
    )
    assert lines == f" 2  caller  mm-hm\n            {note}\n"


def test_on_a_terminal_a_held_answer_is_seen_to_be_held() -> None:
    speaks = StateChanged(ConversationState.SPEAKING)
    printed = shown(speaks, ReplyPaused(1, 4.0, 0.8), ReplyResumed(1, 6.0, 0.8), terminal=True)
    first, held, again = (
        printed.index("the bot speaks"),
        printed.index("the bot holds on and listens"),
        printed.rindex("the bot speaks"),
    )
    assert first < held < again


def test_the_meter_stands_under_the_line_of_the_moment() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=40, color_system=None)
    with Screen(console) as screen:
        screen.measure(Text("mic -20 dBFS"))
        screen.show(Moment(0.0, PartialTranscript(1, "what", RESULT)))
        screen.measure(Text("mic -30 dBFS" + " " * 60))
    printed = file.getvalue()
    partial = printed.index(" 1  caller  what …")
    assert partial < printed.index("mic -20 dBFS", partial) < printed.index("mic -30 dBFS")
    assert max(map(len, printed.splitlines())) < 60  # 39 and the control codes around them


def test_without_a_terminal_there_is_no_meter() -> None:
    file = io.StringIO()
    with Screen(Console(file=file, width=40)) as screen:
        screen.measure(Text("mic -20 dBFS"))
    assert file.getvalue() == ""


def test_what_is_said_is_never_taken_for_markup() -> None:
    assert "[red]" in shown(FinalTranscript(1, "[red]", RESULT), phrase=None)


def test_on_a_terminal_partial_words_replace_each_other() -> None:
    printed = shown(
        SpeechStarted(1.0, 1.1),
        PartialTranscript(1, "what", RESULT),
        PartialTranscript(1, "what time", RESULT),
        FinalTranscript(1, "what time is it", RESULT),
        terminal=True,
    )
    partial, erase = " 1  caller  what …", "\x1b[2K"
    assert printed.index(partial) < printed.index(erase, printed.index(partial))
    assert printed.index(erase) < printed.index("what time …") < printed.index("what time is it")


def test_on_a_terminal_long_partial_words_stay_on_their_line() -> None:
    words = "many words " * 30
    printed = shown(PartialTranscript(1, words, RESULT), terminal=True)
    assert max(map(len, printed.splitlines())) < 130  # 99 and the control codes around them


def test_the_table_has_the_median_and_the_slowest_of_each_part() -> None:
    slow = TurnMetrics(0.62, 0.2, 0.01, 0.02, 0.03, 0.88)
    file = io.StringIO()
    Console(file=file, width=100).print(latency_table([METRICS, METRICS, slow]))
    rows = [line.split() for line in file.getvalue().splitlines()]
    assert ["median", "604", "101", "2", "13", "15", "735"] in rows
    assert ["max", "620", "200", "10", "20", "30", "880"] in rows


@pytest.mark.parametrize(
    ("said", "heard", "same"),
    [
        ("good bye", "Good bye!", True),
        ("what's up", "whats up", True),
        ("good bye", "goodbye", False),
        ("good bye", "", False),
    ],
)
def test_words_are_the_same_whatever_their_case_and_punctuation(
    said: str, heard: str, same: bool
) -> None:
    assert same_words(said, heard) is same
