"""PURE: what one person says, as a stream without gaps, and several of them as one.

Discord sends nothing while a person is silent. Sound is therefore placed on a clock: where
none has come for `patience`, there was silence. A lane is told the time with each call, and
keeps a position in samples; silence costs no memory.

All sound in here is int16, one channel, of one rate.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["RATE", "Lane", "Mixer", "Samples", "mixed", "mono"]

RATE: Final = 48_000  # Hz; what Discord sends

Samples = NDArray[np.int16]


class Lane:
    """One person's sound.

    The stream begins with the first sound, or where `begin` puts it, and keeps to the clock:
    a sound that comes after a silence is put where its end is now; what comes late is put
    after what came before, and the next silence is so much shorter.

    Where nobody takes the sound, the oldest becomes silence of the same length: what is
    waiting is bounded, and the clock loses no time.

    Args:
        patience: Seconds without a sound that are not yet taken for silence.
        max_waiting: Seconds of sound that may wait; also by how much a sender may be ahead.
    """

    def __init__(self, patience: float, max_waiting: float) -> None:
        self._patience = round(patience * RATE)
        self._max_waiting = round(max_waiting * RATE)
        self._origin: float | None = None
        self._position = 0  # samples so far, sound and silence
        self._pieces: deque[Samples | int] = deque()  # an int is so much silence
        self._n_sound = 0  # samples that wait and are sound
        self._n_waiting = 0
        self._silent = True  # the last piece was silence by the clock
        self._n_dropped = 0

    @property
    def begun(self) -> bool:
        """Whether it has a place on the clock."""
        return self._origin is not None

    @property
    def waiting(self) -> int:
        """Samples that can be taken."""
        return self._n_waiting

    @property
    def dropped(self) -> float:
        """Seconds of sound that were lost because nobody took them, or came too fast."""
        return self._n_dropped / RATE

    def begin(self, origin: float, position: int = 0) -> None:
        """Start anew, with this sample as the next; sample 0 belongs to the time ``origin``."""
        self._origin, self._position = origin, position
        self._pieces.clear()
        self._n_sound = self._n_waiting = 0
        self._silent = True

    def put(self, sound: Samples, now: float) -> None:
        """More of what they say, which ends now."""
        if self._origin is None:
            self.begin(now - len(sound) / RATE)
        behind = self._due(now) - len(sound) - self._position
        if behind < -self._max_waiting:
            self._n_dropped += len(sound)
            return
        if behind > (0 if self._silent else self._patience):
            self._add_silence(behind)
        self._pieces.append(sound)
        self._n_sound += len(sound)
        self._n_waiting += len(sound)
        self._position += len(sound)
        self._silent = False
        self._drop()

    def fill(self, now: float) -> None:
        """What should have come by now and has not, is silence."""
        if self._origin is not None:
            behind = self._due(now) - self._patience - self._position
            if behind > 0:
                self._add_silence(behind)
                self._silent = True

    def take(self, n: int) -> Samples:
        """The next ``n`` samples, or as many as there are."""
        out = np.zeros(min(n, self._n_waiting), np.int16)
        filled = 0
        while filled < len(out):
            piece, left = self._pieces.popleft(), len(out) - filled
            if isinstance(piece, int):
                n_taken = min(piece, left)
                rest: Samples | int = piece - n_taken
            else:
                n_taken = min(len(piece), left)
                out[filled : filled + n_taken] = piece[:n_taken]
                rest = piece[n_taken:]
                self._n_sound -= n_taken
            if rest if isinstance(rest, int) else len(rest):
                self._pieces.appendleft(rest)
            filled += n_taken
        self._n_waiting -= filled
        return out

    def _due(self, now: float) -> int:
        assert self._origin is not None
        return round((now - self._origin) * RATE)

    def _add_silence(self, n: int) -> None:
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, int):
            self._pieces[-1] = last + n
        else:
            self._pieces.append(n)
        self._n_waiting += n
        self._position += n

    def _drop(self) -> None:
        """Of what waits, keep the newest sound; the silence in its place is one piece."""
        silence = 0
        while self._n_sound > self._max_waiting:
            piece = self._pieces.popleft()
            if isinstance(piece, int):
                silence += piece
                continue
            n = min(len(piece), self._n_sound - self._max_waiting)
            silence += n
            self._n_sound -= n
            self._n_dropped += n
            if n < len(piece):
                self._pieces.appendleft(piece[n:])
        if silence:
            first = self._pieces[0] if self._pieces else None
            if isinstance(first, int):
                self._pieces[0] = first + silence
            else:
                self._pieces.appendleft(silence)


class Mixer:
    """Several lanes as one stream, each sample where the clock had it.

    The stream runs from ``now`` on, whether anybody speaks or not, and `patience` behind
    the clock. Lanes may come and go.
    """

    def __init__(self, patience: float, now: float) -> None:
        self._patience = round(patience * RATE)
        self._origin = now
        self._position = 0

    def join(self, lane: Lane) -> None:
        """Let this lane begin here."""
        lane.begin(self._origin, self._position)

    def take(self, lanes: list[Lane], n: int, now: float) -> Samples:
        """The next samples, at most ``n``; all lanes must have joined."""
        due = round((now - self._origin) * RATE) - self._patience - self._position
        n = min(n, max(0, due))
        if not n:
            return np.zeros(0, np.int16)
        for lane in lanes:
            lane.fill(now)
        self._position += n
        return mixed([lane.take(n) for lane in lanes], n)


def mixed(sounds: list[Samples], n: int) -> Samples:
    """The sum, with what leaves the range of 16 bits cut off; each has ``n`` samples."""
    total = np.zeros(n, np.int32)
    for sound in sounds:
        total += sound
    return np.clip(total, -32_768, 32_767).astype(np.int16)


def mono(pcm: bytes) -> Samples:
    """The mean of the two channels of interleaved, little-endian 16-bit samples."""
    pairs = np.frombuffer(pcm, "<i2").reshape(-1, 2).astype(np.int32)
    return ((pairs[:, 0] + pairs[:, 1]) >> 1).astype(np.int16)
