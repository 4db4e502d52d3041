from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_stts.audio import AudioData
from realtime_stts.encoding import MEDIA_TYPES, StreamEncoder
from realtime_stts.errors import AudioFormatError

FORMATS = [*MEDIA_TYPES]
FILES = [format for format in FORMATS if format != "pcm"]
EXACT = ["wav", "flac"]
DELAY = 1105  # samples that an MP3 decoder makes of the encoder's delay


def speech(seconds: float = 1.0, sample_rate: int = 24_000, channels: int = 1) -> AudioData:
    """Something with tones, pauses and noise, as encoders choose their windows by such."""
    noise = np.random.default_rng(1)
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    tone = 0.3 * np.sin(2 * np.pi * 220 * t) * (np.sin(9 * t) > 0)
    hiss = 0.02 * noise.standard_normal(len(t)) * (np.sin(25 * t) > 0)
    return AudioData.from_samples(np.stack([tone + hiss] * channels, axis=1), sample_rate)


def cut(audio: AudioData, lengths: list[int]) -> list[AudioData]:
    """Pieces of so many frames each, over and over."""
    width = 2 * audio.channels
    pieces, at, turn = [], 0, 0
    while at < len(audio.data):
        end = at + width * lengths[turn % len(lengths)]
        pieces.append(AudioData(audio.data[at:end], audio.sample_rate, audio.channels))
        at, turn = end, turn + 1
    return pieces


def encoded(format: str, pieces: list[AudioData], sample_rate: int | None = None) -> bytes:
    encoder = StreamEncoder(format, sample_rate)
    return b"".join([*(encoder.push(piece) for piece in pieces), encoder.flush()])


def decoded(file: bytes) -> np.ndarray[Any, Any]:
    return AudioData.from_file(file).samples[:, 0]


@pytest.mark.parametrize("format", EXACT)
def test_formats_that_keep_samples_keep_every_one(format: str):
    audio = speech()
    assert AudioData.from_file(encoded(format, cut(audio, [480]))) == audio


def test_pcm_is_the_samples():
    audio = speech()
    assert encoded("pcm", cut(audio, [480])) == audio.data


@pytest.mark.parametrize("format", ["opus", "ogg", "flac", "wav"])
def test_a_stream_decodes_to_what_the_whole_file_does(format: str):
    audio = speech()
    whole = decoded(audio.encode(format))
    assert np.array_equal(decoded(encoded(format, cut(audio, [480]))), whole)


def test_an_mp3_stream_is_the_sound_after_the_encoders_delay():
    audio = speech()
    heard = decoded(encoded("mp3", cut(audio, [480])))
    assert len(heard) >= audio.n_frames + DELAY
    said = audio.samples[:, 0]
    error = heard[DELAY : DELAY + len(said)] - said
    assert np.mean(error**2) < 0.05 * np.mean(said**2)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=20)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=5))
def test_however_the_audio_is_cut_the_file_sounds_the_same(format: str, lengths: list[int]):
    audio = speech(0.5)
    file, whole = encoded(format, cut(audio, lengths)), encoded(format, [audio])
    if format in ("pcm", "wav", "mp3", "flac"):
        assert file == whole
    else:  # an Ogg file begins with a number drawn by lot
        assert np.array_equal(decoded(file), decoded(whole))


@pytest.mark.parametrize("format", FILES)
@pytest.mark.parametrize("sample_rate", [8000, 22_050, 24_000, 48_000])
def test_every_file_can_be_read_by_ffmpeg(format: str, sample_rate: int):
    av = pytest.importorskip("av")
    audio = speech(sample_rate=sample_rate)
    with av.open(io.BytesIO(encoded(format, cut(audio, [480])))) as container:
        frames = [*container.decode(audio=0)]
    seconds = sum(frame.samples / frame.sample_rate for frame in frames)
    assert seconds == pytest.approx(audio.duration_seconds, abs=0.2)


@pytest.mark.parametrize(
    ("format", "held"),
    [("pcm", 0.0), ("wav", 0.0), ("opus", 0.08), ("mp3", 0.1), ("flac", 0.2), ("ogg", 1.1)],
)
def test_the_bytes_come_out_while_the_audio_goes_in(format: str, held: float):
    """The longest that nothing comes out, in seconds of audio."""
    encoder, audio = StreamEncoder(format), speech(3.0)
    waiting = longest = 0.0
    for piece in cut(audio, [240]):
        waiting = 0.0 if encoder.push(piece) else waiting + piece.duration_seconds
        longest = max(longest, waiting)
    assert longest <= held


@pytest.mark.parametrize("format", FORMATS)
def test_what_it_keeps_does_not_grow_with_the_file(format: str):
    encoder = StreamEncoder(format)
    second = speech()
    sizes = [len(encoder.push(second)) for _ in range(10)]
    assert max(sizes[5:]) <= 2 * max(sizes[:5])
    assert len(encoder.flush()) <= 2 * max(sizes)


@pytest.mark.parametrize("format", FORMATS)
def test_it_resamples_and_mixes_to_mono(format: str):
    pieces = cut(speech(sample_rate=44_100, channels=2), [441])
    file = encoded(format, pieces, 24_000)
    audio = AudioData(file, 24_000) if format == "pcm" else AudioData.from_file(file)
    assert (audio.sample_rate, audio.channels) == (24_000, 1)
    assert audio.duration_seconds == pytest.approx(1.0, abs=0.15)


def test_its_rate_is_that_of_the_first_chunk_unless_one_is_given():
    encoder = StreamEncoder("pcm")
    assert encoder.sample_rate is None
    encoder.push(speech(0.1, 22_050))
    assert encoder.sample_rate == 22_050
    assert StreamEncoder("wav", 8000).sample_rate == 8000


def test_opus_takes_48_khz_for_a_rate_that_it_does_not_have():
    assert StreamEncoder("opus", 44_100).sample_rate == 48_000
    assert StreamEncoder("opus", 24_000).sample_rate == 24_000
    file = encoded("opus", cut(speech(sample_rate=22_050), [441]))
    assert AudioData.from_file(file).sample_rate == 48_000
    assert AudioData.from_file(file).duration_seconds == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("format", FORMATS)
def test_no_audio_makes_no_file(format: str):
    assert StreamEncoder(format).flush() == b""


@pytest.mark.parametrize("format", FORMATS)
def test_audio_of_no_length_makes_a_file_only_of_a_header(format: str):
    empty = AudioData(b"", 24_000)
    assert len(encoded(format, [empty])) < 5000


@pytest.mark.parametrize("format", FORMATS)
def test_after_its_end_another_file_begins_of_another_layout(format: str):
    encoder, first, second = StreamEncoder(format), speech(0.3), speech(0.3, 16_000, 2)
    encoder.push(first)
    encoder.flush()
    file = encoder.push(second) + encoder.flush()
    if format != "pcm":
        assert AudioData.from_file(file).sample_rate == 16_000


def test_a_stream_does_not_change_its_layout():
    encoder = StreamEncoder("wav")
    encoder.push(speech(0.1))
    with pytest.raises(AudioFormatError, match="24000 Hz, 1 ch and went on with 16000 Hz"):
        encoder.push(speech(0.1, 16_000))


def test_a_rate_that_a_format_does_not_have_is_refused_before_anything_is_made():
    with pytest.raises(AudioFormatError, match="mp3 cannot hold 96000 Hz"):
        StreamEncoder("mp3").push(speech(0.1, 96_000))
    with pytest.raises(AudioFormatError, match="sample rate"):
        StreamEncoder("wav", 4)


def test_a_format_that_there_is_not_is_refused():
    with pytest.raises(AudioFormatError, match="cannot encode 'aac'; known: wav, mp3"):
        StreamEncoder("aac")


def test_an_encoder_that_is_dropped_half_way_leaves_nothing_and_says_nothing():
    encoder = StreamEncoder("opus")
    encoder.push(speech())
    del encoder


def test_every_format_has_a_media_type():
    assert StreamEncoder("opus").media_type == "audio/ogg"
    assert StreamEncoder("mp3").media_type == "audio/mpeg"
