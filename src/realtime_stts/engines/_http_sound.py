"""PURE: sound out of a body that arrives in pieces, bare samples or a WAV file.

Servers that stream cannot know the length when they write a WAV header, and say 0 or
something huge; there the file lasts until the body ends. Servers also mislabel: what it is
is told by the first bytes, and by its media type only where that names something else.
"""

from __future__ import annotations

import re
from struct import unpack_from
from typing import Final

from ..audio import AudioData

__all__ = ["SoundReader"]

_MAX_HEADER: Final = 1 << 16  # bytes before the samples of a WAV file
_ENDLESS: Final = 0x7FFF_0000  # bytes; a length over it was not known
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE  # mmreg.h
_FORMATS: Final = {
    (_PCM, 8): "pcm_u8",
    (_PCM, 16): "pcm",
    (_PCM, 24): "pcm_s24le",
    (_PCM, 32): "pcm_s32le",
    (_FLOAT, 32): "pcm_f32le",
}
_OTHERS: Final = re.compile(
    r"text/|application/(.*\+)?(json|xml)|audio/(mpeg|mp3|mp4|aac|ogg|opus|flac|webm)"
)


class SoundReader:
    """The samples in pieces of a body, as 16 bit. What is no whole frame waits for more.

    Args:
        content_type: The body's, with its parameters: a ``rate`` and ``channels`` count.
        sample_rate: Hz of bare samples whose rate nothing tells.

    Raises:
        ValueError: The body is said to be something else.
    """

    def __init__(self, content_type: str, sample_rate: int) -> None:
        media, _, parameters = content_type.lower().partition(";")
        if _OTHERS.match(media.strip()):
            raise ValueError(f"is {media.strip()}, and neither samples nor a WAV file")
        self._rate = _parameter(parameters, "rate", sample_rate)
        self._channels = _parameter(parameters, "channels", 1)
        self._format, self._width = "pcm", 2 * self._channels
        self._left: int | None = None  # bytes of samples to come, where that is known
        self._begun = False
        self._held = bytearray()

    def push(self, data: bytes) -> AudioData | None:
        """The sound that is whole now, if any.

        Raises:
            ValueError: It is a WAV file that cannot be read, or has samples that are none.
        """
        if self._left == 0:
            return None  # what follows the samples in a WAV file
        self._held += data
        if not self._begun:
            self._begun = self._begin()
            if not self._begun:
                return None
        return self._take()

    def finish(self) -> AudioData | None:
        """What there is, if all there is was shorter than any header; half a sample is lost.

        Raises:
            ValueError: The body ended inside a WAV file, or too early for one.
        """
        if not self._begun and self._held[:4] == b"RIFF":
            raise ValueError("ends inside the header of a WAV file")
        if self._left:
            raise ValueError(f"ends {self._left} bytes before its WAV file does")
        return self._take()

    def _begin(self) -> bool:
        held = self._held
        if len(held) < 4:
            return False
        if held[:4] != b"RIFF":
            return True
        at = 12
        while len(held) >= at + 8:
            size = int.from_bytes(held[at + 4 : at + 8], "little")
            if held[at : at + 4] == b"data":
                self._left = size if 0 < size < _ENDLESS else None
                del held[: at + 8]
                return True
            if held[at : at + 4] == b"fmt " and len(held) >= at + 8 + min(size, 26):
                self._read_format(bytes(held[at + 8 : at + 8 + size]))
            at += 8 + size + size % 2
        if len(held) > _MAX_HEADER or at > _MAX_HEADER:
            raise ValueError("is a WAV file without samples")
        return False

    def _read_format(self, header: bytes) -> None:
        if len(header) < 16:
            raise ValueError("is a WAV file with a broken header")
        kind, self._channels, self._rate, _, self._width, bits = unpack_from("<HHIIHH", header)
        if kind == _EXTENSIBLE and len(header) >= 26:
            (kind,) = unpack_from("<H", header, 24)
        found = _FORMATS.get((kind, bits))
        if found is None or self._width != self._channels * bits // 8 or not self._width:
            raise ValueError(f"is a WAV file of a kind that is not read ({kind}, {bits} bit)")
        self._format = found

    def _take(self) -> AudioData | None:
        ready = len(self._held) if self._left is None else min(len(self._held), self._left)
        ready -= ready % self._width
        if not ready:
            return None
        data = bytes(self._held[:ready])
        del self._held[:ready]
        if self._left is not None:
            self._left -= ready
        return AudioData(data, self._rate, self._channels, self._format).converted()


def _parameter(parameters: str, name: str, default: int) -> int:
    found = re.search(rf"(?:^|[;\s]){name}\s*=\s*\"?(\d{{1,6}})\b", parameters)
    return int(found[1]) if found and int(found[1]) else default
