"""AudioData and StreamResampler: audio that knows what it is, however it is cut or moved."""

from __future__ import annotations

import base64
import copy
import os
import pickle
import resource
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from itertools import pairwise
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_stts.audio import AudioData, StreamResampler
from realtime_stts.errors import AudioFormatError

RATE = 16_000
WIDTHS = {
    "pcm": 2,
    "pcm_u8": 1,
    "pcm_s16le": 2,
    "pcm_s24le": 3,
    "pcm_s32le": 4,
    "pcm_f32le": 4,
}
FILES = ["wav", "flac", "ogg", "opus", "mp3"]


def noise(n_frames: int, channels: int = 1, sample_rate: int = RATE, seed: int = 0) -> AudioData:
    samples = np.random.default_rng(seed).uniform(-0.9, 0.9, (n_frames, channels))
    return AudioData.from_samples(samples, sample_rate)


def tone(frequency: float, seconds: float, sample_rate: int, channels: int = 1) -> AudioData:
    """A sine of amplitude 0.5, the same in every channel."""
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    wave = 0.5 * np.sin(2 * np.pi * frequency * t)
    return AudioData.from_samples(np.tile(wave[:, np.newaxis], channels), sample_rate)


def level(audio: AudioData, frequency: float) -> float:
    """The amplitude at that frequency, away from the edges."""
    samples = audio.samples[audio.n_frames // 8 : -audio.n_frames // 8, 0]
    window = np.hanning(len(samples))
    t = np.arange(len(samples)) / audio.sample_rate
    turning = np.exp(-2j * np.pi * frequency * t)
    return float(2 * abs((samples * window * turning).sum()) / window.sum())


# -- what is audio -----------------------------------------------------------------------


@pytest.mark.parametrize("format", WIDTHS)
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_the_length_is_right_for_every_width_and_channel_count(format: str, channels: int) -> None:
    audio = AudioData(bytes(WIDTHS[format] * channels * 12_000), RATE, channels, format)
    assert audio.n_frames == 12_000
    assert audio.duration_seconds == 0.75
    assert audio.duration_ms == 750
    assert audio.samples.shape == (12_000, channels)


def test_milliseconds_are_rounded_down() -> None:
    assert AudioData.silence(0.0209, 48_000).duration_ms == 20
    assert type(AudioData.silence(0.0209, 48_000).duration_ms) is int


@pytest.mark.parametrize("format", WIDTHS)
def test_no_bytes_are_audio_of_no_length(format: str) -> None:
    empty = AudioData(b"", RATE, 2, format)
    assert (empty.n_frames, empty.duration_seconds, empty.duration_ms) == (0, 0.0, 0)
    assert empty.samples.shape == (0, 2)
    assert empty.mono() == AudioData(b"", RATE, 1, format)
    assert empty.resampled(48_000) == AudioData(b"", 48_000, 2, format)
    assert empty.converted().data == empty.sliced(0.1, 0.2).data == b""


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_buffers_are_copied_into_bytes(kind: Any) -> None:
    source = bytearray(b"\x01\x02")
    audio = AudioData(kind(source), RATE)
    source[0] = 9
    assert audio == AudioData(b"\x01\x02", RATE)
    assert type(audio.data) is bytes


@pytest.mark.parametrize("data", [np.zeros(4, np.int16), "abcd", [1, 2], None])
def test_what_is_not_bytes_is_refused(data: Any) -> None:
    with pytest.raises(AudioFormatError, match=r"audio is bytes, not .*from_samples"):
        AudioData(data, RATE)


@pytest.mark.parametrize("format", WIDTHS)
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_bytes_that_end_inside_a_frame_are_refused(format: str, channels: int) -> None:
    width = WIDTHS[format] * channels
    for extra in range(1, width):
        with pytest.raises(AudioFormatError, match=rf"not a whole number of {width}-byte frames"):
            AudioData(bytes(width + extra), RATE, channels, format)


@pytest.mark.parametrize("sample_rate", [7_999, 192_001, 0, -1, 16_000.0, True, None])
def test_a_rate_that_no_speech_has_is_refused(sample_rate: Any) -> None:
    with pytest.raises(AudioFormatError, match="sample rate"):
        AudioData(b"", sample_rate)


@pytest.mark.parametrize("channels", [0, 9, -1, 1.0, True, None])
def test_a_channel_count_out_of_range_is_refused(channels: Any) -> None:
    with pytest.raises(AudioFormatError, match="1 to 8 channels"):
        AudioData(b"", RATE, channels)


@pytest.mark.parametrize("format", ["PCM", "pcm_s16be", "m4a", "", None])
def test_an_unknown_format_is_refused_with_those_that_are_known(format: Any) -> None:
    with pytest.raises(AudioFormatError, match=r"unknown audio format .*known: pcm, .*wav, .*mp3"):
        AudioData(b"", RATE, 1, format)


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_float_samples_are_numbers(value: float) -> None:
    samples = np.array([0.0, value], "<f4")
    with pytest.raises(AudioFormatError, match="NaN or infinity"):
        AudioData(samples.tobytes(), RATE, 1, "pcm_f32le")
    with pytest.raises(AudioFormatError, match="NaN or infinity"):
        AudioData.from_samples(samples, RATE)


# -- a value -----------------------------------------------------------------------------


def test_audio_is_a_value() -> None:
    audio = noise(100)
    same = AudioData(audio.data, RATE, 1, "pcm")
    assert audio == same
    assert {audio, same} == {audio}
    for other in (
        noise(101),
        AudioData(audio.data, 48_000),
        AudioData(audio.data, RATE, 2),
        AudioData(audio.data, RATE, 1, "pcm_s16le"),
        audio.data,
    ):
        assert audio != other


@pytest.mark.parametrize("name", ["data", "sample_rate", "channels", "format", "note"])
def test_it_cannot_be_changed(name: str) -> None:
    with pytest.raises((FrozenInstanceError, TypeError)):  # TypeError: a new name, Python 3.10
        setattr(noise(100), name, 1)


def test_neither_can_its_samples() -> None:
    for audio in (noise(100), noise(100).converted("pcm_f32le"), noise(100, channels=2)):
        with pytest.raises(ValueError, match="read-only"):
            audio.samples[0] = 0


def test_it_is_copied_and_pickled() -> None:
    audio = noise(100, channels=2)
    assert copy.copy(audio) == copy.deepcopy(audio) == audio
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(audio, protocol)) == audio


def test_its_representation_is_short_and_decodes_nothing() -> None:
    assert repr(AudioData.silence(1.5, RATE, 2)) == "AudioData(1.500 s, 16000 Hz, 2 ch, pcm)"
    assert repr(AudioData(b"junk", RATE, 1, "mp3")) == "AudioData(4 bytes, 16000 Hz, 1 ch, mp3)"


def test_a_notebook_plays_it() -> None:
    audio = noise(100)
    _, _, rest = audio._repr_html_().partition('src="data:audio/wav;base64,')
    wav, _, _ = rest.partition('"></audio>')
    assert AudioData.from_file(base64.b64decode(wav)) == audio


# -- from samples ------------------------------------------------------------------------


def test_int16_samples_are_taken_as_they_are() -> None:
    values = np.arange(-(1 << 15), 1 << 15).astype(np.int16)
    for array in (values, values.astype(">i2"), values.reshape(-1, 1)):
        assert AudioData.from_samples(array, RATE).data == values.astype("<i2").tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_leaves_full_scale_is_clipped_and_never_wraps(dtype: Any) -> None:
    samples = np.array([1.2, 1.0, -1.0, -1.2, 6e4, -6e4], dtype)
    integers = np.frombuffer(AudioData.from_samples(samples, RATE).data, "<i2")
    assert integers.tolist() == [32767, 32767, -32768, -32768, 32767, -32768]


def test_columns_are_channels() -> None:
    audio = AudioData.from_samples(np.array([[0.5, -0.5], [0.25, 0.0]]), RATE, "pcm_f32le")
    assert audio.channels == 2
    assert audio.samples.tolist() == [[0.5, -0.5], [0.25, 0.0]]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((4, 1, 1)), r"not \(4, 1, 1\)"),
        (np.float32(0.5), r"not \(\)"),
        (np.zeros((4, 0)), "1 to 8 channels, not 0"),
        (np.zeros((1, 16_000)), "1 to 8 channels, not 16000"),
        (np.zeros(4, np.int32), "float or int16, not int32"),
        (np.zeros(4, np.complex64), "float or int16, not complex64"),
        (np.zeros(4, np.uint8), "float or int16, not uint8"),
        (np.zeros(4, bool), "float or int16, not bool"),
    ],
)
def test_other_arrays_are_refused(samples: Any, message: str) -> None:
    with pytest.raises(AudioFormatError, match=message):
        AudioData.from_samples(samples, RATE)


def test_samples_are_not_made_into_files() -> None:
    with pytest.raises(AudioFormatError, match="'wav' is not a PCM format"):
        AudioData.from_samples(np.zeros(4), RATE, "wav")


def test_silence_is_silent_and_as_long_as_asked() -> None:
    silence = AudioData.silence(0.25, 48_000, 2)
    assert (silence.duration_seconds, silence.channels, silence.format) == (0.25, 2, "pcm")
    assert not silence.samples.any()
    assert AudioData.silence(0, RATE).data == b""


@pytest.mark.parametrize("seconds", [-0.1, nan, inf])
def test_silence_has_a_length(seconds: float) -> None:
    with pytest.raises(ValueError, match="0 seconds or more"):
        AudioData.silence(seconds, RATE)


@pytest.mark.parametrize(("sample_rate", "channels"), [(0, 1), (16_000.0, 1), (RATE, 0)])
def test_silence_has_a_layout(sample_rate: Any, channels: int) -> None:
    with pytest.raises(AudioFormatError):
        AudioData.silence(1.0, sample_rate, channels)


# -- joined, cut, mixed ------------------------------------------------------------------


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 3))
def test_pieces_join_into_what_they_were_cut_from(lengths: list[int], channels: int) -> None:
    whole = noise(sum(lengths), channels)
    bounds = np.cumsum([0, *lengths]) / RATE
    pieces = [whole.sliced(start, end) for start, end in pairwise(bounds)]
    assert [piece.n_frames for piece in pieces] == lengths
    assert AudioData.concat(iter(pieces)) == whole


@pytest.mark.parametrize(
    "other",
    [
        AudioData(bytes(4), 48_000),
        AudioData(bytes(4), RATE, 2),
        AudioData(bytes(4), RATE, 1, "pcm_f32le"),
        AudioData(bytes(4), RATE, 1, "wav"),
    ],
)
def test_pieces_of_different_layouts_are_not_joined(other: AudioData) -> None:
    with pytest.raises(AudioFormatError, match="cannot be joined"):
        AudioData.concat([AudioData(bytes(4), RATE), other])


def test_encoded_files_are_not_joined() -> None:
    file = AudioData(noise(100).encode("wav"), RATE, 1, "wav")
    with pytest.raises(AudioFormatError, match="cannot be joined"):
        AudioData.concat([file, file])


def test_nothing_is_not_joined() -> None:
    with pytest.raises(ValueError, match="nothing to concatenate"):
        AudioData.concat([])


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        (0.0, None, range(RATE)),
        (0.5, None, range(8_000, RATE)),
        (0.25, 0.5, range(4_000, 8_000)),
        (-1.0, 0.5, range(8_000)),
        (-inf, inf, range(RATE)),
        (0.0, 99.0, range(RATE)),
        (1.0, None, range(0)),
        (99.0, None, range(0)),
        (0.5, 0.5, range(0)),
        (0.75, 0.25, range(0)),
        (-2.0, -1.0, range(0)),
    ],
)
def test_a_slice_is_what_there_is_between_two_times(
    start: float, end: float | None, frames: range
) -> None:
    audio = noise(RATE, channels=2)
    assert audio.sliced(start, end).data == audio.data[4 * frames.start : 4 * frames.stop]


def test_a_slice_has_bounds() -> None:
    for bounds in [(nan, 1.0), (0.0, nan)]:
        with pytest.raises(ValueError, match="NaN"):
            noise(100).sliced(*bounds)


def test_a_slice_of_a_file_is_pcm() -> None:
    audio = noise(RATE)
    file = AudioData(audio.encode("flac"), RATE, 1, "flac")
    assert file.sliced(0.25, 0.5) == audio.sliced(0.25, 0.5)


@pytest.mark.parametrize("format", WIDTHS)
def test_mono_is_the_mean_of_the_channels(format: str) -> None:
    samples = np.array([[0.5, -0.25, 0.5], [1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    audio = AudioData.from_samples(samples, RATE, format)
    mono = audio.mono()
    assert (mono.channels, mono.format) == (1, format)
    np.testing.assert_allclose(mono.samples[:, 0], [0.25, 1.0, -1.0], atol=2**-7)
    assert mono.mono() is mono


def test_one_format_becomes_another() -> None:
    audio = noise(1000, channels=2)
    for format in WIDTHS:
        converted = audio.converted(format)
        assert (converted.format, converted.n_frames) == (format, 1000)
        assert abs(converted.samples - audio.samples).max() <= (2**-8 if "8" in format else 0)
    assert audio.converted() is audio
    assert audio.converted("pcm_f32le").converted("pcm_s24le").converted() == audio
    with pytest.raises(AudioFormatError, match="'opus' is not a PCM format"):
        audio.converted("opus")


# -- files -------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FILES)
def test_an_encoded_file_is_audio_too(format: str) -> None:
    audio = noise(8_000, channels=2)
    file = AudioData(audio.encode(format), RATE, 2, format)
    assert (file.n_frames, file.duration_seconds, file.duration_ms) == (8_000, 0.5, 500)
    assert file.samples.shape == (8_000, 2)
    assert file.mono().channels == 1
    assert file.resampled(48_000).n_frames == 24_000
    assert file.decoded() == AudioData.from_file(file.data)
    assert AudioData.from_file(file.encode("wav")).samples.shape == (8_000, 2)
    assert audio.decoded() is audio


@pytest.mark.parametrize(("sample_rate", "channels"), [(48_000, 1), (RATE, 2)])
def test_a_label_that_lies_is_an_error_and_not_another_pitch(
    sample_rate: int, channels: int
) -> None:
    file = AudioData(noise(100).encode("wav"), sample_rate, channels, "wav")
    with pytest.raises(AudioFormatError, match=r"16000 Hz with 1 .* as labelled"):
        _ = file.duration_seconds


def test_bytes_that_are_no_file_are_an_error_once_samples_are_asked_for() -> None:
    file = AudioData(b"junk", RATE, 1, "wav")
    with pytest.raises(AudioFormatError, match="not audio of a known kind"):
        _ = file.samples


@pytest.mark.parametrize("format", WIDTHS)
@pytest.mark.parametrize("container", ["wav", "flac"])
def test_lossless_files_keep_every_sample(format: str, container: str) -> None:
    width = WIDTHS[format]
    if format == "pcm_f32le":
        samples = np.random.default_rng(0).integers(-(1 << 23), 1 << 23, 5_000) / (1 << 23)
        data = samples.astype("<f4").tobytes()
    else:
        data = np.random.default_rng(0).bytes(width * 5_000)
    audio = AudioData(data, RATE, 1, format)
    back = AudioData.from_file(audio.encode(container))
    if format == "pcm_s32le":  # flac has 24 bits; so has the float32 that a file becomes
        assert abs(back.samples - audio.samples).max() <= 2**-23
    else:
        np.testing.assert_array_equal(back.samples, audio.samples)


def test_flac_rounds_what_is_wider_than_its_24_bits() -> None:
    audio = AudioData((255).to_bytes(4, "little"), RATE, 1, "pcm_s32le")
    assert AudioData.from_file(audio.encode("flac")).samples.tolist() == [[2**-23]]


@pytest.mark.parametrize("format", FILES)
def test_a_tone_survives_every_codec(format: str) -> None:
    audio = tone(440, 2.0, RATE)
    back = AudioData.from_file(audio.encode(format))
    assert back.n_frames == audio.n_frames
    assert level(back, 440) == pytest.approx(0.5, rel=0.03)
    assert level(back, 440 * 24_000 / 22_050) < 0.01


@pytest.mark.parametrize("sample_rate", [11_025, 22_050, 32_000, 44_100, 96_000])
def test_opus_is_resampled_to_a_rate_that_it_has(sample_rate: int) -> None:
    back = AudioData.from_file(tone(440, 1.0, sample_rate).encode("opus"))
    assert (back.sample_rate, back.n_frames) == (48_000, 48_000)
    assert level(back, 440) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("sample_rate", [8_000, 12_000, 16_000, 24_000, 48_000])
def test_opus_keeps_a_rate_that_it_has(sample_rate: int) -> None:
    assert (
        AudioData.from_file(tone(440, 1.0, sample_rate).encode("opus")).sample_rate == sample_rate
    )


@pytest.mark.parametrize("format", ["aac", "pcm", "WAV", ""])
def test_an_unknown_container_is_refused_with_those_that_are_known(format: str) -> None:
    with pytest.raises(AudioFormatError, match="known: wav, flac, ogg, opus, mp3"):
        noise(100).encode(format)


def test_only_wav_can_be_empty() -> None:
    empty = AudioData(b"", RATE)
    assert empty.encode("wav")[:4] == b"RIFF"
    for format in FILES[1:]:
        with pytest.raises(AudioFormatError, match=f"no audio to encode as {format}"):
            empty.encode(format)


@pytest.mark.parametrize(("sample_rate", "channels"), [(RATE, 3), (96_000, 1)])
def test_mp3_has_two_channels_and_48_khz_at_most(sample_rate: int, channels: int) -> None:
    with pytest.raises(AudioFormatError, match=f"MP3 cannot hold {channels} ch.* at {sample_rate}"):
        noise(100, channels, sample_rate).encode("mp3")


# -- to_file -----------------------------------------------------------------------------


@pytest.mark.parametrize("format", FILES)
def test_the_suffix_names_the_format(format: str, tmp_path: Path) -> None:
    audio = tone(440, 0.5, RATE)
    path = audio.to_file(str(tmp_path / f"tone.{format.upper()}"))
    assert path == tmp_path / f"tone.{format.upper()}"
    assert AudioData.from_file(path).n_frames == audio.n_frames
    assert path.read_bytes()[:4] == audio.encode(format)[:4]


def test_a_format_given_goes_before_the_suffix_and_wav_after_it(tmp_path: Path) -> None:
    assert noise(100).to_file(tmp_path / "a.bin", "flac").read_bytes()[:4] == b"fLaC"
    assert noise(100).to_file(tmp_path / "b").read_bytes()[:4] == b"RIFF"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        path = noise(100).to_file(tmp_path / "a.wav")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_file_that_cannot_be_encoded_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(b"old")
    with pytest.raises(AudioFormatError):
        noise(100, channels=8).to_file(path)
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            noise(100_000).to_file(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_so_does_one_that_cannot_be_put_in_place(tmp_path: Path) -> None:
    (folder := tmp_path / "a.wav").mkdir()
    with pytest.raises(OSError, match=r"a\.wav"):
        noise(100).to_file(folder)
    assert [*tmp_path.iterdir()] == [folder]


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        noise(100).to_file(tmp_path / "absent" / "a.wav")


# -- resampling --------------------------------------------------------------------------

RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000]


def expected_frames(n_frames: int, source: int, target: int) -> int:
    """The same time at another rate, in whole frames, half a frame counting as one."""
    return (2 * n_frames * target + source) // (2 * source)


@pytest.mark.parametrize("source", RATES)
@pytest.mark.parametrize("target", [8_000, 16_000, 24_000, 48_000])
def test_length_level_and_pitch_stay(source: int, target: int) -> None:
    audio = tone(1_000, 0.5, source, channels=2)
    moved = audio.resampled(target)
    assert (moved.sample_rate, moved.channels, moved.format) == (target, 2, "pcm")
    assert moved.n_frames == expected_frames(audio.n_frames, source, target)
    assert level(moved, 1_000) == pytest.approx(0.5, rel=0.001)
    rest = moved.samples[:, 0] - tone(1_000, 0.5, target).samples[: moved.n_frames, 0]
    assert abs(rest[target // 20 : -target // 20]).max() < 0.001


def test_what_the_lower_rate_cannot_hold_does_not_fold_back() -> None:
    moved = tone(11_000, 0.5, 48_000).resampled(16_000)
    assert abs(moved.samples[800:-800]).max() < 0.001


def test_full_scale_is_clipped_when_the_filter_rings() -> None:
    square = np.sign(np.sin(2 * np.pi * 1000 * np.arange(4_800) / 48_000 + 0.1))
    moved = AudioData.from_samples(square, 48_000).resampled(16_000)
    sign = np.sign(AudioData.from_samples(square, 48_000, "pcm_f32le").resampled(16_000).samples)
    assert abs(moved.samples).max() <= 1.0
    np.testing.assert_array_equal(np.sign(moved.samples), sign)


def test_the_same_rate_is_the_same_audio() -> None:
    audio = noise(100)
    assert audio.resampled(RATE) is audio


def test_the_format_stays() -> None:
    for format in WIDTHS:
        assert noise(480, 2, 48_000).converted(format).resampled(RATE).format == format


@pytest.mark.parametrize("sample_rate", [0, 7_999, 192_001, 16_000.0])
def test_a_rate_out_of_range_is_refused(sample_rate: Any) -> None:
    with pytest.raises(AudioFormatError, match="sample rate"):
        noise(100, sample_rate=48_000).resampled(sample_rate)
    with pytest.raises(AudioFormatError, match="sample rate"):
        StreamResampler(sample_rate)


def test_minutes_are_resampled_to_the_frame() -> None:
    assert AudioData.silence(120.01, 8_000).resampled(44_100).n_frames == round(120.01 * 44_100)


def streamed(pieces: Sequence[AudioData], sample_rate: int) -> AudioData:
    resampler = StreamResampler(sample_rate)
    return AudioData.concat([*map(resampler.push, pieces), resampler.flush()])


def one_shot(audio: AudioData, sample_rate: int) -> NDArray[np.float64]:
    """What soxr makes of the whole, in steps of 16 bits."""
    mono = audio.samples.mean(axis=1, dtype=np.float32)
    moved = soxr.resample(mono, audio.sample_rate, sample_rate)
    return np.clip(moved.astype(np.float64) * 32768, -32768, 32767)


@given(
    source=st.sampled_from(RATES),
    target=st.sampled_from([8_000, 16_000, 24_000, 48_000]),
    channels=st.integers(1, 3),
    format=st.sampled_from([*WIDTHS]),
    cuts=st.lists(st.integers(0, 3_000), max_size=12),
    n_frames=st.integers(0, 3_000),
)
def test_however_a_stream_is_cut_it_becomes_the_same(
    source: int, target: int, channels: int, format: str, cuts: list[int], n_frames: int
) -> None:
    whole = noise(n_frames, channels, source).converted(format)
    width = WIDTHS[format] * channels
    bounds = [0, *sorted(min(cut, n_frames) for cut in cuts), n_frames]
    pieces = [
        AudioData(whole.data[start * width : end * width], source, channels, format)
        for start, end in pairwise(bounds)
    ]
    joined = streamed(pieces, target)
    assert joined == streamed([whole], target)
    assert (joined.sample_rate, joined.channels, joined.format) == (target, 1, "pcm")
    assert joined.n_frames == expected_frames(n_frames, source, target)
    integers = np.frombuffer(joined.data, "<i2")
    assert abs(integers - one_shot(whole, target)).max(initial=0) <= 0.51


def test_the_packets_of_a_voice_call_become_what_an_engine_wants() -> None:
    """48 kHz stereo, 20 ms at a time, as Discord and WebRTC deliver."""
    call = tone(440, 2.0, 48_000, channels=2)
    packets = [call.sliced(i / 50, (i + 1) / 50) for i in range(100)]
    heard = streamed(packets, 16_000)
    assert (heard.sample_rate, heard.channels, heard.n_frames) == (16_000, 1, 32_000)
    assert level(heard, 440) == pytest.approx(0.5, rel=0.001)


def test_only_milliseconds_are_held_back() -> None:
    resampler = StreamResampler(16_000)
    given = passed = 0.0
    for _ in range(50):
        packet = AudioData.silence(0.02, 48_000, 2)
        given += packet.duration_seconds
        passed += resampler.push(packet).duration_seconds
        assert given - passed <= 0.05
    assert given == pytest.approx(passed + resampler.flush().duration_seconds)


def test_a_stream_that_has_the_rate_passes_at_once() -> None:
    resampler = StreamResampler(RATE)
    mono, stereo = noise(320), noise(320, channels=2)
    assert resampler.push(mono) is mono
    assert resampler.flush() == AudioData(b"", RATE)
    assert resampler.push(stereo) == stereo.mono()
    assert resampler.push(stereo.converted("pcm_s24le")).format == "pcm"


def test_a_stream_keeps_its_layout() -> None:
    resampler = StreamResampler()
    resampler.push(noise(480, sample_rate=48_000))
    for other in (noise(480, sample_rate=44_100), noise(480, 2, 48_000)):
        with pytest.raises(AudioFormatError, match=r"began with 48000 Hz, 1 ch and went on with"):
            resampler.push(other)
    assert resampler.push(noise(480, sample_rate=48_000)).format == "pcm"


def test_after_a_flush_a_new_stream_begins() -> None:
    resampler = StreamResampler()
    first, second = noise(4_800, 2, 48_000), noise(4_410, 1, 44_100)
    for audio in (first, second, first):
        joined = AudioData.concat([resampler.push(audio), resampler.flush()])
        assert joined == streamed([audio], 16_000)
    assert resampler.flush() == AudioData(b"", 16_000)


def test_chunks_may_be_files_and_empty() -> None:
    audio = noise(4_800, sample_rate=48_000)
    file = AudioData(audio.encode("flac"), 48_000, 1, "flac")
    empty = AudioData(b"", 48_000)
    assert streamed([empty, file, empty], 16_000) == streamed([audio], 16_000)
