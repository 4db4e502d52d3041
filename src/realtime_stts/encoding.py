"""Speech as a file's bytes while it is still being made.

encoder = StreamEncoder("opus")
async for chunk in tts.stream("The first bytes are sent while the rest is being made."):
    send(encoder.push(chunk))
send(encoder.flush())
"""

from __future__ import annotations

from typing import Any, Final

from ._formats import ENCODED, check_layout, stored, to_float
from .audio import AudioData, StreamResampler
from .errors import AudioFormatError

__all__ = ["MEDIA_TYPES", "StreamEncoder"]

# What `StreamEncoder` makes, and how it is called over HTTP. Opus and Vorbis travel in Ogg
# (RFC 5334); "audio/pcm" has no header, and says its rate in a parameter (RFC 2586's way).
MEDIA_TYPES: Final[dict[str, str]] = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "pcm": "audio/pcm",
}

_OPUS_RATES: Final = (8_000, 12_000, 16_000, 24_000, 48_000)  # Hz; RFC 6716, section 2

# Frames given to libsndfile at a time: more overruns its Vorbis encoder's stack, and Vorbis
# chooses its windows by how much it is given, so that only equal pieces make equal files.
_BLOCK: Final = 4096

_OPUS_PAGE: Final = 50.0  # ms; the shortest that libsndfile makes. It fills whole seconds otherwise
_SET_OGG_PAGE_LATENCY_MS: Final = 0x1302  # libsndfile's command; its Python binding lacks the name

# Of LAME's constant rates: 32 kb/s for telephony, 64 to 24 kHz, 160 above.
_MP3_LEVEL: Final = 0.6

_UNKNOWN: Final = b"\xff\xff\xff\xff"  # a RIFF length that nobody knows yet


class StreamEncoder:
    """Chunks of audio in; the bytes of one file out, as they are made.

    However the audio is cut, the file decodes to the same samples. It is mono, of 16 bits
    where the format keeps samples, and its header never says how long it is: nothing that
    was handed out is changed afterwards. What is held back until enough has come: nothing
    (``pcm``, ``wav``), 60 ms (``opus``), a frame of 24 to 72 ms and as much again (``mp3``),
    4,096 samples (``flac``), up to a second (``ogg``, which is Vorbis).

    A ``wav`` has 0xFFFFFFFF for its lengths, as ffmpeg writes to a pipe and players accept.
    An ``mp3`` has a constant bit rate and no LAME header, so that it plays 1,105 samples of
    the encoder's delay first. ``opus`` and ``ogg`` are Ogg files.

    An encoder belongs to one thread at a time. One that is dropped holds nothing.

    Args:
        format: One of `MEDIA_TYPES`.
        sample_rate: Hz of the file; the first chunk's if None. Opus has a few rates only,
            and takes 48 kHz for any other.

    Raises:
        AudioFormatError: There is no such format or rate.
    """

    def __init__(self, format: str, sample_rate: int | None = None) -> None:
        if format not in MEDIA_TYPES:
            raise AudioFormatError(f"cannot encode {format!r}; known: {', '.join(MEDIA_TYPES)}")
        if sample_rate is not None:
            check_layout(sample_rate, 1)
        self._format, self._wanted = format, sample_rate
        self._resampler: StreamResampler | None = None  # None until there is audio
        self._file: _PlainFile | _EncodedFile | None = None

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self._format]

    @property
    def sample_rate(self) -> int | None:
        """Hz of the file; None while that depends on the first chunk."""
        if self._resampler is not None:
            return self._resampler.sample_rate
        return None if self._wanted is None else self._possible(self._wanted)

    def push(self, audio: AudioData) -> bytes:
        """Take the next chunk, return what of the file it completes (perhaps nothing yet).

        Raises:
            AudioFormatError: Its rate or channel count is not that of the first chunk, or
                the format cannot hold the rate.
        """
        if self._resampler is None or self._file is None:
            rate = self._possible(self._wanted or audio.sample_rate)
            encoded = self._format not in ("wav", "pcm")
            self._file = (_EncodedFile if encoded else _PlainFile)(self._format, rate)
            self._resampler = StreamResampler(rate)
        return self._file.write(self._resampler.push(audio).data)

    def flush(self) -> bytes:
        """Return the rest of the file, nothing if there was no audio; another may begin."""
        if self._resampler is None or self._file is None:
            return b""
        rest = self._file.write(self._resampler.flush().data) + self._file.close()
        self._resampler = self._file = None
        return rest

    def _possible(self, rate: int) -> int:
        return 48_000 if self._format == "opus" and rate not in _OPUS_RATES else rate


class _PlainFile:
    """16-bit samples as they are, after a header if it is a wav."""

    def __init__(self, format: str, rate: int) -> None:
        self._header = _wav_header(rate) if format == "wav" else b""

    def write(self, pcm: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + pcm

    def close(self) -> bytes:
        return self.write(b"")


class _EncodedFile:
    """libsndfile's encoders."""

    def __init__(self, format: str, rate: int) -> None:
        import soundfile  # here, because most programs never encode

        container, subtype = ENCODED[format]
        self._out = _Outlet(skip_first=format == "mp3")
        constant = {"bitrate_mode": "CONSTANT", "compression_level": _MP3_LEVEL}
        try:
            outlet: Any = self._out  # of a file it needs no more than this
            self._sound: Any = soundfile.SoundFile(
                outlet,
                "w",
                rate,
                1,
                subtype or "PCM_16",
                format=container,
                **(constant if format == "mp3" else {}),
            )
        except soundfile.LibsndfileError as exc:
            raise AudioFormatError(f"{format} cannot hold {rate} Hz: {exc.error_string}") from exc
        if format == "opus":
            _shorten_pages(soundfile, self._sound)
        self._exact = subtype is None
        self._equal = format == "ogg"
        self._held = b""

    def write(self, pcm: bytes) -> bytes:
        width = 2 * _BLOCK
        pcm = self._held + pcm
        whole = len(pcm) - len(pcm) % width if self._equal else len(pcm)
        for start in range(0, whole, width):
            self._encode(pcm[start : min(start + width, whole)])
        self._held = pcm[whole:]
        return self._out.take()

    def close(self) -> bytes:
        self._encode(self._held)
        made = self._out.take()
        self._sound.close()
        return made + self._out.take()

    def _encode(self, pcm: bytes) -> None:
        samples = stored(pcm, "pcm") if self._exact else to_float(pcm, "pcm")
        self._sound.write(samples)


class _Outlet:
    """A file for libsndfile to write to, of which only what was not taken yet is kept.

    At its end libsndfile goes back to correct its headers. What was taken is on its way to
    somebody: such corrections are dropped.

    Args:
        skip_first: Leave out the first piece. It is where LAME's header would come: a frame
            with no sound in it, which no decoder should take for one of the speech.
    """

    def __init__(self, *, skip_first: bool) -> None:
        self._skip = skip_first
        self._kept = bytearray()
        self._taken = 0  # bytes before `_kept`
        self._at = 0

    def take(self) -> bytes:
        taken = bytes(self._kept)
        self._taken += len(taken)
        self._kept.clear()
        return taken

    def write(self, data: bytes) -> int:
        end = self._at + len(data)
        if self._skip:
            self._skip = False
            self._taken = end
        elif end > self._taken:
            fresh = data[max(0, self._taken - self._at) :]
            start = max(0, self._at - self._taken)
            self._kept[start : start + len(fresh)] = fresh
        self._at = end
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._taken + len(self._kept))[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at


def _shorten_pages(soundfile: Any, sound: Any) -> None:
    """Have Opus written in pages of `_OPUS_PAGE`, through what the binding keeps to itself."""
    latency = soundfile._ffi.new("double*", _OPUS_PAGE)
    soundfile._snd.sf_command(
        sound._file, _SET_OGG_PAGE_LATENCY_MS, latency, soundfile._ffi.sizeof("double")
    )


def _wav_header(rate: int) -> bytes:
    """Of 16-bit mono of unknown length: RIFF, a "fmt " chunk of 16 bytes, and "data"."""
    layout = b"".join(
        value.to_bytes(size, "little")
        for value, size in ((1, 2), (1, 2), (rate, 4), (2 * rate, 4), (2, 2), (16, 2))
    )
    sizes = (16).to_bytes(4, "little")
    return b"RIFF" + _UNKNOWN + b"WAVEfmt " + sizes + layout + b"data" + _UNKNOWN
