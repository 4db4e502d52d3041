"""What stands between a sound card's thread and everyone else: bounded, and never in its way.

The card calls `Capture.put` and `Playback.take` in a thread of its own, some fifty times a
second, and what they do late is heard. So they wait for nothing but a lock under which
samples are copied. All sound in here is 16-bit mono.
"""

from __future__ import annotations

from collections import deque
from math import inf
from threading import Condition, Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..audio import AudioData, StreamResampler
from ..errors import OverloadedError

__all__ = ["Capture", "Playback"]

_SETTLED: Final = 0.04  # s without a write after which less than a block is all there is
_BREAK: Final = 0.5  # s; sound that goes on after a longer silence had not broken off
_RAMP: Final = 0.005  # s to fade what breaks off: a step to zero is heard as a click


class Capture:
    """Blocks of sound on their way from the card to one reader.

    With ``max_blocks`` of them waiting, each new one drops the oldest. The reader gets
    silence in place of what was dropped: its clock is the audio, and must lose no time.
    """

    def __init__(self, max_blocks: int) -> None:
        self._max_blocks = max_blocks
        self._blocks: deque[bytes] = deque()
        self._missing = 0  # blocks dropped in front of those that wait
        self._dropped = 0
        self._ended = False
        self._changed = Condition()

    @property
    def dropped(self) -> int:
        """How many blocks have been dropped."""
        return self._dropped

    # -- the card's side

    def put(self, block: bytes) -> None:
        """The next block; all blocks have one length."""
        with self._changed:
            if len(self._blocks) == self._max_blocks:
                self._blocks.popleft()
                self._missing += 1
                self._dropped += 1
            self._blocks.append(block)
            self._changed.notify_all()

    def end(self) -> None:
        """No more blocks will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    # -- the reader's side

    @property
    def ready(self) -> bool:
        """Whether `take` has an answer now."""
        return bool(self._blocks) or self._ended

    def wait(self) -> None:
        """Block this thread until `ready`."""
        with self._changed:
            self._changed.wait_for(lambda: self.ready)

    def take(self) -> bytes | None:
        """The next block, or a longer silence for dropped ones; None after the last."""
        with self._changed:
            if self._missing:
                n_blocks = min(self._missing, self._max_blocks)
                self._missing -= n_blocks
                return bytes(n_blocks * len(self._blocks[0]))
            return self._blocks.popleft() if self._blocks else None


class Playback:
    """Sound on its way to the card, which takes it block by block and silence where it ends.

    Chunks may have any rate and channel count. Where the rate is not the card's, the
    resampler holds back some milliseconds. These, and a rest that is less than a block, are
    played once nothing more has been written for 40 ms.

    Args:
        sample_rate: Hz at which the card takes it.
        max_seconds: How much may wait.
    """

    def __init__(self, sample_rate: int, max_seconds: float) -> None:
        self._sample_rate = sample_rate
        self._max_seconds = max_seconds
        self._writing = Lock()  # the resampler's; whoever needs both locks takes it first
        self._resampler = StreamResampler(sample_rate)
        self._layout: tuple[int, int] | None = None  # of the stream in the resampler
        self._lock = Lock()  # of all that follows
        self._pieces: deque[NDArray[np.int16]] = deque()
        self._n_buffered = 0
        self._n_played = 0
        self._n_underruns = 0
        self._quiet = inf  # samples taken since the last write
        self._silent = inf  # samples of silence taken since the last sound; inf: it had ended
        self._last = np.float32(0)  # the last sample taken
        ramp = np.linspace(1, 0, round(_RAMP * sample_rate), endpoint=False, dtype=np.float32)
        self._ramp = ramp

    @property
    def buffered(self) -> float:
        """Seconds that wait."""
        return self._n_buffered / self._sample_rate

    @property
    def played(self) -> float:
        """Seconds of sound that the card has taken; silence does not count."""
        return self._n_played / self._sample_rate

    @property
    def underruns(self) -> int:
        """How often sound broke off and went on within half a second."""
        return self._n_underruns

    # -- the writer's side

    def write(self, audio: AudioData) -> None:
        """Play this after what already waits.

        Raises:
            OverloadedError: It would be more than may wait; nothing of it was taken.
        """
        with self._writing:
            if self.buffered + audio.duration_seconds > self._max_seconds:
                raise OverloadedError(
                    f"{self.buffered:.1f} s of sound wait to be played: "
                    f"{audio.duration_seconds:.1f} s more are over the {self._max_seconds:g} s "
                    "that may wait"
                )
            layout = (audio.sample_rate, audio.channels)
            if layout != self._layout:  # another voice: what the last one left comes first
                self._append(self._resampler.flush())
                self._layout = layout
            self._append(self._resampler.push(audio))
            with self._lock:
                self._quiet = 0

    def finish(self) -> None:
        """No more will follow soon: play what the resampler holds back."""
        with self._writing:
            self._release()

    def flush(self) -> None:
        """Drop all that waits: the next block fades out, within 5 ms."""
        with self._writing, self._lock:
            self._resampler.flush()
            self._layout = None
            self._pieces.clear()
            self._n_buffered = 0
            self._silent = inf

    def _release(self) -> None:
        if self._layout is not None:
            self._append(self._resampler.flush())
            self._layout = None

    def _append(self, audio: AudioData) -> None:
        piece = np.frombuffer(audio.data, "<i2")
        if len(piece):
            with self._lock:
                self._pieces.append(piece)
                self._n_buffered += len(piece)

    # -- the card's side

    def underrun(self) -> None:
        """The card itself went without; that is heard only if there was sound to play."""
        with self._lock:
            self._n_underruns += bool(self._n_buffered)

    def take(self, n_samples: int) -> NDArray[np.int16]:
        """The next block, shape ``(n_samples,)``."""
        settled = self._quiet >= _SETTLED * self._sample_rate
        if settled and self._n_buffered < n_samples and self._writing.acquire(blocking=False):
            try:  # or else somebody is writing, and it is not settled after all
                self._release()
            finally:
                self._writing.release()
        block = np.zeros(n_samples, np.int16)
        with self._lock:
            # While more is being written, a part of a block would only be a gap the sooner.
            whole = settled or self._n_buffered >= n_samples
            self._account(block, self._fill(block) if whole else 0)
        return block

    def _fill(self, block: NDArray[np.int16]) -> int:
        """Move sound into ``block``, as far as there is any; return how many samples."""
        filled = 0
        while self._pieces and filled < len(block):
            piece = self._pieces.popleft()
            part = piece[: len(block) - filled]
            block[filled : filled + len(part)] = part
            filled += len(part)
            if len(part) < len(piece):
                self._pieces.appendleft(piece[len(part) :])
        self._n_buffered -= filled
        return filled

    def _account(self, block: NDArray[np.int16], n_sound: int) -> None:
        n_silent = len(block) - n_sound
        self._n_played += n_sound
        self._quiet += len(block)
        if n_sound:
            if 0 < self._silent <= _BREAK * self._sample_rate:
                self._n_underruns += 1
            self._silent = 0
            self._last = np.float32(block[n_sound - 1])
        self._silent += n_silent
        if n_silent:
            ramp = self._ramp[:n_silent]
            block[n_sound : n_sound + len(ramp)] = np.rint(self._last * ramp)
            self._last = np.float32(0)
