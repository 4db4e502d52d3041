"""What is taken of a file, and what is said of one that is not; in this very process."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import AudioContainerError, AudioError, AudioFormatError
from realtime_stts.integrations._http import _decoding_formats as formats
from realtime_stts.integrations._http._decoding_formats import pieces, rehearse

av = pytest.importorskip("av")

TONE = AudioData.from_samples(0.3 * np.sin(np.arange(48_000) * 2 * np.pi * 440 / 48_000), 48_000)


def container(kind: str, codec: str, *, layout: str = "mono", video: bool = False) -> bytes:
    """A file of a second's tone, as FFmpeg makes it."""
    whole = io.BytesIO()
    with av.open(whole, "w", format=kind) as file:
        stream: Any = file.add_stream(codec, rate=48_000, layout=layout) if codec else None
        if video:
            pictures: Any = file.add_stream("mpeg4", rate=10, width=16, height=16)
            for number in range(3):
                picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))
                picture.pts = number
                file.mux(pictures.encode(picture))
            file.mux(pictures.encode(None))
        if codec:
            frame = av.AudioFrame.from_ndarray(TONE.samples.T.copy(), "fltp", layout="mono")
            frame.sample_rate = 48_000
            wanted = stream.codec_context.format
            mover = av.AudioResampler(wanted, layout, 48_000, frame_size=stream.frame_size or 1024)
            for each in [*mover.resample(frame), *mover.resample(None), None]:
                file.mux(stream.encode(each))
    return whole.getvalue()


def heard(file: bytes) -> AudioData:
    found = [*pieces(io.BytesIO(file))]
    assert len({piece[:2] for piece in found}) == 1
    return AudioData(b"".join(piece.pcm for piece in found), *found[0][:2])


def frequency(audio: AudioData) -> float:
    spectrum = np.abs(np.fft.rfft(audio.mono().samples[:, 0]))
    return float(spectrum.argmax()) * audio.sample_rate / audio.n_frames


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_files_of_16_bits_keep_every_sample(format: str):
    assert heard(TONE.encode(format)) == TONE


@pytest.mark.parametrize("format", ["ogg", "opus", "mp3"])
def test_other_files_become_16_bits(format: str):
    audio = heard(TONE.encode(format))
    assert audio.format == "pcm"
    assert frequency(audio) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("mp4", "aac"),
        ("mp4", "alac"),
        ("mov", "pcm_s16le"),
        ("mov", "pcm_u8"),
        ("webm", "libopus"),
        ("matroska", "pcm_s24le"),
        ("matroska", "pcm_f32le"),
        ("matroska", "libmp3lame"),
    ],
)
def test_what_phones_and_browsers_record_is_taken(kind: str, codec: str, layout: str):
    audio = heard(container(kind, codec, layout=layout))
    assert audio.channels == (1 if layout == "mono" else 2)
    assert audio.sample_rate == 48_000
    assert audio.duration_seconds == pytest.approx(1.0, abs=0.06)
    assert frequency(audio) == pytest.approx(440, abs=2)
    assert 0.19 < np.abs(audio.samples).max() < 0.33  # FFmpeg lowers what it spreads over two


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_of_a_film_the_sound_is_taken(kind: str):
    assert frequency(heard(container(kind, "aac", video=True))) == pytest.approx(440, abs=2)


def test_a_film_without_sound_holds_no_audio():
    with pytest.raises(AudioFormatError, match="holds no audio"):
        heard(container("mp4", "", video=True))


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_a_codec_that_is_not_on_the_list_is_not_opened(kind: str):
    with pytest.raises(AudioContainerError, match="use AAC, Opus"):
        heard(container(kind, "ac3"))


@pytest.mark.parametrize(
    "file",
    [b"MZ" + bytes(100), b"PK\x03\x04" + bytes(60), b"<html>", b"RIFF\0\0\0\0AVI LIST", b"a"],
    ids=["program", "zip", "page", "avi", "letter"],
)
def test_what_is_no_audio_is_not_opened(file: bytes):
    with pytest.raises(AudioContainerError, match="give wav, flac, ogg, opus, mp3, m4a or webm"):
        heard(file)


def test_an_empty_file_is_called_empty():
    with pytest.raises(AudioFormatError, match="is empty"):
        heard(b"")


@pytest.mark.parametrize("head", [b"fLaC", b"OggS", b"ID3", b"RIFF\0\0\0\0WAVE", b"\xff\xfb\x90\0"])
@pytest.mark.parametrize("rest", [b"", bytes(500), b"\xff" * 500])
def test_what_only_begins_like_audio_is_damaged(head: bytes, rest: bytes):
    with pytest.raises(AudioFormatError):
        heard(head + rest)


@pytest.mark.parametrize("head", [b"\0\0\0\x18ftypM4A ", b"\x1a\x45\xdf\xa3"])
@pytest.mark.parametrize("rest", [b"", bytes(500), b"\xff" * 500])
def test_what_only_begins_like_a_container_is_damaged(head: bytes, rest: bytes):
    with pytest.raises(AudioFormatError):
        heard(head + rest)


@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "opus", "mp3"])
def test_of_a_file_cut_short_the_beginning_is_taken(format: str):
    file = TONE.encode(format)
    if format in ("ogg", "opus"):  # it is one page
        file = AudioData.concat([TONE] * 6).encode(format)
    assert heard(file[: len(file) * 2 // 3]).duration_seconds > 0.1


def test_of_a_recording_cut_short_the_beginning_is_taken():
    file = container("webm", "libopus")
    assert heard(file[: len(file) * 2 // 3]).duration_seconds > 0.1


def test_of_a_file_damaged_inside_the_beginning_is_taken():
    file = bytearray(AudioData.concat([TONE] * 3).encode("flac"))
    file[len(file) // 2 : len(file) // 2 + 200] = b"\xff" * 200
    assert heard(bytes(file)).duration_seconds > 0.5
    recording = bytearray(container("mp4", "aac"))
    sound = recording.index(b"mdat") + 4
    recording[sound + 5000 : sound + 5500] = b"\xff" * 500
    assert heard(bytes(recording)).duration_seconds > 0.1


def wav(rate: int, channels: int, samples: bytes, *, kind: int = 1, bits: int = 16) -> bytes:
    width = bits // 8 * channels
    layout = struct.pack(
        "<HHIIHH", kind, channels, rate, rate * width % (1 << 32), width % 65536, bits
    )
    data = b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 28 + len(data)) + b"WAVEfmt \x10\0\0\0" + layout + data


@pytest.mark.parametrize("rate", [0, 1, 4000, 4_000_000_000])
def test_a_rate_that_nobody_records_at_is_refused(rate: int):
    with pytest.raises(AudioFormatError):
        heard(wav(rate, 1, bytes(1000)))


@pytest.mark.parametrize("channels", [0, 9, 1000, 65535])
def test_a_number_of_channels_that_nobody_has_is_refused(channels: int):
    with pytest.raises(AudioFormatError):
        heard(wav(16_000, channels, bytes(max(1, channels) * 20)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float):
    samples = np.array([0.1, value, 0.2] * 100, "<f4").tobytes()
    with pytest.raises(AudioFormatError, match="NaN or infinity"):
        heard(wav(16_000, 1, samples, kind=3, bits=32))


def test_samples_beyond_full_scale_are_clipped():
    samples = np.array([2.0, -2.0, 0.5] * 100, "<f4").tobytes()
    audio = heard(wav(16_000, 1, samples, kind=3, bits=32))
    assert audio.samples[:3, 0].tolist() == [32767 / 32768, -1.0, 0.5]


def test_a_file_of_no_samples_holds_no_audio():
    with pytest.raises(AudioFormatError, match="holds no audio"):
        heard(wav(16_000, 1, b""))


def test_audio_that_changes_its_rate_half_way_is_refused():
    class Stream:
        codec_context = av.CodecContext.create("pcm_s16le", "r")

    class Changing:
        class streams:
            audio = (Stream(),)

        def decode(self, stream: object) -> Any:
            for rate in (16_000, 48_000):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 100), np.int16), "s16", "mono")
                frame.sample_rate = rate
                yield frame

    with pytest.raises(AudioFormatError, match="changes its rate"):
        list(formats._decoded(Changing()))


def with_another_file_named(file: bytes, path: bytes) -> bytes:
    """An MP4 whose sound is in another file, by an alias record as QuickTime writes it."""
    name = struct.pack(">hh", 2, 2 * len(path)) + path  # an absolute path
    record = bytearray(150)  # Apple's alias manager, a record of version 2
    struct.pack_into(">IHH", record, 0, 0, 150 + len(name) + 4, 2)
    alias = bytes(record) + struct.pack(">hh", 2, len(path)) + path + b"\0" * (len(path) % 2)
    alias += struct.pack(">hh", -1, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    at = file.index(b"url \0\0\0\x01") - 4
    more = len(entry) - 12
    changed = bytearray(file[:at] + entry + file[at + 12 :])
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        start = changed.index(box) - 4
        (size,) = struct.unpack_from(">I", changed, start)
        struct.pack_into(">I", changed, start, size + more)
    return bytes(changed)


def test_another_file_that_a_file_names_is_not_opened(tmp_path: Any):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(range(256)) * 2000)
    file = with_another_file_named(container("mp4", "alac"), str(secret).encode())
    try:
        samples = heard(file).data
    except AudioError:
        samples = b""
    assert bytes(range(64)) not in samples
    with pytest.raises(AudioFormatError, match="refers to another file"):
        formats._refused(str(secret), 0, {})


def test_without_ffmpeg_its_files_are_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
):
    film, recording = container("mp4", "aac"), container("webm", "libopus")
    monkeypatch.setattr(formats, "_av", None)
    with pytest.raises(AudioContainerError, match=r'MP4/M4A .*pip install "realtime-stts\[av\]"'):
        heard(film)
    with pytest.raises(AudioContainerError, match=r"WebM/Matroska .*give wav, flac"):
        heard(recording)
    rehearse()


def test_the_rehearsal_needs_no_file():
    rehearse()
