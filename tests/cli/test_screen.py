"""A call as it is read along in a terminal, and line by line where there is none."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("rich")

from rich.console import Console

from realtime_stts import (
    AudioData,
    ConversationState,
    EngineError,
    Event,
    FinalTranscript,
    PartialTranscript,
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

RESULT = TranscriptionResult("", "en", [])
METRICS = TurnMetrics(0.604, 0.101, 0.002, 0.013, 0.72, 2.0)
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
            "            first sound after 720 ms = "
            "604 end of turn + 101 transcription + 2 answer + 13 voice"
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
    slow = TurnMetrics(0.62, 0.2, 0.01, 0.02, 0.85, 1.0)
    file = io.StringIO()
    Console(file=file, width=100).print(latency_table([METRICS, METRICS, slow]))
    rows = [line.split() for line in file.getvalue().splitlines()]
    assert ["median", "604", "101", "2", "13", "720"] in rows
    assert ["max", "620", "200", "10", "20", "850"] in rows


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
