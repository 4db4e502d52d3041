"""PURE: the audio formats, and PCM bytes and float samples turned into each other.

One rule for every width: a float sample is the integer sample divided by its full scale
(32768 for 16 bits), so that PCM16 survives the round trip exactly, and what leaves
[-1, 1] is clipped, never wrapped. Scales are powers of two: multiplying by them is exact.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .errors import AudioFormatError

__all__ = [
    "ENCODED",
    "PCM",
    "check_finite",
    "check_layout",
    "from_float",
    "stored",
    "to_float",
]

_MIN_RATE: Final = 8_000  # Hz; telephony
_MAX_RATE: Final = 192_000  # Hz; studio recordings
_MAX_CHANNELS: Final = 8  # 7.1

# PCM formats: bytes a sample and its integer full scale (None for float).  The names are
# ffmpeg's; "pcm" is the contract's word for 16-bit.
PCM: Final[dict[str, tuple[int, int | None]]] = {
    "pcm": (2, 1 << 15),
    "pcm_s16le": (2, 1 << 15),
    "pcm_u8": (1, 1 << 7),
    "pcm_s24le": (3, 1 << 23),
    "pcm_s32le": (4, 1 << 31),
    "pcm_f32le": (4, None),
}

# Encoded formats: libsndfile's container, and its subtype where the format fixes it.
ENCODED: Final[dict[str, tuple[str, str | None]]] = {
    "wav": ("WAV", None),
    "flac": ("FLAC", None),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def check_layout(sample_rate: int, channels: int) -> None:
    if not isinstance(sample_rate, int) or not _MIN_RATE <= sample_rate <= _MAX_RATE:
        raise AudioFormatError(
            f"the sample rate is {_MIN_RATE} to {_MAX_RATE} Hz, not {sample_rate!r}"
        )
    if (
        not isinstance(channels, int)
        or isinstance(channels, bool)
        or not 1 <= channels <= _MAX_CHANNELS
    ):
        raise AudioFormatError(f"audio has 1 to {_MAX_CHANNELS} channels, not {channels!r}")


def check_finite(samples: NDArray[np.floating[Any]]) -> None:
    # One NaN spreads over hundreds of samples once a filter has seen it.
    if not np.isfinite(samples).all():
        raise AudioFormatError("samples hold NaN or infinity")


def stored(data: bytes, format: str) -> NDArray[Any]:
    """The samples as a PCM format stores them, signed and in the machine's byte order."""
    if format == "pcm_f32le":
        return np.frombuffer(data, "<f4").astype(np.float32, copy=False)
    if format == "pcm_u8":
        samples = np.frombuffer(data, np.uint8).astype(np.int16)
        samples -= 1 << 7
        return samples
    if format == "pcm_s24le":
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        wide = padded.view("<i4")[:, 0].astype(np.int32, copy=False)
        wide >>= 8
        return wide
    if format == "pcm_s32le":
        return np.frombuffer(data, "<i4").astype(np.int32, copy=False)
    return np.frombuffer(data, "<i2").astype(np.int16, copy=False)


def to_float(data: bytes, format: str) -> NDArray[np.float32]:
    """Interleaved PCM bytes as float32 in [-1, 1]."""
    samples = stored(data, format).astype(np.float32)
    scale = PCM[format][1]
    if scale is None:
        np.clip(samples, -1.0, 1.0, out=samples)
    else:
        samples *= 1 / scale
    return samples


def from_float(samples: NDArray[np.floating[Any]], format: str) -> bytes:
    """Floats of any width as PCM bytes, clipped and rounded.

    Raises:
        AudioFormatError: It is not a PCM format.
    """
    if format not in PCM:
        raise AudioFormatError(f"{format!r} is not a PCM format: {', '.join(PCM)}")
    width, scale = PCM[format]
    clipped: NDArray[np.floating[Any]] = np.minimum(np.maximum(samples, -1.0), 1.0)
    if scale is None:
        return clipped.astype("<f4").tobytes()
    # float32 holds every integer of 24 bits, not of 32; float16 not even those of 16.
    exact = np.float64 if width == 4 else np.result_type(clipped, np.float32)
    scaled = clipped.astype(exact, copy=False)
    scaled *= scale
    np.rint(scaled, out=scaled)
    np.minimum(scaled, scale - 1, out=scaled)
    if format == "pcm_u8":
        return (scaled + scale).astype(np.uint8).tobytes()
    if format == "pcm_s24le":
        return scaled.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    return scaled.astype("<i2" if width == 2 else "<i4").tobytes()
