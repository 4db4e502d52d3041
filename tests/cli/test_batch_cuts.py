"""Where a long recording is cut, and what its parts' texts are together."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("hypothesis")
pytest.importorskip("typer")
pytest.importorskip("rich")

from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import TranscriptionResult
from realtime_stts.cli._batch_cuts import joined, quietest, rendered
from realtime_stts.protocols import TranscriptionSegment, TranscriptionWord

RATE = 16_000


def result(text: str, start: float = 0.0, end: float = 1.0, **more: object) -> TranscriptionResult:
    segments = [TranscriptionSegment(text, start, end)] if text else []
    words = [TranscriptionWord(text, start, end)] if text else []
    return TranscriptionResult(text, "en", segments, words=words, **more)  # type: ignore[arg-type]


class TestTheCut:
    @given(st.integers(min_value=0, max_value=65), st.sampled_from([8_000, RATE, 44_100]))
    def test_it_is_in_the_middle_of_the_pause(self, at: int, rate: int) -> None:
        samples = np.full(rate, 1000, np.int16)
        frame = rate // 100
        samples[(10 + at) * frame : (35 + at) * frame] = 0
        assert (10 + at) * frame <= quietest(samples, rate) <= (35 + at) * frame

    def test_a_click_of_silence_is_no_pause(self) -> None:
        samples = np.full(RATE, 1000, np.int16)
        samples[2000:2200] = 0
        samples[8000:12000] = 300
        assert 8000 < quietest(samples, RATE) < 12000

    def test_in_silence_it_is_anywhere(self) -> None:
        assert 0 < quietest(np.zeros(RATE, np.int16), RATE) < RATE


class TestOneText:
    def test_a_single_part_is_as_it_is(self) -> None:
        only = result(" hello ")
        assert joined([(0.0, 3.0, only)]) is only

    def test_times_count_from_the_beginning_of_all(self) -> None:
        whole = joined(
            [(0.0, 10.0, result("one", 1.0, 2.0)), (10.0, 15.0, result("two", 3.0, 4.0))]
        )
        assert whole.text == "one two"
        assert [(each.start, each.end) for each in whole.segments] == [(1.0, 2.0), (13.0, 14.0)]
        assert [(each.start, each.end) for each in whole.words] == [(1.0, 2.0), (13.0, 14.0)]

    def test_a_text_without_segments_has_the_times_of_its_words_or_its_part(self) -> None:
        timed = result("one", 1.0, 2.0)
        words = TranscriptionResult("one", "", [], words=timed.words)
        bare = TranscriptionResult("two", "", [])
        whole = joined([(0.0, 10.0, words), (10.0, 15.0, bare)])
        assert [(each.text, each.start, each.end) for each in whole.segments] == [
            ("one", 1.0, 2.0),
            ("two", 10.0, 15.0),
        ]

    def test_silence_adds_nothing(self) -> None:
        silence = TranscriptionResult("", "", [])
        whole = joined([(0.0, 5.0, silence), (5.0, 9.0, result("one")), (9.0, 12.0, silence)])
        assert (whole.text, len(whole.segments), whole.language) == ("one", 1, "en")

    def test_nothing_but_silence_is_no_text_in_no_language(self) -> None:
        silence = TranscriptionResult("", "", [])
        whole = joined([(0.0, 5.0, silence), (5.0, 9.0, silence)])
        assert whole == TranscriptionResult("", "", [])

    @pytest.mark.parametrize(
        ("first", "second", "both"),
        [
            ("今日は", "晴れ", "今日は晴れ"),
            ("今日は", "fine", "今日は fine"),
            ("so", "晴れ", "so 晴れ"),
        ],
    )
    def test_scripts_without_spaces_get_none(self, first: str, second: str, both: str) -> None:
        assert joined([(0.0, 1.0, result(first)), (1.0, 2.0, result(second))]).text == both

    def test_confidence_is_the_mean_by_length_of_what_is_known(self) -> None:
        parts = [
            (0.0, 30.0, result("a", confidence=0.9)),
            (30.0, 40.0, result("b", confidence=0.5)),
            (40.0, 99.0, result("c")),
        ]
        assert joined(parts).confidence == pytest.approx(0.8)


class TestFiles:
    said = result("hello there", 0.5, 1.5, confidence=0.75)

    def test_plain_text_is_a_line(self) -> None:
        assert rendered(self.said, "txt", {"duration": 2.0}) == "hello there\n"

    def test_subtitles(self) -> None:
        assert rendered(self.said, "srt", {"duration": 2.0}) == (
            "1\n00:00:00,500 --> 00:00:01,500\nhello there\n"
        )
        assert rendered(self.said, "vtt", {"duration": 2.0}) == (
            "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nhello there\n"
        )

    def test_json_holds_everything(self) -> None:
        assert json.loads(rendered(self.said, "json", {"duration": 2.0, "file": "a.wav"})) == {
            "text": "hello there",
            "language": "en",
            "confidence": 0.75,
            "duration": 2.0,
            "file": "a.wav",
            "segments": [{"text": "hello there", "start": 0.5, "end": 1.5, "confidence": None}],
            "words": [{"text": "hello there", "start": 0.5, "end": 1.5, "confidence": None}],
        }
