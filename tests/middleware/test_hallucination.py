"""Whether a transcription can be what was said."""

from __future__ import annotations

import zlib
from dataclasses import replace
from math import exp
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_stts.middleware._hallucination import (
    KNOWN_PHRASES,
    Limits,
    Loudest,
    cut_back,
    folded,
    judge,
    without_bad_segments,
)
from realtime_stts.protocols import TranscriptionResult, TranscriptionSegment, TranscriptionWord
from realtime_stts.testing import speech

RATE = 16_000
GOOD = "Ask not what your country can do for you, ask what you can do for your country."
# Article 2 of the Universal Declaration of Human Rights.
ENGLISH = (
    "Everyone is entitled to all the rights and freedoms set forth in this Declaration, without "
    "distinction of any kind, such as race, colour, sex, language, religion, political or other "
    "opinion, national or social origin, property, birth or other status. Furthermore, no "
    "distinction shall be made on the basis of the political, jurisdictional or international "
    "status of the country or territory to which a person belongs, whether it be independent, "
    "trust, non-self-governing or under any other limitation of sovereignty."
)
HINDI = (
    "सभी को इस घोषणा में सन्निहित सभी अधिकारों और आज़ादियों को प्राप्त करने का हक़ है "
    "और इस मामले में जाति, वर्ण, लिंग, भाषा, धर्म, राजनीति या अन्य विचार-प्रणाली, "
    "किसी देश या समाज विशेष में जन्म, सम्पत्ति या किसी प्रकार की अन्य मर्यादा "
    "आदि के कारण भेदभाव का विचार न किया जाएगा।"
)
THAI = (
    "ทุกคนย่อมมีสิทธิและอิสรภาพทั้งปวงตามที่กำหนดไว้ในปฏิญญานี้ "
    "โดยปราศจากการแบ่งแยกไม่ว่าชนิดใด อาทิ เชื้อชาติ ผิว เพศ ภาษา ศาสนา "
    "ความคิดเห็นทางการเมืองหรือทางอื่น พื้นเพทางชาติหรือสังคม ทรัพย์สิน การเกิด หรือสถานะอื่น"
)
LOOP = "I am going to be there. " * 12


def verdict(text: str, limits: Limits | None = None, **heard: Any) -> str | None:
    defaults: dict[str, Any] = {"seconds": 60.0, "loud": 30.0, "confidence": 0.9, "no_speech": 0.1}
    return judge(text, limits or Limits(), **{**defaults, **heard})


class TestLoudest:
    def heard(self, *pieces: NDArray[np.float32], level: float = -60.0, rate: int = RATE) -> float:
        ear = Loudest(level, enough=100.0)
        for piece in pieces:
            ear.push(piece, rate)
        return ear.loud

    def test_frames_above_the_level_are_counted(self) -> None:
        hum, silence = speech(0.6, RATE).samples, np.zeros((RATE, 1), np.float32)
        assert self.heard(silence, hum, silence) == pytest.approx(0.6, abs=0.061)
        assert self.heard(silence) == 0.0
        assert self.heard(hum * 1e-4) == 0.0
        assert self.heard(hum * 1e-4, level=-120.0) == pytest.approx(0.6)

    def test_a_constant_is_no_sound(self) -> None:
        assert self.heard(np.full((RATE, 1), 0.5, np.float32)) == 0.0

    def test_sound_on_one_channel_is_sound(self) -> None:
        hum = speech(0.6, RATE).samples
        assert self.heard(np.concatenate([hum * 0, hum], axis=1)) == pytest.approx(0.6)

    def test_it_listens_until_it_has_heard_enough(self) -> None:
        ear = Loudest(-60.0, enough=0.3)
        hum = speech(0.3, RATE).samples
        ear.push(hum[:-1], RATE)
        assert not ear.satisfied
        ear.push(hum[-1:], RATE)
        assert ear.satisfied
        ear.push(hum, RATE)
        assert ear.loud == pytest.approx(0.3)

    def test_one_frame_is_enough_where_no_time_was_asked_for(self) -> None:
        ear = Loudest(-60.0, enough=0.0)
        assert not ear.satisfied
        ear.push(speech(0.03, RATE).samples, RATE)
        assert ear.satisfied

    def test_a_change_of_channels_is_for_the_engine_to_refuse(self) -> None:
        assert self.heard(np.zeros((7, 1), np.float32), np.zeros((600, 2), np.float32)) == 0.0

    @given(st.lists(st.integers(1, 3_000), max_size=8))
    def test_any_slicing_is_heard_alike(self, cuts: list[int]) -> None:
        sound = np.concatenate([speech(0.3, RATE).samples, np.zeros((2000, 1), np.float32)] * 2)
        assert self.heard(*np.split(sound, np.cumsum(cuts))) == pytest.approx(self.heard(sound))


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "loud", "heard"),
        [
            (Limits(), 0.09, False),
            (Limits(), 0.1, True),
            (Limits(min_speech=None), 0.0, False),
            (Limits(min_speech=None), 0.03, True),
            (Limits(min_level=None), 0.0, True),
        ],
    )
    def test_how_much_is_speech(self, limits: Limits, loud: float, heard: bool) -> None:
        assert limits.heard(loud) is heard

    def test_phrases_need_to_know_more(self) -> None:
        assert Limits().enough == 0.1
        assert Limits(min_speech=None).enough == 0.0
        assert Limits(phrases=frozenset({("a",)})).enough == 1.0


class TestJudge:
    def test_what_people_say_is_let_be(self) -> None:
        for text in (
            "",
            GOOD,
            "No, no, no, no, no, no!",
            "Row, row, row your boat gently down the stream. Merrily, merrily, merrily, merrily.",
            "four four four seven seven one",
            "今天天气很好 我们去公园散步吧",
            HINDI,
            THAI,
        ):
            assert verdict(text) is None

    def test_no_speech_needs_low_confidence_too(self) -> None:
        assert verdict(GOOD, no_speech=0.7, confidence=exp(-1.1)) == "no speech"
        assert verdict(GOOD, no_speech=0.7) is None
        assert verdict(GOOD, no_speech=0.7, confidence=None) is None
        assert verdict(GOOD, Limits(min_log_probability=None), no_speech=0.7) == "no speech"
        assert verdict(GOOD, Limits(max_no_speech=None), no_speech=1.0) is None
        assert verdict(GOOD, no_speech=None) is None

    def test_low_confidence(self) -> None:
        assert verdict(GOOD, confidence=exp(-1.1)) == "log probability"
        assert verdict(GOOD, confidence=0.0) == "log probability"
        assert verdict(GOOD, confidence=exp(-0.9)) is None
        assert verdict(GOOD, Limits(min_log_probability=None), confidence=0.01) is None

    def test_a_text_that_says_the_same_again_and_again(self) -> None:
        assert verdict(LOOP) == "compression ratio"
        assert verdict(LOOP, Limits(max_compression=None)) == "repetition"
        assert verdict(LOOP, Limits(max_compression=None, max_repeats=None)) is None

    def test_repetition_is_found_in_any_script(self) -> None:
        for phrase in ("Продолжение следует. ", "आपका बहुत बहुत धन्यवाद। ", "谢谢观看 "):
            assert verdict(phrase * 12) == "compression ratio"

    def test_a_long_text_is_no_more_suspicious_than_its_parts(self) -> None:
        read_out = " ".join([ENGLISH] * 4)  # a paragraph, for each who comes in
        assert len(read_out) / len(zlib.compress(read_out.encode())) > 2.4
        assert verdict(read_out, seconds=3600.0) is None

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("Okay. " * 7, True),
            ("Okay. " * 6, False),
            ("well " + "you know what " * 7 + "yes", True),
            ("well " + "you know what " * 6 + "yes", False),
            ("謝謝" * 7, True),
        ],
    )
    def test_repetition_of_words_and_phrases(self, text: str, found: bool) -> None:
        limits = Limits(max_compression=None)
        assert (verdict(text, limits) == "repetition") is found

    def test_more_words_than_anybody_can_say(self) -> None:
        assert verdict(GOOD, seconds=1.9) is None  # 17 words
        assert verdict(GOOD, seconds=1.8) == "rate"
        assert verdict("oh my", seconds=0.0) is None
        assert verdict("今天天气很好我们去公园散步吧", seconds=0.7) is None
        assert verdict("今天天气很好我们去公园散步吧", seconds=0.5) == "rate"
        assert verdict(HINDI, seconds=23.0) is None
        assert verdict(THAI, seconds=10.0) is None
        assert verdict(GOOD, Limits(max_rate=None), seconds=0.0) is None

    def test_known_phrases_of_short_or_doubtful_speech(self) -> None:
        limits = Limits(phrases=frozenset(map(folded, KNOWN_PHRASES)))
        thanks = "thank you for watching"
        assert verdict(thanks) is None
        assert verdict(thanks, limits) is None  # said aloud, for long enough
        assert verdict(thanks, limits, loud=0.5) == "known phrase"
        assert verdict(thanks, limits, confidence=0.5) == "known phrase"
        assert verdict(thanks, limits, no_speech=0.4) == "known phrase"
        assert verdict(thanks, limits, confidence=None, no_speech=None) is None
        assert verdict(f"{thanks} me dance", limits, loud=0.5) is None

    def test_every_known_phrase_is_found_in_any_spelling(self) -> None:
        limits = Limits(phrases=frozenset(map(folded, KNOWN_PHRASES)))
        for phrase in KNOWN_PHRASES:
            assert verdict(f" {phrase.upper()}!!", limits, loud=0.5) == "known phrase"

    @given(st.text(max_size=200))
    def test_any_text_has_a_verdict(self, text: str) -> None:
        verdict(text, Limits(phrases=frozenset({("a",)})))


def segment(text: str, start: float, end: float, confidence: float | None = 0.9) -> Any:
    return TranscriptionSegment(text, start, end, confidence)


FINE = TranscriptionResult(
    "One two. Three four. Five six.",
    "en",
    [segment("One two.", 0, 1), segment("Three four.", 1, 3, 0.6), segment("Five six.", 3, 4)],
    0.75,
    words=[
        TranscriptionWord("One", 0.0, 0.5),
        TranscriptionWord("two.", 0.5, 1.0),
        TranscriptionWord("Three", 1.0, 2.0),
        TranscriptionWord("four.", 2.0, 3.0),
        TranscriptionWord("Five", 3.0, 3.5),
        TranscriptionWord("six.", 3.5, 4.0),
    ],
)


def with_confidences(*confidences: float | None) -> TranscriptionResult:
    segments = [
        replace(each, confidence=confidence)
        for each, confidence in zip(FINE.segments, confidences, strict=True)
    ]
    return replace(FINE, segments=segments)


class TestSegments:
    def test_good_ones_stay(self) -> None:
        assert without_bad_segments(FINE, Limits(), 3.0) == (FINE, None)

    def test_bad_ones_go_with_their_words(self) -> None:
        doubtful = with_confidences(0.9, 0.1, 0.6)
        kept, reason = without_bad_segments(doubtful, Limits(), 3.0)
        assert reason == "log probability"
        assert kept.text == "One two. Five six."
        assert [each.text for each in kept.segments] == ["One two.", "Five six."]
        assert [word.text for word in kept.words] == ["One", "two.", "Five", "six."]
        assert kept.confidence == pytest.approx(0.75)

    @pytest.mark.parametrize(
        ("confidences", "text", "confidence"),
        [
            ((0.1, 0.9, 0.9), "Three four. Five six.", 0.9),
            ((0.9, 0.9, 0.1), "One two. Three four.", 0.9),
            ((0.9, None, 0.1), "One two. Three four.", None),
            ((0.1, 0.1, 0.1), "", None),
        ],
    )
    def test_whichever_they_are(
        self, confidences: tuple[float | None, ...], text: str, confidence: float | None
    ) -> None:
        kept, _ = without_bad_segments(with_confidences(*confidences), Limits(), 3.0)
        assert kept.text == text
        assert kept.confidence == (confidence and pytest.approx(confidence))

    def test_scripts_without_spaces_get_none(self) -> None:
        result = TranscriptionResult(
            "你好世界再见",
            "zh",
            [segment("你好", 0, 1), segment("世界", 1, 2, 0.1), segment("再见", 2, 3)],
        )
        assert without_bad_segments(result, Limits(), 3.0)[0].text == "你好再见"

    def test_segments_without_length_weigh_nothing(self) -> None:
        result = TranscriptionResult("a b", "en", [segment("a", 0, 0), segment("b", 1, 2, 0.1)])
        kept, _ = without_bad_segments(result, Limits(), 3.0)
        assert (kept.text, kept.confidence) == ("a", None)

    def test_one_segment_is_the_whole_result(self) -> None:
        one = replace(FINE, segments=[segment(FINE.text, 0, 4, 0.1)])
        assert without_bad_segments(one, Limits(), 3.0) == (one, None)

    def test_segments_that_are_not_in_the_text_are_let_be(self) -> None:
        odd = replace(with_confidences(0.1, 0.9, 0.9), text="something else")
        assert without_bad_segments(odd, Limits(), 3.0) == (odd, None)


class TestCuttingBack:
    def test_to_nothing(self) -> None:
        assert cut_back(FINE, "") == TranscriptionResult("", "en", [])

    def test_to_what_was_committed(self) -> None:
        cut = cut_back(FINE, "One two. Three")
        assert cut.text == cut.committed == "One two. Three"
        assert [each.text for each in cut.segments] == ["One two."]
        assert [word.text for word in cut.words] == ["One", "two.", "Three"]
        assert cut.confidence == 0.75

    def test_a_text_that_does_not_begin_so_has_no_times(self) -> None:
        cut = cut_back(FINE, "Two")
        assert (cut.text, cut.segments, cut.words) == ("Two", [], [])
