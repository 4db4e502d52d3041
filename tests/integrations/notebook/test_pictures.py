"""Pictures for notebooks: what is drawn, in which units, and that nothing is left behind."""

from __future__ import annotations

import importlib.util
import struct
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("IPython")
pytest.importorskip("matplotlib")

from IPython.core.formatters import DisplayFormatter
from matplotlib import _pylab_helpers
from matplotlib.figure import Figure

from realtime_stts import AudioData, ConversationEngine, TranscriptionWord, TurnEnded
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.errors import MissingExtraError
from realtime_stts.integrations.notebook import (
    Picture,
    latencies,
    play,
    spectrogram,
    timeline,
    waveform,
)
from realtime_stts.testing import (
    Call,
    Caller,
    ScriptedTTSEngine,
    ToneSTTEngine,
    run_on_virtual_time,
    speech,
)

WORDS = [TranscriptionWord("hello", 0.0, 0.6), TranscriptionWord("$wor_ld$", 0.6, 1.2)]
TIMES = {"fast": [0.010, 0.012, 0.011], "slow": [0.020, 0.300]}


async def a_call() -> Call:
    async def answer(said: Any, context: Any) -> Any:
        yield "Tomorrow it will be sunny, with a light wind from the west."

    engine = ConversationEngine(
        stt=ToneSTTEngine(),
        tts=ScriptedTTSEngine(),
        responder=answer,
        pause_detector=EnergyPauseDetector(),
    )
    caller = Caller(engine).says("what is the weather").interrupts("never mind", after=1.0)
    return await caller.run()


@pytest.fixture(scope="module")
def call() -> Call:
    import anyio

    return anyio.run(run_on_virtual_time, a_call)


def written(figure: Figure) -> str:
    return " | ".join(text.get_text() for axes in figure.axes for text in axes.texts)


# -- what all of them have in common -------------------------------------------------------

PICTURES: dict[str, Callable[..., Any]] = {
    "waveform": lambda **ax: waveform(speech(1.2), words=WORDS, title="$x_1$ 聞く", **ax),
    "spectrogram": lambda **ax: spectrogram(speech(1.2), **ax),
    "latencies": lambda **ax: latencies(TIMES, **ax),
}


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_a_cell_shows_it_once_and_nothing_keeps_it(draw: Callable[..., Any]) -> None:
    picture = draw()
    assert isinstance(picture, Picture)
    shown, details = DisplayFormatter().format(picture)
    assert shown.keys() == {"text/plain", "image/png"}
    width, height = struct.unpack(">II", shown["image/png"][16:24])
    assert details["image/png"]["width"] == 900
    assert width / height == pytest.approx(900 / details["image/png"]["height"], abs=0.02)
    assert _pylab_helpers.Gcf.get_all_fig_managers() == []


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_it_is_drawn_on_the_axes_that_are_given(draw: Callable[..., Any]) -> None:
    figure = Figure()
    axes = figure.add_subplot()
    assert draw(ax=axes) is axes
    assert axes.get_xlabel()
    figure.canvas.draw()


# -- sound ---------------------------------------------------------------------------------


def test_a_waveform_has_seconds_amplitude_and_words() -> None:
    picture = waveform(speech(1.2), words=WORDS, title="Hello")
    (axes,) = picture.axes
    assert axes.get_xlabel() == "time (s)"
    assert axes.get_ylabel() == "amplitude (full scale = 1)"
    assert axes.get_xlim() == (0.0, pytest.approx(1.2))
    assert axes.get_title(loc="left") == "Hello"
    assert written(picture) == "hello | $wor_ld$"


def test_words_that_have_no_room_are_left_out() -> None:
    crowded = [TranscriptionWord(f"word{n}", n / 50, (n + 1) / 50) for n in range(50)]
    shown = waveform(speech(1.0), words=crowded).axes[0].texts
    assert 5 < len(shown) < 25


def test_each_channel_has_a_row() -> None:
    samples = np.stack([speech(0.5).samples[:, 0]] * 3, axis=1)
    (axes,) = waveform(AudioData.from_samples(samples, 16_000)).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["channel 1", "channel 2", "channel 3"]


@pytest.mark.parametrize("draw", [waveform, spectrogram])
@pytest.mark.parametrize("audio", [AudioData(b"", 16_000), AudioData.silence(0.01, 8_000)])
def test_nothing_and_silence_can_be_drawn(draw: Any, audio: AudioData) -> None:
    assert draw(audio)._repr_png_()[0].startswith(b"\x89PNG")


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_spectrogram_shows_a_tone_where_it_is(rate: int) -> None:
    time = np.arange(rate) / rate
    tone = AudioData.from_samples(0.5 * np.sin(2 * np.pi * 1000 * time), rate)
    picture = spectrogram(tone, max_frequency=4_000)
    image = picture.axes[0].images[0].get_array()
    assert image is not None
    middle = np.asarray(image)[:, image.shape[1] // 2]
    assert middle.max() > -1.0
    assert np.argmax(middle) * 40 == 1000  # windows of 25 ms have bins of 40 Hz
    assert picture.axes[0].get_ylabel() == "frequency (kHz)"
    assert picture.axes[1].get_ylabel() == "level (dB, 0 is the loudest)"


def test_a_spectrogram_of_ten_minutes_is_no_wider_than_a_screen() -> None:
    image = spectrogram(AudioData.silence(600, 8_000)).axes[0].images[0].get_array()
    assert image is not None
    assert image.shape[1] <= 1300


@pytest.mark.parametrize("wrong", [{"max_frequency": 0}, {"dynamic_range": -1.0}])
def test_a_spectrogram_needs_numbers_over_0(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="over 0"):
        spectrogram(speech(0.1), **wrong)


def test_a_player_plays_all_of_it() -> None:
    audio = AudioData.silence(70, 8_000)
    player = play(audio, autoplay=True)
    assert AudioData.from_file(player.data) == audio
    assert player.autoplay is True
    assert "<audio" in player._repr_html_()
    with pytest.raises(ValueError, match="empty"):
        play(AudioData(b"", 8_000))


# -- times ---------------------------------------------------------------------------------


def test_latencies_are_in_ms_if_they_are_short_and_the_first_is_on_top() -> None:
    (axes,) = latencies(TIMES, what="time to first sound", title="Two").axes
    assert axes.get_xlabel() == "time to first sound (ms)"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fast", "slow"]
    bottom, top = axes.get_ylim()
    assert bottom > top
    assert axes.texts[0].get_text() == "median 11, 95 % within 12 ms, n = 3"


def test_latencies_of_seconds_are_in_s_and_others_in_their_own_unit() -> None:
    assert latencies({"a": [1.5, 2.0]}).axes[0].get_xlabel() == "time (s)"
    (axes,) = latencies({"a": [0.5, 0.7]}, what="real-time factor", unit="").axes
    assert axes.get_xlabel() == "real-time factor"
    assert axes.texts[0].get_text() == "median 0.6, 95 % within 0.7, n = 2"


def test_far_apart_latencies_get_a_logarithm() -> None:
    (axes,) = latencies({"a": [0.001], "b": [0.9]}).axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "time (ms, logarithmic)"
    assert latencies({"a": [0.001], "b": [0.9]}, log=False).axes[0].get_xscale() == "linear"
    assert latencies({"a": [0.0], "b": [0.9]}).axes[0].get_xscale() == "linear"


def test_ten_thousand_calls_are_no_ten_thousand_dots() -> None:
    (axes,) = latencies({"a": np.linspace(0.1, 0.2, 10_000)}).axes
    assert len(axes.lines[0].get_xdata()) <= 2500  # type: ignore[arg-type]
    assert "n = 10000" in axes.texts[0].get_text()


@pytest.mark.parametrize(
    ("timings", "options", "problem"),
    [
        ({}, {}, "no timings"),
        ({"a": []}, {}, "'a' has no times"),
        ({"a": [-1.0]}, {}, "from 0 on"),
        ({"a": [float("nan")]}, {}, "from 0 on"),
        ({"a": [0.0, 1.0]}, {"log": True}, "no time of 0 s"),
    ],
)
def test_what_is_no_time_is_refused(timings: Any, options: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        latencies(timings, **options)


# -- turns ---------------------------------------------------------------------------------


def test_a_timeline_of_a_call_shows_both_voices_words_and_waits(call: Call) -> None:
    picture = timeline(call)
    text = written(picture)
    assert "2 turns: the bot answers" in text
    assert "what is the weather" in text
    assert "never mind" in text
    assert "stops after" in text
    shown, details = DisplayFormatter().format(picture)
    assert "image/png" in shown
    assert details["image/png"] == {"width": 960, "height": 600}


def test_a_timeline_of_events_with_their_times_is_that_of_the_call(call: Call) -> None:
    assert written(timeline(call.events, caller=call.caller)) == written(timeline(call))


def test_a_timeline_of_bare_events_has_the_same_turns_and_waits(call: Call) -> None:
    events = [event for _, event in call.events]
    assert written(timeline(events)).split(" | ")[0] == written(timeline(call)).split(" | ")[0]
    assert "never mind" in written(timeline(call.of(TurnEnded)))


def test_a_timeline_can_be_drawn_on_other_axes(call: Call) -> None:
    figure = Figure(figsize=(10, 6))
    axes = figure.add_subplot()
    assert timeline(call, ax=axes) is axes
    assert axes.get_xlim() == (0.0, call.caller.duration_seconds)


# -- without the extra ---------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["IPython.display", "matplotlib.axes"])
def test_without_its_packages_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    name = "realtime_stts.integrations.notebook"
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.raises(MissingExtraError, match=r'pip install "realtime-stts\[notebook\]"'):
        spec.loader.exec_module(module)
