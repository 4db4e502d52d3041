"""Audio files: what is decoded, what is refused, and what a damaged file gives."""

from __future__ import annotations

import os
import struct
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_stts._files import decode, encode
from realtime_stts.audio import AudioData
from realtime_stts.errors import AudioError, AudioFormatError, AudioLimitError

RATE = 16_000
FORMATS = ["wav", "flac", "ogg", "opus", "mp3"]


def noise(seconds: float, channels: int = 1, format: str = "pcm") -> AudioData:
    """Sound that no codec compresses away, the same each time."""
    n_frames = round(seconds * RATE)
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, (n_frames, channels))
    return AudioData.from_samples(samples, RATE, format)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Ten seconds in each format: many blocks of every codec."""
    return {format: noise(10).encode(format) for format in FORMATS}


def wav(
    samples: NDArray[Any], sample_rate: int = RATE, *, tag: int = 1, claimed: int | None = None
) -> bytes:
    """A WAV file written by hand, whose header may claim any number of bytes."""
    data = samples.tobytes()
    channels, width = samples.shape[1], samples.itemsize
    size = len(data) if claimed is None else claimed
    layout = struct.pack(
        "<HHIIHH", tag, channels, sample_rate, sample_rate * channels * width,
        channels * width, 8 * width,
    )  # fmt: skip
    return (
        b"RIFF" + struct.pack("<I", min(size + 36, 0xFFFFFFFF)) + b"WAVE"
        b"fmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack("<I", size) + data
    )


def rf64(samples: NDArray[np.int16], claimed: int) -> bytes:
    """A WAV for more than 4 GB, whose 64-bit header claims that many bytes."""
    plain = wav(samples)
    ds64 = struct.pack("<QQQI", claimed + 72, claimed, claimed // 2, 0)
    unknown = struct.pack("<I", 0xFFFFFFFF)
    return (
        b"RF64" + unknown + b"WAVEds64" + struct.pack("<I", len(ds64)) + ds64
        + plain[12:40] + unknown + plain[44:]
    )  # fmt: skip


@contextmanager
def peak_memory(limit: int) -> Iterator[None]:
    """Fails if more than ``limit`` bytes are in use at once; numpy's arrays count."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


# -- whole files -------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_has_the_rate_channels_and_length_of_what_was_encoded(
    format: str, channels: int
) -> None:
    audio = noise(0.73, channels)
    back = AudioData.from_file(audio.encode(format))
    assert (back.sample_rate, back.channels, back.n_frames) == (RATE, channels, audio.n_frames)
    if format in ("wav", "flac"):
        assert back == audio
    else:
        assert back.format == "pcm_f32le"


@pytest.mark.parametrize("format", FORMATS)
def test_blocks_join_into_what_one_read_gives(format: str, files: dict[str, bytes]) -> None:
    """A codec keeps state between blocks; seeking in between would lose it."""
    whole, _ = soundfile.read(BytesIO(files[format]), dtype="float32", always_2d=True)
    decoded = AudioData.from_file(files[format]).samples
    np.testing.assert_allclose(decoded, whole.clip(-1, 1), rtol=0, atol=1e-7)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "ULAW", "ALAW"])
def test_files_of_16_bits_or_fewer_become_pcm_with_every_sample(subtype: str) -> None:
    file = encode(noise(0.5).samples, RATE, "WAV", subtype)
    integers, _ = soundfile.read(BytesIO(file), dtype="int16")
    assert AudioData.from_file(file) == AudioData(integers.astype("<i2").tobytes(), RATE)


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wider_files_become_float(subtype: str) -> None:
    audio = noise(0.5, format="pcm_f32le")
    back = AudioData.from_file(encode(audio.samples, RATE, "WAV", subtype))
    assert back.format == "pcm_f32le"
    np.testing.assert_allclose(back.samples, audio.samples, atol=2**-23)


def test_float_files_past_full_scale_are_clipped() -> None:
    loud = np.array([[2.0], [-3e38], [0.5]], "<f4")
    assert AudioData.from_file(wav(loud, tag=3)).samples.ravel().tolist() == [1.0, -1.0, 0.5]


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    audio = noise(0.2)
    misnamed = tmp_path / "speech.mp3"
    misnamed.write_bytes(audio.encode("wav"))
    assert AudioData.from_file(misnamed) == audio
    assert AudioData.from_file(str(misnamed)) == audio


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, BytesIO])
def test_a_file_can_be_bytes_or_an_open_file(kind: Any) -> None:
    audio = noise(0.2)
    assert AudioData.from_file(kind(audio.encode("flac"))) == audio


def test_an_open_file_is_read_from_where_it_stands_and_left_open() -> None:
    audio = noise(0.2)
    file = BytesIO(b"a header of somebody else's" + audio.encode("wav"))
    file.seek(27)
    assert AudioData.from_file(file) == audio
    assert not file.closed


def test_a_stream_need_not_be_seekable(tmp_path: Path) -> None:
    audio = noise(0.2)
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream, os.fdopen(write, "wb") as feed:
        feed.write(audio.encode("wav"))  # 6 kB: fits into the pipe
        feed.close()
        assert AudioData.from_file(stream) == audio

    fifo = tmp_path / "fifo.wav"
    os.mkfifo(fifo)
    feeder = threading.Thread(target=fifo.write_bytes, args=(audio.encode("wav"),))
    feeder.start()
    assert AudioData.from_file(fifo) == audio
    feeder.join()


class Unreadable(RawIOBase):
    """A stream that breaks after its first bytes, as a network file does."""

    def __init__(self, first: bytes) -> None:
        self._left = [first]

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._left:
            return self._left.pop()
        raise ConnectionResetError("the other side went away")


def test_a_stream_that_breaks_is_an_error_and_not_a_short_file() -> None:
    with pytest.raises(ConnectionResetError):
        AudioData.from_file(Unreadable(noise(1).encode("wav")[:9000]))  # type: ignore[arg-type]


def test_a_missing_file_is_the_error_of_the_operating_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AudioData.from_file(tmp_path / "absent.wav")
    with pytest.raises(IsADirectoryError):
        AudioData.from_file(tmp_path)


# -- what is not audio -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00\x00\x00\x20ftypM4A \x00\x00", "this is an MP4/M4A file"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01", "this is a WebM/Matroska file"),
        (b"RIFF\x24\x00\x00\x00AVI LIST", "not audio of a known kind"),
        (b"#!/bin/sh\necho hello", "not audio of a known kind"),
        (b"\xff\xf1\x50\x80\x02\x1f\xfc", "not audio of a known kind"),  # AAC in ADTS
        (b"\xff", "not audio of a known kind"),
        (bytes(4096), "not audio of a known kind"),
    ],
    ids=["empty", "m4a", "webm", "avi", "text", "aac", "one byte", "zeros"],
)
def test_a_foreign_file_is_refused_by_what_it_is(content: bytes, message: str) -> None:
    with pytest.raises(AudioFormatError, match=rf"{message}; give wav, flac, ogg, opus or mp3"):
        AudioData.from_file(content)


@pytest.mark.parametrize(
    "content",
    [b"RIFF\x24\x00\x00\x00WAVE", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xfe h\x00"],
)
def test_a_first_line_alone_is_not_a_file(content: bytes) -> None:
    with pytest.raises(AudioFormatError, match="the file is damaged, or not what it begins like"):
        AudioData.from_file(content)


def test_a_file_without_a_sample_holds_no_audio() -> None:
    with pytest.raises(AudioFormatError, match="holds no audio"):
        AudioData.from_file(wav(np.empty((0, 1), "<i2")))


@pytest.mark.parametrize("sample_rate", [4_000, 384_000, 2**31 - 1])
def test_a_file_of_an_absurd_rate_is_refused(sample_rate: int) -> None:
    with pytest.raises(AudioFormatError, match="sample rate is 8000 to 192000 Hz"):
        AudioData.from_file(wav(np.zeros((100, 1), "<i2"), sample_rate))


def test_a_file_of_nine_channels_is_refused() -> None:
    with pytest.raises(AudioFormatError, match="1 to 8 channels, not 9"):
        AudioData.from_file(wav(np.zeros((100, 9), "<i2")))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_float_file_with_a_sample_that_is_no_number_is_refused(value: float) -> None:
    samples = np.zeros((10_000, 1), "<f4")
    samples[9_999] = value
    with pytest.raises(AudioFormatError, match="NaN or infinity"):
        AudioData.from_file(wav(samples, tag=3))


# -- damaged files -----------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_of_a_file_cut_short_the_beginning_is_returned(
    format: str, share: float, files: dict[str, bytes]
) -> None:
    whole = AudioData.from_file(files[format]).samples
    cut = AudioData.from_file(files[format][: int(len(files[format]) * share)]).samples
    page = 2 * RATE  # Ogg is decoded by the page, of up to two seconds here
    assert share * len(whole) - page < len(cut) < len(whole)
    # An MPEG decoder conceals its last frame, which leans on bytes that are missing.
    certain = len(cut) - (3 * 1152 if format == "mp3" else 0)
    np.testing.assert_array_equal(cut[:certain], whole[:certain])


@pytest.mark.parametrize("format", ["flac", "ogg", "opus", "mp3"])
def test_of_a_file_cut_before_its_first_block_nothing_is(
    format: str, files: dict[str, bytes]
) -> None:
    for size in (5, 20, 45, 60):
        with pytest.raises(AudioFormatError, match=r"damaged|holds no audio"):
            AudioData.from_file(files[format][:size])


def test_a_wav_cut_inside_a_frame_gives_the_whole_frames() -> None:
    file = noise(0.1, channels=2).encode("wav")
    assert AudioData.from_file(file[:-3]) == noise(0.1, channels=2).sliced(0, 0.1 - 1 / RATE)


@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damage_anywhere_gives_audio_or_a_typed_error(
    format: str, damage: list[tuple[int, int]]
) -> None:
    file = bytearray(noise(0.05).encode(format))
    for at, value in damage:
        file[at % len(file)] = value
    try:
        audio = AudioData.from_file(file, max_seconds=10)
    except AudioError:
        return
    assert audio.n_frames
    assert np.isfinite(audio.samples).all()


# -- limits ------------------------------------------------------------------------------


def test_a_header_that_claims_too_much_gives_what_is_there() -> None:
    samples = np.ones((1000, 1), "<i2")
    with peak_memory(8 << 20):
        for file in (
            wav(samples, claimed=0xFFFFFFFF - 36),
            rf64(samples, claimed=9 * 10**18),
            rf64(samples, claimed=2**63 - 100),
        ):
            assert AudioData.from_file(file).samples.size == 1000


def flac_claiming(n_frames: int, file: bytes) -> bytes:
    """The same FLAC with another number of frames in its STREAMINFO (36 bits at byte 21)."""
    head = bytearray(file)
    head[21] = head[21] & 0xF0 | n_frames >> 32
    head[22:26] = struct.pack(">I", n_frames & 0xFFFFFFFF)
    return bytes(head)


@pytest.mark.parametrize("n_frames", [0, 2**36 - 1])
def test_a_flac_header_is_not_trusted_either(n_frames: int) -> None:
    audio = noise(1)
    with peak_memory(8 << 20):
        assert AudioData.from_file(flac_claiming(n_frames, audio.encode("flac"))) == audio


def bomb(seconds: int) -> bytes:
    """Stereo silence at 48 kHz, in some bytes a second."""
    file = BytesIO()
    minute = np.zeros((48_000 * 60, 2), np.int16)
    with soundfile.SoundFile(file, "w", 48_000, 2, "PCM_16", format="FLAC") as sound:
        for _ in range(seconds // 60):
            sound.write(minute)
    return file.getvalue()


@pytest.mark.parametrize("limit", [{"max_seconds": 5.0}, {"max_bytes": 1 << 20}])
def test_a_small_file_of_endless_silence_is_given_up_early(limit: dict[str, Any]) -> None:
    file = bomb(seconds=300)
    assert len(file) < (1 << 20) // 4 < 300 * 48_000 * 4  # ... which is 58 MB
    with peak_memory(3 << 20), pytest.raises(AudioLimitError, match="decodes to more than 5"):
        AudioData.from_file(file, **limit)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_at_a_limit_is_accepted_and_past_it_refused(
    format: str, files: dict[str, bytes]
) -> None:
    width = 2 if format in ("wav", "flac") else 4
    size = 10 * RATE * width
    assert AudioData.from_file(files[format], max_seconds=10, max_bytes=size).duration_ms == 10_000
    with pytest.raises(AudioLimitError, match=r"more than 9.99 s"):
        AudioData.from_file(files[format], max_seconds=9.99)
    with pytest.raises(AudioLimitError, match=rf"\({size - width} bytes\)"):
        AudioData.from_file(files[format], max_bytes=size - 1)


def test_a_stream_is_read_up_to_the_limit_only() -> None:
    class Endless(RawIOBase):
        read_bytes = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.read_bytes += len(buffer)
            return len(buffer)

    stream = Endless()
    with peak_memory(4 << 20), pytest.raises(AudioLimitError, match="longer than 1000000 bytes"):
        AudioData.from_file(stream, max_bytes=1_000_000)  # type: ignore[arg-type]
    assert stream.read_bytes < 1_100_000


# -- writing -----------------------------------------------------------------------------


def test_a_long_vorbis_file_is_written_on_the_small_stack_of_a_thread() -> None:
    """Handed a minute at once, libsndfile would overrun it and kill the process."""
    minute = noise(60)
    encoded: list[bytes] = []
    before = threading.stack_size(256 << 10)
    try:
        thread = threading.Thread(target=lambda: encoded.append(minute.encode("ogg")))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert AudioData.from_file(encoded[0]).n_frames == minute.n_frames


def test_what_a_container_cannot_hold_is_refused() -> None:
    with pytest.raises(AudioFormatError, match="MP3 cannot hold 8 channels at 16000 Hz"):
        encode(np.zeros((10, 8), np.float32), RATE, "MP3", "MPEG_LAYER_III")


def test_decode_leaves_its_file_open() -> None:
    file = BytesIO(noise(0.1).encode("wav"))
    decode(file, 1.0, 1 << 20)
    assert not file.closed
