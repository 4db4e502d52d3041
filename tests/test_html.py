"""Values as notebooks show them: whatever is in them, it is shown, escaped and short."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import (
    AudioData,
    SynthesisResult,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
    _html,
)
from realtime_stts.middleware import Chain, RetryMiddleware, TimingMiddleware
from realtime_stts.protocols import Exchange
from realtime_stts.testing import ScriptedTTSEngine, speech

VOID = {"path"}
BLOCKS = {"div", "summary", "td", "th"}


class Page(HTMLParser):
    """Checks that every element is closed, and collects what can be read."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag in BLOCKS:
            self.words.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(value: Any) -> str:
    """What a reader sees of a value."""
    return " ".join("".join(Page(value._repr_html_()).words).replace("\u2002", " ").split())


def played(value: Any) -> AudioData:
    found = re.search(r'src="data:audio/wav;base64,([^"]+)"', value._repr_html_())
    assert found is not None
    return AudioData.from_file(base64.b64decode(found[1]))


# -- audio ---------------------------------------------------------------------------------


def test_audio_can_be_played_and_says_what_it_is() -> None:
    audio = speech(1.5)
    assert played(audio) == audio
    assert read(audio) == "1.50 s · 16,000 Hz · 1 channel · pcm"
    assert "svg" in Page(audio._repr_html_()).tags


@pytest.mark.parametrize(
    ("rate", "channels", "format", "heard"),
    [
        (96_000, 2, "pcm_f32le", (48_000, 2)),
        (16_000, 6, "pcm", (16_000, 1)),
        (44_100, 1, "pcm_s24le", (44_100, 1)),
    ],
)
def test_what_is_played_is_small(
    rate: int, channels: int, format: str, heard: tuple[int, int]
) -> None:
    samples = np.zeros((rate // 10, channels), np.float32)
    sound = played(AudioData.from_samples(samples, rate, format))
    assert (sound.sample_rate, sound.channels, sound.format) == (*heard, "pcm")


def test_an_encoded_file_is_played_too() -> None:
    audio = AudioData(speech(0.5).encode("flac"), 16_000, 1, "flac")
    assert played(audio) == speech(0.5)
    assert read(audio) == "500 ms · 16,000 Hz · 1 channel · flac"


def test_long_audio_has_its_outline_and_says_why_there_is_no_player() -> None:
    html = AudioData.silence(90, 8_000)._repr_html_()
    assert Page(html).tags >= {"svg"}
    assert "audio" not in Page(html).tags
    assert "1 min 30 s · 8,000 Hz · 1 channel · pcm · no player: more than 60 s" in html
    assert len(html) < 20_000
    assert "audio" in Page(AudioData.silence(60, 8_000)._repr_html_()).tags


def test_empty_audio_and_what_cannot_be_decoded_are_shown_without_player() -> None:
    assert read(AudioData(b"", 16_000)) == "0 ms · 16,000 Hz · 1 channel · pcm"
    junk = read(AudioData(b"junk", 16_000, 2, "mp3"))
    assert junk.startswith("4 bytes · 16,000 Hz · 2 channels · mp3 · cannot be decoded: ")


@given(n=st.integers(1, 700), channels=st.integers(1, 2))
def test_a_waveform_stays_in_its_box(n: int, channels: int) -> None:
    samples = np.random.RandomState(n).uniform(-1, 1, (n, channels)).astype(np.float32)
    svg = _html.waveform(samples)
    heights = [float(y) for y in re.findall(r"[ V](\d+\.\d)(?=[MV\"])", svg)]
    assert heights
    assert all(0 <= y <= 56 for y in heights)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.25, "250 ms"),
        (0.9996, "1.00 s"),
        (59.99, "59.99 s"),
        (125.2, "2 min 05 s"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert _html.duration(seconds) == text


# -- words ---------------------------------------------------------------------------------


def test_a_transcription_shows_its_words_with_times_and_confidence() -> None:
    words = [TranscriptionWord("hello", 0.1, 0.5, 0.9), TranscriptionWord("world", 0.6, 1.0)]
    segment = TranscriptionSegment("hello world", 0.1, 1.0)
    text = read(TranscriptionResult("hello world", "en", [segment], 0.87, words=words))
    assert text.startswith("hello world final · en · 900 ms · confidence 0.87 2 timed words")
    assert "hello 0.10 s 0.50 s 0.90" in text
    assert "world 0.60 s 1.00 s" in text


def test_segments_stand_for_words_where_there_are_none() -> None:
    segments = [TranscriptionSegment("hello world", 0.0, 1.0)]
    assert "hello world 0.00 s 1.00 s" in read(TranscriptionResult("hello world", "", segments))


def test_what_may_still_change_is_fainter() -> None:
    result = TranscriptionResult("hello wor", "", [], partial=True, committed="hello ")
    assert 'hello <span style="opacity:.55">wor</span>' in result._repr_html_()
    assert read(result) == "hello wor partial: may still change · language unknown"
    final = TranscriptionResult("hello", "en", [])
    assert ".55" not in final._repr_html_()


def test_silence_is_no_words() -> None:
    assert read(TranscriptionResult("", "en", [])) == "(no words) final · en"


def test_a_thousand_words_fold_and_are_counted() -> None:
    words = [TranscriptionWord("so", n, n + 1) for n in range(1000)]
    html = TranscriptionResult("so", "en", [], words=words)._repr_html_()
    assert "<details>" in html
    assert "… 800 more" in html
    assert html.count("<tr") == 202


def test_a_synthesis_shows_its_text_and_plays() -> None:
    made = SynthesisResult(speech(0.2), "Hello.", "ada", 0.05, watermarked=True)
    assert read(made).startswith("Hello. voice ada · made in 50 ms · watermarked 200 ms")
    assert played(made) == speech(0.2)
    assert "made in" not in read(SynthesisResult(speech(0.2), "Hello.", "ada"))


def test_an_exchange_shows_what_was_not_heard() -> None:
    html = Exchange(2, "what time is it", "It is late. Go home.", "It is late.")._repr_html_()
    assert 'It is late.<span style="opacity:.55"> Go home.</span>' in html
    assert read(Exchange(2, "hi", "It is late. Go home.", "It is late.")).endswith(
        "turn 2 · 2 words of the answer were not heard"
    )
    assert read(Exchange(1, "hi", "Hello.", "Hello.")) == "user hi bot Hello. turn 1"
    assert read(Exchange(1, "", "", "")) == "user (no words) no answer turn 1"
    assert "heard Other words" in read(Exchange(1, "hi", "Hello.", "Other words"))


# -- turns ---------------------------------------------------------------------------------

METRICS = TurnMetrics(
    0.6, 0.2, 0.0, 0.1, 0.0, 0.9, audio_duration=2.0, playout=1.5, interruptions=1
)


def test_metrics_are_a_bar_of_where_the_time_went() -> None:
    html = METRICS._repr_html_()
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%;background", html)]
    assert widths == [66.67, 22.22, 11.11]
    assert read(METRICS) == (
        "first sound after 900 ms end of turn 600 ms transcription 200 ms answer 0 ms voice 100 ms "
        "handover 0 ms 1.50 s of 2.00 s of answer played · spoken over 1 time"
    )


def test_a_turn_without_an_answer_says_so() -> None:
    assert read(TurnMetrics(0.6)) == "no answer was heard end of turn 600 ms"
    assert "background" not in TurnMetrics(0.0)._repr_html_().partition("inline-block")[0]


def test_a_turn_shows_what_was_said_answered_and_how_long_it_took() -> None:
    turn = TurnEnded(3, "hi", "Hello there.", METRICS, "Hello", "interrupted", (1.0, 1.5))
    text = read(turn)
    assert text.startswith(
        "user hi bot Hello there. turn 3 · interrupted · spoke from 1.00 to 1.50 s"
    )
    assert "first sound after 900 ms" in text


def test_a_failed_turn_says_why() -> None:
    failed = TurnFailed(1, ValueError("no <b>model</b>"), "abc", (0.0, 1.0))
    text = "failed ValueError: no <b>model</b> turn 1 · spoke from 0.00 to 1.00 s · request abc"
    assert read(failed) == text


# -- chains --------------------------------------------------------------------------------


def test_a_chain_is_boxes_in_boxes_around_its_engine() -> None:
    timing = TimingMiddleware()
    chain = Chain(timing, RetryMiddleware())
    assert read(chain) == "timing retry an engine"
    assert read(chain.wrap(ScriptedTTSEngine())) == "timing retry ScriptedTTSEngine"
    assert read(Chain()) == "an engine"
    html = chain._repr_html_()
    assert html.index("timing") < html.index("retry") < html.index("</div></div></div></div>")


def test_statistics_are_a_table_of_milliseconds() -> None:
    timing = TimingMiddleware()
    text = read(timing.statistics())
    assert text.startswith("0 calls · 0 failed · 0 withdrawn · 0 slow ms average")
    assert "time to first result 0.0" in text


# -- whatever is in them -------------------------------------------------------------------

NASTY = "</span><script>alert('&amp;\"')</script>\x00\ud800"


@pytest.mark.parametrize(
    "value",
    [
        TranscriptionResult(NASTY, NASTY, [TranscriptionSegment(NASTY, 0, 1)]),
        TranscriptionResult(NASTY, "", [], partial=True, committed=NASTY[:9]),
        SynthesisResult(speech(0.1), NASTY, NASTY),
        Exchange(1, NASTY, NASTY, NASTY[:4]),
        TurnEnded(1, NASTY, NASTY, METRICS, NASTY),
        TurnFailed(1, ValueError(NASTY), NASTY),
        Chain(TimingMiddleware(name=NASTY)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_text_is_never_markup(value: Any) -> None:
    html = value._repr_html_()
    assert "script" not in Page(html).tags
    assert html.encode()  # as a kernel sends it


@pytest.mark.parametrize(
    "value",
    [
        TranscriptionResult(None, "en", None),  # type: ignore[arg-type]
        SynthesisResult(None, "text", "voice"),  # type: ignore[arg-type]
        Exchange(1, None, None, None),  # type: ignore[arg-type]
        TurnEnded(1, "a", "b", None),  # type: ignore[arg-type]
        TurnMetrics("soon"),  # type: ignore[arg-type]
        TurnFailed(1, ValueError(), "id", None),  # type: ignore[arg-type]
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_not_what_it_should_be_is_shown_as_its_repr(value: Any) -> None:
    assert read(value).startswith(type(value).__name__)


def test_a_value_without_any_repr_is_shown_as_its_type() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("not now")

    def fail() -> str:
        raise ValueError("cannot be drawn")

    assert _html.never_raising(fail, Mute()) == "<code>&lt;Mute&gt;</code>"


def test_nothing_brings_a_script_or_a_colour_for_the_page() -> None:
    for value in (speech(0.1), METRICS, Chain(TimingMiddleware())):
        html = value._repr_html_()
        assert "<script" not in html
        assert "white" not in html.replace("white-space", "")
        assert "#fff" not in html
