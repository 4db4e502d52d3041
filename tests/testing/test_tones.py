"""What tones say can be read again, whatever happens to the sound on its way."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.audio import AudioData
from realtime_stts.errors import AudioFormatError
from realtime_stts.testing import speak_tones, speech, tone_spelling, tone_text
from realtime_stts.testing._tone_reader import ToneReader

RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)
PACE = 0.06
TEXT = "Tomorrow: sunny, 25 °C - all aboard! aaa b  c"

texts = st.text(st.characters(codec="cp1252", exclude_categories=["C"]), max_size=30)
rates = st.sampled_from(RATES)


def samples(audio: AudioData) -> np.ndarray:
    return audio.samples[:, 0].astype(np.float64)


def faded(sound: np.ndarray, rate: int, seconds: float = 0.005) -> np.ndarray:
    """As a loudspeaker that stops and starts without a click."""
    n = min(round(seconds * rate), len(sound) // 2)
    ramp = np.linspace(0.0, 1.0, n)
    gain = np.concatenate((ramp, np.ones(len(sound) - 2 * n), ramp[::-1]))
    return sound * gain


# -- speaking ----------------------------------------------------------------------------


def test_every_character_takes_its_time() -> None:
    audio = speak_tones("a b", 16_000, seconds_per_character=0.1)
    assert audio.duration_seconds == pytest.approx(0.3)
    assert (audio.sample_rate, audio.channels, audio.format) == (16_000, 1, "pcm")


def test_white_space_is_silent() -> None:
    audio = speak_tones("a\tb", 16_000, seconds_per_character=0.1)
    levels = [np.abs(samples(audio.sliced(s, s + 0.1))).max() > 0.2 for s in (0.0, 0.1, 0.2)]
    assert levels == [True, False, True]


def test_no_character_begins_with_a_click() -> None:
    """Within a word no sample is further from the one before than the sines can go."""
    wave = samples(speak_tones("abcdefghijklmnopqrstuvwxyz", 48_000))
    steepest = 0.15 * 2 * np.pi * (1_250 + 3_400) / 48_000
    assert np.abs(np.diff(wave)).max() <= steepest


def test_nothing_to_say_is_no_sound() -> None:
    assert speak_tones("").duration_seconds == 0.0


def test_voices_differ_in_their_samples_and_read_the_same() -> None:
    voices = [speak_tones(TEXT, voice=voice) for voice in range(50)]
    assert len({voice.data for voice in voices}) == 50
    assert {tone_text(voice) for voice in voices[::7]} == {tone_spelling(TEXT)}


def test_an_impossible_rate_is_refused() -> None:
    with pytest.raises(AudioFormatError):
        speak_tones("hello", 4_000)


# -- spelling ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("Hello, World!", "Hello, World!"),
        ("  two\n\twords\u00a0more ", "two words more"),
        ("nai\u0308ve", "naïve"),
        ("“5 €” \u2013 naïve…", "“5 €” \u2013 naïve…"),
        ("聞く 🙂", "?? ?"),
        ("a\u200bb\x00", "a?b?"),
        (" \n", ""),
        ("", ""),
    ],
)
def test_the_spelling_of_a_text(text: str, spelled: str) -> None:
    assert tone_spelling(text) == spelled
    assert tone_text(speak_tones(text)) == spelled


@given(st.text())
def test_a_spelling_is_spelled_as_it_is(text: str) -> None:
    assert tone_spelling(tone_spelling(text)) == tone_spelling(text)


# -- reading -----------------------------------------------------------------------------


@given(texts, rates, rates)
def test_a_text_comes_back_at_any_rate(text: str, made: int, heard: int) -> None:
    assert tone_text(speak_tones(text, made).resampled(heard)) == tone_spelling(text)


@pytest.mark.parametrize("pace", [0.03, 0.045, 0.06, 0.1, 0.25])
@pytest.mark.parametrize("rate", RATES)
def test_a_text_comes_back_at_any_pace(pace: float, rate: int) -> None:
    assert tone_text(speak_tones(TEXT, rate, seconds_per_character=pace)) == tone_spelling(TEXT)


@pytest.mark.parametrize("text", ["a", "no", "a b"])
def test_a_text_too_short_to_show_its_pace_is_told_it(text: str) -> None:
    audio = speak_tones(text, seconds_per_character=0.03)
    assert tone_text(audio) == ""
    assert tone_text(audio, seconds_per_character=0.03) == text


@pytest.mark.parametrize("format", ["pcm_u8", "pcm_f32le"])
def test_the_samples_may_have_any_format(format: str) -> None:
    assert tone_text(speak_tones(TEXT).converted(format)) == tone_spelling(TEXT)


@pytest.mark.parametrize("format", ["flac", "ogg", "opus", "mp3"])
def test_codecs_leave_it_readable(format: str) -> None:
    audio = AudioData.from_file(speak_tones(TEXT, 48_000).encode(format))
    assert tone_text(audio) == tone_spelling(TEXT)


@given(texts, st.floats(0.0, 0.2), st.floats(0.05, 1.0), st.integers(0, 2**32 - 1))
def test_silence_before_it_its_level_and_a_little_noise_do_not_matter(
    text: str, before: float, level: float, seed: int
) -> None:
    sound = samples(speak_tones(text, 16_000)) * level
    line = np.concatenate((np.zeros(round(before * 16_000)), sound))
    noise = np.random.default_rng(seed).normal(0.0, 0.001, len(line))  # -60 dBFS
    assert tone_text(AudioData.from_samples(line + noise, 16_000)) == tone_spelling(text)


@given(
    st.text("abcdefg ", min_size=4, max_size=20).map(tone_spelling).filter(lambda t: len(t) > 3),
    st.data(),
)
def test_a_character_counts_if_about_two_thirds_of_it_are_there(
    text: str, data: st.DataObject
) -> None:
    """Wherever the sound is cut: at most half of a character never counts, 80 % always do."""
    whole = len(text) * PACE
    start = data.draw(st.floats(0.0, whole - 3 * PACE))
    end = data.draw(st.floats(start + 3 * PACE, whole))
    there = [min(end, (i + 1) * PACE) - max(start, i * PACE) for i in range(len(text))]
    sure = [i for i, seconds in enumerate(there) if seconds >= 0.8 * PACE]
    possible = [i for i, seconds in enumerate(there) if seconds > 0.5 * PACE]
    readings = {
        tone_spelling(text[first : last + 1])
        for first in (sure[0], possible[0])
        for last in (sure[-1], possible[-1])
    }
    audio = speak_tones(text, 16_000)
    cut = faded(samples(audio)[round(start * 16_000) : round(end * 16_000)], 16_000)
    assert tone_text(AudioData.from_samples(cut, 16_000)) in readings


@given(texts, st.lists(st.tuples(st.floats(0.15, 0.6), st.floats(0.0, 2.0)), max_size=4))
def test_a_pause_anywhere_is_no_space(text: str, pauses: list[tuple[float, float]]) -> None:
    """The loudspeaker stops in the middle of a character, and goes on with its rest."""
    sound, rate = samples(speak_tones(text, 16_000)), 16_000
    line, at = [], 0
    for seconds, pause in pauses:
        piece = sound[at : at + round(seconds * rate)]
        # The end of the last character is all that shows that it was heard.
        if at + len(piece) < len(sound) - round(PACE * rate):
            line += [faded(piece, rate), np.zeros(round(pause * rate))]
            at += len(piece)
    line.append(faded(sound[at:], rate))
    heard = AudioData.from_samples(np.concatenate(line), rate)
    assert tone_text(heard) == tone_spelling(text)


@given(st.lists(texts.filter(tone_spelling), max_size=4), st.floats(0.03, 1.0))
def test_texts_are_parted_by_a_space(said: list[str], silence: float) -> None:
    line = [AudioData(b"", 24_000)]
    for text in said:
        line += [speak_tones(text), AudioData.silence(silence, 24_000)]
    assert tone_text(AudioData.concat(line)) == tone_spelling(" ".join(said))


def test_texts_are_parted_without_any_silence() -> None:
    line = [speak_tones("One."), speak_tones("One."), speak_tones("Two.")]
    assert tone_text(AudioData.concat(line)) == "One. One. Two."


def test_a_text_that_was_broken_off_ends_where_it_did() -> None:
    broken = speak_tones("Tomorrow").sliced(0.0, 6.1 * PACE)
    line = [broken, AudioData.silence(0.5, 24_000), speak_tones("Okay.")]
    assert tone_text(AudioData.concat(line)) == "Tomorr Okay."
    # Begun again with the same character, of which the first time too little was heard.
    again = [speak_tones("Tell").sliced(0.0, 0.4 * PACE), speak_tones("Tell")]
    assert tone_text(AudioData.concat(again)) == "Tell"


def test_a_part_that_is_missing_parts_the_text() -> None:
    audio = speak_tones("abcdefgh")
    with_a_gap = [audio.sliced(0.0, 3 * PACE), audio.sliced(5 * PACE)]
    assert tone_text(AudioData.concat(with_a_gap)) == "abc fgh"


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_other_sounds_say_nothing(rate: int) -> None:
    time = np.arange(2 * rate) / rate
    noise = np.random.default_rng(0).normal(0.0, 0.1, len(time))
    whistle = 0.3 * np.sin(2 * np.pi * 1_000 * time)
    square = 0.3 * np.sign(np.sin(2 * np.pi * 300 * time))
    sounds = [speech(2.0, rate)] + [
        AudioData.from_samples(wave, rate) for wave in (noise, whistle, square, 0 * time)
    ]
    assert [tone_text(sound) for sound in sounds] == [""] * len(sounds)


def test_words_are_read_between_other_sounds() -> None:
    line = [speech(0.5, 24_000), speak_tones("never mind"), speech(0.5, 24_000)]
    assert tone_text(AudioData.concat(line)) == "never mind"


@pytest.mark.parametrize("n_frames", [0, 1, 100, 400])
def test_too_little_to_hear_says_nothing(n_frames: int) -> None:
    assert tone_text(AudioData(bytes(2 * n_frames), 8_000)) == ""


# -- reading as it comes -----------------------------------------------------------------


def heard_by(reader: ToneReader, chunks: list[AudioData]) -> list[list[str]]:
    readings = [reading.words for chunk in chunks for reading in reader.hear(chunk)]
    return [[word.text for word in words] for words in [*readings, reader.finish()]]


def test_words_come_when_they_are_complete() -> None:
    line = [speak_tones("one two three"), AudioData.silence(0.5, 24_000)]
    assert heard_by(ToneReader(), [AudioData.concat(line)]) == [
        ["one"],
        ["one", "two"],
        ["one", "two", "three"],  # as silence follows
        ["one", "two", "three"],
    ]


def test_a_word_that_was_only_paused_goes_on() -> None:
    word, silence = speak_tones("hello"), AudioData.silence(0.5, 24_000)
    line = [word.sliced(0.0, 0.15), silence, word.sliced(0.15), silence]
    assert heard_by(ToneReader(), line) == [["he"], ["hello"], ["hello"]]


@given(texts, st.lists(st.tuples(st.floats(0.15, 0.6), st.floats(0.0, 0.5)), max_size=4))
def test_a_word_that_is_certain_never_changes(text: str, pauses: list[tuple[float, float]]) -> None:
    sound, line, at = speak_tones(text), [AudioData(b"", 24_000)], 0.0
    for seconds, pause in pauses:
        line += [sound.sliced(at, at + seconds), AudioData.silence(pause, 24_000)]
        at += seconds
    reader = ToneReader()
    readings = reader.hear(AudioData.concat([*line, sound.sliced(at)]))
    whole = reader.finish()
    for reading in readings:
        assert reading.words[: reading.n_certain] == whole[: reading.n_certain]


def test_too_little_of_a_word_before_a_silence_is_no_word() -> None:
    line = [speak_tones("one two").sliced(0.0, 4.5 * PACE), AudioData.silence(0.5, 24_000)]
    assert heard_by(ToneReader(), line) == [["one"], ["one"]]


def test_words_have_their_times() -> None:
    reader = ToneReader()
    reader.hear(AudioData.silence(1.0, 16_000))
    reader.hear(speak_tones("one two", 16_000))
    times = [(word.text, word.start, word.end) for word in reader.finish()]
    assert times == [
        ("one", pytest.approx(1.0, abs=0.006), pytest.approx(1.18, abs=0.006)),
        ("two", pytest.approx(1.24, abs=0.006), pytest.approx(1.42, abs=0.006)),
    ]


@given(texts, rates, st.lists(st.integers(0, 20_000), max_size=20))
def test_words_do_not_depend_on_how_the_sound_is_cut(
    text: str, rate: int, lengths: list[int]
) -> None:
    audio = AudioData.concat([speak_tones(text, rate), AudioData.silence(0.3, rate)])
    edges = np.minimum(np.cumsum([0, *lengths, audio.n_frames]), audio.n_frames)
    chunks = [AudioData(audio.data[2 * a : 2 * b], rate) for a, b in pairwise(edges)]
    assert heard_by(ToneReader(), chunks) == heard_by(ToneReader(), [audio])


def test_a_stream_may_not_change_its_layout() -> None:
    reader = ToneReader()
    reader.hear(speak_tones("one", 16_000))
    with pytest.raises(AudioFormatError):
        reader.hear(speak_tones("two", 24_000))


def test_a_long_silence_leaves_nothing_behind() -> None:
    reader = ToneReader()
    for _ in range(60):
        assert reader.hear(AudioData.silence(1.0, 16_000)) == []
    assert len(reader._samples) < 800
