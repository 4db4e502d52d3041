"""What was heard, addressed by time: the recent past of a session, and one utterance of it.

Both hold 16-bit mono PCM. Copying by time, and not chunk by chunk, is what makes the
slicing of the input not matter.
"""

from __future__ import annotations

from ..audio import AudioData
from ._change import Change

__all__ = ["SAMPLE_RATE", "Chunks", "Recent", "Utterance"]

SAMPLE_RATE = 16_000  # Hz; what recognisers and detectors are made for
_WIDTH = 2  # bytes a sample
_FORGET_AT_ONCE = SAMPLE_RATE * _WIDTH  # bytes; forgetting moves memory, so not every 20 ms


class Utterance:
    """The sound of one turn: written as it is heard, read by one reader as it comes.

    A slow reader gets larger pieces, not a longer queue; the turn's greatest length
    bounds the whole.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._closed = False
        self._changed = Change()

    @property
    def closed(self) -> bool:
        """Whether the utterance is complete."""
        return self._closed

    @property
    def audio(self) -> AudioData:
        """All of it so far."""
        return AudioData(bytes(self._data), SAMPLE_RATE)

    def write(self, data: bytes) -> None:
        """Append sound."""
        self._data += data
        self._changed.tell()

    def close(self) -> None:
        """Nothing more belongs to it."""
        self._closed = True
        self._changed.tell()

    def reopen(self) -> None:
        """More belongs to it after all. Who has read it to the end reads it anew."""
        self._closed = False

    def chunks(self) -> Chunks:
        """What was written, in pieces, until the utterance is closed."""
        return Chunks(self)


class Chunks:
    """The pieces of an utterance.

    No generator: that ends when a wait for its next item is cancelled, and a call that is
    made again goes on with this one.
    """

    def __init__(self, utterance: Utterance) -> None:
        self._utterance = utterance
        self._read = 0  # bytes

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> AudioData:
        utterance = self._utterance
        while self._read == len(utterance._data):
            if utterance._closed:
                raise StopAsyncIteration
            await utterance._changed.wait()
        piece = bytes(utterance._data[self._read :])
        self._read += len(piece)
        return AudioData(piece, SAMPLE_RATE)


class Recent:
    """The last seconds of the session's input, and how long it has been altogether."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._origin = 0  # samples before the first that is kept

    @property
    def end(self) -> float:
        """Seconds heard since the session began."""
        return (self._origin + len(self._data) // _WIDTH) / SAMPLE_RATE

    def append(self, data: bytes) -> None:
        """Hear more."""
        self._data += data

    def between(self, start: float, end: float) -> bytes:
        """The sound in ``[start, end)``, as far as it is still known."""
        with memoryview(self._data) as data:
            return bytes(data[self._offset(start) : self._offset(end)])

    def forget(self, before: float) -> None:
        """Sound before that moment is not needed any more."""
        n_bytes = self._offset(before)
        if n_bytes >= _FORGET_AT_ONCE:
            del self._data[:n_bytes]
            self._origin += n_bytes // _WIDTH

    def _offset(self, at: float) -> int:
        sample = max(0, round(at * SAMPLE_RATE) - self._origin)
        return min(sample * _WIDTH, len(self._data))
