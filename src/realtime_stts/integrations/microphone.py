"""The sound card: a microphone to iterate, a loudspeaker to write to.

    async with Speaker() as speaker, engine.session() as session:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.feed, microphone())
            async for event in session:
                match event:
                    case ReplyAudio(audio=audio):
                        speaker.write(audio)
                    case ReplyPaused() | Interrupted():
                        speaker.flush()

It goes through PortAudio (https://www.portaudio.com) and its Python package sounddevice,
which brings the library itself on macOS and Windows; on Linux it is a package of the
system. Devices plugged in after this module was imported are not seen: PortAudio makes
its list once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from math import isfinite
from types import TracebackType
from typing import Any, Final

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import checkpoint
from numpy.typing import NDArray
from typing_extensions import Self

from ..audio import AudioData, StreamResampler
from ..errors import AudioDeviceError
from ._portaudio import AudioDevice, Callbacks, OpenDevice, devices, open_device
from ._sound import Capture, Playback

__all__ = ["AudioDevice", "Microphone", "Speaker", "devices", "microphone"]

_UNHEARD: Final = 1.0  # s of sound that wait for a slow reader
_UNPLAYED: Final = 60.0  # s of sound that wait to be played
_PATIENCE: Final = 5.0  # s; a card that does nothing for so long is not there any more


class Microphone:
    """A microphone, as 16-bit mono in blocks of one length; use it as ``async with``.

    One task iterates it. Where that is late by more than a second, the oldest sound is
    dropped, counted, and replaced by silence: the stream loses no time. Iteration ends
    when the block is left. Cancelling a read loses no sound.

    Args:
        device: Its index, or words of its name, in order; None for the system's default.
        sample_rate: Hz of the blocks. A device that does not take it is resampled.
        block: Seconds of a block, 0.005 to 1.

    Raises:
        ValueError: ``block`` is out of range.
        AudioFormatError: ``sample_rate`` is.
        AudioDeviceError: On entering, there is no such device, or it cannot be opened; on
            iterating, it has given no sound for 5 seconds or was unplugged.
    """

    def __init__(
        self,
        *,
        device: int | str | None = None,
        sample_rate: int = 16_000,
        block: float = 0.02,
    ) -> None:
        self._device, self._block = device, _checked(block)
        self._resampler = StreamResampler(sample_rate)
        self._capture = Capture(max(1, round(_UNHEARD / block)))
        self._limiter = CapacityLimiter(1)  # of threads that wait for sound
        self._reading = anyio.ResourceGuard("reading from")
        self._card: OpenDevice | None = None
        self._closed = False
        self._n_overflows = 0

    @property
    def name(self) -> str:
        """What the device is called; "" until it is open."""
        return "" if self._card is None else self._card.name

    @property
    def dropped(self) -> int:
        """How many blocks were dropped because the reader was late."""
        return self._capture.dropped

    @property
    def overflows(self) -> int:
        """How often the device itself lost sound because this machine was late."""
        return self._n_overflows

    async def __aenter__(self) -> Self:
        self._card = await to_thread.run_sync(self._open)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._card is not None
        self._closed = True
        self._capture.end()
        await _close(self._card)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioData:
        with self._reading:
            if self._card is None:
                raise anyio.ClosedResourceError
            while True:
                block = await self._next_block(self._card)
                audio = self._resampler.push(AudioData(block, self._card.sample_rate))
                if audio.data:
                    return audio

    async def _next_block(self, card: OpenDevice) -> bytes:
        await checkpoint()
        if not self._capture.ready:
            with anyio.move_on_after(_PATIENCE):
                # Abandoned, the thread ends with the next block, or when this is closed.
                await to_thread.run_sync(
                    self._capture.wait, abandon_on_cancel=True, limiter=self._limiter
                )
        block = self._capture.take()
        if self._closed:
            raise StopAsyncIteration
        if block is None:
            raise AudioDeviceError(f"{card.name} gives no more sound: was it unplugged?")
        return block

    def _open(self) -> OpenDevice:
        return open_device(
            "input", self._device, self._resampler.sample_rate, self._block, self._prepare
        )

    def _prepare(self, sample_rate: int) -> Callbacks:
        return self._on_block, self._capture.end

    def _on_block(self, block: NDArray[Any], n_frames: int, time: Any, status: Any) -> None:
        """Called by the card, in its thread; ``block`` has shape (frames, 1)."""
        self._n_overflows += bool(status.input_overflow)
        self._capture.put(block.tobytes())


async def microphone(
    *, device: int | str | None = None, sample_rate: int = 16_000, block: float = 0.02
) -> AsyncGenerator[AudioData]:
    """The blocks of a `Microphone`, opened at the first and closed with this generator.

    Raises:
        ValueError, AudioFormatError, AudioDeviceError: As `Microphone`.
    """
    async with Microphone(device=device, sample_rate=sample_rate, block=block) as blocks:
        async for audio in blocks:
            yield audio


class Speaker:
    """A loudspeaker that plays what is written to it; use it as ``async with``.

    It plays silence where there is no sound. Chunks may have any format, rate and channel
    count; they are played as mono. Leaving the block ends the sound at once: `drain` first
    where it is to be heard out. All but `drain` may be called from any thread.

    Args:
        device: Its index, or words of its name, in order; None for the system's default.
        sample_rate: Hz that the device is asked for; if it does not take it, its own.
        block: Seconds of a block, 0.005 to 1: how late a `flush` may be.

    Raises:
        ValueError: ``block`` is out of range.
        AudioDeviceError: On entering, there is no such device, or it cannot be opened.
    """

    def __init__(
        self,
        *,
        device: int | str | None = None,
        sample_rate: int = 48_000,
        block: float = 0.02,
    ) -> None:
        self._device, self._sample_rate, self._block = device, sample_rate, _checked(block)
        self._playback = Playback(sample_rate, _UNPLAYED)
        self._card: OpenDevice | None = None
        self._lost = False

    @property
    def name(self) -> str:
        """What the device is called; "" while it is closed."""
        return "" if self._card is None else self._card.name

    @property
    def buffered(self) -> float:
        """Seconds of sound that wait to be played."""
        return self._playback.buffered

    @property
    def played(self) -> float:
        """Seconds of sound that the device has taken. It is heard some `latency` later."""
        return self._playback.played

    @property
    def underruns(self) -> int:
        """How often sound broke off: none came in time, and more within half a second."""
        return self._playback.underruns

    @property
    def latency(self) -> float:
        """Seconds from the device's taking a sound until it is heard, as the device says."""
        return 0.0 if self._card is None else self._card.latency

    async def __aenter__(self) -> Self:
        self._card = await to_thread.run_sync(self._open)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        card, self._card = self._card, None
        assert card is not None
        await _close(card)

    def write(self, audio: AudioData) -> None:
        """Play this after what already waits; never waits itself.

        Raises:
            AudioFormatError: It cannot be decoded.
            OverloadedError: More than 60 seconds would wait; nothing of it was taken.
            AudioDeviceError: The device was unplugged.
            anyio.ClosedResourceError: The speaker is not open.
        """
        self._check()
        self._playback.write(audio)

    def flush(self) -> None:
        """Drop all that waits, and be silent within a block and the device's `latency`."""
        self._playback.flush()

    async def drain(self) -> None:
        """Return when all that was written has been heard.

        Raises:
            AudioDeviceError: The device was unplugged, or takes no more sound.
            anyio.ClosedResourceError: The speaker is not open.
        """
        card = self._check()
        self._playback.finish()
        played, since = self.played, anyio.current_time()
        while self.buffered:
            # Not longer than a second, so that an unplugged device is noticed.
            await anyio.sleep(min(max(self.buffered, self._block), 1.0))
            self._check()
            if self.played > played:
                played, since = self.played, anyio.current_time()
            elif anyio.current_time() - since > _PATIENCE:
                raise AudioDeviceError(f"{card.name} takes no more sound")
        await anyio.sleep(self.latency)

    def _check(self) -> OpenDevice:
        if self._card is None:
            raise anyio.ClosedResourceError
        if self._lost:
            raise AudioDeviceError(f"{self._card.name} takes no more sound: was it unplugged?")
        return self._card

    def _open(self) -> OpenDevice:
        return open_device("output", self._device, self._sample_rate, self._block, self._prepare)

    def _prepare(self, sample_rate: int) -> Callbacks:
        self._playback = Playback(sample_rate, _UNPLAYED)
        return self._on_block, self._on_end

    def _on_block(self, block: NDArray[Any], n_frames: int, time: Any, status: Any) -> None:
        """Called by the card, in its thread; ``block`` has shape (frames, channels)."""
        if status.output_underflow:
            self._playback.underrun()
        block[:] = self._playback.take(n_frames)[:, None]

    def _on_end(self) -> None:
        self._lost = True  # or it has been closed, and nobody asks


def _checked(block: float) -> float:
    if not (isfinite(block) and 0.005 <= block <= 1.0):
        raise ValueError(f"a block lasts 0.005 to 1 seconds, not {block!r}")
    return block


async def _close(card: OpenDevice) -> None:
    with anyio.CancelScope(shield=True):
        await to_thread.run_sync(card.close)
