"""The level meter, as a line of text."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rich")

from realtime_stts import AudioData
from realtime_stts.cli._meter import Meter

BLOCK = 0.02  # s


def tone(amplitude: float, seconds: float = BLOCK) -> AudioData:
    """A sine: its rms is 3 dB under its peak."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    return AudioData.from_samples(amplitude * np.sin(2 * np.pi * 500 * time), 16_000, "pcm_f32le")


def line(*audio: AudioData) -> str:
    meter = Meter()
    for each in audio:
        meter.hear(each)
    return meter.line().plain


def bar(*audio: AudioData) -> str:
    return line(*audio)[len("microphone  ") :][:30]


def test_before_any_sound_it_is_at_its_floor() -> None:
    assert line() == "microphone  " + 30 * "·" + "  -60 dBFS"
    assert line(AudioData(b"", 16_000)) == line()


@pytest.mark.parametrize(
    ("amplitude", "drawn"),
    [
        (0.5, 25 * "█" + "··▏" + 2 * "·" + "   -9 dBFS"),  # its peak is at -6
        (0.1, 18 * "█" + "··▏" + 9 * "·" + "  -23 dBFS"),
        (0.01, 8 * "█" + "··▏" + 19 * "·" + "  -43 dBFS"),
        (0.001_1, "▏" + 29 * "·" + "  -60 dBFS"),
    ],
)
def test_the_bar_reaches_to_the_rms_and_the_mark_stands_at_the_peak(
    amplitude: float, drawn: str
) -> None:
    assert line(tone(amplitude)) == f"microphone  {drawn}"


def test_it_rises_at_once_and_falls_by_24_db_a_second() -> None:
    quiet, loud = tone(0.001), tone(0.5)
    assert bar(quiet, loud) == bar(loud)
    after = [line(loud, *n * [quiet])[-8:] for n in (0, 25, 50)]
    assert after == [" -9 dBFS", "-21 dBFS", "-33 dBFS"]


def test_loud_parts_are_yellow_and_the_loudest_red() -> None:
    meter = Meter()
    meter.hear(tone(0.99))
    drawn = meter.line()
    styled = [(drawn.plain[span.start : span.end], span.style) for span in drawn.spans]
    assert styled[:4] == [
        (24 * "█", "green"),
        (4 * "█", "yellow"),
        ("·", "dim"),
        ("▏", "red"),
    ]


@pytest.mark.parametrize(("amplitude", "clips"), [(1.0, True), (0.999, False)])
def test_sound_at_full_scale_clips(amplitude: float, clips: bool) -> None:
    assert ("clips: turn it down" in line(tone(amplitude))) is clips


def test_three_seconds_of_nothing_at_all_look_like_a_muted_microphone() -> None:
    silence = AudioData.silence(BLOCK, 16_000)
    hint = "no sound at all: is it muted?"
    assert hint not in line(*149 * [silence])
    assert hint in line(*150 * [silence])
    assert hint not in line(*150 * [silence], tone(0.001))
