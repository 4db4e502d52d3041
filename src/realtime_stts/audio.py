"""Audio that knows its rate, channels and format: values, files and streaming resampling.

Numbers follow one rule everywhere: a float sample is the integer sample divided by its
full scale (32768 for 16 bits), so that PCM16 survives the round trip exactly, and what
leaves [-1, 1] is clipped, never wrapped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from math import inf
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from . import _html
from ._formats import ENCODED, PCM, check_finite, check_layout, from_float, stored, to_float
from .errors import AudioError, AudioFormatError

__all__ = ["AudioData", "StreamResampler"]

_OPUS_RATES: Final = (8_000, 12_000, 16_000, 24_000, 48_000)  # Hz; RFC 6716, section 2
_PLAYED: Final = 60.0  # s; as WAV in a notebook, up to 11.5 MB and a third more as base64


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
        check_layout(self.sample_rate, self.channels)
        if self.format in ENCODED:
            return
        if self.format not in PCM:
            raise AudioFormatError(
                f"unknown audio format {self.format!r}; known: " + ", ".join([*PCM, *ENCODED])
            )
        width = self._frame_width
        if len(self.data) % width:
            raise AudioFormatError(
                f"{len(self.data)} bytes are not a whole number of {width}-byte frames "
                f"({self.channels} channels of {self.format})"
            )
        if self.format == "pcm_f32le":
            check_finite(np.frombuffer(self.data, "<f4"))

    @property
    def _frame_width(self) -> int:
        return PCM[self.format][0] * self.channels

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
        samples = to_float(pcm.data, pcm.format).reshape(-1, pcm.channels)
        samples.flags.writeable = False
        return samples

    def __repr__(self) -> str:
        if self.format in ENCODED:
            size = f"{len(self.data)} bytes"
        else:
            size = f"{self.duration_seconds:.3f} s"
        return f"AudioData({size}, {self.sample_rate} Hz, {self.channels} ch, {self.format})"

    def _repr_html_(self) -> str:
        """A player, the waveform and the facts, for notebooks.

        What is played is 16 bits, of 2 channels and 48 kHz at most. Audio of more than a
        minute has no player: all of it would be kept in the notebook.
        """
        return _html.never_raising(self._as_html, self)

    def _as_html(self) -> str:
        channels = f"{self.channels} channel{'' if self.channels == 1 else 's'}"
        facts = (f"{self.sample_rate:,} Hz", channels, self.format)
        try:
            pcm = self.decoded()
        except AudioError as exc:
            return _html.facts(f"{len(self.data):,} bytes", *facts, f"cannot be decoded: {exc}")
        length, wav, why = pcm.duration_seconds, None, None
        if length > _PLAYED:
            why = f"no player: more than {_PLAYED:g} s; .sliced(0, {_PLAYED:g}) has one"
        elif pcm.data:
            heard = pcm.mono() if pcm.channels > 2 else pcm
            wav = heard.resampled(min(heard.sample_rate, 48_000)).converted().encode("wav")
        return _html.audio(pcm.samples, wav, _html.duration(length), *facts, why)

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
        if np.issubdtype(array.dtype, np.int16):
            array = array.astype(np.float32) / np.float32(1 << 15)
        elif not np.issubdtype(array.dtype, np.floating):
            raise AudioFormatError(f"samples are float or int16, not {array.dtype}")
        check_layout(sample_rate, array.shape[1])
        check_finite(array)
        return cls(from_float(array, format), sample_rate, array.shape[1], format)

    @classmethod
    def silence(cls, seconds: float, sample_rate: int, channels: int = 1) -> Self:
        """``seconds`` of nothing, as 16-bit PCM.

        Raises:
            ValueError: ``seconds`` is negative, infinite or NaN.
        """
        if not 0.0 <= seconds < inf:
            raise ValueError(f"silence lasts 0 seconds or more, not {seconds!r}")
        check_layout(sample_rate, channels)
        return cls(bytes(2 * channels * round(seconds * sample_rate)), sample_rate, channels)

    @classmethod
    def from_file(
        cls,
        source: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO,
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
            source: A path, a whole file's bytes, or a binary file or stream, which is
                read from where it stands to its end and left open.
            max_seconds: The longest audio to accept.
            max_bytes: The most decoded bytes to accept, and the most to read of a stream.

        Raises:
            OSError: The file cannot be opened or read.
            AudioFormatError: It is not audio of these kinds, or holds no audio.
            AudioLimitError: It goes past a limit.
        """
        from ._files import decode, in_memory

        if isinstance(source, str | os.PathLike):
            with Path(source).open("rb") as file:
                whole = file if file.seekable() else in_memory(file, max_bytes)
                return cls(*decode(whole, max_seconds, max_bytes))
        if isinstance(source, bytes | bytearray | memoryview):
            whole = BytesIO(source)
        else:
            whole = in_memory(source, max_bytes)
        return cls(*decode(whole, max_seconds, max_bytes))

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
        if len(layouts) > 1 or pieces[0].format in ENCODED:
            raise AudioFormatError(f"these cannot be joined: {sorted(layouts)}")
        return cls(b"".join(piece.data for piece in pieces), *layouts.pop())

    # -- turned into other things --------------------------------------------------------

    def decoded(self) -> AudioData:
        """This audio as PCM: itself, unless it holds an encoded file.

        Raises:
            AudioFormatError: The bytes cannot be decoded, or have another rate or channel
                count than this value claims.
            AudioLimitError: They decode to more than an hour or 1 GiB.
        """
        if self.format in PCM:
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
        return AudioData.from_samples(_mixed(pcm.samples), pcm.sample_rate, pcm.format)

    def resampled(self, sample_rate: int) -> AudioData:
        """The same audio at another rate (soxr, high quality)."""
        pcm = self.decoded()
        if pcm.sample_rate == sample_rate:
            return pcm
        import soxr  # here, because most audio never changes its rate

        check_layout(sample_rate, pcm.channels)
        moved = soxr.resample(pcm.samples, pcm.sample_rate, sample_rate)
        return AudioData.from_samples(moved, sample_rate, pcm.format)

    def sliced(self, start: float = 0.0, end: float | None = None) -> AudioData:
        """The part ``[start, end)`` in seconds, as far as there is audio.

        Raises:
            ValueError: A time is NaN.
        """
        pcm = self.decoded()
        n_frames, width = pcm.n_frames, pcm._frame_width

        def offset(seconds: float) -> int:
            return round(min(max(seconds * pcm.sample_rate, 0.0), n_frames)) * width

        piece = pcm.data[offset(start) : offset(inf if end is None else end)]
        return AudioData(piece, pcm.sample_rate, pcm.channels, pcm.format)

    def encode(self, format: str) -> bytes:
        """A whole file: ``wav``, ``flac``, ``ogg`` (Vorbis), ``opus`` (Ogg) or ``mp3``.

        wav keeps every sample, and so does flac up to 24 bits. Opus is resampled to
        48 kHz unless it already has a rate that Opus codes.

        Raises:
            AudioFormatError: There is no such format, or it cannot hold this audio:
                only wav can be empty, and mp3 has up to 2 channels at up to 48 kHz.
        """
        if format not in ENCODED:
            raise AudioFormatError(f"cannot encode {format!r}; known: {', '.join(ENCODED)}")
        from ._files import encode

        pcm = self.decoded()
        if not pcm.data and format != "wav":
            raise AudioFormatError(f"there is no audio to encode as {format}")
        if format == "opus" and pcm.sample_rate not in _OPUS_RATES:
            pcm = pcm.resampled(48_000)
        container, subtype = ENCODED[format]
        if subtype is not None:
            return encode(pcm.samples, pcm.sample_rate, container, subtype)
        subtype, layout = _lossless(pcm.format, container)
        if subtype == "PCM_24":
            pcm = pcm.converted("pcm_s24le")  # rounded; libsndfile would cut bits off
        samples = stored(pcm.converted(layout).data, layout).reshape(-1, pcm.channels)
        return encode(samples, pcm.sample_rate, container, subtype)

    def to_file(self, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write a file of the format its suffix names; return its path.

        The file appears whole or not at all: a failure leaves what was there before.

        Raises:
            AudioFormatError: As `encode`.
            OSError: The file cannot be written.
        """
        target = Path(path)
        data = self.encode(format or target.suffix.lstrip(".").lower() or "wav")
        partial = target.with_name(f".{os.urandom(8).hex()}.partial")
        file = partial.open("xb")
        try:
            with file:
                file.write(data)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
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
        check_layout(sample_rate, 1)
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
                import soxr  # here, because most audio never changes its rate

                self._stream = soxr.ResampleStream(
                    audio.sample_rate, self.sample_rate, 1, dtype="float32"
                )
        elif layout != self._layout:
            raise AudioFormatError(
                f"the stream began with {self._layout[0]} Hz, {self._layout[1]} ch and "
                f"went on with {layout[0]} Hz, {layout[1]} ch"
            )
        if self._stream is None and audio.channels == 1:
            return audio.converted("pcm")
        return self._moved(_mixed(audio.samples), last=False)

    def flush(self) -> AudioData:
        """Return what was held back; the next chunk begins a new stream."""
        rest = self._moved(np.empty(0, np.float32), last=True)
        self._layout = self._stream = None
        return rest

    def _moved(self, samples: NDArray[np.float32], *, last: bool) -> AudioData:
        if self._stream is not None:
            samples = self._stream.resample_chunk(samples, last=last)
        return AudioData(from_float(samples, "pcm"), self.sample_rate)


def _mixed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """One channel of shape (frames,), the mean of all."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    mean: NDArray[np.float32] = samples.mean(axis=1, dtype=np.float32)
    return mean


def _lossless(format: str, container: str) -> tuple[str, str]:
    """What a container keeps a PCM format as, and the format to hand it to libsndfile in."""
    if format in ("pcm", "pcm_s16le", "pcm_u8"):
        return "PCM_16", "pcm_s16le"
    if container == "WAV" and format == "pcm_f32le":
        return "FLOAT", format
    if container == "WAV" and format == "pcm_s32le":
        return "PCM_32", format
    return "PCM_24", "pcm_s32le"
