"""What a voice client plays."""

from __future__ import annotations

from math import isfinite
from typing import Final

import anyio
import discord
import numpy as np
from anyio import to_thread
from anyio.lowlevel import checkpoint

from ..._formats import ENCODED
from ...audio import AudioData
from .._sound import Playback
from ._lanes import RATE

__all__ = ["SpeechSource"]

_FRAME: Final = 960  # samples of 20 ms, what discord.py asks for at a time
_SLICE: Final = 0.5  # s of sound converted at a time: the event loop is not kept busy for long
_LOOK: Final = 0.02  # s between two looks at how much is left


class SpeechSource(discord.AudioSource):
    """Sound for ``voice_client.play``: 48 kHz, stereo, signed 16-bit, in frames of 3,840 bytes.

    It plays silence while it waits, and so goes on until `close`. What is written may have
    any rate, channel count and format, and is played in the middle: both channels are the
    mean of all. Pieces of one rate that follow each other are one stream, so that no seam is
    heard; its last milliseconds are played once nothing more has come for 40 ms.

    `read` is called in a thread of discord.py. All else belongs to the event loop.

    Args:
        max_buffered: Seconds that may wait to be played; then `write` waits.

    Raises:
        ValueError: That is not over 0.
    """

    def __init__(self, *, max_buffered: float = 10.0) -> None:
        if not (isfinite(max_buffered) and max_buffered > 0):
            raise ValueError(f"the sound that may wait is over 0 seconds, not {max_buffered!r}")
        self._max_buffered = max_buffered
        # A second more, because it is looked at before a slice is written.
        self._playback = Playback(RATE, max_buffered + 2 * _SLICE)
        self._writing = anyio.Lock()
        self._n_flushes = 0
        self._closed = False
        self._over = False

    @property
    def buffered(self) -> float:
        """Seconds of sound that wait to be played."""
        return self._playback.buffered

    @property
    def played(self) -> float:
        """Seconds of sound that were played; silence does not count."""
        return self._playback.played

    @property
    def underruns(self) -> int:
        """How often sound broke off: none came in time, and more within half a second."""
        return self._playback.underruns

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to play now."""
        return not self._playback.buffered

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more sound: it was closed, or its player has ended."""
        return self._closed or self._over

    @property
    def is_over(self) -> bool:
        """Whether its player has ended."""
        return self._over

    async def write(self, audio: AudioData) -> None:
        """Play this after what already waits.

        It returns when all of it waits to be played, and not more than `max_buffered` with
        it; or at once when it is flushed. Several writers take turns, a whole piece each.
        Cancelled, it leaves what it has written so far: `flush` where that is not to be heard.

        Raises:
            AudioFormatError: It cannot be decoded.
            anyio.ClosedResourceError: The source is closed, or its player has ended.
        """
        n_flushes = self._n_flushes
        if audio.format in ENCODED:
            audio = await to_thread.run_sync(audio.decoded)
        async with self._writing:
            start, n_seconds = 0.0, audio.duration_seconds
            while start < n_seconds:
                while self.buffered > self._max_buffered and not self._done(n_flushes):  # noqa: ASYNC110
                    await anyio.sleep(_LOOK)
                if self._done(n_flushes):
                    break
                whole = start == 0.0 and n_seconds <= _SLICE
                self._playback.write(audio if whole else audio.sliced(start, start + _SLICE))
                start += _SLICE
                if start < n_seconds:
                    await checkpoint()
        if self.is_closed:
            raise anyio.ClosedResourceError

    def _done(self, n_flushes: int) -> bool:
        """Whether what began after so many flushes is not to be written any more."""
        return self.is_closed or self._n_flushes != n_flushes

    async def drain(self) -> None:
        """Return when all that was written has been played, or flushed.

        Raises:
            anyio.ClosedResourceError: The player has ended before.
        """
        self._playback.finish()
        while self.buffered:
            if self._over:
                raise anyio.ClosedResourceError
            await anyio.sleep(_LOOK)

    def flush(self) -> float:
        """Drop all that waits, writes that wait included; return how many seconds it was.

        The next frame is silence, but for a fade of 5 ms: a step would be heard as a click.
        """
        buffered = self._playback.buffered
        self._n_flushes += 1
        self._playback.flush()
        return buffered

    def close(self) -> None:
        """Take no more sound, and end once what waits has been played."""
        self._closed = True
        self._playback.finish()

    # -- the player's side

    def read(self) -> bytes:
        """The next 20 ms; b"" after the last, once closed."""
        if self._closed and not self._playback.buffered:
            return b""
        frame = self._playback.take(_FRAME)
        return np.repeat(frame.astype("<i2"), 2).tobytes()

    def cleanup(self) -> None:
        """The player has ended."""
        self._over = True
