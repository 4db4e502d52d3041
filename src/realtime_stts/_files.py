"""Audio files through libsndfile, a block at a time, in both directions.

`audio` imports this module when a file is first read or written: most programs that
speak or listen never do, and need not wait for the library to load.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, BinaryIO, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from ._formats import PCM, check_finite, check_layout, from_float
from .errors import AudioContainerError, AudioFormatError, AudioLimitError

__all__ = ["decode", "encode", "in_memory"]

# Frames a block.  Damage costs at most one; and given much more than this at once,
# libsndfile's Vorbis encoder overruns the stack of a thread.
_BLOCK: Final = 4096

_CHUNK: Final = 1 << 16  # bytes read from a stream at a time

# What libsndfile decodes to at most 16 bits, so that int16 keeps every sample.
_SIXTEEN_BITS: Final = ("PCM_16", "PCM_U8", "PCM_S8", "ULAW", "ALAW")


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]  # soundfile is untyped
    """A file that is only ever read forwards.

    soundfile seeks to where it is after every block it reads from a seekable file; an MP3
    decoder loses its bit reservoir over it, and audibly so.
    """

    def seekable(self) -> bool:
        return False


def in_memory(file: BinaryIO, max_bytes: int) -> BytesIO:
    """What is left of a stream, seekable.

    Read before libsndfile sees it, because its callbacks cannot pass on an exception.

    Raises:
        AudioLimitError: It is longer than ``max_bytes``.
    """
    whole = BytesIO()
    while chunk := file.read(_CHUNK):
        whole.write(chunk)
        if whole.tell() > max_bytes:
            raise AudioLimitError(f"the file is longer than {max_bytes} bytes")
    whole.seek(0)
    return whole


def decode(file: BinaryIO, max_seconds: float, max_bytes: int) -> tuple[bytes, int, int, str]:
    """The fields of an `AudioData`, decoded block by block within the limits."""
    head = file.read(12)
    file.seek(0)
    if not _is_audio(head):
        raise AudioContainerError(f"{_foreign(head)}; give wav, flac, ogg, opus or mp3")
    try:
        with _Sequential(file) as sound:
            return _decode(sound, max_seconds, max_bytes)
    except soundfile.LibsndfileError as exc:
        raise AudioFormatError("the file is damaged, or not what it begins like") from exc


def _decode(sound: _Sequential, max_seconds: float, max_bytes: int) -> tuple[bytes, int, int, str]:
    rate, channels = sound.samplerate, sound.channels
    check_layout(rate, channels)
    exact = sound.subtype in _SIXTEEN_BITS
    dtype, format_ = ("int16", "pcm") if exact else ("float32", "pcm_f32le")
    width = channels * PCM[format_][0]
    limit = int(min(max_seconds * rate, max_bytes // width))
    pcm, n_frames = BytesIO(), 0
    while True:
        try:
            block: NDArray[Any] = sound.read(_BLOCK, dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError:
            if n_frames:
                break  # damaged from here on; what came before stands
            raise
        if not len(block):
            break
        n_frames += len(block)
        if n_frames > limit:
            raise AudioLimitError(
                f"the file decodes to more than {limit / rate:g} s ({limit * width} bytes)"
            )
        if exact:
            pcm.write(block.astype("<i2").tobytes())
        else:
            check_finite(block)  # before an infinity is clipped
            pcm.write(from_float(block, format_))
    if not n_frames:
        raise AudioFormatError("the file holds no audio")
    return pcm.getvalue(), rate, channels, format_


def encode(samples: NDArray[Any], sample_rate: int, container: str, subtype: str) -> bytes:
    """A whole file of interleaved samples of shape (frames, channels).

    Raises:
        AudioFormatError: The container cannot hold them.
    """
    whole = BytesIO()
    try:
        with soundfile.SoundFile(
            whole, "w", sample_rate, samples.shape[1], subtype, format=container
        ) as sound:
            for start in range(0, len(samples), _BLOCK):
                sound.write(np.ascontiguousarray(samples[start : start + _BLOCK]))
    except soundfile.LibsndfileError as exc:
        raise AudioFormatError(
            f"{container} cannot hold {samples.shape[1]} channels at {sample_rate} Hz: "
            f"{exc.error_string}"
        ) from exc
    return whole.getvalue()


def _is_audio(head: bytes) -> bool:
    """Whether these first bytes begin a file of a known kind."""
    if head[:4] in (b"RIFF", b"RF64"):
        return head[8:12] == b"WAVE"
    # MPEG audio begins with an ID3 tag, or a frame: eleven sync bits and a layer not 0.
    frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06
    return head[:4] in (b"fLaC", b"OggS") or head[:3] == b"ID3" or bool(frame)


def _foreign(head: bytes) -> str:
    """What a file is that this library does not decode, as far as it can tell."""
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp":
        return "this is an MP4/M4A file"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "this is a WebM/Matroska file"
    return "the content is not audio of a known kind"
