"""A file's sound as pieces of 16-bit PCM, by what the file holds and not by its name.

It runs in a process of its own, as the libraries that decode are written in C, and the files
are anybody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..._formats import check_finite, check_layout, from_float
from ...audio import AudioData
from ...errors import AudioContainerError, AudioFormatError

__all__ = ["Piece", "pieces", "rehearse"]

_av: Any = None  # FFmpeg, if it is installed
with suppress(ImportError):
    import av
    import av.error

    _av = av


_BLOCK: Final = 4096  # frames; damage costs at most one block

# What libsndfile decodes to at most 16 bits, so that int16 keeps every sample.
_SIXTEEN_BITS: Final = ("PCM_16", "PCM_U8", "PCM_S8", "ULAW", "ALAW")

# What MP4 and WebM are taken with. FFmpeg is told it too: it opens decoders, also those of
# pictures, only to find out what there is.
_CODECS: Final = ("aac", "alac", "flac", "libopus", "mp3", "mp3float", "opus", "vorbis")
_PCM_CODECS: Final = ("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_f32le", "pcm_u8")

_OPTIONS: Final = {
    "codec_whitelist": ",".join(_CODECS + _PCM_CODECS),
    "protocol_whitelist": "none",  # no file that this one names is opened
}


class Piece(NamedTuple):
    """Interleaved 16-bit samples of a file. Every piece of it has the same layout."""

    sample_rate: int  # Hz
    channels: int
    pcm: bytes


def pieces(file: BinaryIO) -> Iterator[Piece]:
    """The sound in a seekable file. Of one cut short, what can be decoded.

    Raises:
        AudioContainerError: It is not a wav, flac, ogg, opus, mp3, MP4/M4A or WebM/Matroska
            file, or what it takes to read it is not installed.
        AudioFormatError: It is damaged from the start, or holds no usable audio.
    """
    head = file.read(12)
    file.seek(0)
    demuxer = _demuxer(head)
    found = _with_av(file, demuxer) if demuxer else _with_libsndfile(file)
    empty = True
    for piece in found:
        check_layout(piece.sample_rate, piece.channels)
        empty = empty and not piece.pcm
        yield piece
    if empty:
        raise AudioFormatError("the file holds no audio")


def rehearse() -> None:
    """Decode a file of our own, so that all that is only loaded when it is needed is there."""
    wav = AudioData.silence(0.01, 8_000).encode("wav")
    for _ in pieces(BytesIO(wav)):
        pass
    with suppress(AudioContainerError):  # there is no FFmpeg to rehearse
        for _ in _with_av(BytesIO(wav), "wav"):
            pass


def _demuxer(head: bytes) -> str | None:
    """The demuxer of FFmpeg's that a file is for, by its first bytes; None for libsndfile."""
    if head[4:8] == b"ftyp":
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":  # EBML, RFC 8794
        return "matroska"
    # MPEG audio begins with an ID3 tag, or a frame: eleven sync bits and a layer not 0.
    frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06
    wave = head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE"
    if wave or frame or head[:4] in (b"fLaC", b"OggS") or head[:3] == b"ID3":
        return None
    if not head:
        raise AudioFormatError("the file is empty")
    raise AudioContainerError(
        "the content is not audio of a known kind; give wav, flac, ogg, opus, mp3, m4a or webm"
    )


# -- libsndfile --------------------------------------------------------------------------


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]  # soundfile is untyped
    """A file that is only ever read forwards.

    soundfile seeks to where it is after every block it reads from a seekable file; an MP3
    decoder loses its bit reservoir over it, and audibly so.
    """

    def seekable(self) -> bool:
        return False


def _with_libsndfile(file: BinaryIO) -> Iterator[Piece]:
    try:
        sound = _Sequential(file)
    except soundfile.LibsndfileError as exc:
        raise AudioFormatError("the file is damaged, or not what it begins like") from exc
    with sound:
        dtype = "int16" if sound.subtype in _SIXTEEN_BITS else "float32"
        yield Piece(sound.samplerate, sound.channels, b"")
        while True:
            try:
                block: NDArray[Any] = sound.read(_BLOCK, dtype=dtype, always_2d=True)
            except soundfile.LibsndfileError:
                return  # damaged from here on; what came before stands
            if not len(block):
                return
            yield Piece(sound.samplerate, sound.channels, _sixteen_bits(block))


# -- FFmpeg ------------------------------------------------------------------------------


def _with_av(file: BinaryIO, demuxer: str) -> Iterator[Piece]:
    if _av is None:
        kind = "MP4/M4A" if demuxer == "mov" else "WebM/Matroska"
        raise AudioContainerError(
            f"{kind} files are not taken here; give wav, flac, ogg, opus or mp3 "
            '(or have the server install: pip install "realtime-stts[av]")'
        )
    try:
        container = _av.open(
            file,
            format=demuxer,
            options=_OPTIONS,
            metadata_errors="replace",
            io_open=_refused,
        )
    except _av.error.FFmpegError as exc:
        raise AudioFormatError("the file is damaged, or not what it begins like") from exc
    with container:
        yield from _decoded(container)


def _refused(url: str, flags: int, options: Any) -> Any:
    """What a file says about other files is not followed."""
    raise AudioFormatError("the file refers to another file")


def _decoded(container: Any) -> Iterator[Piece]:
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise AudioFormatError("the file holds no audio")
    if stream.codec_context is None or stream.codec_context.name not in _CODECS + _PCM_CODECS:
        raise AudioContainerError(
            "the audio in the file is coded in a way that is not taken; use AAC, Opus, Vorbis, "
            "MP3, ALAC, FLAC or PCM"
        )
    stream.codec_context.thread_count = 1
    layout: tuple[int, int] | None = None
    try:
        for frame in container.decode(stream):
            layout = layout or (frame.sample_rate, frame.layout.nb_channels)
            if layout != (frame.sample_rate, frame.layout.nb_channels):
                raise AudioFormatError("the audio changes its rate or its channels half-way")
            yield Piece(*layout, _sixteen_bits(_interleaved(frame)))
    except _av.error.FFmpegError:
        return  # damaged from here on; what came before stands


def _interleaved(frame: Any) -> NDArray[Any]:
    """A frame's samples, shape (frames, channels), int16 or full scale at 1.0."""
    samples: NDArray[Any] = frame.to_ndarray()
    channels = frame.layout.nb_channels
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, channels)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype == np.int32:
        return samples.astype(np.float64) / (1 << 31)
    return samples


def _sixteen_bits(samples: NDArray[Any]) -> bytes:
    if samples.dtype == np.int16:
        return samples.astype("<i2").tobytes()
    check_finite(samples)  # before an infinity is clipped
    return from_float(samples, "pcm")
