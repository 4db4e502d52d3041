"""From the thread that receives packets to the tasks that listen."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

import anyio
from anyio.lowlevel import checkpoint
from typing_extensions import Self

from ...audio import AudioData
from ...errors import AudioFormatError, OverloadedError
from ._lanes import RATE, Lane, Mixer, Samples, mono

__all__ = ["RoomStream", "SpeakerStream", "VoiceBridge"]

_LOOK: Final = 0.02  # s between two looks at what has come: one packet of Discord
_CHUNK: Final = RATE  # samples at most in one chunk


class SpeakerStream:
    """One person's sound, 48 kHz mono, without gaps from their first sound on.

    Iterate it in one task. It ends when the person is forgotten or the bridge is closed.
    What Discord does not send is silence by the clock, so that a chunk comes every 20 ms
    or so; a reader that was late gets what it missed in chunks of up to a second.
    Cancelling a read loses no sound.
    """

    def __init__(self, bridge: VoiceBridge, user_id: int) -> None:
        self.user_id = user_id
        self._bridge = bridge
        self._reading = anyio.ResourceGuard("reading from")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioData:
        with self._reading:
            await checkpoint()
            while (sound := self._bridge._take(self.user_id)) is not None:
                if len(sound):
                    return _chunk(sound)
                await anyio.sleep(_LOOK)
        raise StopAsyncIteration


class RoomStream:
    """The sound of all who are allowed, added up: 48 kHz mono, without gaps.

    As `SpeakerStream`, but it runs from when it was made, whether anybody speaks or not.
    """

    def __init__(self, bridge: VoiceBridge) -> None:
        self._bridge = bridge
        self._reading = anyio.ResourceGuard("reading from")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioData:
        with self._reading:
            await checkpoint()
            while (sound := self._bridge._take_room(self)) is not None:
                if len(sound):
                    return _chunk(sound)
                await anyio.sleep(_LOOK)
        raise StopAsyncIteration


class VoiceBridge:
    """Takes packets of sound in any thread, and lets tasks read them as streams.

    Nothing of anybody who was not allowed is kept, not even for a moment. Of each one who
    was, at most `max_waiting` seconds of sound wait; then the oldest is dropped, counted,
    and replaced by silence, so that no stream loses time.

    Args:
        max_waiting: Seconds of sound that wait for a late reader.
        max_speakers: How many may be allowed at a time.
        patience: Seconds without a packet that are not yet taken for silence: what packets
            may be late by, and how much later than it happens a silence is heard.
        clock: Seconds; read in the thread of the caller.

    Raises:
        ValueError: One of the numbers is not over 0.
    """

    def __init__(
        self,
        *,
        max_waiting: float = 2.0,
        max_speakers: int = 16,
        patience: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (max_waiting > 0 and max_speakers > 0 and patience > 0):
            raise ValueError("max_waiting, max_speakers and patience must be over 0")
        self._max_waiting, self._max_speakers = max_waiting, max_speakers
        self._patience = patience
        self._clock = clock
        self._lock = Lock()  # of all that follows
        self._lanes: dict[int, Lane] = {}
        self._room: tuple[RoomStream, Mixer] | None = None
        self._dropped_before = 0.0  # of those who were forgotten
        self._n_refused = 0
        self._closed = False

    # -- who may be heard

    def allow(self, user_id: int) -> None:
        """This person agreed to be heard; nothing happens if they had before.

        Raises:
            OverloadedError: As many as may be are allowed already.
            anyio.ClosedResourceError: The bridge is closed.
        """
        with self._lock:
            if self._closed:
                raise anyio.ClosedResourceError
            if user_id in self._lanes:
                return
            if len(self._lanes) >= self._max_speakers:
                raise OverloadedError(
                    f"{self._max_speakers} people are listened to already: "
                    "nobody else can be until one of them leaves"
                )
            lane = self._lanes[user_id] = Lane(self._patience, self._max_waiting)
            if self._room is not None:
                self._room[1].join(lane)

    def forget(self, user_id: int) -> None:
        """This person is not to be heard any more: what waits is dropped, their stream ends."""
        with self._lock:
            lane = self._lanes.pop(user_id, None)
            if lane is not None:
                self._dropped_before += lane.dropped

    def is_allowed(self, user_id: int) -> bool:
        """Whether this person is heard."""
        return user_id in self._lanes

    @property
    def allowed(self) -> frozenset[int]:
        """All who are heard."""
        with self._lock:
            return frozenset(self._lanes)

    # -- the side of the thread that receives

    def write(self, user_id: int, pcm: bytes) -> None:
        """What this person said, up to now: 48 kHz, stereo, signed 16-bit, little-endian.

        It may be called from any thread, and waits for nothing but a lock under which
        samples are copied.

        Raises:
            AudioFormatError: It is not a whole number of frames of 4 bytes.
        """
        if len(pcm) % 4:
            raise AudioFormatError(f"{len(pcm)} bytes are not a whole number of stereo samples")
        with self._lock:
            lane = self._lanes.get(user_id)
            if lane is None:
                self._n_refused += 1
            elif pcm:
                lane.put(mono(pcm), self._clock())

    # -- the side of those who listen

    def speaker(self, user_id: int) -> SpeakerStream:
        """The stream of one person; it ends at once if they are not allowed."""
        return SpeakerStream(self, user_id)

    def room(self) -> RoomStream:
        """The stream of all together. From then on nobody has a stream of their own.

        Raises:
            anyio.BusyResourceError: There is one already.
        """
        with self._lock:
            if self._room is not None:
                raise anyio.BusyResourceError("reading the room from")
            mixer = Mixer(self._patience, self._clock())
            for lane in self._lanes.values():
                mixer.join(lane)
            stream = RoomStream(self)
            self._room = stream, mixer
            return stream

    @property
    def dropped(self) -> float:
        """Seconds of sound lost in all because nobody read them in time."""
        with self._lock:
            return self._dropped_before + sum(lane.dropped for lane in self._lanes.values())

    def dropped_of(self, user_id: int) -> float:
        """The same of one person, since they were allowed; 0 if they are not."""
        with self._lock:
            lane = self._lanes.get(user_id)
            return 0.0 if lane is None else lane.dropped

    @property
    def refused(self) -> int:
        """How many packets came from people who were not allowed."""
        return self._n_refused

    def close(self) -> None:
        """Forget everybody; all streams end, and no more is taken."""
        with self._lock:
            self._closed = True
            self._dropped_before += sum(lane.dropped for lane in self._lanes.values())
            self._lanes.clear()

    def _take(self, user_id: int) -> Samples | None:
        """The next sound; None if there will be none."""
        with self._lock:
            lane = self._lanes.get(user_id)
            if lane is None:
                return None
            lane.fill(self._clock())
            return lane.take(_CHUNK)

    def _take_room(self, stream: RoomStream) -> Samples | None:
        with self._lock:
            if self._closed or self._room is None:
                return None
            return self._room[1].take([*self._lanes.values()], _CHUNK, self._clock())


def _chunk(sound: Samples) -> AudioData:
    return AudioData(sound.astype("<i2").tobytes(), RATE)
