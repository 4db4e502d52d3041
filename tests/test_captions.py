from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from realtime_stts._captions import srt, vtt
from realtime_stts.protocols import TranscriptionResult, TranscriptionSegment, TranscriptionWord

TIME = re.compile(r"(\d{2,}):(\d\d):(\d\d)[.,](\d{3}) --> (\d{2,}):(\d\d):(\d\d)[.,](\d{3})")


def result(
    *segments: TranscriptionSegment, text: str = "", words: list[TranscriptionWord] | None = None
) -> TranscriptionResult:
    return TranscriptionResult(text, "en", [*segments], words=words or [])


def cues(subtitles: str) -> list[tuple[int, int, list[str]]]:
    """Start and end in ms and the lines of each, as a player reads them."""
    found = []
    for block in subtitles.split("\n\n"):
        lines = block.strip("\n").split("\n")
        at = next((n for n, line in enumerate(lines) if TIME.fullmatch(line)), None)
        if at is not None:
            match = TIME.fullmatch(lines[at])
            assert match is not None
            h, m, s, ms, h2, m2, s2, ms2 = map(int, match.groups())
            begin = ((h * 60 + m) * 60 + s) * 1000 + ms
            found.append((begin, ((h2 * 60 + m2) * 60 + s2) * 1000 + ms2, lines[at + 1 :]))
    return found


def test_a_segment_is_a_cue():
    said = result(
        TranscriptionSegment(" Hello there.", 0.5, 1.25),
        TranscriptionSegment("Why?", 3601.0, 3662.0625),
    )
    assert srt(said) == (
        "1\n00:00:00,500 --> 00:00:01,250\nHello there.\n\n2\n01:00:01,000 --> 01:00:08,000\nWhy?\n"
    )
    assert vtt(said) == (
        "WEBVTT\n\n"
        "00:00:00.500 --> 00:00:01.250\nHello there.\n\n"
        "01:00:01.000 --> 01:00:08.000\nWhy?\n"
    )


def test_silence_has_no_cues():
    assert srt(result()) == ""
    assert vtt(result()) == "WEBVTT\n"
    assert srt(result(TranscriptionSegment("  ", 0, 1))) == ""


def test_a_text_without_segments_is_one_cue_as_long_as_the_audio():
    assert cues(vtt(result(text="Hello."), 2.0)) == [(0, 2000, ["Hello."])]


def test_a_text_without_segments_lasts_as_long_as_its_words():
    words = [TranscriptionWord("Hello", 1.0, 1.5), TranscriptionWord("there", 1.5, 2.5)]
    assert cues(srt(result(text="Hello there", words=words))) == [(1000, 2500, ["Hello there"])]


def test_a_text_of_which_no_time_is_known_lasts_as_long_as_it_takes_to_say():
    assert cues(srt(result(text="Fifteen letters"))) == [(0, 1000, ["Fifteen letters"])]


def test_a_long_text_is_broken_into_lines_and_cues():
    text = "The quick brown fox jumps over the lazy dog, and then it does so once more."
    assert cues(srt(result(TranscriptionSegment(f"{text} {text}", 0.0, 15.1)))) == [
        (0, 6900, ["The quick brown fox jumps over the lazy", "dog, and then it does so once"]),
        (
            7000,
            14_000,
            ["more. The quick brown fox jumps over the", "lazy dog, and then it does so"],
        ),
        (14_100, 15_100, ["once more."]),
    ]


def test_a_text_spoken_fast_is_cut_where_two_lines_are_full():
    text = "ninety-nine " * 7
    assert cues(srt(result(TranscriptionSegment(text, 0.0, 1.66)))) == [
        (0, 1420, ["ninety-nine ninety-nine ninety-nine"] * 2),
        (1440, 1660, ["ninety-nine"]),
    ]


def test_a_long_segment_is_cut_where_its_words_were_spoken():
    segment = TranscriptionSegment("Yes, (pause) then no.", 0.0, 12.0)
    words = [
        TranscriptionWord("Yes,", 0.0, 0.5),
        TranscriptionWord("then", 11.0, 11.5),
        TranscriptionWord(" no.", 11.5, 11.75),
        TranscriptionWord("elsewhere", 20.0, 21.0),
        TranscriptionWord(" ", 11.0, 11.0),
    ]
    assert cues(srt(result(segment, words=words))) == [
        (0, 500, ["Yes,"]),
        (1667, 8667, ["(pause)"]),
        (11_000, 11_750, ["then no."]),
    ]


def test_what_is_before_and_after_the_known_words_has_time_too():
    segment = TranscriptionSegment("One two three", 0.0, 3.0)
    words = [TranscriptionWord("two", 1.0, 2.0)]
    assert cues(srt(result(segment, words=words))) == [(0, 3000, ["One two three"])]


def test_a_language_without_spaces_is_broken_too_and_its_characters_are_wide():
    for _, _, lines in cues(srt(result(TranscriptionSegment("再见" * 60, 0.0, 6.0)))):
        assert len(lines) <= 2
        assert all(len(line) <= 21 for line in lines)


def test_segments_that_overlap_or_last_no_time_become_cues_one_after_the_other():
    said = result(
        TranscriptionSegment("a", 0.0, 2.0),
        TranscriptionSegment("b", 1.0, 1.5),
        TranscriptionSegment("c", 1.0, 3.0),
        TranscriptionSegment("d", 5.0, 4.0),
        TranscriptionSegment("e", -1.0, -0.5),
    )
    assert [cue[:2] for cue in cues(srt(said))] == [
        (0, 2000),
        (2000, 2001),
        (2001, 3000),
        (5000, 5001),
        (5001, 5002),
    ]


def test_markup_that_was_said_is_text():
    said = result(TranscriptionSegment("a < b && c --> <i>d</i>", 0.0, 1.0))
    assert "a &lt; b &amp;&amp; c --&gt; &lt;i&gt;d&lt;/i&gt;" in vtt(said)
    assert "a < b && c -> <i>d</i>" in srt(said)


def test_line_breaks_that_were_said_end_no_cue():
    said = result(TranscriptionSegment("a\n\n00:00:00.000 b\r\n\n2", 0.0, 1.0))
    assert cues(vtt(said)) == [(0, 1000, ["a 00:00:00.000 b 2"])]


TIMES = st.floats(0.0, 4000.0)
TEXTS = st.text(
    st.one_of(st.sampled_from("ab .,<>&-\n再"), st.characters(exclude_categories=["Cs"])),
    max_size=300,
)


@st.composite
def results(draw: st.DrawFn) -> TranscriptionResult:
    segments = draw(st.lists(st.builds(TranscriptionSegment, TEXTS, TIMES, TIMES), max_size=4))
    words = []
    for segment in segments:
        for word in segment.text.split() if draw(st.booleans()) else []:
            start, end = sorted((draw(TIMES), draw(TIMES)))
            words.append(TranscriptionWord(word, start, end))
    return TranscriptionResult(draw(TEXTS), "en", segments, words=words)


@given(results())
def test_of_any_result_the_subtitles_can_be_read(said: TranscriptionResult):
    for subtitles in (srt(said), vtt(said)):
        last = 0
        for start, end, lines in cues(subtitles):
            assert last <= start < end <= start + 7000
            assert 1 <= len(lines) <= 2
            assert all(line.strip() and "-->" not in line for line in lines)
            last = end


@given(results())
def test_nothing_that_was_said_is_lost(said: TranscriptionResult):
    whole = "".join(segment.text for segment in said.segments) if said.segments else said.text
    text = "".join(line for _, _, lines in cues(vtt(said)) for line in lines)
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert "".join(text.split()) == "".join(whole.split())


@given(st.text("ab cd", max_size=400))
def test_lines_are_short_enough_to_read(text: str):
    for _, _, lines in cues(srt(result(TranscriptionSegment(text, 0.0, 9.0)))):
        assert all(len(line) <= 42 for line in lines)
