"""Audio that knows its rate, channels and format: values, files and streaming resampling.

Numbers follow one rule everywhere: a float sample is the integer sample divided by its
full scale (32768 for 16 bits), so that PCM16 survives the round trip exactly, and what
leaves [-1, 1] is clipped, never wrapped.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from .errors import AudioFormatError, AudioLimitError

__all__ = ["AudioData", "StreamResampler"]

_MIN_RATE: Final = 8_000  # Hz; telephony
_MAX_RATE: Final = 192_000  # Hz; studio recordings
_MAX_CHANNELS: Final = 8  # 7.1

# PCM formats: bytes a sample and its integer full scale (None for float).  The names are
# ffmpeg's; "pcm" is the contract's word for 16-bit.
_PCM: Final[dict[str, tuple[int, int | None]]] = {
    "pcm": (2, 1 << 15),
    "pcm_s16le": (2, 1 << 15),
    "pcm_u8": (1, 1 << 7),
    "pcm_s24le": (3, 1 << 23),
    "pcm_s32le": (4, 1 << 31),
    "pcm_f32le": (4, None),
}

# Encoded formats: libsndfile's container, and its subtype where the format fixes it.
_ENCODED: Final[dict[str, tuple[str, str | None]]] = {
    "wav": ("WAV", None),
    "flac": ("FLAC", None),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}

_OPUS_RATES: Final = (8_000, 12_000, 16_000, 24_000, 48_000)  # RFC 6716, section 2

_BLOCK: Final = 1 << 16  # frames decoded at a time


@dataclass(frozen=True, slots=True, repr=False)
class AudioData:
    """Audio, immutable: bytes with their rate, channels and format.

    Args:
        data: Interleaved little-endian samples for a PCM format, or a whole encoded file.
        sample_rate: Hz, 8,000 to 192,000.
        channels: 1 to 8.
        format: ``pcm`` (signed 16 bit), ``pcm_u8``, ``pcm_s16le``, ``pcm_s24le``,
            ``pcm_s32le``, ``pcm_f32le``, or an encoded ``wav``, ``flac``, ``ogg``,
            ``opus``, ``mp3``, which is decoded when its samples are asked for.

    Raises:
        AudioFormatError: The values do not describe audio: bytes that are not a whole
            number of frames, samples that are not finite, a rate or channel count out of
            range, an unknown format.
    """

    data: bytes
    sample_rate: int
    channels: int = 1
    format: str = "pcm"

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes):
            if not isinstance(self.data, bytearray | memoryview):
                raise AudioFormatError(
                    f"audio is bytes, not {type(self.data).__name__}; "
                    "use AudioData.from_samples for arrays"
                )
            object.__setattr__(self, "data", bytes(self.data))
        _check_layout(self.sample_rate, self.channels)
        if self.format in _ENCODED:
            return
        if self.format not in _PCM:
            raise AudioFormatError(
                f"unknown audio format {self.format!r}; known: " + ", ".join([*_PCM, *_ENCODED])
            )
        width = self._frame_width
        if len(self.data) % width:
            raise AudioFormatError(
                f"{len(self.data)} bytes are not a whole number of {width}-byte frames "
                f"({self.channels} channels of {self.format})"
            )
        if self.format == "pcm_f32le":
            _check_finite(np.frombuffer(self.data, "<f4"))

    @property
    def _frame_width(self) -> int:
        return _PCM[self.format][0] * self.channels

    # -- what it is ----------------------------------------------------------------------

    @property
    def n_frames(self) -> int:
        """Samples in each channel."""
        pcm = self.decoded()
        return len(pcm.data) // pcm._frame_width

    @property
    def duration_seconds(self) -> float:
        """Length, right for every format: encoded audio is decoded to know it."""
        return self.n_frames / self.sample_rate

    @property
    def duration_ms(self) -> int:
        """Length in whole milliseconds, rounded down."""
        return self.n_frames * 1000 // self.sample_rate

    @property
    def samples(self) -> NDArray[np.float32]:
        """float32 in [-1, 1], shape (frames, channels), read-only."""
        pcm = self.decoded()
        samples = _to_float(pcm.data, pcm.format).reshape(-1, pcm.channels)
        samples.flags.writeable = False
        return samples

    def __repr__(self) -> str:
        if self.format in _ENCODED:
            size = f"{len(self.data)} bytes"
        else:
            size = f"{self.duration_seconds:.3f} s"
        return f"AudioData({size}, {self.sample_rate} Hz, {self.channels} ch, {self.format})"

    def _repr_html_(self) -> str:
        """A player, for notebooks."""
        wav = base64.b64encode(self.encode("wav")).decode()
        return f'<audio controls src="data:audio/wav;base64,{wav}"></audio>'

    # -- made from other things ----------------------------------------------------------

    @classmethod
    def from_samples(
        cls,
        samples: NDArray[Any],
        sample_rate: int,
        format: str = "pcm",
    ) -> Self:
        """Audio from an array of shape (frames,) or (frames, channels).

        Floats are full scale at 1.0 and clipped to [-1, 1]; int16 is taken as it is.

        Raises:
            AudioFormatError: The array has another shape or type, or holds NaN or
                infinity; or ``format`` is not a PCM format.
        """
        array = np.asarray(samples)
        if array.ndim == 1:
            array = array[:, np.newaxis]
        if array.ndim != 2:
            raise AudioFormatError(
                f"samples have the shape (frames,) or (frames, channels), not {array.shape}"
            )
        if array.dtype == np.int16:
            array = array.astype(np.float32) / np.float32(1 << 15)
        elif not np.issubdtype(array.dtype, np.floating):
            raise AudioFormatError(f"samples are float or int16, not {array.dtype}")
        _check_layout(sample_rate, array.shape[1])
        _check_finite(array)
        return cls(_from_float(array, format), sample_rate, array.shape[1], format)

    @classmethod
    def silence(cls, seconds: float, sample_rate: int, channels: int = 1) -> Self:
        """``seconds`` of nothing, as 16-bit PCM."""
        return cls(bytes(2 * channels * round(seconds * sample_rate)), sample_rate, channels)

    @classmethod
    def from_file(
        cls,
        source: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        max_seconds: float = 3600.0,
        max_bytes: int = 1 << 30,
    ) -> Self:
        """Decode a wav, flac, ogg, opus or mp3 file, by its content and not its name.

        It is decoded in blocks and given up at the first block past a limit, whatever its
        header says: a 4 MB file can hold 8 GB of silence. Files of 16 bits or fewer
        become ``pcm`` with every sample kept; others become ``pcm_f32le``. Of a file cut
        short, the part that can be decoded is returned.

        Args:
            source: A path, a whole file's bytes, or a seekable binary file.
            max_seconds: The longest audio to accept.
            max_bytes: The most decoded bytes to accept.

        Raises:
            OSError: The file cannot be opened.
            AudioFormatError: It is not audio of these kinds, or holds no audio.
            AudioLimitError: It decodes to more than a limit.
        """
        if isinstance(source, str | os.PathLike):
            with Path(source).open("rb") as file:
                return cls(*_decode(file, max_seconds, max_bytes))
        if isinstance(source, bytes):
            return cls(*_decode(BytesIO(source), max_seconds, max_bytes))
        return cls(*_decode(source, max_seconds, max_bytes))

    @classmethod
    def concat(cls, chunks: Iterable[AudioData]) -> Self:
        """Several pieces, one after the other.

        Raises:
            ValueError: There are none.
            AudioFormatError: Their rates, channel counts or formats differ, or they are
                encoded files.
        """
        pieces = [*chunks]
        if not pieces:
            raise ValueError("nothing to concatenate")
        layouts = {(piece.sample_rate, piece.channels, piece.format) for piece in pieces}
        if len(layouts) > 1 or pieces[0].format in _ENCODED:
            raise AudioFormatError(f"these cannot be joined: {sorted(layouts)}")
        return cls(b"".join(piece.data for piece in pieces), *layouts.pop())

    # -- turned into other things --------------------------------------------------------

    def decoded(self) -> AudioData:
        """This audio as PCM: itself, unless it holds an encoded file.

        Raises:
            AudioFormatError: The bytes are not such a file, or it has another rate or
                channel count than this value claims.
            AudioLimitError: It decodes to more than an hour or 1 GiB.
        """
        if self.format in _PCM:
            return self
        pcm = AudioData.from_file(self.data)
        if (pcm.sample_rate, pcm.channels) != (self.sample_rate, self.channels):
            raise AudioFormatError(
                f"the {self.format} data is {pcm.sample_rate} Hz with {pcm.channels} "
                f"channels, not {self.sample_rate} Hz with {self.channels} as labelled; "
                "AudioData.from_file labels it itself"
            )
        return pcm

    def converted(self, format: str = "pcm") -> AudioData:
        """The same audio in another PCM format; narrower ones round and clip."""
        pcm = self.decoded()
        if pcm.format == format:
            return pcm
        return AudioData.from_samples(pcm.samples, pcm.sample_rate, format)

    def mono(self) -> AudioData:
        """One channel, the mean of all."""
        pcm = self.decoded()
        if pcm.channels == 1:
            return pcm
        mixed = pcm.samples.mean(axis=1, dtype=np.float32)
        return AudioData.from_samples(mixed, pcm.sample_rate, pcm.format)

    def resampled(self, sample_rate: int) -> AudioData:
        """The same audio at another rate (soxr, high quality)."""
        pcm = self.decoded()
        if pcm.sample_rate == sample_rate:
            return pcm
        import soxr

        _check_layout(sample_rate, pcm.channels)
        moved = soxr.resample(pcm.samples, pcm.sample_rate, sample_rate)
        return AudioData.from_samples(moved, sample_rate, pcm.format)

    def sliced(self, start: float = 0.0, end: float | None = None) -> AudioData:
        """The part ``[start, end)`` in seconds, as far as there is audio."""
        pcm = self.decoded()
        width = pcm._frame_width
        first = max(0, round(start * pcm.sample_rate))
        last = None if end is None else max(0, round(end * pcm.sample_rate)) * width
        piece = pcm.data[first * width : last]
        return AudioData(piece, pcm.sample_rate, pcm.channels, pcm.format)

    def encode(self, format: str) -> bytes:
        """A whole file: ``wav``, ``flac``, ``ogg`` (Vorbis), ``opus`` (Ogg) or ``mp3``.

        wav and flac keep every sample. Opus is resampled to 48 kHz unless it already has
        a rate that Opus codes.

        Raises:
            AudioFormatError: There is no such format, or it cannot hold this audio.
        """
        import soundfile

        if format not in _ENCODED:
            raise AudioFormatError(f"cannot encode {format!r}; known: {', '.join(_ENCODED)}")
        pcm = self.decoded()
        if format == "opus" and pcm.sample_rate not in _OPUS_RATES:
            pcm = pcm.resampled(48_000)
        container, subtype = _ENCODED[format]
        samples: NDArray[Any] = pcm.samples
        if subtype is None:
            subtype = _lossless_subtype(pcm.format, container)
            if subtype == "PCM_16" and pcm.format != "pcm_u8":
                samples = np.frombuffer(pcm.data, "<i2").reshape(-1, pcm.channels)
        buffer = BytesIO()
        try:
            soundfile.write(buffer, samples, pcm.sample_rate, format=container, subtype=subtype)
        except (soundfile.LibsndfileError, ValueError) as exc:
            raise AudioFormatError(f"{pcm!r} cannot be written as {format}: {exc}") from exc
        return buffer.getvalue()

    def to_file(self, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write a file of the format its suffix names; return its path.

        The file appears whole or not at all: a failure leaves what was there before.

        Raises:
            AudioFormatError: As `encode`.
            OSError: The file cannot be written.
        """
        target = Path(path)
        data = self.encode(format or target.suffix.lstrip(".").lower() or "wav")
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            # mkstemp makes private files; a result gets what the user's umask allows.
            umask = os.umask(0)
            os.umask(umask)
            Path(name).chmod(0o666 & ~umask)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return target


class StreamResampler:
    """Chunks of any rate and channel count in; 16-bit mono of one rate out.

    However the input is cut, the output joined is the same. The resampler holds back the
    few milliseconds its filter needs; `flush` returns them.

    Args:
        sample_rate: Hz of what comes out.
    """

    def __init__(self, sample_rate: int = 16_000) -> None:
        _check_layout(sample_rate, 1)
        self.sample_rate = sample_rate
        self._layout: tuple[int, int] | None = None
        self._stream: Any = None  # soxr.ResampleStream; None while rates are equal

    def push(self, audio: AudioData) -> AudioData:
        """Take the next chunk, return what it completes (perhaps nothing yet).

        Raises:
            AudioFormatError: Its rate or channel count is not that of the first chunk.
        """
        layout = (audio.sample_rate, audio.channels)
        if self._layout is None:
            self._layout = layout
            if audio.sample_rate != self.sample_rate:
                import soxr

                self._stream = soxr.ResampleStream(
                    audio.sample_rate, self.sample_rate, 1, dtype="float32"
                )
        elif layout != self._layout:
            raise AudioFormatError(
                f"the stream began with {self._layout[0]} Hz, {self._layout[1]} ch and "
                f"went on with {layout[0]} Hz, {layout[1]} ch"
            )
        mono = audio.mono()
        if self._stream is None:
            return mono.converted("pcm")
        return self._resample(mono.samples[:, 0], last=False)

    def flush(self) -> AudioData:
        """Return what was held back; the next chunk begins a new stream."""
        self._layout = None
        if self._stream is None:
            return AudioData(b"", self.sample_rate)
        rest = self._resample(np.empty(0, np.float32), last=True)
        self._stream = None
        return rest

    def _resample(self, samples: NDArray[np.float32], *, last: bool) -> AudioData:
        moved = self._stream.resample_chunk(samples, last=last)
        return AudioData(_from_float(moved, "pcm"), self.sample_rate)


def _check_layout(sample_rate: int, channels: int) -> None:
    if not isinstance(sample_rate, int) or not _MIN_RATE <= sample_rate <= _MAX_RATE:
        raise AudioFormatError(
            f"the sample rate is {_MIN_RATE} to {_MAX_RATE} Hz, not {sample_rate!r}"
        )
    if not isinstance(channels, int) or not 1 <= channels <= _MAX_CHANNELS:
        raise AudioFormatError(f"audio has 1 to {_MAX_CHANNELS} channels, not {channels!r}")


def _check_finite(samples: NDArray[Any]) -> None:
    # One NaN spreads over hundreds of samples once a filter has seen it.
    if not np.isfinite(samples).all():
        raise AudioFormatError("samples hold NaN or infinity")


def _to_float(data: bytes, format: str) -> NDArray[np.float32]:
    """Interleaved PCM bytes as float32 in [-1, 1]."""
    scale = _PCM[format][1]
    if scale is None:
        return np.clip(np.frombuffer(data, "<f4"), -1.0, 1.0)
    if format == "pcm_u8":
        wide = np.frombuffer(data, "u1").astype(np.int16) - scale
    elif format == "pcm_s24le":
        low = np.frombuffer(data, "u1").reshape(-1, 3)
        padded = np.zeros((len(low), 4), "u1")
        padded[:, 1:] = low
        wide = padded.view("<i4")[:, 0] >> 8
    else:
        wide = np.frombuffer(data, "<i2" if scale == 1 << 15 else "<i4")
    return (wide / np.float64(scale)).astype(np.float32)


def _from_float(samples: NDArray[Any], format: str) -> bytes:
    """Floats as PCM bytes, rounded and clipped."""
    if format not in _PCM:
        raise AudioFormatError(f"{format!r} is not a PCM format: {', '.join(_PCM)}")
    scale = _PCM[format][1]
    if scale is None:
        return np.clip(samples, -1.0, 1.0).astype("<f4").tobytes()
    wide = np.clip(np.rint(samples * np.float64(scale)), -scale, scale - 1)
    if format == "pcm_u8":
        return (wide + scale).astype("u1").tobytes()
    if format == "pcm_s24le":
        padded = wide.astype("<i4").ravel()[:, np.newaxis].view("u1")
        return padded[:, :3].tobytes()
    return wide.astype("<i2" if scale == 1 << 15 else "<i4").tobytes()


def _lossless_subtype(format: str, container: str) -> str:
    if format in ("pcm", "pcm_s16le", "pcm_u8"):
        return "PCM_16"
    if container == "FLAC" or format == "pcm_s24le":
        return "PCM_24"
    return "PCM_32" if format == "pcm_s32le" else "FLOAT"


def _sniff(head: bytes) -> str | None:
    """The kind of file these first bytes begin, or None."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"OggS":
        return "ogg"
    # MPEG audio: an ID3 tag, or a frame's eleven sync bits and a layer that is not 0.
    if head[:3] == b"ID3" or (
        len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06
    ):
        return "mp3"
    return None


def _foreign(head: bytes) -> str:
    """What a file is that this library does not decode, as far as it can tell."""
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp":
        return "this is an MP4/M4A file"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "this is a WebM/Matroska file"
    return "the content is not audio of a known kind"


def _decode(file: BinaryIO, max_seconds: float, max_bytes: int) -> tuple[bytes, int, int, str]:
    """The fields of an `AudioData`, decoded block by block within the limits."""
    import soundfile

    head = file.read(12)
    file.seek(0)
    if _sniff(head) is None:
        raise AudioFormatError(f"{_foreign(head)}; give wav, flac, ogg, opus or mp3")
    try:
        with soundfile.SoundFile(file) as sound:
            rate, channels = sound.samplerate, sound.channels
            _check_layout(rate, channels)
            exact = sound.subtype in ("PCM_16", "PCM_U8", "PCM_S8")
            dtype, format_ = ("int16", "pcm") if exact else ("float32", "pcm_f32le")
            width = channels * _PCM[format_][0]
            limit = int(min(max_seconds * rate, max_bytes // width))
            blocks, n_frames = [], 0
            while len(block := sound.read(_BLOCK, dtype=dtype, always_2d=True)):
                n_frames += len(block)
                if n_frames > limit:
                    raise AudioLimitError(
                        f"the file decodes to more than {limit / rate:.0f} s "
                        f"({limit * width} bytes)"
                    )
                blocks.append(block if exact else _from_float(block, format_))
    except soundfile.LibsndfileError as exc:
        raise AudioFormatError(f"the file cannot be decoded: {exc}") from exc
    if not n_frames:
        raise AudioFormatError("the file holds no audio")
    data = b"".join(b.tobytes() if isinstance(b, np.ndarray) else b for b in blocks)
    if not exact:
        _check_finite(np.frombuffer(data, "<f4"))
    return data, rate, channels, format_
